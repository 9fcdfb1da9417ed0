//! One prober: the real registry, sender, book and spool, driven in slots as its engine thread drives them.
//!
//! What is not here: sockets, threads and the runtime. Where they make a difference in time (a packet waits for the end
//! of its slot, at both ends) the difference is kept.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use meshprobe_core::ids::{Incarnation, NodeName, TargetNumber};
use meshprobe_core::path::Plane;
use meshprobe_core::stamp::{Timestamp, TimestampFormat};
use meshprobe_core::time::Moment;
use meshprobe_prober::assignment::TargetSet;
use meshprobe_prober::book::{Book, Sample};
use meshprobe_prober::path_id::PathId;
use meshprobe_prober::plan::{Expectation, Registry};
use meshprobe_prober::schedule::{Cadence, Schedule};
use meshprobe_prober::spool::{OpenWays, Spool};
use meshprobe_prober::udp::sender::{Arrival, Failure, Sender};
use meshprobe_prober::udp::slot::SLOT;

use crate::calm::Calm;
use crate::dice::Subject;
use crate::slots::Slots;
use crate::wall::WallClock;

/// Memory that the spool may take.
const SPOOL_OCTETS: usize = 4 << 20;

/// How a path is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// STAMP.
    Udp,
    /// A connection.
    Tcp(Expectation),
}

/// A path of this prober.
#[derive(Clone, Debug)]
pub(crate) struct ProbedPath {
    pub(crate) id: PathId,
    pub(crate) peer: usize,
    pub(crate) target: TargetNumber,
    pub(crate) plane: Plane,
    pub(crate) means: Means,
    pub(crate) cadence: Cadence,
    pub(crate) timeout: Duration,
    /// A turn of it: all others are whole intervals away.
    grid: Moment,
    /// What its dice are thrown about.
    pub(crate) subject: Subject,
    /// Its probes are answered, and until when.
    pub(crate) calm: Option<Calm>,
    /// The first turn at or after this one that does not go smoothly is known.
    pub(crate) rough: Option<(Moment, Moment)>,
    /// The newest turn whose probe the peer knows of, without having simulated it.
    pub(crate) heard_of: Moment,
    /// Connections that are under way.
    pub(crate) connecting: u32,
}

/// What arrives at the sender's sockets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Incoming {
    Reply(Reply),
    Error(Failure),
    /// The answer to a probe that was not simulated.
    Known(Sample),
}

/// A reply; what the stamps in it say is known when both ends have looked at their clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) arrival: Arrival,
    pub(crate) responder: usize,
    /// When the probe arrived at the responder, and when it was answered.
    pub(crate) received_at: Moment,
    pub(crate) answered_at: Moment,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Prober {
    pub(crate) incarnation: Incarnation,
    pub(crate) book: Book,
    pub(crate) sender: Sender,
    pub(crate) spool: Spool,
    pub(crate) registry: Registry,
    pub(crate) ways: OpenWays,
    pub(crate) tcp: Schedule,
    /// The paths that are simulated, in the order of their [`PathId::slot`]s. Their places here are called slots too.
    pub(crate) paths: Vec<ProbedPath>,
    /// By [`PathId::slot`], of which some belong to kinds that are not simulated.
    places: Vec<usize>,
    /// By peer: where its probes are counted.
    pub(crate) heard: Vec<Option<PathId>>,
    /// By peer: the slots of its paths.
    pub(crate) of_peer: Vec<Slots>,
    /// By target: which peer it is.
    pub(crate) peers: Vec<Option<usize>>,
    /// By slot: the first turn of a calm path that is not in the book, [`NEVER`] for others. Apart from the paths,
    /// because it is looked at for all of them whenever a window is closed.
    pub(crate) due: Vec<Moment>,
    /// Slots of the paths whose last probe was lost.
    pub(crate) failing: Vec<usize>,
    /// With the time of arrival, unordered.
    pub(crate) inbox: Vec<(Moment, Incoming)>,
    pub(crate) report_interval: Duration,
    /// When the last window was closed.
    pub(crate) window_began: Moment,
    /// What is planned in the agenda, so that nothing is planned twice.
    pub(crate) step_at: Option<Moment>,
    pub(crate) tcp_at: Option<Moment>,
    pub(crate) flush_at: Option<Moment>,
    pub(crate) transmit_at: Option<Moment>,
    /// The wall clock at the origin of moments when the prober started, nanoseconds since the Unix epoch.
    origin_unix_nanos: i64,
    pub(crate) wall: WallClock,
    slot_offset: Duration,
    subject: Subject,
    /// Spreads the ends of regular windows.
    pub(crate) spread: u16,
    stamps: u64,
}

