//! The mesh's decisions in virtual time: probers that say what a failure would make them say.

use meshprobe_core::dark::{NodeState, Pattern};
use meshprobe_core::ids::{Incarnation, TargetNumber};
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_core::rtt::RttCode;
use meshprobe_core::window::{Failing, Summary};
use meshprobe_proto::report::BlockBuilder;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::incident::{Incident, Transition};
use crate::membership::{NodeAddress, StoreChange};
use crate::snapshot::Judging;

const UDP: Layer = Layer {
    kind: ProbeKind::Udp,
    plane: Plane::Pod,
    family: Family::V4,
};

/// A mesh with its probers, and a clock that the test moves.
struct World {
    mesh: Mesh,
    now: Now,
    probers: Vec<Prober>,
    changes: Vec<IncidentChange>,
    confirms: u32,
    /// Who was dead in the run before, and since when it is not.
    recovered: Option<(usize, Moment)>,
}

struct Prober {
    name: String,
    admitted: Option<Admitted>,
    stream: StreamId,
    sequence: u64,
    incarnation: u64,
    reported_at: Moment,
    /// Reports and answers.
    is_alive: bool,
}

fn start() -> Now {
    Now {
        moment: Moment::from_millis(86_400_000),
        wall: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
    }
}

impl World {
    fn new(nodes: usize) -> Self {
        Self::remembering(nodes, Remembered::default())
    }

    fn remembering(nodes: usize, remembered: Remembered) -> Self {
        let now = start();
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
            mesh,
            now,
            probers: probers.collect(),
            changes: Vec::new(),
            confirms: 0,
            recovered: None,
        }
    }

    fn connect(&mut self, node: usize) {
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
            labels: std::collections::BTreeMap::new(),
            addresses: vec![NodeAddress {
                plane: Plane::Pod,
                ip: [10, 0, 0, node as u8 + 1].into(),
                udp_port: 1,
                tcp_port: 1,
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

    fn connect_all(&mut self) {
        for node in 0..self.probers.len() {
            self.connect(node);
        }
    }

    fn key(&self, node: usize) -> ProberKey {
        self.probers[node].admitted.as_ref().unwrap().prober
    }

    /// Everybody who lives reports every ten seconds, at once when asked, four times a second while a peer is dead, and
    /// once when it answers again.
    fn run(&mut self, millis: u64, dead_since: Option<(usize, Moment)>) {
        if let Some((dead, _)) = dead_since {
            self.recovered = Some((dead, self.now.moment + Duration::from_millis(millis)));
        }
        let end = self.now.moment + Duration::from_millis(millis);
        while self.now.moment < end {
            self.now = Now {
                moment: self.now.moment + Duration::from_millis(10),
                wall: self.now.wall + Duration::from_millis(10),
            };
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
                    node != dead && lost >= Duration::from_millis(200 + 20 * node as u64)
                });
                let answers_again = dead_since.is_none()
                    && self.recovered.is_some_and(|(_, at)| {
                        let told_at = at + Duration::from_millis(100 + 30 * node as u64);
                        self.now.moment >= told_at && prober.reported_at < told_at
                    });
                let due = age >= Duration::from_secs(10)
                    || answers_again
                    || (asked && age >= Duration::from_millis(10))
                    || (urgent && age >= Duration::from_millis(250));
                if due && prober.is_alive && prober.admitted.is_some() {
                    self.report(node, age, dead_since);
                }
            }
            let changes = self.mesh.poll(self.now);
            self.changes.extend(changes);
            let batch = self.mesh.take_batch();
            if let Some(batch) = batch {
                self.mesh.handle_stored(batch);
            }
        }
    }

    fn report(&mut self, node: usize, window: Duration, dead: Option<(usize, Moment)>) {
        let now = self.now.moment;
        let mut block = BlockBuilder::new(UDP);
        for target in (0..self.probers.len()).filter(|t| *t != node) {
            let lost_since = dead.filter(|(d, _)| *d == target).map(|(_, since)| since);
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
            let recovered = self
                .recovered
                .filter(|(r, _)| *r == target && dead.is_none());
            let recovered = recovered.map(|_| Failing {
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
                        consecutive_losses: 4,
                        first_loss_age: lost_for,
                        last_reply_age: Some(lost_for + Duration::from_millis(700)),
                        last_heard_age: Some(lost_for + Duration::from_millis(300)),
                        last_outcome: OutcomeClass::Timeout,
                    }
                })
            });
            block.push(TargetNumber(target as u32), &summary, &[], failing);
        }
        let key = self.key(node);
        let prober = &mut self.probers[node];
        prober.sequence += 1;
        prober.reported_at = now;
        let report = v1::Report {
            incarnation: prober.incarnation,
            sequence: prober.sequence,
            window_start_unix_millis: 1,
            window_millis: window.as_millis().max(1) as u32,
            blocks: vec![block.finish()],
            ..v1::Report::default()
        };
        let event = StreamEvent::Report {
            prober: key,
            stream: prober.stream,
            report: Box::new(report),
            arrived_at: now,
        };
        self.mesh.handle(event, self.now);
    }

    fn transitions(&self) -> Vec<(Transition, Pattern)> {
        let change = |c: &IncidentChange| (c.transition, c.incident.pattern);
        self.changes.iter().map(change).collect()
    }

    fn state(&self, node: usize) -> NodeState {
        let snapshot = self.mesh.snapshots().borrow().clone();
        let name = NodeName::try_from(self.probers[node].name.as_str()).unwrap();
        snapshot.node(&name).unwrap().state
    }

    /// What the store would have now.
    fn remember(&self, incidents: Vec<Incident>) -> Remembered {
        let nodes = self.mesh.membership.records();
        Remembered {
            nodes,
            incidents,
            ..Remembered::default()
        }
    }
}

