//! Every silence, and what is muted by which.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meshprobe_core::ids::NodeName;

use super::{
    Departures, MAX_SILENCES, Silence, SilenceError, SilenceId, SilenceKind, SilenceState,
    is_departure,
    subject::{Subject, subjects},
};
use crate::{incident::Incident, snapshot::Snapshot};

/// Silences that are over and kept for people to look at.
const MAX_EXPIRED: usize = 1_000;

/// Why nobody is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MutedBy {
    /// Somebody silenced it.
    Silence(SilenceId),
    /// Somebody announced work on the node.
    Maintenance(SilenceId),
    /// The node is cordoned or drained.
    Draining(NodeName),
}

impl MutedBy {
    /// As label and text.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Silence(_) => "silence",
            Self::Maintenance(_) => "maintenance",
            Self::Draining(_) => "draining",
        }
    }
}

/// That an incident is not told, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mute {
    /// Each reason once.
    pub by: Vec<MutedBy>,
    /// Until then, as far as is known now.
    pub until: Timestamp,
}

/// Every silence that is in force, will be, or was until lately.
#[derive(Debug, Default)]
pub struct SilenceBook {
    silences: BTreeMap<SilenceId, Silence>,
}

impl SilenceBook {
    /// Takes over what was remembered.
    pub fn restore(silences: impl IntoIterator<Item = Silence>) -> Self {
        let silences = silences.into_iter();
        Self {
            silences: silences.map(|one| (one.id.clone(), one)).collect(),
        }
    }

    /// All of them: those that begin last first.
    pub fn iter(&self) -> impl Iterator<Item = &Silence> {
        let mut all: Vec<&Silence> = self.silences.values().collect();
        all.sort_by(|a, b| (b.starts_at, &b.id).cmp(&(a.starts_at, &a.id)));
        all.into_iter()
    }

    /// The one with this identity.
    pub fn one(&self, id: &SilenceId) -> Option<&Silence> {
        self.silences.get(id)
    }

    /// How many are in this state.
    pub fn count(&self, kind: SilenceKind, state: SilenceState, now: Timestamp) -> usize {
        let counted = |one: &&Silence| one.kind == kind && one.state(now) == state;
        self.silences.values().filter(counted).count()
    }

    /// One more, if it makes sense and there is room.
    pub fn add(&mut self, silence: Silence, now: Timestamp) -> Result<(), SilenceError> {
        silence.check(now)?;
        let is_over = |one: &Silence| one.state(now) == SilenceState::Expired;
        let (over, wanted): (Vec<&Silence>, Vec<&Silence>) =
            self.silences.values().partition(|one| is_over(one));
        if wanted.len() >= MAX_SILENCES {
            return Err(SilenceError::TooMany);
        }
        if over.len() > MAX_EXPIRED {
            let mut over: Vec<(Timestamp, SilenceId)> = over
                .iter()
                .map(|one| (one.ends_at, one.id.clone()))
                .collect();
            over.sort_unstable();
            let surplus = over.len() - MAX_EXPIRED;
            for (_, id) in over.into_iter().take(surplus) {
                self.silences.remove(&id);
            }
        }
        self.silences.insert(silence.id.clone(), silence);
        Ok(())
    }

    /// Ends one now, and gives it back as it is then; `None`: there is none, or it is over.
    pub fn end(&mut self, id: &SilenceId, now: Timestamp) -> Option<Silence> {
        let silence = self.silences.get_mut(id)?;
        if silence.state(now) == SilenceState::Expired {
            return None;
        }
        silence.starts_at = silence.starts_at.min(now);
        silence.ends_at = now;
        Some(silence.clone())
    }

