//! The runner of every kind but STAMP: TCP, DNS, MTU, QUIC, ICMP, services, targets outside the mesh.
//!
//! Each probe is a task of its own, so a dead target delays nobody. At most 512 are under way; a turn
//! that finds no room is invalid, not lost. A first loss is followed up at once: three more probes, a quarter of a second
//! apart, tell a lost packet from a dead path, where the next regular turn would come seconds later. The runner owns its
//! schedule and its probes; on shutdown it starts no more, waits two seconds for those that are under way and drops the
//! rest.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::detail::Detail;
use meshprobe_core::ids::TargetNumber;
use meshprobe_core::outcome::Outcome;
use meshprobe_core::time::Moment;
use meshprobe_daemon::shutdown::Shutdown;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::book::Sample;
use crate::demand::{self, Demand};
use crate::follow_ups::FollowUps;
use crate::path_id::PathId;
use crate::plan::Plan;
use crate::schedule::{Cadence, Schedule};
use crate::shared::Shared;

/// Probes under way at once: every peer of a large mesh timing out for a second.
const MAX_UNDER_WAY: usize = 512;

/// A result that comes so much after its timeout says that this process was not scheduled.
const LATE_RESULT: Duration = Duration::from_millis(200);

/// How long the probes under way are waited for at the end; the slow kinds take up to half a minute.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Longest wait of a probe that confirms something.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_millis(250);

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it ended.
    pub outcome: Outcome,
    /// What it saw beside that; `None`: nothing new.
    pub detail: Option<Box<Detail>>,
    /// Nothing was sent, because this prober's own rules or files do not let it. No sign of ill health.
    pub withheld: bool,
}

impl From<Outcome> for Finding {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            detail: None,
            withheld: false,
        }
    }
}

impl Finding {
    /// An outcome and what was seen beside it.
    pub fn with(outcome: Outcome, detail: Detail) -> Self {
        Self {
            outcome,
            detail: Some(Box::new(detail)),
            withheld: false,
        }
    }

    /// The same as one that was not sent, if `withheld`.
    #[must_use]
    pub fn withheld_if(self, withheld: bool) -> Self {
        Self { withheld, ..self }
    }
}

/// What is probed, and how one probe is made.
pub trait Probing: Clone + Send + Sync + 'static {
    /// What all probes of this kind share: sockets, connections, trust anchors.
    type Tools: Send + Sync + 'static;
    /// Probes that follow a first loss. Zero for a kind whose probe confirms itself.
    const FOLLOW_UPS: u8 = 3;
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
        tools: Arc<Self::Tools>,
        timeout: Duration,
    ) -> impl Future<Output = Finding> + Send;
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

/// A probe that has ended.
type Ended = (Sample, Option<Box<Detail>>, Withheld);

/// See [`Finding::withheld`].
type Withheld = bool;

/// Runs the probes of one kind.
#[derive(Debug)]
pub struct Runner<T: Probing> {
    context: Arc<Context>,
    tools: Arc<T::Tools>,
    plan_rx: watch::Receiver<Arc<Plan>>,
    confirm_rx: Option<mpsc::Receiver<TargetNumber>>,
    targets: HashMap<PathId, T>,
    schedule: Schedule,
    follow_ups: FollowUps,
    demands_rx: mpsc::Receiver<Arc<Demand>>,
    on_demand: JoinSet<()>,
    under_way: JoinSet<Ended>,
}

impl<T: Probing> Runner<T> {
    /// A runner that follows `plan_rx` and probes at once whatever comes by `confirm_rx`.
    pub fn new(
        context: Arc<Context>,
        tools: T::Tools,
        plan_rx: watch::Receiver<Arc<Plan>>,
        confirm_rx: Option<mpsc::Receiver<TargetNumber>>,
    ) -> Self {
        let reading = context.shared.clock.read();
        Self {
            schedule: Schedule::new(reading.unix_nanos - reading.now.as_nanos() as i64),
            demands_rx: context.shared.demands.listen(),
            on_demand: JoinSet::new(),
            context,
            tools: Arc::new(tools),
            plan_rx,
            confirm_rx,
            targets: HashMap::new(),
            follow_ups: FollowUps::new(T::FOLLOW_UPS),
            under_way: JoinSet::new(),
        }
    }

