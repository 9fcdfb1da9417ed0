//! The whole process: the real binary with real listeners, as its clients and its supervisor see it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use meshprobe_proto::v1::{
    self, aggregator_message::Message as Down, mesh_service_client::MeshServiceClient,
    prober_message::Message as Up, prober_service_client::ProberServiceClient,
};
use serde_json::Value;
use support::{Folder, PATIENCE};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

const BINARY: &str = env!("CARGO_BIN_EXE_meshprobe-aggregator");

/// A running aggregator.
struct Aggregator {
    child: Child,
    grpc: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
    config: PathBuf,
    _log: std::thread::JoinHandle<()>,
}

impl Aggregator {
    fn start(folder: &Folder, more: &str) -> Self {
        let config = folder.file("aggregator.yaml");
        let text = format!(
            "listen: {{grpc: [\"127.0.0.1:0\"], http: [\"127.0.0.1:0\"], admin: \"127.0.0.1:0\"}}\n\
             store: {{path: {}}}\nlog: {{format: json}}\n{more}",
            folder.file("a.db").display()
        );
        fs::write(&config, text).unwrap();
        let mut child = Command::new(BINARY)
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let listening = log
            .by_ref()
            .find(|line| line.contains("\"Listening\""))
            .expect("the process says where it listens");
        let line: Value = serde_json::from_str(&listening).unwrap();
        let fields = line.get("fields").unwrap_or(&line);
        let address = |name: &str| -> SocketAddr {
            let text = fields[name].as_str().unwrap();
            text.trim_start_matches("Some(")
                .trim_end_matches(')')
                .trim_matches(['[', ']'])
                .parse()
                .unwrap()
        };
        let (grpc, http, admin) = (address("grpc"), address("http"), address("admin"));
        // A full pipe would stop the process.
        let log = std::thread::spawn(move || log.for_each(|line| eprintln!("{line}")));
        Self {
            child,
            grpc,
            http,
            admin,
            config,
            _log: log,
        }
    }

