//! One prober's stream: reads what it sends, writes what it has to know.
//!
//! The task owns both directions. It ends when the prober hangs up, when the mesh task drops its end (another start of the
//! prober took its place), when the prober breaks the contract or stops reading, or at shutdown, after a last
//! acknowledgement. However it ends, the mesh task is told, once.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use meshprobe_core::ids::NodeName;
use meshprobe_daemon::shutdown::Shutdown;
use meshprobe_proto::v1;
use meshprobe_proto::v1::aggregator_message::Message as Down;
use meshprobe_proto::v1::prober_message::Message as Up;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tonic::{Code, Status};
use tracing::{debug, info, trace};

use super::event::StreamEvent;
use super::refusal::Refusal;
use super::service::Shared;
use super::session::{Admitted, ProberKey, StreamId};
use crate::membership::Announcement;
use crate::plan::{self, Roster};

/// At shutdown the mesh task stores what it has; the last acknowledgement is waited for this long.
const LAST_ACK: Duration = Duration::from_secs(1);

type Outbound = mpsc::Sender<Result<v1::AggregatorMessage, Status>>;

/// A stream and what it needs.
#[derive(Debug)]
pub(super) struct StreamTask {
    pub(super) id: StreamId,
    pub(super) peer: Option<SocketAddr>,
    pub(super) outbound: Outbound,
    pub(super) shared: Shared,
    pub(super) shutdown: Shutdown,
}

/// The state of an admitted stream.
#[derive(Debug)]
struct Serving {
    prober: ProberKey,
    node: NodeName,
    confirms: mpsc::Receiver<v1::Confirm>,
    runs: mpsc::Receiver<v1::RunProbe>,
    acks: watch::Receiver<v1::Ack>,
    rosters: watch::Receiver<Arc<Roster>>,
    /// Fingerprint of the assignment that was sent last.
    assigned: Option<u64>,
    /// The acknowledgement that was sent last.
    acknowledged: u64,
}

impl StreamTask {
    /// Serves the stream until it ends.
    pub(super) async fn run<S>(self, inbound: S)
    where
        S: Stream<Item = Result<v1::ProberMessage, Status>> + Unpin,
    {
        let mut inbound = inbound;
        let ended = match self.open(&mut inbound).await {
            Ok(Some(mut serving)) => {
                let ended = self.serve(&mut serving, &mut inbound).await;
                let closed = StreamEvent::Closed {
                    prober: serving.prober,
                    stream: self.id,
                };
                if self.shared.events.send(closed).await.is_err() {
                    trace!("The mesh task ended before its stream");
                }
                ended.map_err(|refusal| (Some(serving.node), refusal))
            }
            Ok(None) => Ok(()),
            Err(refusal) => Err(refusal),
        };
        if let Err((node, refusal)) = ended {
            self.refuse(node.as_ref(), &refusal);
        }
    }

    /// Waits for the Hello and has it admitted. `None`: the prober hung up.
    async fn open<S>(&self, inbound: &mut S) -> Result<Option<Serving>, (Option<NodeName>, Refusal)>
    where
        S: Stream<Item = Result<v1::ProberMessage, Status>> + Unpin,
    {
        let limit = self.shared.config.hello_timeout;
        let first = tokio::select! {
            first = timeout(limit, inbound.next()) => first,
            () = self.shutdown.signaled() => return Err((None, Refusal::ShuttingDown)),
        };
        let message = match first {
            Err(_) => return Err((None, Refusal::HelloTimeout(limit.as_secs()))),
            Ok(None) => return Ok(None),
            Ok(Some(Err(status))) => return hung_up(&status).map(|()| None).map_err(|r| (None, r)),
            Ok(Some(Ok(message))) => message,
        };
        let Some(Up::Hello(hello)) = message.message else {
            return Err((None, Refusal::NoHello));
        };
        let hello = Announcement::try_from(hello).map_err(|error| (None, error.into()))?;
        let node = hello.node.clone();
        let admitted = self.admit(hello).await;
        let Admitted {
            prober,
            confirms,
            runs,
            acks,
        } = admitted.map_err(|refusal| (Some(node.clone()), refusal))?;
        Ok(Some(Serving {
            prober,
            node,
            confirms,
            runs,
            acks,
            rosters: self.shared.rosters.clone(),
            assigned: None,
            acknowledged: 0,
        }))
    }

    async fn admit(&self, hello: Announcement) -> Result<Admitted, Refusal> {
        let (answer, admitted) = oneshot::channel();
        let open = StreamEvent::Open {
            stream: self.id,
            hello: Box::new(hello),
            answer,
        };
        let stopped = |_| Refusal::ShuttingDown;
        self.shared
            .events
            .send(open)
            .await
            .map_err(|_| Refusal::ShuttingDown)?;
        admitted.await.map_err(stopped)?
    }