impl Prober {
    /// A prober that starts now. `start` numbers its starts.
    pub(crate) fn new(
        node: usize,
        start: u64,
        origin_unix_nanos: i64,
        slot_offset: Duration,
        subject: Subject,
        now: Moment,
    ) -> Self {
        let started_unix_micros = (origin_unix_nanos / 1_000) as u64 + now.as_nanos() / 1_000;
        let incarnation = Incarnation(started_unix_micros + start);
        Self {
            incarnation,
            book: Book::new(now),
            sender: Sender::new(origin_unix_nanos),
            spool: Spool::new(incarnation, SPOOL_OCTETS),
            registry: Registry::new(name(node), Plane::Pod, PORT),
            ways: OpenWays::default(),
            tcp: Schedule::new(origin_unix_nanos),
            paths: Vec::new(),
            places: Vec::new(),
            heard: Vec::new(),
            of_peer: Vec::new(),
            peers: Vec::new(),
            due: Vec::new(),
            failing: Vec::new(),
            inbox: Vec::new(),
            report_interval: Duration::from_secs(10),
            window_began: now,
            step_at: None,
            tcp_at: None,
            flush_at: None,
            transmit_at: None,
            origin_unix_nanos,
            wall: WallClock::new(origin_unix_nanos),
            slot_offset,
            subject,
            spread: node as u16,
            stamps: 0,
        }
    }

    /// Puts the first assignment in force.
    pub(crate) fn assign(&mut self, set: &TargetSet, nodes: usize, now: Moment) {
        let plan = self.registry.apply(set, &mut self.book);
        self.report_interval = set.report_interval;
        self.sender.set_targets(&plan.udp, now);
        let udp = plan.udp.iter().map(|t| {
            (
                t.path,
                t.target,
                t.address,
                Means::Udp,
                t.cadence,
                t.timeout,
            )
        });
        let tcp = plan.tcp.iter().map(|t| {
            (
                t.path,
                t.target,
                t.address,
                Means::Tcp(t.expectation),
                t.cadence,
                t.timeout,
            )
        });
        let mut paths: Vec<ProbedPath> = udp
            .chain(tcp)
            .map(|(id, target, address, means, cadence, timeout)| {
                let (peer, plane) = node_of(address.ip());
                ProbedPath {
                    id,
                    peer,
                    target,
                    plane,
                    means,
                    cadence,
                    timeout,
                    grid: Moment::ORIGIN,
                    subject: self.subject,
                    calm: None,
                    rough: None,
                    heard_of: Moment::ORIGIN,
                    connecting: 0,
                }
            })
            .collect();
        paths.sort_unstable_by_key(|path| path.id.slot());
        self.of_peer = vec![Slots::default(); nodes];
        self.heard = vec![None; nodes];
        self.due = vec![NEVER; paths.len()];
        for (slot, path) in paths.iter_mut().enumerate() {
            self.places.resize(path.id.slot() + 1, usize::MAX);
            self.places[path.id.slot()] = slot;
            self.of_peer[path.peer].push(slot);
            path.subject = self.subject.part(slot as u64);
            let mut grid = Schedule::new(self.origin_unix_nanos);
            grid.set(path.id, path.cadence, now);
            path.grid = grid.next_deadline().unwrap_or(now);
            let target = path.target.0 as usize;
            if self.peers.len() <= target {
                self.peers.resize(target + 1, None);
            }
            self.peers[target] = Some(path.peer);
            if path.means != Means::Udp {
                self.tcp.set(path.id, path.cadence, now);
            }
        }
        for answered in &plan.answered {
            let peer = answered
                .addresses
                .first()
                .map(|address| node_of(*address).0);
            if let Some(peer) = peer {
                self.heard[peer] = answered.heard_v4;
            }
        }
        self.paths = paths;
    }

