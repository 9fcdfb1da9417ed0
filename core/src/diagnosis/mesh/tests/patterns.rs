//! One fault, one finding: by pattern.

use super::super::super::sketch::{HOST, Sketch, TCP, TCP6, UDP, UDP6};
use super::{named, only};
use crate::finding::Confidence;
use crate::path::{Layer, Plane, ProbeKind};

fn all(loss: f64) -> impl Fn(Layer, usize, usize) -> f64 {
    move |_, _, _| loss
}

fn to(node: usize, loss: f64) -> impl Fn(Layer, usize, usize) -> f64 {
    move |_, _, to| if to == node { loss } else { 0.0 }
}

fn from(node: usize, loss: f64) -> impl Fn(Layer, usize, usize) -> f64 {
    move |_, from, _| if from == node { loss } else { 0.0 }
}

fn at(node: usize, loss: f64) -> impl Fn(Layer, usize, usize) -> f64 {
    move |_, from, to| {
        if from == node || to == node {
            loss
        } else {
            0.0
        }
    }
}

fn pod_only(inner: impl Fn(Layer, usize, usize) -> f64) -> impl Fn(Layer, usize, usize) -> f64 {
    move |layer, from, to| {
        if layer.plane == Plane::Pod {
            inner(layer, from, to)
        } else {
            0.0
        }
    }
}

#[test]
fn a_healthy_mesh_has_no_findings() {
    for nodes in [2, 3, 6, 12] {
        assert!(named(&Sketch::of(nodes, 2).picture()).is_empty());
        assert!(named(&Sketch::of(nodes, 1).noise(0.0005).picture()).is_empty());
    }
}

#[test]
fn total_failures_of_a_node_are_told_by_direction() {
    for nodes in [3, 4, 6, 12] {
        for zones in [1, 2, 3] {
            let sketch = || Sketch::of(nodes, zones);
            let name = |sketch: Sketch| named(&sketch.picture());
            assert_eq!(
                name(sketch().fault(14.0, to(1, 1.0))),
                ["node-ingress · n1"]
            );
            assert_eq!(
                name(sketch().fault(14.0, from(1, 1.0))),
                ["node-egress · n1"]
            );
            assert_eq!(name(sketch().fault(14.0, at(1, 1.0))), ["isolated · n1"]);
        }
    }
}

#[test]
fn what_only_the_pod_network_shows_is_the_overlays() {
    for nodes in [3, 6, 12] {
        let name = |loss| named(&Sketch::of(nodes, 1).fault(14.0, loss).picture());
        assert_eq!(
            name(Box::new(pod_only(to(2, 1.0))) as Box<dyn Fn(_, _, _) -> _>),
            ["overlay-ingress · n2"]
        );
        assert_eq!(
            name(Box::new(pod_only(from(2, 1.0)))),
            ["overlay-egress · n2"]
        );
        assert_eq!(name(Box::new(pod_only(at(2, 1.0)))), ["overlay-node · n2"]);
        assert_eq!(name(Box::new(pod_only(all(1.0)))), ["overlay · everywhere"]);
    }
}

#[test]
fn nothing_is_told_before_the_host_network_had_its_turn() {
    let sketch = Sketch::of(6, 1).fault(3.0, pod_only(from(2, 1.0)));
    assert!(named(&sketch.picture()).is_empty());
}

#[test]
fn a_heavy_loss_of_the_pod_network_is_never_said_to_be_the_whole_nodes() {
    let (mut told, mut looks) = (0, 0);
    for nodes in [3, 6, 12] {
        for seed in 0..20 {
            for began in [4.0, 6.0, 9.0, 13.0, 18.0, 25.0, 40.0] {
                let sketch = Sketch::of(nodes, 1).noise(0.0005).seed(seed);
                let names = named(&sketch.fault(began, pod_only(at(1, 0.7))).picture());
                // A few seconds after it began not even its direction is sure.
                let wrong = names.iter().find(|name| !name.starts_with("overlay-"));
                assert_eq!(wrong, None, "{nodes} nodes, seed {seed}, {began} s");
                told += names.len();
                looks += 1;
            }
        }
    }
    assert!(2 * told > looks, "told in {told} of {looks} looks");
}

#[test]
fn a_small_loss_of_a_node_is_told_with_its_size() {
    for nodes in [3, 6, 12] {
        let finding = only(&Sketch::of(nodes, 1).fault(300.0, to(0, 0.2)).seed(7));
        assert_eq!(super::name(&finding), "node-ingress · n0");
        let loss = finding.loss.unwrap();
        assert!((loss.ratio - 0.2).abs() < 0.05, "{loss:?}");
        assert_eq!(finding.confidence, Confidence::Certain);
    }
}

#[test]
fn one_way_between_two_nodes_is_a_path() {
    for nodes in [3, 6, 12] {
        let loss = |_, from, to| if (from, to) == (0, 2) { 1.0 } else { 0.0 };
        let name = |sketch: Sketch| named(&sketch.picture());
        assert_eq!(
            name(Sketch::of(nodes, 1).fault(14.0, loss)),
            ["path · n0→n2"]
        );
        assert_eq!(
            name(Sketch::of(nodes, 1).fault(14.0, pod_only(loss))),
            ["path · n0→n2"]
        );
    }
}

