//! Puts assignments in force: decides which one is newer, opens and retires paths, tells the runners.

use std::sync::Arc;

use meshprobe_core::ids::{Ssid, TargetNumber};
use meshprobe_core::path::Layer;
use meshprobe_daemon::admin::Condition;
use meshprobe_proto::v1;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{AggregatorAddress, TargetSet};
use crate::mailbox::Command;
use crate::path_id::PathId;
use crate::plan::{Plan, Registry};
use crate::shared::Shared;

/// Where an assignment was in the stream that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The answer to this stream's Hello: what the aggregator wants now, whatever its number is.
    First,
    /// A change. An older one may have been overtaken by another way home.
    Later,
}

/// See the module.
#[derive(Debug)]
pub struct Assignments {
    registry: Registry,
    shared: Shared,
    plan_tx: watch::Sender<Arc<Plan>>,
    ready: Condition,
    last_message: Option<v1::Assignment>,
    report_interval: std::time::Duration,
    aggregators: Vec<AggregatorAddress>,
    source: Source,
}

/// Who says whom to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The aggregator.
    Aggregator,
    /// A file; what the aggregator assigns is not looked at.
    File,
}

impl Assignments {
    /// Nothing is in force. `ready` is met with the first assignment.
    pub fn new(
        registry: Registry,
        shared: Shared,
        plan_tx: watch::Sender<Arc<Plan>>,
        ready: Condition,
        report_interval: std::time::Duration,
        source: Source,
    ) -> Self {
        Self {
            registry,
            shared,
            plan_tx,
            ready,
            last_message: None,
            report_interval,
            aggregators: Vec::new(),
            source,
        }
    }

    /// An assignment came from the aggregator. `true`: it is in force now.
    pub fn handle_message(&mut self, message: v1::Assignment, position: Position) -> bool {
        if self.source == Source::File {
            return false;
        }
        let stale = self
            .last_message
            .as_ref()
            .is_some_and(|last| match position {
                Position::First => *last == message,
                Position::Later => message.generation <= last.generation,
            });
        if stale {
            return false;
        }
        match TargetSet::try_from(message.clone()) {
            Ok(set) => {
                self.last_message = Some(message);
                self.put_in_force(&set);
                true
            }
            Err(error) => {
                self.shared.metrics.assignments_refused.inc();
                warn!(error = %chain(&error), generation = message.generation, "Assignment refused; the one in force stays");
                false
            }
        }
    }

    /// Puts a checked assignment in force.
    pub fn put_in_force(&mut self, set: &TargetSet) {
        let plan = {
            let mut book = self.shared.book.lock();
            Arc::new(self.registry.apply(set, &mut book))
        };
        self.report_interval = set.report_interval;
        self.aggregators.clone_from(&set.aggregators);
        let metrics = &self.shared.metrics;
        metrics.paths.set(self.registry.path_count() as i64);
        metrics.assignment_generation.set(set.generation);
        info!(
            generation = set.generation,
            ssid = set.ssid.0,
            peers = set.peers.len(),
            dns = set.dns.len(),
            paths = self.registry.path_count(),
            authenticated = set.stamp_keys.is_some(),
            "Assignment in force"
        );
        self.shared.engine().send(Command::Plan(Arc::clone(&plan)));
        self.plan_tx.send_replace(plan);
        self.ready.met();
    }

    /// What the runners do now.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan_tx.borrow())
    }

    /// The path to a target by the name that the matrix has for it.
    pub fn path(&self, layer: Layer, target: &str) -> Option<PathId> {
        self.registry.path(layer, target)
    }

    /// The peer with this session identifier.
    pub fn target_of(&self, ssid: Ssid) -> Option<TargetNumber> {
        self.registry.target_of(ssid)
    }

    /// All numbers and their meaning.
    pub fn dictionary(&self) -> &[v1::DictionaryEntry] {
        self.registry.dictionary()
    }

    /// When all is well, one report in this time.
    pub const fn report_interval(&self) -> std::time::Duration {
        self.report_interval
    }

    /// Where else reports can go.
    pub fn aggregators(&self) -> &[AggregatorAddress] {
        &self.aggregators
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
