//! The case against one node: who accuses it, and what shape its failure has.

use std::collections::BTreeMap;

use super::evidence::{Sighting, Vote};
use crate::finding::Pattern;
use crate::ids::NodeIndex;
use crate::path::Plane;
use crate::time::Moment;

/// If this share of those that were asked has spoken, the rest is not waited for.
pub const ANSWERED_SHARE: f64 = 0.8;

/// Everything that is held against one node, from the first loss on.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// When the first sighting came in.
    pub(super) opened_at: Moment,
    /// When observers were asked to confirm; `None`: not yet.
    pub(super) confirm_asked: Option<Moment>,
    /// How many were asked.
    pub(super) asked: usize,
    /// The observers' newest words.
    pub(super) votes: BTreeMap<NodeIndex, Vote>,
    /// The shape that the evidence has had, and since when.
    pub(super) candidate: Option<(Pattern, Moment)>,
    /// What was declared.
    pub(super) declared: Option<Pattern>,
    /// Evaluations in a row that were clear.
    pub(super) clear: u32,
    /// When the last of them was.
    pub(super) clear_at: Moment,
    /// Nobody suspects the node now, though some lose one kind of their probes: another kind is answered. The case is kept
    /// for that answer alone; forgotten, it would leave the losses as all that is known.
    pub(super) resting: bool,
}

/// What the credible observers say, counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Observers that could vote.
    pub(super) observers: u32,
    /// Those that spoke since the case was opened.
    pub(super) spoke: u32,
    /// Of those, the ones that lack the time to make up their minds.
    pub(super) undecided: u32,
    /// Those whose word counts: all that spoke, or the decided ones among them.
    pub(super) voters: u32,
    /// Those that accuse.
    pub(super) accusers: Vec<NodeIndex>,
    /// Weight of the accusers ÷ weight of the voters.
    pub(super) share: f64,
    /// Weight of the accusers ÷ weight of all observers, whether they spoke or not.
    pub(super) share_of_all: f64,
    /// When the first lost probe was sent.
    pub(super) since: Option<Moment>,
    /// Accusers that hear the node's probes all the same.
    pub(super) hearing: u32,
    /// Accusers to whom its address answered that nobody listens.
    pub(super) refused: u32,
    /// Accusers whose connection to the node's own address worked.
    pub(super) host_reached: u32,
    /// Accusers that probe the pod network (and so have the host's address as a second plane).
    pub(super) on_pod_plane: u32,
}

/// What is known of the node apart from its observers' votes.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnWord {
    /// A report came after the node was asked for one.
    pub(super) reports: bool,
    /// It had time to answer.
    pub(super) had_time: bool,
    /// By its own reports, most of the peers that do not answer it do reach it.
    pub(super) hears_peers: bool,
}

