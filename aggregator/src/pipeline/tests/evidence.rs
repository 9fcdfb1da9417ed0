//! What probers say beside their counts, and probes on demand: over real streams, to whoever asks.

use meshprobe_core::detail::{Detail, DnsDetail, ExternalDetail, MtuDetail, MtuLimit};
use meshprobe_core::ids::TargetNumber;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_core::verdict::Verdict;
use meshprobe_core::window::{Failing, Summary};
use meshprobe_proto::report::BlockBuilder;
use meshprobe_proto::v1;
use meshprobe_proto::v1::aggregator_message::Message as Down;
use meshprobe_proto::v1::dictionary_entry::Target;
use meshprobe_proto::v1::prober_message::Message as Up;

use super::client::{Aggregator, Prober, hello, report};
use crate::membership::Remembered;
use crate::pipeline::{Demand, PipelineConfig, ProbeError};
use crate::plan::{DnsProbe, PlanConfig, ServiceProbe};

const MTU: Layer = Layer {
    kind: ProbeKind::Mtu,
    plane: Plane::Pod,
    family: Family::V4,
};
const DNS: Layer = Layer {
    kind: ProbeKind::DnsUdp,
    plane: Plane::Service,
    family: Family::V4,
};
const HTTP: Layer = Layer {
    kind: ProbeKind::Http,
    plane: Plane::Pod,
    family: Family::V4,
};

fn external() -> v1::ExternalTarget {
    v1::ExternalTarget {
        name: "shop".to_owned(),
        kind: v1::ProbeKind::Http.into(),
        url: "https://shop.example.com/".to_owned(),
        family: v1::Family::V4.into(),
        ..v1::ExternalTarget::default()
    }
}

fn config() -> PipelineConfig {
    PipelineConfig {
        plan: PlanConfig {
            dns: vec![DnsProbe {
                server: "vip".to_owned(),
                address: "10.96.0.10:53".parse().unwrap(),
                name: "www.example.com.".to_owned(),
                expected_rcode: 0,
                plane: Plane::Service,
            }],
            services: vec![ServiceProbe {
                name: "echo".to_owned(),
                address: "10.96.0.50:4862".parse().unwrap(),
            }],
            external: vec![external()],
            ..PlanConfig::default()
        },
        ..PipelineConfig::default()
    }
}

/// An aggregator, and a prober of a that knows b, the DNS server and the shop as its targets 0, 1 and 2.
async fn connected() -> (Aggregator, Prober, Prober) {
    let aggregator = Aggregator::start(config(), Remembered::default()).await;
    let mut a = aggregator.prober("a", 7, 1).await;
    let b = aggregator.prober("b", 7, 2).await;
    let assignment = a.assignment(1).await;
    let targets = [
        Target::Node("b".to_owned()),
        Target::Dns(assignment.dns[0].clone()),
        Target::External(assignment.external[0].clone()),
    ];
    let entries = targets.into_iter().enumerate();
    let entries = entries.map(|(number, target)| v1::DictionaryEntry {
        number: number as u32,
        target: Some(target),
    });
    a.say(Up::Dictionary(v1::Dictionary {
        incarnation: 7,
        entries: entries.collect(),
    }))
    .await;
    (aggregator, a, b)
}

/// One lost probe, and what it found.
fn block(layer: Layer, target: u32, detail: &Detail) -> v1::Block {
    let mut block = BlockBuilder::new(layer);
    let summary = Summary {
        sent: 1,
        ..Summary::default()
    };
    let failing = Failing {
        consecutive_losses: 1,
        first_loss_age: std::time::Duration::from_secs(1),
        last_reply_age: None,
        last_heard_age: None,
        last_outcome: meshprobe_core::outcome::OutcomeClass::Timeout,
    };
    block.push(TargetNumber(target), &summary, &[], Some(failing));
    block.attach(detail);
    block.finish()
}

