//! The truth table, row by row, on sightings written by hand. Random traffic is the simulator's business.

use std::time::Duration;

use super::*;
use crate::finding::Pattern;
use crate::ids::{NodeIndex, ZoneIndex};
use crate::lifecycle::Lifecycle;
use crate::outcome::OutcomeClass;
use crate::path::{Plane, ProbeKind};
use crate::time::Moment;

mod few;
mod kinds;
mod properties;

/// A mesh whose observers report what the test says, on a clock that the test turns.
struct Mesh {
    detector: Detector,
    nodes: u32,
    now: Moment,
    /// Which nodes answer when they are asked to report.
    reporting: Vec<bool>,
    opened: Vec<Declaration>,
    closed: Vec<(Pattern, Vec<NodeIndex>)>,
}

/// What the observers see of a node that does not answer.
#[derive(Clone, Copy)]
struct View {
    losses: u32,
    heard: bool,
    host: bool,
    outcome: OutcomeClass,
}

const DEAD: View = View {
    losses: 5,
    heard: false,
    host: false,
    outcome: OutcomeClass::Timeout,
};

impl Mesh {
    fn new(nodes: u32, zones: u16) -> Self {
        Self::with_config(nodes, zones, DarkConfig::default())
    }

    fn with_config(nodes: u32, zones: u16, config: DarkConfig) -> Self {
        let mut detector = Detector::new(config);
        for n in 0..nodes {
            let facts = NodeFacts {
                zone: ZoneIndex(1 + (n as u16) % zones),
                lifecycle: Lifecycle::Active,
                targets: nodes - 1,
            };
            detector.upsert_node(NodeIndex(n), facts, Moment::ORIGIN);
            detector.handle_stream_opened(NodeIndex(n));
        }
        detector.start_judging();
        let mut mesh = Self {
            detector,
            nodes,
            now: Moment::from_millis(60_000),
            reporting: vec![true; nodes as usize],
            opened: Vec::new(),
            closed: Vec::new(),
        };
        for n in 0..nodes {
            mesh.detector.handle_report(NodeIndex(n), 0, mesh.now);
        }
        mesh
    }

    /// Lets time pass in steps of the detector's tick; nodes that are asked answer if they can.
    fn run(&mut self, millis: u64) -> &mut Self {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.now = self.now + Duration::from_millis(50);
            for action in self.detector.evaluate(self.now) {
                match action {
                    Action::AskReport { node } if self.reporting[node.index()] => {
                        self.detector
                            .handle_report(node, 0, self.now + Duration::from_millis(25));
                    }
                    Action::Open(declaration) => self.opened.push(declaration),
                    Action::Close { pattern, nodes } => self.closed.push((pattern, nodes)),
                    Action::AskReport { .. } | Action::Confirm { .. } => {}
                }
            }
        }
        self
    }

    fn sighting(&self, observer: u32, subject: u32) -> Sighting {
        Sighting {
            observer: NodeIndex(observer),
            subject: NodeIndex(subject),
            kind: ProbeKind::Udp,
            plane: Plane::Pod,
            consecutive_losses: 0,
            first_loss_at: self.now - Duration::from_millis(250),
            last_reply_at: None,
            last_heard_at: None,
            last_outcome: OutcomeClass::Timeout,
            observed_at: self.now,
        }
    }

    fn sees(&mut self, observer: u32, subject: u32, view: View) {
        let base = self.sighting(observer, subject);
        let udp = Sighting {
            consecutive_losses: view.losses,
            last_heard_at: view.heard.then_some(self.now),
            last_outcome: view.outcome,
            ..base
        };
        let host = Sighting {
            kind: ProbeKind::Tcp,
            plane: Plane::Host,
            consecutive_losses: u32::from(!view.host),
            last_reply_at: view.host.then_some(self.now),
            ..base
        };
        self.detector.handle_sighting(udp, self.now);
        self.detector.handle_sighting(host, self.now);
    }

    /// Everybody but `subject` and `except` loses it.
    fn all_see(&mut self, subject: u32, except: &[u32], view: View) {
        for observer in (0..self.nodes).filter(|o| *o != subject && !except.contains(o)) {
            self.sees(observer, subject, view);
        }
    }

    fn reached_again(&mut self, observer: u32, subject: u32) {
        for (kind, plane) in [(ProbeKind::Udp, Plane::Pod), (ProbeKind::Tcp, Plane::Host)] {
            let ok = Sighting {
                kind,
                plane,
                last_reply_at: Some(self.now),
                last_outcome: OutcomeClass::Reply,
                ..self.sighting(observer, subject)
            };
            self.detector.handle_sighting(ok, self.now);
        }
    }

    fn silence(&mut self, node: u32) {
        self.reporting[node as usize] = false;
        self.detector
            .handle_stream_closed(NodeIndex(node), self.now);
    }

    fn found(&self) -> Vec<(Pattern, Vec<u32>)> {
        let nodes = |d: &Declaration| d.nodes.iter().map(|n| n.0).collect();
        self.opened.iter().map(|d| (d.pattern, nodes(d))).collect()
    }
}

