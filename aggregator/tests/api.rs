//! The public API of the whole process, over gRPC and as JSON.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::time::Duration;

use meshprobe_proto::v1::{
    self, aggregator_message::Message as Down, prober_message::Message as Up,
};
use support::{
    Folder, Inbox, PATIENCE, any_port,
    process::{Aggregator, http_client, two_probers},
};
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

#[tokio::test]
async fn the_same_answers_come_over_grpc_and_as_json() {
    let folder = Folder::new();
    let aggregator = Aggregator::start(&folder, "");
    let _probers = two_probers(&aggregator).await;
    let mut mesh = aggregator.mesh().await;

    // A snapshot is published at most every half second.
    let reporting = async {
        while mesh
            .get_status(v1::GetStatusRequest {})
            .await
            .unwrap()
            .into_inner()
            .nodes_reporting
            < 2
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, reporting).await.unwrap();
    let status = mesh
        .get_status(v1::GetStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (status.nodes, status.open_incidents, status.store_writable),
        (2, 0, true)
    );
    let (code, json) = aggregator.get("/api/v1/status").await;
    assert_eq!(
        (code, &json["nodes"], &json["storeWritable"]),
        (200, &2.into(), &true.into())
    );

    let nodes = mesh
        .list_nodes(v1::ListNodesRequest::default())
        .await
        .unwrap()
        .into_inner()
        .nodes;
    assert_eq!(
        nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect::<Vec<_>>(),
        ["mesh-1", "mesh-2"]
    );
    let (_, json) = aggregator.get("/api/v1/nodes").await;
    assert_eq!(json["nodes"][1]["zone"], "z1");
    assert_eq!(json["nodes"][1]["lastReportWay"], "WAY_HOME_OVERLAY");

    let matrix = mesh
        .get_matrix(v1::GetMatrixRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            matrix.sources.len(),
            matrix.targets.len(),
            matrix.verdicts.len()
        ),
        (2, 2, 4)
    );
    assert_eq!(
        i32::from(matrix.verdicts[1]),
        i32::from(v1::Verdict::Healthy)
    );
    for query in ["", "?kind=udp&plane=pod&family=v4", "?kind=PROBE_KIND_UDP"] {
        let (code, json) = aggregator.get(&format!("/api/v1/matrix{query}")).await;
        assert_eq!(
            (code, &json["sources"]),
            (200, &serde_json::json!(["mesh-1", "mesh-2"])),
            "{query}"
        );
        assert_eq!(json["layer"]["kind"], "PROBE_KIND_UDP");
    }

    let request = v1::GetPathRequest {
        source: "mesh-1".to_owned(),
        target: "mesh-2".to_owned(),
        at: None,
    };
    let path = mesh.get_path(request).await.unwrap().into_inner();
    assert_eq!((path.forward.len(), path.reverse.len()), (1, 1));
    assert_eq!((path.forward[0].sent, path.forward[0].replied), (10, 10));
    let (_, json) = aggregator
        .get("/api/v1/path?source=mesh-1&target=mesh-2")
        .await;
    assert_eq!(json["forward"][0]["verdict"], "VERDICT_HEALTHY");

    let request = v1::ExplainRequest {
        source: "mesh-1".to_owned(),
        target: "mesh-2".to_owned(),
    };
    let explanation = mesh.explain(request).await.unwrap().into_inner();
    assert_eq!(
        explanation.conclusion(),
        v1::Conclusion::Works,
        "{explanation:?}"
    );
    let (code, json) = aggregator
        .get("/api/v1/explain?source=mesh-1&target=mesh-2")
        .await;
    assert_eq!(
        (code, &json["conclusion"]),
        (200, &"CONCLUSION_WORKS".into())
    );
    let steps = json["steps"].as_array().unwrap();
    let pod = steps.iter().find(|step| {
        step["rung"] == "RUNG_POD_NETWORK"
            && step["source"] == "mesh-1"
            && step["family"] == "FAMILY_V4"
    });
    let pod = pod.unwrap();
    assert_eq!(pod["verdict"], "VERDICT_HEALTHY");
    assert_eq!(pod["cell"]["sent"], 10);
    assert!(json.get("firstFailing").is_none() && json.get("cause").is_none());
    // What nobody measures is there and says so.
    assert!(
        steps
            .iter()
            .any(|step| step["verdict"] == "VERDICT_NOT_SAMPLED")
    );

    let (code, json) = aggregator
        .get("/api/v1/findings?node=mesh-1&severity=warning")
        .await;
    assert_eq!((code, &json["findings"]), (200, &serde_json::json!([])));
    let (code, json) = aggregator
        .get("/api/v1/incidents?includeResolved=true")
        .await;
    assert_eq!((code, &json["incidents"]), (200, &serde_json::json!([])));
}

