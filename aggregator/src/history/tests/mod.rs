mod world;

use std::time::Duration;

use meshprobe_core::{
    dark::NodeState,
    finding::{Finding, Pattern, Scope},
    verdict::Verdict,
};
use meshprobe_proto::bundle::{self, Limits};
use proptest::prelude::*;
use serde_json::json;

use super::{codec, record::WindowPacker, recorder::Recorder, window::merge, *};
use crate::{incident::Incident, notify::tests::incident};
use world::{Folder, UDP, World, at, down, healthy, with};

fn chronicle(folder: &Folder, second: i64) -> Chronicle {
    Chronicle::new(folder.settings(), HistoryMetrics::default(), at(second))
}

/// One picture a second, with a tick each, from `from` to `to`.
fn live(chronicle: &mut Chronicle, world: &World, from: i64, to: i64) {
    for second in from..to {
        chronicle.observe(&world.observed(second));
        chronicle.tick(at(second));
    }
    chronicle.tick(at(to));
}

fn verdict(past: &Past, source: usize, target: usize) -> Verdict {
    past.layers[0].window.verdict(source, target)
}

fn nothing(result: Result<Past, HistoryError>) -> String {
    match result {
        Err(HistoryError::Nothing(why)) => why,
        other => panic!("something is known: {other:?}"),
    }
}

/// What one window keeps of these worlds.
fn window(worlds: &[&World]) -> LayerWindow {
    let folder = Folder::new("window");
    let mut chronicle = chronicle(&folder, 0);
    for (second, world) in worlds.iter().enumerate() {
        chronicle.observe(&world.observed(second as i64));
    }
    chronicle.tick(at(10));
    let past = chronicle.at(at(0), Layers::One(UDP)).unwrap();
    past.layers[0].window.clone()
}

#[test]
fn what_was_healthy_is_healthy_and_silence_is_not() {
    let mut world = World::new(5);
    world.cut();
    world.cells[2][3] = with(Verdict::NoData);
    world.cells[3][4] = with(Verdict::NotSampled);
    let window = window(&[&world]);
    for row in 0..5 {
        for column in 0..5 {
            assert_eq!(
                window.verdict(row, column),
                world.cells[row][column].verdict,
                "{row} → {column}"
            );
        }
    }
    let plane = window.verdicts();
    assert_eq!(plane.len(), 25);
    assert!((0..25).all(|i| plane[i] == window.verdict(i / 5, i % 5) as u8));
    let counted = window.counts(0, 1).unwrap();
    assert_eq!(
        (counted.sent, counted.lost, counted.received),
        (20, 20, Some(0))
    );
    assert_eq!(window.counts(1, 0), None);
    // Row 0: three healthy paths and the dead one. Row 2 has one without data.
    assert_eq!(
        (
            window.rows[0].paths,
            window.rows[0].sent,
            window.rows[0].lost
        ),
        (4, 80, 20)
    );
    assert_eq!(window.rows[2].paths, 3);
    assert_eq!(window.columns[1].lost, 20);
    assert!(!window.rows[0].rtt_median.is_none());
    let zones: Vec<_> = window
        .zones
        .iter()
        .map(|zone| (zone.from.as_str(), zone.to.as_str(), zone.line.lost))
        .collect();
    assert_eq!(
        zones,
        [
            ("zone-a", "zone-a", 0),
            ("zone-a", "zone-b", 20),
            ("zone-b", "zone-a", 0),
            ("zone-b", "zone-b", 0)
        ]
    );
}

#[test]
fn what_was_down_for_a_second_is_down_in_its_window_and_in_no_other() {
    let folder = Folder::new("second");
    let mut chronicle = chronicle(&folder, 0);
    let mut world = World::new(4);
    live(&mut chronicle, &world, 0, 14);
    world.cut();
    live(&mut chronicle, &world, 14, 15);
    world.heal();
    live(&mut chronicle, &world, 15, 31);
    let look = |second| {
        let past = chronicle.at(at(second), Layers::One(UDP)).unwrap();
        let state = past.mesh.0.nodes[1].state;
        (verdict(&past, 0, 1), state, past.mesh.0.findings.len())
    };
    assert_eq!(look(5), (Verdict::Healthy, NodeState::Ok, 0));
    assert_eq!(look(11), (Verdict::Down, NodeState::Suspect, 1));
    assert_eq!(look(25), (Verdict::Healthy, NodeState::Ok, 0));
    let past = chronicle.at(at(19), Layers::None).unwrap();
    assert_eq!(past.span.start(), at(10));
    assert_eq!(past.span.end(), at(20));
    assert_eq!(past.mesh.0.nodes[1].failing_in, 1);
    assert_eq!(past.mesh.0.nodes[0].failing_out, 1);
    let since = past.mesh.0.findings[0].since_millis.unwrap();
    assert_eq!(Timestamp::from_millisecond(since).unwrap(), at(1));
}

