//! The simulated mesh: probers, a network, an aggregator, and a clock that jumps from event to event.
//!
//! | Module | What happens there |
//! |---|---|
//! | `probing` | STAMP probes leave, arrive, are answered or time out |
//! | `tcp` | the same for TCP probes |
//! | `calming` | stretches without an event are skipped |
//! | `reporting` | windows are closed, reports travel, questions come back |
//! | `keepalive` | silent streams are noticed and given up |
//! | `clocks` | wall clocks are stepped |
//! | `faults` | links are cut and repaired, probers stop and start |
//!
//! All decisions are the products' own: what a probe's end means, when to look closer and when to report is decided by
//! the prober's sender, book, flush plan and spool; who probes whom by the aggregator's plan; what is dark by the
//! aggregator's judge. This module only moves their words to each other.

mod calming;
mod clocks;
mod faults;
mod keepalive;
mod probing;
mod reporting;
mod tally;
mod tcp;

use std::time::Duration;

use meshprobe_aggregator::pipeline::StreamByHand;
use meshprobe_core::time::Moment;
use meshprobe_prober::book::Sample;
use meshprobe_prober::spool::Way;

use crate::agenda::Agenda;
use crate::aggregator::{Aggregator, Settings};
use crate::chance::Chance;
use crate::dice::Subject;
use crate::margin::Ballots;
use crate::network::Network;
use crate::prober::Prober;
use crate::stream::{Side, Stream};
use crate::trace::{Happening, Trace};

pub use clocks::SeenReport;
pub use faults::Fault;
pub(crate) use reporting::StreamEnd;
pub use tally::Tally;

/// Simulations begin here, so that everything has a past.
pub const START: Moment = Moment::from_millis(3_600_000);

/// When all are connected, warmed up and judged.
pub const WARM: Duration = Duration::from_secs(15);

/// The wall clock at [`Moment::ORIGIN`], about: 2026-01-01.
const EPOCH_UNIX_NANOS: i64 = 1_767_225_600_000_000_000;

/// How far the probers' wall clocks are apart at most.
const CLOCK_SKEW: Duration = Duration::from_millis(40);

/// Parts of a run that have their own dice.
const PATHS: u64 = 0;
const STREAMS: u64 = 1;

/// What a simulation is made of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// How many nodes.
    pub nodes: usize,
    /// In how many zones.
    pub zones: usize,
    /// Probability that a packet is lost on its way, each direction on its own.
    pub loss: f64,
    /// Whence all chance comes.
    pub seed: u64,
    /// How long a quorum must stand; `None`: as configured by default.
    pub dark_hold: Option<Duration>,
    /// The node that the aggregator runs on; `None`: it has a link of its own.
    pub aggregator_on: Option<usize>,
    /// Time between two STAMP probes of one path; `None`: as planned by default.
    pub udp_interval: Option<Duration>,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A slot of the prober's engine ends.
    Step { prober: u16, start: u32 },
    /// A path's TCP turn has come.
    TcpTurns { prober: u16, start: u32 },
    /// A TCP probe ended.
    TcpEnd(tcp::TcpEnd),
    /// The open window has to be told early.
    Flush { prober: u16, start: u32 },
    /// The open window is over.
    Window { prober: u16, start: u32 },
    /// The spool may have something to send.
    Transmit { prober: u16, start: u32 },
    /// A segment of a stream is put on the wire.
    Segment(reporting::Segment),
    /// A segment of a stream arrives.
    SegmentArrival(reporting::Segment),
    /// An end of a stream looks whether the other one lives.
    KeepAlive {
        stream: StreamEnd,
        epoch: u32,
        side: Side,
    },
    /// The aggregator notices that a prober gave a stream up.
    HangUpNoticed(u32),
    /// A prober tries to open a stream.
    Connect { stream: StreamEnd, start: u32 },
    /// A prober that was told to stop has ended.
    Stopped { prober: u16, start: u32 },
    /// The judge wants to look.
    Evaluate,
    /// The aggregator's store has written.
    Store,
}

/// See the module.
#[derive(Debug)]
pub struct Mesh {
    pub(crate) now: Moment,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) chance: Chance,
    /// What happens to packets on streams.
    pub(crate) subject: Subject,
    pub(crate) network: Network,
    pub(crate) probers: Vec<Prober>,
    /// How often each was started; events of former starts are void.
    pub(crate) starts: Vec<u32>,
    pub(crate) running: Vec<bool>,
    /// The two ways home of each.
    pub(crate) streams: Vec<[Stream; 2]>,
    /// Streams that probers gave up and the aggregator still holds.
    pub(crate) hung_up: Vec<Option<(usize, Way, StreamByHand)>>,
    pub(crate) aggregator: Aggregator,
    pub(crate) evaluate_at: Option<Moment>,
    pub(crate) store_planned: bool,
    pub(crate) trace: Trace,
    pub(crate) tally: Tally,
    pub(crate) ballots: Ballots,
    pub(crate) is_skipping: bool,
    /// Reports, for whoever watches them.
    reports: Option<Vec<SeenReport>>,
    /// Kept for its room.
    samples: Vec<Sample>,
    events: u64,
    zones: usize,
}

