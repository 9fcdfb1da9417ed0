//! Calm paths fall asleep, are entered into the books, and are woken. Why that changes nothing: [`crate::calm`].

use meshprobe_core::outcome::Outcome;
use meshprobe_core::time::Moment;
use meshprobe_prober::book::Sample;
use meshprobe_prober::plan::Expectation;

use super::tcp::TcpEnd;
use super::{Event, Mesh};
use crate::calm::Calm;
use crate::prober::{Incoming, Means, NEVER};

/// Turns that are looked at in advance at most, where losses are rare. The one after them is simulated.
const LOOK_AHEAD: u32 = 4_096;

/// The answer to a turn that goes smoothly.
#[derive(Clone, Copy, Debug)]
struct Answer {
    sent_at: Moment,
    outcome: Outcome,
    /// When the answer is there.
    arrives_at: Moment,
    /// When its prober looks at it.
    seen_at: Moment,
    /// When the responder looked at the probe.
    heard_at: Moment,
}

impl Mesh {
    /// If nothing of a path is under way or under suspicion, its smooth turns are skipped.
    pub(super) fn calm_down(&mut self, node: usize, slot: usize) {
        let prober = &self.probers[node];
        let path = &prober.paths[slot];
        if !self.is_skipping || path.calm.is_some() || prober.failing.contains(&slot) {
            return;
        }
        let is_idle = match path.means {
            Means::Udp => prober.sender.is_idle(path.id),
            Means::Tcp(_) => path.connecting == 0,
        };
        let is_clear =
            self.network.is_clear(node, path.peer, path.plane) && self.running[path.peer];
        if !is_idle || !is_clear {
            return;
        }
        let (id, means, interval) = (path.id, path.means, path.cadence.interval);
        let first = prober.next_turn(slot, self.now + std::time::Duration::from_nanos(1));
        let ends_at = match path.rough {
            Some((from, rough)) if (from..=rough).contains(&first) => rough,
            _ => self.find_rough(node, slot, first),
        };
        let prober = &mut self.probers[node];
        prober.due[slot] = first;
        let path = &mut prober.paths[slot];
        path.rough = Some((first, ends_at));
        path.calm = Some(Calm::new(first, interval, ends_at));
        // The turns before were simulated, so the peer knows of them.
        path.heard_of = first - interval;
        match means {
            Means::Udp => prober.sender.skip_until(id, ends_at),
            Means::Tcp(_) => prober.tcp.skip_until(id, ends_at),
        }
    }

    /// The first turn from `first` on that does not go smoothly, or of which that was not tried.
    fn find_rough(&self, node: usize, slot: usize, first: Moment) -> Moment {
        if !self.network.is_lossy() {
            return NEVER;
        }
        let path = &self.probers[node].paths[slot];
        let mut turn = first;
        for _ in 0..LOOK_AHEAD {
            let mut dice = path.subject.dice(turn);
            let mut is_lost = || self.network.loses(&mut dice) | self.network.loses(&mut dice);
            let is_rough = match path.means {
                Means::Udp | Means::Tcp(Expectation::Contact) => is_lost(),
                Means::Tcp(Expectation::Echo) => {
                    is_lost() || {
                        // The two delays of the handshake lie between the two exchanges.
                        dice.skip(2);
                        self.network.loses(&mut dice) | self.network.loses(&mut dice)
                    }
                }
            };
            if is_rough {
                return turn;
            }
            turn = turn + path.cadence.interval;
        }
        turn
    }

    /// The answer to a smooth turn of a path.
    fn answer(&self, node: usize, slot: usize, turn: Moment) -> Answer {
        let path = &self.probers[node].paths[slot];
        match path.means {
            Means::Udp => {
                let sent_at = self.probers[node].slot_of(turn);
                let trip = self.trip(node, path.peer, path.subject.dice(turn));
                let heard_at = self.probers[path.peer].slot_of(sent_at + trip.out);
                let arrives_at = heard_at + trip.back;
                Answer {
                    sent_at,
                    outcome: Outcome::Reply {
                        rtt: trip.out + trip.back,
                    },
                    arrives_at,
                    seen_at: self.probers[node].slot_of(arrives_at),
                    heard_at,
                }
            }
            Means::Tcp(expectation) => {
                let dice = &mut path.subject.dice(turn);
                let (peer, plane) = (path.peer, path.plane);
                let (outcome, took) =
                    self.draw_connection(node, peer, plane, expectation, path.timeout, dice);
                let seen_at = turn + took;
                Answer {
                    sent_at: turn,
                    outcome,
                    arrives_at: seen_at,
                    seen_at,
                    heard_at: seen_at,
                }
            }
        }
    }

