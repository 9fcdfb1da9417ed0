//! The Session-Sender's decisions for all paths: whose turn it is, what an answer means, what timed out.
//!
//! No socket and no clock: the engine and the simulator drive the same code. In each step the driver feeds what
//! arrived (`handle_*`), then asks what timed out ([`Sender::poll_expired`]), then whose turn it is
//! ([`Sender::poll_probe`]) and tells what became of the sending. The order matters: what has arrived is looked at
//! before anything is judged, so a driver that was paused does not take its own pause for loss.

mod exchange;
mod skipping;
mod under_way;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use meshprobe_core::detail::{Detail, UdpDetail};
use meshprobe_core::ids::{NodeName, Ssid, TargetNumber};
use meshprobe_core::outcome::Outcome;
use meshprobe_core::path::Family;
use meshprobe_core::rtt::Rtt;
use meshprobe_core::stamp::Sequence;
use meshprobe_core::time::Moment;
use smallvec::SmallVec;

pub use self::exchange::{Arrival, Departure, Failure, Heard, Probe};
use self::under_way::UnderWay;
use super::flow::Flow;
use super::flow_loss::FlowTable;
use super::sight::Sight;

use crate::agenda::Agenda;
use crate::book::Sample;
use crate::budget::TokenBucket;
use crate::deadlines::Deadlines;
use crate::flights::{Answer, Flight, Flights};
use crate::path_id::{PathId, PathTable};
use crate::patience::Patience;
use crate::plan::UdpTarget;
use crate::schedule::Schedule;
use crate::suspicion::{BURST_PROBES, Suspicion};
use crate::tracker::Transition;

/// Extra probes of one prober: an isolated node does not flood a network that is about to heal.
const EXTRA_PER_SECOND: u32 = 500;

/// A driver that was away longer than this judges nothing that was under way meanwhile.
const LONG_STALL: Duration = Duration::from_millis(200);

/// After a shorter stall what should have timed out gets one more look at the socket, this much later.
const GRACE: Duration = Duration::from_millis(10);

#[derive(Debug)]
struct Target {
    config: UdpTarget,
    next_sequence: Sequence,
    flights: Flights,
    patience: Patience,
    suspicion: Option<Suspicion>,
    /// Of the newest probe.
    flow: Flow,
    sight: Sight,
}

/// See the module.
#[derive(Debug)]
pub struct Sender {
    targets: PathTable<Target>,
    by_address: HashMap<SocketAddr, SmallVec<[PathId; 1]>>,
    by_target: HashMap<TargetNumber, SmallVec<[PathId; 1]>>,
    /// Nodes by what their responders name themselves.
    names: HashMap<Ssid, NodeName>,
    schedule: Schedule,
    extras: Agenda,
    deadlines: Deadlines,
    /// Probes whose end is not known.
    under_way: UnderWay,
    /// Loss by flow of the paths that are lossy.
    flow_losses: FlowTable,
    /// When the book's open window began.
    window: Moment,
    extra_budget: TokenBucket,
    last_stall: Option<(Moment, Moment)>,
    /// The last time in which this machine cannot be trusted to have received what came.
    last_blind: Option<(Moment, Moment)>,
    is_slow: bool,
}

impl Sender {
    /// No paths yet. `origin_unix_nanos` is the wall clock at [`Moment::ORIGIN`].
    pub fn new(origin_unix_nanos: i64) -> Self {
        Self {
            targets: PathTable::new(),
            by_address: HashMap::new(),
            by_target: HashMap::new(),
            names: HashMap::new(),
            schedule: Schedule::new(origin_unix_nanos),
            extras: Agenda::new(),
            deadlines: Deadlines::new(),
            under_way: UnderWay::default(),
            flow_losses: FlowTable::default(),
            window: Moment::ORIGIN,
            extra_budget: TokenBucket::new(EXTRA_PER_SECOND, EXTRA_PER_SECOND / 5),
            last_stall: None,
            last_blind: None,
            is_slow: false,
        }
    }

    /// Who names itself by which session identifier.
    pub fn set_names(&mut self, names: &[(Ssid, NodeName)]) {
        self.names = names.iter().cloned().collect();
    }

