//! The state machine: evidence in, actions out.
//!
//! Order of one evaluation: whose votes count → the case against each node → what stands long enough → silence without
//! accusation (reports cut, or the aggregator itself) → what has cleared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::case::{ANSWERED_SHARE, Case, OwnWord, Tally};
use super::electorate::Electorate;
use super::evidence::Sighting;
use super::state::{DarkConfig, Declaration, NodeState};
use crate::finding::Pattern;
use crate::ids::{NodeIndex, ZoneIndex};
use crate::lifecycle::Lifecycle;
use crate::time::Moment;

/// Evaluations while anything is under suspicion.
pub const SUSPICION_TICK: Duration = Duration::from_millis(50);
/// Evaluations otherwise, and between two that count as clear.
const QUIET_TICK: Duration = Duration::from_secs(1);
/// Words older than this are history: they came out of a spool.
const NEWS: Duration = Duration::from_secs(3);
/// A node under suspicion is asked to report again after this.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Nor is it after this time.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);

/// What the topology says of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its failure domain.
    pub zone: ZoneIndex,
    /// Where it stands in its life.
    pub lifecycle: Lifecycle,
    /// How many nodes its prober probes.
    pub targets: u32,
}

/// How much of its observers accuses one node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accusation {
    /// Who is accused.
    pub subject: NodeIndex,
    /// How many accuse.
    pub accusers: u32,
    /// How many could.
    pub observers: u32,
    /// How many have spoken since the case was opened, accusers and undecided ones included.
    pub voters: u32,
    /// Of the voters, those that began to lose their probes too lately to accuse.
    pub undecided: u32,
    /// How many were asked to confirm.
    pub asked: u32,
    /// Enough of those have spoken, or all had the time to: only then a quorum counts.
    pub is_heard: bool,
    /// Weight of the accusers ÷ weight of all observers, whether they spoke or not.
    pub share: f64,
    /// They are a quorum of those that spoke: if that stands for the hold, the node is declared.
    pub is_quorum: bool,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask these observers to probe the subject at once.
    Confirm {
        /// Whom to ask.
        observers: Vec<NodeIndex>,
        /// Whom they shall probe.
        subject: NodeIndex,
    },
    /// Ask this node's prober for a report at once, on all its streams.
    AskReport {
        /// Whom to ask.
        node: NodeIndex,
    },
    /// A failure is declared.
    Open(Declaration),
    /// A declared failure is over, or has turned into another one.
    Close {
        /// Its pattern.
        pattern: Pattern,
        /// Its nodes, as they were declared.
        nodes: Vec<NodeIndex>,
    },
}

#[derive(Clone, Debug)]
pub(super) struct NodeEntry {
    pub(super) facts: NodeFacts,
    pub(super) warm_at: Moment,
    pub(super) local_health: u8,
    pub(super) streams: u32,
    /// When the last stream closed; meaningful while there is none.
    pub(super) streams_closed_at: Moment,
    /// When the network was last cut between it and some of the observers.
    pub(super) divided_at: Option<Moment>,
    pub(super) last_report_at: Option<Moment>,
    pub(super) asked_at: Option<Moment>,
    pub(super) silence_clear: u32,
}

impl NodeEntry {
    pub(super) fn is_judged(&self, now: Moment) -> bool {
        self.facts.lifecycle.is_judged() && now >= self.warm_at
    }

    pub(super) fn weight(&self) -> f64 {
        1.0 / (1.0 + f64::from(self.local_health.min(7)))
    }

    /// Asks for a report, if that was not done a moment ago.
    fn ask_report(&mut self, node: NodeIndex, now: Moment, actions: &mut Vec<Action>) {
        let due = self
            .asked_at
            .is_none_or(|asked| now.saturating_since(asked) >= ASK_AGAIN);
        if due {
            self.asked_at = Some(now);
            actions.push(Action::AskReport { node });
        }
    }

    /// No stream, and for how long.
    pub(super) fn silent_for(&self, now: Moment) -> Option<Duration> {
        (self.streams == 0 && self.last_report_at.is_some())
            .then(|| now.saturating_since(self.streams_closed_at))
    }
}

/// A declared failure with its members.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) declaration: Declaration,
    pub(super) members: BTreeSet<NodeIndex>,
}

