//! The life cycle of incidents that the diagnosis finds.
//!
//! A finding is a statement about one picture. It opens an incident when it stood in every run for a while, or at once when
//! the dark-node detector has declared the node: then it stood long enough already. The incident ends when the finding was
//! absent in several looks, some seconds apart. One cause is one incident:
//!
//! - a finding that is part of an open incident's scope, and loses no more than that one explains, is not opened; it is
//!   judged again when the other one ends;
//! - a finding that an open incident was part of takes its place: a fault that grows from a pair of nodes to a pair of zones is
//!   not told twice;
//! - nothing is opened about nodes that are dark, or expected to go;
//! - where the cluster says why a prober does not run, that takes the place of the detector's word that it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meshprobe_core::diagnosis::Topology;
use meshprobe_core::finding::{Finding, Pattern, Place};
use meshprobe_core::ids::NodeName;
use meshprobe_core::time::Moment;

use super::book::{Entry, IncidentBook, Opens};
use super::cover::{Domain, covers};
use super::statement::{Statement, zone_of};
use super::{Incident, IncidentChange, IncidentId, IncidentState};
use crate::pipeline::Now;
use crate::wall::later;

/// What one run of the diagnosis brought, and what the book has to know of the nodes.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The causes.
    pub findings: &'a [Finding],
    /// Who was there.
    pub topology: &'a Topology,
    /// Nodes that the detector has declared to have failed: what is found about them opens at once.
    pub declared: &'a BTreeSet<NodeName>,
    /// Nodes that are dark, or expected to go: nothing is opened about them.
    pub quiet: &'a BTreeSet<NodeName>,
    /// Too few probers report: what is not found now may be there all the same.
    pub is_blind: bool,
}

/// A part of an open incident that is worse than the whole for so long has a cause of its own.
const SETTLED: Duration = Duration::from_secs(60);
/// For so long after its end an incident explains what is left of it.
pub(super) const REMNANTS: Duration = Duration::from_secs(90);
/// A share of more than this is everything.
const TOTAL: f64 = 0.95;

/// Looks in which a finding of an open incident was absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Absence {
    last_look: Moment,
    looks: u32,
}

/// Does the diagnosis find this pattern (and neither the detector nor the aggregator itself declares it)?
pub(crate) const fn is_found(pattern: Pattern) -> bool {
    !matches!(
        pattern,
        Pattern::NodeDark
            | Pattern::ZoneDark
            | Pattern::ReportsCut
            | Pattern::ProberDown
            | Pattern::UnreachableUnconfirmed
            | Pattern::AggregatorIsolated
            | Pattern::StoreUnwritable
    )
}

/// Is it about the ways of a node as a whole, which is what the detector declares?
const fn is_of_a_node(pattern: Pattern) -> bool {
    matches!(
        pattern,
        Pattern::NodeIngress
            | Pattern::NodeEgress
            | Pattern::NodeLink
            | Pattern::Isolated
            | Pattern::OverlayIngress
            | Pattern::OverlayEgress
            | Pattern::OverlayNode
    )
}

