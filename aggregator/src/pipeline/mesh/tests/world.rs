//! A mesh in virtual time: probers that say what a failure would make them say.

use std::collections::{BTreeMap, BTreeSet};

use meshprobe_core::dark::NodeState;
use meshprobe_core::diagnosis::{DiagnosisConfig, diagnose};
use meshprobe_core::finding::Pattern;
use meshprobe_core::ids::{Incarnation, TargetNumber};
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_core::rtt::RttCode;
use meshprobe_core::window::{Failing, Summary};
use meshprobe_proto::report::BlockBuilder;
use tokio::sync::oneshot;

use super::super::*;
use crate::incident::{Incident, Transition};
use crate::membership::NodeAddress;

pub(super) const UDP: Layer = Layer {
    kind: ProbeKind::Udp,
    plane: Plane::Pod,
    family: Family::V4,
};

/// Nodes that are dead, and since when.
pub(super) type Dead<'a> = Option<(&'a [usize], Moment)>;

/// A mesh with its probers, and a clock that the test moves.
pub(super) struct World {
    pub(super) mesh: Mesh,
    pub(super) now: Now,
    pub(super) probers: Vec<Prober>,
    pub(super) changes: Vec<IncidentChange>,
    pub(super) confirms: u32,
    pub(super) shots: watch::Receiver<Option<Shot>>,
    /// The newest run of the diagnosis.
    pub(super) diagnosed: Option<Diagnosed>,
    /// Ways on which nothing arrives: from, to.
    pub(super) broken: BTreeSet<(usize, usize)>,
    /// Since when probes are lost on them.
    lossy_since: BTreeMap<(usize, usize), Moment>,
    /// The incidents that it started with.
    remembered: Vec<Incident>,
    /// Who was dead in the run before, and since when they are not.
    recovered: Option<(Vec<usize>, Moment)>,
}

pub(super) struct Prober {
    name: String,
    pub(super) admitted: Option<Admitted>,
    pub(super) stream: StreamId,
    pub(super) sequence: u64,
    pub(super) incarnation: u64,
    pub(super) reported_at: Moment,
    /// Reports and answers.
    pub(super) is_alive: bool,
}

fn start() -> Now {
    Now {
        moment: Moment::from_millis(86_400_000),
        wall: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
    }
}

impl World {
    pub(super) fn new(nodes: usize) -> Self {
        Self::remembering(nodes, Remembered::default(), start().wall)
    }

    /// A mesh that was restarted `down` after this one stopped: what the store has, and nothing else.
    pub(super) fn restarted(&self, down: Duration) -> Self {
        let mut last = BTreeMap::new();
        for change in &self.changes {
            // As the store writes and reads it.
            let body = serde_json::to_string(&change.incident).unwrap();
            let incident: Incident = serde_json::from_str(&body).unwrap();
            last.insert(incident.id.clone(), incident);
        }
        for incident in &self.remembered {
            last.entry(incident.id.clone())
                .or_insert_with(|| incident.clone());
        }
        let remembered = Remembered {
            nodes: self.mesh.membership.records(),
            incidents: last.into_values().collect(),
            ..Remembered::default()
        };
        let mut after = Self::remembering(self.probers.len(), remembered, self.now.wall + down);
        for (n, prober) in after.probers.iter_mut().enumerate() {
            prober.is_alive = self.probers[n].is_alive;
            prober.stream = StreamId(self.probers[n].stream.0 + 1_000);
        }
        after
    }

    fn remembering(nodes: usize, remembered: Remembered, wall: jiff::Timestamp) -> Self {
        let now = Now { wall, ..start() };
        let incidents = remembered.incidents.clone();
        let config = PipelineConfig::default();
        let metrics = PipelineMetrics::default();
        let mesh = Mesh::new(config, remembered, metrics, now).unwrap();
        let probers = (0..nodes).map(|n| Prober {
            name: format!("mesh-{n}"),
            admitted: None,
            stream: StreamId(n as u64),
            sequence: 0,
            incarnation: 1,
            reported_at: now.moment,
            is_alive: true,
        });
        Self {
            shots: mesh.shots(),
            diagnosed: None,
            mesh,
            now,
            probers: probers.collect(),
            changes: Vec::new(),
            confirms: 0,
            broken: BTreeSet::new(),
            lossy_since: BTreeMap::new(),
            recovered: None,
            remembered: incidents,
        }
    }

