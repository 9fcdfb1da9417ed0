//! Sizes, times and flows.

use std::sync::Arc;
use std::time::Duration;

use super::super::super::sketch::{HOST, MTU, QUIC, Sketch, TCP, UDP};
use super::{named, only};
use crate::detail::{Detail, FlowLoss, MtuDetail, MtuLimit, QuicDetail, UdpDetail};
use crate::diagnosis::{HostFacts, Picture, ProberPicture, SelfHealth};
use crate::path::{Layer, Plane, ProbeKind};

/// What a measurement finds where legs for which `limited` holds carry 1,313 octets.
fn sizes(
    limited: impl Fn(usize, usize) -> bool + 'static,
    by: Option<&'static str>,
) -> impl Fn(Layer, usize, usize) -> Option<Detail> {
    move |layer, from, to| {
        if layer.kind != ProbeKind::Mtu {
            return None;
        }
        let why = if by.is_some() {
            MtuLimit::Signalled
        } else {
            MtuLimit::BlackHole
        };
        let (out, back) = (limited(from, to), limited(to, from));
        let (forward, forward_limit) = if out {
            (1313, why)
        } else {
            (1450, MtuLimit::Interface)
        };
        let (reverse, reverse_limit) = match (out, back) {
            (true, _) => (1313, MtuLimit::Unknown),
            (false, true) => (1313, MtuLimit::BlackHole),
            (false, false) => (1450, MtuLimit::Interface),
        };
        Some(Detail::Mtu(MtuDetail {
            forward,
            forward_limit,
            reverse,
            reverse_limit,
            signalled_mtu: if out && by.is_some() { 1313 } else { 0 },
            signalled_by: by.filter(|_| out).map(|by| by.parse().unwrap()),
            interface_mtu: 1450,
            route_mtu: 1450,
        }))
    }
}

/// Measurements over a limited leg fail.
fn too_big(
    limited: impl Fn(usize, usize) -> bool + 'static,
) -> impl Fn(Layer, usize, usize) -> f64 {
    move |layer, from, to| {
        if layer.kind == ProbeKind::Mtu && limited(from, to) {
            1.0
        } else {
            0.0
        }
    }
}

fn with_sizes(nodes: usize, limited: impl Fn(usize, usize) -> bool + Copy + 'static) -> Sketch {
    Sketch::of(nodes, 2)
        .layers(&[UDP, TCP, MTU])
        .details(sizes(limited, None))
        .fault(125.0, too_big(limited))
}

#[test]
fn a_limit_of_the_packet_size_is_told_by_its_place() {
    for nodes in [3, 6, 12] {
        let name = |limited: fn(usize, usize) -> bool| named(&with_sizes(nodes, limited).picture());
        assert_eq!(name(|from, _| from == 1), ["mtu · n1"]);
        assert_eq!(name(|_, to| to == 1), ["mtu · n1"]);
        assert_eq!(name(|from, to| from == 1 || to == 1), ["mtu · n1"]);
        assert_eq!(name(|_, _| true), ["mtu · everywhere"]);
        assert_eq!(name(|from, to| (from, to) == (0, 2)), ["mtu · n0→n2"]);
    }
    let between = |from: usize, to: usize| from % 2 != to % 2;
    let sketch = with_sizes(6, between);
    assert_eq!(named(&sketch.picture()), ["mtu · z0↔z1"]);
}

#[test]
fn a_limit_says_its_size_and_direction_and_who_signals_it() {
    let limited = |from: usize, _: usize| from == 1;
    let finding = only(&with_sizes(3, limited));
    assert!(
        finding
            .summary
            .contains("more than 1313 octets from n1 (z1) vanish"),
        "{}",
        finding.summary
    );
    assert!(finding.summary.contains("1450"));
    let signalled = Sketch::of(3, 1)
        .layers(&[UDP, TCP, MTU])
        .details(sizes(limited, Some("10.0.0.9")))
        .fault(125.0, too_big(limited));
    let finding = only(&signalled);
    assert!(finding.summary.contains("10.0.0.9"), "{}", finding.summary);
}

#[test]
fn a_limit_is_not_told_before_every_path_was_measured_again() {
    let limited = |_: usize, _: usize| true;
    let sketch = Sketch::of(3, 1)
        .layers(&[UDP, TCP, MTU])
        .details(sizes(limited, None))
        .fault(40.0, too_big(limited));
    assert_eq!(named(&sketch.picture()), [""; 0]);
}

