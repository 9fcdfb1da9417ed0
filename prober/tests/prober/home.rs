//! The two ways home, against an aggregator that the test plays.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use meshprobe_core::ids::Ssid;
use meshprobe_proto::v1;
use meshprobe_proto::v1::WayHome::{Overlay, Underlay};
use meshprobe_proto::v1::aggregator_message::Message as Down;

use crate::fake_aggregator::FakeAggregator;
use crate::loopback::request;
use crate::mesh::{PORT, Prober, address, eventually};

fn assignment(peer: Ipv4Addr, report_interval_millis: u32) -> v1::Assignment {
    v1::Assignment {
        generation: 1,
        ssid: 1,
        peers: vec![v1::PeerTarget {
            node: "b".into(),
            ssid: 2,
            addresses: vec![v1::Address {
                plane: v1::Plane::Pod.into(),
                ip: peer.to_string(),
                udp_port: PORT.into(),
                tcp_port: PORT.into(),
                quic_port: 0,
            }],
            phase: 0,
            answer_only: false,
            quic: false,
        }],
        schedules: vec![v1::KindSchedule {
            kind: v1::ProbeKind::Udp.into(),
            plane: v1::Plane::Pod.into(),
            interval_millis: 200,
            timeout_millis: 500,
        }],
        report_interval_millis,
        ..v1::Assignment::default()
    }
}

/// A prober "a" with one peer at `peer`, and its aggregator.
async fn start(peer: Ipv4Addr, report_interval_millis: u32) -> (Prober, FakeAggregator) {
    let aggregator = FakeAggregator::default();
    let lines = aggregator
        .serve(address(), assignment(peer, report_interval_millis))
        .await;
    (Prober::start("a", address(), &lines), aggregator)
}

/// A peer that answers nothing and refuses nothing.
fn silent_peer() -> (Ipv4Addr, UdpSocket, std::net::TcpListener) {
    let ip = address();
    let udp = UdpSocket::bind((ip, PORT)).unwrap();
    (ip, udp, std::net::TcpListener::bind((ip, PORT)).unwrap())
}

#[tokio::test]
async fn reports_follow_hello_and_dictionary_by_the_overlay_and_are_gap_free() {
    let (a, aggregator) = start(address(), 500).await;
    eventually("both ways are open", || aggregator.hellos().len() >= 2).await;
    eventually("five reports", || aggregator.reports().len() >= 5).await;
    let names = aggregator.names(Overlay);
    let first = |name| names.iter().position(|n| *n == name).unwrap();
    assert_eq!(names[0], "hello");
    assert!(first("dictionary") < first("report"), "{names:?}");
    let sequences: BTreeSet<u64> = aggregator
        .reports()
        .iter()
        .map(|(_, r)| r.sequence)
        .collect();
    assert_eq!(sequences.first(), Some(&1));
    assert_eq!(sequences.last(), Some(&(sequences.len() as u64)));
    for (_, report) in aggregator.reports() {
        meshprobe_proto::report::admit(&report).unwrap();
    }
    a.stop().await;
}

#[tokio::test]
async fn a_lost_peer_is_told_by_both_ways_at_once() {
    let (peer, _udp, _tcp) = silent_peer();
    let (a, aggregator) = start(peer, 60_000).await;
    let accuses = |report: &v1::Report| {
        let failing = report.blocks.iter().flat_map(|block| &block.failing);
        failing.map(|f| f.consecutive_losses).max().unwrap_or(0) >= 4
    };
    for way in [Overlay, Underlay] {
        eventually("four losses in a row are told", || {
            aggregator
                .reports()
                .iter()
                .any(|(by, report)| *by == way && accuses(report))
        })
        .await;
    }
    a.stop().await;
}

#[tokio::test]
async fn what_the_overlay_does_not_acknowledge_goes_by_the_underlay() {
    let (a, aggregator) = start(address(), 300).await;
    eventually("both ways are open", || aggregator.hellos().len() >= 2).await;
    // The close watch of the absent peer is over, so that no report is urgent any more.
    tokio::time::sleep(Duration::from_secs(5)).await;
    aggregator.silence(Overlay);
    let before = aggregator.reports().len();
    eventually("a report comes by both ways", || {
        let later = &aggregator.reports()[before..];
        let by = |way| -> BTreeSet<u64> {
            later
                .iter()
                .filter(|(of, _)| *of == way)
                .map(|(_, r)| r.sequence)
                .collect()
        };
        by(Overlay).intersection(&by(Underlay)).next().is_some()
    })
    .await;
    a.stop().await;
}

