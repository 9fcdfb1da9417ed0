//! Windows, reports and questions: what the window and reporter tasks of each prober and the aggregator's streams do.

use std::time::Duration;

use meshprobe_aggregator::membership::{Announcement, NodeAddress, WayHome};
use meshprobe_aggregator::pipeline::StreamByHand;
use meshprobe_core::ids::{Incarnation, ReportSequence, Ssid, TargetNumber};
use meshprobe_core::path::Plane;
use meshprobe_prober::assignment::TargetSet;
use meshprobe_prober::book::Close;
use meshprobe_prober::reporter::boundary::until_boundary;
use meshprobe_prober::spool::Way;
use meshprobe_proto::v1;

use super::{Event, Mesh, STREAMS};
use crate::dice::Subject;
use crate::network::End;
use crate::pipe::Pipe;
use crate::prober::{PORT, address, name};
use crate::stream::{Down, Side, Up};
use crate::trace::Happening;

/// Round trips of a new stream before its first message: TCP, HTTP/2, the call.
const HANDSHAKES: u32 = 3;
/// Until a prober tries again to connect, about.
const RECONNECT: Duration = Duration::from_secs(1);
/// The aggregator stores what it took in batches this far apart, and acknowledges it then.
const STORE_GAP: Duration = Duration::from_millis(100);

/// A stream of a prober.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamEnd {
    pub(crate) node: u16,
    pub(crate) way: Way,
}

/// A segment of a stream, each time that it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) stream: StreamEnd,
    pub(crate) epoch: u32,
    pub(crate) is_up: bool,
    pub(crate) number: u64,
    pub(crate) attempt: u8,
}

impl Mesh {
    // ---- windows

    /// Plans the next early report, if the book wants one.
    pub(crate) fn plan_flush(&mut self, node: usize) {
        let prober = &mut self.probers[node];
        let Some(due) = prober.book.next_flush() else {
            return;
        };
        let due = due.max(self.now);
        if prober.flush_at.is_none_or(|planned| due < planned) {
            prober.flush_at = Some(due);
            let event = Event::Flush {
                prober: node as u16,
                start: self.starts[node],
            };
            self.agenda.plan(due, event);
        }
    }

    /// Closes the window early, if that is still wanted.
    pub(crate) fn flush(&mut self, node: usize) {
        let now = self.now;
        if self.probers[node]
            .flush_at
            .take_if(|at| *at == now)
            .is_none()
        {
            return;
        }
        if self.probers[node]
            .book
            .next_flush()
            .is_some_and(|due| due <= self.now)
        {
            self.close_window(node, Close::Urgent);
        }
        self.plan_flush(node);
    }

    /// The report interval is over.
    pub(crate) fn end_window(&mut self, node: usize) {
        self.close_window(node, Close::Regular);
        self.plan_window(node);
    }

    fn plan_window(&mut self, node: usize) {
        let prober = &self.probers[node];
        let interval = prober.report_interval;
        let at = self.now + until_boundary(prober.unix_nanos(self.now), interval, prober.spread);
        let event = Event::Window {
            prober: node as u16,
            start: self.starts[node],
        };
        self.agenda.plan(at, event);
    }

    pub(super) fn close_window(&mut self, node: usize, close: Close) {
        self.enter_calm(node);
        let now = self.now;
        let prober = &mut self.probers[node];
        let unix_millis = u64::try_from(prober.unix_nanos(now) / 1_000_000).unwrap_or(0);
        let window = prober.book.close(close, now, unix_millis);
        prober.window_began = now;
        prober.spool.push(window);
        self.transmit(node);
        self.plan_flush(node);
    }

    // ---- reports

    /// The spool may want to send something again.
    pub(crate) fn resend(&mut self, node: usize) {
        let now = self.now;
        if self.probers[node]
            .transmit_at
            .take_if(|at| *at == now)
            .is_some()
        {
            self.transmit(node);
        }
    }

    /// Sends what the spool has to send.
    pub(crate) fn transmit(&mut self, node: usize) {
        let now = self.now;
        loop {
            let prober = &mut self.probers[node];
            let Some(transmission) = prober.spool.poll_transmit(prober.ways, now) else {
                break;
            };
            self.send_dictionary(node, transmission.way);
            self.send_up(
                node,
                transmission.way,
                Up::Report(Box::new(transmission.report)),
            );
        }
        let prober = &mut self.probers[node];
        if let Some(due) = prober.spool.next_deadline(prober.ways) {
            let due = due.max(now + Duration::from_millis(1));
            if prober.transmit_at.is_none_or(|planned| due < planned) {
                prober.transmit_at = Some(due);
                let event = Event::Transmit {
                    prober: node as u16,
                    start: self.starts[node],
                };
                self.agenda.plan(due, event);
            }
        }
    }

