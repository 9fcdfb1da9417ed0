//! What a controller says of nodes, over the real ports: drains and events, refused, shown, and remembered over a kill.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::time::Duration;

use meshprobe_proto::v1;
use serde_json::{Value, json};
use support::{
    Folder,
    process::{Aggregator, http_client, two_probers},
};

async fn node(aggregator: &Aggregator, name: &str) -> Value {
    aggregator.get(&format!("/api/v1/nodes/{name}")).await.1
}

/// Until the aggregator has written it down: batches are written ten times a second.
async fn is_written() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn drains_and_events_are_said_shown_and_survive_kill_9() {
    let folder = Folder::new();
    let aggregator = Aggregator::start(&folder, "");
    let probers = two_probers(&aggregator).await;
    let (code, drained) = aggregator
        .post(
            "/api/v1/nodes/mesh-1/drain",
            "application/json",
            &json!({"durationSeconds": 3600, "author": "ana", "comment": "new disk"}).to_string(),
        )
        .await;
    assert_eq!(code, 200, "{drained}");
    assert_eq!(drained["lifecycle"], "LIFECYCLE_DRAINING");
    assert_eq!(drained["state"], "NODE_STATE_LEAVING");
    let mut mesh = aggregator.mesh().await;
    let event = v1::AddEventRequest {
        node: "mesh-2".to_owned(),
        reason: "NodeNotReady".to_owned(),
        message: "kubelet stopped posting node status".to_owned(),
        at: None,
    };
    let told = mesh.add_event(event.clone()).await.unwrap().into_inner();
    assert_eq!(told.events[0].reason, "NodeNotReady");
    let again = mesh.add_event(event).await.unwrap().into_inner();
    assert_eq!(again.events.len(), 1, "what is repeated is one event");

    for (path, body, code, word) in [
        (
            "nodes/mesh-9/drain",
            json!({"author": "ana"}),
            404,
            "mesh-9",
        ),
        ("nodes/mesh-1/drain", json!({}), 400, "author"),
        (
            "nodes/mesh-1/drain",
            json!({"author": "ana", "durationSeconds": 864_000}),
            400,
            "7 days",
        ),
        (
            "nodes/mesh-1/events",
            json!({"reason": "two words"}),
            400,
            "one word",
        ),
        (
            "nodes/mesh-1/events",
            json!({"reason": "Old", "at": "2020-01-01T00:00:00Z"}),
            400,
            "older than 24 hours",
        ),
    ] {
        let (status, answer) = aggregator
            .post(
                &format!("/api/v1/{path}"),
                "application/json",
                &body.to_string(),
            )
            .await;
        let why = answer["error"]["message"].as_str().unwrap();
        assert_eq!(status, code, "{path} {body}: {why}");
        assert!(why.contains(word), "{why}");
    }
    // A page of another origin cannot say anything.
    let (status, _) = aggregator
        .post("/api/v1/nodes/mesh-1/drain", "text/plain", "{}")
        .await;
    assert_eq!(status, 400);

    is_written().await;
    // Dropping it kills it.
    drop((mesh, probers, aggregator));
    let aggregator = Aggregator::start(&folder, "");
    let shown = node(&aggregator, "mesh-1").await;
    assert_eq!(shown["node"]["lifecycle"], "LIFECYCLE_DRAINING", "{shown}");
    let reason = shown["node"]["stateReason"].as_str().unwrap();
    assert!(reason.ends_with("by ana: new disk"), "{reason}");
    let other = node(&aggregator, "mesh-2").await;
    assert_eq!(other["node"]["lifecycle"], "LIFECYCLE_ACTIVE");
    assert_eq!(
        other["events"][0]["message"],
        "kubelet stopped posting node status"
    );
    let url = format!("http://{}/api/v1/nodes/mesh-1/drain", aggregator.http);
    let answer = http_client().delete(url).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(
        node(&aggregator, "mesh-1").await["node"]["lifecycle"],
        "LIFECYCLE_ACTIVE"
    );
}
