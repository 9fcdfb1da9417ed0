//! The real binary with real listeners, and probers as it sees them.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use meshprobe_proto::v1::{
    self, aggregator_message::Message as Down, mesh_service_client::MeshServiceClient,
    prober_message::Message as Up, prober_service_client::ProberServiceClient,
};
use serde_json::Value;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

use super::{Folder, PATIENCE};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_meshprobe-aggregator");

/// A running aggregator.
#[derive(Debug)]
pub(crate) struct Aggregator {
    pub(crate) child: Child,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) config: PathBuf,
    _log: std::thread::JoinHandle<()>,
}

impl Aggregator {
    pub(crate) fn start(folder: &Folder, more: &str) -> Self {
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

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub(crate) async fn mesh(&self) -> MeshServiceClient<Channel> {
        MeshServiceClient::new(self.channel().await)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let response = http_client()
            .get(format!("http://{}{path}", self.http))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn post(&self, path: &str, content_type: &str, body: &str) -> (u16, Value) {
        let request = http_client()
            .post(format!("http://{}{path}", self.http))
            .header("content-type", content_type)
            .body(body.to_owned());
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            serde_json::from_str(&answer.text().await.unwrap()).unwrap(),
        )
    }

    pub(crate) async fn admin(&self, method: reqwest::Method, path: &str) -> (u16, String) {
        let response = http_client()
            .request(method, format!("http://{}{path}", self.admin))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) fn terminate(&self) {
        Command::new("kill")
            .arg("-TERM")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
    }

    pub(crate) async fn exit_code(mut self) -> Option<i32> {
        let waited = tokio::task::spawn_blocking(move || self.child.wait().unwrap().code());
        timeout(PATIENCE, waited).await.unwrap().unwrap()
    }

    /// Clients hang up when they are told to.
    pub(crate) async fn exit_code_after_drop_of<T>(self, clients: T) -> Option<i32> {
        drop(clients);
        self.exit_code().await
    }
}

impl Drop for Aggregator {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) fn http_client() -> reqwest::Client {
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
#[derive(Debug)]
pub(crate) struct Prober {
    pub(crate) up: mpsc::Sender<v1::ProberMessage>,
    pub(crate) down: Streaming<v1::AggregatorMessage>,
    pub(crate) sequence: u64,
}

pub(crate) const INCARNATION: u64 = 7;

impl Prober {
    pub(crate) async fn connect(aggregator: &Aggregator, node: &str, ip: &str) -> Self {
        let prober = Self::connect_by(aggregator.channel().await, node, ip).await;
        prober.unwrap()
    }

    /// A prober that calls by a connection of the test's own.
    pub(crate) async fn connect_by(channel: Channel, node: &str, ip: &str) -> Result<Self, Status> {
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
                quic_port: 0,
            }],
            way: v1::WayHome::Overlay.into(),
            ..v1::Hello::default()
        };
        up.send(v1::ProberMessage {
            message: Some(Up::Hello(hello)),
        })
        .await
        .unwrap();
        let mut client = ProberServiceClient::new(channel);
        let answer = client.connect(ReceiverStream::new(up_rx)).await?;
        Ok(Self {
            up,
            down: answer.into_inner(),
            sequence: 0,
        })
    }

    pub(crate) async fn send(&self, message: Up) {
        self.up
            .send(v1::ProberMessage {
                message: Some(message),
            })
            .await
            .unwrap();
    }

    pub(crate) async fn next(&mut self) -> Option<Down> {
        let received = timeout(PATIENCE, self.down.message()).await.unwrap();
        received.ok().flatten().and_then(|message| message.message)
    }

    /// Ten seconds in which every probe to `peer` was answered.
    pub(crate) async fn report(&mut self, peer: &str) {
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

    pub(crate) async fn acknowledged(&mut self) -> u64 {
        loop {
            if let Down::Ack(ack) = self.next().await.expect("an acknowledgement") {
                return ack.sequence;
            }
        }
    }
}

/// Two probers that see each other.
pub(crate) async fn two_probers(aggregator: &Aggregator) -> (Prober, Prober) {
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
