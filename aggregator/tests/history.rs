//! The past of a whole process: the real binary is killed and started again; a disk is full and has room again.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use support::{
    Folder,
    process::{Aggregator, two_probers},
};

/// Asks until the window of a moment is over and written.
async fn at(aggregator: &Aggregator, path: &str, moment: Timestamp) -> Value {
    let mut last = Value::Null;
    for _ in 0..120 {
        let (status, answer) = aggregator.get(&format!("{path}at={moment}")).await;
        if status == 200 {
            return answer;
        }
        assert_eq!(status, 404, "{answer}");
        last = answer;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("nothing is known of {moment}: {last}");
}

#[tokio::test]
async fn the_past_survives_a_kill_and_the_time_without_a_process_is_a_gap() {
    let folder = Folder::new();
    let mut aggregator = Aggregator::start(&folder, "");
    let probers = two_probers(&aggregator).await;
    // The first picture is made within a second or two.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let moment = Timestamp::now();
    let nodes = at(&aggregator, "/api/v1/nodes?", moment).await;
    let names = |nodes: &Value| {
        let nodes = nodes["nodes"].as_array().unwrap().iter();
        nodes.map(|node| node["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&nodes), ["mesh-1", "mesh-2"]);
    assert_eq!(nodes["window"]["resolutionSeconds"], 10);
    let matrix = at(&aggregator, "/api/v1/matrix?", moment).await;
    assert_eq!(matrix["targets"], serde_json::json!(["mesh-1", "mesh-2"]));
    assert_eq!(matrix["sourceSums"].as_array().unwrap().len(), 2);
    assert_eq!(matrix["window"], nodes["window"]);
    let path = at(
        &aggregator,
        "/api/v1/path?source=mesh-1&target=mesh-2&",
        moment,
    )
    .await;
    assert_eq!(path["window"], nodes["window"]);
    // Nobody sends anything in this mesh, and nothing is found in that.
    let findings = at(&aggregator, "/api/v1/findings?", moment).await;
    assert_eq!(findings["window"], nodes["window"]);
    assert_eq!(findings["findings"], serde_json::json!([]));

    aggregator.child.kill().unwrap();
    aggregator.child.wait().unwrap();
    let killed = Timestamp::now();
    drop(probers);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let aggregator = Aggregator::start(&folder, "");
    assert_eq!(at(&aggregator, "/api/v1/nodes?", moment).await, nodes);
    assert_eq!(at(&aggregator, "/api/v1/matrix?", moment).await, matrix);
    for path in ["nodes", "findings"] {
        let (status, answer) = aggregator.get(&format!("/api/v1/{path}?at={killed}")).await;
        let why = answer["error"]["message"].as_str().unwrap();
        assert_eq!(status, 404, "{answer}");
        assert!(why.contains("gap") && why.contains("did not run"), "{why}");
    }
}

#[tokio::test]
async fn questions_about_the_past_that_make_no_sense_are_refused_in_words() {
    let folder = Folder::new();
    let aggregator = Aggregator::start(&folder, "");
    let refused = async |path: &str| {
        let (status, answer) = aggregator.get(path).await;
        (
            status,
            answer["error"]["message"].as_str().unwrap().to_owned(),
        )
    };
    let (status, why) = refused("/api/v1/matrix?at=yesterday").await;
    assert_eq!(status, 400);
    assert!(why.contains("2026-11-29T03:10:00Z"), "{why}");
    let (status, why) = refused("/api/v1/nodes?at=2020-01-01T00:00:00Z").await;
    assert_eq!(status, 404);
    assert!(why.contains("history"), "{why}");
    let (status, _) = refused("/api/v1/incidents/no-such-incident/bundle").await;
    assert!(status == 400 || status == 404, "{status}");
}
