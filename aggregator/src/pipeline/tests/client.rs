//! An aggregator's pipeline on a loopback port, and probers that say what a test wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use meshprobe_core::ids::TargetNumber;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_core::rtt::RttCode;
use meshprobe_core::window::{Failing, Summary};
use meshprobe_daemon::shutdown::Shutdown;
use meshprobe_daemon::tasks::Tasks;
use meshprobe_proto::report::BlockBuilder;
use meshprobe_proto::v1;
use meshprobe_proto::v1::aggregator_message::Message as Down;
use meshprobe_proto::v1::prober_message::Message as Up;
use meshprobe_proto::v1::prober_service_client::ProberServiceClient;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Endpoint;
use tonic::{Status, Streaming};

use crate::membership::{Progress, Remembered, StoreChange};
use crate::pipeline::{
    MeshHandle, Outputs, Pipeline, PipelineConfig, PipelineMetrics, StoreBatch, StoreUnavailable,
};

/// Far longer than anything here takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const UDP: Layer = Layer {
    kind: ProbeKind::Udp,
    plane: Plane::Pod,
    family: Family::V4,
};

/// The pipeline, its store and its metrics.
pub(super) struct Aggregator {
    pub(super) handle: MeshHandle,
    pub(super) metrics: PipelineMetrics,
    pub(super) stored: Arc<Mutex<Vec<StoreChange>>>,
    pub(super) disk_full: Arc<AtomicBool>,
    pub(super) shutdown: Shutdown,
    pub(super) tasks: Tasks,
    address: SocketAddr,
}

