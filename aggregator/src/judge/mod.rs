//! The judge: reports and stream events go into the dark-node detector, its actions come out as questions to probers and
//! as changes of incidents.
//!
//! Driven by deadlines: the mesh task calls `Judge::evaluate` when `Judge::next_deadline` has come. New evidence moves
//! the deadline to 20 ms after the evaluation before, so the first accuser of a node gets its confirmation asked for at
//! once and a burst of reports is still judged together.

mod families;
mod warm_up;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meshprobe_core::dark::{
    Accusation, Action, DarkConfig, Declaration, Detector, NodeFacts, NodeState, Sighting,
};
use meshprobe_core::diagnosis::Picture;
use meshprobe_core::finding::Pattern;
use meshprobe_core::ids::{NodeIndex, NodeName};
use meshprobe_core::path::Layer;
use meshprobe_core::time::Moment;
use meshprobe_proto::report::Row;

use crate::incident::{
    BookConfig, Declared, DeclaredNode, Incident, IncidentBook, IncidentChange, IncidentState,
    Look, is_found,
};
use crate::membership::{Member, Membership};
use crate::pipeline::{Diagnosed, Now};
use crate::snapshot::Judging;
use families::Families;
use warm_up::WarmUp;

pub use warm_up::WarmUpConfig;

/// Shortest time between two evaluations.
const EVALUATION_GAP: Duration = Duration::from_millis(20);

/// So long after a node is back its paths still show what was lost while it was away: two slots of the fast window, and
/// the report that tells of the second one.
const AFTERMATH: Duration = Duration::from_secs(30);

/// When the aggregator is heard again, so long until everybody's rows are fresh: a report interval and its delay.
const REFRESH: Duration = Duration::from_secs(12);

/// The numbers of judging.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeConfig {
    /// When a node is dark.
    pub dark: DarkConfig,
    /// How long incidents live.
    pub book: BookConfig,
    /// How long nothing is declared after a start.
    pub warm_up: WarmUpConfig,
}

impl JudgeConfig {
    /// The defaults for probers that report so often when all is well.
    pub fn for_report_interval(report_interval: Duration) -> Self {
        Self {
            dark: DarkConfig::default(),
            book: BookConfig::default(),
            warm_up: WarmUpConfig::for_report_interval(report_interval),
        }
    }
}

/// Questions to one prober's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// Whom to ask, on all its streams.
    pub(crate) node: NodeIndex,
    /// Whom it shall probe at once. Empty: it shall only report.
    pub(crate) subjects: BTreeSet<NodeIndex>,
}

/// What an evaluation brought.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    pub(crate) questions: Vec<Question>,
    pub(crate) changes: Vec<IncidentChange>,
    /// The warm-up ended now.
    pub(crate) began_judging: bool,
}

/// Decides what is broken.
#[derive(Debug)]
pub(crate) struct Judge {
    detector: Detector,
    families: Families,
    book: IncidentBook,
    warm_up: Option<WarmUp>,
    /// Why a node has the state that it has, of those states that are no incidents of their own.
    reasons: BTreeMap<NodeIndex, String>,
    /// Nodes that were dark, or without a prober, and when that ended.
    back_since: BTreeMap<NodeIndex, Moment>,
    /// Before this moment the aggregator's own view of the mesh is not to be trusted: its network failed.
    isolated_until: Moment,
    /// Remembered incidents whose nodes are all forgotten: they end at the first evaluation.
    orphans: Vec<(Pattern, Vec<NodeName>)>,
    evaluated_at: Moment,
    deadline: Moment,
}