#[tokio::test]
async fn what_a_probe_found_is_shown_with_its_path() {
    let (aggregator, mut a, _b) = connected().await;
    let mtu = Detail::Mtu(MtuDetail {
        forward: 1_400,
        forward_limit: MtuLimit::BlackHole,
        ..MtuDetail::default()
    });
    let dns = Detail::Dns(DnsDetail {
        rcode: Some(2),
        truncated: true,
        ..DnsDetail::default()
    });
    let http = Detail::External(ExternalDetail {
        status: Some(502),
        ..ExternalDetail::default()
    });
    let mut full = report(7, 1, 10);
    full.blocks = vec![
        block(MTU, 0, &mtu),
        block(DNS, 1, &dns),
        block(HTTP, 2, &http),
    ];
    a.say(Up::Report(full)).await;
    a.ack(1).await;
    let path = |target: &'static str| {
        let handle = aggregator.handle.clone();
        async move { handle.path("a", target).await.unwrap().forward }
    };
    let to_b = path("b").await;
    assert_eq!(to_b[0].layer, MTU);
    assert_eq!(to_b[0].verdict, Verdict::Down, "one run is a confirmation");
    assert_eq!(
        to_b[0].found.as_ref().unwrap().detail,
        v1::Detail::from(&mtu)
    );
    let to_dns = path("vip/www.example.com.").await;
    assert_eq!(to_dns[0].verdict, Verdict::Suspect);
    let Some(v1::detail::Detail::Dns(found)) =
        to_dns[0].found.as_ref().unwrap().detail.detail.clone()
    else {
        panic!("no DNS detail");
    };
    assert_eq!((found.rcode, found.truncated), (Some(2), true));
    let to_shop = path("shop").await;
    assert_eq!(
        to_shop[0].found.as_ref().unwrap().detail,
        v1::Detail::from(&http)
    );
    let layer = aggregator.handle.layer(HTTP).await.unwrap().unwrap();
    let names: Vec<&str> = layer.targets.iter().map(|end| end.name.as_str()).collect();
    assert_eq!(names, ["shop"]);
}

fn trace(target: u32, kind: v1::ProbeKind) -> v1::Trace {
    v1::Trace {
        incarnation: 7,
        target,
        age_millis: 100,
        route: Some(v1::TraceRoute {
            kind: kind.into(),
            plane: v1::Plane::Pod.into(),
            family: v1::Family::V4.into(),
            hops: vec![v1::Hop {
                ttl: 1,
                address: "10.244.0.254".to_owned(),
                ..v1::Hop::default()
            }],
            ..v1::TraceRoute::default()
        }),
    }
}