    async fn serve<S>(&self, serving: &mut Serving, inbound: &mut S) -> Result<(), Refusal>
    where
        S: Stream<Item = Result<v1::ProberMessage, Status>> + Unpin,
    {
        self.send_assignment(serving).await?;
        self.send_ack(serving).await?;
        loop {
            tokio::select! {
                message = inbound.next() => match message {
                    Some(Ok(message)) => self.take(serving, message).await?,
                    Some(Err(status)) => return hung_up(&status),
                    None => return Ok(()),
                },
                confirm = serving.confirms.recv() => {
                    let Some(confirm) = confirm else { break };
                    self.send(Down::Confirm(confirm)).await?;
                }
                run = serving.runs.recv() => {
                    let Some(run) = run else { break };
                    self.send(Down::RunProbe(run)).await?;
                }
                acked = serving.acks.changed() => {
                    if acked.is_err() {
                        break;
                    }
                    self.send_ack(serving).await?;
                }
                planned = serving.rosters.changed() => {
                    planned.map_err(|_| Refusal::ShuttingDown)?;
                    self.send_assignment(serving).await?;
                }
                () = self.shutdown.signaled() => break,
            }
        }
        if !self.shutdown.is_signaled() {
            return Err(Refusal::Superseded);
        }
        // Changed, or the mesh task has ended, or it takes too long: what there is to acknowledge is there now.
        drop(timeout(LAST_ACK, serving.acks.changed()).await);
        self.send_ack(serving).await?;
        Err(Refusal::ShuttingDown)
    }

    async fn take(&self, serving: &Serving, message: v1::ProberMessage) -> Result<(), Refusal> {
        let (prober, stream) = (serving.prober, self.id);
        let event = match message.message {
            Some(Up::Report(report)) => StreamEvent::Report {
                prober,
                stream,
                report: Box::new(report),
                arrived_at: self.shared.clock.moment(),
            },
            Some(Up::Dictionary(dictionary)) => StreamEvent::Dictionary {
                prober,
                stream,
                dictionary,
            },
            Some(Up::Goodbye(goodbye)) => StreamEvent::Goodbye {
                prober,
                stream,
                goodbye,
            },
            Some(Up::Hello(_)) => return Err(Refusal::SecondHello),
            Some(Up::HostFacts(facts)) => StreamEvent::HostFacts {
                prober,
                stream,
                facts: Box::new(facts),
            },
            Some(Up::Trace(trace)) => StreamEvent::Trace {
                prober,
                stream,
                trace: Box::new(trace),
            },
            Some(Up::ProbeResult(result)) => StreamEvent::ProbeResult {
                prober,
                stream,
                result: Box::new(result),
            },
            None => {
                // A newer prober's kind of message: what it says besides is still good.
                self.shared.metrics.count_rejected("unknown_message");
                return Ok(());
            }
        };
        let sent = self.shared.events.send(event).await;
        sent.map_err(|_| Refusal::ShuttingDown)
    }

    async fn send_assignment(&self, serving: &mut Serving) -> Result<(), Refusal> {
        let roster = Arc::clone(&serving.rosters.borrow_and_update());
        let plane = serving.prober.plane;
        let planned = plan::assignment(&roster.plan, &roster, &serving.node, plane);
        // A prober that just joined is in the next roster.
        let Some(mut assignment) = planned else {
            return Ok(());
        };
        let fingerprint = plan::fingerprint(&assignment);
        if serving.assigned == Some(fingerprint) {
            return Ok(());
        }
        serving.assigned = Some(fingerprint);
        assignment.generation = roster.generation;
        self.send(Down::Assignment(assignment)).await
    }

    async fn send_ack(&self, serving: &mut Serving) -> Result<(), Refusal> {
        let ack = *serving.acks.borrow_and_update();
        if ack.sequence <= serving.acknowledged {
            return Ok(());
        }
        serving.acknowledged = ack.sequence;
        self.send(Down::Ack(ack)).await
    }

    async fn send(&self, message: Down) -> Result<(), Refusal> {
        let message = v1::AggregatorMessage {
            message: Some(message),
        };
        let limit = self.shared.config.write_timeout;
        match timeout(limit, self.outbound.send(Ok(message))).await {
            // If the connection is gone, the inbound side says so next.
            Ok(Ok(()) | Err(_)) => Ok(()),
            Err(_) => Err(Refusal::SlowReader(limit.as_secs())),
        }
    }

    /// Tells the prober and the log why its stream ends.
    fn refuse(&self, node: Option<&NodeName>, refusal: &Refusal) {
        self.shared.metrics.count_stream_ended(refusal.reason());
        let prober = node.map_or("", NodeName::as_str);
        let peer = self.peer.map(tracing::field::display);
        if refusal.is_fault() {
            info!(prober, peer, error = %refusal, "Prober stream ended");
        } else {
            debug!(prober, peer, error = %refusal, "Prober stream ended");
        }
        if self.outbound.try_send(Err(Status::from(refusal))).is_err() {
            debug!(prober, "The prober could not be told why its stream ended");
        }
    }
}

/// The inbound side failed: the prober hung up, or it sent what is no message.
fn hung_up(status: &Status) -> Result<(), Refusal> {
    let text = || status.message().to_owned();
    match status.code() {
        Code::OutOfRange => Err(Refusal::Oversized(text())),
        // Without a cause it is the decoder's word and not the connection's.
        Code::Internal if status.source().is_none() => Err(Refusal::Undecodable(text())),
        _ => {
            debug!(error = %status, "Prober hung up");
            Ok(())
        }
    }
}