#[test]
fn what_was_declared_and_what_was_found_stand_in_their_windows_with_their_incidents() {
    let folder = Folder::new("findings");
    let mut chronicle = chronicle(&folder, 0);
    let mut world = World::new(4);
    world.cut();
    live(&mut chronicle, &world, 0, 12);
    // The incident of what was found is one finding with it, and that of a dark node is one of its own.
    let found = &world.findings[0];
    world.open = vec![
        Incident::new(found.pattern, found.scope.clone(), at(12)),
        incident("n-3", at(13)),
    ];
    live(&mut chronicle, &world, 12, 14);
    world.heal();
    live(&mut chronicle, &world, 14, 25);
    world.open.clear();
    live(&mut chronicle, &world, 25, 700);
    let look = |second, resolution| {
        let past = chronicle.at_resolution(at(second), Layers::None, resolution);
        let findings = past.unwrap().mesh.0.findings.into_iter();
        findings
            .map(|one| {
                let finding = one.finding;
                let name = format!("{} {}", finding.pattern, finding.scope);
                (name, one.has_incident)
            })
            .collect::<Vec<_>>()
    };
    let path = |has| ("path n-0→n-1".to_owned(), has);
    let dark = ("node-dark n-3".to_owned(), true);
    assert_eq!(look(5, Resolution::Fine), [path(false)]);
    assert_eq!(look(15, Resolution::Fine), [path(true), dark.clone()]);
    assert_eq!(look(25, Resolution::Fine), std::slice::from_ref(&dark));
    assert_eq!(look(35, Resolution::Fine), []);
    for resolution in [Resolution::Minute, Resolution::Coarse] {
        assert_eq!(look(15, resolution), [path(true), dark.clone()]);
    }
    let past = chronicle.at(at(15), Layers::None).unwrap();
    let dark = &past.mesh.0.findings[1];
    assert_eq!(dark.since_millis, Some(at(13).as_millisecond()));
    assert_eq!(dark.finding.summary, "n-3 is dark");
    assert_eq!(dark.finding.evidence, ["no peer reaches it"]);
}

#[test]
fn findings_beyond_what_a_window_keeps_are_not_left_out_in_silence() {
    let folder = Folder::new("many");
    let mut chronicle = chronicle(&folder, 0);
    let mut world = World::new(3);
    let finding = |number: usize| {
        let scope = Scope::target(format!("t-{number}"));
        Finding::new(Pattern::External, scope, "it is down")
    };
    let kept = MeshWindow::MOST_FINDINGS;
    world.findings = (0..kept).map(finding).collect();
    live(&mut chronicle, &world, 0, 10);
    world.findings.push(finding(kept));
    live(&mut chronicle, &world, 10, 70);
    let look = |second, resolution| {
        let past = chronicle.at_resolution(at(second), Layers::None, resolution);
        let mesh = past.unwrap().mesh.0;
        (mesh.findings.len(), mesh.has_more_findings)
    };
    assert_eq!(look(5, Resolution::Fine), (kept, false));
    assert_eq!(look(15, Resolution::Fine), (kept, true));
    assert_eq!(look(15, Resolution::Minute), (kept, true));
}

#[test]
fn windows_are_rolled_up_and_the_finest_that_is_left_answers() {
    let folder = Folder::new("rolled");
    let mut chronicle = chronicle(&folder, 0);
    let mut world = World::new(4);
    live(&mut chronicle, &world, 0, 63);
    world.cut();
    live(&mut chronicle, &world, 63, 64);
    world.heal();
    live(&mut chronicle, &world, 64, 1800);
    let past = chronicle.at(at(65), Layers::All).unwrap();
    assert_eq!(
        past.span.resolution,
        Resolution::Minute,
        "ten seconds are kept for 1,200 s here"
    );
    assert_eq!(past.span.start(), at(60));
    assert_eq!(verdict(&past, 0, 1), Verdict::Down);
    assert_eq!(verdict(&past, 1, 0), Verdict::Healthy);
    assert_eq!(verdict(&past, 0, 0), Verdict::NotSampled);
    // Six windows of three paths with twenty probes each; the path was down in the picture of one window only.
    assert_eq!(past.layers[0].window.rows[1].sent, 6 * 3 * 20);
    assert_eq!(past.mesh.0.nodes[1].state, NodeState::Suspect);
    let past = chronicle.at(at(1700), Layers::All).unwrap();
    assert_eq!(past.span.resolution, Resolution::Fine);
    live(&mut chronicle, &world, 1800, 3800);
    let past = chronicle.at(at(65), Layers::All).unwrap();
    assert_eq!(past.span.resolution, Resolution::Coarse);
    assert_eq!(verdict(&past, 0, 1), Verdict::Down);
    assert_eq!(past.layers[0].window.rows[1].sent, 60 * 3 * 20);
}