#[test]
fn nobody_reaches_it_nobody_hears_it_and_it_is_silent() {
    let mut mesh = Mesh::new(6, 2);
    mesh.reporting[3] = false;
    mesh.all_see(3, &[], DEAD);
    mesh.run(900);
    assert!(
        mesh.opened.is_empty(),
        "the hold of one second has not passed"
    );
    mesh.run(700);
    assert_eq!(mesh.found(), [(Pattern::NodeDark, vec![3])]);
    assert_eq!(mesh.opened[0].accusers, 5);
    assert_eq!(
        mesh.detector.state(NodeIndex(3)),
        NodeState::Failed(Pattern::NodeDark)
    );
}

#[test]
fn without_a_hold_a_dark_node_is_declared_at_once() {
    let config = DarkConfig {
        dark_hold: Duration::ZERO,
        ..DarkConfig::default()
    };
    let mut mesh = Mesh::with_config(10, 2, config);
    mesh.reporting[3] = false;
    mesh.all_see(3, &[], DEAD);
    mesh.run(350);
    assert_eq!(mesh.found(), [(Pattern::NodeDark, vec![3])]);
}

#[test]
fn observers_whose_burst_is_under_way_do_not_keep_a_large_mesh_waiting() {
    let config = DarkConfig {
        dark_hold: Duration::ZERO,
        ..DarkConfig::default()
    };
    let mut mesh = Mesh::with_config(50, 2, config);
    mesh.reporting[49] = false;
    let cut = mesh.now;
    // Every 50 ms the turns of two or three observers come; 200 ms after its first loss an observer accuses.
    for step in 0..12_u64 {
        for observer in 0..49 {
            let age = (step * 50).checked_sub(u64::from(observer) * 20);
            let is_confirmer = step == 5 && observer % 5 == 0;
            let losses = match age {
                _ if is_confirmer => 4,
                Some(age) => (age / 50 + 1).min(5) as u32,
                None => continue,
            };
            mesh.sees(observer, 49, View { losses, ..DEAD });
        }
        mesh.run(50);
    }
    assert_eq!(mesh.found(), [(Pattern::NodeDark, vec![49])]);
    assert!(mesh.now.saturating_since(cut) <= Duration::from_millis(600));
}

#[test]
fn observers_that_have_just_lost_a_probe_are_not_left_out_under_heavy_loss() {
    let config = DarkConfig {
        dark_hold: Duration::ZERO,
        ..DarkConfig::default()
    };
    let mut mesh = Mesh::with_config(10, 2, config);
    mesh.reporting[9] = false;
    mesh.sees(0, 9, DEAD);
    mesh.run(50);
    // Three observers accuse, in both zones; the other six lose a probe now and then.
    for _ in 0..20 {
        for observer in 0..9 {
            let losses = if observer < 3 { 5 } else { 1 };
            mesh.sees(observer, 9, View { losses, ..DEAD });
        }
        mesh.run(50);
    }
    assert!(mesh.opened.is_empty(), "{:?}", mesh.found());
}

