//! Who looks at the mesh: the real diagnosis on each picture, and the real life cycle of incidents behind it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use meshprobe_aggregator::incident::{
    BookConfig, Declared, DeclaredNode, IncidentBook, IncidentChange, Look, Opens, Transition,
};
use meshprobe_aggregator::pipeline::{Now, now_by_hand};
use meshprobe_core::dark::{Declaration, NodeState};
use meshprobe_core::diagnosis::{Diagnoser, Diagnosis, Picture};
use meshprobe_core::finding::Pattern;
use meshprobe_core::ids::NodeName;
use meshprobe_daemon::clock;

use super::cell::moment;
use super::engine::Engine;
use super::fault::Name;

/// When the runs' wall clock starts, seconds since the Unix epoch.
const EPOCH: i64 = 1_780_000_000;

/// An incident that was opened.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    /// Second of the run.
    pub(super) at: u32,
    pub(super) name: Name,
    pub(super) summary: String,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Watcher {
    book: IncidentBook,
    diagnoser: Diagnoser,
    /// Declarations of the detector that the book knows.
    declared: Vec<Arc<Declaration>>,
    pub(super) opened: Vec<Opened>,
    /// Notifications: openings and ends.
    pub(super) told: u32,
    /// Time that the diagnosis took, and how often it ran.
    pub(super) busy: Duration,
    pub(super) looks: u32,
}

impl Watcher {
    pub(super) fn new() -> Self {
        Self {
            book: IncidentBook::new(BookConfig {
                opens: Opens::All,
                ..BookConfig::default()
            }),
            diagnoser: Diagnoser::default(),
            declared: Vec::new(),
            opened: Vec::new(),
            told: 0,
            busy: Duration::ZERO,
            looks: 0,
        }
    }

    /// One look.
    pub(super) fn look(&mut self, engine: &mut Engine) -> (Picture, Arc<Diagnosis>) {
        let picture = engine.picture();
        let started = clock::now();
        let diagnosis = self.diagnoser.diagnose(&picture);
        self.busy += clock::now().saturating_duration_since(started);
        self.looks += 1;
        let now = at(engine.now);
        let mut changes = self.take_declarations(&picture, now);
        let name = |node: usize| Some(picture.topology.nodes.get(node)?.as_ref()?.name.clone());
        let states = picture.nodes.iter().enumerate();
        let (mut declared, mut quiet) = (BTreeSet::new(), BTreeSet::new());
        for (node, known) in states {
            let Some(name) = name(node) else { continue };
            match known.state {
                NodeState::Failed(Pattern::NodeDark | Pattern::ZoneDark) | NodeState::Leaving => {
                    quiet.insert(name);
                }
                NodeState::Failed(_) => {
                    declared.insert(name);
                }
                _ => {}
            }
        }
        changes.extend(self.book.handle_findings(
            &Look {
                findings: &diagnosis.findings,
                topology: &picture.topology,
                declared: &declared,
                quiet: &quiet,
                is_blind: false,
            },
            now,
        ));
        changes.extend(self.book.poll(now.wall));
        for change in changes {
            self.note(&change, engine.now);
        }
        (picture, diagnosis)
    }

    /// Is anything open?
    pub(super) fn is_quiet(&self) -> bool {
        self.book.open_incidents().next().is_none()
    }

    fn note(&mut self, change: &IncidentChange, now: u32) {
        let incident = &change.incident;
        if matches!(change.transition, Transition::Opened | Transition::Reopened) {
            self.opened.push(Opened {
                at: now,
                name: (incident.pattern, incident.scope.clone()),
                summary: incident.summary.clone(),
            });
        }
        if !matches!(change.transition, Transition::Updated) {
            self.told += 1;
        }
    }

    /// What the detector tells the book without asking the diagnosis.
    fn take_declarations(&mut self, picture: &Picture, now: Now) -> Vec<IncidentChange> {
        let current: Vec<Arc<Declaration>> = picture
            .nodes
            .iter()
            .filter_map(|node| node.declaration.clone())
            .filter(|declaration| is_told_by_detector(declaration.pattern))
            .collect();
        let names = |declaration: &Declaration| -> Vec<NodeName> {
            let nodes = declaration.nodes.iter();
            nodes
                .filter_map(|node| Some(picture.node(*node)?.name.clone()))
                .collect()
        };
        let mut changes = Vec::new();
        for declaration in &self.declared {
            if !current.contains(declaration) {
                changes.extend(self.book.handle_cleared(
                    declaration.pattern,
                    &names(declaration),
                    now.wall,
                ));
            }
        }
        for declaration in &current {
            let nodes = names(declaration).into_iter().map(|name| DeclaredNode {
                name,
                zone: String::new(),
            });
            let declared = Declared {
                pattern: declaration.pattern,
                nodes: nodes.collect(),
                zone: None,
                plane: declaration.plane,
                since: now.wall,
                accusers: declaration.accusers,
                observers: declaration.observers,
                few_observers: declaration.few_observers,
                evidence: declaration.evidence.clone(),
            };
            changes.extend(self.book.handle_declared(&declared, now.wall));
        }
        self.declared = current;
        changes
    }
}

const fn is_told_by_detector(pattern: Pattern) -> bool {
    matches!(
        pattern,
        Pattern::NodeDark
            | Pattern::ZoneDark
            | Pattern::ReportsCut
            | Pattern::ProberDown
            | Pattern::UnreachableUnconfirmed
            | Pattern::AggregatorIsolated
    )
}

fn at(second: u32) -> Now {
    let origin = Timestamp::from_second(EPOCH).unwrap_or(Timestamp::UNIX_EPOCH);
    now_by_hand(moment(second), origin)
}
