use std::time::Duration;

use super::*;
use crate::detail::{ExternalDetail, Phases};
use crate::ids::NodeName;

const NODES: Ends<'_> = Ends {
    source: "a",
    source_zone: "x",
    target: "b",
    target_zone: "y",
    is_between_nodes: true,
};
const SHOP: Ends<'_> = Ends {
    target: "shop",
    target_zone: "",
    is_between_nodes: false,
    ..NODES
};

fn name(text: &str) -> NodeName {
    NodeName::try_from(text).unwrap()
}

/// "a>b udp/pod/v4 down"
fn path(text: &str) -> Measured<'_> {
    let (way, rest) = text.split_once(' ').unwrap();
    let (layer, verdict) = rest.split_once(' ').unwrap();
    let (source, target) = way.split_once('>').unwrap();
    let parts: Vec<&str> = layer.split('/').collect();
    let kind = ProbeKind::ALL
        .into_iter()
        .find(|kind| kind.to_string() == parts[0]);
    let verdict = Verdict::ALL
        .into_iter()
        .find(|v| v.as_str() == verdict)
        .unwrap();
    let replied = match verdict {
        Verdict::Down => 0,
        Verdict::Lossy => 8,
        _ => 10,
    };
    Measured {
        source,
        target,
        layer: Layer {
            kind: kind.unwrap(),
            plane: match parts[1] {
                "host" => Plane::Host,
                "service" => Plane::Service,
                _ => Plane::Pod,
            },
            family: if parts[2] == "v6" {
                Family::V6
            } else {
                Family::V4
            },
        },
        verdict,
        sent: 10,
        replied,
        received: None,
        failure: None,
        detail: None,
    }
}

fn paths<'a>(texts: &[&'a str]) -> Vec<Measured<'a>> {
    texts.iter().map(|text| path(text)).collect()
}

fn suspect(pattern: Pattern, scope: &Scope) -> Suspect<'_> {
    Suspect {
        pattern,
        scope,
        plane: None,
    }
}

fn failing(explanation: &Explanation) -> (Rung, String) {
    let step = &explanation.steps[explanation.first_failing.unwrap()];
    (step.rung, format!("{}>{}", step.source, step.target))
}

#[test]
fn what_works_is_said_and_what_is_not_measured_too() {
    let measured = paths(&[
        "a>b tcp/host/v4 healthy",
        "b>a tcp/host/v4 healthy",
        "a>b udp/pod/v4 healthy",
        "b>a udp/pod/v4 healthy",
    ]);
    let explanation = explain(&NODES, &measured, &[]);
    assert_eq!(explanation.conclusion, Conclusion::Works);
    assert_eq!((explanation.first_failing, explanation.cause), (None, None));
    let missing: Vec<_> = explanation
        .steps
        .iter()
        .filter(|step| step.verdict == Verdict::NotSampled)
        .map(|step| (step.rung, step.family, step.kind))
        .collect();
    assert_eq!(
        missing,
        [
            (Rung::HostNetwork, Some(Family::V6), None),
            (Rung::PodNetwork, Some(Family::V6), None),
            (Rung::Protocol, None, Some(ProbeKind::Icmp)),
            (Rung::Protocol, None, Some(ProbeKind::Quic)),
            (Rung::PacketSize, None, Some(ProbeKind::Mtu)),
        ]
    );
    let nothing = explain(&NODES, &[], &[]);
    assert_eq!(nothing.conclusion, Conclusion::Unknown);
    assert!(
        nothing.sentence.contains("nothing is measured"),
        "{}",
        nothing.sentence
    );
}

