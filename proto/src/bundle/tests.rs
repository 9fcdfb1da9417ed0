use std::{sync::Arc, time::Duration};

use meshprobe_core::{
    dark::NodeState,
    diagnosis::{
        CellPicture, Columns, HostFacts, LayerPicture, NodePicture, Picture, ProberPicture,
        RowPicture, SelfHealth, Topology, TopologyNode,
    },
    finding::{Finding, Pattern, Scope},
    ids::{NodeName, ZoneIndex},
    lifecycle::Lifecycle,
    path::{Family, Layer, Plane, ProbeKind},
    time::Moment,
    verdict::Verdict,
};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn node(number: usize) -> TopologyNode {
    TopologyNode {
        name: NodeName::try_from(format!("n-{number}")).unwrap(),
        zone: ZoneIndex(1),
        lifecycle: Lifecycle::Active,
        is_warming_up: false,
        addresses: Vec::new(),
    }
}

fn row(width: usize, lost: u16) -> Arc<RowPicture> {
    let cell = CellPicture {
        verdict: Verdict::Healthy,
        sent: 20,
        lost,
        received: Some(20),
        long_sent: 79.25,
        long_received: Some(79.25),
        rtt: Some(Duration::from_micros(431)),
        ..CellPicture::NOT_SAMPLED
    };
    Arc::new(RowPicture::dense(vec![cell; width], Vec::new()))
}

/// Pictures five seconds apart; in each one row is new.
fn pictures(nodes: usize, count: usize) -> Vec<Picture> {
    let topology = Arc::new(Topology {
        nodes: (0..nodes).map(|i| Some(node(i))).collect(),
        zones: vec![String::new(), "zone-a".to_owned()],
    });
    let facts = Arc::new(HostFacts {
        routes: vec!["10.244.3.0/24 via 10.244.3.0 dev flannel.1".to_owned()],
        ..HostFacts::default()
    });
    let known = NodePicture {
        state: NodeState::Ok,
        is_reporting: true,
        probers: vec![ProberPicture {
            plane: Plane::Pod,
            health: SelfHealth::default(),
            facts: Some(facts),
            changes: Vec::new(),
        }],
        ..NodePicture::UNKNOWN
    };
    let mut rows: Vec<_> = (0..nodes).map(|_| Some(row(nodes, 0))).collect();
    (0..count)
        .map(|number| {
            rows[number % nodes] = Some(row(nodes, number as u16));
            Picture {
                known: Arc::default(),
                now: Moment::from_millis(5000 * number as u64),
                topology: Arc::clone(&topology),
                layers: vec![LayerPicture {
                    layer: Layer {
                        kind: ProbeKind::Udp,
                        plane: Plane::Pod,
                        family: Family::V4,
                    },
                    interval: Duration::from_millis(500),
                    columns: Columns::Nodes,
                    rows: rows.clone(),
                }],
                nodes: vec![known.clone(); nodes],
                traces: Vec::new(),
            }
        })
        .collect()
}

fn at(picture: &Picture) -> Timestamp {
    Timestamp::from_millisecond(1_796_000_000_000 + picture.now.as_millis() as i64).unwrap()
}

fn packed(pictures: &[Picture]) -> Vec<PackedPicture> {
    let mut packer = PicturePacker::default();
    let findings: Arc<[Finding]> = Arc::new([Finding::new(
        Pattern::Path,
        Scope::everywhere(),
        "something is wrong",
    )]);
    pictures
        .iter()
        .map(|picture| packer.pack(at(picture), picture, Arc::clone(&findings)))
        .collect()
}

fn bundle(nodes: usize, count: usize) -> Bundle {
    Bundle {
        manifest: Manifest::new("path-1", Timestamp::UNIX_EPOCH, "0.1.0"),
        incident: json!({"id": "path-1"}),
        pictures: packed(&pictures(nodes, count)),
    }
}

