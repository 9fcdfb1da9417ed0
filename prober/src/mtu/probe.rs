//! One MTU probe: a whole measurement of a pair, which confirms itself.

use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::detail::Detail;
use meshprobe_core::ids::TargetNumber;
use meshprobe_core::outcome::Outcome;
use tracing::debug;

use super::exchange::{Session, measure};
use super::history::History;
use super::measurement::{Ending, Known};
use crate::path_id::PathId;
use crate::plan::{PeerTarget, Plan};
use crate::runner::{Context, Finding, Probing};
use crate::schedule::Cadence;

/// The end of a measurement has to be before the end of its time.
const MARGIN: Duration = Duration::from_millis(100);

/// A path whose largest packet is looked for.
#[derive(Clone, Debug)]
pub struct MtuProbe(PeerTarget);

impl Probing for MtuProbe {
    type Tools = History;

    /// A measurement has confirmed what it says.
    const FOLLOW_UPS: u8 = 0;

    fn path(&self) -> PathId {
        self.0.path
    }

    fn target(&self) -> TargetNumber {
        self.0.target
    }

    fn cadence(&self) -> Cadence {
        self.0.cadence
    }

    fn timeout(&self) -> Duration {
        self.0.timeout
    }

    fn select(plan: &Plan) -> Vec<Self> {
        plan.mtu.iter().cloned().map(Self).collect()
    }

    async fn probe(
        self,
        context: Arc<Context>,
        history: Arc<History>,
        timeout: Duration,
    ) -> Finding {
        let Self(target) = self;
        let clock = context.shared.clock;
        let metrics = &context.shared.metrics;
        let session = Session {
            local: context.local_for(target.address.ip()),
            peer: target.address,
            ssid: target.own,
            keys: target.keys,
        };
        let (known, thorough) = history.begin(target.path, clock.now());
        let time = timeout.saturating_sub(MARGIN);
        let measured = match measure(&session, known, thorough, clock, time).await {
            Ok(measured) => measured,
            Err(error) => {
                debug!(peer = %target.address, %error, "No packet sizes measured");
                metrics.mtu_undecided.inc();
                return nothing();
            }
        };
        metrics.mtu_messages_ignored.inc_by(measured.ignored.into());
        let (Some(conclusion), Some(rtt)) = (measured.conclusion, measured.rtt) else {
            metrics.mtu_undecided.inc();
            return nothing();
        };
        let found = Known {
            forward: conclusion.detail.forward,
            reverse: conclusion.detail.reverse,
        };
        history.end(target.path, found);
        let outcome = match conclusion.ending {
            Ending::Passes => Outcome::Reply { rtt },
            Ending::TooBig { mtu } => Outcome::TooBig { mtu },
            Ending::BlackHole => Outcome::Timeout,
        };
        Finding::with(outcome, Detail::Mtu(conclusion.detail))
    }
}

/// A peer that does not answer has no MTU, and that is neither a loss nor this prober's fault: the vital kinds tell it.
fn nothing() -> Finding {
    Finding::from(Outcome::Invalid).withheld_if(true)
}