#[test]
fn a_healthy_mesh_opens_nothing() {
    let mut world = World::new(6);
    world.connect_all();
    world.run(60_000, None);
    assert!(world.changes.is_empty(), "{:?}", world.transitions());
    assert!((0..6).all(|node| world.state(node) == NodeState::Ok));
    let snapshot = world.mesh.snapshots().borrow().clone();
    assert_eq!(snapshot.judging, Judging::Active);
    assert_eq!(snapshot.nodes_reporting(), 6);
    assert_eq!(
        snapshot
            .paths()
            .count(meshprobe_core::verdict::Verdict::Healthy),
        30
    );
}

#[test]
fn a_dark_node_is_announced_once_within_two_seconds_and_resolved_when_it_is_back() {
    let mut world = World::new(6);
    world.connect_all();
    world.run(30_000, None);
    let cut_at = world.now.moment;
    world.probers[3].is_alive = false;
    world.run(2_000, Some((3, cut_at)));
    assert_eq!(
        world.transitions(),
        [(Transition::Opened, Pattern::NodeDark)]
    );
    assert!(world.confirms > 0, "others were asked to confirm");
    let incident = &world.changes[0].incident;
    assert_eq!(incident.nodes[0].as_str(), "mesh-3");
    assert_eq!(incident.zones, ["zone-b"]);
    assert!(
        incident
            .summary
            .starts_with("Node mesh-3 (zone-b) is dark: 5 of 5 peers"),
        "{}",
        incident.summary
    );
    world.run(20_000, Some((3, cut_at)));
    assert_eq!(world.changes.len(), 1, "{:?}", world.transitions());
    assert_eq!(world.state(3), NodeState::Failed(Pattern::NodeDark));

    world.probers[3].is_alive = true;
    world.run(30_000, None);
    assert_eq!(
        world.transitions()[1..],
        [(Transition::Resolved, Pattern::NodeDark)]
    );
    assert_eq!(world.state(3), NodeState::Ok);
}

#[test]
fn a_node_that_said_goodbye_is_leaving_and_nobody_is_paged() {
    let mut world = World::new(6);
    world.connect_all();
    world.run(30_000, None);
    let goodbye = StreamEvent::Goodbye {
        prober: world.key(3),
        stream: world.probers[3].stream,
        goodbye: v1::Goodbye {
            reason: "SIGTERM".to_owned(),
            back_within_seconds: 120,
        },
    };
    world.mesh.handle(goodbye, world.now);
    let closed = StreamEvent::Closed {
        prober: world.key(3),
        stream: world.probers[3].stream,
    };
    world.mesh.handle(closed, world.now);
    world.probers[3].is_alive = false;
    let left_at = world.now.moment;
    world.run(60_000, Some((3, left_at)));
    assert_eq!(world.state(3), NodeState::Leaving);
    world.run(90_000, Some((3, left_at)));
    assert!(world.changes.is_empty(), "{:?}", world.transitions());
    assert_eq!(world.mesh.snapshots().borrow().nodes.len(), 5, "gone");
}