#[test]
fn a_broken_overlay_is_found_above_a_host_network_that_works() {
    let measured = paths(&[
        "a>b tcp/host/v4 healthy",
        "b>a tcp/host/v4 healthy",
        "a>b udp/pod/v4 down",
        "a>b tcp/pod/v4 down",
        "b>a udp/pod/v4 down",
        "a>b mtu/pod/v4 down",
    ]);
    let (overlay, dns) = (Scope::node(name("b")), Scope::target("coredns-1"));
    let other = Scope::node(name("c"));
    let suspects = [
        suspect(Pattern::DnsServer, &dns),
        suspect(Pattern::NodeDark, &other),
        suspect(Pattern::OverlayEgress, &overlay),
    ];
    let explanation = explain(&NODES, &measured, &suspects);
    assert_eq!(explanation.conclusion, Conclusion::Fails);
    assert_eq!(failing(&explanation), (Rung::PodNetwork, "a>b".to_owned()));
    assert_eq!(explanation.cause, Some(2));
    assert_eq!(
        explanation.sentence,
        "a cannot talk to b: the pod network over IPv4 fails first, a → b (10 of 10 probes lost). Below it, the host network works."
    );
}

#[test]
fn one_protocol_that_gets_through_proves_the_way() {
    let measured = paths(&[
        "a>b udp/pod/v4 down",
        "b>a udp/pod/v4 down",
        "a>b tcp/pod/v4 healthy",
        "b>a tcp/pod/v4 healthy",
    ]);
    let udp = Scope::node(name("a")).with_kind(ProbeKind::Udp);
    let tcp = Scope::node(name("a")).with_kind(ProbeKind::Tcp);
    let suspects = [suspect(Pattern::Kind, &tcp), suspect(Pattern::Kind, &udp)];
    let explanation = explain(&NODES, &measured, &suspects);
    assert_eq!(explanation.conclusion, Conclusion::Partly);
    assert_eq!(failing(&explanation).0, Rung::Protocol);
    assert_eq!(explanation.cause, Some(1));
}

#[test]
fn what_is_down_comes_before_what_is_lossy_below_it() {
    let measured = paths(&[
        "a>b tcp/host/v4 lossy",
        "a>b udp/pod/v4 down",
        "b>a udp/pod/v4 healthy",
    ]);
    let explanation = explain(&NODES, &measured, &[]);
    assert_eq!(failing(&explanation), (Rung::PodNetwork, "a>b".to_owned()));
    let lossy = paths(&["a>b tcp/host/v4 lossy", "a>b udp/pod/v4 slow"]);
    let explanation = explain(&NODES, &lossy, &[]);
    assert_eq!(explanation.conclusion, Conclusion::Degraded);
    assert_eq!(failing(&explanation).0, Rung::HostNetwork);
}

#[test]
fn the_half_of_the_round_trip_that_loses_is_named_where_the_target_counts() {
    let mut measured = paths(&["a>b udp/pod/v4 down"]);
    measured[0].received = Some(10);
    let back = explain(&NODES, &measured, &[]).sentence;
    assert!(
        back.ends_with("The probes arrive; their answers do not come back."),
        "{back}"
    );
    measured[0].received = Some(0);
    let out = explain(&NODES, &measured, &[]).sentence;
    assert!(out.ends_with("The probes do not arrive."), "{out}");
}

#[test]
fn a_silent_node_is_explained_although_nothing_of_it_fails() {
    let measured = paths(&["a>b udp/pod/v4 no-data", "b>a udp/pod/v4 no-data"]);
    let scope = Scope::node(name("b"));
    let elsewhere = Scope::node(name("c"));
    let suspects = [
        suspect(Pattern::ReportsCut, &elsewhere),
        suspect(Pattern::ReportsCut, &scope),
    ];
    let explanation = explain(&NODES, &measured, &suspects);
    assert_eq!(explanation.conclusion, Conclusion::Unknown);
    assert_eq!(explanation.cause, Some(1));
}

