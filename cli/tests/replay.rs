//! `meshprobe replay`: without an aggregator, on files as they come out of one, and on others.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use meshprobe_core::dark::NodeState;
use meshprobe_core::diagnosis::{
    CellPicture, Columns, DiagnosisConfig, LayerPicture, NodePicture, Picture, RowPicture,
    Topology, TopologyNode, diagnose,
};
use meshprobe_core::finding::{Finding, Pattern, Scope};
use meshprobe_core::ids::{NodeName, ZoneIndex};
use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_core::time::Moment;
use meshprobe_core::verdict::Verdict;
use meshprobe_proto::bundle::{Bundle, Manifest, PicturePacker, write};
use serde_json::{Value, json};

const NODES: usize = 6;

/// Six nodes of which one cannot be reached from the third picture on.
fn pictures() -> Vec<Picture> {
    let node = |number: usize| TopologyNode {
        name: NodeName::try_from(format!("mesh-{number}")).expect("a name"),
        zone: ZoneIndex(1),
        lifecycle: Lifecycle::Active,
        is_warming_up: false,
        addresses: Vec::new(),
    };
    let topology = Arc::new(Topology {
        nodes: (0..NODES).map(|number| Some(node(number))).collect(),
        zones: vec![String::new(), "zone-a".to_owned()],
    });
    let cell = |source: usize, target: usize, is_broken: bool| {
        if source == target {
            return CellPicture::NOT_SAMPLED;
        }
        let is_lost = is_broken && target == 3;
        let lost = if is_lost { 20 } else { 0 };
        CellPicture {
            verdict: if is_lost {
                Verdict::Down
            } else {
                Verdict::Healthy
            },
            failure: is_lost.then_some(OutcomeClass::Timeout),
            consecutive_losses: lost as u8,
            sent: 20,
            lost,
            slot_lost: [lost / 2; 2],
            received: Some(20 - lost),
            long_sent: 80.0,
            long_lost: 2.0 * f32::from(lost),
            long_received: Some(80.0 - 2.0 * f32::from(lost)),
            rtt: (!is_lost).then_some(Duration::from_micros(400)),
            rtt_baseline: Some(Duration::from_micros(400)),
            ..CellPicture::NOT_SAMPLED
        }
    };
    let known = NodePicture {
        state: NodeState::Ok,
        is_reporting: true,
        ..NodePicture::UNKNOWN
    };
    let picture = |number: u64| {
        let is_broken = number >= 2;
        let row = |source| {
            let cells = (0..NODES).map(|target| cell(source, target, is_broken));
            Some(Arc::new(RowPicture::dense(cells.collect(), Vec::new())))
        };
        Picture {
            known: Arc::default(),
            now: Moment::from_millis(1000 + 5000 * number),
            topology: Arc::clone(&topology),
            layers: vec![LayerPicture {
                layer: Layer {
                    kind: ProbeKind::Udp,
                    plane: Plane::Pod,
                    family: Family::V4,
                },
                interval: Duration::from_millis(500),
                columns: Columns::Nodes,
                rows: (0..NODES).map(row).collect(),
            }],
            nodes: vec![known.clone(); NODES],
            traces: Vec::new(),
        }
    };
    (0..5).map(picture).collect()
}

/// The file of these pictures, each with what `then` says was found in it.
fn file(then: impl Fn(&Picture) -> Vec<Finding>) -> Vec<u8> {
    let mut packing = PicturePacker::default();
    let mut packed = Vec::new();
    for picture in pictures() {
        let at = Timestamp::from_second(1_795_921_800).expect("a time")
            + Duration::from_millis(picture.now.as_millis());
        packed.push(packing.pack(at, &picture, then(&picture).into()));
    }
    let bundle = Bundle {
        manifest: Manifest::new("7c1f", Timestamp::UNIX_EPOCH, env!("CARGO_PKG_VERSION")),
        incident: json!({"id": "7c1f"}),
        pictures: packed,
    };
    write(&bundle, Vec::new()).expect("written")
}

/// A file that goes with the test.
struct Saved(PathBuf);

impl Saved {
    fn new(name: &str, octets: &[u8]) -> Self {
        let name = format!("meshprobe-replay-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, octets).expect("saved");
        Self(path)
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

fn replay(path: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meshprobe"))
        .arg("replay")
        .arg(path)
        .args(more)
        .output()
        .expect("runs")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).expect("text")
}

fn found(picture: &Picture) -> Vec<Finding> {
    diagnose(picture, &DiagnosisConfig::default()).findings
}

#[test]
fn what_was_found_then_is_found_again() {
    let saved = Saved::new("same", &file(found));
    let output = replay(&saved.0, &[]);
    let told = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{told}{}",
        text(&output.stderr)
    );
    assert!(
        told.contains("The same was found then, in all of 5 pictures."),
        "{told}"
    );
    let json = replay(&saved.0, &["-o", "json"]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["incident"], "7c1f");
    assert_eq!((&json["same"], &json["different"]), (&json!(5), &json!(0)));
    let findings: Vec<usize> = json["pictures"]
        .as_array()
        .expect("pictures")
        .iter()
        .map(|picture| picture["findings"].as_array().expect("findings").len())
        .collect();
    let expected: Vec<usize> = pictures()
        .iter()
        .map(|picture| found(picture).len())
        .collect();
    assert_eq!(findings, expected);
}

#[test]
fn what_was_found_then_and_is_not_found_now_is_told_and_ends_with_2() {
    let invented = |picture: &Picture| {
        let mut findings = found(picture);
        findings.push(Finding::new(
            Pattern::DnsUpstream,
            Scope::everywhere(),
            "invented",
        ));
        findings
    };
    let saved = Saved::new("different", &file(invented));
    let output = replay(&saved.0, &[]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("found then, not now: dns-upstream"), "{told}");
    assert!(
        told.contains("In 5 of 5 pictures something else was found then."),
        "{told}"
    );
}

#[test]
fn a_file_of_something_else_a_damaged_one_and_none_are_refused_in_words() {
    let good = file(found);
    let cases = [
        (
            "foreign",
            b"PK\x03\x04 no bundle".to_vec(),
            "this is no meshprobe bundle",
        ),
        ("cut", good[..good.len() - 20].to_vec(), "damaged"),
        ("empty", Vec::new(), "this is no meshprobe bundle"),
    ];
    for (name, octets, why) in cases {
        let saved = Saved::new(name, &octets);
        let output = replay(&saved.0, &[]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {told}");
        assert!(told.contains(why), "{name}: {told}");
    }
    let output = replay(Path::new("/nonexistent/bundle"), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("open /nonexistent/bundle"));
}
