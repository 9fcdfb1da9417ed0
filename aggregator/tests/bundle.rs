//! What is sent to a stranger in a ticket: the file of an incident has no secret of the configuration in it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::{fs, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use meshprobe_proto::{
    bundle::{self, Limits},
    pack,
    v1::{self, prober_message::Message as Up},
};
use serde_json::Value;
use support::{
    Folder, any_port,
    process::{Aggregator, INCARNATION, Prober, http_client},
};

/// Most octets that a bundle of this test expands to.
const EXPANDED: usize = 256 << 20;

/// Recognisable texts, and where each is.
const SECRETS: [(&str, &str); 12] = [
    ("a STAMP key in place", "stamp-in-place-0c4f9a51"),
    ("a STAMP key in a file", "stamp-in-a-file-77d21be8"),
    ("a secret that signs webhooks", "webhook-signature-5a1e09c3"),
    ("the user in a webhook's URL", "hookuser93ab"),
    ("the password in a webhook's URL", "hookpassword2d4e"),
    ("the path of a webhook's URL", "hookpath6f70"),
    ("the query of a webhook's URL", "hookquery8b1c"),
    ("a bearer token", "bearer-token-41f2aa07"),
    ("the user of a proxy", "proxyuser5c5c"),
    ("the password of a proxy", "proxypassword9e9e"),
    ("the URL of a chat", "slack-hook-T0000-B0000-c3d4"),
    ("a header in a file", "api-key-d00dfeed"),
];
/// In the URL of a target outside and in what is expected of it.
const TARGET_QUERY: &str = "targetquery1f2e3d";
const TARGET_BODY: &str = "expectedbody4c5b6a";

fn secret(place: usize) -> &'static str {
    SECRETS[place].1
}

