//! What matchers look at: an incident, taken apart into the things that it is about.
//!
//! An incident about several nodes is silenced when each of them is: a silence of one must not hide the other. What is
//! between two nodes or two zones is about both at once, and one of them being silenced explains it.

use meshprobe_core::{
    finding::{Place, Scope},
    ids::NodeName,
};

use super::{Attribute, Matcher};
use crate::{incident::Incident, snapshot::Snapshot};

/// One thing that an incident is about.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pattern: &'a str,
    pub(super) nodes: Vec<&'a NodeName>,
    zones: Vec<&'a str>,
    target: Option<&'a str>,
    snapshot: &'a Snapshot,
}

/// The things that an incident is about; at least one.
pub(super) fn subjects<'a>(incident: &'a Incident, snapshot: &'a Snapshot) -> Vec<Subject<'a>> {
    let Scope { place, target, .. } = &incident.scope;
    let zone_of = |name: &&'a NodeName| {
        let zone = snapshot.node(name)?.profile.zone.as_str();
        (!zone.is_empty()).then_some(zone)
    };
    let subject = |nodes: Vec<&'a NodeName>, named: Vec<&'a str>| {
        let mut zones: Vec<&str> = nodes.iter().filter_map(zone_of).chain(named).collect();
        if zones.is_empty() {
            zones = incident.zones.iter().map(String::as_str).collect();
        }
        Subject {
            pattern: incident.pattern.as_str(),
            nodes,
            zones,
            target: target.as_deref(),
            snapshot,
        }
    };
    let each = |zones: &[&'a str]| -> Vec<Subject<'a>> {
        let nodes = incident.nodes.iter();
        nodes
            .map(|node| subject(vec![node], zones.to_vec()))
            .collect()
    };
    match place {
        Place::Path { from, to } => vec![subject(vec![from, to], Vec::new())],
        Place::ZonePair { from, to, .. } => vec![subject(Vec::new(), vec![from, to])],
        Place::Zone(zone) if incident.nodes.is_empty() => vec![subject(Vec::new(), vec![zone])],
        Place::Zone(zone) => each(&[zone]),
        Place::Nodes(_) | Place::Everywhere if incident.nodes.is_empty() => {
            vec![subject(Vec::new(), Vec::new())]
        }
        Place::Nodes(_) | Place::Everywhere => each(&[]),
    }
}

impl Subject<'_> {
    /// Do all matchers hold?
    pub(super) fn is_meant_by(&self, matchers: &[Matcher]) -> bool {
        matchers.iter().all(|matcher| self.satisfies(matcher))
    }

    fn satisfies(&self, matcher: &Matcher) -> bool {
        match matcher.attribute() {
            Attribute::Pattern => matcher.holds([self.pattern]),
            Attribute::Node => matcher.holds(self.nodes.iter().map(|name| name.as_str())),
            Attribute::Zone => matcher.holds(self.zones.iter().copied()),
            Attribute::Target => matcher.holds(self.target),
            Attribute::Label(label) => {
                let of = |name: &&NodeName| {
                    let labels = &self.snapshot.node(name)?.profile.labels;
                    labels.get(label).map(String::as_str)
                };
                matcher.holds(self.nodes.iter().filter_map(of))
            }
        }
    }
}
