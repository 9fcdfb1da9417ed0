//! The stream between probers and aggregator: what either side sends, decoded and checked.

use meshprobe_core::detail::{Detail, MtuDetail};
use meshprobe_core::ids::TargetNumber;
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_core::rtt::RttCode;
use meshprobe_core::window::Summary;
use meshprobe_prober::assignment::TargetSet;
use meshprobe_proto::report::{self, BlockBuilder};
use meshprobe_proto::v1;
use prost::Message as _;

use super::Target;

pub(super) const FROM_PROBER: Target = Target {
    name: "prober-message",
    summary: "reports, dictionaries, host facts: whatever a prober may send to the aggregator",
    samples: from_prober,
    reader: || {
        Box::new(|octets| {
            let Ok(message) = v1::ProberMessage::decode(octets) else {
                return Ok(false);
            };
            let Some(v1::prober_message::Message::Report(sent)) = message.message else {
                return Ok(false);
            };
            let Ok(admitted) = report::admit(&sent) else {
                return Ok(false);
            };
            for (layer, rows) in admitted.blocks() {
                for row in rows {
                    if row.summary.replied > row.summary.sent {
                        return Err(format!("more replies than probes in {layer}"));
                    }
                }
            }
            for (layer, _, detail) in admitted.details() {
                if !detail.fits(layer.kind) {
                    return Err(format!("a detail of another kind in {layer}"));
                }
            }
            Ok(true)
        })
    },
};

pub(super) const FROM_AGGREGATOR: Target = Target {
    name: "aggregator-message",
    summary: "assignments: whatever an aggregator may send to a prober",
    samples: from_aggregator,
    reader: || {
        Box::new(|octets| {
            let Ok(message) = v1::AggregatorMessage::decode(octets) else {
                return Ok(false);
            };
            let Some(v1::aggregator_message::Message::Assignment(assignment)) = message.message
            else {
                return Ok(false);
            };
            Ok(TargetSet::try_from(assignment).is_ok())
        })
    },
};

fn from_prober() -> Vec<Vec<u8>> {
    let layer = |kind| Layer {
        kind,
        plane: Plane::Pod,
        family: Family::V4,
    };
    let code = RttCode::from_octet;
    let summary = Summary {
        sent: 10,
        replied: 8,
        received: 9,
        rtt_min: code(20),
        rtt_median: code(30),
        rtt_max: code(40),
        ..Summary::default()
    };
    let mut udp = BlockBuilder::new(layer(ProbeKind::Udp));
    let mut mtu = BlockBuilder::new(layer(ProbeKind::Mtu));
    for number in 0..5 {
        udp.push(
            TargetNumber(number),
            &summary,
            &[(OutcomeClass::Refused, 2)],
            None,
        );
        mtu.push(TargetNumber(number), &summary, &[], None);
        mtu.attach(&Detail::Mtu(MtuDetail {
            forward: 1_450,
            ..MtuDetail::default()
        }));
    }
    let report = v1::Report {
        incarnation: 1,
        sequence: 1,
        window_millis: 10_000,
        blocks: vec![udp.finish(), mtu.finish()],
        self_health: Some(v1::SelfHealth::default()),
        ..v1::Report::default()
    };
    let facts = v1::HostFacts {
        kernel: "6.1.0".to_owned(),
        routes: vec!["10.244.1.0/24 dev cni0".to_owned()],
        ..v1::HostFacts::default()
    };
    let messages = [
        v1::prober_message::Message::Report(report),
        v1::prober_message::Message::HostFacts(facts),
    ];
    messages
        .map(|message| v1::ProberMessage {
            message: Some(message),
        })
        .map(|message| message.encode_to_vec())
        .to_vec()
}

fn from_aggregator() -> Vec<Vec<u8>> {
    let peer = |number: u32| v1::PeerTarget {
        node: format!("mesh-{number}"),
        ssid: number,
        addresses: vec![v1::Address {
            plane: v1::Plane::Pod.into(),
            ip: format!("10.244.{number}.2"),
            udp_port: 4_862,
            tcp_port: 4_862,
            quic_port: 4_863,
        }],
        phase: 1,
        answer_only: false,
        quic: true,
    };
    let external = |kind: v1::ProbeKind| v1::ExternalTarget {
        name: "shop".to_owned(),
        kind: kind.into(),
        address: "shop.example.com:443".to_owned(),
        url: "https://shop.example.com/".to_owned(),
        ..v1::ExternalTarget::default()
    };
    let assignment = v1::Assignment {
        generation: 1,
        ssid: 1,
        peers: (2..6).map(peer).collect(),
        dns: vec![v1::DnsTarget {
            server: "vip".to_owned(),
            address: "10.96.0.10:53".to_owned(),
            name: "kubernetes.default.svc.cluster.local.".to_owned(),
            expected_rcode: 0,
            plane: v1::Plane::Service.into(),
        }],
        report_interval_millis: 10_000,
        stamp_keys: vec![b"the secret of this very mesh".to_vec()],
        external: vec![external(v1::ProbeKind::Tls), external(v1::ProbeKind::Http)],
        ..v1::Assignment::default()
    };
    let message = v1::AggregatorMessage {
        message: Some(v1::aggregator_message::Message::Assignment(assignment)),
    };
    vec![message.encode_to_vec()]
}