#[tokio::test]
async fn a_broken_way_costs_no_report_and_is_opened_again() {
    let (a, aggregator) = start(address(), 300).await;
    eventually("both ways are open", || aggregator.hellos().len() >= 2).await;
    eventually("a report", || !aggregator.reports().is_empty()).await;
    aggregator.break_way(Overlay);
    eventually("it says hello again", || aggregator.hellos().len() >= 3).await;
    let before = aggregator.reports().len();
    eventually("reports go on", || aggregator.reports().len() >= before + 4).await;
    let sequences: BTreeSet<u64> = aggregator
        .reports()
        .iter()
        .map(|(_, r)| r.sequence)
        .collect();
    assert_eq!(
        sequences.last(),
        Some(&(sequences.len() as u64)),
        "gap-free over both ways"
    );
    a.stop().await;
}

#[tokio::test]
async fn whoever_is_asked_answers_at_once() {
    let (a, aggregator) = start(address(), 60_000).await;
    eventually("both ways are open", || aggregator.hellos().len() >= 2).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = aggregator.reports().len();
    aggregator.say(&Down::Confirm(v1::Confirm {
        peer_ssid: Vec::new(),
    }));
    eventually("a sign of life", || aggregator.reports().len() > before).await;
    let extra = a.metric("meshprobe_prober_probes_extra_total", &[]).await;
    aggregator.say(&Down::Confirm(v1::Confirm {
        peer_ssid: vec![2, 999],
    }));
    a.until_metric("meshprobe_prober_probes_extra_total", &[], extra + 4)
        .await;
    a.stop().await;
}

#[tokio::test]
async fn a_probe_on_demand_is_made_at_once_and_refused_where_there_is_no_path() {
    let b = address();
    // A socket that answers nothing; nobody listens on TCP.
    let _silent = UdpSocket::bind((b, PORT)).unwrap();
    let (a, aggregator) = start(b, 60_000).await;
    eventually("both ways are open", || aggregator.hellos().len() >= 2).await;
    a.until_metric("meshprobe_prober_assignment_generation", &[], 1)
        .await;
    let ask = |id, target: &str, kind: v1::ProbeKind| {
        aggregator.say(&Down::RunProbe(v1::RunProbe {
            id,
            target: target.to_owned(),
            kind: kind.into(),
            plane: v1::Plane::Pod.into(),
            family: v1::Family::V4.into(),
            timeout_millis: 2_000,
            trace: false,
        }));
    };
    ask(1, "nobody", v1::ProbeKind::Tcp);
    ask(2, "b", v1::ProbeKind::Tcp);
    ask(3, "b", v1::ProbeKind::Udp);
    eventually("the answers", || aggregator.probe_results().len() >= 6).await;
    let result = |id| {
        let results = aggregator.probe_results();
        results.into_iter().find(|result| result.id == id).unwrap()
    };
    assert!(result(1).refused.contains("no path to \"nobody\""));
    assert_eq!(result(2).outcome(), v1::OutcomeClass::Refused);
    assert_eq!(result(3).outcome(), v1::OutcomeClass::Timeout);
    a.stop().await;
}

#[tokio::test]
async fn a_bad_assignment_is_refused_and_the_one_in_force_stays() {
    let peer = address();
    let (a, aggregator) = start(peer, 500).await;
    a.until_metric("meshprobe_prober_assignment_generation", &[], 1)
        .await;
    let bad = v1::Assignment {
        generation: 2,
        ssid: 0,
        ..assignment(peer, 500)
    };
    aggregator.say(&Down::Assignment(bad));
    a.until_metric("meshprobe_prober_assignments_refused_total", &[], 1)
        .await;
    assert_eq!(
        a.metric("meshprobe_prober_assignment_generation", &[])
            .await,
        1
    );
    a.stop().await;
}

#[tokio::test]
async fn the_end_is_in_order_and_peers_are_answered_until_the_goodbye() {
    let (a, aggregator) = start(address(), 60_000).await;
    eventually("both ways are open", || aggregator.hellos().len() >= 2).await;
    a.until_metric("meshprobe_prober_assignment_generation", &[], 1)
        .await;
    // Nothing is acknowledged, so that the drain takes its time.
    aggregator.silence(Overlay);
    aggregator.silence(Underlay);
    a.ask_to_stop();
    let peer = UdpSocket::bind((address(), 0)).unwrap();
    peer.set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let ip = a.ip;
    let answered = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(300));
        peer.send_to(&request(Some(Ssid(2))), (ip, PORT)).unwrap();
        peer.recv(&mut [0; 64])
    });
    assert_eq!(
        answered.await.unwrap().unwrap(),
        44,
        "still answered while it drains"
    );
    assert!(!aggregator.names(Overlay).contains(&"goodbye"));
    aggregator.acknowledge(u64::MAX);
    a.stop().await;
    for way in [Overlay, Underlay] {
        assert_eq!(aggregator.names(way).last(), Some(&"goodbye"), "{way:?}");
        assert!(aggregator.ended().contains(&way));
    }
    let late = UdpSocket::bind((address(), 0)).unwrap();
    late.connect((ip, PORT)).unwrap();
    late.send(&request(Some(Ssid(2)))).unwrap();
    late.set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    assert!(late.recv(&mut [0; 64]).is_err(), "nobody is there any more");
}