    /// The last turn of a path that has been sent by now.
    fn last_sent(&self, node: usize, slot: usize) -> Moment {
        let prober = &self.probers[node];
        match prober.paths[slot].means {
            // Turns of the slot that is not over yet have not left.
            Means::Udp => prober.slot_before(self.now),
            Means::Tcp(_) => self.now,
        }
    }

    /// Enters the newest answer of a calm path that has been seen by now into the book.
    pub(super) fn enter_answers(&mut self, node: usize, slot: usize) {
        let sent = self.last_sent(node, slot);
        let Some(calm) = self.probers[node].paths[slot].calm else {
            return;
        };
        let Some(newest) = calm.newest(sent) else {
            return;
        };
        let mut turn = newest;
        let mut answer = self.answer(node, slot, turn);
        if answer.seen_at > self.now {
            let Some(before) = calm.before(newest) else {
                return;
            };
            turn = before;
            answer = self.answer(node, slot, turn);
        }
        let prober = &mut self.probers[node];
        let path = &mut prober.paths[slot];
        if let Some(calm) = &mut path.calm {
            let turns = calm.enter(turn);
            prober.due[slot] = calm.next();
            self.tally.count_skipped(path.means, turns);
        }
        let sample = Sample::new(path.id, answer.outcome, answer.sent_at);
        prober.book.record(&sample, answer.seen_at);
    }

    /// Before a window is closed: what the probes that were not simulated have to say.
    pub(super) fn enter_calm(&mut self, node: usize) {
        for slot in 0..self.probers[node].due.len() {
            if self.probers[node].due[slot] <= self.now {
                self.enter_answers(node, slot);
            }
        }
        for i in 0..self.probers[node].failing.len() {
            let slot = self.probers[node].failing[i];
            let peer = self.probers[node].paths[slot].peer;
            self.enter_heard(peer, node);
        }
    }

    /// Tells `node` of the newest probe of `peer` that arrived without having been simulated.
    fn enter_heard(&mut self, peer: usize, node: usize) {
        for slot in self.slots(peer, node).iter() {
            let path = &self.probers[peer].paths[slot];
            let Some(calm) = path.calm.filter(|_| path.means == Means::Udp) else {
                continue;
            };
            let newest = calm.newest_ever(self.last_sent(peer, slot));
            let Some(turn) = newest.filter(|turn| *turn > path.heard_of) else {
                continue;
            };
            let Answer {
                sent_at, heard_at, ..
            } = self.answer(peer, slot, turn);
            self.probers[peer].paths[slot].heard_of = turn;
            let prober = &mut self.probers[node];
            let Some(heard) = prober.heard[peer] else {
                continue;
            };
            if sent_at > prober.window_began {
                prober.book.record_received(heard, heard_at);
            } else {
                prober.book.record_received_before(heard, heard_at);
            }
        }
    }

    /// The turn that ends a calm stretch has come.
    pub(super) fn end_calm(&mut self, node: usize, slot: usize) {
        self.settle(node, slot);
        let prober = &mut self.probers[node];
        prober.paths[slot].calm = None;
        prober.due[slot] = NEVER;
    }

    /// Ends a calm stretch early: from now on each turn is simulated.
    pub(super) fn wake(&mut self, node: usize, slot: usize) {
        if self.probers[node].paths[slot].calm.is_none() {
            return;
        }
        let next = self.last_sent(node, slot) + std::time::Duration::from_nanos(1);
        self.end_calm(node, slot);
        let prober = &mut self.probers[node];
        let path = &prober.paths[slot];
        match path.means {
            Means::Udp => {
                prober.sender.skip_until(path.id, next);
                self.plan_step(node);
            }
            Means::Tcp(_) => {
                prober.tcp.skip_until(path.id, next);
                self.plan_tcp(node);
            }
        }
    }

    /// What has been answered is in the book, what is under way will be, and the peer knows what it heard.
    fn settle(&mut self, node: usize, slot: usize) {
        self.enter_answers(node, slot);
        let peer = self.probers[node].paths[slot].peer;
        self.enter_heard(node, peer);
        let sent = self.last_sent(node, slot);
        let path = &self.probers[node].paths[slot];
        let Some(turn) = path.calm.and_then(|calm| calm.newest(sent)) else {
            return;
        };
        let (id, means) = (path.id, path.means);
        let Answer {
            sent_at,
            outcome,
            arrives_at,
            seen_at,
            ..
        } = self.answer(node, slot, turn);
        self.tally.count_skipped(means, 1);
        if means == Means::Udp {
            let sample = Sample::new(id, outcome, sent_at);
            self.deliver(node, arrives_at, Incoming::Known(sample));
        } else {
            self.probers[node].paths[slot].connecting += 1;
            let end = TcpEnd {
                prober: node as u16,
                start: self.starts[node],
                slot: slot as u32,
                sent_at,
                outcome,
            };
            self.agenda.plan(seen_at, Event::TcpEnd(end));
        }
    }
}
