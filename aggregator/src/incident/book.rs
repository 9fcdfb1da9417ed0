//! The life cycle of incidents.
//!
//! A declaration opens an incident, or updates the open one that it belongs to, or opens a resolved one again. The end of
//! a failure resolves it: a dark node's at once, any other pattern's not before it was open for a minimum time, so that a
//! failure that comes and goes is one incident and not many.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use meshprobe_core::finding::Pattern;
use meshprobe_core::ids::NodeName;
use meshprobe_core::path::Plane;

use super::{Incident, IncidentChange, IncidentId, IncidentState, Severity, Transition, sentence};
use crate::wall::later;

/// A node as a declaration names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeclaredNode {
    /// Its name.
    pub name: NodeName,
    /// Its zone, empty if unknown.
    pub zone: String,
}

impl DeclaredNode {
    pub(super) fn name_in_zone(&self) -> String {
        if self.zone.is_empty() {
            self.name.to_string()
        } else {
            format!("{} ({})", self.name, self.zone)
        }
    }
}

/// A failure as the judge declares it, in names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Which shape.
    pub pattern: Pattern,
    /// The nodes that it names, by name. Empty: the mesh as a whole.
    pub nodes: Vec<DeclaredNode>,
    /// The zone that failed as a whole.
    pub zone: Option<String>,
    /// The plane that is broken while another one works.
    pub plane: Option<Plane>,
    /// When it began, as far as measured.
    pub since: Timestamp,
    /// How many observers accuse.
    pub accusers: u32,
    /// How many had a vote.
    pub observers: u32,
    /// Fewer than three observers could vote.
    pub few_observers: bool,
    /// What backs it, a sentence each.
    pub evidence: Vec<String>,
}

impl Declared {
    fn id(&self) -> IncidentId {
        match (&self.zone, self.nodes.is_empty()) {
            (Some(zone), _) => IncidentId::of_zone(self.pattern, zone),
            (None, true) => IncidentId::of_mesh(self.pattern),
            (None, false) => IncidentId::of_nodes(self.pattern, self.nodes.iter().map(|n| &n.name)),
        }
    }

    fn names(&self) -> Vec<NodeName> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    fn zones(&self) -> Vec<String> {
        let mut zones: Vec<String> = self
            .nodes
            .iter()
            .map(|node| node.zone.clone())
            .chain(self.zone.clone())
            .filter(|zone| !zone.is_empty())
            .collect();
        zones.sort_unstable();
        zones.dedup();
        zones
    }
}

/// How long incidents live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookConfig {
    /// Shortest time that an incident is open. Does not hold for dark nodes and zones.
    pub min_open: Duration,
    /// A failure that comes back inside this time after its end opens the same incident again.
    pub reopen_within: Duration,
}