fn written(bundle: &Bundle) -> Vec<u8> {
    write(bundle, Vec::new()).unwrap()
}

fn refused(octets: &[u8]) -> String {
    read(octets, Limits::default()).unwrap_err().to_string()
}

/// The lines of a file after a change, as a file.
fn changed(octets: &[u8], change: impl Fn(&mut Vec<String>)) -> Vec<u8> {
    let text = zstd::stream::decode_all(octets).unwrap();
    let mut lines: Vec<String> = String::from_utf8(text)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    change(&mut lines);
    zstd::stream::encode_all((lines.join("\n") + "\n").as_bytes(), 1).unwrap()
}

#[test]
fn pictures_come_back_as_they_were() {
    let original = pictures(7, 5);
    let bundle = bundle(7, 5);
    let back = read(&written(&bundle)[..], Limits::default()).unwrap();
    assert_eq!(back.manifest.pictures, 5);
    assert_eq!(back.incident, bundle.incident);
    assert_eq!(back.pictures.len(), 5);
    for (packed, picture) in back.pictures.iter().zip(&original) {
        assert_eq!(packed.at, at(picture));
        assert_eq!(packed.findings[0].pattern, Pattern::Path);
        assert_eq!(
            format!("{:?}", packed.unpack().unwrap()),
            format!("{picture:?}")
        );
    }
}

#[test]
fn a_row_that_did_not_change_is_there_once() {
    let text = zstd::stream::decode_all(&written(&bundle(7, 5))[..]).unwrap();
    let text = String::from_utf8(text).unwrap();
    let count = |kind: &str| {
        let start = format!("{{\"{kind}\"");
        text.lines().filter(|line| line.starts_with(&start)).count()
    };
    // Seven in the first picture, and one more in each of the four others.
    assert_eq!(count("row"), 7 + 4);
    assert_eq!(
        (count("topology"), count("facts"), count("columns")),
        (1, 1, 1)
    );
}

#[test]
fn what_is_something_else_is_called_so() {
    assert!(refused(b"").starts_with("this is no meshprobe bundle"));
    assert!(refused(b"PK\x03\x04 an archive").starts_with("this is no meshprobe bundle"));
    let json = zstd::stream::encode_all(&b"{\"a\": 1}\n"[..], 1).unwrap();
    assert!(refused(&json).starts_with("this is no meshprobe bundle"));
}

#[test]
fn another_version_is_named() {
    let octets = changed(&written(&bundle(2, 1)), |lines| {
        lines[0] = lines[0].replace("\"version\":1", "\"version\":7");
    });
    let text = refused(&octets);
    assert!(
        text.contains("version 7") && text.contains("0.1.0"),
        "{text}"
    );
}

#[test]
fn what_was_cut_off_or_changed_is_refused_with_its_line() {
    let octets = written(&bundle(3, 2));
    assert!(refused(&octets[..octets.len() - 1]).contains("damaged"));
    let mut flipped = octets.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    assert!(refused(&flipped).contains("damaged"));
    let missing = changed(&octets, |lines| {
        lines.remove(1);
    });
    assert!(refused(&missing).contains("lines are missing"));
    let without_end = changed(&octets, |lines| {
        lines.pop();
    });
    assert!(refused(&without_end).contains("ends too early"));
    let without_row = changed(&octets, |lines| {
        let row = lines.iter().position(|line| line.starts_with("{\"row\""));
        lines.remove(row.unwrap());
    });
    assert!(refused(&without_row).contains("a row that is not there"));
    let strange = changed(&octets, |lines| lines[1] = "{\"other\":{}}".to_owned());
    assert!(refused(&strange).contains("at line 2"));
}

#[test]
fn numbers_that_lead_nowhere_are_refused_before_the_diagnosis_follows_them() {
    let octets = written(&bundle(3, 1));
    let zone = changed(&octets, |lines| {
        for line in lines {
            *line = line.replace("\"zone\":1", "\"zone\":9");
        }
    });
    let read = read(&zone[..], Limits::default()).unwrap();
    assert_eq!(
        read.pictures[0].unpack().unwrap_err().to_string(),
        "there is a zone that has no name"
    );
}

