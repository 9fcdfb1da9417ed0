use std::sync::Arc;

use std::collections::BTreeMap;

use jiff::Timestamp;
use meshprobe_core::ids::Incarnation;

use super::*;
use crate::membership::{Announcement, Membership, MembershipConfig, NodeAddress};

fn name(text: &str) -> NodeName {
    NodeName::try_from(text).unwrap()
}

fn hello(node: &str, plane: Plane, last: u8) -> Announcement {
    let net = if plane == Plane::Pod { 10 } else { 192 };
    Announcement {
        node: name(node),
        plane,
        incarnation: Incarnation(1),
        version: String::new(),
        zone: String::new(),
        region: String::new(),
        labels: BTreeMap::new(),
        addresses: vec![NodeAddress {
            plane,
            ip: [net, 0, 0, last].into(),
            udp_port: 4862,
            tcp_port: 4862,
            quic_port: 4863,
        }],
        way: None,
    }
}

fn mesh(nodes: &[&str]) -> Membership {
    let config = MembershipConfig::default();
    let mut mesh = Membership::restore(config, Vec::new(), Timestamp::UNIX_EPOCH).unwrap();
    for (n, node) in nodes.iter().enumerate() {
        mesh.handle_hello(&hello(node, Plane::Pod, n as u8 + 1))
            .unwrap();
    }
    mesh
}

fn planned(mesh: &Membership, node: &str, plane: Plane) -> v1::Assignment {
    let roster = Roster::of(mesh, Arc::default(), 1);
    let config = PlanConfig {
        dns: vec![DnsProbe {
            server: "vip".to_owned(),
            address: "10.96.0.10:53".parse().unwrap(),
            name: "kubernetes.default.svc.cluster.local.".to_owned(),
            expected_rcode: 0,
            plane: Plane::Service,
        }],
        search: vec!["kubernetes.default".to_owned()],
        services: vec![ServiceProbe {
            name: "echo".to_owned(),
            address: "10.96.0.50:4862".parse().unwrap(),
        }],
        external: vec![v1::ExternalTarget {
            name: "shop".to_owned(),
            ..v1::ExternalTarget::default()
        }],
        ..PlanConfig::default()
    };
    assignment(&config, &roster, &name(node), plane).unwrap()
}

fn kinds(assignment: &v1::Assignment) -> Vec<(ProbeKind, Plane)> {
    let convert = |s: &v1::KindSchedule| {
        let kind = meshprobe_proto::convert::probe_kind(s.kind).unwrap();
        (kind, meshprobe_proto::convert::plane(s.plane).unwrap())
    };
    let on = |s: &&v1::KindSchedule| s.interval_millis > 0;
    let kinds = assignment.schedules.iter().filter(on).map(convert);
    kinds.filter(|(kind, _)| kind.is_between_nodes()).collect()
}

#[test]
fn everybody_probes_everybody_else() {
    let mesh = mesh(&["a", "b", "c"]);
    for node in ["a", "b", "c"] {
        let plan = planned(&mesh, node, Plane::Pod);
        let peers: Vec<&str> = plan.peers.iter().map(|peer| peer.node.as_str()).collect();
        let others: Vec<&str> = ["a", "b", "c"].into_iter().filter(|n| *n != node).collect();
        assert_eq!(peers, others);
        assert!(
            plan.peers
                .iter()
                .all(|peer| peer.ssid != plan.ssid && peer.ssid != 0)
        );
        assert_eq!(plan.dns.len(), 1);
    }
}

#[test]
fn a_pod_prober_stands_in_for_a_host_prober_that_is_not_there() {
    let mut mesh = mesh(&["a", "b"]);
    let with = |plane| {
        let kinds = [
            ProbeKind::Udp,
            ProbeKind::Tcp,
            ProbeKind::Mtu,
            ProbeKind::Quic,
        ];
        kinds.map(|kind| (kind, plane))
    };
    let alone = planned(&mesh, "a", Plane::Pod);
    let mut expected = with(Plane::Pod).to_vec();
    expected.insert(2, (ProbeKind::Tcp, Plane::Host));
    assert_eq!(kinds(&alone), expected);
    mesh.handle_hello(&hello("a", Plane::Host, 1)).unwrap();
    let beside = planned(&mesh, "a", Plane::Pod);
    assert_eq!(kinds(&beside), with(Plane::Pod));
    let host = planned(&mesh, "a", Plane::Host);
    assert_eq!(kinds(&host), with(Plane::Host));
    assert!(
        host.dns.is_empty() && host.services.is_empty(),
        "one prober of a node asks the servers of the cluster"
    );
    assert_eq!(host.search.len(), 1, "a path that begins in its plane");
    assert_eq!(host.external.len(), 1);
    assert_ne!(host.ssid, beside.ssid);
}