impl Aggregator {
    pub(super) async fn start(config: PipelineConfig, remembered: Remembered) -> Self {
        let (store, mut batches) = mpsc::channel::<StoreBatch>(4);
        let (incidents, mut changes) = mpsc::channel(64);
        let metrics = PipelineMetrics::default();
        let outputs = Outputs { store, incidents };
        let pipeline = Pipeline::assemble(config, remembered, outputs, metrics.clone()).unwrap();
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new();
        let stored = Arc::new(Mutex::new(Vec::new()));
        let disk_full = Arc::new(AtomicBool::new(false));
        let (kept, full) = (Arc::clone(&stored), Arc::clone(&disk_full));
        tasks.spawn_helper("store", async move {
            while let Some(batch) = batches.recv().await {
                let written = if full.load(Ordering::SeqCst) {
                    Err(StoreUnavailable)
                } else {
                    kept.lock().extend(batch.changes);
                    Ok(())
                };
                batch.done.send(written).ok();
            }
        });
        tasks.spawn_helper("notifier", async move {
            while changes.recv().await.is_some() {}
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(pipeline.service());
        tasks.spawn_helper("server", async move {
            server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        let handle = pipeline.handle();
        pipeline.spawn(&mut tasks, &shutdown);
        Self {
            handle,
            metrics,
            stored,
            disk_full,
            shutdown,
            tasks,
            address,
        }
    }

    /// A prober that said Hello.
    pub(super) async fn prober(&self, node: &str, incarnation: u64, last: u8) -> Prober {
        let prober = self.caller().await;
        prober.say(Up::Hello(hello(node, incarnation, last))).await;
        prober
    }

    /// A prober that said nothing yet.
    pub(super) async fn caller(&self) -> Prober {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let mut client = ProberServiceClient::new(endpoint.connect().await.unwrap());
        let (say, said) = mpsc::channel(16);
        let answers = client.connect(ReceiverStream::new(said)).await.unwrap();
        Prober {
            say,
            answers: answers.into_inner(),
        }
    }

    /// A prober whose messages are whatever bytes the test wants, each as the first field of a message, which is the
    /// Hello.
    pub(super) async fn garbler(&self, messages: Vec<Vec<u8>>) -> Prober {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/meshprobe.v1.ProberService/Connect");
        let codec = tonic_prost::ProstCodec::<Vec<u8>, v1::AggregatorMessage>::default();
        // The caller does not hang up after its last message.
        let (say, _unused) = mpsc::channel(1);
        let messages = tokio_stream::iter(messages).chain(tokio_stream::pending());
        let answers = client.streaming(tonic::Request::new(messages), path, codec);
        Prober {
            say,
            answers: answers.await.unwrap().into_inner(),
        }
    }

    /// What is known of a→b, as far as a rejected report could change it.
    pub(super) async fn path_state(&self) -> String {
        let cells = self.handle.path("a", "b").await.unwrap();
        let cells = cells.forward.iter().chain(&cells.reverse);
        let facts = cells.map(|c| {
            (
                c.layer,
                c.sent,
                c.replied,
                c.received,
                c.updated_at.is_some(),
            )
        });
        format!("{:?}", facts.collect::<Vec<_>>())
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        let stored = self.stored.lock();
        stored.iter().rev().find_map(|change| match change {
            StoreChange::Progress(progress) => Some(progress.clone()),
            StoreChange::Node(_) | StoreChange::Forget(_) => None,
        })
    }
}

/// A prober's stream.
pub(super) struct Prober {
    say: mpsc::Sender<v1::ProberMessage>,
    answers: Streaming<v1::AggregatorMessage>,
}

impl Prober {
    pub(super) async fn say(&self, message: Up) {
        let message = v1::ProberMessage {
            message: Some(message),
        };
        self.say.send(message).await.unwrap();
    }

    pub(super) async fn hear(&mut self) -> Result<Down, Status> {
        let next = tokio::time::timeout(PATIENCE, self.answers.message());
        match next.await.expect("an answer in time") {
            Ok(Some(message)) => Ok(message.message.unwrap()),
            Ok(None) => Err(Status::ok("ended")),
            Err(status) => Err(status),
        }
    }

    /// The next assignment with so many peers.
    pub(super) async fn assignment(&mut self, peers: usize) -> v1::Assignment {
        loop {
            if let Down::Assignment(assignment) = self.hear().await.unwrap()
                && assignment.peers.len() == peers
            {
                return assignment;
            }
        }
    }

    /// Waits until everything up to `sequence` is acknowledged, and not more.
    pub(super) async fn ack(&mut self, sequence: u64) {
        loop {
            if let Down::Ack(ack) = self.hear().await.unwrap() {
                assert!(ack.sequence <= sequence, "{ack:?}");
                if ack.sequence == sequence {
                    return;
                }
            }
        }
    }

    /// How the stream ended.
    pub(super) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.hear().await {
                return status;
            }
        }
    }

    pub(super) async fn dictionary(&self, incarnation: u64, nodes: &[&str]) {
        let entry = |(number, node): (usize, &&str)| v1::DictionaryEntry {
            number: number as u32,
            target: Some(v1::dictionary_entry::Target::Node((*node).to_owned())),
        };
        let entries = nodes.iter().enumerate().map(entry).collect();
        self.say(Up::Dictionary(v1::Dictionary {
            incarnation,
            entries,
        }))
        .await;
    }
}

pub(super) fn hello(node: &str, incarnation: u64, last: u8) -> v1::Hello {
    v1::Hello {
        node: node.to_owned(),
        plane: v1::Plane::Pod.into(),
        incarnation,
        version: "0.1.0".to_owned(),
        zone: "zone-a".to_owned(),
        addresses: vec![v1::Address {
            plane: v1::Plane::Pod.into(),
            ip: format!("10.244.0.{last}"),
            udp_port: 4862,
            tcp_port: 4862,
            quic_port: 0,
        }],
        way: v1::WayHome::Overlay.into(),
        ..v1::Hello::default()
    }
}

/// A report about target number 0, ten probes of which `replied` were answered.
pub(super) fn report(incarnation: u64, sequence: u64, replied: u32) -> v1::Report {
    let summary = Summary {
        window_millis: 10_000,
        sent: 10,
        replied,
        received: 9,
        rtt_min: RttCode::from_nanos(100_000),
        rtt_median: RttCode::from_nanos(200_000),
        rtt_max: RttCode::from_nanos(300_000),
        ..Summary::default()
    };
    let mut block = BlockBuilder::new(UDP);
    block.push(TargetNumber(0), &summary, &[], None::<Failing>);
    v1::Report {
        incarnation,
        sequence,
        window_start_unix_millis: 1_700_000_000_000,
        window_millis: 10_000,
        blocks: vec![block.finish()],
        ..v1::Report::default()
    }
}

/// Bytes that make a message longer than a pipeline with this limit takes.
pub(super) fn padding(limit: usize) -> Bytes {
    Bytes::from(vec![1; limit + 1])
}
