//! Streams and pages against a mesh that is played by hand, in virtual time.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use meshprobe_core::{
    diagnosis::{Diagnosis, Picture},
    finding::{Finding, Pattern, Scope},
    time::Moment,
};
use tokio::{sync::mpsc, task::JoinSet};

use super::*;
use crate::{
    history::HistoryHandle,
    incident::Incident,
    notify::tests::incident,
    pipeline::{Diagnosed, MeshRequest, PipelineMetrics, Shot},
    snapshot::{Judging, LayerSnapshot, PathEnd, Snapshot},
    store::{StoreHandle, StoreReader},
};

/// A mesh of one path whose matrix has the version that the test wants.
pub(super) struct Played {
    pub(super) api: Api,
    version: Arc<AtomicU64>,
    snapshots_tx: tokio_watch::Sender<Arc<Snapshot>>,
    _mesh: JoinSet<()>,
}

const LAYER: Layer = Layer {
    kind: ProbeKind::Udp,
    plane: Plane::Pod,
    family: Family::V4,
};

fn snapshot() -> Arc<Snapshot> {
    Arc::new(Snapshot::empty(Timestamp::UNIX_EPOCH, Judging::Active))
}

fn matrix(version: u64) -> Arc<LayerSnapshot> {
    let end = PathEnd {
        name: "a".to_owned(),
        zone: String::new(),
    };
    Arc::new(LayerSnapshot {
        layer: LAYER,
        at: Timestamp::UNIX_EPOCH,
        version,
        sources: Arc::new([end.clone()]),
        targets: Arc::new([end]),
        verdicts: Bytes::from_static(&[3]),
        rtt_median: Bytes::from_static(&[80]),
        loss_percent: Bytes::from_static(&[0]),
    })
}

pub(super) fn play() -> Played {
    let (requests, mut requests_rx) = mpsc::channel(8);
    let (snapshots_tx, snapshots) = tokio_watch::channel(snapshot());
    let version = Arc::new(AtomicU64::new(1));
    let current = Arc::clone(&version);
    let mut mesh = JoinSet::new();
    mesh.spawn(async move {
        while let Some(request) = requests_rx.recv().await {
            match request {
                MeshRequest::Layer { answer, .. } => {
                    answer
                        .send(Some(matrix(current.load(Ordering::Relaxed))))
                        .ok();
                }
                other => panic!("nobody asked for {other:?}"),
            }
        }
    });
    let api = Api {
        mesh: MeshHandle {
            requests,
            snapshots,
            shots: tokio_watch::channel(None).1,
            diagnosed: tokio_watch::channel(None).1,
            metrics: PipelineMetrics::default(),
        },
        incidents: Incidents::new(Vec::new()),
        silences: Silences::default(),
        writes: StoreHandle::of_nothing(),
        reader: StoreReader::new("/nonexistent/a.db".into()),
        history: HistoryHandle::of_nothing(),
        store: tokio_watch::channel(StoreState::default()).1,
        pending: Pending::default(),
        outbox: WeakOutbox::gone(),
        ledger: Ledger::default(),
        audience: tokio_watch::channel(Arc::default()).1,
        watchers: Watchers::new(1),
        started_at: Timestamp::UNIX_EPOCH,
        shutdown: Shutdown::new(),
    };
    Played {
        api,
        version,
        snapshots_tx,
        _mesh: mesh,
    }
}

#[tokio::test(start_paused = true)]
async fn a_matrix_is_sent_when_it_changed_and_not_more_often_than_asked() {
    let played = play();
    let interval = Duration::from_secs(2);
    let mut watch = Box::pin(played.api.watch_matrix(LAYER, interval).unwrap());
    assert_eq!(watch.next().await.unwrap().unwrap().version, 1);
    let started = tokio::time::Instant::now();

    // A snapshot in which this layer is as before is no news.
    played.snapshots_tx.send_replace(snapshot());
    tokio::time::timeout(10 * interval, watch.next())
        .await
        .unwrap_err();

    // Three changes inside one interval are one message.
    for version in 2..=4 {
        played.version.store(version, Ordering::Relaxed);
        played.snapshots_tx.send_replace(snapshot());
    }
    assert_eq!(watch.next().await.unwrap().unwrap().version, 4);
    let sent = tokio::time::Instant::now();
    assert!(sent.duration_since(started) >= interval);
    played.version.store(5, Ordering::Relaxed);
    played.snapshots_tx.send_replace(snapshot());
    assert_eq!(watch.next().await.unwrap().unwrap().version, 5);
    assert!(tokio::time::Instant::now().duration_since(sent) >= interval);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_a_word_at_shutdown_and_makes_room() {
    let played = play();
    let mut watch = Box::pin(played.api.watch_matrix(LAYER, Duration::ZERO).unwrap());
    watch.next().await.unwrap().unwrap();
    assert!(
        played.api.watch_incidents().is_err(),
        "one watcher is the limit here"
    );
    played.api.shutdown.trigger();
    assert_eq!(watch.next().await, Some(Err(ApiError::Stopping)));
    assert_eq!(watch.next().await, None);
    drop(watch);
    assert_eq!(played.api.watchers.open(), 0);
}

#[tokio::test]
async fn a_watcher_of_incidents_sees_the_open_ones_and_each_change_once() {
    let played = play();
    played
        .api
        .incidents
        .put(incident("a", Timestamp::UNIX_EPOCH));
    let mut watch = Box::pin(played.api.watch_incidents().unwrap());
    played
        .api
        .incidents
        .put(incident("b", Timestamp::UNIX_EPOCH));
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.extend(watch.next().await.unwrap().unwrap().nodes);
    }
    assert_eq!(nodes, ["a", "b"]);
    assert!(watch.next().now_or_never().is_none());
}