impl Judge {
    /// A judge that starts with what was remembered: open incidents stay open, and nothing new is opened before the
    /// known probers were heard.
    pub(crate) fn new(
        config: JudgeConfig,
        membership: &Membership,
        incidents: Vec<Incident>,
        now: Now,
    ) -> Self {
        let called_before = |member: &Member| {
            !member.profile.prober_version.is_empty() && member.lifecycle.is_judged()
        };
        let known = membership
            .present()
            .filter(|(_, member)| called_before(member))
            .map(|(node, _)| node);
        let mut this = Self {
            detector: Detector::new(config.dark),
            families: Families::default(),
            book: IncidentBook::new(config.book),
            warm_up: Some(WarmUp::new(config.warm_up, known, now.moment)),
            reasons: BTreeMap::new(),
            back_since: BTreeMap::new(),
            isolated_until: now.moment,
            orphans: Vec::new(),
            evaluated_at: now.moment,
            deadline: now.moment,
        };
        this.sync_nodes(membership, now.moment);
        this.restore(membership, incidents, now);
        this
    }

    /// Other numbers are in force.
    pub(crate) fn reconfigure(&mut self, config: JudgeConfig) {
        // How a start is judged cannot be configured.
        let JudgeConfig {
            dark,
            book,
            warm_up: _,
        } = config;
        self.book.reconfigure(book);
        self.detector.reconfigure(dark);
    }

    /// Membership changed: who is there, in which zone, and how many targets everybody has.
    pub(crate) fn sync_nodes(&mut self, membership: &Membership, now: Moment) {
        let targets = membership.present().count().saturating_sub(1) as u32;
        for (node, member) in membership.iter() {
            self.detector.upsert_node(node, facts(member, targets), now);
        }
    }

    /// One node's lifecycle or zone changed; the others need not know.
    pub(crate) fn sync_node(&mut self, membership: &Membership, node: NodeIndex, now: Moment) {
        let targets = membership.present().count().saturating_sub(1) as u32;
        let Some(member) = membership.get(node) else {
            self.detector.remove_node(node);
            return;
        };
        if let Some(warm_up) = self
            .warm_up
            .as_mut()
            .filter(|_| !member.lifecycle.is_judged())
        {
            warm_up.excuse(node);
        }
        self.detector.upsert_node(node, facts(member, targets), now);
        self.expedite(now);
    }

    /// A stream of this node's prober was opened.
    pub(crate) fn handle_stream_opened(&mut self, node: NodeIndex) {
        self.detector.handle_stream_opened(node);
    }

    /// A stream of this node's prober ended.
    pub(crate) fn handle_stream_closed(&mut self, node: NodeIndex, now: Moment) {
        self.detector.handle_stream_closed(node, now);
        self.expedite(now);
    }

    /// The prober of this node was started anew.
    pub(crate) fn handle_restart(&mut self, node: NodeIndex) {
        self.detector.handle_restart(node);
    }

    /// A report of this node arrived. `fresh`: the time that it covers, if that is the time until now.
    pub(crate) fn handle_report(
        &mut self,
        node: NodeIndex,
        local_health: u8,
        fresh: Option<Duration>,
        now: Moment,
    ) {
        // Out of a spool it says nothing about now, so it gives no vote: observers without a word on a failing node would
        // end its incident. That it arrives at all proves that a node under suspicion still has its way home.
        if fresh.is_some() || self.detector.is_suspected(node) {
            self.detector.handle_report(node, local_health, now);
        }
        if let (Some(warm_up), Some(window)) = (&mut self.warm_up, fresh) {
            warm_up.handle_report(node, window);
        }
        if self.detector.is_suspected(node) {
            self.expedite(now);
        }
    }