#[test]
fn what_is_off_is_said_to_be_off() {
    let mesh = mesh(&["a", "b"]);
    let plan = planned(&mesh, "a", Plane::Pod);
    let icmp = plan
        .schedules
        .iter()
        .find(|s| s.kind == i32::from(v1::ProbeKind::Icmp) && s.plane == i32::from(v1::Plane::Pod));
    assert_eq!(icmp.unwrap().interval_millis, 0);
    let said: Vec<_> = plan.schedules.iter().map(|s| (s.kind, s.plane)).collect();
    assert_eq!(said.len(), layers().count(), "a prober is left no choice");
}

#[test]
fn every_node_is_probed_by_quic_by_ten_others_and_by_all_if_there_are_fewer() {
    let names: Vec<String> = (0..30).map(|n| format!("n{n}")).collect();
    for nodes in [4, 30] {
        let listed: Vec<&str> = names[..nodes].iter().map(String::as_str).collect();
        let mesh = mesh(&listed);
        let mut observers = BTreeMap::new();
        for node in &listed {
            let plan = planned(&mesh, node, Plane::Pod);
            for peer in plan.peers.iter().filter(|peer| peer.quic) {
                *observers.entry(peer.node.clone()).or_insert(0) += 1;
            }
        }
        assert_eq!(observers.len(), nodes);
        assert!(observers.values().all(|n| *n == 10.min(nodes - 1)));
    }
}

#[test]
fn two_probers_of_a_node_are_one_node_with_the_ports_that_each_knows() {
    let mut mesh = mesh(&["a", "b"]);
    // The pod prober names its node's address too, and knows of no STAMP responder there.
    let mut pod = hello("a", Plane::Pod, 1);
    pod.addresses.push(NodeAddress {
        plane: Plane::Host,
        ip: [192, 0, 0, 1].into(),
        udp_port: 0,
        tcp_port: 10_250,
        quic_port: 0,
    });
    mesh.handle_hello(&pod).unwrap();
    let host_address = |mesh: &Membership| {
        let plan = planned(mesh, "b", Plane::Pod);
        let [peer] = plan.peers.as_slice() else {
            panic!("one peer")
        };
        let host: Vec<_> = peer
            .addresses
            .iter()
            .filter(|a| a.plane == i32::from(v1::Plane::Host))
            .map(|a| (a.udp_port, a.tcp_port, a.quic_port))
            .collect();
        host
    };
    assert_eq!(host_address(&mesh), [(0, 10_250, 0)]);
    mesh.handle_hello(&hello("a", Plane::Host, 1)).unwrap();
    assert_eq!(host_address(&mesh), [(4862, 4862, 4863)]);
    assert_eq!(mesh.present().count(), 2);
}

#[test]
fn a_join_moves_nobody_elses_phase() {
    let small = planned(&mesh(&["a", "b", "c"]), "a", Plane::Pod);
    let large = planned(&mesh(&["a", "b", "c", "d", "e"]), "a", Plane::Pod);
    for peer in &small.peers {
        let same = large.peers.iter().find(|p| p.node == peer.node).unwrap();
        assert_eq!(same.phase, peer.phase);
    }
}

#[test]
fn the_fingerprint_changes_only_for_whom_something_changed() {
    let mut mesh = mesh(&["a", "b"]);
    let prints =
        |mesh: &Membership| ["a", "b"].map(|node| fingerprint(&planned(mesh, node, Plane::Pod)));
    let before = prints(&mesh);
    assert_eq!(prints(&mesh), before);
    mesh.handle_hello(&hello("b", Plane::Pod, 77)).unwrap();
    let after = prints(&mesh);
    assert_ne!(after[0], before[0], "its peer moved");
    assert_eq!(after[1], before[1], "it knows its own address");
}

#[test]
fn a_prober_that_the_roster_does_not_have_gets_no_assignment() {
    let roster = Roster::of(&mesh(&["a"]), Arc::default(), 1);
    let config = PlanConfig::default();
    assert_eq!(assignment(&config, &roster, &name("x"), Plane::Pod), None);
    assert_eq!(assignment(&config, &roster, &name("a"), Plane::Host), None);
}
