//! The runner of the kinds that probe by connections and queries: TCP and DNS.
//!
//! Each probe is a task of its own, so a dead target delays nobody. At most 512 are under way; a turn
//! that finds no room is invalid, not lost. The runner owns its schedule and its probes; on shutdown it starts no more
//! and waits for those that are under way.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::ids::TargetNumber;
use meshprobe_core::outcome::Outcome;
use meshprobe_core::time::Moment;
use meshprobe_daemon::shutdown::Shutdown;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::book::Sample;
use crate::path_id::PathId;
use crate::plan::Plan;
use crate::schedule::{Cadence, Schedule};
use crate::shared::Shared;

/// Probes under way at once: every peer of a large mesh timing out for a second.
const MAX_UNDER_WAY: usize = 512;

/// A result that comes so much after its timeout says that this process was not scheduled.
const LATE_RESULT: Duration = Duration::from_millis(200);

/// Longest wait of a probe that confirms something.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_millis(250);

/// What is probed, and how one probe is made.
pub trait Probing: Clone + Send + Sync + 'static {
    /// Everything that one probe needs to know.
    fn path(&self) -> PathId;
    /// Whose path it is.
    fn target(&self) -> TargetNumber;
    /// How often.
    fn cadence(&self) -> Cadence;
    /// Longest wait.
    fn timeout(&self) -> Duration;
    /// The targets of this kind in a plan.
    fn select(plan: &Plan) -> Vec<Self>;
    /// Makes one probe. It has to end by itself, at the latest a moment after `timeout`.
    fn probe(
        self,
        context: Arc<Context>,
        timeout: Duration,
    ) -> impl Future<Output = Outcome> + Send;
}

/// What all probes of a runner share.
#[derive(Debug)]
pub struct Context {
    /// Counters and clock.
    pub shared: Shared,
    /// The own addresses, to probe from.
    pub local: Vec<IpAddr>,
}

impl Context {
    /// The own address of the same family as `peer`, if one is configured.
    pub fn local_for(&self, peer: IpAddr) -> Option<IpAddr> {
        self.local
            .iter()
            .copied()
            .find(|local| local.is_ipv4() == peer.is_ipv4() && !local.is_unspecified())
    }
}

/// Runs the probes of one kind.
#[derive(Debug)]
pub struct Runner<T> {
    context: Arc<Context>,
    plan_rx: watch::Receiver<Arc<Plan>>,
    confirm_rx: Option<mpsc::Receiver<TargetNumber>>,
    targets: HashMap<PathId, T>,
    schedule: Schedule,
    under_way: JoinSet<Sample>,
}

impl<T: Probing> Runner<T> {
    /// A runner that follows `plan_rx` and probes at once whatever comes by `confirm_rx`.
    pub fn new(
        context: Arc<Context>,
        plan_rx: watch::Receiver<Arc<Plan>>,
        confirm_rx: Option<mpsc::Receiver<TargetNumber>>,
    ) -> Self {
        let reading = context.shared.clock.read();
        Self {
            schedule: Schedule::new(reading.unix_nanos - reading.now.as_nanos() as i64),
            context,
            plan_rx,
            confirm_rx,
            targets: HashMap::new(),
            under_way: JoinSet::new(),
        }
    }

    /// Probes until `shutdown`, then waits for what is under way.
    pub async fn run(mut self, shutdown: Shutdown) {
        let clock = self.context.shared.clock;
        self.apply_plan(clock.now());
        loop {
            let next = self.schedule.next_deadline();
            tokio::select! {
                () = shutdown.signaled() => break,
                changed = self.plan_rx.changed() => match changed {
                    Ok(()) => self.apply_plan(clock.now()),
                    Err(_) => break,
                },
                Some(target) = receive(&mut self.confirm_rx) => self.confirm(target),
                Some(ended) = self.under_way.join_next(), if !self.under_way.is_empty() => {
                    self.finish(ended, clock.now());
                }
                () = sleep_until(next.map(|at| clock.instant(at))) => self.start_due(clock.now()),
            }
        }
        while let Some(ended) = self.under_way.join_next().await {
            self.finish(ended, clock.now());
        }
    }

    fn apply_plan(&mut self, now: Moment) {
        let plan = Arc::clone(&self.plan_rx.borrow_and_update());
        let mut before = std::mem::take(&mut self.targets);
        for target in T::select(&plan) {
            before.remove(&target.path());
            self.schedule.set(target.path(), target.cadence(), now);
            self.targets.insert(target.path(), target);
        }
        for gone in before.into_keys() {
            self.schedule.remove(gone);
        }
    }

    fn start_due(&mut self, now: Moment) {
        while let Some(turn) = self.schedule.poll_turn(now) {
            if turn.missed > 0 {
                let mut book = self.context.shared.book.lock();
                book.record_missed(turn.path, turn.missed, now);
            }
            if let Some(target) = self.targets.get(&turn.path).cloned() {
                let timeout = target.timeout();
                self.start(target, timeout, now);
            }
        }
    }

    fn confirm(&mut self, number: TargetNumber) {
        let now = self.context.shared.clock.now();
        let suspects: Vec<T> = self
            .targets
            .values()
            .filter(|target| target.target() == number)
            .cloned()
            .collect();
        for target in suspects {
            let timeout = target.timeout().min(CONFIRM_TIMEOUT);
            self.start(target, timeout, now);
        }
    }

    fn start(&mut self, target: T, timeout: Duration, now: Moment) {
        if self.under_way.len() >= MAX_UNDER_WAY {
            let sample = Sample::new(target.path(), Outcome::Invalid, now);
            self.context.shared.record(&sample, now);
            return;
        }
        let context = Arc::clone(&self.context);
        self.under_way.spawn(async move {
            let path = target.path();
            let clock = context.shared.clock;
            let sent_at = clock.now();
            let outcome = target.probe(context, timeout).await;
            let overdue = clock.now().saturating_since(sent_at + timeout);
            let outcome = match outcome {
                Outcome::Timeout if overdue > LATE_RESULT => Outcome::Invalid,
                outcome => outcome,
            };
            Sample::new(path, outcome, sent_at)
        });
    }

    fn finish(&self, ended: Result<Sample, tokio::task::JoinError>, now: Moment) {
        match ended {
            Ok(sample) => self.context.shared.record(&sample, now),
            Err(error) => {
                // Nothing aborts a probe, so it panicked; the hook has logged where.
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
}

async fn receive(confirm_rx: &mut Option<mpsc::Receiver<TargetNumber>>) -> Option<TargetNumber> {
    match confirm_rx {
        Some(confirm_rx) => confirm_rx.recv().await,
        None => std::future::pending().await,
    }
}

pub(crate) async fn sleep_until(at: Option<std::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
