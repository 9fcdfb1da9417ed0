//! The life cycle of incidents.
//!
//! Of what the detector declares: a declaration opens an incident, or updates the open one that it belongs to, or opens a resolved one again. The end of
//! a failure resolves it: a dark node's at once, any other pattern's not before it was open for a minimum time, so that a
//! failure that comes and goes is one incident and not many. `findings` has the life cycle of what the diagnosis finds.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use meshprobe_core::finding::{Pattern, Place, Scope};
use meshprobe_core::ids::NodeName;
use meshprobe_core::path::Plane;
use meshprobe_core::time::Moment;
use serde::{Deserialize, Serialize};

use super::findings::{Absence, REMNANTS, is_found};
use super::statement::{Said, Statement};
use super::{Incident, IncidentChange, IncidentId, IncidentState, Transition, sentence};
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
    /// What it blames.
    pub fn scope(&self) -> Scope {
        match (&self.zone, self.nodes.is_empty()) {
            (Some(zone), _) => Scope::of(Place::Zone(zone.clone())),
            (None, true) => Scope::everywhere(),
            (None, false) => Scope::nodes(self.names()),
        }
    }

    /// What is wrong, in one sentence.
    pub fn sentence(&self) -> String {
        sentence::opened(self)
    }

    fn id(&self) -> IncidentId {
        IncidentId::of(self.pattern, &self.scope())
    }

    pub(super) fn names(&self) -> Vec<NodeName> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    pub(super) fn zones(&self) -> Vec<String> {
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

/// Which findings of the diagnosis open incidents. All of them are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opens {
    /// What is found about a node whose failure the dark-node detector has declared: two judges agree.
    Declared,
    /// Everything that is found.
    #[default]
    All,
}

/// How long incidents live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookConfig {
    /// Shortest time that an incident is open. Does not hold for dark nodes and zones.
    pub min_open: Duration,
    /// A failure that comes back inside this time after its end opens the same incident again.
    pub reopen_within: Duration,
    /// A finding of the diagnosis must stand in every run for so long before it opens an incident: what changes from one
    /// second to the next (a fault of which half the mesh has reported) is not told.
    pub hold: Duration,
    /// Shortest time between two looks at an incident whose finding is absent, and how many of them end it.
    pub look: Duration,
    /// See `look`.
    pub absent_looks: u32,
    /// After a restart an open incident about a share has so long to be found again: the counts that a small loss is
    /// seen in have been lost.
    pub relearn: Duration,
    /// Which findings open incidents.
    pub opens: Opens,
}