    /// When a silence begins or ends next.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.silences.values();
        times
            .flat_map(|one| [one.starts_at, one.ends_at])
            .filter(|at| *at > now)
            .min()
    }

    /// Why nobody is told of an incident; `None`: people are told.
    pub fn mute(
        &self,
        incident: &Incident,
        snapshot: &Snapshot,
        departures: &Departures,
        now: Timestamp,
    ) -> Option<Mute> {
        let active: Vec<&Silence> = self
            .silences
            .values()
            .filter(|one| one.state(now) == SilenceState::Active)
            .filter(|one| one.kind == SilenceKind::Silence || is_departure(incident.pattern))
            .collect();
        let mut by = Vec::new();
        let mut until = Timestamp::MAX;
        for subject in subjects(incident, snapshot) {
            let mut ends = Vec::new();
            for silence in active.iter().filter(|s| subject.is_meant_by(&s.matchers)) {
                ends.push(silence.ends_at);
                by.push(match silence.kind {
                    SilenceKind::Silence => MutedBy::Silence(silence.id.clone()),
                    SilenceKind::Maintenance => MutedBy::Maintenance(silence.id.clone()),
                });
            }
            if let Some((node, end)) = expected(incident, &subject, departures, now) {
                ends.push(end);
                by.push(MutedBy::Draining(node));
            }
            // One subject that nothing mutes is enough to tell people.
            until = until.min(ends.into_iter().max()?);
        }
        by.sort_unstable();
        by.dedup();
        Some(Mute { by, until })
    }
}