    /// One row of a fresh report whose window ended at `end`.
    #[inline]
    pub(crate) fn handle_row(
        &mut self,
        observer: NodeIndex,
        subject: NodeIndex,
        layer: Layer,
        row: &Row,
        end: Moment,
        now: Moment,
    ) {
        if !self.families.decides(subject, layer) {
            return;
        }
        let sighting = match row.failing {
            Some(failing) => Sighting {
                observer,
                subject,
                kind: layer.kind,
                plane: layer.plane,
                consecutive_losses: failing.consecutive_losses,
                first_loss_at: end - failing.first_loss_age,
                last_reply_at: failing.last_reply_age.map(|age| end - age),
                last_heard_at: failing.last_heard_age.map(|age| end - age),
                last_outcome: failing.last_outcome,
                observed_at: end,
            },
            // Success is only news about a node that somebody accuses.
            None if row.summary.replied > 0 && self.detector.has_suspicion() => {
                if !self.detector.is_suspected(subject) {
                    return;
                }
                // The answer came at some time in the window: its beginning claims the least.
                let window = Duration::from_millis(row.summary.window_millis.into());
                let answered_at = end - window;
                Sighting {
                    observer,
                    subject,
                    kind: layer.kind,
                    plane: layer.plane,
                    consecutive_losses: 0,
                    first_loss_at: end,
                    last_reply_at: Some(answered_at),
                    last_heard_at: (row.summary.received > 0).then_some(answered_at),
                    last_outcome: meshprobe_core::outcome::OutcomeClass::Reply,
                    observed_at: end,
                }
            }
            None => return,
        };
        self.detector.handle_sighting(sighting, now);
        self.expedite(now);
    }

    /// How much of its observers accused each node under suspicion in the last evaluation.
    pub(crate) fn accusations(&self) -> &[Accusation] {
        self.detector.accusations()
    }

    /// When [`Self::evaluate`] wants to be called.
    pub(crate) fn next_deadline(&self) -> Moment {
        self.deadline
    }

    /// Judges all that is known.
    pub(crate) fn evaluate(&mut self, membership: &Membership, now: Now) -> Judgement {
        let mut judgement = Judgement::default();
        if self.warm_up.as_ref().is_some_and(|w| w.is_over(now.moment)) {
            self.warm_up = None;
            self.detector.start_judging();
            judgement.began_judging = true;
        }
        let mut questions: BTreeMap<NodeIndex, BTreeSet<NodeIndex>> = BTreeMap::new();
        for action in self.detector.evaluate(now.moment) {
            match action {
                Action::Confirm { observers, subject } => {
                    for observer in observers {
                        questions.entry(observer).or_default().insert(subject);
                    }
                }
                Action::AskReport { node } => {
                    questions.entry(node).or_default();
                }
                // Where the fault is the diagnosis says; the incident is its.
                Action::Open(declaration) if is_found(declaration.pattern) => {
                    let reason = declared(&declaration, membership, now).sentence();
                    for node in declaration.nodes {
                        self.reasons.insert(node, reason.clone());
                    }
                }
                Action::Close { pattern, nodes } if is_found(pattern) => {
                    self.reasons.retain(|node, _| !nodes.contains(node));
                }
                Action::Open(declaration) => {
                    let declared = declared(&declaration, membership, now);
                    let change = self.book.handle_declared(&declared, now.wall);
                    judgement.changes.extend(change);
                }
                Action::Close { pattern, nodes } => {
                    if pattern == Pattern::AggregatorIsolated {
                        self.isolated_until = now.moment + REFRESH;
                    }
                    if is_silencing(pattern) {
                        let back = nodes.iter().map(|node| (*node, now.moment));
                        self.back_since.extend(back);
                    }
                    let names = names(&nodes, membership);
                    // Its nodes are all forgotten: nobody is left to be told about.
                    if nodes.is_empty() || !names.is_empty() {
                        let changes = self.book.handle_cleared(pattern, &names, now.wall);
                        judgement.changes.extend(changes);
                    }
                }
            }
        }
        for (pattern, names) in std::mem::take(&mut self.orphans) {
            let changes = self.book.handle_cleared(pattern, &names, now.wall);
            judgement.changes.extend(changes);
        }
        judgement.changes.extend(self.book.poll(now.wall));
        judgement.questions = questions
            .into_iter()
            .map(|(node, subjects)| Question { node, subjects })
            .collect();
        self.evaluated_at = now.moment;
        self.deadline = self.detector.next_deadline(now.moment);
        judgement
    }

