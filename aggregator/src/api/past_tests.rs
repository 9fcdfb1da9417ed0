//! Findings of the past out of a real history, with its thread and its file.

use meshprobe_core::{
    diagnosis::{Diagnosis, NodePicture, Picture, Topology, TopologyNode},
    finding::{Estimate, Finding, Pattern, Scope},
    ids::{NodeName, ZoneIndex},
    lifecycle::Lifecycle,
    time::Moment,
};
use meshprobe_daemon::tasks::Tasks;

use super::*;
use crate::{
    history::{History, HistoryMetrics, HistorySettings},
    notify::tests::incident,
    pipeline::{Diagnosed, Shot},
};

fn name(number: usize) -> NodeName {
    NodeName::try_from(format!("n-{number}")).unwrap()
}

/// Two nodes in two zones; a tenth of what goes from the first to the second is lost.
fn diagnosed(at: Timestamp) -> Diagnosed {
    let node = |number: usize| {
        Some(TopologyNode {
            name: name(number),
            zone: ZoneIndex(1 + number as u16),
            lifecycle: Lifecycle::Active,
            is_warming_up: false,
            addresses: Vec::new(),
        })
    };
    let picture = Picture {
        known: Arc::default(),
        now: Moment::from_millis(60_000),
        topology: Arc::new(Topology {
            nodes: (0..2).map(node).collect(),
            zones: ["", "zone-a", "zone-b"].map(str::to_owned).to_vec(),
        }),
        layers: Vec::new(),
        nodes: vec![NodePicture::UNKNOWN; 2],
        traces: Vec::new(),
    };
    let finding = Finding {
        loss: Some(Estimate::of(10, 100)),
        since: Some(Moment::from_millis(20_000)),
        ..Finding::new(
            Pattern::Path,
            Scope::path(name(0), name(1)),
            "n-0→n-1 loses 10 %",
        )
    };
    Diagnosed {
        shot: Shot {
            number: 1,
            picture: Arc::new(picture),
            at,
        },
        diagnosis: Arc::new(Diagnosis {
            findings: vec![finding],
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_of_a_past_moment_come_from_the_history_and_what_is_not_kept_is_an_error() {
    let folder = std::env::temp_dir().join(format!("meshprobe-past-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let settings = HistorySettings {
        path: folder.join("history.db"),
        keep: [std::time::Duration::from_secs(86_400); 3],
        keep_pictures: std::time::Duration::from_secs(86_400),
        max_octets: 1 << 30,
        pending_octets: 1 << 20,
        picture_span: std::time::Duration::from_secs(60),
        picture_octets: 1 << 20,
        bundle_octets: 1 << 20,
    };
    let played = tests::play();
    // Lately, for windows of a day ago have been merged; and where windows of every length begin.
    let window = (Timestamp::now().as_second().div_euclid(600) - 1) * 600;
    let after = |into: i64| Timestamp::from_second(window + into).unwrap();
    let began = after(4);
    let api = played.api.clone();
    api.incidents.put(incident("n-1", began));
    let (pictures_tx, pictures) = tokio_watch::channel(None);
    let metrics = HistoryMetrics::default();
    let (history, past) = History::new(settings, pictures, &api.incidents, metrics);
    let mut tasks = Tasks::new();
    history.spawn(&mut tasks);
    let api = Api {
        history: past,
        ..api
    };
    pictures_tx.send_replace(Some(diagnosed(began)));

    let at = after(7);
    let all = v1::ListFindingsRequest::default();
    // The window is over as soon as the thread looks at the clock.
    let mut found = api.findings_at(&all, at).await;
    for _ in 0..100 {
        if found.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        found = api.findings_at(&all, at).await;
    }
    let found = found.unwrap();
    let window = found.window.as_ref().unwrap();
    assert_eq!(window.resolution_seconds, 10);
    assert_eq!(found.at, window.end);
    assert_eq!(found.incomplete_reason, "");
    let [dark, path] = &found.findings[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (dark.pattern.as_str(), dark.has_incident),
        ("node-dark", true)
    );
    assert_eq!(dark.zones, ["zone-b"], "as it was then");
    assert_eq!((path.pattern.as_str(), path.has_incident), ("path", false));
    assert_eq!(path.scope, "n-0→n-1");
    assert_eq!(path.summary, "n-0→n-1 loses 10 %");
    assert_eq!(path.loss.as_ref().unwrap().lost, 10);
    assert_eq!(path.confidence(), v1::Confidence::Likely);
    assert_eq!(path.since.unwrap().seconds, began.as_second() - 40);
    assert!(path.first_actions[0].contains("mtr -rwc 10 n-1"));

    let of = async |request: v1::ListFindingsRequest| api.findings_at(&request, at).await;
    let named = |found: v1::ListFindingsResponse| -> Vec<String> {
        let findings = found.findings.into_iter();
        findings.map(|one| one.pattern).collect()
    };
    let zone = v1::ListFindingsRequest {
        zone: "zone-a".to_owned(),
        ..all.clone()
    };
    assert_eq!(named(of(zone).await.unwrap()), ["path"]);
    let critical = v1::ListFindingsRequest {
        severity: v1::Severity::Critical.into(),
        ..all.clone()
    };
    assert_eq!(named(of(critical).await.unwrap()), ["node-dark"]);
    let first = v1::ListFindingsRequest {
        page_size: 1,
        ..all.clone()
    };
    let page = of(first.clone()).await.unwrap();
    let second = v1::ListFindingsRequest {
        page_token: page.next_page_token.clone(),
        ..first
    };
    assert_eq!(named(page), ["node-dark"]);
    assert_eq!(named(of(second).await.unwrap()), ["path"]);
    let stranger = v1::ListFindingsRequest {
        node: "n-7".to_owned(),
        ..all.clone()
    };
    let why = of(stranger).await.unwrap_err().to_string();
    assert!(why.contains("was called"), "{why}");
    for (moment, word) in [
        (after(-60), "history begins at"),
        (after(15), "nothing was recorded"),
    ] {
        let error = api.findings_at(&all, moment).await;
        let error = error.unwrap_err();
        assert!(matches!(error, ApiError::NotFound(_)), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    }
    drop(pictures_tx);
    std::fs::remove_dir_all(&folder).unwrap();
}