#[test]
fn a_freeze_shorter_than_the_hold_is_no_dark_node() {
    let mut mesh = Mesh::new(6, 2);
    mesh.reporting[3] = false;
    mesh.all_see(3, &[], DEAD);
    mesh.run(800);
    mesh.reporting[3] = true;
    for observer in [0, 1, 2, 4, 5] {
        mesh.reached_again(observer, 3);
    }
    mesh.run(10_000);
    assert!(mesh.opened.is_empty());
    assert_eq!(mesh.detector.state(NodeIndex(3)), NodeState::Ok);
}

#[test]
fn one_observer_is_never_believed_alone() {
    let mut mesh = Mesh::new(6, 2);
    mesh.reporting[3] = false;
    mesh.sees(0, 3, DEAD);
    for observer in [1, 2, 4, 5] {
        mesh.reached_again(observer, 3);
    }
    mesh.run(5_000);
    assert!(mesh.opened.is_empty());
}

#[test]
fn a_node_that_still_reports_is_isolated_and_not_dark() {
    let mut mesh = Mesh::new(6, 2);
    mesh.all_see(3, &[], DEAD);
    mesh.run(5_000);
    assert_eq!(mesh.found(), [(Pattern::Isolated, vec![3])]);
}

#[test]
fn a_node_whose_own_address_answers_is_not_dark() {
    let mut mesh = Mesh::new(6, 2);
    mesh.reporting[3] = false;
    mesh.all_see(3, &[], View { host: true, ..DEAD });
    mesh.run(5_000);
    assert_eq!(mesh.found(), [(Pattern::Isolated, vec![3])]);
    assert_eq!(mesh.opened[0].plane, Some(Plane::Pod));
}

#[test]
fn signs_of_life_from_before_the_cut_do_not_hide_a_dark_node() {
    // The first loss of the row was chance; then the node's address answered, its probe was heard, and it was cut.
    let mut mesh = Mesh::new(3, 2);
    mesh.reporting[2] = false;
    let before = mesh.now;
    let lost_by_chance = before - Duration::from_millis(300);
    for step in 0..60 {
        for observer in [0, 1] {
            let base = Sighting {
                first_loss_at: lost_by_chance,
                last_heard_at: Some(before),
                ..mesh.sighting(observer, 2)
            };
            let udp = Sighting {
                consecutive_losses: 5 + step,
                ..base
            };
            mesh.detector.handle_sighting(udp, mesh.now);
            for plane in [Plane::Pod, Plane::Host] {
                let tcp = Sighting {
                    kind: ProbeKind::Tcp,
                    plane,
                    consecutive_losses: 3,
                    last_reply_at: Some(before),
                    ..base
                };
                mesh.detector.handle_sighting(tcp, mesh.now);
            }
        }
        mesh.run(100);
    }
    assert_eq!(mesh.found(), [(Pattern::NodeDark, vec![2])]);
}

#[test]
fn a_node_whose_probes_still_arrive_is_ingress_dead() {
    let mut mesh = Mesh::new(6, 2);
    mesh.reporting[3] = false;
    mesh.all_see(
        3,
        &[],
        View {
            heard: true,
            ..DEAD
        },
    );
    mesh.run(5_000);
    assert_eq!(mesh.found(), [(Pattern::IngressDead, vec![3])]);
}

#[test]
fn a_node_that_hears_its_peers_but_cannot_answer_is_egress_dead() {
    let mut mesh = Mesh::new(6, 2);
    mesh.all_see(3, &[], View { host: true, ..DEAD });
    for peer in [0, 1, 2, 4, 5] {
        mesh.sees(
            3,
            peer,
            View {
                heard: true,
                ..DEAD
            },
        );
    }
    mesh.run(5_000);
    assert_eq!(mesh.found(), [(Pattern::EgressDead, vec![3])]);
    assert_eq!(mesh.opened[0].plane, Some(Plane::Pod));
}

#[test]
fn a_node_that_refuses_has_lost_its_prober_only() {
    let mut mesh = Mesh::new(6, 2);
    mesh.silence(3);
    let refused = View {
        outcome: OutcomeClass::Refused,
        host: true,
        ..DEAD
    };
    mesh.all_see(3, &[], refused);
    mesh.run(5_000);
    assert_eq!(mesh.found(), [(Pattern::ProberDown, vec![3])]);
}