    /// The diagnosis has looked at the mesh. Nothing opens and nothing ends before the judging begins, nor while the
    /// aggregator itself is cut off.
    pub(crate) fn handle_diagnosed(
        &mut self,
        diagnosed: &Diagnosed,
        membership: &Membership,
        now: Now,
    ) -> Vec<IncidentChange> {
        let mut declarations = self.detector.declarations();
        let is_isolated = declarations.any(|one| one.pattern == Pattern::AggregatorIsolated);
        if self.warm_up.is_some() || is_isolated || now.moment < self.isolated_until {
            return Vec::new();
        }
        self.back_since
            .retain(|_, since| now.moment.saturating_since(*since) < AFTERMATH);
        let (mut declared, mut quiet) = (BTreeSet::new(), BTreeSet::new());
        for (node, member) in membership.iter() {
            let name = || member.profile.name.clone();
            if self.back_since.contains_key(&node) {
                quiet.insert(name());
            }
            match self.detector.state(node) {
                NodeState::Failed(pattern) if is_found(pattern) => {
                    declared.insert(name());
                }
                NodeState::Failed(pattern) if is_silencing(pattern) => {
                    quiet.insert(name());
                }
                NodeState::Leaving => {
                    quiet.insert(name());
                }
                NodeState::Ok | NodeState::Suspect | NodeState::Unknown | NodeState::Failed(_) => {}
            }
        }
        let look = Look {
            findings: &diagnosed.diagnosis.findings,
            topology: &diagnosed.shot.picture.topology,
            declared: &declared,
            quiet: &quiet,
            is_blind: is_blind(&diagnosed.shot.picture),
        };
        self.book.handle_findings(&look, now)
    }

    /// What the detector has declared and what is not over.
    pub(crate) fn declarations(&self) -> impl Iterator<Item = &Declaration> {
        self.detector.declarations()
    }

    /// Did the node join too lately to be judged?
    pub(crate) fn is_warming_up(&self, node: NodeIndex, now: Moment) -> bool {
        self.detector.is_warming_up(node, now)
    }

    /// The node's state alone.
    pub(crate) fn node_state(&self, node: NodeIndex) -> NodeState {
        self.detector.state(node)
    }

    /// Does a failure open an incident now?
    pub(crate) fn judging(&self, now: Moment) -> Judging {
        self.warm_up
            .as_ref()
            .map_or(Judging::Active, |warm_up| warm_up.judging(now))
    }

    /// The incidents that are open.
    pub(crate) fn open_incidents(&self) -> impl Iterator<Item = &Incident> {
        self.book.open_incidents()
    }

    /// The node's state, and why it is not OK in a sentence.
    pub(crate) fn state(&self, node: NodeIndex, name: &NodeName) -> (NodeState, String) {
        let state = self.detector.state(node);
        let reason = match state {
            NodeState::Ok => String::new(),
            NodeState::Suspect => {
                "Peers lose probes to it; the evidence is being collected.".to_owned()
            }
            NodeState::Unknown => "No report since the aggregator started.".to_owned(),
            NodeState::Leaving => "Its prober said goodbye.".to_owned(),
            NodeState::Failed(pattern) => {
                if let Some(reason) = self.reasons.get(&node) {
                    return (state, reason.clone());
                }
                let incident = self
                    .book
                    .open_incidents()
                    .find(|i| i.nodes.contains(name) && is_part_of(pattern, i.pattern));
                incident.map_or_else(|| format!("Judged {pattern}."), |i| i.summary.clone())
            }
        };
        (state, reason)
    }

    fn expedite(&mut self, now: Moment) {
        let earliest = (self.evaluated_at + EVALUATION_GAP).max(now);
        self.deadline = self.deadline.min(earliest);
    }