    fn send_dictionary(&mut self, node: usize, way: Way) {
        let prober = &self.probers[node];
        let entries = prober.registry.dictionary();
        let stream = &mut self.streams[node][way as usize];
        if stream.dictionary_sent >= entries.len() {
            return;
        }
        let dictionary = v1::Dictionary {
            incarnation: prober.incarnation.0,
            entries: entries[stream.dictionary_sent..].to_vec(),
        };
        stream.dictionary_sent = entries.len();
        self.send_up(node, way, Up::Dictionary(dictionary));
    }

    // ---- streams

    /// What a prober says when it calls.
    pub(crate) fn hello(&self, node: usize) -> Announcement {
        let address = |plane, udp_port| NodeAddress {
            plane,
            ip: address(node, plane).ip(),
            udp_port,
            tcp_port: PORT,
            quic_port: 0,
        };
        Announcement {
            node: name(node),
            plane: Plane::Pod,
            incarnation: self.probers[node].incarnation,
            version: "sim".to_owned(),
            zone: format!("zone-{}", self.zone_of(node)),
            region: String::new(),
            labels: std::collections::BTreeMap::new(),
            addresses: vec![address(Plane::Pod, PORT), address(Plane::Host, 0)],
            way: None,
        }
    }

    /// A prober opens its two ways home.
    pub(crate) fn plan_connects(&mut self, node: usize, within: Duration) {
        for way in Way::ALL {
            let stream = StreamEnd {
                node: node as u16,
                way,
            };
            let at = self.now + self.chance.within(within);
            let event = Event::Connect {
                stream,
                start: self.starts[node],
            };
            self.agenda.plan(at, event);
        }
    }

    /// Tries to open a stream.
    pub(crate) fn connect(&mut self, stream: StreamEnd, start: u32) {
        let Some(node) = self.alive(stream.node, start) else {
            return;
        };
        let plane = plane_of(stream.way);
        let (here, there) = (End::Node(node), End::Aggregator);
        let dice = &mut self.stream_subject(stream).dice(self.now);
        let out = self.network.send(here, there, plane, dice);
        let back = out.and_then(|_| self.network.send(there, here, plane, dice));
        let (Some(out), Some(back)) = (out, back) else {
            self.plan_reconnect(stream, start);
            return;
        };
        self.streams[node][stream.way as usize].reset();
        let hello = Announcement {
            way: Some(match stream.way {
                Way::Overlay => WayHome::Overlay,
                Way::Underlay => WayHome::Underlay,
            }),
            ..self.hello(node)
        };
        let number = self.streams[node][stream.way as usize]
            .up
            .push(Up::Hello(Box::new(hello)));
        let segment = Segment {
            stream,
            epoch: self.streams[node][stream.way as usize].epoch,
            is_up: true,
            number,
            attempt: 0,
        };
        self.agenda.plan(
            self.now + (out + back) * HANDSHAKES,
            Event::Segment(segment),
        );
        self.begin_keep_alive(node, stream.way, Side::Prober);
        self.probers[node].ways.set(stream.way, true);
        self.transmit(node);
    }

    pub(super) fn plan_reconnect(&mut self, stream: StreamEnd, start: u32) {
        let wait = RECONNECT / 2 + self.chance.within(RECONNECT);
        self.agenda
            .plan(self.now + wait, Event::Connect { stream, start });
    }

    pub(super) fn send_up(&mut self, node: usize, way: Way, message: Up) {
        let number = self.streams[node][way as usize].up.push(message);
        self.attempt_first(node, way, true, number);
    }

    pub(super) fn send_down(&mut self, node: usize, way: Way, message: Down) {
        let number = self.streams[node][way as usize].down.push(message);
        self.attempt_first(node, way, false, number);
    }

    fn attempt_first(&mut self, node: usize, way: Way, is_up: bool, number: u64) {
        let stream = StreamEnd {
            node: node as u16,
            way,
        };
        self.attempt(Segment {
            stream,
            epoch: self.streams[node][way as usize].epoch,
            is_up,
            number,
            attempt: 0,
        });
    }