/// Decides which nodes are dark, and which have another failure of a whole node. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Detector {
    pub(super) config: DarkConfig,
    pub(super) nodes: BTreeMap<NodeIndex, NodeEntry>,
    pub(super) cases: BTreeMap<NodeIndex, Case>,
    pub(super) opened: Vec<Opened>,
    /// Reports-cut nodes that are declared.
    pub(super) cut: BTreeSet<NodeIndex>,
    pub(super) isolated_since: Option<Moment>,
    pub(super) isolated_clear: u32,
    pub(super) judging: bool,
    pub(super) quiet_at: Moment,
    accusations: Vec<Accusation>,
}

impl Detector {
    /// A detector without nodes. It declares nothing before [`Self::start_judging`].
    pub fn new(config: DarkConfig) -> Self {
        Self {
            config,
            nodes: BTreeMap::new(),
            cases: BTreeMap::new(),
            opened: Vec::new(),
            cut: BTreeSet::new(),
            isolated_since: None,
            isolated_clear: 0,
            judging: false,
            quiet_at: Moment::ORIGIN,
            accusations: Vec::new(),
        }
    }

    /// Takes over other numbers (a configuration that was reloaded).
    pub fn reconfigure(&mut self, config: DarkConfig) {
        self.config = config;
    }

    /// From now on failures are declared and ended: the warm-up after a start is over.
    pub fn start_judging(&mut self) {
        self.judging = true;
    }

    /// Adds a node, or takes what changed of it.
    pub fn upsert_node(&mut self, node: NodeIndex, facts: NodeFacts, now: Moment) {
        let warm_at = now + self.config.warm_up;
        let entry = self.nodes.entry(node).or_insert(NodeEntry {
            facts,
            warm_at,
            local_health: 0,
            streams: 0,
            streams_closed_at: now,
            divided_at: None,
            last_report_at: None,
            asked_at: None,
            silence_clear: 0,
        });
        if facts.lifecycle.is_judged() && !entry.facts.lifecycle.is_judged() {
            // It came back: what was held against it before says nothing now.
            entry.warm_at = warm_at;
            self.cases.remove(&node);
        }
        entry.facts = facts;
    }

    /// Forgets a node and everything that it said.
    pub fn remove_node(&mut self, node: NodeIndex) {
        self.nodes.remove(&node);
        self.cases.remove(&node);
        for case in self.cases.values_mut() {
            case.votes.remove(&node);
        }
    }