#[tokio::test]
async fn a_watcher_that_cannot_keep_up_is_told_how_much_it_missed() {
    let played = play();
    let mut watch = Box::pin(played.api.watch_incidents().unwrap());
    for number in 0..300 {
        played
            .api
            .incidents
            .put(incident(&format!("n{number}"), Timestamp::UNIX_EPOCH));
    }
    assert_eq!(
        watch.next().await,
        Some(Err(ApiError::Lagged { missed: 300 - 256 }))
    );
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn pages_of_incidents_meet_and_the_last_one_says_so() {
    let played = play();
    for number in 0..25 {
        let opened_at = Timestamp::from_second(number).unwrap();
        played
            .api
            .incidents
            .put(incident(&format!("n{number}"), opened_at));
    }
    let mut request = v1::ListIncidentsRequest {
        page_size: 10,
        ..v1::ListIncidentsRequest::default()
    };
    let mut sizes = Vec::new();
    let mut nodes = Vec::new();
    loop {
        let page = played.api.list_incidents(&request).unwrap();
        sizes.push(page.incidents.len());
        nodes.extend(
            page.incidents
                .into_iter()
                .flat_map(|incident| incident.nodes),
        );
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(sizes, [10, 10, 5]);
    let newest_first: Vec<String> = (0..25).rev().map(|number| format!("n{number}")).collect();
    assert_eq!(nodes, newest_first);
}

/// A run of the diagnosis that found this.
fn diagnosed(findings: Vec<Finding>) -> Diagnosed {
    let picture = Picture {
        known: Arc::default(),
        now: Moment::ORIGIN,
        topology: Arc::default(),
        layers: Vec::new(),
        nodes: Vec::new(),
        traces: Vec::new(),
    };
    Diagnosed {
        shot: Shot {
            number: 1,
            picture: Arc::new(picture),
            at: Timestamp::UNIX_EPOCH,
        },
        diagnosis: Arc::new(Diagnosis { findings }),
    }
}

#[tokio::test]
async fn what_is_wrong_is_what_the_diagnosis_found_and_what_was_declared_each_once() {
    let played = play();
    let mut api = played.api.clone();
    let shop = Finding::new(Pattern::External, Scope::target("shop"), "shop is down");
    let zones = Finding::new(
        Pattern::ZonePair,
        Scope::zones("x", "y"),
        "x and y are apart",
    );
    // The incident of a finding is the finding's; one whose finding is gone is not wrong any more.
    let put = |pattern, scope| {
        let incident = Incident::new(pattern, scope, Timestamp::UNIX_EPOCH);
        played.api.incidents.put(incident);
    };
    put(zones.pattern, zones.scope.clone());
    put(
        Pattern::Path,
        Scope::path("a".try_into().unwrap(), "b".try_into().unwrap()),
    );
    api.incidents.put(incident("a", Timestamp::UNIX_EPOCH));
    let nothing = v1::ListFindingsRequest::default();
    let before = api.list_findings(&nothing).unwrap();
    assert_eq!((before.at, before.findings.len()), (None, 1));

    api.mesh.diagnosed = tokio_watch::channel(Some(diagnosed(vec![shop, zones]))).1;
    let all = api.list_findings(&nothing).unwrap();
    let named = |found: &v1::ListFindingsResponse| -> Vec<String> {
        let findings = found.findings.iter();
        findings
            .map(|one| format!("{} {}", one.pattern, one.scope))
            .collect()
    };
    assert!(all.at.is_some());
    assert_eq!(
        all.findings[0].pattern, "node-dark",
        "the most serious first"
    );
    let mut sorted = named(&all);
    sorted.sort_unstable();
    assert_eq!(sorted, ["external shop", "node-dark a", "zone-pair x↔y"]);
    let has_incident = |pattern: &str| {
        let one = all.findings.iter().find(|one| one.pattern == pattern);
        one.unwrap().has_incident
    };
    assert!(has_incident("zone-pair") && has_incident("node-dark") && !has_incident("external"));

    let in_zone = v1::ListFindingsRequest {
        zone: "y".to_owned(),
        ..nothing.clone()
    };
    assert_eq!(
        named(&api.list_findings(&in_zone).unwrap()),
        ["zone-pair x↔y"]
    );
    let mut request = v1::ListFindingsRequest {
        page_size: 2,
        ..nothing
    };
    let first = api.list_findings(&request).unwrap();
    request.page_token.clone_from(&first.next_page_token);
    let second = api.list_findings(&request).unwrap();
    assert_eq!([named(&first), named(&second)].concat(), named(&all));
    assert_eq!(second.next_page_token, "");
    assert_eq!(api.status().findings, 3);
}
