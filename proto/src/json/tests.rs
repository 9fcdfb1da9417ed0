//! The mapping against the rules of protobuf.dev/programming-guides/json, on messages of the contract.

use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MessageOptions,
    field_descriptor_proto::{Label, Type},
};
use serde_json::json;

use super::*;

fn written(message: &impl Name) -> Value {
    JsonWriter::new().unwrap().write(message).unwrap()
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
        written(&status),
        json!({
            "version": "1.2.3",
            "startedAt": "2026-01-01T00:00:00Z",
            "judging": false,
            "notJudgingReason": "",
            "nodes": 3,
            "nodesReporting": 0,
            "openIncidents": 0,
            "silencedIncidents": 0,
            "findings": 0,
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
    let json = written(&matrix);
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
    assert!(written(&cell(None)).get("received").is_none());
    assert_eq!(written(&cell(Some(0)))["received"], 0);
}

#[test]
fn numbers_that_json_has_no_word_for_are_strings() {
    let cell = v1::Cell {
        loss_lower: f64::NAN,
        loss_upper: f64::INFINITY,
        rtt_min_seconds: 0.25,
        ..v1::Cell::default()
    };
    let json = written(&cell);
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
    assert_eq!(written(&cell)["verdict"], 77);
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
        assert_eq!(written(&incident)["openedAt"], text);
    }
    let before = v1::Incident {
        opened_at: Some(at(-1, 250_000_000)),
        ..v1::Incident::default()
    };
    assert_eq!(written(&before)["openedAt"], "1969-12-31T23:59:59.250Z");
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
    let json = written(&node);
    assert_eq!(json["labels"], json!({"zone": "a", "empty": ""}));
    assert_eq!(json["addresses"], json!(["10.0.0.1", "fd00::1"]));
    assert_eq!(written(&v1::Node::default())["labels"], json!({}));
}

#[test]
fn packed_numbers_and_maps_of_numbers_are_read_back() {
    let block = v1::Block {
        target_delta: vec![0, 1, 300],
        ..v1::Block::default()
    };
    assert_eq!(written(&block)["targetDelta"], json!([0, 1, 300]));
    let facts = v1::HostFacts {
        link_mtu: [("eth0".to_owned(), 1500)].into(),
        ..v1::HostFacts::default()
    };
    assert_eq!(written(&facts)["linkMtu"], json!({"eth0": 1500}));
}

#[test]
fn a_member_of_a_oneof_is_written_only_if_it_is_set() {
    let entry = v1::DictionaryEntry {
        number: 4,
        target: Some(v1::dictionary_entry::Target::Node("a".to_owned())),
    };
    assert_eq!(written(&entry), json!({"number": 4, "node": "a"}));
}

#[test]
fn a_time_that_rfc_3339_cannot_write_is_refused() {
    let opened = |seconds, nanos| {
        JsonWriter::new().unwrap().write(&v1::Incident {
            opened_at: Some(at(seconds, nanos)),
            ..v1::Incident::default()
        })
    };
    assert_eq!(
        opened(-62_135_596_800, 0).unwrap()["openedAt"],
        "0001-01-01T00:00:00Z"
    );
    assert_eq!(
        opened(253_402_300_799, 999_999_999).unwrap()["openedAt"],
        "9999-12-31T23:59:59.999999999Z"
    );
    for (seconds, nanos) in [
        (-62_135_596_801, 0),
        (253_402_300_800, 0),
        (i64::MIN, 0),
        (0, -1),
        (0, 1_000_000_000),
    ] {
        assert_eq!(
            opened(seconds, nanos),
            Err(JsonError::NoSuchTime { seconds, nanos })
        );
    }
}

#[test]
fn only_messages_of_the_contract_are_written() {
    let writer = JsonWriter::new().unwrap();
    assert_eq!(
        writer.write(&prost_types::Duration::default()),
        Err(JsonError::Unknown {
            name: "google.protobuf.Duration".to_owned()
        })
    );
}

#[test]
fn a_number_in_single_precision_has_its_own_digits() {
    for (number, expected) in [
        (0.1, json!(0.1)),
        (-2.5e-7, json!(-2.5e-7)),
        (f32::MAX, json!(3.402_823_5e38)),
        (f32::NAN, json!("NaN")),
        (f32::NEG_INFINITY, json!("-Infinity")),
    ] {
        assert_eq!(single(number), expected);
    }
}

/// Descriptors of `t.Outer`, a map `of` from numbers to the message `of_type`, which the contract has none of.
fn descriptors(of_type: &str) -> Vec<u8> {
    let field = |name: &str, number, label: Label, r#type: Type, type_name: Option<&str>| {
        FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            label: Some(label.into()),
            r#type: Some(r#type.into()),
            type_name: type_name.map(str::to_owned),
            ..FieldDescriptorProto::default()
        }
    };
    let message = |name: &str, field| DescriptorProto {
        name: Some(name.to_owned()),
        field,
        ..DescriptorProto::default()
    };
    let entry = DescriptorProto {
        options: Some(MessageOptions {
            map_entry: Some(true),
            ..MessageOptions::default()
        }),
        ..message(
            "OfEntry",
            vec![
                field("key", 1, Label::Optional, Type::Int64, None),
                field("value", 2, Label::Optional, Type::Message, Some(of_type)),
            ],
        )
    };
    let outer = DescriptorProto {
        nested_type: vec![entry],
        ..message(
            "Outer",
            vec![field(
                "of",
                1,
                Label::Repeated,
                Type::Message,
                Some(".t.Outer.OfEntry"),
            )],
        )
    };
    let inner = message(
        "Inner",
        vec![field("some_count", 1, Label::Optional, Type::Uint32, None)],
    );
    FileDescriptorSet {
        file: vec![FileDescriptorProto {
            package: Some("t".to_owned()),
            message_type: vec![outer, inner],
            ..FileDescriptorProto::default()
        }],
    }
    .encode_to_vec()
}

#[test]
fn a_value_in_a_map_of_messages_is_written_also_if_it_is_empty() {
    let writer = JsonWriter::from_descriptors(&descriptors(".t.Inner")).unwrap();
    let outer = writer.schema.message("t.Outer").unwrap();
    // Two entries: {7: Inner {some_count: 3}} and one without a word on the wire.
    let bytes = [0x0a, 6, 0x08, 7, 0x12, 2, 0x08, 3, 0x0a, 0];
    assert_eq!(
        writer.object(outer, &bytes),
        Ok(json!({"of": {"7": {"someCount": 3}, "0": {"someCount": 0}}}))
    );
    for end in [1, 4, 7, 9] {
        assert_eq!(
            writer.object(outer, &bytes[..end]),
            Err(JsonError::Mismatch),
            "cut after {end}"
        );
    }
}

#[test]
fn messages_of_protobuf_that_have_a_json_form_of_their_own_are_refused() {
    let error = JsonWriter::from_descriptors(&descriptors(".google.protobuf.Duration"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("t.Outer.OfEntry.value"), "{error}");
}