    /// A report of this node arrived.
    pub fn handle_report(&mut self, node: NodeIndex, local_health: u8, now: Moment) {
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.local_health = local_health;
            entry.last_report_at = Some(now);
        }
    }

    /// A stream of this node's prober was opened.
    pub fn handle_stream_opened(&mut self, node: NodeIndex) {
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.streams += 1;
        }
    }

    /// A stream of this node's prober ended, whoever ended it.
    pub fn handle_stream_closed(&mut self, node: NodeIndex, now: Moment) {
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.streams = entry.streams.saturating_sub(1);
            if entry.streams == 0 {
                entry.streams_closed_at = now;
            }
        }
    }

    /// The prober of this node was started anew: what peers held against the former one is over when they reach it
    /// again, and until then it has no vote.
    pub fn handle_restart(&mut self, node: NodeIndex) {
        for case in self.cases.values_mut() {
            case.votes.remove(&node);
        }
    }

    /// Is anything held against this node? The driver then also passes on sightings of success.
    pub fn is_suspected(&self, node: NodeIndex) -> bool {
        self.cases.contains_key(&node)
    }

    /// Is anything held against anybody?
    pub fn has_suspicion(&self) -> bool {
        !self.cases.is_empty()
    }

    /// Takes one observer's word on one subject.
    pub fn handle_sighting(&mut self, sighting: Sighting, now: Moment) {
        let Sighting {
            observer, subject, ..
        } = sighting;
        let is_news = now.saturating_since(sighting.observed_at) <= NEWS;
        let known = self.nodes.contains_key(&subject) && self.nodes.contains_key(&observer);
        if observer == subject || !known || !is_news {
            return;
        }
        match self.cases.get_mut(&subject) {
            Some(case) => {
                case.take(sighting);
            }
            None if sighting.consecutive_losses > 0 => {
                let mut case = Case::new(now);
                case.take(sighting);
                self.cases.insert(subject, case);
            }
            None => {}
        }
    }

    /// How much of its observers accused each node under suspicion in the last evaluation.
    pub fn accusations(&self) -> &[Accusation] {
        &self.accusations
    }

    /// When [`Self::evaluate`] wants to be called next.
    pub fn next_deadline(&self, now: Moment) -> Moment {
        let waiting = self.cases.values().any(|case| case.declared.is_none());
        now + if waiting { SUSPICION_TICK } else { QUIET_TICK }
    }

    /// What is declared and not over.
    pub fn declarations(&self) -> impl Iterator<Item = &Declaration> {
        self.opened.iter().map(|opened| &opened.declaration)
    }

    /// Did the node join too lately to have a vote, or to be declared?
    pub fn is_warming_up(&self, node: NodeIndex, now: Moment) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|entry| now < entry.warm_at)
    }

    /// The node's state as judged now.
    pub fn state(&self, node: NodeIndex) -> NodeState {
        let Some(entry) = self.nodes.get(&node) else {
            return NodeState::Unknown;
        };
        if !entry.facts.lifecycle.is_judged() {
            return NodeState::Leaving;
        }
        let case = self.cases.get(&node);
        if let Some(pattern) = case.and_then(|case| case.declared) {
            return NodeState::Failed(pattern);
        }
        if self.cut.contains(&node) {
            return NodeState::Failed(Pattern::ReportsCut);
        }
        if case.is_some_and(|case| case.candidate.is_some()) {
            return NodeState::Suspect;
        }
        if entry.last_report_at.is_none() {
            return NodeState::Unknown;
        }
        NodeState::Ok
    }

    /// Failures that were open before a restart stay open until the evidence says otherwise.
    pub fn restore_open(&mut self, declarations: Vec<Declaration>, now: Moment) {
        for declaration in declarations {
            match declaration.pattern {
                Pattern::AggregatorIsolated => self.isolated_since = Some(now),
                Pattern::ReportsCut => self.cut.extend(&declaration.nodes),
                pattern => {
                    for node in &declaration.nodes {
                        let case = self.cases.entry(*node).or_insert_with(|| Case::new(now));
                        case.declared = Some(pattern);
                        case.candidate = Some((pattern, now));
                    }
                }
            }
            self.opened.push(Opened {
                members: declaration.nodes.iter().copied().collect(),
                declaration,
            });
        }
    }

    /// Judges all that is known at `now`.
    pub fn evaluate(&mut self, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        if now >= self.quiet_at {
            // A path that still fails is reported again in every window: what nobody repeats is not true any more.
            let floor = now - self.config.report_fresh;
            for case in self.cases.values_mut() {
                case.votes.retain(|_, vote| vote.spoke_since(floor));
            }
        }
        self.cases.retain(|_, case| case.is_alive(now));
        let electorate = Electorate::elect(self, now);
        self.ask(&electorate, now, &mut actions);
        let tallies = self.tally_cases(&electorate, now);
        if self.judging {
            self.judge_silence(&electorate, &tallies, now, &mut actions);
            if self.isolated_since.is_none() {
                self.declare(&tallies, now, &mut actions);
            }
            if now >= self.quiet_at {
                self.quiet_at = now + QUIET_TICK;
                self.clear(&electorate, now, &mut actions);
            }
        }
        actions
    }

    /// Asks further observers to confirm, and the accused to report.
    fn ask(&mut self, electorate: &Electorate, now: Moment, actions: &mut Vec<Action>) {
        let confirmers = self.config.confirmers;
        for (subject, case) in &mut self.cases {
            let Some(entry) = self.nodes.get_mut(subject) else {
                continue;
            };
            if case.resting || !entry.is_judged(now) {
                continue;
            }
            if case.confirm_asked.is_none() {
                let has_spoken = |o: &NodeIndex| {
                    let vote = case.votes.get(o);
                    vote.is_some_and(|vote| vote.suspects() || vote.spoke_since(case.opened_at))
                };
                let silent = |o: &NodeIndex| *o != *subject && !has_spoken(o);
                let mut observers: Vec<NodeIndex> =
                    electorate.credible.keys().copied().filter(silent).collect();
                // Neighbours by number are often neighbours by rack: take them from all over the list.
                let stride = (observers.len() / confirmers.max(1)).max(1);
                observers = observers
                    .into_iter()
                    .step_by(stride)
                    .take(confirmers)
                    .collect();
                case.confirm_asked = Some(now);
                case.asked = observers.len();
                if !observers.is_empty() {
                    actions.push(Action::Confirm {
                        observers,
                        subject: *subject,
                    });
                }
            }
            entry.ask_report(*subject, now, actions);
        }
    }

    /// Asks a node's prober for a report.
    pub(super) fn ask_report(&mut self, node: NodeIndex, now: Moment, actions: &mut Vec<Action>) {
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.ask_report(node, now, actions);
        }
    }

    /// Counts the votes in each case, and notes since when its evidence has had the same shape.
    fn tally_cases(&mut self, electorate: &Electorate, now: Moment) -> BTreeMap<NodeIndex, Judged> {
        let mut judged = BTreeMap::new();
        let mut accusations = std::mem::take(&mut self.accusations);
        accusations.clear();
        let awake = self.cases.iter().filter(|(_, case)| !case.resting);
        for subject in awake.map(|(subject, _)| *subject).collect::<Vec<_>>() {
            let result = self.judge_case(subject, electorate, now, &mut accusations);
            let Some(result) = result else {
                if let Some(case) = self.cases.get_mut(&subject) {
                    case.candidate = None;
                }
                continue;
            };
            let Some(case) = self.cases.get_mut(&subject) else {
                continue;
            };
            let since = match case.candidate {
                Some((pattern, since)) if pattern == result.pattern => since,
                _ => now,
            };
            case.candidate = Some((result.pattern, since));
            judged.insert(subject, Judged { since, ..result });
        }
        self.accusations = accusations;
        judged
    }

    fn judge_case(
        &self,
        subject: NodeIndex,
        electorate: &Electorate,
        now: Moment,
        accusations: &mut Vec<Accusation>,
    ) -> Option<Judged> {
        let case = self.cases.get(&subject)?;
        let entry = self
            .nodes
            .get(&subject)
            .filter(|entry| entry.is_judged(now))?;
        let observers = || {
            electorate
                .credible
                .iter()
                .filter(move |(o, _)| **o != subject)
                .map(|(o, weight)| (*o, *weight))
        };
        let available = observers().count();
        let few = available < 3;
        let after = if few {
            self.config.accuse_after_few
        } else {
            self.config.accuse_after
        };
        let tally = case.tally(observers(), after, now);
        let spoken = f64::from(tally.voters) >= ANSWERED_SHARE * case.asked as f64;
        let waited = case
            .confirm_asked
            .is_some_and(|asked| now.saturating_since(asked) >= ANSWERED_WITHIN);
        let is_heard = spoken || waited;
        accusations.push(Accusation {
            subject,
            accusers: tally.accusers.len() as u32,
            observers: tally.observers,
            voters: tally.spoke,
            undecided: tally.undecided,
            asked: case.asked as u32,
            is_heard,
            share: tally.share_of_all,
            is_quorum: false,
        });
        let needed = available.min(self.config.min_accusers as usize).max(1);
        if tally.accusers.len() < needed || tally.share < self.config.high_share {
            return None;
        }
        if few && tally.accusers.len() < available {
            return None;
        }
        let zone_of = |node: &NodeIndex| self.nodes.get(node).map(|entry| entry.facts.zone);
        let zones = |nodes: &mut dyn Iterator<Item = NodeIndex>| {
            nodes.filter_map(|n| zone_of(&n)).collect::<BTreeSet<_>>()
        };
        let available_zones = zones(&mut observers().map(|(o, _)| o));
        let accusing_zones = zones(&mut tally.accusers.iter().copied());
        if available_zones.len() >= 2 && accusing_zones.len() < 2 {
            return None;
        }
        if !is_heard {
            return None;
        }
        if let Some(accusation) = accusations.last_mut() {
            accusation.is_quorum = true;
        }
        let own = self.own_word(subject, entry, case, now);
        let (pattern, plane) = tally.pattern(own, few)?;
        Some(Judged {
            pattern,
            plane,
            own,
            few,
            tally,
            since: now,
        })
    }

    fn own_word(&self, subject: NodeIndex, entry: &NodeEntry, case: &Case, now: Moment) -> OwnWord {
        // A report that was on its way when the case was opened proves nothing about the time after.
        let floor = case.opened_at + Duration::from_millis(20);
        let recent = now - Duration::from_millis(1_500);
        let reports = entry
            .last_report_at
            .is_some_and(|at| at >= floor && at >= recent);
        let had_time = entry.streams == 0
            || case
                .confirm_asked
                .is_some_and(|at| now.saturating_since(at) >= self.config.answer_within);
        let own_votes = self.cases.values().filter_map(|c| c.votes.get(&subject));
        let (mut failing, mut hearing) = (0_usize, 0_usize);
        for vote in own_votes.filter(|vote| vote.suspects()) {
            failing += 1;
            hearing += usize::from(vote.hears());
        }
        OwnWord {
            reports,
            had_time,
            hears_peers: hearing > 0 && 2 * hearing >= failing,
        }
    }
}

/// A case that a quorum of its observers backs.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) pattern: Pattern,
    pub(super) plane: Option<crate::path::Plane>,
    pub(super) own: OwnWord,
    pub(super) few: bool,
    pub(super) tally: Tally,
    pub(super) since: Moment,
}
