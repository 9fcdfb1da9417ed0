//! Alerts pushed to the real Alertmanager of Debian's packages, and what it makes of them.
//!
//! The program has to be there: `apt-get install --no-install-recommends prometheus-alertmanager`, which
//! `cargo xtask test` does. Each test runs its own on loopback with a data directory of its own.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use meshprobe_aggregator::{config::ReceiverConfig, incident::Transition};
use meshprobe_core::ids::NodeName;
use serde_json::{Value, json};
use support::{Folder, Inbox, Way, any_port, dark, eventually, now, receiver, resolved};

/// Alertmanager as Debian names it.
const PROGRAM: &str = "prometheus-alertmanager";

/// A running Alertmanager, killed when it is dropped.
struct Alertmanager {
    address: SocketAddr,
    child: Child,
    client: reqwest::Client,
    _log: std::thread::JoinHandle<()>,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Alertmanager {
    /// One that tells `inbox` about groups of alerts by their names, at once and again every second.
    fn start(folder: &Folder, name: &str, listen: &str, inbox: SocketAddr) -> Self {
        meshprobe_daemon::tls::install_crypto_provider();
        let config = json!({
            "global": {"resolve_timeout": "2s"},
            "route": {
                "receiver": "inbox", "group_by": ["alertname"],
                "group_wait": "300ms", "group_interval": "1s", "repeat_interval": "1h",
            },
            "receivers": [{
                "name": "inbox",
                "webhook_configs": [{"url": format!("http://{inbox}/"), "send_resolved": true}],
            }],
        });
        let path = folder.file(&format!("{name}.yml"));
        fs::write(&path, config.to_string()).unwrap();
        let mut child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.path={}", folder.file(name).display()))
            .arg(format!("--web.listen-address={listen}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "start {PROGRAM}: {error}; apt-get install --no-install-recommends {PROGRAM}"
                )
            });
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| {
                let (_, address) = line.split_once("\"Listening on\" address=")?;
                address.trim().parse().ok()
            })
            .expect("it says where it listens");
        // Its log is read to the end, so that it never waits for a reader.
        let log = std::thread::spawn(move || lines.for_each(drop));
        Self {
            address,
            child,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            _log: log,
        }
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("http://{}/api/v2/{path}", self.address);
        let answer = self.client.get(url).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// The alerts that fire, whether somebody is told or not.
    async fn alerts(&self) -> Vec<Value> {
        let alerts = self.get("alerts?active=true&silenced=true").await;
        alerts.as_array().unwrap().clone()
    }