    pub(super) fn connect(&mut self, node: usize) {
        let prober = &mut self.probers[node];
        let hello = Announcement {
            node: NodeName::try_from(prober.name.as_str()).unwrap(),
            plane: Plane::Pod,
            incarnation: Incarnation(prober.incarnation),
            version: "0.1.0".to_owned(),
            zone: if node.is_multiple_of(2) {
                "zone-a"
            } else {
                "zone-b"
            }
            .to_owned(),
            region: String::new(),
            labels: BTreeMap::new(),
            addresses: vec![NodeAddress {
                plane: Plane::Pod,
                ip: [10, 0, 0, node as u8 + 1].into(),
                udp_port: 1,
                tcp_port: 1,
                quic_port: 0,
            }],
            way: None,
        };
        let (answer, mut admitted) = oneshot::channel();
        let open = StreamEvent::Open {
            stream: prober.stream,
            hello: Box::new(hello),
            answer,
        };
        self.mesh.handle(open, self.now);
        prober.admitted = Some(admitted.try_recv().unwrap().unwrap());
        let entry = |number: usize| v1::DictionaryEntry {
            number: number as u32,
            target: Some(v1::dictionary_entry::Target::Node(format!("mesh-{number}"))),
        };
        let dictionary = v1::Dictionary {
            incarnation: prober.incarnation,
            entries: (0..self.probers.len()).map(entry).collect(),
        };
        let event = StreamEvent::Dictionary {
            prober: self.key(node),
            stream: self.probers[node].stream,
            dictionary,
        };
        self.mesh.handle(event, self.now);
    }

    pub(super) fn connect_all(&mut self) {
        for node in 0..self.probers.len() {
            self.connect(node);
        }
    }

    /// Everybody who is alive calls again.
    pub(super) fn connect_living(&mut self) {
        for node in 0..self.probers.len() {
            if self.probers[node].is_alive {
                self.connect(node);
            }
        }
    }