#[test]
fn a_file_that_expands_without_end_is_refused() {
    let limits = Limits {
        line_octets: 10_000,
        expanded_octets: 100_000,
        kept_octets: 100_000,
    };
    let manifest = serde_json::to_string(&json!({"bundle": bundle(1, 1).manifest})).unwrap();
    let long = format!("{manifest}\n{}", "x".repeat(1_000_000));
    let octets = zstd::stream::encode_all(long.as_bytes(), 3).unwrap();
    assert!(octets.len() < 1000);
    let error = read(&octets[..], limits).unwrap_err();
    assert!(matches!(error, BundleError::TooLarge(_)), "{error}");
    let row = serde_json::to_string(&json!({"row": {"number": 1, "cells": "AAAA".repeat(1000)}}));
    let many = format!("{manifest}\n{}", (row.unwrap() + "\n").repeat(50));
    let octets = zstd::stream::encode_all(many.as_bytes(), 3).unwrap();
    let error = read(&octets[..], limits).unwrap_err();
    assert!(matches!(error, BundleError::TooLarge(_)), "{error}");
}

#[test]
fn a_series_keeps_its_span_within_its_octets() {
    let packed = packed(&pictures(5, 200));
    let mut all = Series::new(Duration::from_secs(300), usize::MAX);
    let mut tight = Series::new(Duration::from_secs(300), 20_000);
    for picture in &packed {
        all.push(picture.clone());
        tight.push(picture.clone());
        assert!(tight.octets() <= 20_000);
    }
    // 300 s at one in five seconds, both ends.
    assert_eq!(all.iter().len(), 61);
    assert_eq!(all.thinned(), 0);
    assert!(tight.thinned() > 0);
    let kept: Vec<u64> = tight.iter().map(|p| p.now.as_millis() / 1000).collect();
    assert!(kept.len() >= 8, "{kept:?}");
    assert_eq!(kept.last(), Some(&995));
    assert!(kept[0] <= 995 - 200, "{kept:?}");
    // Dense lately, sparse long ago.
    let (first, last) = (
        kept[1] - kept[0],
        kept[kept.len() - 1] - kept[kept.len() - 2],
    );
    assert!(first > last, "{kept:?}");
}

#[test]
fn the_octets_of_a_series_are_those_of_what_it_holds() {
    let mut series = Series::new(Duration::from_secs(60), usize::MAX);
    for picture in packed(&pictures(5, 100)) {
        series.push(picture);
    }
    let mut again = Series::new(Duration::from_secs(60), usize::MAX);
    for picture in series.iter() {
        again.push(picture.clone());
    }
    assert_eq!(series.octets(), again.octets());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_octets_are_refused(octets: Vec<u8>) {
        prop_assert!(read(&octets[..], Limits::default()).is_err());
    }

    #[test]
    fn changed_octets_are_refused_or_read(place: prop::sample::Index, octet: u8, cut: prop::sample::Index) {
        let mut octets = written(&bundle(3, 2));
        let place = place.index(octets.len());
        octets[place] = octet;
        read(&octets[..], Limits::default()).ok();
        octets.truncate(cut.index(octets.len()));
        prop_assert!(read(&octets[..], Limits::default()).is_err());
    }

    #[test]
    fn changed_text_is_refused_or_read(place: prop::sample::Index, octet: u8) {
        let text = zstd::stream::decode_all(&written(&bundle(3, 2))[..]).unwrap();
        let mut text = text;
        let place = place.index(text.len());
        text[place] = octet;
        let octets = zstd::stream::encode_all(&text[..], 1).unwrap();
        if let Ok(bundle) = read(&octets[..], Limits::default()) {
            for picture in &bundle.pictures {
                picture.unpack().ok();
            }
        }
    }
}