    /// What the dice of a stream are thrown about.
    pub(super) fn stream_subject(&self, stream: StreamEnd) -> Subject {
        let way = u64::from(stream.node) * 2 + stream.way as u64;
        self.subject.part(STREAMS).part(way)
    }

    /// Puts a segment on the wire.
    pub(crate) fn attempt(&mut self, segment: Segment) {
        let Segment {
            stream,
            epoch,
            is_up,
            attempt,
            ..
        } = segment;
        let node = usize::from(stream.node);
        if self.streams[node][stream.way as usize].epoch != epoch {
            return;
        }
        let (from, to) = if is_up {
            (End::Node(node), End::Aggregator)
        } else {
            (End::Aggregator, End::Node(node))
        };
        let subject = self
            .stream_subject(stream)
            .part(segment.number * 2 + u64::from(is_up));
        let dice = &mut subject.dice(self.now);
        if let Some(delay) = self.network.send(from, to, plane_of(stream.way), dice) {
            self.agenda
                .plan(self.now + delay, Event::SegmentArrival(segment));
            return;
        }
        let again = Segment {
            attempt: attempt.saturating_add(1),
            ..segment
        };
        let at = self.now + Pipe::<()>::patience(attempt);
        self.agenda.plan(at, Event::Segment(again));
    }

    /// A segment arrived; what can be read now is read.
    pub(crate) fn handle_segment(&mut self, segment: Segment) {
        let (node, way) = (usize::from(segment.stream.node), segment.stream.way);
        let stream = &mut self.streams[node][way as usize];
        if stream.epoch != segment.epoch {
            return;
        }
        if segment.is_up {
            stream.pulses[Side::Aggregator as usize].heard_at = self.now;
            stream.up.handle_arrival(segment.number);
            while let Some(message) = self.streams[node][way as usize].up.poll_message() {
                self.handle_up(node, way, message);
            }
            self.plan_evaluation();
        } else {
            stream.pulses[Side::Prober as usize].heard_at = self.now;
            stream.down.handle_arrival(segment.number);
            while let Some(message) = self.streams[node][way as usize].down.poll_message() {
                self.handle_down(node, way, message);
            }
        }
    }

    fn handle_up(&mut self, node: usize, way: Way, message: Up) {
        let now = self.aggregator.clocks(self.now);
        if let Up::Hello(hello) = &message {
            self.admit(node, way, hello);
            return;
        }
        let Some(admitted) = &self.streams[node][way as usize].admitted else {
            return;
        };
        match message {
            Up::Report(report) => {
                let failing: usize = report.blocks.iter().map(|block| block.failing.len()).sum();
                self.trace.push(
                    self.now,
                    Happening::Report {
                        node,
                        age_millis: report.age_millis,
                        failing,
                    },
                );
                self.tally.reports += 1;
                self.see(node, &report);
                let Some(admitted) = &self.streams[node][way as usize].admitted else {
                    return;
                };
                self.aggregator
                    .mesh
                    .handle_report(admitted, &report, self.now);
                self.plan_store();
            }
            Up::Dictionary(dictionary) => self
                .aggregator
                .mesh
                .handle_dictionary(admitted, dictionary, now),
            Up::Goodbye(goodbye) => self.aggregator.mesh.handle_goodbye(admitted, goodbye, now),
            Up::Ping => self.send_down(node, way, Down::Pong),
            Up::Pong | Up::Hello(_) => {}
        }
    }

    fn admit(&mut self, node: usize, way: Way, hello: &Announcement) {
        let now = self.aggregator.clocks(self.now);
        let Ok(admitted) = self.aggregator.mesh.open(hello, now) else {
            self.close_stream(node, way);
            return;
        };
        let assignment = self.aggregator.mesh.assignment(&admitted);
        let stream = &mut self.streams[node][way as usize];
        stream.admitted = Some(admitted);
        self.note(Happening::StreamOpened { node, way });
        if let Some(assignment) = assignment {
            self.send_down(node, way, Down::Assignment(Box::new(assignment)));
        }
        self.begin_keep_alive(node, way, Side::Aggregator);
    }

