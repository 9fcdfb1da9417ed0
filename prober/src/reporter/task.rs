//! The reporter: closes windows and brings them home.
//!
//! Owns the spool, the streams' sending ends and the assignments. Everything that it waits for is an event; what it
//! does about it is decided in pure types ([`crate::spool`], [`crate::book`], [`super::boundary`]).
//!
//! The end, in this order: the runners have stopped and nothing is under way → the last window is closed → the spool is
//! acknowledged (or the grace is over) → goodbye by every way → the streams end. Until then the responders answer, so
//! that no peer sees a loss before the aggregator knows why.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::ids::{Incarnation, ReportSequence, Ssid};
use meshprobe_core::time::Moment;
use meshprobe_daemon::shutdown::Shutdown;
use meshprobe_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::boundary::until_boundary;
use super::outbox::Outbox;
use super::way::WayEvent;
use crate::assignment::file::FileError;
use crate::assignment::force::Assignments;
use crate::assignment::{AggregatorAddress, TargetSet};
use crate::book::Close;
use crate::demand;
use crate::mailbox::Command;
use crate::runner::sleep_until;
use crate::shared::Shared;
use crate::spool::{Spool, Way};
use crate::trace::Traced;

/// For what is under way at the end.
const FINISH_TIME: Duration = Duration::from_secs(1);

/// For the spool at the end.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// For the streams to end after the goodbye.
const GOODBYE_TIME: Duration = Duration::from_secs(1);

/// Traces that wait for a way: what the limits allow in a minute and a half. The newest are worth more.
const TRACES_KEPT: usize = 32;

/// A restart or a rollout takes no longer.
const BACK_WITHIN_SECONDS: u32 = 120;

/// What somebody else wants of the reporter.
#[derive(Debug)]
pub enum Request {
    /// Another assignment was read from the file.
    Assignment(Box<TargetSet>),
    /// The configuration names other aggregators.
    Aggregators(Vec<AggregatorAddress>),
}

/// Everything that the reporter is made of.
#[derive(Debug)]
pub struct Reporter {
    /// Book, clock, metrics.
    pub shared: Shared,
    /// What is not acknowledged.
    pub spool: Spool,
    /// What is in force.
    pub assignments: Assignments,
    /// What happens on the ways home.
    pub events_rx: mpsc::Receiver<WayEvent>,
    /// What others want.
    pub requests_rx: mpsc::Receiver<Request>,
    /// The aggregators of the configuration.
    pub configured: Vec<AggregatorAddress>,
    /// All aggregators, for the ways.
    pub addresses_tx: watch::Sender<Vec<AggregatorAddress>>,
    /// Facts about this host.
    pub facts_rx: watch::Receiver<Option<Arc<v1::HostFacts>>>,
    /// Traces of failing paths.
    pub traces_rx: mpsc::Receiver<Traced>,
    /// Ends when every runner has finished.
    pub running_rx: mpsc::Receiver<Infallible>,
    /// This start of the prober.
    pub incarnation: Incarnation,
    /// The own addresses, to probe from on demand.
    pub local: Vec<IpAddr>,
    /// Spreads the ends of windows over the report interval.
    pub spread: u16,
}

#[derive(Debug)]
struct Running {
    reporter: Reporter,
    outbox: Outbox,
    next_regular: Moment,
    demands: JoinSet<(Way, v1::ProbeResult)>,
    /// That no way has taken yet.
    traces: VecDeque<Traced>,
}

impl Reporter {
    /// Reports until `shutdown`, then finishes. `ways_stop` ends the ways, `finished` everybody else.
    pub async fn run(self, shutdown: Shutdown, ways_stop: Shutdown, finished: Shutdown) {
        let mut running = Running {
            outbox: Outbox::new(self.incarnation),
            next_regular: Moment::ORIGIN,
            demands: JoinSet::new(),
            traces: VecDeque::new(),
            reporter: self,
        };
        running.publish_addresses();
        running.plan_regular();
        while !shutdown.is_signaled() {
            tokio::select! {
                () = shutdown.signaled() => {}
                () = running.step() => {}
            }
        }
        running.finish(&ways_stop).await;
        finished.trigger();
    }
}

impl Running {
    /// Waits for one event and handles it. Cancel-safe: every wait is.
    async fn step(&mut self) {
        let clock = self.reporter.shared.clock;
        let flush = self.reporter.shared.book.lock().next_flush();
        let close_at = flush.map_or(self.next_regular, |at| at.min(self.next_regular));
        let resend_at = self.reporter.spool.next_deadline(self.outbox.open_ways());
        let wake_at = resend_at.map_or(close_at, |at| at.min(close_at));
        tokio::select! {
            Some(event) = self.reporter.events_rx.recv() => self.handle_event(event),
            Some(request) = self.reporter.requests_rx.recv() => self.handle_request(request),
            Ok(()) = self.reporter.facts_rx.changed() => self.tell_facts(),
            Some(ended) = self.demands.join_next(), if !self.demands.is_empty() => {
                self.finish_demand(ended);
            }
            Some(traced) = self.reporter.traces_rx.recv() => self.keep_trace(traced),
            () = self.reporter.shared.flush_wanted() => {}
            () = sleep_until(Some(clock.instant(wake_at))) => {}
        }
        self.close_if_due(clock.now());
        self.pump();
        self.tell_traces(clock.now());
    }