#[test]
fn a_node_that_only_does_not_report_has_its_reports_cut() {
    let mut mesh = Mesh::new(6, 2);
    mesh.silence(3);
    mesh.run(8_000);
    assert_eq!(mesh.found(), [(Pattern::ReportsCut, vec![3])]);
    mesh.detector.handle_stream_opened(NodeIndex(3));
    mesh.run(4_000);
    assert_eq!(mesh.closed, [(Pattern::ReportsCut, vec![NodeIndex(3)])]);
}

#[test]
fn a_zone_that_is_cut_off_from_the_aggregators_alone_is_silent_and_nobodys_fault() {
    let mut mesh = Mesh::new(6, 3);
    // The aggregator is with 0 and 3; 2 and 5 reach everybody.
    for node in [1, 4] {
        mesh.silence(node);
    }
    for _ in 0..30 {
        for observer in [0, 3] {
            mesh.sees(observer, 1, DEAD);
            mesh.sees(observer, 4, DEAD);
        }
        for node in [0, 2, 3, 5] {
            let now = mesh.now;
            mesh.detector.handle_report(NodeIndex(node), 0, now);
        }
        mesh.run(1_000);
    }
    // The network is whole again; the streams come back a little later.
    for (observer, node) in [(0, 1), (0, 4), (3, 1), (3, 4)] {
        mesh.reached_again(observer, node);
    }
    mesh.run(4_000);
    assert_eq!(mesh.found(), []);
    // Not all of them.
    mesh.detector.handle_stream_opened(NodeIndex(1));
    mesh.run(4_000);
    assert_eq!(mesh.found(), [(Pattern::ReportsCut, vec![4])]);
}

#[test]
fn most_probers_silent_together_is_the_aggregators_own_fault() {
    let mut mesh = Mesh::new(6, 2);
    for node in 1..6 {
        mesh.silence(node);
        mesh.sees(0, node, DEAD);
    }
    mesh.run(15_000);
    assert_eq!(mesh.found(), [(Pattern::AggregatorIsolated, vec![])]);
    for node in 1..6 {
        mesh.detector.handle_stream_opened(NodeIndex(node));
        mesh.reporting[node as usize] = true;
        mesh.reached_again(0, node);
    }
    mesh.run(6_000);
    assert_eq!(mesh.closed, [(Pattern::AggregatorIsolated, vec![])]);
    assert_eq!(mesh.opened.len(), 1);
}

#[test]
fn a_node_that_leaves_on_purpose_is_no_news() {
    let mut mesh = Mesh::new(6, 2);
    let leaving = NodeFacts {
        zone: ZoneIndex(1),
        lifecycle: Lifecycle::Leaving,
        targets: 5,
    };
    mesh.detector.upsert_node(NodeIndex(3), leaving, mesh.now);
    mesh.silence(3);
    mesh.all_see(3, &[], DEAD);
    mesh.run(20_000);
    assert!(mesh.opened.is_empty());
    assert_eq!(mesh.detector.state(NodeIndex(3)), NodeState::Leaving);
}

#[test]
fn two_nodes_dark_at_once_are_one_declaration() {
    let mut mesh = Mesh::new(6, 2);
    for node in [2, 3] {
        mesh.reporting[node as usize] = false;
    }
    mesh.all_see(2, &[3], DEAD);
    mesh.run(150);
    mesh.all_see(3, &[2], DEAD);
    mesh.run(3_000);
    assert_eq!(mesh.found(), [(Pattern::NodeDark, vec![2, 3])]);
}

#[test]
fn two_nodes_of_one_cut_are_one_declaration_though_one_is_noticed_late() {
    for late in [300, 600, 900] {
        let mut mesh = Mesh::new(6, 2);
        for node in [2, 3] {
            mesh.reporting[node as usize] = false;
        }
        mesh.all_see(2, &[3], DEAD);
        mesh.run(late);
        mesh.all_see(3, &[2], DEAD);
        mesh.run(4_000);
        assert_eq!(mesh.found(), [(Pattern::NodeDark, vec![2, 3])], "{late} ms");
    }
}