    /// These neither report nor answer from now on.
    pub(super) fn cut(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.probers[*node].is_alive = false;
        }
    }

    /// The stream of this node's prober ends; its next one has another number.
    pub(super) fn hang_up(&mut self, node: usize) {
        let closed = StreamEvent::Closed {
            prober: self.key(node),
            stream: self.probers[node].stream,
        };
        self.mesh.handle(closed, self.now);
        let prober = &mut self.probers[node];
        prober.admitted = None;
        prober.stream = StreamId(prober.stream.0 + 100);
    }

    pub(super) fn key(&self, node: usize) -> ProberKey {
        self.probers[node].admitted.as_ref().unwrap().prober
    }

    /// Everybody who lives reports every ten seconds, at once when asked, four times a second while a peer is dead, and
    /// once when it answers again.
    pub(super) fn run(&mut self, millis: u64, dead_since: Dead<'_>) {
        if let Some((dead, _)) = dead_since {
            let end = self.now.moment + Duration::from_millis(millis);
            self.recovered = Some((dead.to_vec(), end));
        }
        let end = self.now.moment + Duration::from_millis(millis);
        while self.now.moment < end {
            self.pass();
            for node in 0..self.probers.len() {
                let prober = &mut self.probers[node];
                let asked = match &mut prober.admitted {
                    Some(admitted) => admitted.confirms.try_recv().is_ok(),
                    None => false,
                };
                self.confirms += u32::from(asked);
                let age = self.now.moment.saturating_since(prober.reported_at);
                let urgent = dead_since.is_some_and(|(dead, since)| {
                    let lost = self.now.moment.saturating_since(since);
                    !dead.contains(&node) && lost >= Duration::from_millis(200 + 20 * node as u64)
                });
                let answers_again = dead_since.is_none()
                    && self.recovered.as_ref().is_some_and(|(_, at)| {
                        let told_at = *at + Duration::from_millis(100 + 30 * node as u64);
                        self.now.moment >= told_at && prober.reported_at < told_at
                    });
                let touches = |way: &(usize, usize)| way.0 == node || way.1 == node;
                let in_trouble = self.broken.iter().any(touches);
                let has_healed = !in_trouble && self.lossy_since.keys().any(|way| way.0 == node);
                let due = age >= Duration::from_secs(10)
                    || ((in_trouble || has_healed) && age >= Duration::from_secs(1))
                    || answers_again
                    || (asked && age >= Duration::from_millis(10))
                    || (urgent && age >= Duration::from_millis(250));
                if due && prober.is_alive && prober.admitted.is_some() {
                    self.report(node, age, dead_since);
                }
            }
            self.poll();
        }
    }

    /// Time passes and no prober says anything.
    pub(super) fn idle(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.pass();
            self.poll();
        }
    }

    fn pass(&mut self) {
        const STEP: Duration = Duration::from_millis(10);
        self.now = Now {
            moment: self.now.moment + STEP,
            wall: self.now.wall + STEP,
        };
    }

    fn poll(&mut self) {
        let changes = self.mesh.poll(self.now).into_iter();
        // What is only known better is told to nobody.
        self.changes
            .extend(changes.filter(|change| change.transition != Transition::Refined));
        self.diagnose();
        if let Some(batch) = self.mesh.take_batch() {
            self.mesh.handle_stored(batch);
        }
    }

    /// What the diagnosis task does, in no time.
    fn diagnose(&mut self) {
        if !self.shots.has_changed().unwrap() {
            return;
        }
        let shot = self.shots.borrow_and_update().clone().unwrap();
        let diagnosis = diagnose(&shot.picture, &DiagnosisConfig::default());
        self.diagnosed = Some(Diagnosed {
            shot,
            diagnosis: Arc::new(diagnosis),
        });
        self.mesh
            .handle_diagnosed(self.diagnosed.as_ref().unwrap(), self.now);
    }

    /// A report out of a spool: so long ago this node lost every probe.
    pub(super) fn report_late(&mut self, node: usize, age: Duration) {
        let mut block = BlockBuilder::new(UDP);
        let lost = Summary {
            window_millis: 10_000,
            sent: 10,
            ..Summary::default()
        };
        let failing = Failing {
            consecutive_losses: 10,
            first_loss_age: Duration::from_secs(10),
            last_reply_age: None,
            last_heard_age: None,
            last_outcome: OutcomeClass::Timeout,
        };
        for target in (0..self.probers.len()).filter(|t| *t != node) {
            block.push(TargetNumber(target as u32), &lost, &[], Some(failing));
        }
        let report = v1::Report {
            window_millis: 10_000,
            age_millis: age.as_millis() as u32,
            blocks: vec![block.finish()],
            ..v1::Report::default()
        };
        self.say(node, report);
    }

    /// Hands over a report under the next number.
    fn say(&mut self, node: usize, report: v1::Report) {
        let key = self.key(node);
        let prober = &mut self.probers[node];
        prober.sequence += 1;
        let report = v1::Report {
            incarnation: prober.incarnation,
            sequence: prober.sequence,
            window_start_unix_millis: 1,
            ..report
        };
        let event = StreamEvent::Report {
            prober: key,
            stream: prober.stream,
            report: Box::new(report),
            arrived_at: self.now.moment,
        };
        self.mesh.handle(event, self.now);
    }

    pub(super) fn report(&mut self, node: usize, window: Duration, dead: Dead<'_>) {
        let now = self.now.moment;
        let mut block = BlockBuilder::new(UDP);
        for target in (0..self.probers.len()).filter(|t| *t != node) {
            let lost_since = dead
                .filter(|(d, _)| d.contains(&target) || d.contains(&node))
                .map(|(_, since)| since);
            let lost_for = lost_since.map(|since| now.saturating_since(since));
            let count = u32::try_from(window.as_millis() / 1_000).unwrap().max(1);
            let code = RttCode::from_nanos(200_000);
            let mut summary = Summary {
                window_millis: window.as_millis() as u32,
                sent: count,
                replied: count,
                received: count,
                rtt_min: code,
                rtt_median: code,
                rtt_max: code,
                ..Summary::default()
            };
            let has_recovered = self
                .recovered
                .as_ref()
                .is_some_and(|(nodes, _)| nodes.contains(&target) && dead.is_none());
            let recovered = has_recovered.then_some(Failing {
                consecutive_losses: 0,
                first_loss_age: Duration::ZERO,
                last_reply_age: Some(Duration::ZERO),
                last_heard_age: Some(Duration::ZERO),
                last_outcome: OutcomeClass::Reply,
            });
            let failing = recovered.or_else(|| {
                lost_for.map(|lost_for| {
                    summary = Summary {
                        window_millis: summary.window_millis,
                        sent: 4,
                        ..Summary::default()
                    };
                    Failing {
                        consecutive_losses: 4 + lost_for.as_millis() as u32 / 60,
                        first_loss_age: lost_for,
                        last_reply_age: Some(lost_for + Duration::from_millis(700)),
                        last_heard_age: Some(lost_for + Duration::from_millis(300)),
                        last_outcome: OutcomeClass::Timeout,
                    }
                })
            });
            let failing = failing.or_else(|| self.break_ways((node, target), &mut summary));
            block.push(TargetNumber(target as u32), &summary, &[], failing);
        }
        self.probers[node].reported_at = now;
        let report = v1::Report {
            window_millis: window.as_millis().max(1) as u32,
            blocks: vec![block.finish()],
            ..v1::Report::default()
        };
        self.say(node, report);
    }

    /// What a broken way makes of a summary of its source, or of that of its target.
    fn break_ways(&mut self, way: (usize, usize), summary: &mut Summary) -> Option<Failing> {
        let now = self.now.moment;
        let is_deaf = self.broken.contains(&(way.1, way.0));
        if is_deaf {
            summary.received = 0;
        }
        if !is_deaf && !self.broken.contains(&way) {
            self.lossy_since.remove(&way)?;
            return Some(Failing {
                consecutive_losses: 0,
                first_loss_age: Duration::ZERO,
                last_reply_age: Some(Duration::ZERO),
                last_heard_age: Some(Duration::ZERO),
                last_outcome: OutcomeClass::Reply,
            });
        }
        let window = Duration::from_millis(summary.window_millis.into());
        let since = *self.lossy_since.entry(way).or_insert(now - window);
        let lost_for = now.saturating_since(since);
        *summary = Summary {
            window_millis: summary.window_millis,
            sent: summary.sent,
            received: summary.received,
            ..Summary::default()
        };
        Some(Failing {
            consecutive_losses: 4 + lost_for.as_secs() as u32,
            first_loss_age: lost_for,
            last_reply_age: Some(lost_for + Duration::from_millis(700)),
            last_heard_age: Some(if is_deaf { lost_for } else { Duration::ZERO }),
            last_outcome: OutcomeClass::Timeout,
        })
    }

    pub(super) fn transitions(&self) -> Vec<(Transition, Pattern)> {
        let change = |c: &IncidentChange| (c.transition, c.incident.pattern);
        self.changes.iter().map(change).collect()
    }

    pub(super) fn state(&self, node: usize) -> NodeState {
        let snapshot = self.mesh.snapshots().borrow().clone();
        let name = NodeName::try_from(self.probers[node].name.as_str()).unwrap();
        snapshot.node(&name).unwrap().state
    }
}