/// A configuration with all of them. Nobody listens at `closed`, so every delivery fails.
fn configuration(folder: &Folder, closed: std::net::SocketAddr) -> String {
    let file = |name: &str, text: &str| {
        let path = folder.file(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let stamp = file("stamp.key", secret(1));
    let signing = file("webhook.secret", secret(2));
    let token = file("pager.token", secret(7));
    let chat = file(
        "slack.url",
        &format!("http://{closed}/services/{}", secret(10)),
    );
    let key = file("tickets.key", secret(11));
    let [user, password, path, query] = [3, 4, 5, 6].map(secret);
    let (proxy_user, proxy_password) = (secret(8), secret(9));
    format!(
        "detection: {{diagnosis_opens: all, warm_up: 1s}}
probing: {{http: {{interval: 2s, timeout: 1s}}}}
stamp: {{keys: [{{secret: {}}}, {{file: {stamp}}}]}}
external:
  allow: [{{cidr: 192.0.2.0/24, ports: [80]}}]
  targets:
    - {{name: shop, url: \"http://192.0.2.1/health?key={TARGET_QUERY}\", expect: {{status: [200], body: {TARGET_BODY}}}}}
receivers:
  - name: pager
    webhook: {{url: \"http://{user}:{password}@{closed}/{path}?t={query}\", secret_files: [{signing}]}}
    bearer_token_file: {token}
  - name: proxied
    webhook: {{url: \"http://pager.example.com/\"}}
    proxy: http://{proxy_user}:{proxy_password}@{closed}
  - {{name: chat, slack: {{url_file: {chat}}}}}
  - name: tickets
    template: {{url: \"http://{closed}/\", header_files: {{X-Api-Key: {key}}}, body: \"{{}}\"}}
",
        secret(0),
    )
}

/// Two seconds in which a peer answered and the target outside said 503.
async fn report(prober: &mut Prober, peer: &str) {
    if prober.sequence == 0 {
        let node = v1::dictionary_entry::Target::Node(peer.to_owned());
        let shop = v1::dictionary_entry::Target::External(v1::ExternalTarget {
            name: "shop".to_owned(),
            kind: v1::ProbeKind::Http.into(),
            url: format!("http://192.0.2.1/health?key={TARGET_QUERY}"),
            family: v1::Family::V4.into(),
            ..v1::ExternalTarget::default()
        });
        let entries = [node, shop].into_iter().zip(0..);
        let entries = entries.map(|(target, number)| v1::DictionaryEntry {
            number,
            target: Some(target),
        });
        let dictionary = v1::Dictionary {
            incarnation: INCARNATION,
            entries: entries.collect(),
        };
        prober.send(Up::Dictionary(dictionary)).await;
    }
    prober.sequence += 1;
    let now = meshprobe_daemon::clock::since_epoch().as_millis() as u64;
    let peers = v1::Block {
        kind: v1::ProbeKind::Udp.into(),
        plane: v1::Plane::Pod.into(),
        family: v1::Family::V4.into(),
        target_delta: vec![0],
        sent: vec![4],
        replied: vec![4],
        received: vec![4],
        rtt_min: vec![80].into(),
        rtt_median: vec![81].into(),
        rtt_max: vec![90].into(),
        ..v1::Block::default()
    };
    let detail = v1::ExternalDetail {
        address: "192.0.2.1:80".to_owned(),
        status: Some(503),
        failure: "status 503 Service Unavailable".to_owned(),
        connect_micros: Some(400),
        ..v1::ExternalDetail::default()
    };
    let outside = v1::Block {
        kind: v1::ProbeKind::Http.into(),
        plane: v1::Plane::Host.into(),
        family: v1::Family::V4.into(),
        target_delta: vec![1],
        sent: vec![1],
        replied: vec![0],
        rtt_min: vec![0].into(),
        rtt_median: vec![0].into(),
        rtt_max: vec![0].into(),
        outcomes: vec![v1::OutcomeCount {
            row: 0,
            class: v1::OutcomeClass::HttpStatus.into(),
            count: 1,
        }],
        failing: vec![v1::Failing {
            row: 0,
            consecutive_losses: prober.sequence as u32,
            first_loss_age_millis: prober.sequence as u32 * 2_000,
            last_outcome: v1::OutcomeClass::HttpStatus.into(),
            ..v1::Failing::default()
        }],
        details: vec![v1::RowDetail {
            row: 0,
            detail: Some(v1::Detail {
                detail: Some(v1::detail::Detail::External(detail)),
            }),
        }],
        ..v1::Block::default()
    };
    let report = v1::Report {
        incarnation: INCARNATION,
        sequence: prober.sequence,
        window_start_unix_millis: now - 2_000,
        window_millis: 2_000,
        blocks: vec![peers, outside],
        self_health: Some(v1::SelfHealth::default()),
        ..v1::Report::default()
    };
    prober.send(Up::Report(report)).await;
}

/// Reports until an incident is open and somebody was told in vain.
async fn incident(aggregator: &Aggregator, probers: &mut [(Prober, &str)]) -> String {
    for _ in 0..30 {
        for (prober, peer) in probers.iter_mut() {
            report(prober, peer).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (_, open) = aggregator.get("/api/v1/incidents").await;
        let Some(id) = open["incidents"][0]["id"].as_str() else {
            continue;
        };
        let (_, detail) = aggregator.get(&format!("/api/v1/incidents/{id}")).await;
        let told = detail["notifications"].as_array().unwrap();
        let failed = told
            .iter()
            .filter(|one| one["lastError"].as_str().is_some_and(|why| !why.is_empty()));
        if failed.count() == 4 {
            return id.to_owned();
        }
    }
    panic!("no incident was opened and told of in a minute");
}

/// Every way in which a text may stand in octets.
fn forms(text: &str) -> Vec<String> {
    let digits = text.bytes().flat_map(|octet| [octet >> 4, octet & 15]);
    let hex: String = digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect();
    // Base64 of a text inside of another one has no padding and one of three beginnings; the middle is in each of them.
    let encoded = (0..3).flat_map(|skip| {
        let middle = &text.as_bytes()[skip..];
        let middle = &middle[..middle.len() / 3 * 3];
        [STANDARD.encode(middle), URL_SAFE.encode(middle)]
    });
    let encoded = encoded.filter(|form| !form.is_empty());
    encoded.chain([text.to_owned(), hex]).collect()
}

fn has(octets: &[u8], text: &str) -> bool {
    let is_there = |form: &String| {
        octets
            .windows(form.len())
            .any(|part| part == form.as_bytes())
    };
    forms(text).iter().any(is_there)
}

#[tokio::test]
async fn the_bundle_of_an_incident_has_no_secret_of_the_configuration() {
    let folder = Folder::new();
    let (listener, closed) = any_port().await;
    drop(listener);
    let aggregator = Aggregator::start(&folder, &configuration(&folder, closed));
    let mut probers = Vec::new();
    for (number, peer) in [(1, "mesh-2"), (2, "mesh-3"), (3, "mesh-1")] {
        let (node, ip) = (format!("mesh-{number}"), format!("10.0.0.{number}"));
        let prober = Prober::connect(&aggregator, &node, &ip).await;
        probers.push((prober, peer));
    }
    let id = incident(&aggregator, &mut probers).await;
    let answer = http_client()
        .get(format!(
            "http://{}/api/v1/incidents/{id}/bundle",
            aggregator.http
        ))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let file = answer.bytes().await.unwrap();

    // Everything that can be read of it: the file, its lines, and the packed rows in these.
    let lines = pack::expand(&file, EXPANDED).unwrap();
    let bundle = bundle::read(&file[..], Limits::default()).unwrap();
    assert!(!bundle.pictures.is_empty());
    let mut layers = vec![file.to_vec(), lines];
    for packed in &bundle.pictures {
        layers.push(serde_json::to_vec(&packed.unpack().unwrap()).unwrap());
        layers.push(serde_json::to_vec(&packed.findings).unwrap());
    }
    let found = |text: &str| layers.iter().any(|layer| has(layer, text));
    // The search finds what is there: in the lines, and in the packed rows.
    assert!(found("mesh-3") && found("shop"), "names");
    assert!(found("status 503 Service Unavailable"), "a cell's detail");
    assert!(
        bundle.incident["incident"]["pattern"] == "http",
        "{}",
        bundle.incident
    );
    assert_eq!(
        bundle.incident["notifications"].as_array().unwrap().len(),
        4
    );
    for (what, text) in SECRETS {
        assert!(!found(text), "{what} is in the bundle");
    }
    for text in [TARGET_QUERY, TARGET_BODY] {
        assert!(!found(text), "{text} of a target outside is in the bundle");
    }

    // Nor do the other answers about it have one: what failed is told without addresses.
    for path in [
        format!("/api/v1/incidents/{id}"),
        "/api/v1/notifications".to_owned(),
        "/api/v1/findings".to_owned(),
        "/api/v1/status".to_owned(),
    ] {
        let (_, answer): (u16, Value) = aggregator.get(&path).await;
        let answer = serde_json::to_vec(&answer).unwrap();
        for (what, text) in SECRETS {
            assert!(!has(&answer, text), "{what} is in {path}");
        }
    }
}