#[test]
fn a_killed_process_keeps_its_history_and_the_next_one_marks_the_gap() {
    let folder = Folder::new("killed");
    let mut first = chronicle(&folder, 0);
    let mut world = World::new(4);
    world.cut();
    live(&mut first, &world, 0, 55);
    // As `kill -9` does it: nothing is finished.
    drop(first);
    world.heal();
    let mut second = chronicle(&folder, 200);
    live(&mut second, &world, 200, 260);
    let past = second.at(at(42), Layers::One(UDP)).unwrap();
    assert_eq!(
        (past.span.resolution, verdict(&past, 0, 1)),
        (Resolution::Fine, Verdict::Down)
    );
    let why = nothing(second.at(at(100), Layers::None));
    assert!(why.contains("gap") && why.contains("did not run"), "{why}");
    assert!(nothing(second.at(at(-5), Layers::None)).contains("history begins at"));
    assert!(nothing(second.at(at(10_000), Layers::None)).contains("history ends at"));
    // What the first one left unfinished is rolled up by the second one.
    live(&mut second, &world, 260, 2400);
    let past = second.at(at(42), Layers::One(UDP)).unwrap();
    assert_eq!(
        (past.span.resolution, verdict(&past, 0, 1)),
        (Resolution::Minute, Verdict::Down)
    );
}

#[test]
fn a_damaged_file_is_moved_aside_and_history_begins_anew() {
    let folder = Folder::new("damaged");
    std::fs::write(folder.0.join("history.db"), vec![7; 8192]).unwrap();
    let mut chronicle = chronicle(&folder, 0);
    live(&mut chronicle, &World::new(3), 0, 20);
    assert!(chronicle.at(at(5), Layers::None).is_ok());
    assert_eq!(
        std::fs::read(folder.0.join("history.db.damaged")).unwrap(),
        vec![7; 8192]
    );
    let why = nothing(chronicle.at(at(-5), Layers::None));
    assert!(why.contains("history begins at"), "{why}");
}

#[test]
fn beyond_its_size_the_oldest_goes_first() {
    let folder = Folder::new("size");
    let settings = HistorySettings {
        keep: [Duration::from_secs(86_400); 3],
        max_octets: 300_000,
        ..folder.settings()
    };
    let metrics = HistoryMetrics::default();
    let mut chronicle = Chronicle::new(settings, metrics.clone(), at(0));
    let mut world = World::new(40);
    world.cut();
    for second in (0..20_000).step_by(10) {
        chronicle.observe(&world.observed(second));
        chronicle.tick(at(second + 10));
    }
    let (octets, windows) = chronicle.size().unwrap();
    assert!(octets <= 300_000, "{octets}");
    assert!(windows > 100, "{windows}");
    assert!(metrics.deleted.get() > 1000, "{}", metrics.deleted.get());
    let why = nothing(chronicle.at(at(5), Layers::None));
    assert!(why.contains("history begins at"), "{why}");
    let past = chronicle.at(at(19_990), Layers::One(UDP)).unwrap();
    assert_eq!(verdict(&past, 0, 1), Verdict::Down);
}

