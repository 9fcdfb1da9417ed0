//! Probes: what the engine thread and the TCP runner of each prober do.

use std::time::Duration;

use meshprobe_core::outcome::{Outcome, OutcomeClass};
use meshprobe_core::path::Plane;
use meshprobe_core::stamp::Timestamp;
use meshprobe_core::time::Moment;
use meshprobe_prober::book::Sample;
use meshprobe_prober::plan::Expectation;
use meshprobe_prober::runner::CONFIRM_TIMEOUT;
use meshprobe_prober::tracker::Transition;
use meshprobe_prober::udp::sender::{Arrival, Departure, Failure, Heard, Probe};
use meshprobe_prober::udp::slot::SLOT;

use super::{Event, Mesh};
use crate::calm::Calm;
use crate::network::End;
use crate::prober::{Incoming, Means};
use crate::trace::Happening;

/// Linux's first retransmission timeout of a SYN.
const SYN_RETRANSMIT: Duration = Duration::from_secs(1);
/// Linux's smallest retransmission timeout of data.
const DATA_RETRANSMIT: Duration = Duration::from_millis(200);
/// Round trip of a probe that is entered into a book without having been simulated.
const USUAL_RTT: Duration = Duration::from_micros(500);

/// A TCP probe that ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpEnd {
    pub(crate) prober: u16,
    pub(crate) start: u32,
    pub(crate) slot: u32,
    pub(crate) sent_at: Moment,
    pub(crate) outcome: Outcome,
}

/// How a probe that was put on the wire fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Lost,
    /// It arrives, its answer is lost.
    HeardOnly,
    /// It is answered.
    Answered,
}

impl Mesh {
    /// A slot of a prober's engine: what arrived, what timed out, what is due; in this order.
    pub(crate) fn step(&mut self, node: usize) {
        let now = self.now;
        if self.probers[node]
            .step_at
            .take_if(|at| *at == now)
            .is_none()
        {
            // An earlier step was planned after this one.
            return;
        }
        let inbox = std::mem::take(&mut self.probers[node].inbox);
        let mut samples: Vec<Sample> = Vec::new();
        for (at, incoming) in inbox {
            let prober = &mut self.probers[node];
            if at > now {
                prober.inbox.push((at, incoming));
                continue;
            }
            match incoming {
                Incoming::Reply(arrival) => {
                    let arrival = Arrival { now, ..arrival };
                    if let Heard::Sample { sample, .. } = prober.sender.handle_arrival(&arrival) {
                        samples.push(sample);
                    }
                }
                Incoming::Error(failure) => samples.extend(prober.sender.handle_failure(&failure)),
            }
        }
        while let Some(sample) = self.probers[node].sender.poll_expired(now) {
            samples.push(sample);
        }
        for sample in samples {
            self.record(node, &sample);
        }
        while let Some(probe) = self.probers[node].sender.poll_probe(now) {
            self.send(node, &probe);
        }
        self.plan_step(node);
    }

    /// A probe ended: into the book, and what follows from it.
    fn record(&mut self, node: usize, sample: &Sample) {
        let now = self.now;
        let slot = sample.path.slot();
        let prober = &mut self.probers[node];
        let Some(recorded) = prober.book.record(sample, now) else {
            return;
        };
        let path = &mut prober.paths[slot];
        let is_udp = path.means == Means::Udp;
        self.losses += u32::from(is_udp && sample.outcome.class().is_loss());
        if is_udp {
            let (transition, first) = (recorded.transition, recorded.first_loss_at);
            prober
                .sender
                .handle_transition(sample.path, transition, first, now);
        }
        match recorded.transition {
            Transition::FirstLoss | Transition::Losing { .. } => path.is_failing = true,
            Transition::Recovered { .. } => path.is_failing = false,
            Transition::Steady => {}
        }
        let (peer, plane) = (path.peer, path.plane);
        if recorded.transition != Transition::Steady {
            self.trace.push(
                now,
                Happening::Transition {
                    node,
                    peer,
                    plane,
                    is_udp,
                    transition: recorded.transition,
                },
            );
        }
        let asks = recorded.asks();
        if asks.tcp {
            self.confirm_by_tcp(node, peer);
        }
        if asks.udp {
            self.confirm_by_udp(node, peer);
        }
        if sample.outcome.class() == OutcomeClass::Reply {
            self.calm_down(node, slot);
        }
        self.plan_flush(node);
    }