impl Mesh {
    /// A mesh whose probers start inside one second.
    pub fn new(spec: &Spec) -> Self {
        let zones: Vec<u16> = (0..spec.nodes)
            .map(|node| (node % spec.zones) as u16)
            .collect();
        let network = Network::new(zones, spec.loss, spec.aggregator_on);
        let settings = Settings {
            dark_hold: spec.dark_hold,
            udp_interval: spec.udp_interval,
        };
        let mut mesh = Self {
            now: START,
            agenda: Agenda::new(),
            network,
            probers: Vec::new(),
            starts: vec![0; spec.nodes],
            running: vec![false; spec.nodes],
            streams: (0..spec.nodes)
                .map(|_| [Stream::new(), Stream::new()])
                .collect(),
            hung_up: Vec::new(),
            aggregator: Aggregator::new(&settings, EPOCH_UNIX_NANOS, START),
            evaluate_at: None,
            store_planned: false,
            trace: Trace::new(),
            tally: Tally::default(),
            ballots: Ballots::default(),
            is_skipping: true,
            reports: None,
            samples: Vec::new(),
            events: 0,
            zones: spec.zones,
            chance: Chance::new(spec.seed),
            subject: Subject::run(spec.seed),
        };
        for node in 0..spec.nodes {
            let prober = mesh.make_prober(node);
            mesh.probers.push(prober);
            let hello = mesh.hello(node);
            mesh.aggregator.announce(&hello, START);
        }
        // The roster that names them all.
        mesh.now = START + Duration::from_secs(1);
        mesh.evaluate_at = Some(mesh.now);
        mesh.evaluate();
        for node in 0..spec.nodes {
            mesh.start_prober(node);
        }
        mesh
    }

    /// Virtual time.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Events that were simulated.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What was simulated.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How the voters voted.
    pub fn ballots(&self) -> &Ballots {
        &self.ballots
    }

    /// Whether calm paths are skipped (they are by default) or simulated probe by probe: the one must look like the other.
    pub fn set_skipping(&mut self, skipping: bool) {
        self.is_skipping = skipping;
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.probers.len()
    }

    /// A random length of time, for whoever drives the mesh.
    pub fn random_within(&mut self, length: Duration) -> Duration {
        self.chance.within(length)
    }

    /// One of `0..count`, for whoever drives the mesh.
    pub fn random_index(&mut self, count: usize) -> usize {
        self.chance.index(count)
    }

    /// What happened lately, for people.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What the aggregator has told people since the last call.
    pub fn take_announcements(&mut self) -> Vec<crate::aggregator::Announced> {
        self.aggregator.take_announced()
    }

    /// Lets time pass.
    pub fn run_for(&mut self, length: Duration) {
        let end = self.now + length;
        while let Some((at, event)) = self.agenda.next_before(end) {
            self.now = at;
            self.events += 1;
            self.handle(event);
        }
        self.now = end;
    }

    pub(crate) fn zone_of(&self, node: usize) -> usize {
        node % self.zones
    }

    pub(crate) fn note(&mut self, happening: Happening) {
        self.trace.push(self.now, happening);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Step { prober, start } => {
                if let Some(node) = self.alive(prober, start) {
                    self.step(node);
                }
            }
            Event::TcpTurns { prober, start } => {
                if let Some(node) = self.alive(prober, start) {
                    self.tcp_turns(node);
                }
            }
            Event::TcpEnd(end) => {
                if let Some(node) = self.alive(end.prober, end.start) {
                    self.handle_tcp_end(node, end);
                }
            }
            Event::Flush { prober, start } => {
                if let Some(node) = self.alive(prober, start) {
                    self.flush(node);
                }
            }
            Event::Window { prober, start } => {
                if let Some(node) = self.alive(prober, start) {
                    self.end_window(node);
                }
            }
            Event::Transmit { prober, start } => {
                if let Some(node) = self.alive(prober, start) {
                    self.resend(node);
                }
            }
            Event::Segment(segment) => self.attempt(segment),
            Event::SegmentArrival(segment) => self.handle_segment(segment),
            Event::KeepAlive {
                stream,
                epoch,
                side,
            } => self.keep_alive(stream, epoch, side),
            Event::HangUpNoticed(number) => self.handle_hang_up(number),
            Event::Connect { stream, start } => self.connect(stream, start),
            Event::Stopped { prober, start } => {
                if let Some(node) = self.alive(prober, start) {
                    self.handle_stopped(node);
                }
            }
            Event::Evaluate => self.evaluate(),
            Event::Store => self.store(),
        }
    }

    fn alive(&self, prober: u16, start: u32) -> Option<usize> {
        let node = usize::from(prober);
        (self.running[node] && self.starts[node] == start).then_some(node)
    }

    fn make_prober(&mut self, node: usize) -> Prober {
        let skew = self.chance.within(CLOCK_SKEW).as_nanos() as i64;
        let slot_offset = self.chance.within(meshprobe_prober::udp::slot::SLOT);
        let start = u64::from(self.starts[node]);
        let origin = EPOCH_UNIX_NANOS + skew;
        let subject = self.subject.part(PATHS).part(node as u64);
        Prober::new(node, start, origin, slot_offset, subject, self.now)
    }
}