    /// Puts another set of targets in force: what is kept keeps its state.
    pub fn set_targets(&mut self, targets: &[UdpTarget], now: Moment) {
        let mut before = std::mem::take(&mut self.targets);
        self.by_address.clear();
        self.by_target.clear();
        for config in targets {
            self.by_address
                .entry(config.address)
                .or_default()
                .push(config.path);
            self.by_target
                .entry(config.target)
                .or_default()
                .push(config.path);
            self.schedule.set(config.path, config.cadence, now);
            let target = match before.remove(config.path) {
                Some(known) if known.config.address == config.address => Target {
                    config: *config,
                    ..known
                },
                moved => {
                    if let Some(moved) = moved {
                        moved.abandon(&mut self.under_way);
                    }
                    self.flow_losses.forget(config.path);
                    self.extras.remove(config.path);
                    Target {
                        config: *config,
                        next_sequence: Sequence(0),
                        flights: Flights::default(),
                        patience: Patience::default(),
                        suspicion: None,
                        flow: Flow::default(),
                        sight: Sight::default(),
                    }
                }
            };
            self.targets.insert(config.path, target);
        }
        for (path, gone) in before.into_entries() {
            self.schedule.remove(path);
            self.extras.remove(path);
            self.flow_losses.forget(path);
            gone.abandon(&mut self.under_way);
        }
    }

    /// No more turns; what is under way may still be answered.
    pub fn stop(&mut self) {
        self.schedule.clear();
        self.extras.clear();
        for target in self.targets.values_mut() {
            target.suspicion = None;
        }
    }

    /// The next probe that is due.
    pub fn poll_probe(&mut self, now: Moment) -> Option<Probe> {
        while let Some((due, path)) = self.extras.pop_due(now) {
            let granted = self.extra_budget.try_take(now);
            if let Some(probe) = self.extra_probe(path, due, granted, now) {
                return Some(probe);
            }
        }
        loop {
            let turn = self.schedule.poll_turn(now)?;
            let Some(target) = self.targets.get_mut(turn.path) else {
                continue;
            };
            target.flow = Flow::of_turn(&turn, target.config.cadence);
            return Some(Probe {
                path: turn.path,
                destination: target.config.address,
                flow: target.flow,
                sequence: target.take_sequence(),
                due: turn.due,
                missed: turn.missed,
                extra: false,
            });
        }
    }

    /// The probe left. Returns the outcome of an older one that had to be forgotten to make room.
    pub fn handle_sent(&mut self, probe: &Probe, departure: Departure) -> Option<Sample> {
        let target = self.targets.get_mut(probe.path)?;
        let deadline = departure.at + target.patience.tmax(target.config.timeout);
        let flight = Flight {
            sequence: probe.sequence,
            stamp: departure.stamp,
            sent_unix_nanos: departure.unix_nanos,
            sent_at: departure.at,
            deadline,
            epoch: departure.epoch,
            preempted: departure.preempted,
            flow: probe.flow,
            port: departure.port,
        };
        self.deadlines.push(probe.path, probe.sequence, deadline);
        self.under_way.begin(target.config.address, &flight);
        let evicted = target.flights.insert(flight)?;
        self.under_way.end(target.config.address, &evicted);
        Some(Sample::new(probe.path, Outcome::Invalid, evicted.sent_at))
    }

    /// A reply arrived.
    pub fn handle_arrival(&mut self, arrival: &Arrival) -> Heard {
        let Some(paths) = self.by_address.get(&arrival.source) else {
            return Heard::Unknown;
        };
        let mut heard = Heard::Unknown;
        for path in paths {
            let Some(target) = self.targets.get_mut(*path) else {
                continue;
            };
            // Somebody else's count says nothing of the peer's.
            let number = arrival
                .number
                .filter(|_| !target.is_answered_by_other(arrival));
            let (flight, late) =
                match target
                    .flights
                    .handle_answer(arrival.sequence, arrival.stamp, number)
                {
                    Answer::Expected(flight) => (flight, false),
                    Answer::Late(flight) => (flight, true),
                    Answer::Duplicate => {
                        target.sight.begin(self.window);
                        target.sight.handle_duplicate();
                        heard = Heard::Duplicate;
                        continue;
                    }
                    Answer::Unknown => continue,
                };
            if late && target.is_answered_by_other(arrival) {
                // It is no proof of the peer's life, and the probe has been counted.
                continue;
            }
            target.sight.begin(self.window);
            if late {
                self.flow_losses.handle_late(*path, flight.port);
            } else {
                self.under_way.end(target.config.address, &flight);
                self.flow_losses
                    .handle_answer(*path, flight.port, arrival.now);
            }
            let reordered = target.flights.is_reordered(arrival.sequence);
            if reordered {
                target.sight.handle_reordered();
            }
            if self.flow_losses.is_lossy(*path) {
                target.sight.handle_news();
            }
            let sample = Sample {
                lost_ways: target.flights.take_lost_ways(),
                ..judge(target, &flight, late, self.is_slow, arrival)
            };
            return Heard::Sample { sample, reordered };
        }
        heard
    }