    /// The aggregator wants to know about these peers now.
    pub(crate) fn confirm(&mut self, node: usize, peer: usize) {
        self.confirm_by_udp(node, peer);
        self.confirm_by_tcp(node, peer);
    }

    fn confirm_by_udp(&mut self, node: usize, peer: usize) {
        for slot in self.slots(node, peer) {
            let path = &self.probers[node].paths[slot];
            if path.means == Means::Udp {
                let target = path.target;
                self.wake(node, slot);
                self.probers[node].sender.confirm(target, self.now);
            }
        }
        self.plan_step(node);
    }

    /// Sends one probe and decides how it fares.
    fn send(&mut self, node: usize, probe: &Probe) {
        let now = self.now;
        let slot = probe.path.slot();
        let ends_calm = self.probers[node].paths[slot]
            .calm
            .and_then(|calm| calm.ends_at());
        let goes_wrong = !probe.extra && ends_calm == Some(probe.due);
        if goes_wrong {
            self.enter_answers(node, slot, now, now);
            self.probers[node].paths[slot].calm = None;
        }
        let prober = &mut self.probers[node];
        let stamp = prober.stamp(now);
        let unix_nanos = prober.unix_nanos(now);
        let departure = Departure {
            stamp,
            unix_nanos,
            at: now,
            epoch: 0,
            preempted: false,
            port: 0,
        };
        if let Some(evicted) = prober.sender.handle_sent(probe, departure) {
            self.record(node, &evicted);
        }
        let (peer, plane) = {
            let path = &self.probers[node].paths[slot];
            (path.peer, path.plane)
        };
        let fate = if goes_wrong {
            self.draw_rough()
        } else {
            self.draw_fate(node, peer, plane)
        };
        self.carry(node, peer, probe, stamp, fate);
    }

    /// Carries a probe to its peer, and what comes of it back.
    fn carry(&mut self, node: usize, peer: usize, probe: &Probe, stamp: Timestamp, fate: Fate) {
        if fate == Fate::Lost {
            return;
        }
        let (here, there) = (End::Node(node), End::Node(peer));
        let out = self.network.delay(here, there, &mut self.chance);
        let back = self.network.delay(there, here, &mut self.chance);
        if !self.running[peer] {
            let failure = Failure {
                destination: probe.destination,
                sequence: Some(probe.sequence),
                outcome: Outcome::Refused,
            };
            if fate == Fate::Answered {
                self.deliver(node, self.now + out + back, Incoming::Error(failure));
            }
            return;
        }
        // The responder answers at the end of its slot, and takes that out of the round trip.
        let responder = &mut self.probers[peer];
        let answered_at = responder.slot_of(self.now + out);
        let Some(path) = responder.heard.get(node).copied().flatten() else {
            // It has no assignment yet, and answers nobody.
            return;
        };
        responder.book.record_received(path, answered_at);
        if fate == Fate::HeardOnly {
            return;
        }
        let turnaround = answered_at.saturating_since(self.now + out);
        let arrived_at = answered_at + back;
        let arrival = Arrival {
            source: probe.destination,
            sequence: probe.sequence,
            stamp,
            turnaround_nanos: Some(turnaround.as_nanos() as i64),
            unix_nanos: self.probers[node].unix_nanos(arrived_at),
            now: arrived_at,
            epoch: 0,
            ttl: None,
            responder: None,
        };
        self.deliver(node, arrived_at, Incoming::Reply(arrival));
    }