#[test]
fn a_cause_covers_the_ways_that_its_place_lies_on() {
    let measured = paths(&["a>b udp/pod/v4 down"]);
    let covers = |scope: &Scope, pattern, ends: &Ends<'_>| {
        explain(ends, &measured, &[suspect(pattern, scope)])
            .cause
            .is_some()
    };
    let same_zone = Ends {
        target_zone: "x",
        ..NODES
    };
    for (scope, pattern, expected) in [
        (Scope::everywhere(), Pattern::Mesh, true),
        (Scope::node(name("a")), Pattern::NodeEgress, true),
        (Scope::path(name("b"), name("a")), Pattern::Path, true),
        (Scope::path(name("a"), name("c")), Pattern::Path, false),
        (Scope::zones("x", "y"), Pattern::ZonePair, true),
        (Scope::zones("x", "z"), Pattern::ZonePair, false),
        (
            Scope::of(crate::finding::Place::Zone("x".to_owned())),
            Pattern::Zone,
            true,
        ),
        (
            Scope::everywhere().with_family(Family::V6),
            Pattern::Family,
            false,
        ),
        (Scope::node(name("a")), Pattern::DnsBlocked, false),
        (Scope::node(name("a")), Pattern::Slow, false),
        (Scope::node(name("a")), Pattern::ReportsCut, false),
    ] {
        assert_eq!(
            covers(&scope, pattern, &NODES),
            expected,
            "{pattern} {scope}"
        );
    }
    let zone = Scope::of(crate::finding::Place::Zone("x".to_owned()));
    assert!(!covers(&zone, Pattern::Zone, &same_zone));
}

#[test]
fn a_target_outside_fails_in_the_first_phase_that_was_not_completed() {
    let detail = Detail::External(ExternalDetail {
        phases: Phases {
            dns: Some(Duration::from_millis(1)),
            connect: Some(Duration::from_millis(2)),
            ..Phases::default()
        },
        failure: "certificate expired".to_owned(),
        ..ExternalDetail::default()
    });
    let mut measured = paths(&[
        "a>dns1/shop.example. dns-udp/pod/v4 down",
        "a>dns2/shop.example. dns-udp/pod/v4 healthy",
        "a>vip/shop.example. dns-udp/service/v4 healthy",
        "a>shop tls/pod/v4 down",
    ]);
    measured[3].detail = Some(&detail);
    let (tls, server) = (Scope::target("shop"), Scope::target("dns1"));
    let suspects = [
        suspect(Pattern::DnsServer, &server),
        suspect(Pattern::Tls, &tls),
    ];
    let explanation = explain(&SHOP, &measured, &suspects);
    let rungs: Vec<(Rung, Verdict)> = explanation
        .steps
        .iter()
        .map(|s| (s.rung, s.verdict))
        .collect();
    assert_eq!(
        rungs,
        [
            (Rung::Dns, Verdict::Healthy),
            (Rung::DnsVip, Verdict::Healthy),
            (Rung::Name, Verdict::Healthy),
            (Rung::Connect, Verdict::Healthy),
            (Rung::Tls, Verdict::Down),
        ]
    );
    assert_eq!(explanation.conclusion, Conclusion::Fails);
    assert_eq!(explanation.cause, Some(1));
    assert_eq!(explanation.steps[0].note, "1 of 2 fail: dns1/shop.example.");
    assert_eq!(explanation.steps[4].note, "certificate expired");
}

#[test]
fn a_dns_server_that_fails_is_blamed_by_its_name() {
    let ends = Ends {
        target: "dns1/shop.example.",
        ..SHOP
    };
    let measured = paths(&["a>dns1/shop.example. dns-udp/pod/v4 down"]);
    let (this, that) = (Scope::target("dns1"), Scope::target("dns2"));
    let suspects = [
        suspect(Pattern::DnsServer, &that),
        suspect(Pattern::DnsServer, &this),
    ];
    let explanation = explain(&ends, &measured, &suspects);
    assert_eq!(explanation.conclusion, Conclusion::Fails);
    assert_eq!(explanation.cause, Some(1));
}