impl IncidentBook {
    /// The diagnosis looked at the mesh.
    pub fn handle_findings(&mut self, look: &Look<'_>, now: Now) -> Vec<IncidentChange> {
        let statements: BTreeMap<IncidentId, Statement> = look
            .findings
            .iter()
            .map(|finding| {
                let statement = Statement::of_finding(finding, look.topology, now);
                (statement.id(), statement)
            })
            .collect();
        self.candidates.retain(|id, _| statements.contains_key(id));
        let mut changes = Vec::new();
        let mut new = Vec::new();
        for (id, statement) in &statements {
            if self.is_open(id) {
                changes.extend(self.stand(id, statement.clone(), now));
            } else {
                new.push((id, statement));
            }
        }
        // The larger scopes first: what is part of them is not opened beside them.
        new.sort_by_key(|(_, statement)| breadth(&statement.scope.place));
        for (id, statement) in new {
            let since = *self.candidates.entry(id.clone()).or_insert(now.moment);
            let stood_for = now.moment.saturating_since(since);
            let (stands, lasts) = hold_factors(statement);
            let lasted = stood_for.max(statement.age(now.wall));
            let hold = self.config.hold;
            // A burst is remembered for longer than it lasts, and who lost nothing since may not have said so yet.
            // Where everything is lost, nobody has said otherwise since.
            let is_newer = |at: Moment| at >= since + hold;
            let goes_on = !is_share(statement) || statement.lost_at.is_none_or(is_newer);
            let stood =
                goes_on && stood_for >= hold.mul_f32(stands) && lasted >= hold.mul_f32(lasts);
            let is_declared = is_of_a_node(statement.pattern)
                && match &statement.scope.place {
                    Place::Nodes(nodes) => nodes.iter().all(|node| look.declared.contains(node)),
                    _ => false,
                };
            let explains = self.open_incidents().any(|one| says_why(statement, one));
            let opens = is_declared || explains || (stood && self.config.opens == Opens::All);
            // While a node's failure begins and ends, its two ways look different for some seconds: that is no other failure.
            let renames = is_of_a_node(statement.pattern)
                && self
                    .open_incidents()
                    .any(|one| is_of_a_node(one.pattern) && one.scope == statement.scope);
            let renamed_after = self.config.look * self.config.absent_looks;
            if renames && stood_for < renamed_after {
                continue;
            }
            // A node without a prober is quiet; what the cluster says of that is the news.
            let is_quiet = statement.pattern != Pattern::ProberNotRunning
                && is_quiet(&statement.scope.place, look);
            if !opens || is_quiet {
                continue;
            }
            let zone_of = |node: &NodeName| zone_of(look.topology, node);
            let is_settled = stood_for >= SETTLED;
            if self
                .open_incidents()
                .any(|one| inhibits(one, statement, is_settled, zone_of))
            {
                continue;
            }
            if self
                .lately_resolved(now.wall)
                .any(|one| is_remnant(one, statement, zone_of))
            {
                continue;
            }
            let outgrown: Vec<IncidentId> = self
                .open_incidents()
                .filter(|one| {
                    let is_absent = is_found(one.pattern) && !statements.contains_key(&one.id);
                    is_absent || says_why(statement, one)
                })
                .filter(|one| is_outgrown(one, statement, zone_of))
                .map(|one| one.id.clone())
                .collect();
            for one in outgrown {
                changes.extend(self.replace(&one, statement, now));
            }
            self.candidates.remove(id);
            changes.push(self.open(statement.clone(), now.wall));
        }
        if !look.is_blind {
            changes.extend(self.miss(&statements, now));
        }
        changes
    }

    /// The finding of an open incident is still there.
    fn stand(&mut self, id: &IncidentId, statement: Statement, now: Now) -> Option<IncidentChange> {
        let entry = self.entries.get_mut(id)?;
        entry.absence = None;
        entry.update(statement, now.wall)
    }

    fn replace(&mut self, id: &IncidentId, by: &Statement, now: Now) -> Option<IncidentChange> {
        let entry = self.entries.get_mut(id)?;
        Some(entry.resolve_into(by, now.wall))
    }

    /// Counts the looks in which open findings are absent, and ends those that were absent often enough.
    fn miss(&mut self, found: &BTreeMap<IncidentId, Statement>, now: Now) -> Vec<IncidentChange> {
        let config = self.config;
        let is_missed = |entry: &&mut Entry| {
            let incident = &entry.incident;
            incident.state == IncidentState::Open
                && is_found(incident.pattern)
                && !found.contains_key(&incident.id)
                && entry.relearn_until.is_none_or(|until| until <= now.moment)
        };
        let mut changes = Vec::new();
        for entry in self.entries.values_mut().filter(is_missed) {
            let absence = entry.absence.get_or_insert(Absence {
                last_look: now.moment,
                looks: 0,
            });
            if now.moment.saturating_since(absence.last_look) >= config.look {
                absence.last_look = now.moment;
                absence.looks += 1;
            }
            if absence.looks < config.absent_looks {
                continue;
            }
            let earliest = later(entry.incident.opened_at, config.min_open);
            if earliest <= now.wall {
                changes.push(entry.resolve(now.wall));
            } else {
                entry.resolve_at = Some(earliest);
            }
        }
        changes
    }
}

