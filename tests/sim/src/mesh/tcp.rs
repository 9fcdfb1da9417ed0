//! TCP probes: what the TCP runner of each prober does, and what the kernel does for it.

use std::time::Duration;

use meshprobe_core::outcome::Outcome;
use meshprobe_core::path::Plane;
use meshprobe_core::time::Moment;
use meshprobe_prober::book::Sample;
use meshprobe_prober::plan::Expectation;
use meshprobe_prober::runner::CONFIRM_TIMEOUT;

use super::{Event, Mesh};
use crate::dice::{Dice, Subject};
use crate::network::End;
use crate::prober::{Means, NEVER};

/// Linux's first retransmission timeout of a SYN.
const SYN_RETRANSMIT: Duration = Duration::from_secs(1);
/// Linux's smallest retransmission timeout of data.
const DATA_RETRANSMIT: Duration = Duration::from_millis(200);
/// What the kernel says of the round trip: the time of the answer decides, not this.
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

impl Mesh {
    pub(super) fn confirm_by_tcp(&mut self, node: usize, peer: usize) {
        for slot in self.slots(node, peer).iter() {
            let path = &self.probers[node].paths[slot];
            if path.means != Means::Udp {
                self.wake(node, slot);
                let path = &self.probers[node].paths[slot];
                let timeout = path.timeout.min(CONFIRM_TIMEOUT);
                let number = u64::from(path.connecting);
                let subject = path.subject.part(number);
                self.connect_peer(node, slot, timeout, subject);
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
            let slot = self.probers[node].place(turn.path);
            if self.probers[node].paths[slot].calm.is_some() {
                self.end_calm(node, slot);
            }
            let path = &self.probers[node].paths[slot];
            self.connect_peer(node, slot, path.timeout, path.subject);
        }
        self.plan_tcp(node);
    }

    /// Begins one TCP probe.
    fn connect_peer(&mut self, node: usize, slot: usize, timeout: Duration, subject: Subject) {
        let path = &self.probers[node].paths[slot];
        let (peer, plane) = (path.peer, path.plane);
        let Means::Tcp(expectation) = path.means else {
            return;
        };
        let dice = &mut subject.dice(self.now);
        let (outcome, took) = self.draw_connection(node, peer, plane, expectation, timeout, dice);
        self.tally.tcp_probes += 1;
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
        if self.record(node, &sample) {
            self.calm_down(node, slot);
        }
    }

    /// How a connection ends, and after how long.
    pub(super) fn draw_connection(
        &self,
        node: usize,
        peer: usize,
        plane: Plane,
        expectation: Expectation,
        timeout: Duration,
        dice: &mut Dice,
    ) -> (Outcome, Duration) {
        let Some(connected) = self.draw_exchange(node, peer, plane, SYN_RETRANSMIT, timeout, dice)
        else {
            return (Outcome::Timeout, timeout);
        };
        let reply = Outcome::Reply { rtt: USUAL_RTT };
        if expectation == Expectation::Contact {
            return (reply, connected);
        }
        if !self.running[peer] {
            return (Outcome::Refused, connected);
        }
        let left = timeout.saturating_sub(connected);
        match self.draw_exchange(node, peer, plane, DATA_RETRANSMIT, left, dice) {
            Some(echoed) => (reply, connected + echoed),
            None => (Outcome::Timeout, timeout),
        }
    }

    /// A segment and its answer, sent again until both get through; `None`: not in time.
    fn draw_exchange(
        &self,
        node: usize,
        peer: usize,
        plane: Plane,
        first_wait: Duration,
        timeout: Duration,
        dice: &mut Dice,
    ) -> Option<Duration> {
        let (here, there) = (End::Node(node), End::Node(peer));
        if !self.network.is_open(here, there, plane) || !self.network.is_open(there, here, plane) {
            return None;
        }
        let (mut waited, mut wait) = (Duration::ZERO, first_wait);
        while waited < timeout {
            // Both are drawn each time, so that it can be known in advance where in the stream the next exchange begins.
            let is_lost = self.network.loses(dice) | self.network.loses(dice);
            if !is_lost {
                let out = self.network.delay(here, there, dice);
                let back = self.network.delay(there, here, dice);
                return Some(waited + out + back).filter(|took| *took < timeout);
            }
            waited += wait;
            wait *= 2;
        }
        None
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
