//! From an incident to a receiver over real sockets and a real store.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use meshprobe_aggregator::{
    incident::{IncidentState, Transition},
    store::Store,
};
use ring::hmac;
use support::{
    Folder, Inbox, Way, any_port, dark, eventually, receiver, resolved, settings, webhook,
};

const OPEN: Transition = Transition::Opened;

#[tokio::test]
async fn an_incident_reaches_every_receiver_signed_and_in_alertmanagers_form() {
    let folder = Folder::new();
    fs::write(folder.file("new"), "a secret of some length\n").unwrap();
    fs::write(folder.file("old"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let secrets = format!(
        ", secret_files: [\"{}\", \"{}\"]",
        folder.file("new").display(),
        folder.file("old").display()
    );
    let (signed, plain) = (Inbox::default(), Inbox::default());
    let (listener, signed_address) = any_port().await;
    let _signed = signed.serve(listener);
    let (listener, plain_address) = any_port().await;
    let _plain = plain.serve(listener);
    let hooks = [
        receiver(&format!(
            "{{name: signed, webhook: {{url: \"http://{signed_address}/\"{secrets}}}}}"
        )),
        webhook("plain", plain_address, ""),
    ];
    let way = Way::start(folder.file("a.db"), &hooks).unwrap();

    way.tell(OPEN, dark("mesh-1")).await;
    let received = signed.wait_for(1).await.remove(0);
    let json = received.json();
    assert_eq!(json["version"], "4");
    assert_eq!(json["receiver"], "signed");
    assert_eq!(json["alerts"][0]["labels"]["alertname"], "NodeDark");
    assert_eq!(json["meshprobe"]["incidentId"], dark("mesh-1").id.as_str());
    assert_eq!(received.header("content-type"), "application/json");
    assert!(received.header("user-agent").starts_with("meshprobe/"));

    let signed_text = [
        received.id().as_bytes(),
        b".",
        received.header("webhook-timestamp").as_bytes(),
        b".",
        &received.body,
    ]
    .concat();
    let secrets = [
        b"a secret of some length".to_vec(),
        STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
    ];
    let signatures: Vec<&str> = received.header("webhook-signature").split(' ').collect();
    assert_eq!(signatures.len(), 2);
    for (signature, secret) in signatures.iter().zip(secrets) {
        let mac = STANDARD
            .decode(signature.strip_prefix("v1,").unwrap())
            .unwrap();
        hmac::verify(
            &hmac::Key::new(hmac::HMAC_SHA256, &secret),
            &signed_text,
            &mac,
        )
        .unwrap();
    }

    let unsigned = plain.wait_for(1).await.remove(0);
    assert_eq!(unsigned.json()["receiver"], "plain");
    assert!(!unsigned.headers.contains_key("webhook-signature"));
    way.stop().await;
}

#[tokio::test]
async fn a_failed_attempt_is_made_again_with_the_same_key_and_the_end_does_not_overtake_the_beginning()
 {
    let folder = Folder::new();
    let inbox = Inbox::default();
    let (listener, address) = any_port().await;
    let _serving = inbox.serve(listener);
    inbox.answer_next([(StatusCode::SERVICE_UNAVAILABLE, None)]);
    let way = Way::start(folder.file("a.db"), &[webhook("pager", address, "")]).unwrap();

    let incident = dark("mesh-1");
    way.tell(OPEN, incident.clone()).await;
    inbox.wait_for(1).await;
    way.tell(Transition::Resolved, resolved(incident)).await;
    let received = inbox.wait_for(3).await;
    assert_eq!(
        inbox.gists(),
        ["mesh-1 firing", "mesh-1 firing", "mesh-1 resolved"]
    );
    assert_eq!(received[0].id(), received[1].id());
    assert_eq!(received[0].body, received[1].body);
    assert_ne!(received[1].id(), received[2].id());
    eventually("an empty outbox", || way.pending.count() == 0).await;
    way.stop().await;
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_is_left_alone_and_others_are_not_held_up() {
    let folder = Folder::new();
    let (busy, quick) = (Inbox::default(), Inbox::default());
    let (listener, busy_address) = any_port().await;
    let _busy = busy.serve(listener);
    let (listener, quick_address) = any_port().await;
    let _quick = quick.serve(listener);
    busy.answer_next([(StatusCode::TOO_MANY_REQUESTS, Some("3600"))]);
    let hooks = [
        webhook("busy", busy_address, ""),
        webhook("quick", quick_address, ""),
    ];
    let way = Way::start(folder.file("a.db"), &hooks).unwrap();

    way.tell(OPEN, dark("mesh-1")).await;
    busy.wait_for(1).await;
    quick.wait_for(1).await;
    way.tell(OPEN, dark("mesh-2")).await;
    quick.wait_for(2).await;
    // Another message gets through; the one that was asked to wait is not brought forward by that.
    busy.wait_for(2).await;
    eventually("one message left", || way.pending.count() == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(busy.gists(), ["mesh-1 firing", "mesh-2 firing"]);
    way.stop().await;
}

#[tokio::test]
async fn what_a_receiver_missed_while_it_was_down_is_delivered_once_when_it_is_back() {
    const NODES: usize = 30;
    let folder = Folder::new();
    let (listener, address) = any_port().await;
    drop(listener);
    let way = Way::start(folder.file("a.db"), &[webhook("pager", address, "")]).unwrap();
    for node in 0..NODES {
        let incident = dark(&format!("mesh-{node}"));
        way.tell(OPEN, incident.clone()).await;
        way.tell(Transition::Resolved, resolved(incident)).await;
    }
    eventually("everything waits", || {
        way.pending.count() == 2 * NODES as u64
    })
    .await;

    let inbox = Inbox::default();
    let _serving = inbox.serve(tokio::net::TcpListener::bind(address).await.unwrap());
    eventually("an empty outbox", || way.pending.count() == 0).await;
    let ids: BTreeSet<String> = inbox.all().iter().map(|one| one.id().to_owned()).collect();
    assert_eq!(ids.len(), 2 * NODES);
    assert_eq!(inbox.all().len(), 2 * NODES);
    let gists = inbox.gists();
    for node in 0..NODES {
        let place = |status: &str| {
            let gist = format!("mesh-{node} {status}");
            gists.iter().position(|one| *one == gist).unwrap()
        };
        assert!(place("firing") < place("resolved"), "{gists:?}");
    }
    way.stop().await;
}

#[tokio::test]
async fn only_news_is_told() {
    let folder = Folder::new();
    let inbox = Inbox::default();
    let (listener, address) = any_port().await;
    let _serving = inbox.serve(listener);
    let quiet = Inbox::default();
    let (listener, quiet_address) = any_port().await;
    let _quiet = quiet.serve(listener);
    let hooks = [
        webhook("pager", address, ""),
        webhook("quiet", quiet_address, ", send_resolved: false"),
    ];
    let way = Way::start(folder.file("a.db"), &hooks).unwrap();

    let mut incident = dark("mesh-1");
    way.tell(OPEN, incident.clone()).await;
    incident.evidence.push("its reports stopped".to_owned());
    way.tell(Transition::Updated, incident.clone()).await;
    way.tell(Transition::Resolved, resolved(incident)).await;
    inbox.wait_for(2).await;
    way.tell(OPEN, dark("mesh-2")).await;
    inbox.wait_for(3).await;
    quiet.wait_for(2).await;
    assert_eq!(
        inbox.gists(),
        ["mesh-1 firing", "mesh-1 resolved", "mesh-2 firing"]
    );
    assert_eq!(quiet.gists(), ["mesh-1 firing", "mesh-2 firing"]);
    // The API shows the update all the same.
    let shown = way.incidents.one(&dark("mesh-1").id).unwrap();
    assert_eq!(shown.state, IncidentState::Resolved);
    assert_eq!(shown.evidence.len(), 2);
    way.stop().await;
}

/// Where the child writes and whom it tells; absent in the test runner itself.
const CHILD_STORE: &str = "MESHPROBE_TEST_STORE";
const CHILD_RECEIVER: &str = "MESHPROBE_TEST_RECEIVER";

/// The process that is killed. Without its variables it is a test that has nothing to do with it.
#[tokio::test]
async fn a_process_that_sends_to_a_receiver_that_never_answers() {
    let (Ok(path), Ok(receiver)) = (std::env::var(CHILD_STORE), std::env::var(CHILD_RECEIVER))
    else {
        assert!(std::env::var_os(CHILD_STORE).is_none());
        return;
    };
    let way = Way::start(
        path.into(),
        &[webhook("pager", receiver.parse().unwrap(), "")],
    )
    .unwrap();
    way.tell(OPEN, dark("mesh-1")).await;
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn after_a_kill_in_the_middle_of_an_attempt_the_message_is_sent_again_with_the_same_key() {
    let folder = Folder::new();
    // It accepts and reads, and never answers.
    let (listener, deaf) = any_port().await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_process_that_sends_to_a_receiver_that_never_answers",
            "--nocapture",
        ])
        .env(CHILD_STORE, folder.file("a.db"))
        .env(CHILD_RECEIVER, deaf.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (stream, _) = tokio::time::timeout(support::PATIENCE, listener.accept())
        .await
        .unwrap()
        .unwrap();
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    let sent = tokio::task::spawn_blocking(move || {
        let id = BufReader::new(&stream)
            .lines()
            .map(Result::unwrap)
            .take_while(|line| !line.is_empty())
            .find_map(|line| line.strip_prefix("webhook-id: ").map(str::to_owned));
        (id.unwrap(), stream)
    });
    let (first_id, _stream) = sent.await.unwrap();
    // SIGKILL: no handler, no drop, no flush.
    child.kill().unwrap();
    child.wait().unwrap();

    let inbox = Inbox::default();
    let (listener, address) = any_port().await;
    let _serving = inbox.serve(listener);
    let way = Way::start(folder.file("a.db"), &[webhook("pager", address, "")]).unwrap();
    let received = inbox.wait_for(1).await;
    assert_eq!(received[0].id(), first_id);
    assert_eq!(received[0].gist(), "mesh-1 firing");
    assert_eq!(
        way.incidents.open_count(),
        1,
        "the open incident is remembered as well"
    );
    eventually("an empty outbox", || way.pending.count() == 0).await;
    way.stop().await;

    let way = Way::start(folder.file("a.db"), &[webhook("pager", address, "")]).unwrap();
    assert_eq!(
        way.pending.count(),
        0,
        "what was delivered is not sent again"
    );
    way.stop().await;
    assert_eq!(inbox.all().len(), 1);
}

#[tokio::test]
async fn a_receiver_behind_tls_is_trusted_by_its_own_authority_and_not_without() {
    use meshprobe_daemon::{
        http::{HttpServer, Limits},
        shutdown::Shutdown,
        tls::{ClientAuth, ServerTls, ServerTlsFiles},
    };
    meshprobe_daemon::tls::install_crypto_provider();
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.file("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.file("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let files = ServerTlsFiles {
        cert: folder.file("cert.pem"),
        key: folder.file("key.pem"),
        client_ca: None,
        client_auth: ClientAuth::default(),
    };
    let inbox = Inbox::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = HttpServer::new(listener, Limits::default())
        .unwrap()
        .with_tls(Some(ServerTls::load(files, &["h2", "http/1.1"]).unwrap()));
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(server.serve(inbox.router(), Shutdown::new()));

    let hook = |name: &str, more: &str| {
        receiver(&format!(
            "{{name: {name}, webhook: {{url: \"https://localhost:{port}/\"}}{more}}}"
        ))
    };
    let trusted = format!(", ca_file: {}", folder.file("cert.pem").display());
    let hooks = [hook("trusting", &trusted), hook("doubting", "")];
    let way = Way::start(folder.file("a.db"), &hooks).unwrap();
    way.tell(OPEN, dark("mesh-1")).await;
    let received = inbox.wait_for(1).await.remove(0);
    assert_eq!(received.json()["receiver"], "trusting");
    eventually("one message waits", || way.pending.count() == 1).await;
    way.stop().await;
    assert_eq!(inbox.all().len(), 1);
}

#[tokio::test]
async fn what_is_given_up_is_kept_and_counted_and_does_not_hold_up_the_end_of_the_incident() {
    let folder = Folder::new();
    let inbox = Inbox::default();
    let (listener, address) = any_port().await;
    let _serving = inbox.serve(listener);
    inbox.answer_next([(StatusCode::BAD_GATEWAY, None)]);
    let hooks = [webhook("pager", address, ", give_up_after: 1s")];
    let way = Way::start(folder.file("a.db"), &hooks).unwrap();
    let incident = dark("mesh-1");
    way.tell(OPEN, incident.clone()).await;
    inbox.wait_for(1).await;
    way.tell(Transition::Resolved, resolved(incident)).await;
    inbox.wait_for(2).await;
    assert_eq!(inbox.gists(), ["mesh-1 firing", "mesh-1 resolved"]);
    eventually("an empty outbox", || way.pending.count() == 0).await;
    way.stop().await;
    let (_, loaded) = Store::open(settings(folder.file("a.db"))).unwrap();
    assert_eq!((loaded.outbox.len(), loaded.dead_letters), (0, 1));
}

#[tokio::test]
async fn an_incident_that_flaps_is_told_as_flapping_once_and_then_not() {
    let folder = Folder::new();
    let inbox = Inbox::default();
    let (listener, address) = any_port().await;
    let _serving = inbox.serve(listener);
    let hooks = [webhook("pager", address, ", send_resolved: false")];
    let way = Way::start(folder.file("a.db"), &hooks).unwrap();
    let mut incident = dark("mesh-1");
    way.tell(OPEN, incident.clone()).await;
    for reopened in 1..=20 {
        way.tell(Transition::Resolved, resolved(incident.clone()))
            .await;
        incident.reopened = reopened;
        incident.updated_at = support::now();
        way.tell(Transition::Reopened, incident.clone()).await;
    }
    // When another incident that came later has arrived, and nothing waits, nothing of the first is on its way.
    way.tell(OPEN, dark("mesh-2")).await;
    eventually("the other incident", || {
        inbox.gists().iter().any(|gist| gist == "mesh-2 firing")
    })
    .await;
    eventually("an empty outbox", || way.pending.count() == 0).await;
    let of_first: Vec<serde_json::Value> = inbox
        .all()
        .iter()
        .map(support::Received::json)
        .filter(|json| json["commonLabels"]["node"] == "mesh-1")
        .collect();
    // The opening, five reopenings as usual, and the sixth or seventh says that it flaps.
    assert!((7..=8).contains(&of_first.len()), "{}", of_first.len());
    let flapping = of_first.last().unwrap();
    assert!(flapping["meshprobe"]["suppressedChanges"].as_u64().unwrap() >= 6);
    let summary = flapping["commonAnnotations"]["summary"].as_str().unwrap();
    assert!(summary.starts_with("Flapping, "), "{summary}");
    assert_eq!(
        way.incidents.one(&incident.id).unwrap().reopened,
        20,
        "the API stays truthful"
    );
    way.stop().await;
}

/// An incident of a pattern that has no reserve of its own.
fn slow(node: &str) -> meshprobe_aggregator::incident::Incident {
    use meshprobe_core::finding::{Pattern, Scope};
    let scope = Scope::node(meshprobe_core::ids::NodeName::try_from(node).unwrap());
    let mut incident =
        meshprobe_aggregator::incident::Incident::new(Pattern::Slow, scope, support::now());
    incident.summary = format!("{node} is slow");
    incident
}

#[tokio::test]
async fn what_a_limit_does_not_let_through_is_summed_up_and_a_dark_node_does_not_wait() {
    let folder = Folder::new();
    let inbox = Inbox::default();
    let (listener, address) = any_port().await;
    let _serving = inbox.serve(listener);
    let hooks = [webhook(
        "pager",
        address,
        ", rate_limit: {per_minute: 30, burst: 3}",
    )];
    let way = Way::start(folder.file("a.db"), &hooks).unwrap();
    for node in 0..20 {
        way.tell(OPEN, slow(&format!("mesh-{node}"))).await;
    }
    eventually("the burst is used up", || inbox.all().len() >= 3).await;
    way.tell(OPEN, dark("mesh-77")).await;
    eventually("the dark node", || {
        inbox
            .all()
            .iter()
            .any(|one| one.json()["commonLabels"]["node"] == "mesh-77")
    })
    .await;
    // One more about an incident of the digest does not overtake it.
    way.tell(Transition::Resolved, resolved(slow("mesh-19")))
        .await;
    let digests = || -> Vec<u64> {
        let all = inbox.all();
        let counts = all
            .iter()
            .map(|one| one.json()["meshprobe"]["digest"]["messages"].as_u64());
        counts.flatten().collect()
    };
    eventually("every message, alone or in a sum", || {
        let sums = digests();
        let alone = inbox.all().len() - sums.len();
        alone as u64 + sums.iter().sum::<u64>() == 22
    })
    .await;
    eventually("an empty outbox", || way.pending.count() == 0).await;
    let digests = digests().len();
    assert!(digests >= 1 && inbox.all().len() < 22 - 10, "{digests}");
    let digested = |record: &meshprobe_aggregator::outbox::Record| {
        record.state == meshprobe_aggregator::store::NotificationState::Digested
    };
    assert!(way.ledger.page(None, digested, 100).len() >= 10);
    way.stop().await;
    let (_, loaded) = Store::open(settings(folder.file("a.db"))).unwrap();
    assert_eq!(loaded.outbox.len(), 0);
}

#[tokio::test]
async fn a_test_tells_the_receivers_answer_and_what_was_given_up_is_tried_again_by_hand() {
    use meshprobe_aggregator::{outbox::Retried, store::NotificationState};
    let folder = Folder::new();
    let inbox = Inbox::default();
    let (listener, address) = any_port().await;
    let _serving = inbox.serve(listener);
    let way = Way::start(
        folder.file("a.db"),
        &[webhook("pager", address, ", give_up_after: 1s")],
    )
    .unwrap();

    let tested = way.outbox.test("pager".to_owned()).await.unwrap();
    assert!(tested.delivered);
    assert_eq!(tested.answer, "200 OK: thank you");
    let received = inbox.wait_for(1).await.remove(0).json();
    assert_eq!(received["meshprobe"]["test"], true);
    assert!(
        received["commonAnnotations"]["summary"]
            .as_str()
            .unwrap()
            .starts_with("TEST")
    );
    inbox.answer_next([(StatusCode::NOT_FOUND, None)]);
    let tested = way.outbox.test("pager".to_owned()).await.unwrap();
    assert_eq!(
        (tested.delivered, tested.answer.as_str()),
        (false, "404 Not Found: thank you")
    );
    assert!(way.outbox.test("nobody".to_owned()).await.is_none());
    assert_eq!(way.pending.count(), 0, "a test is tried once");

    inbox.answer_next([(StatusCode::BAD_GATEWAY, None)]);
    way.tell(OPEN, dark("mesh-1")).await;
    let dead = |record: &meshprobe_aggregator::outbox::Record| {
        record.state == NotificationState::Dead && record.notification.message.incident().is_some()
    };
    eventually("it is given up", || {
        way.ledger.page(None, dead, 1).len() == 1
    })
    .await;
    let record = way.ledger.page(None, dead, 1).remove(0);
    assert!(record.notification.last_answer.unwrap().contains("502"));
    let id = record.notification.id;
    assert_eq!(
        way.outbox.retry("pager".to_owned(), id.clone()).await,
        Retried::Now
    );
    eventually("it arrives", || {
        let of_incident = |one: &support::Received| one.json()["commonLabels"]["node"] == "mesh-1";
        inbox.all().iter().filter(|one| of_incident(one)).count() == 2
    })
    .await;
    eventually("it is delivered", || {
        way.ledger.one("pager", &id).unwrap().state == NotificationState::Delivered
    })
    .await;
    assert_eq!(
        way.outbox.retry("pager".to_owned(), id).await,
        Retried::Done
    );
    assert_eq!(
        way.outbox
            .retry("pager".to_owned(), "none".to_owned())
            .await,
        Retried::Unknown
    );
    way.stop().await;
}

#[tokio::test]
async fn an_end_that_was_kept_back_survives_a_restart_and_a_return_in_time_is_not_told() {
    let folder = Folder::new();
    let inbox = Inbox::default();
    let (listener, address) = any_port().await;
    let _serving = inbox.serve(listener);
    let start = || {
        Way::start_with(
            folder.file("a.db"),
            &[webhook("pager", address, "")],
            "{resolve_hold: 2s}",
        )
        .unwrap()
    };
    let way = start();
    let mut incident = dark("mesh-1");
    way.tell(OPEN, incident.clone()).await;
    way.tell(Transition::Resolved, resolved(incident.clone()))
        .await;
    incident.reopened = 1;
    incident.updated_at = support::now();
    way.tell(Transition::Reopened, incident.clone()).await;
    way.tell(Transition::Resolved, resolved(incident.clone()))
        .await;
    inbox.wait_for(1).await;
    way.stop().await;
    assert_eq!(
        inbox.gists(),
        ["mesh-1 firing"],
        "nobody heard that it was over"
    );
    let way = start();
    inbox.wait_for(2).await;
    assert_eq!(inbox.gists(), ["mesh-1 firing", "mesh-1 resolved"]);
    way.stop().await;
}