    fn keep_trace(&mut self, traced: Traced) {
        if self.traces.len() == TRACES_KEPT {
            self.traces.pop_front();
            self.reporter.shared.metrics.traces_dropped.inc();
        }
        self.traces.push_back(traced);
    }

    /// Traces go by every way: where packets end is best known while they do.
    fn tell_traces(&mut self, now: Moment) {
        while let Some(traced) = self.traces.front() {
            let trace = traced.message(self.reporter.incarnation, now);
            let dictionary = self.reporter.assignments.dictionary();
            if !self.outbox.send_trace(&trace, dictionary) {
                return;
            }
            self.traces.pop_front();
        }
    }

    fn handle_event(&mut self, event: WayEvent) {
        match event {
            WayEvent::Opened(way, messages_tx) => {
                self.outbox.open(way, messages_tx);
                self.reporter.shared.metrics.set_connected(way, true);
                let facts = self.reporter.facts_rx.borrow().clone();
                if let Some(facts) = facts {
                    self.outbox.send_facts(way, v1::HostFacts::clone(&facts));
                }
            }
            WayEvent::Closed(way) => {
                self.outbox.close(way);
                self.reporter.spool.handle_way_closed(way);
                self.reporter.shared.metrics.set_connected(way, false);
            }
            WayEvent::Message(way, message) => self.handle_message(way, message),
        }
    }

    fn handle_message(&mut self, way: Way, message: v1::aggregator_message::Message) {
        match message {
            v1::aggregator_message::Message::Assignment(assignment) => {
                let position = self.outbox.count_assignment(way);
                if self
                    .reporter
                    .assignments
                    .handle_message(assignment, position)
                {
                    self.publish_addresses();
                    self.plan_regular();
                }
            }
            v1::aggregator_message::Message::Ack(ack) => {
                self.reporter
                    .spool
                    .handle_ack(Incarnation(ack.incarnation), ReportSequence(ack.sequence));
            }
            v1::aggregator_message::Message::Confirm(confirm) => self.handle_confirm(&confirm),
            v1::aggregator_message::Message::RunProbe(request) => {
                self.handle_run_probe(way, &request);
            }
        }
    }

    /// Makes a probe now; its end goes back by the way of the request.
    fn handle_run_probe(&mut self, way: Way, request: &v1::RunProbe) {
        if self.demands.len() >= demand::MAX_UNDER_WAY {
            let refused = "too many probes are under way; try again".to_owned();
            let id = request.id;
            let result = v1::ProbeResult {
                id,
                refused,
                ..v1::ProbeResult::default()
            };
            self.outbox.send_probe_result(way, result);
            return;
        }
        let Reporter {
            assignments,
            shared,
            local,
            ..
        } = &self.reporter;
        let run = demand::run(request, assignments, shared, local);
        self.demands.spawn(async move { (way, run.await) });
    }