    /// Probes until `shutdown`, then waits for what is under way.
    pub async fn run(mut self, shutdown: Shutdown) {
        let clock = self.context.shared.clock;
        self.apply_plan(clock.now());
        loop {
            let next = [self.schedule.next_deadline(), self.follow_ups.next_due()];
            let next = next.into_iter().flatten().min();
            tokio::select! {
                () = shutdown.signaled() => break,
                changed = self.plan_rx.changed() => match changed {
                    Ok(()) => self.apply_plan(clock.now()),
                    Err(_) => break,
                },
                Some(target) = receive(&mut self.confirm_rx) => self.confirm(target),
                Some(demand) = self.demands_rx.recv() => self.meet(&demand),
                Some(ended) = self.on_demand.join_next(), if !self.on_demand.is_empty() => {
                    resume_panic(ended);
                }
                Some(ended) = self.under_way.join_next(), if !self.under_way.is_empty() => {
                    self.finish(ended, clock.now());
                }
                () = sleep_until(next.map(|at| clock.instant(at))) => self.start_due(clock.now()),
            }
        }
        let last = async {
            while let Some(ended) = self.under_way.join_next().await {
                self.finish(ended, clock.now());
            }
        };
        if tokio::time::timeout(LAST_WAIT, last).await.is_err() {
            self.under_way.shutdown().await;
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
            self.follow_ups.forget(gone);
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
        while let Some(path) = self.follow_ups.pop_due(now) {
            if let Some(target) = self.targets.get(&path).cloned() {
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

    /// Makes a probe that somebody wants, if it is one of this runner's paths and there is room.
    fn meet(&mut self, demand: &Demand) {
        let Some(target) = self.targets.get(&demand.path).cloned() else {
            return;
        };
        let Some(answer_tx) = demand.take_answer() else {
            return;
        };
        if self.on_demand.len() >= demand::MAX_UNDER_WAY {
            return;
        }
        let timeout = demand.timeout.unwrap_or_else(|| target.timeout());
        let context = Arc::clone(&self.context);
        let tools = Arc::clone(&self.tools);
        self.on_demand.spawn(async move {
            let finding = target.probe(context, tools, timeout).await;
            // Whoever asked may have gone.
            answer_tx.send(finding).ok();
        });
    }

    fn start(&mut self, target: T, timeout: Duration, now: Moment) {
        if self.under_way.len() >= MAX_UNDER_WAY {
            let sample = Sample::new(target.path(), Outcome::Invalid, now);
            self.context.shared.record(&sample, now);
            return;
        }
        let context = Arc::clone(&self.context);
        let tools = Arc::clone(&self.tools);
        self.under_way.spawn(async move {
            let path = target.path();
            let clock = context.shared.clock;
            let sent_at = clock.now();
            let Finding {
                outcome,
                detail,
                withheld,
            } = target.probe(context, tools, timeout).await;
            let overdue = clock.now().saturating_since(sent_at + timeout);
            let outcome = match outcome {
                Outcome::Timeout if overdue > LATE_RESULT => Outcome::Invalid,
                outcome => outcome,
            };
            (Sample::new(path, outcome, sent_at), detail, withheld)
        });
    }

    fn finish(&mut self, ended: Result<Ended, tokio::task::JoinError>, now: Moment) {
        match ended {
            Ok((sample, detail, withheld)) => {
                // Before the outcome, which may close the window.
                if let Some(detail) = detail {
                    self.context.shared.record_detail(sample.path, detail);
                }
                if withheld {
                    self.context.shared.record_withheld(sample.path);
                } else if let Some(transition) = self.context.shared.record(&sample, now) {
                    self.follow_ups.handle(sample.path, transition, now);
                }
            }
            Err(error) => resume_panic(Err(error)),
        }
    }
}

/// Nothing aborts a probe, so one that did not end panicked; the hook has logged where.
fn resume_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
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