    /// An ICMP error or an error of the own kernel came for a probe that had left.
    pub fn handle_failure(&mut self, failure: &Failure) -> Option<Sample> {
        let paths = self.by_address.get(&failure.destination)?;
        for path in paths {
            let target = self.targets.get_mut(*path)?;
            let flight = match failure.sequence {
                Some(sequence) => target.flights.give_up(sequence),
                None => target.flights.give_up_newest(),
            };
            if let Some(flight) = flight {
                self.under_way.end(target.config.address, &flight);
                if failure.outcome.class().is_loss() {
                    // No clock here: the flow is lossy from when the probe was sent.
                    self.flow_losses
                        .handle_loss(*path, flight.port, flight.sent_at);
                    target.sight.handle_news();
                }
                return Some(Sample {
                    lost_ways: target.flights.take_lost_ways(),
                    ..Sample::new(*path, failure.outcome, flight.sent_at)
                });
            }
        }
        None
    }

    /// The driver wanted to run at `from` and runs at `to`.
    pub fn handle_stall(&mut self, from: Moment, to: Moment) {
        self.last_stall = Some((from, to));
    }

    /// Between these moments this machine may have lost what came (it was throttled, or did not even hear itself): what
    /// was under way then and is missed is no loss of the network.
    pub fn handle_blind(&mut self, from: Moment, to: Moment) {
        self.last_blind = Some(match self.last_blind {
            Some((began, ended)) if ended >= from => (began.min(from), ended.max(to)),
            _ => (from, to),
        });
    }

    /// Packets wait inside this machine: what is measured now is not the network's time.
    pub const fn set_slow(&mut self, is_slow: bool) {
        self.is_slow = is_slow;
    }

    /// The socket of this port had no room and dropped packets, at the latest now.
    pub fn handle_overflow(&mut self, family: Family, flow: Flow, now: Moment) {
        self.under_way.handle_overflow(family, flow, now);
    }

    /// The next probe whose time is over. Only after everything that has arrived was handled.
    pub fn poll_expired(&mut self, now: Moment) -> Option<Sample> {
        loop {
            let (path, sequence) = self.deadlines.pop_due(now)?;
            let Some(target) = self.targets.get_mut(path) else {
                continue;
            };
            let Some(flight) = target.flights.pending(sequence) else {
                continue;
            };
            let mut outcome = Outcome::Timeout;
            let overlaps = |(from, to)| flight.sent_at < to && flight.deadline >= from;
            if self.last_blind.is_some_and(overlaps)
                || self
                    .under_way
                    .may_be_dropped(target.config.address, &flight)
            {
                outcome = Outcome::Invalid;
            } else if let Some((from, to)) = self.last_stall
                && overlaps((from, to))
            {
                if to.saturating_since(from) > LONG_STALL {
                    outcome = Outcome::Invalid;
                } else if flight.deadline <= to && to >= now {
                    let extended = now + GRACE;
                    target.flights.extend(sequence, extended);
                    self.deadlines.push(path, sequence, extended);
                    continue;
                }
            }
            if outcome == Outcome::Timeout {
                target.flights.give_up(sequence);
            } else {
                target.flights.give_up_void(sequence);
            }
            self.under_way.end(target.config.address, &flight);
            if outcome == Outcome::Timeout {
                self.flow_losses.handle_loss(path, flight.port, now);
                target.sight.handle_news();
            }
            return Some(Sample {
                lost_ways: target.flights.take_lost_ways(),
                ..Sample::new(path, outcome, flight.sent_at)
            });
        }
    }

    /// What a sample changed: begins and ends the close watch of its path.
    pub fn handle_transition(
        &mut self,
        path: PathId,
        transition: Transition,
        first_loss_at: Option<Moment>,
        now: Moment,
    ) {
        let Some(target) = self.targets.get_mut(path) else {
            return;
        };
        match transition {
            Transition::FirstLoss => {
                let first_loss_at = first_loss_at.unwrap_or(now);
                target.suspicion = Some(match target.suspicion {
                    Some(asked) => asked.extended(first_loss_at),
                    None => Suspicion::on_loss(first_loss_at, now),
                });
            }
            Transition::Recovered { .. } => target.suspicion = None,
            Transition::Losing { consecutive } => {
                if consecutive >= BURST_PROBES {
                    target.patience.handle_outage();
                }
                return;
            }
            Transition::Steady => return,
        }
        match target.suspicion {
            Some(suspicion) => self.extras.set(path, suspicion.next_at()),
            None => {
                self.extras.remove(path);
            }
        }
    }

    /// Somebody wants to know about this target now: a burst on each of its paths.
    pub fn confirm(&mut self, target: TargetNumber, now: Moment) {
        for path in self.by_target.get(&target).into_iter().flatten() {
            let Some(target) = self.targets.get_mut(*path) else {
                continue;
            };
            let suspicion = *target
                .suspicion
                .get_or_insert_with(|| Suspicion::on_request(now));
            self.extras.set(*path, suspicion.next_at());
        }
    }

