//! Streams that go silent: signs of life, hanging up, and what the other end makes of it.

use std::time::Duration;

use meshprobe_aggregator::config::Limits;
use meshprobe_aggregator::pipeline::StreamByHand;
use meshprobe_prober::reporter::way::{PING_INTERVAL, PING_TIMEOUT};
use meshprobe_prober::spool::Way;

use super::reporting::{StreamEnd, plane_of};
use super::{Event, Mesh};
use crate::network::End;
use crate::stream::{Down, Side, Up};
use crate::trace::Happening;

impl Mesh {
    /// An end of an idle stream asks the other one for a sign of life, and gives the stream up if none comes.
    pub(crate) fn keep_alive(&mut self, end: StreamEnd, epoch: u32, side: Side) {
        let (interval, timeout) = keepalive(side);
        let node = usize::from(end.node);
        let stream = &mut self.streams[node][end.way as usize];
        if stream.epoch != epoch {
            return;
        }
        let pulse = &mut stream.pulses[side as usize];
        let pinged = pulse.pinged_at.filter(|at| pulse.heard_at < *at);
        let next = match pinged {
            Some(at) if self.now >= at + timeout => {
                match side {
                    Side::Aggregator => self.close_stream(node, end.way),
                    Side::Prober => self.hang_up(node, end.way),
                }
                return;
            }
            Some(at) => at + timeout,
            None if self.now >= pulse.heard_at + interval => {
                pulse.pinged_at = Some(self.now);
                match side {
                    Side::Aggregator => self.send_down(node, end.way, Down::Ping),
                    Side::Prober => self.send_up(node, end.way, Up::Ping),
                }
                self.now + timeout
            }
            None => pulse.heard_at + interval,
        };
        let event = Event::KeepAlive {
            stream: end,
            epoch,
            side,
        };
        self.agenda.plan(next, event);
    }

    pub(super) fn begin_keep_alive(&mut self, node: usize, way: Way, side: Side) {
        let stream = &mut self.streams[node][way as usize];
        stream.pulses[side as usize].heard_at = self.now;
        let event = Event::KeepAlive {
            stream: StreamEnd {
                node: node as u16,
                way,
            },
            epoch: stream.epoch,
            side,
        };
        self.agenda.plan(self.now + keepalive(side).0, event);
    }

    /// The stream is over, for both ends.
    pub(crate) fn close_stream(&mut self, node: usize, way: Way) {
        if let Some(admitted) = self.streams[node][way as usize].reset() {
            self.close_admitted(node, way, &admitted);
        }
        self.lose_way(node, way);
    }

    /// The prober gives a stream up. The aggregator learns of it by the end of the connection, or by its own pings.
    pub(super) fn hang_up(&mut self, node: usize, way: Way) {
        let heard_at = self.streams[node][way as usize].pulses[Side::Aggregator as usize].heard_at;
        if let Some(admitted) = self.streams[node][way as usize].reset() {
            let (here, there) = (End::Node(node), End::Aggregator);
            let (interval, timeout) = keepalive(Side::Aggregator);
            let stream = StreamEnd {
                node: node as u16,
                way,
            };
            let dice = &mut self.stream_subject(stream).dice(self.now);
            let noticed_at = match self.network.send(here, there, plane_of(way), dice) {
                Some(delay) => self.now + delay,
                None => self.now.max(heard_at + interval + timeout),
            };
            let number = self.hung_up.len() as u32;
            self.hung_up.push(Some((node, way, admitted)));
            self.agenda.plan(noticed_at, Event::HangUpNoticed(number));
        }
        self.lose_way(node, way);
    }

    /// The aggregator notices that a stream was given up.
    pub(crate) fn handle_hang_up(&mut self, number: u32) {
        if let Some((node, way, admitted)) = self.hung_up[number as usize].take() {
            self.close_admitted(node, way, &admitted);
        }
        while self.hung_up.last().is_some_and(Option::is_none) {
            self.hung_up.pop();
        }
    }

    pub(super) fn close_admitted(&mut self, node: usize, way: Way, admitted: &StreamByHand) {
        self.aggregator
            .mesh
            .close(admitted, self.aggregator.clocks(self.now));
        self.note(Happening::StreamClosed { node, way });
        self.plan_evaluation();
    }

    pub(super) fn lose_way(&mut self, node: usize, way: Way) {
        let prober = &mut self.probers[node];
        prober.ways.set(way, false);
        prober.spool.handle_way_closed(way);
        if self.running[node] {
            let stream = StreamEnd {
                node: node as u16,
                way,
            };
            self.plan_reconnect(stream, self.starts[node]);
            self.transmit(node);
        }
    }
}

/// After how long of silence an end asks for a sign of life, and how long it waits for it.
fn keepalive(side: Side) -> (Duration, Duration) {
    match side {
        Side::Prober => (PING_INTERVAL, PING_TIMEOUT),
        Side::Aggregator => {
            let limits = Limits::default();
            (
                limits.keepalive_interval.duration(),
                limits.keepalive_timeout.duration(),
            )
        }
    }
}
