//! The gRPC service and the owner of the streams' tasks.

use std::net::SocketAddr;
use std::sync::Arc;

use meshprobe_daemon::http::Peer;
use meshprobe_daemon::shutdown::Shutdown;
use meshprobe_proto::v1;
use meshprobe_proto::v1::prober_service_server::ProberService;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::IngestConfig;
use super::event::StreamEvent;
use super::refusal::Refusal;
use super::session::StreamId;
use super::stream::StreamTask;
use crate::pipeline::{Clock, PipelineMetrics};
use crate::plan::Roster;

/// Messages that wait for a prober's connection. Small: what is sent is small, rare, and old when it waits.
const OUTBOUND_QUEUE: usize = 8;
/// Streams that wait for the supervisor, which only spawns.
const STREAM_QUEUE: usize = 64;

/// What every stream's task needs.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) config: IngestConfig,
    pub(crate) rosters: watch::Receiver<Arc<Roster>>,
    pub(crate) events: mpsc::Sender<StreamEvent>,
    pub(crate) metrics: PipelineMetrics,
    pub(crate) clock: Clock,
}

/// A stream that was just opened.
#[derive(Debug)]
struct NewStream {
    inbound: Streaming<v1::ProberMessage>,
    outbound: mpsc::Sender<Result<v1::AggregatorMessage, Status>>,
    peer: Option<SocketAddr>,
}

/// The service `meshprobe.v1.ProberService`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProberStreams {
    streams: mpsc::Sender<NewStream>,
}

#[tonic::async_trait]
impl ProberService for ProberStreams {
    type ConnectStream = ReceiverStream<Result<v1::AggregatorMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<v1::ProberMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (outbound, answers) = mpsc::channel(OUTBOUND_QUEUE);
        let stream = NewStream {
            peer: request.extensions().get::<Peer>().map(|peer| peer.addr),
            inbound: request.into_inner(),
            outbound,
        };
        self.streams
            .send(stream)
            .await
            .map_err(|_| Status::from(&Refusal::ShuttingDown))?;
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

/// Owns the streams' tasks.
#[derive(Debug)]
pub(crate) struct Supervisor {
    streams: mpsc::Receiver<NewStream>,
    shared: Shared,
}

impl Supervisor {
    /// The service, and the supervisor that it hands streams to.
    pub(crate) fn new(shared: Shared) -> (ProberStreams, Self) {
        let (streams_tx, streams) = mpsc::channel(STREAM_QUEUE);
        let service = ProberStreams {
            streams: streams_tx,
        };
        (service, Self { streams, shared })
    }

    /// Runs until shutdown, then waits for the streams to end. A panic in a stream's task is an error here.
    pub(crate) async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let Self {
            mut streams,
            shared,
        } = self;
        let mut tasks = JoinSet::new();
        let mut next_id = 0;
        loop {
            tokio::select! {
                () = shutdown.signaled() => break,
                Some(ended) = tasks.join_next() => ended?,
                stream = streams.recv() => {
                    let Some(stream) = stream else { break };
                    let NewStream { inbound, outbound, peer } = stream;
                    let limit = shared.config.max_streams;
                    if tasks.len() >= limit {
                        let refusal = Refusal::TooManyStreams(limit);
                        shared.metrics.count_stream_ended(refusal.reason());
                        // The queue of a new stream is empty, and a caller that hung up needs no answer.
                        drop(outbound.try_send(Err(Status::from(&refusal))));
                        continue;
                    }
                    next_id += 1;
                    let task = StreamTask {
                        id: StreamId(next_id),
                        peer,
                        outbound,
                        shared: shared.clone(),
                        shutdown: shutdown.clone(),
                    };
                    tasks.spawn(task.run(inbound));
                }
            }
        }
        streams.close();
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}