    /// Open incidents stay open, in the book and in the detector.
    fn restore(&mut self, membership: &Membership, incidents: Vec<Incident>, now: Now) {
        let open: Vec<Incident> = incidents
            .iter()
            .filter(|incident| incident.state == IncidentState::Open)
            // What the diagnosis found it has to find again, or refute.
            .filter(|incident| !is_found(incident.pattern))
            .cloned()
            .collect();
        self.book.restore(incidents, now.moment);
        let mut declarations = Vec::new();
        for incident in open {
            match declaration(&incident, membership, now) {
                Some(declaration) => {
                    // Whoever was known to have failed is not waited for.
                    for node in &declaration.nodes {
                        if let Some(warm_up) = &mut self.warm_up {
                            warm_up.excuse(*node);
                        }
                    }
                    declarations.push(declaration);
                }
                None => self.orphans.push((incident.pattern, incident.nodes)),
            }
        }
        self.detector.restore_open(declarations, now.moment);
    }
}

/// Does nothing answer on such a node? Then what is lost on the way to it says nothing about the way.
const fn is_silencing(pattern: Pattern) -> bool {
    matches!(
        pattern,
        Pattern::NodeDark | Pattern::ZoneDark | Pattern::ProberDown
    )
}

/// Do fewer than half of the nodes report that should?
fn is_blind(picture: &Picture) -> bool {
    let nodes = picture.topology.nodes.iter().zip(&picture.nodes);
    let (mut judged, mut reporting) = (0, 0);
    for (node, known) in nodes {
        if node.as_ref().is_some_and(|node| node.lifecycle.is_judged()) {
            judged += 1;
            reporting += usize::from(known.is_reporting);
        }
    }
    2 * reporting < judged
}

/// A node that is part of a dark zone is judged dark itself.
fn is_part_of(node: Pattern, incident: Pattern) -> bool {
    node == incident || (node == Pattern::NodeDark && incident == Pattern::ZoneDark)
}

fn facts(member: &Member, targets: u32) -> NodeFacts {
    NodeFacts {
        zone: member.zone,
        lifecycle: member.lifecycle,
        targets,
    }
}

fn names(nodes: &[NodeIndex], membership: &Membership) -> Vec<NodeName> {
    let members = nodes.iter().filter_map(|node| membership.get(*node));
    members.map(|member| member.profile.name.clone()).collect()
}

fn declared(declaration: &Declaration, membership: &Membership, now: Now) -> Declared {
    let mut nodes: Vec<DeclaredNode> = declaration
        .nodes
        .iter()
        .filter_map(|node| membership.get(*node))
        .map(|member| DeclaredNode {
            name: member.profile.name.clone(),
            zone: member.profile.zone.clone(),
        })
        .collect();
    nodes.sort_unstable();
    let zone = declaration.zone.map(|zone| membership.zones().name(zone));
    Declared {
        pattern: declaration.pattern,
        nodes,
        zone: zone.map(str::to_owned),
        plane: declaration.plane,
        since: now.wall_at(declaration.since),
        accusers: declaration.accusers,
        observers: declaration.observers,
        few_observers: declaration.few_observers,
        evidence: declaration.evidence.clone(),
    }
}

/// The declaration behind a remembered incident; `None`: none of its nodes is known any more.
fn declaration(incident: &Incident, membership: &Membership, now: Now) -> Option<Declaration> {
    let nodes = incident.nodes.iter();
    let mut nodes: Vec<NodeIndex> = nodes.filter_map(|name| membership.index_of(name)).collect();
    nodes.sort_unstable();
    if nodes.is_empty() && !incident.nodes.is_empty() {
        return None;
    }
    let zone = (incident.pattern == Pattern::ZoneDark)
        .then(|| membership.get(*nodes.first()?).map(|member| member.zone))
        .flatten();
    Some(Declaration {
        pattern: incident.pattern,
        nodes,
        zone,
        plane: incident.plane,
        since: now.moment_at(incident.started_at),
        accusers: 0,
        observers: 0,
        few_observers: false,
        evidence: incident.evidence.clone(),
    })
}