    /// Where a simulated path is among the paths.
    pub(crate) fn place(&self, path: PathId) -> usize {
        self.places[path.slot()]
    }

    /// The end of the slot that `moment` lies in, or `moment` itself if it is one.
    pub(crate) fn slot_of(&self, moment: Moment) -> Moment {
        let (slot, offset) = (SLOT.as_nanos() as u64, self.slot_offset.as_nanos() as u64);
        let since = moment.as_nanos().saturating_sub(offset);
        Moment::from_nanos(since.div_ceil(slot) * slot + offset)
    }

    /// The last end of a slot that is not after `now`.
    pub(crate) fn slot_before(&self, now: Moment) -> Moment {
        let slot = self.slot_of(now);
        if slot == now { now } else { slot - SLOT }
    }

    /// The wall clock, nanoseconds since the Unix epoch.
    pub(crate) fn unix_nanos(&self, at: Moment) -> i64 {
        self.wall.unix_nanos(at)
    }

    /// T1 of a probe that leaves now, unlike any other's.
    pub(crate) fn stamp(&mut self, at: Moment) -> Timestamp {
        self.stamps += 1;
        Timestamp::from_unix_nanos(
            self.unix_nanos(at) + (self.stamps % 1_000) as i64,
            TimestampFormat::Ntp,
        )
    }

    /// The first turn of this path that is not before `from`, which is not before its assignment.
    pub(crate) fn next_turn(&self, slot: usize, from: Moment) -> Moment {
        let path = &self.paths[slot];
        let interval = path.cadence.interval.as_nanos() as u64;
        let since = from.as_nanos().saturating_sub(path.grid.as_nanos());
        Moment::from_nanos(path.grid.as_nanos() + since.div_ceil(interval) * interval)
    }
}

/// Turns that never come are put here.
pub(crate) const NEVER: Moment = Moment::from_millis(1 << 43);

/// The port of every responder.
pub(crate) const PORT: u16 = 4862;

/// The name of a node.
pub(crate) fn name(node: usize) -> NodeName {
    let text = format!("sim-{}", node + 1);
    match NodeName::try_from(text) {
        Ok(name) => name,
        Err(error) => unreachable!("a number makes a node name: {error}"),
    }
}

/// The address of a node in a plane.
pub(crate) fn address(node: usize, plane: Plane) -> SocketAddr {
    let net = if plane == Plane::Pod { 244 } else { 1 };
    let [high, low] = (node as u16 + 1).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, net, high, low)), PORT)
}

/// The node and the plane of an address.
pub(crate) fn node_of(ip: IpAddr) -> (usize, Plane) {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(_) => unreachable!("the simulated mesh has IPv4 addresses"),
    };
    let plane = if octets[1] == 244 {
        Plane::Pod
    } else {
        Plane::Host
    };
    (
        usize::from(u16::from_be_bytes([octets[2], octets[3]])) - 1,
        plane,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_its_node_and_plane() {
        for node in [0, 1, 254, 255, 256, 999] {
            for plane in [Plane::Pod, Plane::Host] {
                assert_eq!(node_of(address(node, plane).ip()), (node, plane));
            }
        }
    }

    #[test]
    fn slots_have_their_own_offset_in_each_prober() {
        let offset = Duration::from_millis(3);
        let prober = Prober::new(0, 0, 0, offset, Subject::run(1), Moment::ORIGIN);
        assert_eq!(
            prober.slot_of(Moment::from_millis(13)),
            Moment::from_millis(13)
        );
        assert_eq!(
            prober.slot_of(Moment::from_millis(14)),
            Moment::from_millis(23)
        );
        assert_eq!(
            prober.slot_before(Moment::from_millis(14)),
            Moment::from_millis(13)
        );
        assert_eq!(
            prober.slot_before(Moment::from_millis(13)),
            Moment::from_millis(13)
        );
    }
}