/// The node of the subject, if it is expected to go and the incident says that it went.
fn expected(
    incident: &Incident,
    subject: &Subject<'_>,
    departures: &Departures,
    now: Timestamp,
) -> Option<(NodeName, Timestamp)> {
    let [node] = subject.nodes.as_slice() else {
        return None;
    };
    let until = departures
        .expected_until(node)
        .filter(|until| *until > now)?;
    is_departure(incident.pattern).then(|| ((*node).clone(), until))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use meshprobe_core::{
        dark::NodeState,
        finding::{Pattern, Scope},
        lifecycle::Lifecycle,
    };

    use super::*;
    use crate::{
        silence::tests::{at, silence},
        snapshot::{Judging, NodeProfile, NodeRow},
    };

    fn name(text: &str) -> NodeName {
        NodeName::try_from(text).unwrap()
    }

    /// a in rack r1 and zone z1, b in r2 and z2.
    fn snapshot(lifecycle: Lifecycle) -> Snapshot {
        let row = |node: &str, zone: &str, rack: &str| NodeRow {
            profile: Arc::new(NodeProfile {
                name: name(node),
                zone: zone.to_owned(),
                region: String::new(),
                labels: BTreeMap::from([("rack".to_owned(), rack.to_owned())]),
                addresses: Vec::new(),
                prober_version: String::new(),
            }),
            lifecycle,
            state: NodeState::Ok,
            state_reason: String::new(),
            last_report_at: None,
            last_report_way: None,
            is_reporting: true,
            local_health: 0,
            failing_in: 0,
            failing_out: 0,
        };
        Snapshot {
            nodes: Arc::new([row("a", "z1", "r1"), row("b", "z2", "r2")]),
            ..Snapshot::empty(at(0), Judging::Active)
        }
    }

    fn of(pattern: Pattern, nodes: &[&str]) -> Incident {
        let scope = match (pattern, nodes) {
            (Pattern::Path, [from, to]) => Scope::path(name(from), name(to)),
            (_, nodes) => Scope::nodes(nodes.iter().map(|node| name(node)).collect()),
        };
        Incident::new(pattern, scope, at(100))
    }

    fn mute(book: &SilenceBook, incident: &Incident) -> Option<Mute> {
        let snapshot = snapshot(Lifecycle::Active);
        book.mute(incident, &snapshot, &Departures::default(), at(150))
    }

    fn book(kind: SilenceKind, lists: &[&[&str]]) -> SilenceBook {
        SilenceBook::restore((1..).zip(lists).map(|(number, matchers)| Silence {
            id: SilenceId::from_number(number),
            ..silence(kind, matchers)
        }))
    }

    #[test]
    fn matchers_see_the_pattern_the_node_its_zone_and_its_labels() {
        let dark = of(Pattern::NodeDark, &["a"]);
        for (matchers, expected) in [
            (&["node=a"][..], true),
            (&["node=b"], false),
            (&["zone=z1"], true),
            (&["zone=z2"], false),
            (&["label.rack=r1"], true),
            (&["label.rack!=r1"], false),
            (&["label.tier!=x", "node=a"], true),
            (&["pattern=~node-.*"], true),
            (&["pattern=node-dark", "zone=z1"], true),
            (&["pattern=node-dark", "zone=z2"], false),
            (&["target!=shop", "pattern=~.+"], true),
            (&["target=shop"], false),
        ] {
            let book = book(SilenceKind::Silence, &[matchers]);
            assert_eq!(mute(&book, &dark).is_some(), expected, "{matchers:?}");
        }
    }

    #[test]
    fn several_nodes_are_muted_together_or_not_at_all() {
        let both = of(Pattern::NodeDark, &["a", "b"]);
        assert_eq!(
            mute(&book(SilenceKind::Silence, &[&["node=a"]]), &both),
            None
        );
        let each = book(SilenceKind::Silence, &[&["node=a"], &["node=b"]]);
        assert_eq!(mute(&each, &both).unwrap().by.len(), 2);
        let way = of(Pattern::Path, &["a", "b"]);
        assert!(mute(&book(SilenceKind::Silence, &[&["node=b"]]), &way).is_some());
        let zones = Incident::new(Pattern::ZonePair, Scope::zones("z1", "z2"), at(100));
        assert!(mute(&book(SilenceKind::Silence, &[&["zone=z2"]]), &zones).is_some());
        let shop = Scope::node(name("a")).with_target("shop");
        let shop = Incident::new(Pattern::External, shop, at(100));
        for (matcher, expected) in [("target=shop", true), ("target!=shop", false)] {
            let book = book(SilenceKind::Silence, &[&[matcher]]);
            assert_eq!(mute(&book, &shop).is_some(), expected);
        }
    }

    #[test]
    fn maintenance_mutes_that_a_node_went_and_nothing_else() {
        let book = book(SilenceKind::Maintenance, &[&["node=a"]]);
        for pattern in Pattern::ALL {
            let muted = mute(&book, &of(*pattern, &["a"])).is_some();
            assert_eq!(muted, is_departure(*pattern), "{pattern}");
        }
    }

    #[test]
    fn it_is_muted_until_the_last_silence_of_it_ends() {
        let mut book = book(SilenceKind::Silence, &[&["node=a"]]);
        let longer = Silence {
            id: SilenceId::from_number(9),
            ends_at: at(900),
            ..silence(SilenceKind::Silence, &["zone=z1"])
        };
        book.add(longer, at(150)).unwrap();
        let dark = of(Pattern::NodeDark, &["a"]);
        assert_eq!(mute(&book, &dark).unwrap().until, at(900));
        assert_eq!(book.next_change(at(150)), Some(at(200)));
        let ended = book.end(&SilenceId::from_number(9), at(150)).unwrap();
        assert_eq!(ended.state(at(150)), SilenceState::Expired);
        assert_eq!(book.end(&SilenceId::from_number(9), at(150)), None);
        assert_eq!(mute(&book, &dark).unwrap().until, at(200));
    }

    #[test]
    fn a_draining_node_is_expected_to_go_for_a_while() {
        let mut departures = Departures::default();
        let draining = snapshot(Lifecycle::Draining);
        departures.follow(&draining, at(100));
        let book = SilenceBook::default();
        let muted = |pattern, now| {
            let incident = of(pattern, &["a"]);
            book.mute(&incident, &draining, &departures, now)
        };
        let mute = muted(Pattern::NodeDark, at(150)).unwrap();
        assert_eq!(mute.by, [MutedBy::Draining(name("a"))]);
        assert_eq!(mute.until, at(100 + 15 * 60));
        assert_eq!(muted(Pattern::OverlayEgress, at(150)), None);
        assert_eq!(muted(Pattern::NodeDark, at(100 + 15 * 60)), None);
    }

    #[test]
    fn there_is_room_for_a_bounded_number() {
        let mut book = SilenceBook::default();
        let numbered = |number| Silence {
            id: SilenceId::from_number(number),
            ..silence(SilenceKind::Silence, &["node=a"])
        };
        for number in 0..MAX_SILENCES as u64 {
            book.add(numbered(number), at(150)).unwrap();
        }
        assert_eq!(
            book.add(numbered(5_000), at(150)),
            Err(SilenceError::TooMany)
        );
        // Those that are over make room, and are kept within a bound themselves.
        for round in 1..4_u64 {
            let now = at(200 * i64::try_from(round).unwrap() + 100);
            for number in 0..700 {
                let again = Silence {
                    ends_at: now + jiff::SignedDuration::from_secs(10),
                    ..numbered(round * 10_000 + number)
                };
                book.add(again, now).unwrap();
            }
        }
        assert!(book.iter().count() <= MAX_EXPIRED + MAX_SILENCES + 1);
    }
}