#[test]
fn zones_that_cannot_reach_each_other_are_one_finding() {
    let between = |loss: f64| {
        move |_: Layer, from: usize, to: usize| {
            let pair = (from % 3, to % 3);
            if pair == (0, 1) || pair == (1, 0) {
                loss
            } else {
                0.0
            }
        }
    };
    let name = |sketch: Sketch| named(&sketch.picture());
    assert_eq!(
        name(Sketch::of(6, 3).fault(14.0, between(1.0))),
        ["zone-pair · z0↔z1"]
    );
    assert_eq!(
        name(Sketch::of(12, 3).fault(200.0, between(0.05))),
        ["zone-pair · z0↔z1"]
    );
    let one_way = |_, from: usize, to: usize| {
        if (from % 2, to % 2) == (1, 0) {
            1.0
        } else {
            0.0
        }
    };
    assert_eq!(
        name(Sketch::of(6, 2).fault(14.0, one_way)),
        ["zone-pair · z1→z0"]
    );
    let cut = |_, from: usize, to: usize| {
        if (from % 3 == 2) == (to % 3 == 2) {
            0.0
        } else {
            1.0
        }
    };
    assert_eq!(name(Sketch::of(9, 3).fault(14.0, cut)), ["zone · zone z2"]);
}

#[test]
fn loss_everywhere_is_the_meshs() {
    for nodes in [3, 6, 12] {
        for loss in [0.05, 0.3] {
            let finding = only(&Sketch::of(nodes, 2).fault(300.0, all(loss)));
            assert_eq!(super::name(&finding), "mesh · everywhere");
            let told = finding.loss.unwrap();
            assert!((told.ratio / loss - 1.0).abs() < 0.3, "{told:?}");
        }
    }
}

#[test]
fn a_mesh_that_has_just_begun_is_not_one_that_has_just_healed() {
    let blocked = |layer: Layer, from: usize, to: usize| {
        let is_it = layer.kind == ProbeKind::Tcp && (from == 1 || to == 1);
        if is_it { 1.0 } else { 0.0 }
    };
    let mut picture = Sketch::of(3, 1).fault(14.0, blocked).picture();
    for layer in &mut picture.layers {
        for row in layer.rows.iter_mut().flatten() {
            for cell in &mut std::sync::Arc::make_mut(row).cells {
                cell.consecutive_replies = cell.consecutive_replies.min(20);
            }
        }
    }
    assert_eq!(named(&picture), ["kind · n1 tcp"]);
}

#[test]
fn one_kind_alone_is_a_firewalls() {
    let kind = |kind: ProbeKind, node: Option<usize>| {
        move |layer: Layer, from: usize, to: usize| {
            let here = node.is_none_or(|node| from == node || to == node);
            if layer.kind == kind && here { 1.0 } else { 0.0 }
        }
    };
    for nodes in [3, 6, 12] {
        let name = |loss| named(&Sketch::of(nodes, 2).fault(30.0, loss).picture());
        assert_eq!(name(kind(ProbeKind::Udp, Some(1))), ["kind · n1 udp"]);
        assert_eq!(name(kind(ProbeKind::Tcp, Some(1))), ["kind · n1 tcp"]);
        assert_eq!(name(kind(ProbeKind::Udp, None)), ["kind · everywhere udp"]);
        assert_eq!(name(kind(ProbeKind::Tcp, None)), ["kind · everywhere tcp"]);
    }
}

#[test]
fn one_family_alone_is_that_familys() {
    let v6 = |node: Option<usize>| {
        move |layer: Layer, from: usize, to: usize| {
            let here = node.is_none_or(|node| from == node || to == node);
            if layer.family == UDP6.family && here {
                1.0
            } else {
                0.0
            }
        }
    };
    for nodes in [3, 6] {
        let sketch = || Sketch::of(nodes, 1).layers(&[UDP, TCP, HOST, UDP6, TCP6]);
        assert_eq!(
            named(&sketch().fault(14.0, v6(Some(1))).picture()),
            ["family · n1 v6"]
        );
        assert_eq!(
            named(&sketch().fault(14.0, v6(None)).picture()),
            ["family · everywhere v6"]
        );
        assert_eq!(
            named(&sketch().fault(14.0, at(1, 1.0)).picture()),
            ["isolated · n1"]
        );
    }
}

#[test]
fn what_is_healed_is_gone_although_the_long_counts_remember_it() {
    for nodes in [3, 6, 12] {
        for loss in [0.1, 0.3, 1.0] {
            let sketch = Sketch::of(nodes, 2).past_fault(200.0, 25.0, at(1, loss));
            assert_eq!(named(&sketch.picture()), [""; 0], "{nodes} nodes, {loss}");
        }
    }
}

#[test]
fn two_faults_are_two_findings() {
    let sketch = Sketch::of(12, 2)
        .fault(14.0, to(1, 1.0))
        .fault(200.0, from(4, 0.3));
    assert_eq!(
        named(&sketch.picture()),
        ["node-egress · n4", "node-ingress · n1"]
    );
    let sketch = Sketch::of(6, 2)
        .fault(14.0, at(1, 1.0))
        .fault(
            14.0,
            |_, from, to| if (from, to) == (0, 2) { 1.0 } else { 0.0 },
        );
    assert_eq!(named(&sketch.picture()), ["isolated · n1", "path · n0→n2"]);
}

#[test]
fn one_burst_is_no_fault() {
    for nodes in [3, 6, 12] {
        for ago in [2.0, 6.0, 13.0, 25.0] {
            let sketch = Sketch::of(nodes, 2).past_fault(ago, ago - 0.8, at(1, 1.0));
            assert_eq!(
                named(&sketch.picture()),
                [""; 0],
                "{nodes} nodes, {ago} s ago"
            );
        }
    }
}