impl Default for BookConfig {
    fn default() -> Self {
        Self {
            min_open: Duration::from_secs(30),
            reopen_within: Duration::from_secs(86_400),
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    incident: Incident,
    /// Names with zones, for the sentence at its end.
    subject: String,
    /// The failure is over, the minimum time is not.
    resolve_at: Option<Timestamp>,
}

/// Every incident that is open, or was until lately.
#[derive(Clone, Debug)]
pub struct IncidentBook {
    config: BookConfig,
    entries: BTreeMap<IncidentId, Entry>,
}

impl IncidentBook {
    /// An empty book.
    pub fn new(config: BookConfig) -> Self {
        Self {
            config,
            entries: BTreeMap::new(),
        }
    }

    /// Takes over what was remembered. Open incidents stay open until their failure is seen to be over.
    pub fn restore(&mut self, incidents: impl IntoIterator<Item = Incident>) {
        for incident in incidents {
            let entry = Entry {
                subject: sentence::subject_of(&incident),
                resolve_at: None,
                incident,
            };
            self.entries.insert(entry.incident.id.clone(), entry);
        }
    }

    /// The incidents that are open, by identity.
    pub fn open_incidents(&self) -> impl Iterator<Item = &Incident> {
        self.entries
            .values()
            .map(|entry| &entry.incident)
            .filter(|incident| incident.state == IncidentState::Open)
    }

    /// A failure was declared, or says something else than before.
    pub fn handle_declared(
        &mut self,
        declared: &Declared,
        now: Timestamp,
    ) -> Option<IncidentChange> {
        if let Some(id) = self.open_of(declared) {
            return self.update(&id, declared, now);
        }
        let id = declared.id();
        let before = self.entries.get(&id).map(|entry| entry.incident.reopened);
        let incident = Incident {
            id: id.clone(),
            pattern: declared.pattern,
            nodes: declared.names(),
            zones: declared.zones(),
            plane: declared.plane,
            state: IncidentState::Open,
            severity: Severity::of(declared.pattern),
            summary: sentence::opened(declared),
            evidence: declared.evidence.clone(),
            started_at: declared.since.min(now),
            opened_at: now,
            updated_at: now,
            resolved_at: None,
            reopened: before.map_or(0, |times| times.saturating_add(1)),
        };
        let entry = Entry {
            incident: incident.clone(),
            subject: sentence::subject(declared),
            resolve_at: None,
        };
        self.entries.insert(id, entry);
        let transition = if before.is_some() {
            Transition::Reopened
        } else {
            Transition::Opened
        };
        Some(IncidentChange {
            transition,
            incident,
        })
    }

    /// The failure of these nodes is over; no nodes: that of the mesh as a whole.
    pub fn handle_cleared(
        &mut self,
        pattern: Pattern,
        nodes: &[NodeName],
        now: Timestamp,
    ) -> Vec<IncidentChange> {
        let concerned: Vec<IncidentId> = self
            .open_incidents()
            .filter(|incident| incident.pattern == pattern)
            .filter(|incident| {
                nodes.is_empty() == incident.nodes.is_empty()
                    && (nodes.is_empty() || incident.nodes.iter().any(|n| nodes.contains(n)))
            })
            .map(|incident| incident.id.clone())
            .collect();
        concerned
            .iter()
            .filter_map(|id| self.clear(id, nodes, now))
            .collect()
    }

    /// Resolves what waited for its minimum time, and forgets what was resolved long ago. To be called every second or so.
    pub fn poll(&mut self, now: Timestamp) -> Vec<IncidentChange> {
        let reopen_within = self.config.reopen_within;
        self.entries.retain(|_, entry| {
            let ended = entry.incident.resolved_at;
            ended.is_none_or(|at| since(at, now) < reopen_within)
        });
        self.entries
            .values_mut()
            .filter(|entry| entry.resolve_at.is_some_and(|at| at <= now))
            .map(|entry| entry.resolve(now))
            .collect()
    }

    /// The open incident that this declaration goes on with: same pattern, and the same zone or a node in common.
    fn open_of(&self, declared: &Declared) -> Option<IncidentId> {
        let exact = declared.id();
        let is_open = |id: &IncidentId| {
            let entry = self.entries.get(id);
            entry.is_some_and(|e| e.incident.state == IncidentState::Open)
        };
        if is_open(&exact) {
            return Some(exact);
        }
        let shares_a_node = |incident: &Incident| {
            let declared_names = declared.nodes.iter().map(|node| &node.name);
            declared_names
                .into_iter()
                .any(|n| incident.nodes.contains(n))
        };
        self.open_incidents()
            .find(|i| i.pattern == declared.pattern && shares_a_node(i))
            .map(|i| i.id.clone())
    }

    fn update(
        &mut self,
        id: &IncidentId,
        declared: &Declared,
        now: Timestamp,
    ) -> Option<IncidentChange> {
        let entry = self.entries.get_mut(id)?;
        entry.resolve_at = None;
        entry.subject = sentence::subject(declared);
        let incident = &mut entry.incident;
        let (nodes, zones) = (declared.names(), declared.zones());
        // Counts and ages in the sentences move all the time; only another scope is news.
        let is_news =
            (&incident.nodes, &incident.zones, incident.plane) != (&nodes, &zones, declared.plane);
        incident.nodes = nodes;
        incident.zones = zones;
        incident.plane = declared.plane;
        incident.started_at = incident.started_at.min(declared.since);
        incident.summary = sentence::opened(declared);
        incident.evidence.clone_from(&declared.evidence);
        incident.updated_at = now;
        is_news.then(|| IncidentChange {
            transition: Transition::Updated,
            incident: incident.clone(),
        })
    }

    fn clear(
        &mut self,
        id: &IncidentId,
        nodes: &[NodeName],
        now: Timestamp,
    ) -> Option<IncidentChange> {
        let min_open = self.config.min_open;
        let entry = self.entries.get_mut(id)?;
        let incident = &mut entry.incident;
        if incident.nodes.iter().any(|node| !nodes.contains(node)) {
            incident.nodes.retain(|node| !nodes.contains(node));
            incident.updated_at = now;
            return Some(IncidentChange {
                transition: Transition::Updated,
                incident: incident.clone(),
            });
        }
        let prompt = matches!(incident.pattern, Pattern::NodeDark | Pattern::ZoneDark);
        if prompt || since(incident.opened_at, now) >= min_open {
            return Some(entry.resolve(now));
        }
        entry.resolve_at = Some(later(incident.opened_at, min_open));
        None
    }
}

impl Entry {
    fn resolve(&mut self, now: Timestamp) -> IncidentChange {
        self.resolve_at = None;
        let incident = &mut self.incident;
        incident.state = IncidentState::Resolved;
        incident.updated_at = now;
        incident.resolved_at = Some(now);
        let lasted = since(incident.started_at, now);
        incident.summary = sentence::resolved(&self.subject, incident.pattern, lasted);
        IncidentChange {
            transition: Transition::Resolved,
            incident: incident.clone(),
        }
    }
}

/// Time from `then` to `now`; zero if the wall clock was set back.
fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}
