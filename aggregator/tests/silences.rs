//! What is silenced is not told, and is told when the silence ends; over real sockets, with a real store, over restarts.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use jiff::SignedDuration;
use meshprobe_aggregator::{
    incident::Transition,
    silence::{Matcher, Silence, SilenceId, SilenceKind},
    store::{Operation, StoreReader},
};
use meshprobe_proto::v1;
use serde_json::json;
use support::{
    Folder, Inbox, Way, any_port, dark, eventually, now,
    process::{Aggregator, http_client},
    resolved, webhook,
};
use tonic::Code;

const OPEN: Transition = Transition::Opened;

fn silence_of(node: &str, lasts: SignedDuration) -> Silence {
    Silence {
        id: SilenceId::from_number(7),
        kind: SilenceKind::Silence,
        matchers: vec![Matcher::parse(&format!("node={node}")).unwrap()],
        starts_at: now(),
        ends_at: now() + lasts,
        author: "ana".to_owned(),
        comment: String::new(),
        created_at: now(),
    }
}

#[tokio::test]
async fn what_is_still_open_at_the_end_of_a_silence_is_told_then_and_the_rest_never() {
    let folder = Folder::new();
    let inbox = Inbox::default();
    let (listener, address) = any_port().await;
    let _serving = inbox.serve(listener);
    let hooks = [webhook("pager", address, "")];
    let way = Way::start(folder.file("a.db"), &hooks).unwrap();
    let told_before = dark("mesh-5");
    way.tell(OPEN, told_before.clone()).await;
    inbox.wait_for(1).await;

    for (number, node) in (1..).zip(["mesh-3", "mesh-4", "mesh-5"]) {
        let silence = Silence {
            id: SilenceId::from_number(number),
            ..silence_of(node, SignedDuration::from_secs(3))
        };
        way.silences.add(silence, now()).unwrap();
    }
    way.tell(OPEN, dark("mesh-3")).await;
    let passing = dark("mesh-4");
    way.tell(OPEN, passing.clone()).await;
    way.tell(Transition::Resolved, resolved(passing)).await;
    way.tell(Transition::Resolved, resolved(told_before)).await;
    way.tell(OPEN, dark("mesh-1")).await;
    // The end of what was told before is told; the book has all of them.
    inbox.wait_for(3).await;
    assert_eq!(
        inbox.gists(),
        ["mesh-5 firing", "mesh-5 resolved", "mesh-1 firing"]
    );
    assert!(way.incidents.one(&dark("mesh-3").id).is_some());

    inbox.wait_for(4).await;
    assert_eq!(inbox.gists()[3], "mesh-3 firing");
    way.tell(Transition::Resolved, resolved(dark("mesh-3")))
        .await;
    inbox.wait_for(5).await;
    assert_eq!(inbox.gists()[4], "mesh-3 resolved");
    way.stop().await;
}

#[tokio::test]
async fn a_silence_and_what_it_holds_back_survive_a_restart() {
    let folder = Folder::new();
    let inbox = Inbox::default();
    let (listener, address) = any_port().await;
    let _serving = inbox.serve(listener);
    let hooks = [webhook("pager", address, "")];
    let hour = SignedDuration::from_hours(1);
    let way = Way::start(folder.file("a.db"), &hooks).unwrap();
    let silence = silence_of("mesh-3", hour);
    way.silences.add(silence.clone(), now()).unwrap();
    way.store
        .write(vec![Operation::Silence(Box::new(silence.clone()))])
        .await;
    way.tell(OPEN, dark("mesh-3")).await;
    eventually("the incident", || way.incidents.open_count() == 1).await;
    way.stop().await;

    let way = Way::start(folder.file("a.db"), &hooks).unwrap();
    way.tell(OPEN, dark("mesh-1")).await;
    inbox.wait_for(1).await;
    assert_eq!(inbox.gists(), ["mesh-1 firing"]);
    way.silences.end(&silence.id, now()).unwrap();
    inbox.wait_for(2).await;
    assert_eq!(inbox.gists()[1], "mesh-3 firing");
    let told = StoreReader::new(folder.file("a.db"));
    let timeline = told.timeline(&dark("mesh-3").id).await.unwrap();
    assert_eq!(timeline.events.len(), 1);
    assert_eq!(timeline.events[0].summary, "mesh-3 is dark");
    assert_eq!(timeline.told.len(), 1);
    assert_eq!(timeline.told[0].receiver, "pager");
    way.stop().await;
}

