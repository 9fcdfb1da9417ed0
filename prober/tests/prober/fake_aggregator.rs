//! An aggregator that writes down what it gets and says what the test wants.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use meshprobe_proto::v1;
use meshprobe_proto::v1::aggregator_message::Message as Down;
use meshprobe_proto::v1::prober_message::Message as Up;
use meshprobe_proto::v1::prober_service_server::{ProberService, ProberServiceServer};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

type DownSender = mpsc::Sender<Result<v1::AggregatorMessage, Status>>;

/// What was received, in order, with the way that it came by.
#[derive(Default)]
struct Record {
    received: Vec<(v1::WayHome, Up)>,
    streams: Vec<(v1::WayHome, DownSender, AbortHandle)>,
    ended: Vec<v1::WayHome>,
    assignment: Option<v1::Assignment>,
    /// Ways whose reports are not acknowledged.
    silent: Vec<v1::WayHome>,
    tasks: JoinSet<()>,
}

#[derive(Clone, Default)]
pub(crate) struct FakeAggregator {
    record: Arc<Mutex<Record>>,
}

impl FakeAggregator {
    /// Serves at `ip` on two ports: the overlay way and the underlay way. Returns the lines of configuration.
    pub(crate) async fn serve(&self, ip: Ipv4Addr, assignment: v1::Assignment) -> String {
        self.record.lock().assignment = Some(assignment);
        let mut lines = String::from("aggregator:\n  addresses:\n");
        for way in ["overlay", "underlay"] {
            let listener = TcpListener::bind((ip, 0)).await.unwrap();
            let address: SocketAddr = listener.local_addr().unwrap();
            writeln!(lines, "    - {{address: '{address}', way: {way}}}").unwrap();
            let service = ProberServiceServer::new(self.clone());
            self.record.lock().tasks.spawn(async move {
                tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming(TcpListenerStream::new(listener))
                    .await
                    .unwrap();
            });
        }
        lines
    }

    /// From now on reports by this way are taken and not acknowledged.
    pub(crate) fn silence(&self, way: v1::WayHome) {
        self.record.lock().silent.push(way);
    }

    /// Acknowledges everything up to `sequence` by every way.
    pub(crate) fn acknowledge(&self, sequence: u64) {
        let incarnation = self.hellos().first().map_or(0, |hello| hello.incarnation);
        self.say(&Down::Ack(v1::Ack {
            incarnation,
            sequence,
        }));
    }

    /// Says something by every way.
    pub(crate) fn say(&self, message: &Down) {
        for (_, down_tx, _) in &self.record.lock().streams {
            let message = v1::AggregatorMessage {
                message: Some(message.clone()),
            };
            // A stream that is gone is not there to listen.
            down_tx.try_send(Ok(message)).ok();
        }
    }

    /// Breaks the streams of one way.
    pub(crate) fn break_way(&self, way: v1::WayHome) {
        let mut record = self.record.lock();
        record.streams.retain(|(of, _, reader)| {
            if *of == way {
                reader.abort();
            }
            *of != way
        });
    }

    pub(crate) fn hellos(&self) -> Vec<v1::Hello> {
        self.select(|_, up| match up {
            Up::Hello(hello) => Some(hello.clone()),
            _ => None,
        })
    }

    pub(crate) fn reports(&self) -> Vec<(v1::WayHome, v1::Report)> {
        self.select(|way, up| match up {
            Up::Report(report) => Some((way, report.clone())),
            _ => None,
        })
    }

    pub(crate) fn probe_results(&self) -> Vec<v1::ProbeResult> {
        self.select(|_, up| match up {
            Up::ProbeResult(result) => Some(result.clone()),
            _ => None,
        })
    }

    /// What came by one way, by the names of the messages.
    pub(crate) fn names(&self, way: v1::WayHome) -> Vec<&'static str> {
        self.select(|of, up| {
            (of == way).then_some(match up {
                Up::Hello(_) => "hello",
                Up::Dictionary(_) => "dictionary",
                Up::Report(_) => "report",
                Up::HostFacts(_) => "facts",
                Up::Goodbye(_) => "goodbye",
                Up::Trace(_) => "trace",
                Up::ProbeResult(_) => "probe-result",
            })
        })
    }

    /// The ways whose streams the prober has ended.
    pub(crate) fn ended(&self) -> Vec<v1::WayHome> {
        self.record.lock().ended.clone()
    }

    fn select<T>(&self, pick: impl Fn(v1::WayHome, &Up) -> Option<T>) -> Vec<T> {
        let record = self.record.lock();
        record
            .received
            .iter()
            .filter_map(|(way, up)| pick(*way, up))
            .collect()
    }

    fn take(&self, way: v1::WayHome, up: Up, down_tx: &DownSender) {
        let mut record = self.record.lock();
        if let Up::Report(report) = &up
            && !record.silent.contains(&way)
        {
            let ack = v1::Ack {
                incarnation: report.incarnation,
                sequence: report.sequence,
            };
            let message = v1::AggregatorMessage {
                message: Some(Down::Ack(ack)),
            };
            down_tx.try_send(Ok(message)).ok();
        }
        record.received.push((way, up));
    }
}

#[tonic::async_trait]
impl ProberService for FakeAggregator {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<v1::AggregatorMessage, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<v1::ProberMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut up = request.into_inner();
        let (down_tx, down_rx) = mpsc::channel(64);
        let Some(Ok(v1::ProberMessage {
            message: Some(Up::Hello(hello)),
        })) = up.next().await
        else {
            return Err(Status::invalid_argument("no hello"));
        };
        let way = hello.way();
        let aggregator = self.clone();
        let sender = down_tx.clone();
        let mut record = self.record.lock();
        record.received.push((way, Up::Hello(hello)));
        if let Some(assignment) = record.assignment.clone() {
            let message = Some(Down::Assignment(assignment));
            down_tx.try_send(Ok(v1::AggregatorMessage { message })).ok();
        }
        let reader = record.tasks.spawn(async move {
            while let Some(Ok(v1::ProberMessage {
                message: Some(message),
            })) = up.next().await
            {
                aggregator.take(way, message, &sender);
            }
            let mut record = aggregator.record.lock();
            record.ended.push(way);
            // The prober closed its side: everything is taken, so this side closes too.
            record
                .streams
                .retain(|(_, open, _)| !open.same_channel(&sender));
        });
        record.streams.push((way, down_tx, reader));
        Ok(Response::new(Box::pin(ReceiverStream::new(down_rx))))
    }
}
