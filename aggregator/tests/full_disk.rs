//! A full disk: alerts go on, and nothing is lost when there is room again.
//!
//! The test starts this program again in a mount namespace of its own (as a user namespace's root, so no privilege is
//! needed) with a file system of one megabyte.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use meshprobe_aggregator::{
    history::{Chronicle, HistoryError, HistoryMetrics, HistorySettings, Layers, Observed},
    incident::Transition,
    store::Store,
};
use meshprobe_core::{
    diagnosis::{NodePicture, Picture, Topology, TopologyNode},
    ids::{NodeName, ZoneIndex},
    lifecycle::Lifecycle,
    time::Moment,
};
use support::{Folder, Inbox, Way, any_port, dark, eventually, settings, webhook};

const SMALL_DISK: &str = "MESHPROBE_TEST_SMALL_DISK";

fn in_small_disk(test: &str) {
    let folder = Folder::new();
    let script = "mount -t tmpfs -o size=1m none \"$1\" && exec \"$2\" --exact \"$3\" --nocapture";
    let output = Command::new("unshare")
        .args([
            "--map-root-user",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(SMALL_DISK, folder.path())
        .output()
        .unwrap();
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{printed}");
    assert!(
        printed.contains("1 passed"),
        "the test did not run:\n{printed}"
    );
}

fn small_disk() -> Option<PathBuf> {
    std::env::var_os(SMALL_DISK).map(PathBuf::from)
}

/// Takes all the room there is.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = File::create(&path).unwrap();
    for size in [65_536, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    path
}

#[test]
fn alerts_go_on_while_the_disk_is_full_and_the_store_catches_up() {
    in_small_disk("inside_alerts_go_on");
}

#[tokio::test]
async fn inside_alerts_go_on() {
    let Some(disk) = small_disk() else {
        return assert!(std::env::var_os(SMALL_DISK).is_none());
    };
    let inbox = Inbox::default();
    let (listener, address) = any_port().await;
    let _serving = inbox.serve(listener);
    let way = Way::start(disk.join("a.db"), &[webhook("pager", address, "")]).unwrap();
    way.tell(Transition::Opened, dark("before")).await;
    inbox.wait_for(1).await;

    let filler = fill(&disk);
    // More than fits into what SQLite has reserved already.
    for number in 0..50 {
        way.tell(Transition::Opened, dark(&format!("during-{number}")))
            .await;
    }
    inbox.wait_for(51).await;
    let state = way.store.state();
    assert!(!state.is_writable());
    assert!(state.backlog > 0);
    assert_eq!(way.incidents.open_count(), 51);
    // The aggregator tells about itself as well.
    let own = inbox.wait_for(52).await.pop().unwrap().json();
    assert_eq!(own["commonLabels"]["alertname"], "StoreUnwritable");
    assert_eq!(own["status"], "firing");

    fs::remove_file(filler).unwrap();
    eventually("the store catches up", || way.store.state().is_writable()).await;
    assert_eq!(way.store.state().dropped, 0);
    let own = inbox.wait_for(53).await.pop().unwrap().json();
    assert_eq!(own["commonLabels"]["alertname"], "StoreUnwritable");
    assert_eq!(own["status"], "resolved");
    eventually("an empty outbox", || way.pending.count() == 0).await;
    way.stop().await;

    let (_, loaded) = Store::open(settings(disk.join("a.db"))).unwrap();
    assert_eq!(loaded.incidents.len(), 52, "every incident is on disk");
    assert_eq!(
        loaded.outbox.len(),
        0,
        "and so is that its notification was delivered"
    );
    assert_eq!(inbox.all().len(), 53);
}

#[test]
fn an_aggregator_starts_on_a_full_disk_and_knows_what_it_knew() {
    in_small_disk("inside_start_on_full_disk");
}

#[tokio::test]
async fn inside_start_on_full_disk() {
    let Some(disk) = small_disk() else {
        return assert!(std::env::var_os(SMALL_DISK).is_none());
    };
    let inbox = Inbox::default();
    let (listener, address) = any_port().await;
    let _serving = inbox.serve(listener);
    let hooks = [webhook("pager", address, "")];
    let way = Way::start(disk.join("a.db"), &hooks).unwrap();
    way.tell(Transition::Opened, dark("before")).await;
    inbox.wait_for(1).await;
    eventually("an empty outbox", || way.pending.count() == 0).await;
    way.stop().await;

    let filler = fill(&disk);
    let way = Way::start(disk.join("a.db"), &hooks).unwrap();
    assert!(!way.store.state().is_writable());
    assert_eq!(
        way.incidents.open_count(),
        1,
        "the open incident is remembered"
    );
    way.tell(Transition::Opened, dark("during")).await;
    inbox.wait_for(2).await;
    fs::remove_file(filler).unwrap();
    eventually("the store catches up", || way.store.state().is_writable()).await;
    way.stop().await;
    let (_, loaded) = Store::open(settings(disk.join("a.db"))).unwrap();
    assert_eq!(loaded.incidents.len(), 2);
}

#[test]
fn history_goes_on_in_memory_and_marks_what_did_not_fit() {
    in_small_disk("inside_history_goes_on");
}

/// 2026-11-29T03:10:00Z and so many windows of ten seconds.
fn window(number: i64) -> Timestamp {
    Timestamp::from_second(1_795_921_800).unwrap() + SignedDuration::from_secs(10 * number)
}

/// A mesh of three nodes that nothing is known of.
fn observed(number: i64) -> Observed {
    let node = |number: u8| TopologyNode {
        name: NodeName::try_from(format!("n-{number}")).unwrap(),
        zone: ZoneIndex(0),
        lifecycle: Lifecycle::Active,
        is_warming_up: false,
        addresses: Vec::new(),
    };
    Observed {
        at: window(number),
        picture: Arc::new(Picture {
            known: Arc::default(),
            now: Moment::from_millis(10_000 * number as u64),
            topology: Arc::new(Topology {
                nodes: (0..3).map(|number| Some(node(number))).collect(),
                zones: vec![String::new()],
            }),
            layers: Vec::new(),
            nodes: vec![NodePicture::UNKNOWN; 3],
            traces: Vec::new(),
        }),
        open: Vec::new().into(),
        findings: Arc::default(),
    }
}

#[test]
fn inside_history_goes_on() {
    let Some(disk) = small_disk() else {
        return assert!(std::env::var_os(SMALL_DISK).is_none());
    };
    let settings = HistorySettings {
        path: disk.join("history.db"),
        keep: [Duration::from_secs(86_400); 3],
        keep_pictures: Duration::from_secs(86_400),
        max_octets: 1 << 30,
        pending_octets: 50_000,
        picture_span: Duration::from_secs(600),
        picture_octets: 1 << 20,
        bundle_octets: 1 << 20,
    };
    let metrics = HistoryMetrics::default();
    let mut chronicle = Chronicle::new(settings.clone(), metrics, window(0));
    let live = |chronicle: &mut Chronicle, windows: std::ops::Range<i64>| {
        for number in windows {
            chronicle.observe(&observed(number));
            chronicle.tick(window(number + 1));
        }
    };
    let is_known = |chronicle: &Chronicle, number: i64| {
        chronicle
            .at(window(number), Layers::None)
            .is_ok_and(|past| past.span.start() == window(number))
    };
    live(&mut chronicle, 0..20);
    let filler = fill(&disk);
    live(&mut chronicle, 20..100);
    // What the disk refuses answers out of memory, beside what it took before.
    assert!((0..100).all(|number| is_known(&chronicle, number)));
    let on_disk = {
        let (_, windows) = chronicle.size().unwrap();
        windows
    };
    assert!(on_disk < 100, "{on_disk} rows on a full disk");
    // There is no room for so many.
    live(&mut chronicle, 100..1000);
    assert!(is_known(&chronicle, 5) && is_known(&chronicle, 999));
    let lost = (20..1000).find(|number| !is_known(&chronicle, *number));
    let lost = lost.expect("not all of them fit");

    fs::remove_file(filler).unwrap();
    live(&mut chronicle, 1000..1010);
    drop(chronicle);
    let chronicle = Chronicle::new(settings, HistoryMetrics::default(), window(1010));
    assert!(is_known(&chronicle, 5) && is_known(&chronicle, 999) && is_known(&chronicle, 1005));
    match chronicle.at(window(lost), Layers::None) {
        Err(HistoryError::Nothing(why)) => {
            assert!(
                why.contains("gap") && why.contains("no room in memory"),
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    }
}