    fn handle_down(&mut self, node: usize, way: Way, message: Down) {
        if !self.running[node] {
            return;
        }
        match message {
            Down::Assignment(assignment) => self.handle_assignment(node, *assignment),
            Down::Ack(ack) => {
                let prober = &mut self.probers[node];
                prober
                    .spool
                    .handle_ack(Incarnation(ack.incarnation), ReportSequence(ack.sequence));
                self.transmit(node);
            }
            Down::Confirm(confirm) => self.handle_confirm(node, &confirm),
            Down::Ping => self.send_up(node, way, Up::Pong),
            Down::Pong => {}
        }
    }

    fn handle_assignment(&mut self, node: usize, assignment: v1::Assignment) {
        if !self.probers[node].paths.is_empty() {
            return;
        }
        let set = match TargetSet::try_from(assignment) {
            Ok(set) => set,
            Err(error) => unreachable!("the plan makes assignments that probers take: {error}"),
        };
        let nodes = self.nodes();
        self.probers[node].assign(&set, nodes, self.now);
        self.plan_step(node);
        self.plan_tcp(node);
        self.plan_window(node);
    }

    fn handle_confirm(&mut self, node: usize, confirm: &v1::Confirm) {
        let prober = &self.probers[node];
        let targets = confirm.peer_ssid.iter().filter_map(|ssid| {
            let target = prober
                .registry
                .target_of(Ssid(u16::try_from(*ssid).ok()?))?;
            let peer = prober.peers.get(target.0 as usize).copied().flatten()?;
            Some((peer, target))
        });
        let targets: Vec<(usize, TargetNumber)> = targets.collect();
        self.tally.questions += 1;
        for (peer, target) in &targets {
            // Whoever is woken knows what was answered before; that is no answer to this question.
            for slot in self.slots(node, *peer).iter() {
                self.wake(node, slot);
            }
            self.probers[node].book.expect_confirmation(*target);
            self.confirm(node, *peer);
        }
        let peers = targets.into_iter().map(|(peer, _)| peer).collect();
        self.probers[node].book.request_flush(self.now);
        self.plan_flush(node);
        self.note(Happening::Asked { node, peers });
    }

    // ---- judging

    /// Plans the judge's next look.
    pub(crate) fn plan_evaluation(&mut self) {
        let due = self
            .aggregator
            .mesh
            .next_deadline(self.aggregator.clocks(self.now))
            .max(self.now);
        if self.evaluate_at.is_none_or(|planned| due < planned) {
            self.evaluate_at = Some(due);
            self.agenda.plan(due, Event::Evaluate);
        }
    }

    /// The judge looks; what it wants to know is asked, what it found is told.
    pub(crate) fn evaluate(&mut self) {
        let now = self.now;
        if self.evaluate_at.take_if(|at| *at == now).is_none() {
            return;
        }
        let changes = self.aggregator.mesh.poll(self.aggregator.clocks(self.now));
        let accusations = self.aggregator.mesh.accusations();
        self.tally.count_accusations(accusations);
        self.ballots.count(accusations);
        for change in &changes {
            let told = self.aggregator.tell(change, self.now);
            self.note(Happening::Told(told));
        }
        for told in self.aggregator.tell_states(self.now) {
            self.note(Happening::Told(told));
        }
        for node in 0..self.streams.len() {
            for way in Way::ALL {
                let take = |mesh: &mut Self| {
                    mesh.streams[node][way as usize]
                        .admitted
                        .as_mut()?
                        .take_confirm()
                };
                while let Some(confirm) = take(self) {
                    self.send_down(node, way, Down::Confirm(confirm));
                }
            }
        }
        self.plan_evaluation();
    }

    fn plan_store(&mut self) {
        if !self.store_planned && self.aggregator.mesh.has_batch() {
            self.store_planned = true;
            self.agenda.plan(self.now + STORE_GAP, Event::Store);
        }
    }

    /// What was taken is on disk: probers are told.
    pub(crate) fn store(&mut self) {
        self.store_planned = false;
        self.aggregator.mesh.store();
        for node in 0..self.streams.len() {
            for way in Way::ALL {
                let admitted = self.streams[node][way as usize].admitted.as_mut();
                if let Some(ack) = admitted.and_then(StreamByHand::take_ack) {
                    self.send_down(node, way, Down::Ack(ack));
                }
            }
        }
    }
}

/// The plane that a way home runs in.
pub(super) fn plane_of(way: Way) -> Plane {
    match way {
        Way::Overlay => Plane::Pod,
        Way::Underlay => Plane::Host,
    }
}