    fn deliver(&mut self, node: usize, at: Moment, incoming: Incoming) {
        let prober = &mut self.probers[node];
        prober.inbox.push((at, incoming));
        let slot = prober.slot_of(at);
        self.plan_step_at(node, slot);
    }

    fn draw_fate(&mut self, node: usize, peer: usize, plane: Plane) -> Fate {
        let (here, there) = (End::Node(node), End::Node(peer));
        if self
            .network
            .send(here, there, plane, &mut self.chance)
            .is_none()
        {
            return Fate::Lost;
        }
        if self
            .network
            .send(there, here, plane, &mut self.chance)
            .is_none()
        {
            return Fate::HeardOnly;
        }
        Fate::Answered
    }

    /// The fate of a probe of which it is known that it gets no answer, on links that are up.
    fn draw_rough(&mut self) -> Fate {
        let loss = self.network.loss();
        let lost_on_the_way_out = loss / round_trip_loss(loss);
        if self.chance.happens(lost_on_the_way_out) {
            Fate::Lost
        } else {
            Fate::HeardOnly
        }
    }

    // ---- TCP

    pub(crate) fn confirm_by_tcp(&mut self, node: usize, peer: usize) {
        for slot in self.slots(node, peer) {
            let path = &self.probers[node].paths[slot];
            if path.means != Means::Udp {
                self.wake(node, slot);
                let timeout = self.probers[node].paths[slot].timeout.min(CONFIRM_TIMEOUT);
                self.connect_peer(node, slot, timeout, false);
            }
        }
    }

    /// The TCP turns that have come.
    pub(crate) fn tcp_turns(&mut self, node: usize) {
        let now = self.now;
        if self.probers[node].tcp_at.take_if(|at| *at == now).is_none() {
            return;
        }
        while let Some(turn) = self.probers[node].tcp.poll_turn(now) {
            let slot = turn.path.slot();
            let path = &mut self.probers[node].paths[slot];
            let goes_wrong = path.calm.and_then(|calm| calm.ends_at()) == Some(turn.due);
            if goes_wrong {
                self.enter_answers(node, slot, now, now);
                self.probers[node].paths[slot].calm = None;
            }
            let timeout = self.probers[node].paths[slot].timeout;
            self.connect_peer(node, slot, timeout, goes_wrong);
        }
        self.plan_tcp(node);
    }

    /// Begins one TCP probe. `goes_wrong`: something of it is lost on the way.
    fn connect_peer(&mut self, node: usize, slot: usize, timeout: Duration, goes_wrong: bool) {
        let path = &self.probers[node].paths[slot];
        let (peer, plane) = (path.peer, path.plane);
        let Means::Tcp(expectation) = path.means else {
            return;
        };
        let (outcome, took) = loop {
            let (outcome, took, smooth) =
                self.draw_connection(node, peer, plane, expectation, timeout);
            if !goes_wrong || !smooth {
                break (outcome, took);
            }
        };
        self.probers[node].paths[slot].connecting += 1;
        let end = TcpEnd {
            prober: node as u16,
            start: self.starts[node],
            slot: slot as u32,
            sent_at: self.now,
            outcome,
        };
        self.agenda.plan(self.now + took, Event::TcpEnd(end));
    }

    pub(crate) fn handle_tcp_end(&mut self, node: usize, end: TcpEnd) {
        let slot = end.slot as usize;
        let path = &mut self.probers[node].paths[slot];
        path.connecting -= 1;
        let sample = Sample::new(path.id, end.outcome, end.sent_at);
        self.record(node, &sample);
    }

