//! Each cause found, and not found where it is not.

use std::sync::Arc;
use std::time::Duration;

use super::{OtherResponders, findings};
use crate::dark::NodeState;
use crate::diagnosis::sketch::Sketch;
use crate::diagnosis::{
    ClusterEvent, HostFacts, Picture, ProberPicture, RowPicture, SelfHealth, TopologyNode,
};
use crate::finding::{Finding, Pattern};
use crate::lifecycle::Lifecycle;
use crate::outcome::OutcomeClass;
use crate::path::Plane;
use crate::time::Moment;
use crate::verdict::Verdict;

fn found(picture: &Picture) -> Vec<Finding> {
    findings(picture, &mut OtherResponders::default())
}

fn told(picture: &Picture) -> Vec<String> {
    let findings = found(picture).into_iter();
    findings
        .map(|f| format!("{} {}", f.pattern, f.scope))
        .collect()
}

fn facts(node: usize) -> HostFacts {
    HostFacts {
        nameservers: vec!["10.96.0.10".to_owned()],
        search: vec!["svc.cluster.local".to_owned()],
        links: vec![("eth0".to_owned(), 1450), (format!("veth{node}"), 1500)],
        routes: vec![format!("10.244.{node}.0/24 dev cni0")],
        ..HostFacts::default()
    }
}

fn mesh(change: impl Fn(usize, &mut HostFacts, &mut SelfHealth)) -> Picture {
    let mut picture = Sketch::of(4, 1).picture();
    for (node, known) in picture.nodes.iter_mut().enumerate() {
        let (mut facts, mut health) = (facts(node), SelfHealth::default());
        change(node, &mut facts, &mut health);
        known.probers.push(ProberPicture {
            plane: Plane::Host,
            health,
            facts: Some(Arc::new(facts)),
            changes: Vec::new(),
        });
    }
    picture
}

#[test]
fn nodes_that_differ_in_what_is_their_own_are_fine() {
    assert!(told(&mesh(|_, _, _| {})).is_empty());
}

#[test]
fn a_starved_prober_is_told_and_one_stall_is_not() {
    let starved = |local_health, throttled| {
        mesh(move |node, _, health| {
            if node == 2 {
                health.local_health = local_health;
                health.throttled = Duration::from_secs(throttled);
            }
        })
    };
    assert_eq!(told(&starved(7, 9)), ["observer-unhealthy n2"]);
    assert!(told(&starved(2, 9)).is_empty());
    assert!(told(&starved(7, 0)).is_empty());
    let always = mesh(|node, _, health| {
        if node == 2 {
            health.local_health = 3;
            health.throttled = Duration::from_secs(2);
            health.throttled_always = Duration::from_millis(700);
        }
    });
    assert_eq!(told(&always), ["observer-unhealthy n2"]);
}

#[test]
fn a_setting_that_most_others_have_otherwise_is_drift() {
    let picture = mesh(|node, facts, _| {
        if node == 1 {
            facts.search = vec!["example.com".to_owned()];
            facts.links[0].1 = 1400;
        }
    });
    let found = found(&picture);
    assert_eq!(told(&picture), ["config-drift n1"]);
    let evidence = found[0].evidence.join("\n");
    assert!(evidence.contains("search: example.com; 3 of 3 other nodes have svc.cluster.local"));
    assert!(evidence.contains("MTU of eth0: 1400"));
    let halves = mesh(|node, facts, _| facts.links[0].1 = if node < 2 { 1400 } else { 1450 });
    assert!(told(&halves).is_empty(), "nobody has the majority");
}

#[test]
fn the_same_block_on_two_hosts_is_a_conflict_and_on_all_it_is_none() {
    let twice = mesh(|node, facts, _| {
        if node == 3 {
            facts.routes = vec!["10.244.1.0/24 dev cni0".to_owned()];
        }
    });
    assert_eq!(told(&twice), ["address-conflict n1,n3"]);
    let shared = mesh(|_, facts, _| facts.routes = vec!["10.244.0.0/16 dev cni0".to_owned()]);
    assert!(told(&shared).is_empty());
}

#[test]
fn an_address_that_two_announce_and_one_that_another_answers_are_conflicts() {
    let mut picture = mesh(|_, _, _| {});
    let mut topology = (*picture.topology).clone();
    for node in [0, 2] {
        if let Some(TopologyNode { addresses, .. }) = &mut topology.nodes[node] {
            addresses.push((Plane::Pod, "10.244.0.2".parse().unwrap()));
        }
    }
    picture.topology = Arc::new(topology);
    assert_eq!(told(&picture), ["address-conflict n0,n2"]);

    let mut picture = mesh(|_, _, _| {});
    for source in [0, 2, 3] {
        let row = picture.layers[0].rows[source].clone().unwrap();
        let mut cells = row.cells.clone();
        cells[1].verdict = Verdict::Down;
        cells[1].failure = Some(OutcomeClass::AnsweredByOther);
        cells[1].consecutive_losses = 5;
        picture.layers[0].rows[source] = Some(Arc::new(RowPicture::dense(cells, Vec::new())));
    }
    assert_eq!(told(&picture), ["address-conflict n1"]);
}

#[test]
fn an_event_about_a_silent_node_is_told_and_about_one_that_reports_it_is_not() {
    let mut picture = mesh(|_, _, _| {});
    picture.nodes[2].events.push(ClusterEvent {
        at: Moment::from_millis(990_000),
        reason: "FailedCreatePodSandBox".to_owned(),
        message: "no addresses left".to_owned(),
    });
    assert!(told(&picture).is_empty());
    picture.nodes[2].is_reporting = false;
    picture.nodes[2].state = NodeState::Unknown;
    assert_eq!(told(&picture), ["prober-not-running n2"]);
    assert!(found(&picture)[0].evidence[0].contains("no addresses left"));
    picture.nodes[2].state = NodeState::Failed(Pattern::NodeDark);
    assert!(told(&picture).is_empty());
    picture.nodes[2].state = NodeState::Leaving;
    for (lifecycle, expected) in [
        (Lifecycle::Leaving, &["prober-not-running n2"][..]),
        (Lifecycle::Draining, &[]),
        (Lifecycle::Gone, &[]),
    ] {
        let mut topology = (*picture.topology).clone();
        topology.nodes[2].as_mut().unwrap().lifecycle = lifecycle;
        picture.topology = Arc::new(topology);
        assert_eq!(told(&picture), expected, "{lifecycle}");
    }
}
