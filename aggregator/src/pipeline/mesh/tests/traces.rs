//! A trace that a prober sends backs what is found of its path.

use super::super::*;
use super::world::World;

#[test]
fn the_trace_of_a_failing_path_says_in_its_finding_where_packets_end() {
    let mut world = World::new(6);
    world.connect_all();
    world.run(60_000, None);
    world.broken.insert((1, 4));
    world.run(15_000, None);
    let evidence = |world: &World| {
        let findings = &world.diagnosed.as_ref().unwrap().diagnosis.findings;
        let names: Vec<String> = findings.iter().map(|one| one.scope.to_string()).collect();
        assert_eq!(names, ["mesh-1→mesh-4"]);
        findings[0].evidence.join("\n")
    };
    assert!(!evidence(&world).contains("trace"), "{}", evidence(&world));
    let hop = |ttl, address: &str, icmp: Option<(u32, u32)>| v1::Hop {
        ttl,
        address: address.to_owned(),
        rtt_micros: 300,
        icmp_type: icmp.map(|(kind, _)| kind),
        icmp_code: icmp.map(|(_, code)| code),
    };
    let route = v1::TraceRoute {
        kind: v1::ProbeKind::Udp.into(),
        plane: v1::Plane::Pod.into(),
        family: v1::Family::V4.into(),
        source_port: 40_000,
        destination_port: 4_862,
        hops: vec![
            hop(1, "10.0.0.254", Some((11, 0))),
            hop(2, "172.30.1.1", Some((3, 13))),
        ],
        reached: false,
    };
    let trace = v1::Trace {
        incarnation: world.probers[1].incarnation,
        target: 4,
        age_millis: 100,
        route: Some(route),
    };
    let event = StreamEvent::Trace {
        prober: world.key(1),
        stream: world.probers[1].stream,
        trace: Box::new(trace),
    };
    world.mesh.handle(event, world.now);
    world.run(15_000, None);
    let expected =
        "the trace of mesh-1→mesh-4 ends at 172.30.1.1, which says: administratively prohibited";
    assert!(evidence(&world).contains(expected), "{}", evidence(&world));
}