#[tokio::test]
async fn a_wrong_question_is_answered_with_what_is_wrong() {
    let folder = Folder::new();
    let aggregator = Aggregator::start(&folder, "");
    for (path, code, reason, word) in [
        ("/api/v1/matrix?kind=ping", 400, "INVALID_ARGUMENT", "ping"),
        ("/api/v1/nodes/mesh-8", 404, "NOT_FOUND", "mesh-8"),
        (
            "/api/v1/matrix?knd=udp",
            400,
            "INVALID_ARGUMENT",
            "kind, plane, family",
        ),
        (
            "/api/v1/status?verbose=1",
            400,
            "INVALID_ARGUMENT",
            "verbose",
        ),
        (
            "/api/v1/path?source=mesh-1",
            400,
            "INVALID_ARGUMENT",
            "target is missing",
        ),
        (
            "/api/v1/path?source=mesh-8&target=mesh-9",
            404,
            "NOT_FOUND",
            "mesh-8",
        ),
        (
            "/api/v1/incidents?pageSize=many",
            400,
            "INVALID_ARGUMENT",
            "many",
        ),
        (
            "/api/v1/incidents?pageToken=x",
            400,
            "INVALID_ARGUMENT",
            "page_token",
        ),
        (
            "/api/v1/incidents/0123456789abcdef",
            404,
            "NOT_FOUND",
            "0123456789abcdef",
        ),
        (
            "/api/v1/incidents/x",
            400,
            "INVALID_ARGUMENT",
            "16 hexadecimal digits",
        ),
        (
            "/api/v1/findings?pattern=node-dim",
            400,
            "INVALID_ARGUMENT",
            "overlay-egress",
        ),
        ("/api/v1/findings?node=mesh-8", 404, "NOT_FOUND", "mesh-8"),
        (
            "/api/v1/findings?severity=awful",
            400,
            "INVALID_ARGUMENT",
            "awful",
        ),
        (
            "/api/v1/findings?pageToken=x",
            400,
            "INVALID_ARGUMENT",
            "page_token",
        ),
        (
            "/api/v1/explain?source=mesh-8",
            400,
            "INVALID_ARGUMENT",
            "target is missing",
        ),
        (
            "/api/v1/explain?source=mesh-8&target=mesh-8",
            400,
            "INVALID_ARGUMENT",
            "same node",
        ),
        (
            "/api/v1/explain?source=mesh-8&target=mesh-9",
            404,
            "NOT_FOUND",
            "mesh-8",
        ),
        ("/runbook/node-dim", 404, "NOT_FOUND", "node-dark"),
        ("/api/v2/status", 404, "NOT_FOUND", "/api/v2/status"),
    ] {
        let (found, json) = aggregator.get(path).await;
        assert_eq!(
            (found, &json["error"]["reason"]),
            (code, &reason.into()),
            "{path}: {json}"
        );
        assert!(
            json["error"]["message"].as_str().unwrap().contains(word),
            "{path}: {json}"
        );
    }
    let runbook = http_client()
        .get(format!("http://{}/runbook/node-dark", aggregator.http))
        .send()
        .await
        .unwrap();
    assert!(runbook.text().await.unwrap().starts_with("# node-dark"));
    let post = http_client()
        .post(format!("http://{}/api/v1/status", aggregator.http))
        .send()
        .await
        .unwrap();
    assert_eq!(post.status().as_u16(), 405);
    for (content_type, body, code, word) in [
        ("text/plain", "{}", 400, "application/json"),
        ("application/json", "{}", 400, "source"),
        (
            "application/json; charset=utf-8",
            r#"{"source": "mesh-8", "target": "mesh-9"}"#,
            404,
            "mesh-8",
        ),
    ] {
        let (found, json) = aggregator.post("/api/v1/probe", content_type, body).await;
        assert_eq!(found, code, "{json}");
        assert!(
            json["error"]["message"].as_str().unwrap().contains(word),
            "{json}"
        );
    }
    let (code, _) = aggregator.get("/api/v1/probe").await;
    assert_eq!(code, 405);
    let mut mesh = aggregator.mesh().await;
    let nobody = v1::GetNodeRequest {
        name: "mesh-8".to_owned(),
    };
    assert_eq!(
        mesh.get_node(nobody).await.unwrap_err().code(),
        Code::NotFound
    );
    let bad_layer = mesh
        .get_matrix(v1::GetMatrixRequest {
            kind: 77,
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(bad_layer.code(), Code::InvalidArgument);
    let request = v1::GetPathRequest {
        source: "mesh-8".to_owned(),
        target: "mesh-9".to_owned(),
        at: None,
    };
    assert_eq!(
        mesh.get_path(request).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_node_is_shown_with_its_probers_and_a_probe_is_made_on_demand() {
    let folder = Folder::new();
    let aggregator = Aggregator::start(&folder, "");
    let (mut prober, _other) = two_probers(&aggregator).await;
    let facts = v1::HostFacts {
        kernel: "6.1.0".to_owned(),
        ..v1::HostFacts::default()
    };
    prober.send(Up::HostFacts(facts)).await;
    let shown = timeout(PATIENCE, async {
        loop {
            let (code, json) = aggregator.get("/api/v1/nodes/mesh-1").await;
            if code == 200 && !json["probers"][0]["facts"].is_null() {
                return json;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let shown = shown.await.unwrap();
    assert_eq!(shown["node"]["name"], "mesh-1");
    assert_eq!(shown["probers"][0]["plane"], "PLANE_POD");
    assert_eq!(shown["probers"][0]["facts"]["kernel"], "6.1.0");
    assert_eq!(shown["probers"][0]["selfHealth"]["localHealth"], 0);

    let body = r#"{"source": "mesh-1", "target": "mesh-2", "kind": "tcp"}"#;
    let answering = async {
        loop {
            if let Some(Down::RunProbe(run)) = prober.next().await {
                let result = v1::ProbeResult {
                    id: run.id,
                    outcome: v1::OutcomeClass::Refused.into(),
                    ..v1::ProbeResult::default()
                };
                prober.send(Up::ProbeResult(result)).await;
                return;
            }
        }
    };
    let ((code, json), ()) = tokio::join!(
        aggregator.post("/api/v1/probe", "application/json", body),
        answering
    );
    assert_eq!(
        (code, &json["outcome"]),
        (200, &"OUTCOME_CLASS_REFUSED".into()),
        "{json}"
    );
    assert!(json["rttSeconds"].is_null());
    drop(prober);
    let mut mesh = aggregator.mesh().await;
    let gone = timeout(PATIENCE, async {
        loop {
            let request = v1::RunProbeRequest {
                source: "mesh-1".to_owned(),
                target: "mesh-2".to_owned(),
                ..v1::RunProbeRequest::default()
            };
            if let Err(status) = mesh.run_probe(request).await {
                return status;
            }
        }
    });
    let gone = gone.await.unwrap();
    assert_eq!(gone.code(), Code::Unavailable, "{gone}");
}

#[tokio::test]
async fn health_is_known_for_each_service_and_reflection_lists_them() {
    let folder = Folder::new();
    let aggregator = Aggregator::start(&folder, "");
    let channel = aggregator.channel().await;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "meshprobe.v1.MeshService", "meshprobe.v1.ProberService"] {
        let answer = health
            .check(HealthCheckRequest {
                service: service.to_owned(),
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = health
        .check(HealthCheckRequest {
            service: "nothing".to_owned(),
        })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    let ask = |request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    };
    let questions = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "meshprobe.v1.MeshService".to_owned(),
        )),
    ]);
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(questions)
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    let names: Vec<&str> = list
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for expected in [
        "meshprobe.v1.MeshService",
        "meshprobe.v1.ProberService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(&expected), "{names:?}");
    }
    let Some(MessageResponse::FileDescriptorResponse(files)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no descriptor");
    };
    assert!(!files.file_descriptor_proto.is_empty());
}

#[tokio::test]
async fn watchers_see_changes_are_limited_and_end_with_a_word_at_shutdown() {
    let folder = Folder::new();
    let aggregator = Aggregator::start(&folder, "limits: {watchers: 2}\n");
    let mut mesh = aggregator.mesh().await;
    let request = v1::WatchMatrixRequest {
        matrix: None,
        min_interval_millis: 100,
    };
    let mut matrices = mesh.watch_matrix(request).await.unwrap().into_inner();
    let first = timeout(PATIENCE, matrices.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(first.sources.is_empty());
    let mut incidents = mesh
        .watch_incidents(v1::WatchIncidentsRequest {})
        .await
        .unwrap()
        .into_inner();
    let refused = mesh.watch_matrix(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");

    let (mut prober, _other) = two_probers(&aggregator).await;
    let second = timeout(PATIENCE, async {
        loop {
            let matrix = matrices.message().await.unwrap().unwrap();
            if !matrix.sources.is_empty() {
                return matrix;
            }
        }
    });
    assert_eq!(second.await.unwrap().sources, ["mesh-1", "mesh-2"]);

    // What is on its way when the end comes is still taken and acknowledged.
    prober.report("mesh-2").await;
    assert_eq!(prober.acknowledged().await, 2);
    aggregator.terminate();
    let end = timeout(PATIENCE, async {
        loop {
            if let Err(status) = matrices.message().await {
                return status;
            }
        }
    });
    assert_eq!(end.await.unwrap().code(), Code::Unavailable);
    let end = timeout(PATIENCE, incidents.message())
        .await
        .unwrap()
        .unwrap_err();
    assert!(end.message().contains("shutting down"), "{end}");
    assert_eq!(
        aggregator
            .exit_code_after_drop_of((matrices, incidents, mesh, prober))
            .await,
        Some(0)
    );
}

#[tokio::test]
async fn a_test_goes_to_every_receiver_and_what_was_given_up_is_listed_and_tried_again() {
    let folder = Folder::new();
    let inbox = Inbox::default();
    let (listener, address) = any_port().await;
    let _serving = inbox.serve(listener);
    let (listener, closed) = any_port().await;
    drop(listener);
    let receivers = format!(
        "receivers:\n  - {{name: good, webhook: {{url: \"http://{address}/\"}}}}\n  - {{name: gone, slack: {{url: \"http://{closed}/\"}}}}\n"
    );
    let aggregator = Aggregator::start(&folder, &receivers);
    let mut mesh = aggregator.mesh().await;
    let everybody = v1::SendTestNotificationRequest::default();
    let tests = mesh
        .send_test_notification(everybody)
        .await
        .unwrap()
        .into_inner()
        .tests;
    let gist: Vec<(&str, bool)> = tests
        .iter()
        .map(|test| (test.receiver.as_str(), test.delivered))
        .collect();
    assert_eq!(gist, [("good", true), ("gone", false)]);
    assert_eq!(tests[0].answer, "200 OK: thank you");
    assert_eq!(inbox.wait_for(1).await[0].json()["meshprobe"]["test"], true);

    let (code, json) = aggregator
        .post(
            "/api/v1/notifications/test",
            "application/json",
            "{\"receiver\": \"good\"}",
        )
        .await;
    assert_eq!((code, &json["tests"][0]["delivered"]), (200, &true.into()));
    let (code, json) = aggregator
        .post(
            "/api/v1/notifications/test",
            "application/json",
            "{\"receiver\": \"nobody\"}",
        )
        .await;
    assert_eq!(code, 404);
    let message = json["error"]["message"].as_str().unwrap();
    assert!(message.contains("good, gone"), "{message}");

    let (_, json) = aggregator.get("/api/v1/notifications?state=dead").await;
    let dead = &json["notifications"];
    assert_eq!(dead.as_array().unwrap().len(), 1);
    assert_eq!(dead[0]["receiver"], "gone");
    assert_eq!(dead[0]["state"], "NOTIFICATION_STATE_DEAD");
    assert_eq!(dead[0]["kind"], "test");
    let (code, _) = aggregator.get("/api/v1/notifications?state=lost").await;
    assert_eq!(code, 400);
    let (_, json) = aggregator.get("/api/v1/notifications?pageSize=2").await;
    let token = json["nextPageToken"].as_str().unwrap();
    assert_eq!(json["notifications"].as_array().unwrap().len(), 2);
    let (_, json) = aggregator
        .get(&format!(
            "/api/v1/notifications?pageSize=2&pageToken={token}"
        ))
        .await;
    assert_eq!(json["notifications"].as_array().unwrap().len(), 1);

    let once_more = v1::RetryNotificationRequest {
        receiver: "gone".to_owned(),
        id: tests[1].id.clone(),
    };
    let answer = mesh.retry_notification(once_more.clone()).await.unwrap();
    assert_eq!(answer.into_inner().notification.unwrap().receiver, "gone");
    let delivered = v1::RetryNotificationRequest {
        receiver: "good".to_owned(),
        id: tests[0].id.clone(),
    };
    let refused = mesh.retry_notification(delivered).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}