#[test]
fn slow_round_trips_are_told_by_their_place() {
    for nodes in [3, 6, 12] {
        let name = |slow: fn(usize, usize) -> bool| {
            let sketch = Sketch::of(nodes, 2).slow(move |_, from, to| slow(from, to));
            named(&sketch.picture())
        };
        assert_eq!(name(|from, to| from == 1 || to == 1), ["slow · n1"]);
        assert_eq!(name(|_, _| true), ["slow · everywhere"]);
    }
    let sketch = Sketch::of(6, 2).slow(|layer, from, to| layer == UDP && from % 2 != to % 2);
    let finding = only(&sketch);
    assert_eq!(super::name(&finding), "slow · z0↔z1");
    assert_eq!(finding.plane, Some(Plane::Pod));
    assert!(
        finding.summary.contains("take 50 ms, 0.50 ms is normal"),
        "{}",
        finding.summary
    );
}

fn dead_flows(tested: u32, failing: u32) -> Detail {
    Detail::Udp(UdpDetail {
        flows: Some(FlowLoss {
            tested,
            failing,
            failing_ports: Vec::new(),
            living_sent: 4 * (tested - failing),
            living_lost: 0,
        }),
        ..UdpDetail::default()
    })
}

#[test]
fn dead_flows_between_zones_are_no_loss() {
    let crossing = |from: usize, to: usize| from % 2 != to % 2;
    let one_way = |from: usize, to: usize| (from % 2, to % 2) == (0, 1);
    let sketch = |is_hit: fn(usize, usize) -> bool| {
        Sketch::of(6, 2)
            .details(move |layer, from, to| {
                let is_between = layer == UDP && from % 2 != to % 2;
                is_between.then(|| dead_flows(8, u32::from((from + to) % 3 != 0)))
            })
            .fault(60.0, move |layer, from, to| {
                let shared = (from + to) % 3 != 0;
                if layer == UDP && is_hit(from, to) && shared {
                    0.12
                } else {
                    0.0
                }
            })
    };
    let finding = only(&sketch(crossing));
    assert_eq!(super::name(&finding), "flows · z0↔z1");
    assert!(
        finding
            .summary
            .starts_with("12 of 96 flows between z0 and z1"),
        "{}",
        finding.summary
    );
    assert_eq!(super::name(&only(&sketch(one_way))), "flows · z0→z1");
}

#[test]
fn loss_is_not_told_before_it_is_known_to_be_no_matter_of_flows() {
    let sketch = |tested: u32| {
        Sketch::of(6, 1)
            .details(move |layer, _, to| (layer == UDP && to == 1).then(|| dead_flows(tested, 0)))
            .fault(60.0, |_, _, to| if to == 1 { 0.2 } else { 0.0 })
    };
    assert_eq!(named(&sketch(1).picture()), [""; 0]);
    assert_eq!(named(&sketch(8).picture()), ["node-ingress · n1"]);
}

/// TCP, QUIC and new UDP flows of a node fail.
fn full_table(nodes: usize) -> Sketch {
    Sketch::of(nodes, 1)
        .layers(&[UDP, TCP, HOST, QUIC])
        .fault(40.0, |layer, from, to| {
            let is_hit = from == 1 || to == 1;
            match layer.kind {
                ProbeKind::Udp if is_hit => 0.1,
                ProbeKind::Udp => 0.0,
                _ if is_hit => 1.0,
                _ => 0.0,
            }
        })
}

fn with_table(mut picture: Picture, used: u32) -> Picture {
    picture.nodes[1].probers.push(ProberPicture {
        plane: Plane::Pod,
        health: SelfHealth::default(),
        facts: Some(Arc::new(HostFacts {
            conntrack: Some((used, 262_144)),
            ..HostFacts::default()
        })),
        changes: Vec::new(),
    });
    picture
}

#[test]
fn a_full_connection_table_is_told_as_such() {
    for nodes in [3, 6, 12] {
        let picture = with_table(full_table(nodes).picture(), 262_144);
        assert_eq!(named(&picture), ["new-flows · n1"], "{nodes} nodes");
        // Nothing but losses of old and new flows: it is not said yet which of them it is.
        let picture = with_table(full_table(nodes).picture(), 2_000);
        assert_eq!(named(&picture), [""; 0], "{nodes} nodes");
        let with_old = full_table(nodes).details(|layer, _, _| {
            (layer == QUIC).then(|| {
                Detail::Quic(QuicDetail {
                    long_flow_age: Some(Duration::from_secs(900)),
                    ..QuicDetail::default()
                })
            })
        });
        assert_eq!(
            named(&with_old.picture()),
            ["new-flows · n1"],
            "{nodes} nodes"
        );
    }
}