#[tokio::test]
async fn silences_are_made_listed_and_ended_over_grpc_and_as_json_and_survive_kill_9() {
    let folder = Folder::new();
    let aggregator = Aggregator::start(&folder, "");
    let body = json!({
        "matchers": ["node=mesh-3", "pattern=~node-.*"], "durationSeconds": 7200, "author": "ana", "comment": "new disk"
    });
    let (code, made) = aggregator
        .post("/api/v1/silences", "application/json", &body.to_string())
        .await;
    assert_eq!(
        (code, &made["state"]),
        (200, &"SILENCE_STATE_ACTIVE".into()),
        "{made}"
    );
    assert_eq!(made["matchers"][1]["operator"], "MATCH_OPERATOR_MATCHES");
    let mut mesh = aggregator.mesh().await;
    let request = v1::CreateSilenceRequest {
        kind: v1::SilenceKind::Maintenance.into(),
        matchers: vec![v1::Matcher {
            name: "zone".to_owned(),
            value: "b".to_owned(),
            ..v1::Matcher::default()
        }],
        duration_seconds: 60,
        author: "ben".to_owned(),
        ..v1::CreateSilenceRequest::default()
    };
    mesh.create_silence(request).await.unwrap();
    let (_, metrics) = aggregator.admin(reqwest::Method::GET, "/metrics").await;
    for line in [
        "meshprobe_aggregator_silences{kind=\"silence\",state=\"active\"} 1",
        "meshprobe_aggregator_silences{kind=\"maintenance\",state=\"active\"} 1",
        "meshprobe_aggregator_incidents_silenced 0",
        "meshprobe_aggregator_incidents_held_total{by=\"draining\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    // Dropping it kills it.
    drop((mesh, aggregator));

    let aggregator = Aggregator::start(&folder, "");
    let mut mesh = aggregator.mesh().await;
    let page = |page_token: &str| v1::ListSilencesRequest {
        page_size: 1,
        page_token: page_token.to_owned(),
        include_expired: false,
    };
    let first = mesh.list_silences(page("")).await.unwrap().into_inner();
    assert_eq!(first.silences[0].author, "ben");
    let second = mesh
        .list_silences(page(&first.next_page_token))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            second.silences[0].author.as_str(),
            second.next_page_token.as_str()
        ),
        ("ana", "")
    );

    let id = second.silences[0].id.clone();
    let address = format!("http://{}/api/v1/silences/{id}", aggregator.http);
    let ended = http_client().delete(&address).send().await.unwrap();
    assert_eq!(ended.status().as_u16(), 200);
    let again = http_client().delete(&address).send().await.unwrap();
    assert_eq!(again.status().as_u16(), 409);
    let (_, json) = aggregator.get("/api/v1/silences").await;
    assert_eq!(json["silences"].as_array().unwrap().len(), 1);
    let (_, json) = aggregator.get("/api/v1/silences?includeExpired=true").await;
    assert_eq!(json["silences"].as_array().unwrap().len(), 2);
    for (request, code) in [
        ("0123456789abcdef", Code::NotFound),
        ("x", Code::InvalidArgument),
    ] {
        let id = request.to_owned();
        let refused = mesh.delete_silence(v1::DeleteSilenceRequest { id }).await;
        assert_eq!(refused.unwrap_err().code(), code, "{request}");
    }
    for (body, word) in [
        (
            json!({"matchers": [], "durationSeconds": 5, "author": "a"}),
            "matchers are missing",
        ),
        (
            json!({"matchers": ["node=a"], "author": "a"}),
            "duration_seconds",
        ),
        (
            json!({"matchers": ["node=a"], "durationSeconds": 5}),
            "author",
        ),
        (
            json!({"matchers": ["node=~.*"], "durationSeconds": 5, "author": "a"}),
            "everything",
        ),
        (
            json!({"matchers": ["node=a"], "durationSeconds": 1_000_000_000, "author": "a"}),
            "366 days",
        ),
    ] {
        let text = body.to_string();
        let (code, json) = aggregator
            .post("/api/v1/silences", "application/json", &text)
            .await;
        assert_eq!(
            (code, &json["error"]["reason"]),
            (400, &"INVALID_ARGUMENT".into()),
            "{text}"
        );
        let message = json["error"]["message"].as_str().unwrap();
        assert!(message.contains(word), "{text}: {message}");
    }
}