    async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    async fn mesh(&self) -> MeshServiceClient<Channel> {
        MeshServiceClient::new(self.channel().await)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let response = http_client()
            .get(format!("http://{}{path}", self.http))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn admin(&self, method: reqwest::Method, path: &str) -> (u16, String) {
        let response = http_client()
            .request(method, format!("http://{}{path}", self.admin))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    fn terminate(&self) {
        Command::new("kill")
            .arg("-TERM")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
    }

    async fn exit_code(mut self) -> Option<i32> {
        let waited = tokio::task::spawn_blocking(move || self.child.wait().unwrap().code());
        timeout(PATIENCE, waited).await.unwrap().unwrap()
    }
}

impl Drop for Aggregator {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn http_client() -> reqwest::Client {
    meshprobe_daemon::tls::install_crypto_provider();
    let roots = rustls::RootCertStore::empty();
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .build()
        .unwrap()
}

/// A prober as the aggregator sees it.
struct Prober {
    up: mpsc::Sender<v1::ProberMessage>,
    down: Streaming<v1::AggregatorMessage>,
    sequence: u64,
}

const INCARNATION: u64 = 7;

impl Prober {
    async fn connect(aggregator: &Aggregator, node: &str, ip: &str) -> Self {
        let (up, up_rx) = mpsc::channel(16);
        let hello = v1::Hello {
            node: node.to_owned(),
            plane: v1::Plane::Pod.into(),
            incarnation: INCARNATION,
            version: "1.2.3".to_owned(),
            zone: "z1".to_owned(),
            addresses: vec![v1::Address {
                plane: v1::Plane::Pod.into(),
                ip: ip.to_owned(),
                udp_port: 4862,
                tcp_port: 4862,
            }],
            way: v1::WayHome::Overlay.into(),
            ..v1::Hello::default()
        };
        up.send(v1::ProberMessage {
            message: Some(Up::Hello(hello)),
        })
        .await
        .unwrap();
        let mut client = ProberServiceClient::new(aggregator.channel().await);
        let down = client
            .connect(ReceiverStream::new(up_rx))
            .await
            .unwrap()
            .into_inner();
        Self {
            up,
            down,
            sequence: 0,
        }
    }

    async fn send(&self, message: Up) {
        self.up
            .send(v1::ProberMessage {
                message: Some(message),
            })
            .await
            .unwrap();
    }

    async fn next(&mut self) -> Option<Down> {
        let received = timeout(PATIENCE, self.down.message()).await.unwrap();
        received.ok().flatten().and_then(|message| message.message)
    }

    /// Ten seconds in which every probe to `peer` was answered.
    async fn report(&mut self, peer: &str) {
        let entry = v1::DictionaryEntry {
            number: 0,
            target: Some(v1::dictionary_entry::Target::Node(peer.to_owned())),
        };
        if self.sequence == 0 {
            self.send(Up::Dictionary(v1::Dictionary {
                incarnation: INCARNATION,
                entries: vec![entry],
            }))
            .await;
        }
        self.sequence += 1;
        let now = meshprobe_daemon::clock::since_epoch().as_millis() as u64;
        let report = v1::Report {
            incarnation: INCARNATION,
            sequence: self.sequence,
            window_start_unix_millis: (now - 10_000) / 1000 * 1000,
            window_millis: 10_000,
            blocks: vec![v1::Block {
                kind: v1::ProbeKind::Udp.into(),
                plane: v1::Plane::Pod.into(),
                family: v1::Family::V4.into(),
                target_delta: vec![0],
                sent: vec![10],
                replied: vec![10],
                received: vec![10],
                rtt_min: vec![80].into(),
                rtt_median: vec![81].into(),
                rtt_max: vec![90].into(),
                ..v1::Block::default()
            }],
            self_health: Some(v1::SelfHealth::default()),
            ..v1::Report::default()
        };
        self.send(Up::Report(report)).await;
    }

    async fn acknowledged(&mut self) -> u64 {
        loop {
            if let Down::Ack(ack) = self.next().await.expect("an acknowledgement") {
                return ack.sequence;
            }
        }
    }
}

/// Two probers that see each other.
async fn two_probers(aggregator: &Aggregator) -> (Prober, Prober) {
    let mut a = Prober::connect(aggregator, "mesh-1", "10.0.0.1").await;
    let mut b = Prober::connect(aggregator, "mesh-2", "10.0.0.2").await;
    for prober in [&mut a, &mut b] {
        assert!(matches!(prober.next().await, Some(Down::Assignment(_))));
    }
    a.report("mesh-2").await;
    b.report("mesh-1").await;
    assert_eq!((a.acknowledged().await, b.acknowledged().await), (1, 1));
    (a, b)
}

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
        .list_nodes(v1::ListNodesRequest {})
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
    };
    let path = mesh.get_path(request).await.unwrap().into_inner();
    assert_eq!((path.forward.len(), path.reverse.len()), (1, 1));
    assert_eq!((path.forward[0].sent, path.forward[0].replied), (10, 10));
    let (_, json) = aggregator
        .get("/api/v1/path?source=mesh-1&target=mesh-2")
        .await;
    assert_eq!(json["forward"][0]["verdict"], "VERDICT_HEALTHY");

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
        ("/api/v1/matrix?kind=icmp", 400, "INVALID_ARGUMENT", "icmp"),
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
    let mut mesh = aggregator.mesh().await;
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
    };
    assert_eq!(
        mesh.get_path(request).await.unwrap_err().code(),
        Code::NotFound
    );
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

impl Aggregator {
    /// Clients hang up when they are told to.
    async fn exit_code_after_drop_of<T>(self, clients: T) -> Option<i32> {
        drop(clients);
        self.exit_code().await
    }
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
        .list_nodes(v1::ListNodesRequest {})
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
        "webhooks: [{name: pager, url: \"http://127.0.0.1:9/\"}]\n",
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
    assert_eq!((code, answer.trim()), (200, "changed: webhooks"));
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

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(BINARY).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
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
