//! One probe of a target outside the mesh.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::detail::{Detail, bounded_text};
use meshprobe_core::ids::TargetNumber;
use meshprobe_core::outcome::Outcome;
use parking_lot::Mutex;
use tracing::warn;
use url::Host;

use super::attempt::{Attempt, Blame, Failed, is_local};
use super::fence::Fence;
use super::proxy::Proxies;
use super::resolve::Names;
use super::trust::Trust;
use crate::assignment::external::{Ask, ExternalTarget};
use crate::path_id::PathId;
use crate::plan::{ExternalProbe, Plan};
use crate::runner::{Context, Finding, Probing};
use crate::schedule::Cadence;

/// Targets outside the fence that are remembered as told.
const MAX_TOLD: usize = 1_024;

/// What all probes of targets outside the mesh share.
#[derive(Debug)]
pub struct ExternalTools {
    pub(super) fence: Fence,
    pub(super) proxies: Proxies,
    pub(super) trust: Trust,
    pub(super) names: Names,
    told: Mutex<HashSet<String>>,
}

impl ExternalTools {
    /// With all that was configured.
    pub fn new(fence: Fence, proxies: Proxies, trust: Trust, names: Names) -> Self {
        Self {
            fence,
            proxies,
            trust,
            names,
            told: Mutex::new(HashSet::new()),
        }
    }

    /// Tells once for each target that it is outside the fence.
    fn tell(&self, target: &ExternalTarget, reason: &str) {
        let mut told = self.told.lock();
        if told.len() >= MAX_TOLD {
            told.clear();
        }
        if told.insert(target.name.clone()) {
            warn!(target = %target.name, reason, "A target outside the fence is not probed");
        }
    }
}

/// Targets whose address is a literal outside the fence, each with the reason.
pub fn literals_outside(fence: &Fence, targets: &[ExternalTarget]) -> Vec<String> {
    let outside = |target: &ExternalTarget| {
        let address = literal(&target.ask)?;
        let refusal = fence.check(address, is_local).err()?;
        Some(format!("{}: {address}: {refusal}", target.name))
    };
    targets.iter().filter_map(outside).collect()
}

fn literal(ask: &Ask) -> Option<SocketAddr> {
    match ask {
        Ask::TcpConnect(at) | Ask::Tls(at) => Some(SocketAddr::new(at.host.parse().ok()?, at.port)),
        Ask::Http(ask) => {
            let ip: IpAddr = match ask.url.host()? {
                Host::Ipv4(ip) => ip.into(),
                Host::Ipv6(ip) => ip.into(),
                Host::Domain(_) => return None,
            };
            Some(SocketAddr::new(ip, ask.url.port_or_known_default()?))
        }
    }
}

impl Probing for ExternalProbe {
    type Tools = ExternalTools;

    fn path(&self) -> PathId {
        self.path
    }

    fn target(&self) -> TargetNumber {
        self.target
    }

    fn cadence(&self) -> Cadence {
        self.cadence
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn select(plan: &Plan) -> Vec<Self> {
        plan.external.clone()
    }

    async fn probe(
        self,
        context: Arc<Context>,
        tools: Arc<ExternalTools>,
        timeout: Duration,
    ) -> Finding {
        let mut attempt = Attempt::new(&tools, context.shared.clock, &self.external);
        let ended = tokio::time::timeout(timeout, attempt.run()).await;
        let Attempt {
            mut detail, doing, ..
        } = attempt;
        let mut withheld = false;
        let outcome = match ended {
            Ok(Ok(rtt)) => Outcome::Reply { rtt },
            Ok(Err(Failed {
                outcome,
                reason,
                blame,
            })) => {
                if blame == Blame::Fence {
                    context.shared.metrics.external_outside.inc();
                    tools.tell(&self.external, &reason);
                }
                withheld = blame != Blame::Way;
                detail.failure = bounded_text(&reason);
                outcome
            }
            Err(_) => {
                detail.failure = format!("no end within {timeout:?}, {doing}");
                Outcome::Timeout
            }
        };
        Finding::with(outcome, Detail::External(detail)).withheld_if(withheld)
    }
}