#[test]
fn a_dark_zone_is_one_declaration_that_names_the_zone() {
    let mut mesh = Mesh::new(9, 3);
    let zone = [0, 3, 6];
    for node in zone {
        mesh.reporting[node as usize] = false;
        mesh.all_see(node, &zone, DEAD);
    }
    mesh.run(3_000);
    assert_eq!(mesh.found(), [(Pattern::ZoneDark, vec![0, 3, 6])]);
    assert_eq!(mesh.opened[0].zone, Some(ZoneIndex(1)));
}

#[test]
fn an_isolated_node_does_not_take_its_peers_along() {
    for nodes in [3, 6, 12] {
        let mut mesh = Mesh::new(nodes, 2);
        // What still fails is said again.
        for _ in 0..6 {
            mesh.all_see(1, &[], DEAD);
            for peer in (0..nodes).filter(|n| *n != 1) {
                mesh.sees(1, peer, DEAD);
            }
            mesh.run(1_000);
        }
        assert_eq!(
            mesh.found(),
            [(Pattern::Isolated, vec![1])],
            "{nodes} nodes"
        );
    }
}

#[test]
fn a_failure_ends_when_half_of_the_observers_reach_it_and_it_reports() {
    let mut mesh = Mesh::new(6, 2);
    mesh.silence(3);
    mesh.all_see(3, &[], DEAD);
    mesh.run(3_000);
    assert_eq!(mesh.opened.len(), 1);
    for observer in [0, 1, 2] {
        mesh.reached_again(observer, 3);
    }
    mesh.run(5_000);
    assert!(mesh.closed.is_empty(), "it does not report yet");
    mesh.detector.handle_stream_opened(NodeIndex(3));
    mesh.detector.handle_report(NodeIndex(3), 0, mesh.now);
    mesh.reporting[3] = true;
    mesh.run(2_000);
    assert!(mesh.closed.is_empty(), "three evaluations have not passed");
    mesh.run(2_000);
    assert_eq!(mesh.closed, [(Pattern::NodeDark, vec![NodeIndex(3)])]);
    assert_eq!(mesh.detector.state(NodeIndex(3)), NodeState::Ok);
}

#[test]
fn what_was_open_before_a_restart_stays_open_and_is_not_declared_again() {
    let mut mesh = Mesh::new(6, 2);
    mesh.silence(3);
    mesh.all_see(3, &[], DEAD);
    mesh.run(3_000);
    let open = mesh.opened.clone();
    let mut restarted = Mesh::new(6, 2);
    restarted.silence(3);
    restarted.detector.restore_open(open, restarted.now);
    restarted.all_see(3, &[], DEAD);
    restarted.run(30_000);
    assert!(restarted.opened.is_empty(), "{:?}", restarted.opened);
    assert!(restarted.closed.is_empty());
}

#[test]
fn words_out_of_a_spool_are_history() {
    let mut mesh = Mesh::new(6, 2);
    let old = mesh.now;
    mesh.run(10_000);
    for observer in [0, 1, 2, 4, 5] {
        let sighting = Sighting {
            consecutive_losses: 9,
            observed_at: old,
            ..mesh.sighting(observer, 3)
        };
        mesh.detector.handle_sighting(sighting, mesh.now);
    }
    assert!(!mesh.detector.has_suspicion());
}

#[test]
fn an_accusation_that_nobody_repeats_fades() {
    let mut mesh = Mesh::new(6, 2);
    mesh.sees(0, 3, DEAD);
    mesh.run(10_000);
    assert!(mesh.detector.has_suspicion());
    mesh.run(20_000);
    assert!(!mesh.detector.has_suspicion());
}

#[test]
fn accusers_of_one_zone_do_not_make_a_node_dark() {
    // Zone 1 is cut off from zone 2: nodes 0, 2, 4 lose 1, 3, 5 and the other way round; all of them report.
    let mut mesh = Mesh::new(6, 2);
    for a in [0, 2, 4] {
        for b in [1, 3, 5] {
            mesh.sees(a, b, DEAD);
            mesh.sees(b, a, DEAD);
        }
    }
    mesh.run(10_000);
    let dark = mesh
        .found()
        .into_iter()
        .filter(|(p, _)| *p == Pattern::NodeDark);
    assert_eq!(dark.count(), 0);
}