    /// When there is something to do without an arrival.
    pub fn next_deadline(&self) -> Option<Moment> {
        [
            self.schedule.next_deadline(),
            self.extras.next_due(),
            // The wheel still holds probes that were answered.
            (self.under_way.total() > 0)
                .then(|| self.deadlines.next_due())
                .flatten(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Probes whose end is not known.
    pub const fn pending_count(&self) -> usize {
        self.under_way.total()
    }

    /// Of those, from one port of a family.
    pub const fn pending_from(&self, family: Family, flow: Flow) -> u32 {
        self.under_way.from(family, flow)
    }

    /// The book's open window began then.
    pub const fn set_window(&mut self, began: Moment) {
        self.window = began;
    }

    /// What a path's probes saw beside their outcomes, if there is something to tell. To be asked after each sample.
    pub fn take_detail(&mut self, path: PathId) -> Option<Box<Detail>> {
        let target = self.targets.get_mut(path)?;
        target.sight.take_news().then(|| {
            target.sight.begin(self.window);
            let flows = self.flow_losses.summary(path);
            let other = target.sight.answered_by();
            let other = other.and_then(|ssid| self.names.get(&ssid));
            Box::new(Detail::Udp(UdpDetail {
                answered_by: other.map(NodeName::to_string).unwrap_or_default(),
                ..target.sight.detail(flows)
            }))
        })
    }

    /// A source port from which everything to this path is lost; `None`: no port is known to be dead.
    pub fn dead_port(&self, path: PathId) -> Option<u16> {
        self.flow_losses.dead_port(path)
    }

    fn extra_probe(
        &mut self,
        path: PathId,
        due: Moment,
        granted: bool,
        now: Moment,
    ) -> Option<Probe> {
        let target = self.targets.get_mut(path)?;
        let suspicion = target.suspicion?;
        target.suspicion = suspicion.after_probe(now);
        if let Some(next) = target.suspicion {
            self.extras.set(path, next.next_at());
        }
        target.flow = target.flow.next();
        granted.then(|| Probe {
            path,
            destination: target.config.address,
            flow: target.flow,
            sequence: target.take_sequence(),
            due,
            missed: 0,
            extra: true,
        })
    }
}

impl Target {
    fn take_sequence(&mut self) -> Sequence {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.next();
        sequence
    }

    /// Does somebody name himself in the reply who is not the peer?
    fn is_answered_by_other(&self, arrival: &Arrival) -> bool {
        matches!((arrival.responder, self.config.peer), (Some(named), Some(peer)) if named != peer)
    }

    /// Nobody waits for what is under way any more.
    fn abandon(&self, under_way: &mut UnderWay) {
        for flight in self.flights.pending_flights() {
            under_way.end(self.config.address, flight);
        }
    }
}

/// What the answer to a probe is worth.
fn judge(
    target: &mut Target,
    flight: &Flight,
    late: bool,
    is_slow: bool,
    arrival: &Arrival,
) -> Sample {
    let path = target.config.path;
    if target.is_answered_by_other(arrival) {
        // Somebody lives, but not the peer: a duplicate address, or a wrong route.
        target.sight.handle_other(arrival.responder);
        return Sample::new(path, Outcome::AnsweredByOther, flight.sent_at);
    }
    let measured = (flight.epoch == arrival.epoch && !flight.preempted && !is_slow)
        .then_some(arrival.turnaround_nanos)
        .flatten()
        .and_then(|turnaround| {
            Rtt::from_stamps(flight.sent_unix_nanos, arrival.unix_nanos, turnaround)
        })
        // The driver saw the answer before it can have arrived: a step of the clock that the epoch missed.
        .filter(|rtt| rtt.as_duration() <= arrival.now.saturating_since(flight.sent_at) + GRACE);
    let in_time = || {
        let waited = arrival.unix_nanos.saturating_sub(flight.sent_unix_nanos);
        let patience = flight.deadline.saturating_since(flight.sent_at);
        u64::try_from(waited).is_ok_and(|waited| Duration::from_nanos(waited) <= patience)
    };
    target.sight.handle_ttl(arrival.ttl);
    target.sight.handle_dscp(arrival.dscp);
    if let Some(rtt) = measured {
        target.patience.handle_rtt(rtt, arrival.now);
    }
    let outcome = match measured {
        _ if late => Outcome::Late,
        // Counted by the kernel's receive stamp: what arrived in time was in time, whenever we looked.
        Some(rtt) if in_time() => {
            target.sight.handle_rtt(rtt.code());
            Outcome::Reply {
                rtt: rtt.as_duration(),
            }
        }
        Some(_) => Outcome::Timeout,
        None => Outcome::Invalid,
    };
    Sample {
        alive: true,
        ..Sample::new(path, outcome, flight.sent_at)
    }
}

#[cfg(test)]
mod tests;
