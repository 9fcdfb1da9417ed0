//! The mesh task: the one owner of the mesh's state, driven by streams, questions, the store and time.
//!
//! It waits for whatever comes first, feeds it, does what is due, hands on what came out. It never waits for a prober or a
//! viewer. It does wait for the notifier if a thousand changes of incidents are queued, because an alert must not be lost.

use std::time::Duration;

use meshprobe_core::time::Moment;
use meshprobe_daemon::shutdown::Shutdown;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout};
use tracing::{debug, info, warn};

use super::diagnosis::Diagnosed;
use super::handle::MeshRequest;
use super::mesh::{Batch, Mesh};
use super::{Clock, StoreBatch, StoreUnavailable};
use crate::incident::IncidentChange;
use crate::ingest::event::StreamEvent;

/// Events that are handled between two looks at the clock's deadlines.
const EVENTS_AT_ONCE: usize = 32;
/// Changes inside this time are one transaction.
const BATCH_GAP: Duration = Duration::from_millis(100);
/// Until the next try when the store could not be written.
const BATCH_RETRY: Duration = Duration::from_secs(1);
/// How long the store has for the last batch at shutdown.
const LAST_BATCH: Duration = Duration::from_secs(3);

/// The task and its ends of the channels.
#[derive(Debug)]
pub(super) struct MeshTask {
    pub(super) mesh: Mesh,
    pub(super) clock: Clock,
    pub(super) events: mpsc::Receiver<StreamEvent>,
    pub(super) requests: mpsc::Receiver<MeshRequest>,
    pub(super) diagnosed: watch::Receiver<Option<Diagnosed>>,
    pub(super) store: mpsc::Sender<StoreBatch>,
    pub(super) incidents: mpsc::Sender<IncidentChange>,
}

/// A batch that the store is writing.
#[derive(Debug)]
struct InFlight {
    batch: Batch,
    done: oneshot::Receiver<Result<(), StoreUnavailable>>,
}

impl MeshTask {
    /// Runs until shutdown, then stores what there is.
    pub(super) async fn run(mut self, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut in_flight: Option<InFlight> = None;
        let mut batch_at = Moment::ORIGIN;
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        loop {
            let now = self.clock.now();
            for change in self.mesh.poll(now) {
                let sent = self.incidents.send(change).await;
                sent.map_err(|_| anyhow::anyhow!("the notifier ended before the mesh task"))?;
            }
            if in_flight.is_none() && batch_at <= now.moment {
                in_flight = self.hand_to_store();
                if in_flight.is_some() {
                    batch_at = now.moment + BATCH_GAP;
                }
            }
            let mut deadline = self.mesh.next_deadline(now);
            if in_flight.is_none() && self.mesh.has_batch() {
                deadline = deadline.min(batch_at.max(now.moment + BATCH_GAP / 10));
            }
            tokio::select! {
                () = shutdown.signaled() => break,
                count = self.events.recv_many(&mut events, EVENTS_AT_ONCE), if !self.events.is_closed() => {
                    debug!(count, "Events");
                    for event in events.drain(..) {
                        self.mesh.handle(event, self.clock.now());
                    }
                }
                Some(request) = self.requests.recv() => self.answer(request),
                Ok(()) = self.diagnosed.changed() => {
                    let newest = self.diagnosed.borrow_and_update().clone();
                    if let Some(diagnosed) = newest {
                        self.mesh.handle_diagnosed(&diagnosed, self.clock.now());
                    }
                }
                stored = written(&mut in_flight) => {
                    if !self.finish(stored) {
                        batch_at = self.clock.moment() + BATCH_RETRY;
                    }
                }
                () = sleep_until(self.clock.instant(deadline)) => {
                    // A deadline that has passed means work in steps: let others run between two of them.
                    tokio::task::yield_now().await;
                }
            }
        }
        self.wind_up(in_flight).await;
        Ok(())
    }

    /// Takes what is still queued, and stores and acknowledges it.
    async fn wind_up(mut self, in_flight: Option<InFlight>) {
        while let Ok(event) = self.events.try_recv() {
            self.mesh.handle(event, self.clock.now());
        }
        let last = async {
            let mut in_flight = in_flight;
            if in_flight.is_some() {
                let stored = written(&mut in_flight).await;
                self.finish(stored);
            }
            in_flight = self.hand_to_store();
            if in_flight.is_some() {
                let stored = written(&mut in_flight).await;
                self.finish(stored);
            }
        };
        if timeout(LAST_BATCH, last).await.is_err() {
            warn!("The store did not take the last batch; probers will send again what is in it");
        } else {
            info!("Mesh state stored");
        }
    }

    fn hand_to_store(&mut self) -> Option<InFlight> {
        if !self.mesh.has_batch() {
            return None;
        }
        let Ok(permit) = self.store.try_reserve() else {
            return None;
        };
        let batch = self.mesh.take_batch()?;
        let (done_tx, done) = oneshot::channel();
        permit.send(StoreBatch {
            changes: batch.changes.clone(),
            done: done_tx,
        });
        Some(InFlight { batch, done })
    }

    /// The store answered. False: it could not write.
    fn finish(&mut self, (batch, stored): (Batch, bool)) -> bool {
        if stored {
            self.mesh.handle_stored(batch);
        } else {
            self.mesh.handle_not_stored(batch);
        }
        stored
    }

    fn answer(&mut self, request: MeshRequest) {
        let now = self.clock.now();
        match request {
            MeshRequest::Layer { layer, answer } => {
                self.mesh.handle_layer_request(layer, answer, now.moment);
            }
            MeshRequest::Reconfigure { config, answer } => {
                let result = self.mesh.reconfigure(*config, now);
                if answer.send(result).is_err() {
                    debug!("Nobody waits for the new configuration any more");
                }
            }
            MeshRequest::Node { name, answer } => {
                if answer.send(self.mesh.node(&name, now)).is_err() {
                    debug!(name, "Nobody waits for this node any more");
                }
            }
            MeshRequest::Tell { node, told, answer } => {
                if answer.send(self.mesh.tell(&node, *told, now)).is_err() {
                    debug!(node, "Nobody waits for what was told any more");
                }
            }
            MeshRequest::RunProbe { demand, answer } => {
                if answer.send(self.mesh.run_probe(&demand)).is_err() {
                    debug!(
                        source = demand.source,
                        "Nobody waits for this probe any more"
                    );
                }
            }
            MeshRequest::Path {
                source,
                target,
                answer,
            } => {
                if answer.send(self.mesh.path(&source, &target, now)).is_err() {
                    debug!(source, target, "Nobody waits for this path any more");
                }
            }
        }
    }
}

/// Waits until the store has answered; for ever if it has nothing to answer. Cancel-safe: what is in flight stays there.
async fn written(in_flight: &mut Option<InFlight>) -> (Batch, bool) {
    let Some(waiting) = in_flight.as_mut() else {
        return std::future::pending().await;
    };
    let stored = matches!((&mut waiting.done).await, Ok(Ok(())));
    match in_flight.take() {
        Some(InFlight { batch, .. }) => (batch, stored),
        None => std::future::pending().await,
    }
}
