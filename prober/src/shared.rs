//! What the engine thread and the tasks share: the book, the wake-up for early reports, and the hand-over of suspicions
//! between the kinds of probes.

use std::sync::Arc;

use meshprobe_core::detail::Detail;
use meshprobe_core::ids::TargetNumber;
use meshprobe_core::outcome::Outcome;
use meshprobe_core::time::Moment;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use crate::book::{Book, Recorded, Sample};
use crate::clock::Clock;
use crate::demand::Demands;
use crate::mailbox::{Command, Mailbox};
use crate::metrics::Metrics;
use crate::path_id::PathId;
use crate::trace::trigger::{Wanted, is_wanted};
use crate::tracker::Transition;

/// Peers to confirm by TCP at once. An isolated node suspects all of its peers within a second.
const CONFIRM_DEPTH: usize = 1024;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shared {
    /// One clock for all moments.
    pub clock: Clock,
    /// Locked for a batch, never across an await.
    pub book: Arc<Mutex<Book>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Probes that somebody wants now.
    pub demands: Arc<Demands>,
    flush_wanted: Arc<Notify>,
    engine: Mailbox,
    tcp_confirm_tx: mpsc::Sender<TargetNumber>,
    trace_tx: Option<mpsc::Sender<Wanted>>,
}

impl Shared {
    /// With the engine's mailbox; the receiver belongs to the TCP runner.
    pub fn new(
        clock: Clock,
        book: Arc<Mutex<Book>>,
        metrics: Arc<Metrics>,
        engine: Mailbox,
    ) -> (Self, mpsc::Receiver<TargetNumber>) {
        let (tcp_confirm_tx, tcp_confirm_rx) = mpsc::channel(CONFIRM_DEPTH);
        let shared = Self {
            clock,
            book,
            metrics,
            demands: Arc::default(),
            flush_wanted: Arc::new(Notify::new()),
            engine,
            tcp_confirm_tx,
            trace_tx: None,
        };
        (shared, tcp_confirm_rx)
    }

    /// Tells the receiver of `trace_tx` which paths fail.
    #[must_use]
    pub fn with_tracer(self, trace_tx: mpsc::Sender<Wanted>) -> Self {
        Self {
            trace_tx: Some(trace_tx),
            ..self
        }
    }

    /// Keeps what a probe found beside its outcome, until the next report.
    pub fn record_detail(&self, path: PathId, detail: Box<Detail>) {
        self.book.lock().record_detail(path, detail);
    }

    /// Records one sample of a task's runner, and carries on what follows from it. What it changed; `None`: its path
    /// is gone.
    pub fn record(&self, sample: &Sample, now: Moment) -> Option<Transition> {
        let (recorded, urgent) = {
            let mut book = self.book.lock();
            let recorded = book.record(sample, now);
            (recorded, book.next_flush().is_some())
        };
        if let Some(recorded) = &recorded {
            self.metrics.count(recorded.layer, &sample.outcome);
            self.follow_up(recorded);
            if is_wanted(recorded.layer.kind, recorded.transition) {
                self.want_trace(recorded.path, None);
            }
        }
        if urgent {
            self.wake_reporter();
        }
        recorded.map(|recorded| recorded.transition)
    }

    /// Records a probe that was not sent on purpose.
    pub fn record_withheld(&self, path: PathId) {
        let layer = self.book.lock().record_withheld(path);
        if let Some(layer) = layer {
            self.metrics.count(layer, &Outcome::Invalid);
        }
    }

    /// The first loss by one kind of probe asks the others.
    pub fn follow_up(&self, recorded: &Recorded) {
        let asks = recorded.asks();
        if asks.tcp {
            self.confirm_by_tcp(recorded.target);
        }
        if asks.udp {
            self.engine.send(Command::Confirm(recorded.target));
        }
    }

    /// A confirmed failure wants to know where its packets end: those from this port, if it is a matter of ports.
    pub fn want_trace(&self, path: PathId, source_port: Option<u16>) {
        let wanted = Wanted { path, source_port };
        if let Some(trace_tx) = &self.trace_tx
            && trace_tx.try_send(wanted).is_err()
        {
            self.metrics.traces_skipped.inc();
        }
    }

    /// Somebody wants to know about this target now.
    pub fn confirm(&self, target: TargetNumber) {
        self.engine.send(Command::Confirm(target));
        self.confirm_by_tcp(target);
    }

    /// Lets the window task look at when the next report is due.
    pub fn wake_reporter(&self) {
        self.flush_wanted.notify_one();
    }

    /// Waits for [`Self::wake_reporter`]. Cancel-safe.
    pub async fn flush_wanted(&self) {
        self.flush_wanted.notified().await;
    }

    /// The engine's mailbox.
    pub fn engine(&self) -> &Mailbox {
        &self.engine
    }

    fn confirm_by_tcp(&self, target: TargetNumber) {
        if self.tcp_confirm_tx.try_send(target).is_err() {
            self.metrics.confirmations_dropped.inc();
        }
    }
}
