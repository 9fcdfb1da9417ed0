//! The whole process: the real binary with real listeners, as its supervisor and its configuration see it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use meshprobe_proto::v1::{self, aggregator_message::Message as Down};
use serde_json::Value;
use support::{
    Folder, PATIENCE,
    process::{Aggregator, BINARY, Prober, http_client, two_probers},
};
use tokio::time::timeout;

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(BINARY).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[tokio::test]
async fn nodes_are_remembered_over_a_kill_and_no_report_is_asked_for_twice() {
    let folder = Folder::new();
    let mut aggregator = Aggregator::start(&folder, "");
    let probers = two_probers(&aggregator).await;
    aggregator.child.kill().unwrap();
    aggregator.child.wait().unwrap();
    drop(probers);

    let aggregator = Aggregator::start(&folder, "");
    let mut mesh = aggregator.mesh().await;
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
}

#[tokio::test]
async fn the_admin_port_shows_metrics_and_reloads() {
    use reqwest::Method;
    let folder = Folder::new();
    let aggregator = Aggregator::start(
        &folder,
        "receivers: [{name: pager, webhook: {url: \"http://127.0.0.1:9/\"}}]\n",
    );
    let _probers = two_probers(&aggregator).await;
    assert_eq!(aggregator.admin(Method::GET, "/readyz").await.0, 200);
    let (_, metrics) = aggregator.admin(Method::GET, "/metrics").await;
    for expected in [
        "meshprobe_aggregator_reports_total{result=\"taken\"} 2",
        "meshprobe_aggregator_prober_streams 2",
        "meshprobe_aggregator_store_writable 1",
        "meshprobe_aggregator_notification_attempts_total{receiver=\"pager\",result=\"delivered\"} 0",
        "meshprobe_aggregator_notifications_pending{receiver=\"pager\"} 0",
        "meshprobe_build_info{name=\"meshprobe-aggregator\"",
    ] {
        assert!(
            metrics.contains(expected),
            "{expected} is missing:\n{metrics}"
        );
    }

    let text = fs::read_to_string(&aggregator.config).unwrap();
    let (code, answer) = aggregator.admin(Method::POST, "/-/reload").await;
    assert_eq!(
        (code, answer.starts_with("no section changed")),
        (200, true),
        "{answer}"
    );
    fs::write(
        &aggregator.config,
        text.replace("name: pager", "name: other"),
    )
    .unwrap();
    let (code, answer) = aggregator.admin(Method::POST, "/-/reload").await;
    assert_eq!((code, answer.trim()), (200, "changed: receivers"));
    fs::write(&aggregator.config, format!("{text}nonsense: 1\n")).unwrap();
    let (code, answer) = aggregator.admin(Method::POST, "/-/reload").await;
    assert_eq!(code, 400);
    assert!(
        answer.contains("aggregator.yaml:5:1") && answer.contains("nonsense"),
        "{answer}"
    );
    let (_, metrics) = aggregator.admin(Method::GET, "/metrics").await;
    assert!(
        metrics.contains("notifications_pending{receiver=\"other\"}"),
        "{metrics}"
    );
    assert!(
        metrics.contains("config_last_reload_successful 0"),
        "{metrics}"
    );

    // Nobody asks: a mounted file changes without a signal.
    fs::write(&aggregator.config, text).unwrap();
    let followed = async {
        loop {
            let (_, metrics) = aggregator.admin(Method::GET, "/metrics").await;
            if metrics.contains("notifications_pending{receiver=\"pager\"}") {
                return metrics;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let metrics = timeout(PATIENCE, followed).await.unwrap();
    assert!(
        !metrics.contains("notifications_pending{receiver=\"other\"}"),
        "{metrics}"
    );
    assert!(
        metrics.contains("config_last_reload_successful 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_prober_of_a_node_that_is_not_listed_is_refused_where_nodes_do_not_register_themselves() {
    let folder = Folder::new();
    // It is remembered from a time when that was allowed.
    let aggregator = Aggregator::start(&folder, "");
    drop(two_probers(&aggregator).await);
    aggregator.terminate();
    assert_eq!(aggregator.exit_code().await, Some(0));

    let closed = "membership: {self_registration: false}\nnodes: [{name: mesh-1}]\n";
    let aggregator = Aggregator::start(&folder, closed);
    let mut listed = Prober::connect(&aggregator, "mesh-1", "10.0.0.1").await;
    assert!(matches!(listed.next().await, Some(Down::Assignment(_))));
    let mut stranger = Prober::connect(&aggregator, "mesh-2", "10.0.0.2").await;
    let refusal = timeout(PATIENCE, stranger.down.message())
        .await
        .unwrap()
        .unwrap_err();
    assert!(refusal.message().contains("add it to `nodes`"), "{refusal}");
    let (_, json) = aggregator.get("/api/v1/nodes").await;
    assert_eq!(json["nodes"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_reload_changes_the_mesh_without_ending_a_stream() {
    use reqwest::Method;
    let folder = Folder::new();
    let aggregator = Aggregator::start(&folder, "nodes: [{name: planned}]\n");
    let mut prober = Prober::connect(&aggregator, "mesh-1", "10.0.0.1").await;
    let assignment = async |prober: &mut Prober| loop {
        if let Down::Assignment(assignment) = prober.next().await.expect("an assignment") {
            return assignment;
        }
    };
    let first = assignment(&mut prober).await;
    assert_eq!(first.report_interval_millis, 10_000);
    assert_eq!((first.dns.len(), first.peers.len()), (0, 1));

    let text = fs::read_to_string(&aggregator.config).unwrap();
    let changed = text.replace("planned", "other")
        + "probing: {report_interval: 5s}\n\
           dns: [{server: vip, address: \"10.0.0.9:53\", plane: service, names: [{name: a.b.}]}]\n";
    fs::write(&aggregator.config, changed).unwrap();
    let (code, answer) = aggregator.admin(Method::POST, "/-/reload").await;
    assert_eq!((code, answer.trim()), (200, "changed: dns, nodes, probing"));
    // The node that is no longer listed goes in a step of its own.
    let last = loop {
        let next = assignment(&mut prober).await;
        let peers: Vec<&str> = next.peers.iter().map(|peer| peer.node.as_str()).collect();
        if peers == ["other"] {
            break next;
        }
    };
    assert_eq!((last.report_interval_millis, last.dns.len()), (5_000, 1));
    assert!(last.generation > first.generation);

    // What does not fit is refused as a whole, and what is in force stays.
    let too_small = text + "membership: {max_nodes: 1}\nprobing: {report_interval: 7s}\n";
    fs::write(&aggregator.config, too_small).unwrap();
    let (code, answer) = aggregator.admin(Method::POST, "/-/reload").await;
    assert_eq!(
        (code, answer.contains("raise max_nodes")),
        (400, true),
        "{answer}"
    );
    prober.report("other").await;
    assert_eq!(
        prober.acknowledged().await,
        1,
        "the stream is still the first one"
    );
}

#[tokio::test]
async fn a_key_is_replaced_in_three_reloads_and_an_expired_one_is_refused() {
    use reqwest::Method;
    let folder = Folder::new();
    let key = |name: &str| {
        let path = folder.file(name);
        fs::write(&path, format!("the secret that is called {name}\n")).unwrap();
        format!("{{file: {}}}", path.display())
    };
    let (old, new) = (key("old"), key("new"));
    let keys = |keys: &[&str]| format!("stamp: {{keys: [{}]}}\n", keys.join(", "));
    let aggregator = Aggregator::start(&folder, &keys(&[&old]));
    let base = fs::read_to_string(&aggregator.config).unwrap();
    let base = base.replace(&keys(&[&old]), "");
    let mut prober = Prober::connect(&aggregator, "mesh-1", "10.0.0.1").await;
    let secrets = async |prober: &mut Prober| loop {
        if let Down::Assignment(assignment) = prober.next().await.expect("an assignment") {
            let keys = assignment.stamp_keys.into_iter();
            return keys
                .map(|key| String::from_utf8(key).unwrap())
                .collect::<Vec<_>>();
        }
    };
    let (old_secret, new_secret) = (
        "the secret that is called old",
        "the secret that is called new",
    );
    assert_eq!(secrets(&mut prober).await, [old_secret]);
    // In each step every prober accepts what the others send before and after it.
    for (step, expected) in [
        (keys(&[&old, &new]), vec![old_secret, new_secret]),
        (keys(&[&new, &old]), vec![new_secret, old_secret]),
        (keys(&[&new]), vec![new_secret]),
    ] {
        fs::write(&aggregator.config, format!("{base}{step}")).unwrap();
        let (code, answer) = aggregator.admin(Method::POST, "/-/reload").await;
        assert_eq!((code, answer.trim()), (200, "changed: stamp"));
        assert_eq!(secrets(&mut prober).await, expected);
    }
    fs::write(&aggregator.config, format!("{base}{}", keys(&[&old]))).unwrap();
    let (code, answer) = aggregator.admin(Method::POST, "/-/reload").await;
    assert_eq!(code, 200);
    assert!(answer.contains("probes are lost until"), "{answer}");
    let expired = new.replace('}', ", not_after: 2020-01-01T00:00:00Z}");
    fs::write(&aggregator.config, format!("{base}{}", keys(&[&expired]))).unwrap();
    let (code, answer) = aggregator.admin(Method::POST, "/-/reload").await;
    assert_eq!(code, 400, "{answer}");
    assert!(
        answer.contains("stamp.keys[0].not_after: this key expired at 2020-01-01"),
        "{answer}"
    );
    prober.report("mesh-2").await;
    assert_eq!(prober.acknowledged().await, 1, "what is in force stays");
}

#[test]
fn a_bad_configuration_ends_with_code_2_and_its_place() {
    let folder = Folder::new();
    let path = folder.file("bad.yaml");
    fs::write(&path, "membership:\n  max_node: 3\n").unwrap();
    let path = path.to_str().unwrap();
    for args in [
        &["--config", path][..],
        &["--config", path, "--check-config"],
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        assert!(
            err.contains("bad.yaml:2:3") && err.contains("max_nodes"),
            "{err}"
        );
    }
    let (code, _, err) = run(&["--config", "/nonexistent.yaml"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("/nonexistent.yaml"), "{err}");
    let (code, _, err) = run(&["--listen-grpc", "4860"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("0.0.0.0:4860"), "{err}");
}

#[test]
fn a_good_configuration_can_be_checked_and_shown() {
    let folder = Folder::new();
    let path = folder.file("good.yaml");
    fs::write(&path, "detection: {dark_hold: 0s}\n").unwrap();
    let path = path.to_str().unwrap();
    let (code, out, err) = run(&["--config", path, "--check-config"]);
    assert_eq!((code, out.contains("is good")), (Some(0), true), "{err}");
    let (code, out, _) = run(&[
        "--config",
        path,
        "--dump-config",
        "--store-path",
        "/tmp/x.db",
    ]);
    assert_eq!(code, Some(0));
    assert!(
        out.contains("dark_hold: 0s") && out.contains("path: /tmp/x.db"),
        "{out}"
    );
}

#[test]
fn a_taken_port_and_a_damaged_store_are_said_with_advice() {
    let folder = Folder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let store = folder.file("a.db");
    let any = "127.0.0.1:0";
    let args = [
        "--listen-grpc",
        &address,
        "--listen-http",
        any,
        "--listen-admin",
        any,
        "--store-path",
        store.to_str().unwrap(),
    ];
    let (code, _, err) = run(&args);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("listen.grpc[0]") && err.contains("another process listens there"),
        "{err}"
    );

    fs::write(
        &store,
        "this is no database, although it is long enough ".repeat(200),
    )
    .unwrap();
    let args = [
        "--listen-grpc",
        any,
        "--listen-http",
        any,
        "--listen-admin",
        any,
        "--store-path",
        store.to_str().unwrap(),
    ];
    let (code, _, err) = run(&args);
    assert_eq!(code, Some(2));
    assert!(
        err.contains("is damaged") && err.contains(".recover"),
        "{err}"
    );
}

#[tokio::test]
async fn a_socket_that_was_handed_in_is_served_beside_the_bound_one() {
    let folder = Folder::new();
    let handed_in = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = handed_in.local_addr().unwrap();
    let store = folder.file("a.db");
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$@\"";
    let mut child = Command::new("sh")
        .args([
            "-c",
            script,
            "sh",
            BINARY,
            "--log-format",
            "json",
            "--store-path",
        ])
        .arg(&store)
        .args([
            "--listen-grpc",
            "127.0.0.1:0",
            "--listen-http",
            "127.0.0.1:0",
        ])
        .args(["--listen-admin", "127.0.0.1:0"])
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "http")
        .env("MESHPROBE_LOG_LEVEL", "info")
        .stdin(std::os::fd::OwnedFd::from(handed_in))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let line = log
        .by_ref()
        .find(|line| line.contains("\"Listening\""))
        .unwrap();
    let _log = std::thread::spawn(move || log.for_each(|line| eprintln!("{line}")));
    let line: Value = serde_json::from_str(&line).unwrap();
    let fields = line.get("fields").unwrap_or(&line);
    let addresses: Vec<SocketAddr> = fields["http"]
        .as_str()
        .unwrap()
        .trim_matches(['[', ']'])
        .split(", ")
        .map(|text| text.parse().unwrap())
        .collect();
    assert_eq!((addresses.len(), addresses[0]), (2, address));
    for address in addresses {
        let answer = http_client()
            .get(format!("http://{address}/api/v1/status"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 200);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