/// Is a share lost, and not everything?
fn is_share(statement: &Statement) -> bool {
    statement.loss.is_some_and(|loss| loss.upper < TOTAL)
}

/// How much longer than the shortest hold a finding has to stand, and the failure to last. A large fault is seen in pieces first,
/// single paths of it, and those are as old as the fault; a share that is lost shows its true place and size only after some
/// samples, unless it has but one place: a virtual IP that fails on every node.
fn hold_factors(statement: &Statement) -> (f32, f32) {
    let is_share = is_share(statement);
    match &statement.scope.place {
        Place::Everywhere if statement.pattern == Pattern::ServiceVip => (1.0, 1.0),
        Place::Everywhere if is_share => (1.5, 1.5),
        _ if is_share => (2.0, 2.0),
        Place::Nodes(nodes) if nodes.len() > 1 => (2.0, 2.0),
        Place::Path { .. } => (1.5, 2.5),
        _ => (1.0, 1.0),
    }
}

/// Is the statement a part of this open incident, and no more serious than it? What loses more than the larger cause explains
/// has a cause of its own; of a path or a share that has to stand for long (`is_settled`): while a fault is young, some of its
/// paths look worse.
fn inhibits(
    open: &Incident,
    statement: &Statement,
    is_settled: bool,
    zone_of: impl Fn(&NodeName) -> Option<String>,
) -> bool {
    if Domain::of(open.pattern) != Domain::of(statement.pattern) || open.scope == statement.scope {
        return false;
    }
    let upper = open.loss.map_or(1.0, |loss| loss.upper);
    let is_more = statement.loss.map_or(1.0, |loss| loss.lower) > upper;
    let counts = is_settled || hold_factors(statement) == (1.0, 1.0);
    !(is_more && counts) && covers(&open.scope, statement.pattern, &statement.scope, zone_of)
}

/// Is the statement about a share of what this incident, which is over, was about? Counts of a small loss fade with a time
/// constant of 80 s, so for a while a new loss by chance looks as if the old ones went on. What is total needs no memory.
fn is_remnant(
    over: &Incident,
    statement: &Statement,
    zone_of: impl Fn(&NodeName) -> Option<String>,
) -> bool {
    is_share(statement)
        && Domain::of(over.pattern) == Domain::of(statement.pattern)
        && over.scope != statement.scope
        && covers(&over.scope, statement.pattern, &statement.scope, zone_of)
}

/// Was this incident, which is not found any more, a part of what is found now, or the same under another name?
fn is_outgrown(
    open: &Incident,
    statement: &Statement,
    zone_of: impl Fn(&NodeName) -> Option<String>,
) -> bool {
    Domain::of(open.pattern) == Domain::of(statement.pattern)
        && covers(&statement.scope, open.pattern, &open.scope, zone_of)
}

/// Does the statement say why the prober does not run that this incident is about?
fn says_why(statement: &Statement, incident: &Incident) -> bool {
    statement.pattern == Pattern::ProberNotRunning
        && incident.pattern == Pattern::ProberDown
        && incident.scope == statement.scope
}

/// Is everything that the place names dark, or expected to go? Of a path one end is enough.
fn is_quiet(place: &Place, look: &Look<'_>) -> bool {
    let is_quiet_zone = |zone: &String| {
        let mut nodes = look.topology.nodes.iter().flatten();
        nodes.all(|node| {
            let its = look.topology.zones.get(usize::from(node.zone.0));
            its != Some(zone) || look.quiet.contains(&node.name)
        })
    };
    match place {
        Place::Everywhere => false,
        Place::Nodes(nodes) => nodes.iter().all(|node| look.quiet.contains(node)),
        Place::Path { from, to } => look.quiet.contains(from) || look.quiet.contains(to),
        Place::Zone(zone) => is_quiet_zone(zone),
        Place::ZonePair { from, to, .. } => is_quiet_zone(from) || is_quiet_zone(to),
    }
}

/// The larger the place, the smaller.
const fn breadth(place: &Place) -> u8 {
    match place {
        Place::Everywhere => 0,
        Place::Zone(_) => 1,
        Place::ZonePair { .. } => 2,
        Place::Nodes(_) => 3,
        Place::Path { .. } => 4,
    }
}