#[test]
fn the_pictures_around_an_incident_survive_the_process() {
    let folder = Folder::new("pictures");
    let mut first = chronicle(&folder, 0);
    let mut world = World::new(4);
    live(&mut first, &world, 0, 300);
    world.cut();
    live(&mut first, &world, 300, 310);
    first.opened("path-1".to_owned(), at(310));
    live(&mut first, &world, 310, 400);
    drop(first);
    let second = chronicle(&folder, 500);
    let file = second
        .bundle("path-1", json!({"id": "path-1"}), at(500))
        .unwrap();
    let bundle = bundle::read(&file[..], Limits::default()).unwrap();
    assert_eq!(bundle.manifest.incident, "path-1");
    assert_eq!(bundle.incident, json!({"id": "path-1"}));
    // One in five seconds, from two minutes before to one minute after.
    let times: Vec<Timestamp> = bundle.pictures.iter().map(|picture| picture.at).collect();
    assert_eq!((times[0], times[times.len() - 1]), (at(190), at(370)));
    assert_eq!(times.len(), 37);
    for picture in &bundle.pictures {
        let is_cut = picture.at >= at(300);
        assert_eq!(picture.findings.len(), usize::from(is_cut));
        let verdict = picture.unpack().unwrap().layers[0].rows[0]
            .as_ref()
            .unwrap()
            .cells[1]
            .verdict;
        assert_eq!(verdict == Verdict::Down, is_cut);
    }
    let file = second.bundle("other", json!(null), at(500)).unwrap();
    let bundle = bundle::read(&file[..], Limits::default()).unwrap();
    assert_eq!(bundle.pictures.len(), 0);
    assert_eq!(
        bundle.manifest.remarks,
        ["no pictures were kept of this incident"]
    );
}

#[test]
fn merged_windows_have_the_names_of_all() {
    let (small, large) = (World::new(2), World::new(4));
    let merged = merge(&[window(&[&large]), window(&[&small])]);
    assert_eq!(merged.axes.sources.len(), 4);
    assert_eq!(merged.verdict(3, 0), Verdict::Healthy);
    assert_eq!(merged.rows[0].sent, 3 * 20 + 20);
    assert_eq!(merged.rows[3].sent, 3 * 20);
}

#[test]
fn a_window_of_no_picture_is_none() {
    let folder = Folder::new("none");
    let mut chronicle = chronicle(&folder, 0);
    let world = World::new(3);
    live(&mut chronicle, &world, 0, 20);
    chronicle.tick(at(40));
    live(&mut chronicle, &world, 41, 60);
    assert!(chronicle.at(at(15), Layers::None).is_ok());
    let why = nothing(chronicle.at(at(35), Layers::None));
    assert!(why.contains("nothing was recorded"), "{why}");
}

#[test]
fn parts_that_did_not_change_are_packed_once() {
    let mut recorder = Recorder::default();
    let mut world = World::new(6);
    recorder.observe(&world.observed(0));
    let first = recorder.observe(&world.observed(10));
    world.cells[0][1] = down();
    recorder.observe(&world.observed(12));
    let second = recorder.observe(&world.observed(20));
    let parts = |records: &[record::Record]| match &records[0] {
        record::Record::Layer { window, .. } => (window.axes.hash, window.sampled.hash),
        other => panic!("{other:?} is no layer"),
    };
    assert_eq!(parts(&first), parts(&second));
    assert_ne!(first[0], second[0]);
}

fn any_window() -> impl Strategy<Value = LayerWindow> {
    let cell = prop_oneof![
        4 => Just(healthy()),
        1 => Just(down()),
        1 => Just(with(Verdict::NoData)),
        1 => Just(with(Verdict::NotSampled)),
    ];
    prop::collection::vec(prop::collection::vec(cell, 4), 4).prop_map(|cells| {
        let mut world = World::new(4);
        world.cells = cells;
        let observed = world.observed(0);
        let layer = &observed.picture.layers[0];
        fold::layer_window(&observed.picture, layer, &fold::Worst::default())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_window_comes_back_as_it_was(window in any_window()) {
        let packed = WindowPacker::default().pack(UDP, &window);
        let axes = codec::unpack_axes(&packed.axes.body)?;
        let sampled = codec::unpack_sampled(&packed.sampled.body)?;
        let back = codec::unpack_window(axes.into(), sampled.into(), &packed.body)?;
        prop_assert_eq!(back, window);
    }

    #[test]
    fn a_merged_window_has_the_worst_of_each_path(windows in prop::collection::vec(any_window(), 1..4)) {
        let merged = merge(&windows);
        for row in 0..4 {
            for column in 0..4 {
                let worst = windows.iter().map(|window| window.verdict(row, column)).max();
                prop_assert_eq!(Some(merged.verdict(row, column)), worst);
            }
        }
    }

    #[test]
    fn damaged_octets_are_refused_or_read(octets: Vec<u8>, window in any_window()) {
        let packed = meshprobe_proto::pack::compress(&octets, 1);
        codec::unpack_axes(&packed).ok();
        codec::unpack_sampled(&packed).ok();
        codec::unpack_window(window.axes, window.sampled, &packed).ok();
    }
}