#[test]
fn after_a_restart_open_incidents_stay_open_and_nothing_opens_before_the_probers_were_heard() {
    let mut world = World::new(6);
    world.connect_all();
    world.run(30_000, None);
    let cut_at = world.now.moment;
    world.probers[3].is_alive = false;
    world.run(3_000, Some((3, cut_at)));
    let incidents = vec![world.changes[0].incident.clone()];
    let remembered = world.remember(incidents);

    let mut after = World::remembering(6, remembered);
    let cut_at = after.now.moment;
    after.probers[3].is_alive = false;
    after.run(5_000, None);
    let judging = after.mesh.snapshots().borrow().judging.clone();
    assert!(
        judging.reason().contains("0 of 6 known nodes"),
        "{}",
        judging.reason()
    );
    for node in [0, 1, 2, 4, 5] {
        after.connect(node);
    }
    after.run(90_000, Some((3, cut_at)));
    assert!(after.changes.is_empty(), "{:?}", after.transitions());
    assert_eq!(after.mesh.snapshots().borrow().judging, Judging::Active);
    assert_eq!(after.state(3), NodeState::Failed(Pattern::NodeDark));

    after.probers[3].is_alive = true;
    after.probers[3].incarnation = 2;
    after.connect(3);
    after.run(30_000, None);
    assert_eq!(
        after.transitions(),
        [(Transition::Resolved, Pattern::NodeDark)]
    );
}

#[test]
fn a_cut_stream_of_a_healthy_node_is_reports_cut() {
    let mut world = World::new(6);
    world.connect_all();
    world.run(30_000, None);
    let closed = StreamEvent::Closed {
        prober: world.key(2),
        stream: world.probers[2].stream,
    };
    world.mesh.handle(closed, world.now);
    world.probers[2].admitted = None;
    world.run(15_000, None);
    assert_eq!(
        world.transitions(),
        [(Transition::Opened, Pattern::ReportsCut)]
    );
    world.probers[2].stream = StreamId(99);
    world.connect(2);
    world.run(60_000, None);
    assert_eq!(
        world.transitions()[1..],
        [(Transition::Resolved, Pattern::ReportsCut)]
    );
}

#[test]
fn joins_are_coalesced_into_few_rosters() {
    let mut world = World::new(100);
    let rosters = world.mesh.rosters();
    let mut generations = std::collections::BTreeSet::new();
    for node in 0..100 {
        world.connect(node);
        world.run(10, None);
        generations.insert(rosters.borrow().generation);
    }
    world.run(300, None);
    assert!(
        generations.len() <= 7,
        "{} rosters in a second",
        generations.len()
    );
    assert_eq!(rosters.borrow().nodes().len(), 100);
    let settled = rosters.borrow().generation;
    world.run(60_000, None);
    assert_eq!(rosters.borrow().generation, settled, "no change, no roster");
}

#[test]
fn a_late_report_is_counted_and_judges_nothing() {
    let mut world = World::new(3);
    world.connect_all();
    world.run(20_000, None);
    let before = world.mesh.path("mesh-0", "mesh-1", world.now).unwrap();
    let mut block = BlockBuilder::new(UDP);
    let lost = Summary {
        window_millis: 10_000,
        sent: 10,
        ..Summary::default()
    };
    block.push(TargetNumber(1), &lost, &[], None);
    world.probers[0].sequence += 1;
    let late = v1::Report {
        incarnation: 1,
        sequence: world.probers[0].sequence,
        window_start_unix_millis: 1,
        window_millis: 10_000,
        age_millis: 3_600_000,
        blocks: vec![block.finish()],
        ..v1::Report::default()
    };
    let event = StreamEvent::Report {
        prober: world.key(0),
        stream: world.probers[0].stream,
        report: Box::new(late),
        arrived_at: world.now.moment,
    };
    world.mesh.handle(event, world.now);
    let after = world.mesh.path("mesh-0", "mesh-1", world.now).unwrap();
    assert_eq!(after.forward, before.forward);
    assert_eq!(world.mesh.metrics.reports("late"), 1);
    let batch = world.mesh.take_batch().unwrap();
    let StoreChange::Progress(progress) = &batch.changes[0] else {
        panic!("{:?}", batch.changes);
    };
    assert_eq!(progress.through, world.probers[0].sequence);
}

#[test]
fn a_confirm_that_nobody_reads_is_dropped_and_counted() {
    let mut world = World::new(2);
    world.connect_all();
    let question = Question {
        node: NodeIndex(0),
        subjects: [NodeIndex(1)].into(),
    };
    for _ in 0..20 {
        world.mesh.ask(&question);
    }
    let admitted = world.probers[0].admitted.as_mut().unwrap();
    let confirms: &mut mpsc::Receiver<v1::Confirm> = &mut admitted.confirms;
    let first = confirms.try_recv().unwrap();
    assert_eq!(first.peer_ssid, [2]);
    let mut queued = 1;
    while confirms.try_recv().is_ok() {
        queued += 1;
    }
    assert_eq!(queued, crate::ingest::session::CONFIRM_QUEUE);
}
