//! What an incident says, whoever found the failure: the dark-node detector or the diagnosis.

use std::time::Duration;

use jiff::Timestamp;
use meshprobe_core::diagnosis::Topology;
use meshprobe_core::finding::{
    Alternative, Confidence, Estimate, Finding, NamedPath, Pattern, Place, Scope, first_actions,
};
use meshprobe_core::ids::NodeName;
use meshprobe_core::path::Plane;
use meshprobe_core::time::Moment;

use super::{Declared, Incident, IncidentId, Severity, sentence};
use crate::pipeline::Now;

/// What an incident says but for its identity and its times.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub(super) pattern: Pattern,
    pub(super) scope: Scope,
    pub(super) nodes: Vec<NodeName>,
    pub(super) zones: Vec<String>,
    pub(super) plane: Option<Plane>,
    pub(super) severity: Severity,
    pub(super) summary: String,
    pub(super) evidence: Vec<String>,
    pub(super) loss: Option<Estimate>,
    pub(super) confidence: Confidence,
    pub(super) alternatives: Vec<Alternative>,
    pub(super) counter_examples: Vec<String>,
    pub(super) first_actions: Vec<String>,
    pub(super) paths: Vec<NamedPath>,
    pub(super) since: Timestamp,
    /// When the share that it is about was last seen to be lost; `None`: it is about none, or that is not kept.
    pub(super) lost_at: Option<Moment>,
    /// Names with zones, for the sentence at its end.
    pub(super) subject: String,
}

impl Statement {
    /// What the detector declared.
    pub(super) fn of_declared(declared: &Declared) -> Self {
        Self {
            pattern: declared.pattern,
            scope: declared.scope(),
            nodes: declared.names(),
            zones: declared.zones(),
            plane: declared.plane,
            severity: Severity::of(declared.pattern, None),
            summary: sentence::opened(declared),
            evidence: declared.evidence.clone(),
            loss: None,
            confidence: match declared.pattern {
                Pattern::UnreachableUnconfirmed | Pattern::AggregatorIsolated => {
                    Confidence::Suspected
                }
                _ if declared.few_observers => Confidence::Likely,
                _ => Confidence::Certain,
            },
            alternatives: Vec::new(),
            counter_examples: Vec::new(),
            first_actions: actions(&Finding::new(declared.pattern, declared.scope(), "")),
            paths: Vec::new(),
            since: declared.since,
            lost_at: None,
            subject: sentence::subject(declared),
        }
    }

    /// What the diagnosis found in a mesh of these nodes.
    pub(super) fn of_finding(finding: &Finding, topology: &Topology, now: Now) -> Self {
        let Finding {
            pattern,
            scope,
            plane,
            loss,
            counted,
            since,
            confidence,
            alternatives,
            summary,
            evidence,
            counter_examples,
            failing: _,
            judged: _,
            paths,
        } = finding;
        let nodes = scope.named_nodes();
        Self {
            pattern: *pattern,
            zones: zones(&scope.place, &nodes, topology),
            subject: sentence::subject_of_scope(scope, |node| zone_of(topology, node)),
            scope: scope.clone(),
            nodes,
            plane: *plane,
            severity: Severity::of(*pattern, loss.as_ref()),
            summary: summary.clone(),
            evidence: evidence.clone(),
            loss: *loss,
            confidence: *confidence,
            alternatives: alternatives.clone(),
            counter_examples: counter_examples.clone(),
            first_actions: actions(finding),
            paths: paths.clone(),
            since: since.map_or(now.wall, |since| now.wall_at(since)),
            lost_at: counted.and_then(|counted| counted.lost_at),
        }
    }

    /// How long the failure has lasted, as far as measured.
    pub(super) fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.since)).unwrap_or_default()
    }

    pub(super) fn id(&self) -> IncidentId {
        IncidentId::of(self.pattern, &self.scope)
    }

    /// A new incident that says this.
    pub(super) fn open(self, now: Timestamp, reopened: u32) -> Incident {
        Incident {
            nodes: self.nodes,
            zones: self.zones,
            plane: self.plane,
            severity: self.severity,
            summary: self.summary,
            evidence: self.evidence,
            loss: self.loss,
            confidence: self.confidence,
            alternatives: self.alternatives,
            counter_examples: self.counter_examples,
            first_actions: self.first_actions,
            paths: self.paths,
            started_at: self.since.min(now),
            reopened,
            ..Incident::new(self.pattern, self.scope, now)
        }
    }

    /// The open incident says this from now on. What is that to people?
    ///
    /// Counts, shares and ages in the sentences move all the time; only another scope is news, or that it matters more.
    /// It never matters less while it is open: a share that swings about a bound would be told each time.
    pub(super) fn update(self, incident: &mut Incident, now: Timestamp) -> Said {
        let before = incident.clone();
        let matters_more = self.severity > incident.severity;
        let is_elsewhere = (&incident.nodes, &incident.zones, incident.plane)
            != (&self.nodes, &self.zones, self.plane);
        incident.scope = self.scope;
        incident.nodes = self.nodes;
        incident.zones = self.zones;
        incident.plane = self.plane;
        incident.severity = incident.severity.max(self.severity);
        incident.summary = self.summary;
        incident.evidence = self.evidence;
        incident.loss = self.loss;
        incident.confidence = self.confidence;
        incident.alternatives = self.alternatives;
        incident.counter_examples = self.counter_examples;
        incident.first_actions = self.first_actions;
        incident.paths = self.paths;
        incident.started_at = incident.started_at.min(self.since);
        if is_elsewhere || matters_more {
            incident.updated_at = now;
            Said::News
        } else if *incident == before {
            Said::Same
        } else {
            incident.updated_at = now;
            Said::Better
        }
    }
}

/// What a statement is to those who know the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// To be told.
    News,
    /// Better known: to be shown.
    Better,
    /// The same.
    Same,
}

/// What to do first, a line each that a shell takes as it is.
pub(crate) fn actions(finding: &Finding) -> Vec<String> {
    first_actions(finding)
        .into_iter()
        .map(|action| format!("{}  # {}", action.command, action.what))
        .collect()
}

/// The zone of a node; `None`: nobody has this name, or its zone is unknown.
pub(super) fn zone_of(topology: &Topology, name: &NodeName) -> Option<String> {
    let mut nodes = topology.nodes.iter().flatten();
    let node = nodes.find(|node| node.name == *name)?;
    let zone = topology.zones.get(usize::from(node.zone.0))?;
    (!zone.is_empty()).then(|| zone.clone())
}

fn zones(place: &Place, nodes: &[NodeName], topology: &Topology) -> Vec<String> {
    let mut zones: Vec<String> = nodes
        .iter()
        .filter_map(|node| zone_of(topology, node))
        .collect();
    match place {
        Place::Zone(zone) => zones.push(zone.clone()),
        Place::ZonePair { from, to, .. } => zones.extend([from.clone(), to.clone()]),
        Place::Everywhere | Place::Nodes(_) | Place::Path { .. } => {}
    }
    zones.sort_unstable();
    zones.dedup();
    zones
}
