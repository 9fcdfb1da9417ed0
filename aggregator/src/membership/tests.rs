use meshprobe_core::ids::Incarnation;

use super::*;

fn name(text: &str) -> NodeName {
    NodeName::try_from(text).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn hello(node: &str) -> Announcement {
    Announcement {
        node: name(node),
        plane: Plane::Pod,
        incarnation: Incarnation(1),
        version: "0.1.0".to_owned(),
        zone: "zone-a".to_owned(),
        region: String::new(),
        labels: BTreeMap::new(),
        addresses: vec![NodeAddress {
            plane: Plane::Pod,
            ip: [10, 244, 1, 2].into(),
            udp_port: 4862,
            tcp_port: 4862,
            quic_port: 4863,
        }],
        way: None,
    }
}

fn empty() -> Membership {
    restored(Vec::new())
}

fn restored(records: Vec<NodeRecord>) -> Membership {
    Membership::restore(MembershipConfig::default(), records, at(0)).unwrap()
}

fn records(changes: Vec<StoreChange>) -> Vec<NodeRecord> {
    changes
        .into_iter()
        .filter_map(|change| match change {
            StoreChange::Node(record) => Some(record),
            StoreChange::Forget(_) | StoreChange::Progress(_) => None,
        })
        .collect()
}

#[test]
fn the_hello_of_an_unknown_prober_makes_a_node() {
    let mut mesh = empty();
    let joined = mesh.handle_hello(&hello("a")).unwrap();
    assert_eq!(joined, Joined::New(NodeIndex(0)));
    let member = mesh.get(NodeIndex(0)).unwrap();
    assert_eq!(member.profile.zone, "zone-a");
    assert_eq!(member.lifecycle, Lifecycle::Active);
    assert_eq!(member.seat(Plane::Pod).unwrap().ssid, Ssid(1));
    assert_eq!(records(mesh.take_changed()).len(), 1);
}

#[test]
fn a_repeated_hello_changes_nothing() {
    let mut mesh = empty();
    mesh.handle_hello(&hello("a")).unwrap();
    mesh.take_changed();
    let version = mesh.plan_version();
    let again = mesh.handle_hello(&hello("a")).unwrap();
    assert_eq!(again, Joined::Known(NodeIndex(0)));
    assert!(!mesh.has_changed());
    assert_eq!(mesh.plan_version(), version);
}

#[test]
fn another_address_is_news_for_the_plan_and_another_version_is_not() {
    let mut mesh = empty();
    mesh.handle_hello(&hello("a")).unwrap();
    let version = mesh.plan_version();
    let mut upgraded = hello("a");
    upgraded.version = "0.2.0".to_owned();
    mesh.handle_hello(&upgraded).unwrap();
    assert_eq!(mesh.plan_version(), version);
    upgraded.addresses[0].ip = [10, 244, 1, 9].into();
    mesh.handle_hello(&upgraded).unwrap();
    assert_eq!(mesh.plan_version(), version + 1);
}

#[test]
fn a_silent_node_stays_for_ever() {
    let mut mesh = empty();
    mesh.handle_hello(&hello("a")).unwrap();
    assert_eq!(mesh.next_deadline(), None);
    assert!(mesh.poll(at(10 * 365 * 86_400)).is_empty());
    assert_eq!(mesh.present().count(), 1);
}

#[test]
fn goodbye_leads_to_leaving_then_gone_then_forgotten() {
    let mut mesh = empty();
    let node = mesh.handle_hello(&hello("a")).unwrap().node();
    mesh.handle_goodbye(node, Plane::Pod, Duration::from_secs(60), at(0));
    assert_eq!(mesh.get(node).unwrap().lifecycle, Lifecycle::Leaving);
    assert_eq!(mesh.present().count(), 1);
    assert!(mesh.poll(at(59)).is_empty());
    assert_eq!(mesh.poll(at(60)), [Expiry::Gone(node)]);
    assert_eq!(mesh.present().count(), 0);
    assert!(mesh.poll(at(6 * 86_400)).is_empty());
    assert_eq!(
        mesh.poll(at(60 + 7 * 86_400)),
        [Expiry::Forgotten(node, name("a"))]
    );
    let changes = mesh.take_changed();
    assert_eq!(changes, [StoreChange::Forget(name("a"))]);
    assert_eq!(mesh.next_deadline(), None);
}

#[test]
fn a_node_that_comes_back_is_the_node_that_it_was() {
    let mut mesh = empty();
    mesh.handle_hello(&hello("a")).unwrap();
    let node = mesh.handle_hello(&hello("b")).unwrap().node();
    mesh.handle_goodbye(node, Plane::Pod, Duration::from_secs(60), at(0));
    let version = mesh.plan_version();
    assert_eq!(mesh.handle_hello(&hello("b")), Ok(Joined::Back(node)));
    assert_eq!(
        mesh.plan_version(),
        version,
        "a restart in time is no news for the plan"
    );

    mesh.handle_goodbye(node, Plane::Pod, Duration::from_secs(60), at(100));
    mesh.poll(at(160));
    assert_eq!(mesh.handle_hello(&hello("b")), Ok(Joined::Back(node)));
    assert_eq!(
        mesh.get(node).unwrap().seat(Plane::Pod).unwrap().ssid,
        Ssid(2)
    );
    assert!(mesh.plan_version() > version);
}

#[test]
fn a_second_prober_of_a_node_has_an_identifier_of_its_own() {
    let mut mesh = empty();
    let node = mesh.handle_hello(&hello("a")).unwrap().node();
    let mut host = hello("a");
    host.plane = Plane::Host;
    host.addresses[0].plane = Plane::Host;
    host.addresses[0].ip = [192, 168, 0, 2].into();
    mesh.handle_hello(&host).unwrap();
    let member = mesh.get(node).unwrap();
    assert_eq!(member.seats().count(), 2);
    assert_eq!(member.profile.addresses.len(), 2);

    mesh.handle_goodbye(node, Plane::Host, Duration::from_secs(60), at(0));
    assert_eq!(mesh.get(node).unwrap().lifecycle, Lifecycle::Leaving);
    assert_eq!(mesh.poll(at(60)), [Expiry::SeatGone(node)]);
    let member = mesh.get(node).unwrap();
    assert_eq!(member.lifecycle, Lifecycle::Active);
    assert_eq!(member.profile.addresses.len(), 1);
}

#[test]
fn numbers_identifiers_and_lifecycles_survive_a_restart() {
    let mut before = empty();
    for node in ["a", "b", "c"] {
        before.handle_hello(&hello(node)).unwrap();
    }
    before.handle_goodbye(NodeIndex(1), Plane::Pod, Duration::from_secs(60), at(0));
    let stored = records(before.take_changed());
    let text = serde_json::to_string(&stored).unwrap();
    let mut after = restored(serde_json::from_str(&text).unwrap());
    for (node, member) in before.iter() {
        let same = after.get(node).unwrap();
        assert_eq!(member.profile, same.profile);
        assert_eq!(member.lifecycle, same.lifecycle);
        assert_eq!(member.seats, same.seats);
    }
    assert_eq!(after.poll(at(61)), [Expiry::Gone(NodeIndex(1))]);
    let fresh = after.handle_hello(&hello("d")).unwrap().node();
    assert_eq!(
        after.get(fresh).unwrap().seat(Plane::Pod).unwrap().ssid,
        Ssid(4)
    );
}

#[test]
fn two_records_with_one_identifier_end_with_two() {
    let mut before = empty();
    before.handle_hello(&hello("a")).unwrap();
    before.handle_hello(&hello("b")).unwrap();
    let mut stored = records(before.take_changed());
    stored[1].probers[0].ssid = stored[0].probers[0].ssid;
    let mut after = restored(stored);
    let ssids: BTreeSet<u16> = after
        .iter()
        .flat_map(|(_, m)| m.seats())
        .map(|s| s.ssid.0)
        .collect();
    assert_eq!(ssids.len(), 2);
    assert_eq!(records(after.take_changed()).len(), 1);
}

#[test]
fn the_mesh_has_a_limit() {
    let config = MembershipConfig {
        max_nodes: 2,
        ..MembershipConfig::default()
    };
    let mut mesh = Membership::restore(config, Vec::new(), at(0)).unwrap();
    mesh.handle_hello(&hello("a")).unwrap();
    mesh.handle_hello(&hello("b")).unwrap();
    assert_eq!(
        mesh.handle_hello(&hello("c")),
        Err(JoinError::TooManyNodes(2))
    );
    assert!(mesh.handle_hello(&hello("a")).is_ok());
}

#[test]
fn a_configured_node_is_there_before_it_calls_and_keeps_its_zone() {
    let node = StaticNode {
        name: name("metal-1"),
        zone: "rack-7".to_owned(),
        region: String::new(),
        labels: BTreeMap::new(),
        addresses: vec![NodeAddress {
            plane: Plane::Host,
            ip: [192, 168, 0, 1].into(),
            udp_port: 4862,
            tcp_port: 4862,
            quic_port: 4863,
        }],
    };
    let config = MembershipConfig {
        static_nodes: vec![node],
        ..MembershipConfig::default()
    };
    let mut mesh = Membership::restore(config, Vec::new(), at(0)).unwrap();
    assert!(mesh.get(NodeIndex(0)).unwrap().seat(Plane::Host).is_some());
    let call = Announcement {
        plane: Plane::Host,
        zone: String::new(),
        addresses: Vec::new(),
        ..hello("metal-1")
    };
    assert_eq!(mesh.handle_hello(&call), Ok(Joined::Known(NodeIndex(0))));
    let profile = &mesh.get(NodeIndex(0)).unwrap().profile;
    assert_eq!(profile.zone, "rack-7");
    assert_eq!(profile.addresses.len(), 1);
}

#[test]
fn what_could_not_be_stored_is_offered_again() {
    let mut mesh = empty();
    mesh.handle_hello(&hello("a")).unwrap();
    let taken = mesh.take_changed();
    assert!(!mesh.has_changed());
    mesh.give_back(taken.clone());
    assert_eq!(mesh.take_changed(), taken);
}

fn drain(until: i64) -> Drain {
    let lasts = Duration::from_secs(until.unsigned_abs());
    Drain::new(lasts, "ana", "new disk", at(0)).unwrap()
}

#[test]
fn a_drained_node_is_draining_until_its_time_is_over_or_somebody_ends_it() {
    let mut mesh = empty();
    let node = mesh.handle_hello(&hello("a")).unwrap().node();
    let version = mesh.plan_version();
    mesh.take_changed();
    mesh.handle_drain(node, Some(drain(900)));
    assert_eq!(mesh.get(node).unwrap().lifecycle, Lifecycle::Draining);
    assert_eq!(mesh.next_deadline(), Some(at(900)));
    assert_eq!(mesh.plan_version(), version, "it is probed as ever");
    assert_eq!(records(mesh.take_changed()).len(), 1);
    assert!(mesh.poll(at(899)).is_empty());
    assert_eq!(mesh.poll(at(900)), [Expiry::DrainOver(node)]);
    assert_eq!(mesh.get(node).unwrap().lifecycle, Lifecycle::Active);
    assert_eq!(mesh.next_deadline(), None);
    mesh.handle_drain(node, Some(drain(900)));
    mesh.handle_drain(node, None);
    assert_eq!(mesh.get(node).unwrap().lifecycle, Lifecycle::Active);
    assert!(mesh.poll(at(10_000)).is_empty());
}

#[test]
fn a_drained_node_that_says_goodbye_is_leaving_and_drained_when_it_is_back() {
    let mut mesh = empty();
    let node = mesh.handle_hello(&hello("a")).unwrap().node();
    mesh.handle_drain(node, Some(drain(900)));
    mesh.handle_goodbye(node, Plane::Pod, Duration::from_secs(60), at(10));
    assert_eq!(mesh.get(node).unwrap().lifecycle, Lifecycle::Leaving);
    mesh.handle_hello(&hello("a")).unwrap();
    assert_eq!(mesh.get(node).unwrap().lifecycle, Lifecycle::Draining);
    // Its reboot lasts longer than it said.
    mesh.handle_goodbye(node, Plane::Pod, Duration::from_secs(60), at(20));
    assert_eq!(mesh.poll(at(80)), [Expiry::Gone(node)]);
    mesh.handle_drain(node, Some(drain(900)));
    assert_eq!(mesh.get(node).unwrap().lifecycle, Lifecycle::Gone);
    mesh.handle_hello(&hello("a")).unwrap();
    assert_eq!(mesh.get(node).unwrap().lifecycle, Lifecycle::Draining);
}

#[test]
fn drains_and_events_are_remembered_and_a_drain_that_ended_meanwhile_is_over() {
    let mut before = empty();
    for node in ["a", "b"] {
        before.handle_hello(&hello(node)).unwrap();
    }
    before.handle_drain(NodeIndex(0), Some(drain(900)));
    let event = NodeEvent::new("FailedMount", "no such volume", Some(at(5)), at(5)).unwrap();
    before.handle_event(NodeIndex(1), event.clone(), at(5));
    let text = serde_json::to_string(&records(before.take_changed())).unwrap();
    let records: Vec<NodeRecord> = serde_json::from_str(&text).unwrap();
    let mut after = restored(records);
    let member = |mesh: &Membership, node| mesh.get(NodeIndex(node)).unwrap().clone();
    assert_eq!(member(&after, 0).drain(), Some(&drain(900)));
    assert_eq!(member(&after, 0).lifecycle, Lifecycle::Draining);
    let events: Vec<NodeEvent> = member(&after, 1).events().fresh(at(6)).cloned().collect();
    assert_eq!(events, [event]);
    assert_eq!(after.poll(at(5_000)), [Expiry::DrainOver(NodeIndex(0))]);
    assert_eq!(member(&after, 0).lifecycle, Lifecycle::Active);
    after.take_changed();
    after.handle_start(NodeIndex(0));
    assert!(!after.has_changed());
    after.handle_start(NodeIndex(1));
    assert!(member(&after, 1).events().is_empty() && after.has_changed());
}
