//! One trace on a socket of its own. Dropping the future closes the socket and loses nothing else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use meshprobe_core::ids::Ssid;
use meshprobe_core::path::Family;
use meshprobe_core::stamp::{Keys, SenderPacket, Sequence, Timestamp, TimestampFormat};
use meshprobe_core::time::Moment;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::Route;
use super::sweep::{Answer, Sweep};
use crate::clock::Clock;
use crate::control_messages::{Arrival, Origin};
use crate::mtu::measurement::{Ask, SizeProbe};
use crate::mtu::packet::Packets;
use crate::plan::Plan;
use crate::sys;

/// Wait for the answers of the first round, and of each further one.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(300));

/// Longest trace: hop limits one at a time, most of them silent.
const MAX_TIME: Duration = Duration::from_secs(6);

/// Room for one packet.
const BUFFER: usize = 2048;

/// What is traced.
#[derive(Clone, Debug)]
pub struct TraceRequest {
    /// The own address; `None`: the routing table's choice.
    pub local: Option<IpAddr>,
    /// Where the packets go.
    pub target: SocketAddr,
    /// The source port of the flow that fails, shared with the socket that probes; another one if that cannot be had.
    pub source_port: Option<u16>,
    /// The own session identifier: the target's responder answers then. Zero for a target that is no responder.
    pub ssid: Ssid,
    /// Keys of authenticated STAMP.
    pub keys: Option<Keys>,
}

impl TraceRequest {
    /// A trace of a path of this plan.
    pub fn new(plan: &Plan, target: SocketAddr, local: Option<IpAddr>) -> Self {
        Self {
            local,
            target,
            source_port: None,
            ssid: plan.ssid.unwrap_or(Ssid(0)),
            keys: plan.keys.clone(),
        }
    }
}

/// Traces the way to a target. Takes a second or two; an error is one of this machine's.
pub async fn run(request: &TraceRequest, clock: Clock) -> io::Result<Route> {
    let socket = open(request)?;
    let source_port = socket.local_addr()?.port();
    let family = Family::of(request.target.ip());
    let mut tracing = Tracing {
        sweep: Sweep::new(request.target.ip()),
        packets: Packets::new(family, request.ssid, request.keys.clone()),
        family,
        target: request.target.ip(),
        clock,
        sent: Vec::new(),
        buffer: vec![0; BUFFER],
    };
    let socket = UdpSocket::from_std(socket)?;
    let deadline = clock.now() + MAX_TIME;
    let mut wait = WAITS.0;
    loop {
        let round = tracing.sweep.next_round();
        if round.is_empty() || clock.now() + wait > deadline {
            break;
        }
        let begin = tracing.sent.len();
        for ttl in round {
            tracing.send(socket.as_fd(), ttl)?;
        }
        let until = clock.instant(clock.now() + wait);
        let answered = async {
            while tracing.has_open(begin) && !tracing.sweep.is_complete() {
                let interest = Interest::READABLE | Interest::ERROR;
                let drain = || match tracing.drain(socket.as_fd()) {
                    0 => Err(io::ErrorKind::WouldBlock.into()),
                    _ => Ok(()),
                };
                socket.async_io(interest, drain).await?;
            }
            io::Result::Ok(())
        };
        if let Ok(Err(error)) = tokio::time::timeout_at(until.into(), answered).await {
            return Err(error);
        }
        wait = WAITS.1;
    }
    let (hops, reached) = tracing.sweep.finish();
    Ok(Route {
        source_port,
        destination_port: request.target.port(),
        hops,
        reached,
    })
}