impl Default for BookConfig {
    fn default() -> Self {
        Self {
            min_open: Duration::from_secs(30),
            reopen_within: Duration::from_secs(86_400),
            hold: Duration::from_secs(4),
            look: Duration::from_secs(5),
            absent_looks: 3,
            relearn: Duration::from_secs(90),
            opens: Opens::default(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) incident: Incident,
    /// Names with zones, for the sentence at its end.
    subject: String,
    /// The failure is over, the minimum time is not.
    pub(super) resolve_at: Option<Timestamp>,
    /// Since when its finding is absent; `None`: it is there, or the detector declared it.
    pub(super) absence: Option<Absence>,
    /// Before this moment its absence says nothing.
    pub(super) relearn_until: Option<Moment>,
    /// When its words were last given to readers.
    shown_at: Timestamp,
}

/// What is known better is shown no more often than this.
const REFINE_EVERY: Duration = Duration::from_secs(5);

/// Every incident that is open, or was until lately.
#[derive(Clone, Debug)]
pub struct IncidentBook {
    pub(super) config: BookConfig,
    pub(super) entries: BTreeMap<IncidentId, Entry>,
    /// Findings that do not stand long enough yet, or must not be opened now, and since when they stand.
    pub(super) candidates: BTreeMap<IncidentId, Moment>,
}

impl IncidentBook {
    /// An empty book.
    pub fn new(config: BookConfig) -> Self {
        Self {
            config,
            entries: BTreeMap::new(),
            candidates: BTreeMap::new(),
        }
    }

    /// Other numbers are in force.
    pub fn reconfigure(&mut self, config: BookConfig) {
        self.config = config;
    }

    /// Takes over what was remembered. Open incidents stay open until their failure is seen to be over.
    pub fn restore(&mut self, incidents: impl IntoIterator<Item = Incident>, now: Moment) {
        for incident in incidents {
            let is_share = incident.loss.is_some_and(|loss| loss.ratio < 1.0);
            let relearns = is_found(incident.pattern) && is_share;
            let entry = Entry {
                subject: sentence::subject_of(&incident),
                resolve_at: None,
                absence: None,
                relearn_until: relearns.then(|| now + self.config.relearn),
                shown_at: incident.updated_at,
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

    /// Incidents that ended a short time ago.
    pub(super) fn lately_resolved(&self, now: Timestamp) -> impl Iterator<Item = &Incident> {
        let incidents = self.entries.values().map(|entry| &entry.incident);
        incidents.filter(move |incident| {
            let ended = incident.resolved_at;
            ended.is_some_and(|ended| now < later(ended, REMNANTS))
        })
    }

    /// A failure was declared, or says something else than before.
    pub fn handle_declared(
        &mut self,
        declared: &Declared,
        now: Timestamp,
    ) -> Option<IncidentChange> {
        let statement = Statement::of_declared(declared);
        // The cluster has said why already.
        let is_explained = declared.pattern == Pattern::ProberDown
            && self.is_open(&IncidentId::of(Pattern::ProberNotRunning, &statement.scope));
        if is_explained {
            return None;
        }
        match self.open_of(declared) {
            Some(id) => self.entries.get_mut(&id)?.update(statement, now),
            None => Some(self.open(statement, now)),
        }
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
        if self.is_open(&exact) {
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

    pub(super) fn is_open(&self, id: &IncidentId) -> bool {
        let entry = self.entries.get(id);
        entry.is_some_and(|e| e.incident.state == IncidentState::Open)
    }

    /// Opens an incident, anew or again.
    pub(super) fn open(&mut self, statement: Statement, now: Timestamp) -> IncidentChange {
        let id = statement.id();
        let before = self.entries.get(&id).map(|entry| entry.incident.reopened);
        let subject = statement.subject.clone();
        let reopened = before.map_or(0, |times| times.saturating_add(1));
        let incident = statement.open(now, reopened);
        let entry = Entry {
            incident: incident.clone(),
            subject,
            resolve_at: None,
            absence: None,
            relearn_until: None,
            shown_at: now,
        };
        self.entries.insert(id, entry);
        let transition = if before.is_some() {
            Transition::Reopened
        } else {
            Transition::Opened
        };
        IncidentChange {
            transition,
            incident,
        }
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
            if let Place::Nodes(named) = &mut incident.scope.place {
                named.retain(|node| !nodes.contains(node));
            }
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
    /// The failure is still there, and this is what is said of it now.
    pub(super) fn update(
        &mut self,
        statement: Statement,
        now: Timestamp,
    ) -> Option<IncidentChange> {
        self.resolve_at = None;
        self.subject.clone_from(&statement.subject);
        let transition = match statement.update(&mut self.incident, now) {
            Said::News => Transition::Updated,
            Said::Better if since(self.shown_at, now) >= REFINE_EVERY => Transition::Refined,
            Said::Better | Said::Same => return None,
        };
        self.shown_at = now;
        Some(IncidentChange {
            transition,
            incident: self.incident.clone(),
        })
    }

    /// The failure is over.
    pub(super) fn resolve(&mut self, now: Timestamp) -> IncidentChange {
        let lasted = since(self.incident.started_at, now);
        self.end(
            sentence::resolved(&self.subject, self.incident.pattern, lasted),
            now,
        )
    }

    /// It turned out to be part of another failure.
    pub(super) fn resolve_into(&mut self, other: &Statement, now: Timestamp) -> IncidentChange {
        let summary = sentence::part_of(&self.subject, self.incident.pattern, other);
        self.end(summary, now)
    }

    fn end(&mut self, summary: String, now: Timestamp) -> IncidentChange {
        self.resolve_at = None;
        self.absence = None;
        let incident = &mut self.incident;
        incident.state = IncidentState::Resolved;
        incident.updated_at = now;
        incident.resolved_at = Some(now);
        incident.summary = summary;
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
