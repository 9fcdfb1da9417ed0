//! The Session-Sender's decisions for all paths: whose turn it is, what an answer means, what timed out.
//!
//! No socket and no clock: the engine and the simulator drive the same code. In each step the driver feeds what
//! arrived (`handle_*`), then asks what timed out ([`Sender::poll_expired`]), then whose turn it is
//! ([`Sender::poll_probe`]) and tells what became of the sending. The order matters: what has arrived is looked at
//! before anything is judged, so a driver that was paused does not take its own pause for loss.

mod skipping;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use meshprobe_core::ids::TargetNumber;
use meshprobe_core::outcome::Outcome;
use meshprobe_core::rtt::Rtt;
use meshprobe_core::stamp::{Sequence, Timestamp};
use meshprobe_core::time::Moment;
use smallvec::SmallVec;

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

/// A probe to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// On which path.
    pub path: PathId,
    /// Where to.
    pub destination: SocketAddr,
    /// Its number in the session.
    pub sequence: Sequence,
    /// When it should have been sent.
    pub due: Moment,
    /// Turns of this path that were skipped before it.
    pub missed: u32,
    /// Not by the schedule but to confirm something.
    pub extra: bool,
}

/// A probe that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// T1 as it travels.
    pub stamp: Timestamp,
    /// T1, nanoseconds since the Unix epoch.
    pub unix_nanos: i64,
    /// The same on the monotonic clock.
    pub at: Moment,
    /// Epoch of the wall clock.
    pub epoch: u32,
    /// The send call took so long that T1 is not when the packet left.
    pub preempted: bool,
}

/// A reply as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where it came from.
    pub source: SocketAddr,
    /// Which probe it answers.
    pub sequence: Sequence,
    /// T1 that it returns.
    pub stamp: Timestamp,
    /// T3 − T2; `None` if the responder could not measure it.
    pub turnaround_nanos: Option<i64>,
    /// T4, nanoseconds since the Unix epoch.
    pub unix_nanos: i64,
    /// When the driver looked.
    pub now: Moment,
    /// Epoch of the wall clock when the driver looked.
    pub epoch: u32,
}

/// What an arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The end of a probe.
    Sample {
        /// How it ended.
        sample: Sample,
        /// It was overtaken by the answer to a later probe.
        reordered: bool,
    },
    /// Another answer to a probe that was answered.
    Duplicate,
    /// It answers nothing that was sent.
    Unknown,
}

/// What an error says of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where the probe was sent to.
    pub destination: SocketAddr,
    /// Which probe, if the error quotes enough of it.
    pub sequence: Option<Sequence>,
    /// How it ended.
    pub outcome: Outcome,
}

#[derive(Debug)]
struct Target {
    config: UdpTarget,
    next_sequence: Sequence,
    flights: Flights,
    patience: Patience,
    suspicion: Option<Suspicion>,
}

/// See the module.
#[derive(Debug)]
pub struct Sender {
    targets: PathTable<Target>,
    by_address: HashMap<SocketAddr, SmallVec<[PathId; 1]>>,
    by_target: HashMap<TargetNumber, SmallVec<[PathId; 1]>>,
    schedule: Schedule,
    extras: Agenda,
    deadlines: Deadlines,
    /// Probes whose end is not known.
    pending: usize,
    extra_budget: TokenBucket,
    last_stall: Option<(Moment, Moment)>,
}

impl Sender {
    /// No paths yet. `origin_unix_nanos` is the wall clock at [`Moment::ORIGIN`].
    pub fn new(origin_unix_nanos: i64) -> Self {
        Self {
            targets: PathTable::new(),
            by_address: HashMap::new(),
            by_target: HashMap::new(),
            schedule: Schedule::new(origin_unix_nanos),
            extras: Agenda::new(),
            deadlines: Deadlines::new(),
            pending: 0,
            extra_budget: TokenBucket::new(EXTRA_PER_SECOND, EXTRA_PER_SECOND / 5),
            last_stall: None,
        }
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
                        self.pending -= moved.flights.pending_count();
                    }
                    self.extras.remove(config.path);
                    Target {
                        config: *config,
                        next_sequence: Sequence(0),
                        flights: Flights::default(),
                        patience: Patience::default(),
                        suspicion: None,
                    }
                }
            };
            self.targets.insert(config.path, target);
        }
        for (path, gone) in before.into_entries() {
            self.schedule.remove(path);
            self.extras.remove(path);
            self.pending -= gone.flights.pending_count();
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
            return Some(Probe {
                path: turn.path,
                destination: target.config.address,
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
        let evicted = target.flights.insert(Flight {
            sequence: probe.sequence,
            stamp: departure.stamp,
            sent_unix_nanos: departure.unix_nanos,
            sent_at: departure.at,
            deadline,
            epoch: departure.epoch,
            preempted: departure.preempted,
        });
        self.deadlines.push(probe.path, probe.sequence, deadline);
        self.pending += 1;
        let evicted = evicted?;
        self.pending -= 1;
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
            let (flight, late) = match target
                .flights
                .handle_answer(arrival.sequence, arrival.stamp)
            {
                Answer::Expected(flight) => (flight, false),
                Answer::Late(flight) => (flight, true),
                Answer::Duplicate => {
                    heard = Heard::Duplicate;
                    continue;
                }
                Answer::Unknown => continue,
            };
            self.pending -= usize::from(!late);
            let reordered = target.flights.is_reordered(arrival.sequence);
            let sample = judge(target, &flight, late, arrival);
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
                self.pending -= 1;
                return Some(Sample::new(*path, failure.outcome, flight.sent_at));
            }
        }
        None
    }

    /// The driver wanted to run at `from` and runs at `to`.
    pub fn handle_stall(&mut self, from: Moment, to: Moment) {
        self.last_stall = Some((from, to));
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
            if let Some((from, to)) = self.last_stall
                && flight.sent_at < to
                && flight.deadline >= from
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
            target.flights.give_up(sequence);
            self.pending -= 1;
            return Some(Sample::new(path, outcome, flight.sent_at));
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
            (self.pending > 0)
                .then(|| self.deadlines.next_due())
                .flatten(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Probes whose end is not known.
    pub const fn pending_count(&self) -> usize {
        self.pending
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
        granted.then(|| Probe {
            path,
            destination: target.config.address,
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
}

/// What the answer to a probe is worth.
fn judge(target: &mut Target, flight: &Flight, late: bool, arrival: &Arrival) -> Sample {
    let path = target.config.path;
    let measured = (flight.epoch == arrival.epoch && !flight.preempted)
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
    if let Some(rtt) = measured {
        target.patience.handle_rtt(rtt, arrival.now);
    }
    let outcome = match measured {
        _ if late => Outcome::Late,
        // Counted by the kernel's receive stamp: what arrived in time was in time, whenever we looked.
        Some(rtt) if in_time() => Outcome::Reply {
            rtt: rtt.as_duration(),
        },
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