    async fn wait_for_alerts(&self, count: usize) -> Vec<Value> {
        let patience = clock_end();
        loop {
            let alerts = self.alerts().await;
            if alerts.len() == count {
                return alerts;
            }
            assert!(
                meshprobe_daemon::clock::now() < patience,
                "{count} alerts did not come: {alerts:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn silence(&self, label: &str, value: &str) {
        let at = now();
        let silence = json!({
            "matchers": [{"name": label, "value": value, "isRegex": false, "isEqual": true}],
            "startsAt": at, "endsAt": at + jiff::SignedDuration::from_hours(1),
            "createdBy": "test", "comment": "holds",
        });
        let url = format!("http://{}/api/v2/silences", self.address);
        let request = self
            .client
            .post(url)
            .header("content-type", "application/json");
        let answer = request.body(silence.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }
}

fn clock_end() -> std::time::Instant {
    meshprobe_daemon::clock::now() + support::PATIENCE
}

fn push_to(members: &[SocketAddr], resend: &str) -> ReceiverConfig {
    let urls: Vec<String> = members
        .iter()
        .map(|address| format!("http://{address}"))
        .collect();
    receiver(&format!(
        "{{name: am, alertmanager: {{urls: {}, resend: {resend}, labels: {{cluster: lab}}}}}}",
        json!(urls)
    ))
}

async fn served() -> (Inbox, SocketAddr, tokio::task::JoinSet<()>) {
    let inbox = Inbox::default();
    let (listener, address) = any_port().await;
    let serving = inbox.serve(listener);
    (inbox, address, serving)
}

/// Alerts of the newest message of a group: name of the node and status.
fn newest(inbox: &Inbox) -> Vec<String> {
    let Some(last) = inbox.all().last().map(support::Received::json) else {
        return Vec::new();
    };
    let mut alerts: Vec<String> = last["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|alert| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            format!(
                "{} {}",
                text(&alert["labels"]["node"]),
                text(&alert["status"])
            )
        })
        .collect();
    alerts.sort();
    alerts
}

#[tokio::test]
async fn alerts_arrive_at_every_member_are_grouped_and_end() {
    let folder = Folder::new();
    let (inbox, address, _serving) = served().await;
    let (other_inbox, other_address, _other_serving) = served().await;
    let first = Alertmanager::start(&folder, "am-1", "127.0.0.1:0", address);
    let second = Alertmanager::start(&folder, "am-2", "127.0.0.1:0", other_address);
    let push = push_to(&[first.address, second.address], "1s");
    let way = Way::start(folder.file("a.db"), &[push]).unwrap();

    let incidents = [dark("mesh-1"), dark("mesh-2")];
    for incident in &incidents {
        way.tell(Transition::Opened, incident.clone()).await;
    }
    for member in [&first, &second] {
        let alerts = member.wait_for_alerts(2).await;
        let labels = &alerts[0]["labels"];
        assert_eq!(labels["alertname"], "NodeDark");
        assert_eq!(labels["severity"], "critical");
        assert_eq!(labels["cluster"], "lab");
        assert!(
            alerts[0]["annotations"]["summary"]
                .as_str()
                .unwrap()
                .ends_with("is dark")
        );
    }
    let both = ["mesh-1 firing", "mesh-2 firing"];
    eventually("one group with both", || newest(&inbox) == both).await;
    eventually("the same at the other", || newest(&other_inbox) == both).await;

    let [one, two] = incidents;
    way.tell(Transition::Resolved, resolved(one)).await;
    first.wait_for_alerts(1).await;
    second.wait_for_alerts(1).await;
    eventually("the end of one", || {
        newest(&inbox) == ["mesh-1 resolved", "mesh-2 firing"]
    })
    .await;
    way.tell(Transition::Resolved, resolved(two)).await;
    first.wait_for_alerts(0).await;
    eventually("the end of the other", || {
        newest(&inbox).contains(&"mesh-2 resolved".to_owned())
    })
    .await;
    way.stop().await;
}

#[tokio::test]
async fn a_silence_holds_while_nodes_join_because_labels_stay() {
    let folder = Folder::new();
    let (inbox, address, _serving) = served().await;
    let manager = Alertmanager::start(&folder, "am", "127.0.0.1:0", address);
    manager.silence("node", "mesh-1").await;
    let push = push_to(&[manager.address], "1s");
    let way = Way::start(folder.file("a.db"), &[push]).unwrap();

    let mut silenced = dark("mesh-1");
    way.tell(Transition::Opened, silenced.clone()).await;
    manager.wait_for_alerts(1).await;
    silenced.nodes.push(NodeName::try_from("mesh-7").unwrap());
    way.tell(Transition::Updated, silenced).await;
    // The sign that everything before it was dealt with.
    way.tell(Transition::Opened, dark("mesh-2")).await;
    let alerts = manager.wait_for_alerts(2).await;
    eventually("the one that is not silenced", || {
        newest(&inbox) == ["mesh-2 firing"]
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let told: Vec<String> = inbox
        .all()
        .iter()
        .map(|one| one.json().to_string())
        .collect();
    assert!(told.iter().all(|text| !text.contains("mesh-1")), "{told:?}");
    let alerts_now = manager.wait_for_alerts(2).await;
    for all in [&alerts, &alerts_now] {
        let one = all
            .iter()
            .find(|alert| alert["labels"]["node"] == "mesh-1")
            .unwrap();
        assert_eq!(one["status"]["state"], "suppressed");
    }
    let one = alerts_now
        .iter()
        .find(|alert| alert["labels"]["node"] == "mesh-1")
        .unwrap();
    assert_eq!(one["annotations"]["nodes"], "mesh-1, mesh-7");
    way.stop().await;
}

#[tokio::test]
async fn what_fires_is_kept_alive_and_ends_by_itself_when_nobody_says_it_any_more() {
    let folder = Folder::new();
    let (inbox, address, _serving) = served().await;
    let manager = Alertmanager::start(&folder, "am", "127.0.0.1:0", address);
    let push = push_to(&[manager.address], "1s");
    let way = Way::start(folder.file("a.db"), &[push]).unwrap();
    way.tell(Transition::Opened, dark("mesh-1")).await;
    manager.wait_for_alerts(1).await;
    // Longer than resolve_timeout (2 s) and than the end that was set ahead (4 s).
    for _ in 0..14 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(manager.alerts().await.len(), 1);
    }
    assert_eq!(newest(&inbox), ["mesh-1 firing"]);
    // The aggregator is gone, the incident open: what is left is an alert that nobody says again.
    way.stop().await;
    manager.wait_for_alerts(0).await;
    eventually("the end", || newest(&inbox) == ["mesh-1 resolved"]).await;
    // It comes back and says at once what stands.
    let push = push_to(&[manager.address], "1s");
    let way = Way::start(folder.file("a.db"), &[push]).unwrap();
    manager.wait_for_alerts(1).await;
    way.stop().await;
}

#[tokio::test]
async fn a_member_that_was_away_hears_what_it_missed() {
    let folder = Folder::new();
    let (_inbox, address, _serving) = served().await;
    let first = Alertmanager::start(&folder, "am-1", "127.0.0.1:0", address);
    let (listener, away) = any_port().await;
    drop(listener);
    let push = push_to(&[first.address, away], "1s");
    let way = Way::start(folder.file("a.db"), &[push]).unwrap();
    let incident = dark("mesh-1");
    way.tell(Transition::Opened, incident.clone()).await;
    first.wait_for_alerts(1).await;
    eventually("nothing waits: one member has it", || {
        way.pending.count() == 0
    })
    .await;
    let second = Alertmanager::start(&folder, "am-2", &away.to_string(), address);
    second.wait_for_alerts(1).await;
    way.tell(Transition::Resolved, resolved(incident)).await;
    second.wait_for_alerts(0).await;
    way.stop().await;
}
