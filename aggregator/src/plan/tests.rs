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
        ..PlanConfig::default()
    };
    assignment(&config, &roster, &name(node), plane).unwrap()
}

fn kinds(assignment: &v1::Assignment) -> Vec<(ProbeKind, Plane)> {
    let convert = |s: &v1::KindSchedule| {
        let kind = meshprobe_proto::convert::probe_kind(s.kind).unwrap();
        (kind, meshprobe_proto::convert::plane(s.plane).unwrap())
    };
    let kinds = assignment.schedules.iter().map(convert);
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
    let alone = planned(&mesh, "a", Plane::Pod);
    assert_eq!(
        kinds(&alone),
        [
            (ProbeKind::Udp, Plane::Pod),
            (ProbeKind::Tcp, Plane::Pod),
            (ProbeKind::Tcp, Plane::Host)
        ]
    );
    mesh.handle_hello(&hello("a", Plane::Host, 1)).unwrap();
    let beside = planned(&mesh, "a", Plane::Pod);
    assert_eq!(
        kinds(&beside),
        [(ProbeKind::Udp, Plane::Pod), (ProbeKind::Tcp, Plane::Pod)]
    );
    let host = planned(&mesh, "a", Plane::Host);
    assert_eq!(
        kinds(&host),
        [(ProbeKind::Udp, Plane::Host), (ProbeKind::Tcp, Plane::Host)]
    );
    assert!(
        host.dns.is_empty(),
        "one prober of a node asks the DNS servers"
    );
    assert_ne!(host.ssid, beside.ssid);
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