fn open(request: &TraceRequest) -> io::Result<StdUdpSocket> {
    let any: IpAddr = match request.target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let local = request.local.unwrap_or(any);
    let shared = request
        .source_port
        .and_then(|port| share(local, port, request.target).ok());
    let socket = if let Some(socket) = shared {
        socket
    } else {
        let socket = StdUdpSocket::bind((local, 0))?;
        socket.connect(request.target)?;
        socket
    };
    let set = |level, option| sys::set_option(socket.as_fd(), level, option, 1);
    match request.target {
        SocketAddr::V4(_) => set(libc::SOL_IP, libc::IP_RECVERR)?,
        SocketAddr::V6(_) => set(libc::SOL_IPV6, libc::IPV6_RECVERR)?,
    }
    set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A socket on a port that another one of this process is bound to. Connected at once: before that, packets for the port
/// could come here.
fn share(local: IpAddr, port: u16, target: SocketAddr) -> io::Result<StdUdpSocket> {
    let local = SocketAddr::new(local, port);
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(true)?;
    socket.bind(&local.into())?;
    socket.connect(&target.into())?;
    Ok(socket.into())
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    ttl: u8,
    packet: SenderPacket,
    unix_nanos: i64,
    at: Moment,
    answered: bool,
}

struct Tracing {
    sweep: Sweep,
    packets: Packets,
    family: Family,
    target: IpAddr,
    clock: Clock,
    /// By sequence number.
    sent: Vec<Sent>,
    buffer: Vec<u8>,
}

impl Tracing {
    fn send(&mut self, socket: BorrowedFd<'_>, ttl: u8) -> io::Result<()> {
        self.drain_errors(socket);
        let (level, option) = match self.family {
            Family::V4 => (libc::SOL_IP, libc::IP_TTL),
            Family::V6 => (libc::SOL_IPV6, libc::IPV6_UNICAST_HOPS),
        };
        sys::set_option(socket, level, option, ttl.into())?;
        let unix_nanos = self.clock.unix_nanos();
        let timestamp = Timestamp::from_unix_nanos(unix_nanos, TimestampFormat::Ntp);
        let sequence = Sequence(self.sent.len() as u32);
        // A request that asks about its size is answered and not counted in the session.
        let probe = SizeProbe {
            size: self.packets.smallest(),
            ask: Ask::Short,
        };
        let encoded = self
            .packets
            .encode(probe, sequence, timestamp, &mut self.buffer);
        let (packet, octets) = encoded.ok_or(io::ErrorKind::InvalidInput)?;
        self.sent.push(Sent {
            ttl,
            packet,
            unix_nanos,
            at: self.clock.now(),
            answered: false,
        });
        let message = &self.buffer[..octets];
        // An error of an earlier packet is in the queue as well; one of this packet leaves its hop silent.
        if SockRef::from(&socket).send(message).is_err() {
            SockRef::from(&socket).send(message).ok();
        }
        Ok(())
    }

    fn has_open(&self, begin: usize) -> bool {
        self.sent[begin..].iter().any(|sent| !sent.answered)
    }

    /// Takes everything that has arrived. Returns how much it was.
    fn drain(&mut self, socket: BorrowedFd<'_>) -> usize {
        let mut seen = self.drain_errors(socket);
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            match sys::receive(socket, &mut buffer) {
                Ok(Some(arrival)) => self.handle_reply(&buffer[..arrival.octets], &arrival),
                Ok(None) => break,
                // An error of an earlier packet: the queue has it in full.
                Err(_) => match self.drain_errors(socket) {
                    0 => break,
                    errors => seen += errors,
                },
            }
            seen += 1;
        }
        self.buffer = buffer;
        seen
    }

    fn handle_reply(&mut self, octets: &[u8], arrival: &Arrival) {
        let Some(reply) = self.packets.parse(octets) else {
            return;
        };
        let index = reply.sender_sequence.0 as usize;
        let sent = self.sent.get(index);
        if sent.is_some_and(|sent| reply.answers(&sent.packet)) {
            self.answer(index, self.target, None, arrival);
        }
    }

    fn drain_errors(&mut self, socket: BorrowedFd<'_>) -> usize {
        let mut quoted = [0; 64];
        let mut seen = 0;
        while let Ok(Some(arrival)) = sys::receive_queued(socket, &mut quoted) {
            seen += 1;
            let Some(error) = arrival.error else { continue };
            let (Origin::Icmp { kind, code }, Some(router)) = (error.origin, error.offender) else {
                continue;
            };
            match self.quoted(&quoted[..arrival.octets]) {
                Some(index) => self.answer(index, router, Some((kind, code)), &arrival),
                None => self.sweep.handle_unattributed(),
            }
        }
        seen
    }

    /// Which packet an ICMP message is about: the one that it quotes, or the only one that is under way.
    fn quoted(&self, payload: &[u8]) -> Option<usize> {
        if payload.len() < 4 {
            let newest = self.sent.len().checked_sub(1)?;
            let alone = self.sweep.is_one_at_a_time() && !self.sent[newest].answered;
            return alone.then_some(newest);
        }
        let index = Packets::quoted_sequence(payload)?.0 as usize;
        let sent = self.sent.get(index)?;
        self.packets
            .is_quote_of(payload, &sent.packet)
            .then_some(index)
    }

    fn answer(&mut self, index: usize, address: IpAddr, icmp: Option<(u8, u8)>, arrival: &Arrival) {
        let sent = &mut self.sent[index];
        if std::mem::replace(&mut sent.answered, true) {
            return;
        }
        let elapsed = self.clock.now().saturating_since(sent.at);
        let arrived = arrival
            .unix_nanos
            .unwrap_or_else(|| self.clock.unix_nanos());
        let rtt = u64::try_from(arrived - sent.unix_nanos).unwrap_or(0);
        let answer = Answer {
            address,
            // A step of the wall clock between the two stamps makes no round trip longer than it was.
            rtt: Duration::from_nanos(rtt).min(elapsed),
            icmp,
        };
        self.sweep.handle_answer(sent.ttl, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: SocketAddr) -> TraceRequest {
        TraceRequest {
            local: None,
            target,
            source_port: None,
            ssid: Ssid(1),
            keys: None,
        }
    }

    fn closed(local: &str) -> SocketAddr {
        let socket = StdUdpSocket::bind(local).unwrap();
        socket.local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_closed_port_of_this_machine_is_one_hop_away() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let target = closed(local);
            let route = run(&request(target), Clock::new()).await.unwrap();
            assert!(route.reached, "{route:?}");
            assert_eq!(route.hops.len(), 1);
            let answer = route.hops[0].answer.unwrap();
            assert_eq!(answer.address, target.ip());
            assert!(answer.icmp.is_some());
        }
    }

    #[tokio::test]
    async fn a_trace_leaves_from_the_port_of_the_flow_that_fails_and_takes_nothing_else_from_it() {
        let target = closed("127.0.0.1:0");
        let owner = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        owner
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        owner.set_reuse_port(true).unwrap();
        let owner = StdUdpSocket::from(owner);
        owner
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let shared = owner.local_addr().unwrap();
        let request = TraceRequest {
            local: Some(target.ip()),
            source_port: Some(shared.port()),
            ..request(target)
        };
        let other = StdUdpSocket::bind("127.0.0.1:0").unwrap();
        let tracing = open(&request).unwrap();
        assert_eq!(tracing.local_addr().unwrap(), shared);
        for number in 0..100_u8 {
            other.send_to(&[number], shared).unwrap();
            let mut buffer = [0; 1];
            owner.recv(&mut buffer).unwrap();
            assert_eq!(buffer, [number]);
        }
        drop(tracing);
        let route = run(&request, Clock::new()).await.unwrap();
        assert!(route.reached);
        assert_eq!(route.source_port, shared.port());
    }

    #[tokio::test]
    async fn a_source_port_that_is_taken_is_left_to_its_owner() {
        let target = closed("127.0.0.1:0");
        let owner = StdUdpSocket::bind("127.0.0.1:0").unwrap();
        let taken = owner.local_addr().unwrap().port();
        let request = TraceRequest {
            local: Some(target.ip()),
            source_port: Some(taken),
            ..request(target)
        };
        let route = run(&request, Clock::new()).await.unwrap();
        assert!(route.reached);
        assert_ne!(route.source_port, taken);
    }
}