impl Case {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            opened_at: now,
            confirm_asked: None,
            asked: 0,
            votes: BTreeMap::new(),
            candidate: None,
            declared: None,
            clear: 0,
            clear_at: now,
            resting: false,
        }
    }

    pub(super) fn take(&mut self, sighting: Sighting) -> bool {
        self.votes
            .entry(sighting.observer)
            .or_default()
            .take(sighting)
    }

    /// Is anybody still losing probes? A case that nobody is suspected in any more rests: what was asked and noted is over, and
    /// begins anew with the next suspicion.
    pub(super) fn is_alive(&mut self, now: Moment) -> bool {
        if self.declared.is_some() || self.votes.values().any(Vote::suspects) {
            self.resting = false;
            return true;
        }
        self.resting = true;
        self.opened_at = now;
        self.confirm_asked = None;
        self.asked = 0;
        self.candidate = None;
        // Whoever has nothing to remember is asked anew when somebody suspects again.
        self.votes.retain(|_, vote| vote.has_losses());
        !self.votes.is_empty()
    }

    pub(super) fn accused_by(&self, observer: NodeIndex, after: u32) -> bool {
        self.votes
            .get(&observer)
            .is_some_and(|vote| vote.accuses(after))
    }

    /// Counts what `observers` (with their weights) say at `now`.
    ///
    /// In a large mesh some observer's turn comes every few milliseconds, so while a node is dark there are always some
    /// that lost their first probe a moment ago. They will accuse when their burst is over; until then they are no
    /// votes for the node. But this is believed only once most of those that were asked accuse: under heavy loss half of
    /// all observers have just lost a probe at any time.
    pub(super) fn tally(
        &self,
        observers: impl Iterator<Item = (NodeIndex, f64)>,
        after: u32,
        now: Moment,
    ) -> Tally {
        let mut tally = Tally::default();
        let (mut accusing, mut voting, mut observing) = (0.0, 0.0, 0.0);
        let mut undecided_weight = 0.0;
        for (observer, weight) in observers {
            tally.observers += 1;
            observing += weight;
            let Some(vote) = self.votes.get(&observer) else {
                continue;
            };
            if !vote.spoke_since(self.opened_at) && !vote.suspects() {
                continue;
            }
            tally.spoke += 1;
            voting += weight;
            if !vote.accuses(after) {
                if vote.is_undecided(now) {
                    tally.undecided += 1;
                    undecided_weight += weight;
                }
                continue;
            }
            accusing += weight;
            tally.accusers.push(observer);
            tally.since = match (tally.since, vote.first_loss_at()) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            tally.hearing += u32::from(vote.hears());
            tally.refused += u32::from(vote.is_refused());
            tally.host_reached += u32::from(vote.reaches_host());
            tally.on_pod_plane += u32::from(vote.has_pod_plane());
        }
        tally.voters = tally.spoke;
        if tally.accusers.len() as f64 >= ANSWERED_SHARE * self.asked as f64 {
            tally.voters -= tally.undecided;
            voting -= undecided_weight;
        }
        if voting > 0.0 {
            tally.share = accusing / voting;
            tally.share_of_all = accusing / observing;
        }
        tally
    }
}

impl Tally {
    fn most(&self, n: u32) -> bool {
        n > 0 && 2 * n as usize >= self.accusers.len()
    }

    /// The row of the truth table that the evidence matches, and the plane that is broken where another one works.
    /// `None`: too early to say.
    pub(super) fn pattern(
        &self,
        own: OwnWord,
        few_observers: bool,
    ) -> Option<(Pattern, Option<Plane>)> {
        let host_works = self.most(self.host_reached);
        let plane = (host_works && self.on_pod_plane > 0).then_some(Plane::Pod);
        if self.most(self.refused) && !own.reports {
            return own.had_time.then_some((Pattern::ProberDown, None));
        }
        if few_observers && self.accusers.len() == 1 && own.reports {
            return Some((Pattern::UnreachableUnconfirmed, plane));
        }
        if self.most(self.hearing) {
            return Some((Pattern::IngressDead, plane));
        }
        if own.reports && own.hears_peers {
            return Some((Pattern::EgressDead, plane));
        }
        if own.reports || host_works {
            return Some((Pattern::Isolated, plane));
        }
        own.had_time.then_some((Pattern::NodeDark, None))
    }

    /// What backs `pattern`, a sentence each.
    pub(super) fn evidence(&self, pattern: Pattern, own: OwnWord) -> Vec<String> {
        let accusers = self.accusers.len();
        let mut sentences = vec![format!(
            "{accusers} of the {} peers that probed it since then get no answer",
            self.voters
        )];
        sentences.push(match self.hearing {
            0 => "none of its own probes arrived at them since then".to_owned(),
            n => format!("its own probes still arrive at {n} of them"),
        });
        if self.refused > 0 {
            sentences.push(format!(
                "its address answered {} of them that nobody listens on the probe port",
                self.refused
            ));
        }
        if self.on_pod_plane > 0 {
            sentences.push(match self.host_reached {
                0 => "its node address does not answer either".to_owned(),
                n => format!("its node address answers {n} of them"),
            });
        }
        sentences.push(match (own.reports, own.hears_peers) {
            (false, _) => "it was asked to report and did not".to_owned(),
            (true, true) => "it reports, and says that its peers' probes arrive".to_owned(),
            (true, false) => "it still reports".to_owned(),
        });
        if pattern == Pattern::UnreachableUnconfirmed {
            sentences
                .push("there is no third node that could tell which side is at fault".to_owned());
        }
        sentences
    }
}