    fn finish_demand(&mut self, ended: Result<(Way, v1::ProbeResult), tokio::task::JoinError>) {
        match ended {
            Ok((way, result)) => self.outbox.send_probe_result(way, result),
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    /// Probes whom the aggregator suspects, and reports at once; with nobody named it wants a sign of life.
    fn handle_confirm(&mut self, confirm: &v1::Confirm) {
        for ssid in &confirm.peer_ssid {
            let peer = u16::try_from(*ssid).ok().map(Ssid);
            if let Some(target) = peer.and_then(|ssid| self.reporter.assignments.target_of(ssid)) {
                self.reporter.shared.book.lock().expect_confirmation(target);
                self.reporter.shared.confirm(target);
            }
        }
        let now = self.reporter.shared.clock.now();
        self.reporter.shared.book.lock().request_flush(now);
    }

    fn handle_request(&mut self, request: Request) {
        match request {
            Request::Assignment(set) => self.reporter.assignments.put_in_force(&set),
            Request::Aggregators(addresses) => self.reporter.configured = addresses,
        }
        self.publish_addresses();
        self.plan_regular();
    }

    fn tell_facts(&mut self) {
        let facts = self.reporter.facts_rx.borrow_and_update().clone();
        for way in Way::ALL {
            if let Some(facts) = &facts {
                self.outbox.send_facts(way, v1::HostFacts::clone(facts));
            }
        }
    }

    fn publish_addresses(&mut self) {
        let mut addresses = self.reporter.configured.clone();
        for address in self.reporter.assignments.aggregators() {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        self.reporter.addresses_tx.send_if_modified(|known| {
            let changed = *known != addresses;
            *known = addresses;
            changed
        });
    }

    fn plan_regular(&mut self) {
        let reading = self.reporter.shared.clock.read();
        let interval = self.reporter.assignments.report_interval();
        self.next_regular =
            reading.now + until_boundary(reading.unix_nanos, interval, self.reporter.spread);
    }

    fn close_if_due(&mut self, now: Moment) {
        if now >= self.next_regular {
            self.close(Close::Regular);
            self.plan_regular();
        } else if self
            .reporter
            .shared
            .book
            .lock()
            .next_flush()
            .is_some_and(|at| at <= now)
        {
            self.close(Close::Urgent);
        }
    }

    fn close(&mut self, close: Close) {
        let shared = &self.reporter.shared;
        let reading = shared.clock.read();
        let unix_millis = u64::try_from(reading.unix_nanos / 1_000_000).unwrap_or(0);
        let window = {
            let mut book = shared.book.lock();
            shared
                .metrics
                .paths_failing
                .set(book.failing_paths() as i64);
            book.close(close, reading.now, unix_millis)
        };
        shared
            .metrics
            .local_health
            .set(window.self_report.local_health.into());
        // Without an aggregator the metrics are all that anybody looks at.
        if !self.reporter.addresses_tx.borrow().is_empty() {
            self.reporter.spool.push(window);
        }
    }

    /// Sends what may be sent now.
    fn pump(&mut self) {
        let now = self.reporter.shared.clock.now();
        while let Some(transmission) = self
            .reporter
            .spool
            .poll_transmit(self.outbox.open_ways(), now)
        {
            let dictionary = self.reporter.assignments.dictionary();
            let way = transmission.way;
            if !self
                .outbox
                .send_report(way, transmission.report, dictionary)
            {
                // The way task notices the end of the stream by itself; until then nothing more goes there.
                self.outbox.close(way);
                self.reporter.spool.handle_way_closed(way);
                continue;
            }
            self.reporter
                .shared
                .metrics
                .count_report(way, transmission.repeated);
        }
        self.reporter
            .shared
            .metrics
            .set_fill(self.reporter.spool.fill());
    }

    async fn finish(&mut self, ways_stop: &Shutdown) {
        self.reporter.shared.engine().send(Command::StopProbing);
        let (_, nobody) = mpsc::channel(1);
        let mut running_rx = std::mem::replace(&mut self.reporter.running_rx, nobody);
        let all_stopped = async { while running_rx.recv().await.is_some() {} };
        self.until(FINISH_TIME, all_stopped, |_| false).await;
        self.close(Close::Regular);
        self.pump();
        self.until(FLUSH_TIME, std::future::pending(), |running| {
            running.reporter.spool.is_empty()
        })
        .await;
        let left = self.reporter.spool.fill();
        if left.drafts + left.sent > 0 {
            warn!(
                reports = left.drafts + left.sent,
                "Reports that nobody acknowledged are given up"
            );
        }
        ways_stop.trigger();
        self.outbox.say_goodbye(&v1::Goodbye {
            reason: "SIGTERM".to_owned(),
            back_within_seconds: BACK_WITHIN_SECONDS,
        });
        let said = self.outbox.is_connected();
        self.outbox.close_all();
        // A way ends when the aggregator has ended its stream, which it does when it has taken everything.
        let ended = tokio::time::timeout(GOODBYE_TIME, async {
            while self.reporter.events_rx.recv().await.is_some() {}
        });
        let ended = ended.await.is_ok();
        if said {
            info!(ended, "Said goodbye to the aggregator");
        }
    }

    /// Goes on working until `event` or `done`, but no longer than `limit`.
    async fn until(
        &mut self,
        limit: Duration,
        event: impl Future<Output = ()>,
        done: impl Fn(&Self) -> bool,
    ) {
        let deadline = tokio::time::sleep(limit);
        tokio::pin!(deadline, event);
        while !done(self) {
            tokio::select! {
                () = &mut deadline => return,
                () = &mut event => return,
                () = self.step() => {}
            }
        }
    }
}

/// Reads the assignment file again and hands it to the reporter.
pub fn reload_file(
    path: &std::path::Path,
    own: &meshprobe_core::ids::NodeName,
    requests_tx: &mpsc::Sender<Request>,
) -> Result<(), ReloadFileError> {
    let set = crate::assignment::file::load(path, own)?;
    requests_tx
        .try_send(Request::Assignment(Box::new(set)))
        .map_err(|_| ReloadFileError::Busy)
}

/// Why the assignment of a file is not in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadFileError {
    /// The file is refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// Others wait.
    #[error("the reporter has not taken the last one yet")]
    Busy,
}