    /// How a connection ends, after how long, and whether nothing of it was lost.
    fn draw_connection(
        &mut self,
        node: usize,
        peer: usize,
        plane: Plane,
        expectation: Expectation,
        timeout: Duration,
    ) -> (Outcome, Duration, bool) {
        let Some((connected, mut smooth)) =
            self.draw_exchange(node, peer, plane, SYN_RETRANSMIT, timeout)
        else {
            return (Outcome::Timeout, timeout, false);
        };
        let reply = Outcome::Reply { rtt: USUAL_RTT };
        if expectation == Expectation::Contact {
            return (reply, connected, smooth);
        }
        if !self.running[peer] {
            return (Outcome::Refused, connected, smooth);
        }
        let left = timeout.saturating_sub(connected);
        match self.draw_exchange(node, peer, plane, DATA_RETRANSMIT, left) {
            Some((echoed, echo_smooth)) => {
                smooth &= echo_smooth;
                (reply, connected + echoed, smooth)
            }
            None => (Outcome::Timeout, timeout, false),
        }
    }

    /// A segment and its answer, sent again until both get through; `None`: not in time.
    fn draw_exchange(
        &mut self,
        node: usize,
        peer: usize,
        plane: Plane,
        first_wait: Duration,
        timeout: Duration,
    ) -> Option<(Duration, bool)> {
        let (here, there) = (End::Node(node), End::Node(peer));
        let (mut waited, mut wait) = (Duration::ZERO, first_wait);
        while waited < timeout {
            let out = self.network.send(here, there, plane, &mut self.chance);
            let back = out.and_then(|_| self.network.send(there, here, plane, &mut self.chance));
            if let (Some(out), Some(back)) = (out, back) {
                return Some((waited + out + back, waited.is_zero()))
                    .filter(|(took, _)| *took < timeout);
            }
            waited += wait;
            wait *= 2;
        }
        None
    }

    // ---- calm

    /// If nothing of a path is under way or under suspicion, its smooth turns are skipped.
    fn calm_down(&mut self, node: usize, slot: usize) {
        let prober = &self.probers[node];
        let path = &prober.paths[slot];
        let clear = self.network.is_clear(node, path.peer, path.plane) && self.running[path.peer];
        let idle = match path.means {
            Means::Udp => prober.sender.is_idle(path.id),
            Means::Tcp(_) => path.connecting == 0,
        };
        if !self.is_skipping || path.calm.is_some() || path.is_failing || !clear || !idle {
            return;
        }
        let (id, means, interval) = (path.id, path.means, path.cadence.interval);
        let from = self.now + Duration::from_nanos(1);
        let Some(first) = prober.next_turn(slot, from) else {
            return;
        };
        let loss = self.network.loss();
        let rough = match means {
            Means::Udp | Means::Tcp(Expectation::Contact) => round_trip_loss(loss),
            Means::Tcp(Expectation::Echo) => round_trip_loss(round_trip_loss(loss)),
        };
        let calm = Calm::new(first, interval, self.chance.trials_before(rough));
        let until = calm.ends_at().unwrap_or(NEVER);
        let prober = &mut self.probers[node];
        prober.paths[slot].calm = Some(calm);
        match means {
            Means::Udp => prober.sender.skip_until(id, until),
            Means::Tcp(_) => prober.tcp.skip_until(id, until),
        }
    }

    /// Ends a calm stretch early: from now on each turn is simulated.
    pub(crate) fn wake(&mut self, node: usize, slot: usize) {
        if self.probers[node].paths[slot].calm.is_none() {
            return;
        }
        let now = self.now;
        // Turns of the slot that is not over yet have not left.
        let is_udp = self.probers[node].paths[slot].means == Means::Udp;
        let done = if is_udp {
            self.probers[node].slot_before(now)
        } else {
            now
        };
        let next = done + Duration::from_nanos(1);
        self.enter_answers(node, slot, next, now);
        let prober = &mut self.probers[node];
        let path = &mut prober.paths[slot];
        path.calm = None;
        let id = path.id;
        if is_udp {
            prober.sender.skip_until(id, next);
            self.plan_step(node);
        } else {
            prober.tcp.skip_until(id, next);
            self.plan_tcp(node);
        }
    }

