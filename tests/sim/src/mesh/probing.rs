//! STAMP probes: what the engine thread of each prober does.

use std::time::Duration;

use meshprobe_core::outcome::{Outcome, OutcomeClass};
use meshprobe_core::stamp::Timestamp;
use meshprobe_core::time::Moment;
use meshprobe_prober::book::Sample;
use meshprobe_prober::tracker::Transition;
use meshprobe_prober::udp::sender::{Arrival, Departure, Failure, Heard, Probe};

use super::{Event, Mesh};
use crate::dice::Dice;
use crate::network::End;
use crate::prober::{Incoming, Means, NEVER, Reply};
use crate::slots::Slots;
use crate::trace::Happening;

/// The dice of extra probes are others than those of turns.
const EXTRA: u64 = u64::MAX;

/// How a probe and its answer fare on links that are up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trip {
    is_lost: bool,
    answer_is_lost: bool,
    pub(super) out: Duration,
    pub(super) back: Duration,
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
        let mut samples = std::mem::take(&mut self.samples);
        let mut inbox = std::mem::take(&mut self.probers[node].inbox);
        inbox.retain(|(at, incoming)| {
            if *at > now {
                return true;
            }
            match incoming {
                Incoming::Reply(reply) => {
                    let arrival = self.read_stamps(node, reply, *at);
                    let sender = &mut self.probers[node].sender;
                    if let Heard::Sample { sample, .. } = sender.handle_arrival(&arrival) {
                        samples.push(sample);
                    }
                }
                Incoming::Error(failure) => {
                    samples.extend(self.probers[node].sender.handle_failure(failure));
                }
                Incoming::Known(sample) => samples.push(*sample),
            }
            false
        });
        let prober = &mut self.probers[node];
        prober.inbox = inbox;
        while let Some(sample) = prober.sender.poll_expired(now) {
            samples.push(sample);
        }
        // Whoever answered may fall asleep, but not before the turns of this slot have been taken.
        samples.retain(|sample| self.record(node, sample));
        while let Some(probe) = self.probers[node].sender.poll_probe(now) {
            self.send(node, &probe);
        }
        for sample in samples.drain(..) {
            let slot = self.probers[node].place(sample.path);
            self.calm_down(node, slot);
        }
        self.samples = samples;
        self.plan_step(node);
        let prober = &self.probers[node];
        if let Some(first) = prober.inbox.iter().map(|(at, _)| *at).min() {
            self.plan_step_at(node, prober.slot_of(first));
        }
    }

    /// What a reply says that arrived at `at`, looked at now.
    fn read_stamps(&self, node: usize, reply: &Reply, at: Moment) -> Arrival {
        let responder = &self.probers[reply.responder].wall;
        Arrival {
            turnaround_nanos: responder.turnaround(reply.received_at, reply.answered_at),
            unix_nanos: self.probers[node].unix_nanos(at),
            now: self.now,
            epoch: self.probers[node].wall.epoch(self.now),
            ..reply.arrival
        }
    }

    /// A probe ended: into the book, and what follows from it. Was it answered?
    pub(super) fn record(&mut self, node: usize, sample: &Sample) -> bool {
        let now = self.now;
        let prober = &mut self.probers[node];
        let slot = prober.place(sample.path);
        let Some(recorded) = prober.book.record(sample, now) else {
            return false;
        };
        let path = &prober.paths[slot];
        let is_udp = path.means == Means::Udp;
        let class = sample.outcome.class();
        self.tally.losses += u64::from(class.is_loss());
        if recorded.transition != Transition::Steady {
            if is_udp {
                let (transition, first) = (recorded.transition, recorded.first_loss_at);
                prober
                    .sender
                    .handle_transition(sample.path, transition, first, now);
            }
            match recorded.transition {
                Transition::FirstLoss => {
                    self.tally.first_losses += 1;
                    prober.failing.push(slot);
                }
                Transition::Recovered { .. } => prober.failing.retain(|failing| *failing != slot),
                Transition::Losing { .. } | Transition::Steady => {}
            }
            let happening = Happening::Transition {
                node,
                peer: path.peer,
                plane: path.plane,
                is_udp,
                transition: recorded.transition,
            };
            self.trace.push(now, happening);
        }
        let peer = path.peer;
        let asks = recorded.asks();
        if asks.tcp {
            self.confirm_by_tcp(node, peer);
        }
        if asks.udp {
            self.confirm_by_udp(node, peer);
        }
        self.plan_flush(node);
        class == OutcomeClass::Reply
    }

    /// The aggregator wants to know about these peers now.
    pub(crate) fn confirm(&mut self, node: usize, peer: usize) {
        self.confirm_by_udp(node, peer);
        self.confirm_by_tcp(node, peer);
    }

    fn confirm_by_udp(&mut self, node: usize, peer: usize) {
        for slot in self.slots(node, peer).iter() {
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
        let slot = self.probers[node].place(probe.path);
        if self.probers[node].paths[slot].calm.is_some() {
            self.end_calm(node, slot);
        }
        self.tally.udp_probes += 1;
        self.tally.extra_probes += u64::from(probe.extra);
        let prober = &mut self.probers[node];
        let stamp = prober.stamp(now);
        let departure = Departure {
            stamp,
            unix_nanos: prober.unix_nanos(now),
            at: now,
            epoch: prober.wall.epoch(now),
            preempted: false,
            port: 0,
        };
        if let Some(evicted) = prober.sender.handle_sent(probe, departure) {
            self.record(node, &evicted);
        }
        self.carry(node, slot, probe, stamp);
    }

    /// Carries a probe to its peer, and what comes of it back.
    fn carry(&mut self, node: usize, slot: usize, probe: &Probe, stamp: Timestamp) {
        let path = &self.probers[node].paths[slot];
        let (peer, plane) = (path.peer, path.plane);
        let dice = if probe.extra {
            path.subject.part(EXTRA).dice(probe.due)
        } else {
            path.subject.dice(probe.due)
        };
        let (here, there) = (End::Node(node), End::Node(peer));
        let trip = self.trip(node, peer, dice);
        if trip.is_lost || !self.network.is_open(here, there, plane) {
            return;
        }
        let is_answered = !trip.answer_is_lost && self.network.is_open(there, here, plane);
        if !self.running[peer] {
            let failure = Failure {
                destination: probe.destination,
                sequence: Some(probe.sequence),
                outcome: Outcome::Refused,
            };
            if is_answered {
                let at = self.now + trip.out + trip.back;
                self.deliver(node, at, Incoming::Error(failure));
            }
            return;
        }
        // The responder answers at the end of its slot, and takes that out of the round trip.
        let responder = &mut self.probers[peer];
        let answered_at = responder.slot_of(self.now + trip.out);
        let Some(path) = responder.heard.get(node).copied().flatten() else {
            // It has no assignment yet, and answers nobody.
            return;
        };
        responder.book.record_received(path, answered_at);
        if !is_answered {
            return;
        }
        let arrived_at = answered_at + trip.back;
        let reply = Reply {
            arrival: Arrival {
                source: probe.destination,
                sequence: probe.sequence,
                stamp,
                turnaround_nanos: None,
                unix_nanos: 0,
                now: arrived_at,
                epoch: 0,
                ttl: None,
                dscp: None,
                // Which way a packet is lost is not asked here.
                number: None,
                responder: None,
            },
            responder: peer,
            received_at: self.now + trip.out,
            answered_at,
        };
        self.deliver(node, arrived_at, Incoming::Reply(reply));
    }

    /// What the dice say of a probe.
    pub(super) fn trip(&self, node: usize, peer: usize, mut dice: Dice) -> Trip {
        let (here, there) = (End::Node(node), End::Node(peer));
        Trip {
            is_lost: self.network.loses(&mut dice),
            answer_is_lost: self.network.loses(&mut dice),
            out: self.network.delay(here, there, &mut dice),
            back: self.network.delay(there, here, &mut dice),
        }
    }

    pub(super) fn deliver(&mut self, node: usize, at: Moment, incoming: Incoming) {
        let prober = &mut self.probers[node];
        prober.inbox.push((at, incoming));
        let slot = prober.slot_of(at);
        self.plan_step_at(node, slot);
    }

    /// The slots of the paths from a node to a peer.
    pub(crate) fn slots(&self, node: usize, peer: usize) -> Slots {
        self.probers[node]
            .of_peer
            .get(peer)
            .copied()
            .unwrap_or_default()
    }

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
            self.agenda.plan_early(slot, event);
        }
    }
}