/// Waits until one message has been refused for this reason.
async fn refused(aggregator: &Aggregator, reason: &'static str) {
    while aggregator.metrics.rejected(reason) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_trace_is_shown_in_its_direction_and_a_malformed_one_is_counted() {
    let (aggregator, a, _b) = connected().await;
    a.say(Up::Trace(trace(0, v1::ProbeKind::Udp))).await;
    for (reason, change) in [
        (
            "trace_incarnation",
            (|t| t.incarnation = 9) as fn(&mut v1::Trace),
        ),
        ("trace_empty", |t| t.route = None),
        ("trace_target", |t| t.target = 77),
        ("trace_target", |t| t.target = 1),
        ("trace_hops", |t| {
            t.route.as_mut().unwrap().hops[0].address = "x".to_owned();
        }),
        ("trace_number", |t| t.route.as_mut().unwrap().plane = 9),
    ] {
        let mut wrong = trace(0, v1::ProbeKind::Udp);
        change(&mut wrong);
        a.say(Up::Trace(wrong)).await;
        refused(&aggregator, reason).await;
    }
    let forward = aggregator.handle.path("a", "b").await.unwrap();
    assert_eq!(forward.forward_traces.len(), 1);
    assert_eq!(
        forward.forward_traces[0].route.hops[0].address,
        "10.244.0.254"
    );
    assert!(forward.reverse_traces.is_empty());
    let reverse = aggregator.handle.path("b", "a").await.unwrap();
    assert_eq!(reverse.reverse_traces.len(), 1);
}

#[tokio::test]
async fn a_node_shows_what_each_of_its_probers_says_of_itself_and_its_host() {
    let (aggregator, mut a, _b) = connected().await;
    let host = aggregator.caller().await;
    let mut on_host = hello("a", 9, 1);
    on_host.plane = v1::Plane::Host.into();
    on_host.addresses[0].plane = v1::Plane::Host.into();
    on_host.addresses[0].ip = "192.0.2.1".to_owned();
    host.say(Up::Hello(on_host)).await;
    let facts = v1::HostFacts {
        kernel: "6.1.0".to_owned(),
        routes: vec!["10.244.1.0/24 via 10.0.0.2 dev flannel.1".to_owned()],
        ..v1::HostFacts::default()
    };
    a.say(Up::HostFacts(facts)).await;
    let mut throttled = report(7, 1, 10);
    throttled.self_health = Some(v1::SelfHealth {
        local_health: 3,
        invalid_probes: 17,
        ..v1::SelfHealth::default()
    });
    a.say(Up::Report(throttled)).await;
    a.ack(1).await;
    let large = v1::HostFacts {
        routes: vec![String::new(); 2_000],
        ..v1::HostFacts::default()
    };
    a.say(Up::HostFacts(large)).await;
    refused(&aggregator, "facts_count").await;

    let detail = loop {
        let detail = aggregator.handle.node("a").await.unwrap().unwrap();
        if detail.probers.len() == 2 {
            break detail;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert_eq!(detail.row.local_health, 3);
    assert_eq!(
        detail.row.profile.addresses.len(),
        2,
        "one node, two planes"
    );
    let [pod, host] = detail.probers.as_slice() else {
        panic!("two probers");
    };
    assert_eq!((pod.plane, host.plane), (Plane::Pod, Plane::Host));
    let (facts, _) = pod.facts.as_ref().unwrap();
    assert_eq!(facts.routes.len(), 1, "the malformed ones changed nothing");
    assert_eq!(pod.self_health.unwrap().invalid_probes, 17);
    assert!(host.facts.is_none() && host.last_report_at.is_none());
    assert!(aggregator.handle.node("x").await.unwrap().is_none());
    while aggregator.handle.snapshot().nodes.len() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(aggregator.handle.snapshot().nodes.len(), 2);
}

fn demand(target: &str, kind: ProbeKind) -> Demand {
    Demand {
        source: "a".to_owned(),
        target: target.to_owned(),
        kind,
        plane: None,
        family: None,
        trace: false,
    }
}

/// The next probe that the prober is asked for.
async fn asked(prober: &mut Prober) -> v1::RunProbe {
    loop {
        if let Down::RunProbe(run) = prober.hear().await.unwrap() {
            return run;
        }
    }
}

fn result(id: u64) -> v1::ProbeResult {
    v1::ProbeResult {
        id,
        outcome: v1::OutcomeClass::Reply.into(),
        rtt_micros: Some(420),
        ..v1::ProbeResult::default()
    }
}

#[tokio::test]
async fn a_probe_on_demand_goes_to_the_sources_prober_and_its_result_to_whoever_asked() {
    let (aggregator, mut a, _b) = connected().await;
    let handle = &aggregator.handle;
    let answering = async {
        let run = asked(&mut a).await;
        a.say(Up::ProbeResult(result(run.id))).await;
        run
    };
    let (found, run) = tokio::join!(handle.run_probe(demand("b", ProbeKind::Mtu)), answering);
    assert_eq!((run.target.as_str(), run.kind()), ("b", v1::ProbeKind::Mtu));
    assert_eq!(run.plane(), v1::Plane::Pod);
    assert_eq!(run.timeout_millis, 6_000, "that of the schedule");
    assert_eq!(found.unwrap().rtt_micros, Some(420));

    // Where a target is says what the request leaves out.
    let refusing = async {
        let run = asked(&mut a).await;
        let refusal = v1::ProbeResult {
            id: run.id,
            refused: "no socket".to_owned(),
            ..v1::ProbeResult::default()
        };
        a.say(Up::ProbeResult(refusal)).await;
        run
    };
    let dns = demand("vip/www.example.com.", ProbeKind::DnsTcp);
    let (found, run) = tokio::join!(handle.run_probe(dns), refusing);
    assert_eq!(run.plane(), v1::Plane::Service);
    let refusal = found.unwrap_err().to_string();
    assert_eq!(refusal, "the prober of a refused: no socket");

    // A node that has a prober on its host's network alone is probed from there.
    let mut host = aggregator.caller().await;
    let mut on_host = hello("c", 9, 3);
    on_host.plane = v1::Plane::Host.into();
    on_host.addresses[0].plane = v1::Plane::Host.into();
    host.say(Up::Hello(on_host)).await;
    host.assignment(2).await;
    let answering = async {
        let run = asked(&mut host).await;
        host.say(Up::ProbeResult(result(run.id))).await;
        run.plane()
    };
    let from_host = Demand {
        source: "c".to_owned(),
        ..demand("shop", ProbeKind::Http)
    };
    let (found, plane) = tokio::join!(handle.run_probe(from_host), answering);
    assert_eq!((found.is_ok(), plane), (true, v1::Plane::Host));

    // A result that is none ends the wait, and is counted.
    let raving = async {
        let mut wrong = result(asked(&mut a).await.id);
        wrong.outcome = 99;
        a.say(Up::ProbeResult(wrong)).await;
    };
    let (found, ()) = tokio::join!(handle.run_probe(demand("b", ProbeKind::Udp)), raving);
    assert!(matches!(found, Err(ProbeError::Gone(_))));
    refused(&aggregator, "probe_result_number").await;
    a.say(Up::ProbeResult(result(12_345))).await;
    refused(&aggregator, "probe_result_unasked").await;
}

#[tokio::test]
async fn a_probe_that_cannot_be_made_is_refused_at_once() {
    let (aggregator, a, _b) = connected().await;
    let run = |demand| {
        let handle = aggregator.handle.clone();
        async move { handle.run_probe(demand).await.unwrap_err() }
    };
    let stranger = Demand {
        source: "x".to_owned(),
        ..demand("b", ProbeKind::Udp)
    };
    assert!(matches!(run(stranger).await, ProbeError::Unknown(_)));
    let nobody = run(demand("x", ProbeKind::Udp)).await;
    assert_eq!(nobody.to_string(), "no node is called \"x\"");
    let itself = run(demand("a", ProbeKind::Udp)).await;
    assert!(matches!(itself, ProbeError::Invalid(_)));
    let other_kind = run(demand("shop", ProbeKind::Tls)).await;
    assert_eq!(
        other_kind.to_string(),
        "no target of tls is called \"shop\""
    );
    let other_family = Demand {
        family: Some(Family::V6),
        ..demand("echo", ProbeKind::Service)
    };
    assert_eq!(
        run(other_family).await.to_string(),
        "no target of service is called \"echo\" by v6"
    );
    let on_host = Demand {
        plane: Some(Plane::Host),
        ..demand("b", ProbeKind::Udp)
    };
    assert_eq!(
        run(on_host).await.to_string(),
        "the host-plane prober of a is not connected to this aggregator"
    );
    // Its prober hangs up while somebody waits.
    let hanging_up = async {
        let mut a = a;
        asked(&mut a).await;
    };
    let waiting = aggregator.handle.run_probe(demand("b", ProbeKind::Udp));
    let (found, ()) = tokio::join!(waiting, hanging_up);
    assert!(matches!(found, Err(ProbeError::Gone(_))));
}