    /// Enters the newest answer of a calm path to a turn before `turns_before` into the book.
    fn enter_answers(&mut self, node: usize, slot: usize, turns_before: Moment, now: Moment) {
        let prober = &mut self.probers[node];
        let path = &mut prober.paths[slot];
        let Some(turn) = path
            .calm
            .as_mut()
            .and_then(|calm| calm.enter_newest(turns_before))
        else {
            return;
        };
        let id = path.id;
        let sent_at = if path.means == Means::Udp {
            prober.slot_of(turn)
        } else {
            turn
        };
        let answered_at = (sent_at + SLOT).min(now);
        let sample = Sample::new(
            id,
            Outcome::Reply { rtt: USUAL_RTT },
            sent_at.min(answered_at),
        );
        prober.book.record(&sample, answered_at);
    }

    /// Before a window is closed: what the probes that were not simulated have to say.
    pub(crate) fn enter_calm(&mut self, node: usize) {
        let now = self.now;
        // What was sent two slots ago has its answer in the book.
        let answered = self.probers[node].slot_before(now) - 2 * SLOT;
        for slot in 0..self.probers[node].paths.len() {
            if self.probers[node].paths[slot].calm.is_some() {
                self.enter_answers(node, slot, answered, now);
            }
        }
        for slot in 0..self.probers[node].paths.len() {
            if self.probers[node].paths[slot].is_failing {
                self.enter_heard(node, slot, answered);
            }
        }
    }

    /// The newest probe that arrived from a failing path's peer, if that peer's probes are not simulated.
    fn enter_heard(&mut self, node: usize, slot: usize, sent_before: Moment) {
        let peer = self.probers[node].paths[slot].peer;
        let Some(heard) = self.probers[node].heard[peer] else {
            return;
        };
        let sent = self.slots(peer, node).into_iter().find_map(|reverse| {
            let path = &self.probers[peer].paths[reverse];
            let newest = path
                .calm
                .filter(|_| path.means == Means::Udp)?
                .newest(sent_before)?;
            Some(self.probers[peer].slot_of(newest))
        });
        if let Some(sent) = sent {
            let prober = &mut self.probers[node];
            let at = prober.slot_of(sent + USUAL_RTT / 2);
            prober.book.record_received(heard, at);
        }
    }

    /// The slots of the paths from a node to a peer.
    pub(crate) fn slots(&self, node: usize, peer: usize) -> Vec<usize> {
        self.probers[node]
            .of_peer
            .get(peer)
            .cloned()
            .unwrap_or_default()
    }

    // ---- planning

    pub(crate) fn plan_step(&mut self, node: usize) {
        let prober = &self.probers[node];
        if let Some(due) = prober.sender.next_deadline().filter(|due| *due < NEVER) {
            let after = prober.slot_of(self.now + Duration::from_nanos(1));
            let slot = prober.slot_of(due).max(after);
            self.plan_step_at(node, slot);
        }
    }

    fn plan_step_at(&mut self, node: usize, slot: Moment) {
        let prober = &mut self.probers[node];
        if prober.step_at.is_none_or(|planned| slot < planned) {
            prober.step_at = Some(slot);
            let event = Event::Step {
                prober: node as u16,
                start: self.starts[node],
            };
            self.agenda.plan(slot, event);
        }
    }

    pub(crate) fn plan_tcp(&mut self, node: usize) {
        let prober = &mut self.probers[node];
        let Some(due) = prober.tcp.next_deadline().filter(|due| *due < NEVER) else {
            return;
        };
        let due = due.max(self.now);
        if prober.tcp_at.is_none_or(|planned| due < planned) {
            prober.tcp_at = Some(due);
            let event = Event::TcpTurns {
                prober: node as u16,
                start: self.starts[node],
            };
            self.agenda.plan(due, event);
        }
    }
}

/// Turns that never come are put here.
const NEVER: Moment = Moment::from_millis(1 << 43);

/// Probability that a packet or its answer is lost.
fn round_trip_loss(loss: f64) -> f64 {
    1.0 - (1.0 - loss) * (1.0 - loss)
}
