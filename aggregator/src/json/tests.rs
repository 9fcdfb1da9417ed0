//! The mapping against the rules of protobuf.dev/programming-guides/json, on messages of the contract.

use meshprobe_proto::v1;
use serde_json::json;

use super::*;

fn written(name: &str, message: &impl Message) -> Value {
    let writer = JsonWriter::new(v1::FILE_DESCRIPTOR_SET).unwrap();
    writer
        .write(&format!("meshprobe.v1.{name}"), message)
        .unwrap()
}

fn at(seconds: i64, nanos: i32) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos }
}

#[test]
fn names_are_camel_case_enumerations_are_names_and_defaults_are_written() {
    let status = v1::Status {
        version: "1.2.3".to_owned(),
        started_at: Some(at(1_767_225_600, 0)),
        nodes: 3,
        paths: vec![v1::VerdictCount {
            verdict: v1::Verdict::Down.into(),
            count: u64::MAX,
        }],
        layers: vec![v1::Layer {
            kind: v1::ProbeKind::DnsUdp.into(),
            plane: v1::Plane::Service.into(),
            family: v1::Family::V6.into(),
        }],
        ..v1::Status::default()
    };
    assert_eq!(
        written("Status", &status),
        json!({
            "version": "1.2.3",
            "startedAt": "2026-01-01T00:00:00Z",
            "judging": false,
            "notJudgingReason": "",
            "nodes": 3,
            "nodesReporting": 0,
            "openIncidents": 0,
            // 64-bit integers do not fit into a JavaScript number.
            "paths": [{"verdict": "VERDICT_DOWN", "count": "18446744073709551615"}],
            "layers": [{"kind": "PROBE_KIND_DNS_UDP", "plane": "PLANE_SERVICE", "family": "FAMILY_V6"}],
            "notificationsPending": "0",
            "storeWritable": false,
        })
    );
}

#[test]
fn bytes_are_base64_with_padding() {
    let matrix = v1::Matrix {
        verdicts: vec![3, 7].into(),
        loss_percent: vec![0xff; 3].into(),
        ..v1::Matrix::default()
    };
    let json = written("Matrix", &matrix);
    assert_eq!(
        (&json["verdicts"], &json["lossPercent"], &json["rttMedian"]),
        (&json!("Awc="), &json!("////"), &json!(""))
    );
    assert_eq!(json["version"], "0");
    assert!(json.get("layer").is_none(), "an absent message is left out");
}

#[test]
fn an_absent_optional_number_is_left_out_and_a_zero_is_written() {
    let cell = |received| v1::Cell {
        received,
        ..v1::Cell::default()
    };
    assert!(written("Cell", &cell(None)).get("received").is_none());
    assert_eq!(written("Cell", &cell(Some(0)))["received"], 0);
}

#[test]
fn numbers_that_json_has_no_word_for_are_strings() {
    let cell = v1::Cell {
        loss_lower: f64::NAN,
        loss_upper: f64::INFINITY,
        rtt_min_seconds: 0.25,
        ..v1::Cell::default()
    };
    let json = written("Cell", &cell);
    assert_eq!(
        (&json["lossLower"], &json["lossUpper"]),
        (&json!("NaN"), &json!("Infinity"))
    );
    assert_eq!(
        (&json["rttMinSeconds"], &json["rttMaxSeconds"]),
        (&json!(0.25), &json!(0.0))
    );
}

#[test]
fn an_enumeration_that_this_version_does_not_know_is_its_number() {
    let cell = v1::Cell {
        verdict: 77,
        ..v1::Cell::default()
    };
    assert_eq!(written("Cell", &cell)["verdict"], 77);
}

#[test]
fn timestamps_have_as_many_digits_as_they_need() {
    for (nanos, text) in [
        (0, "2026-01-01T00:00:00Z"),
        (500_000_000, "2026-01-01T00:00:00.500Z"),
        (1_000, "2026-01-01T00:00:00.000001Z"),
        (1, "2026-01-01T00:00:00.000000001Z"),
    ] {
        let incident = v1::Incident {
            opened_at: Some(at(1_767_225_600, nanos)),
            ..v1::Incident::default()
        };
        assert_eq!(written("Incident", &incident)["openedAt"], text);
    }
    let before = v1::Incident {
        opened_at: Some(at(-1, 250_000_000)),
        ..v1::Incident::default()
    };
    assert_eq!(
        written("Incident", &before)["openedAt"],
        "1969-12-31T23:59:59.250Z"
    );
}

#[test]
fn maps_are_objects_and_lists_are_arrays() {
    let node = v1::Node {
        labels: [
            ("zone".to_owned(), "a".to_owned()),
            ("empty".to_owned(), String::new()),
        ]
        .into(),
        addresses: vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()],
        ..v1::Node::default()
    };
    let json = written("Node", &node);
    assert_eq!(json["labels"], json!({"zone": "a", "empty": ""}));
    assert_eq!(json["addresses"], json!(["10.0.0.1", "fd00::1"]));
    assert_eq!(written("Node", &v1::Node::default())["labels"], json!({}));
}

#[test]
fn packed_numbers_and_maps_of_numbers_are_read_back() {
    let block = v1::Block {
        target_delta: vec![0, 1, 300],
        ..v1::Block::default()
    };
    assert_eq!(written("Block", &block)["targetDelta"], json!([0, 1, 300]));
    let facts = v1::HostFacts {
        link_mtu: [("eth0".to_owned(), 1500)].into(),
        ..v1::HostFacts::default()
    };
    assert_eq!(
        written("HostFacts", &facts)["linkMtu"],
        json!({"eth0": 1500})
    );
}

#[test]
fn a_member_of_a_oneof_is_written_only_if_it_is_set() {
    let entry = v1::DictionaryEntry {
        number: 4,
        target: Some(v1::dictionary_entry::Target::Node("a".to_owned())),
    };
    assert_eq!(
        written("DictionaryEntry", &entry),
        json!({"number": 4, "node": "a"})
    );
}

#[test]
fn every_message_of_the_contract_has_a_shape() {
    let writer = JsonWriter::new(v1::FILE_DESCRIPTOR_SET).unwrap();
    for name in [
        "Status",
        "ListNodesResponse",
        "Matrix",
        "PathDetail",
        "ListIncidentsResponse",
        "Incident",
    ] {
        assert!(
            writer
                .schema
                .message(&format!("meshprobe.v1.{name}"))
                .is_some(),
            "{name}"
        );
    }
    assert!(
        writer
            .write("meshprobe.v1.Nothing", &v1::Status::default())
            .is_none()
    );
}
