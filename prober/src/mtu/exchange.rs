//! The packets of one measurement on a socket of its own.
//!
//! The socket is connected, so that the kernel hands it only errors about its own packets and knows the route; it lives as
//! long as the measurement. A round is sent a few packets at a time, so that a burst of jumbo frames overflows no buffer,
//! and ends when everything is answered or refused, or after a wait that follows the round-trip time. Dropping the future
//! at any point closes the socket and loses nothing else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use meshprobe_core::ids::Ssid;
use meshprobe_core::path::Family;
use meshprobe_core::stamp::{Keys, SenderPacket, Sequence, Timestamp, TimestampFormat};
use meshprobe_core::time::Moment;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::measurement::{Bounds, Conclusion, Known, Measurement, Refuser, SizeProbe};
use super::packet::{LARGEST, Packets};
use super::route::Egress;
use crate::clock::Clock;
use crate::control_messages::Origin;
use crate::sys;

/// Packets that are sent at once …
const BURST: usize = 4;

/// … and the pause after them: one jumbo frame each quarter of a millisecond is 300 Mbit/s.
const BURST_PAUSE: Duration = Duration::from_millis(1);

/// Wait for the answers of a round before any round-trip time is known.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Shortest and longest wait afterwards. Sixteen rounds of the longest fit into the six seconds of a measurement.
const WAITS: (Duration, Duration) = (Duration::from_millis(120), Duration::from_millis(350));

/// Beside the round-trip times: a responder that works in slots, and a machine that is busy.
const GRACE: Duration = Duration::from_millis(60);

/// Room for the replies of one burst and more; smaller if the system grants no more.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Tries to get a source port that is not the responders'.
const PORT_TRIES: usize = 8;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Session {
    /// The own address; `None`: the routing table's choice.
    pub local: Option<IpAddr>,
    /// The peer's responder.
    pub peer: SocketAddr,
    /// The own session identifier.
    pub ssid: Ssid,
    /// Keys of authenticated STAMP.
    pub keys: Option<Keys>,
}

/// What a measurement gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// What was found; `None`: the peer does not answer, or the time was too short to be sure.
    pub conclusion: Option<Conclusion>,
    /// The shortest round-trip time.
    pub rtt: Option<Duration>,
    /// Packets that were sent.
    pub packets: usize,
    /// Messages about sizes that were not believed.
    pub ignored: u32,
}

/// Measures a pair within `timeout`.
pub async fn measure(
    session: &Session,
    known: Known,
    thorough: bool,
    clock: Clock,
    timeout: Duration,
) -> io::Result<Measured> {
    let deadline = clock.now() + timeout;
    let socket = open(session)?;
    let local = socket.local_addr()?.ip();
    let family = Family::of(session.peer.ip());
    let egress = Egress::of(socket.as_fd(), local, session.peer.ip());
    let packets = Packets::new(family, session.ssid, session.keys.clone());
    let bounds = Bounds {
        smallest: packets.smallest(),
        largest: egress.interface_mtu.clamp(packets.smallest(), LARGEST),
    };
    let mut exchange = Exchange {
        measurement: Measurement::new(family, bounds, known, thorough),
        packets,
        clock,
        sent: Vec::new(),
        rtt: None,
        slowest: None,
        answers: 0,
        ignored: 0,
        gone: None,
        buffer: vec![0; usize::from(LARGEST)],
    };
    let socket = UdpSocket::from_std(socket)?;
    exchange.run(&socket, deadline).await?;
    Ok(Measured {
        conclusion: exchange.measurement.conclude(egress),
        rtt: exchange.rtt,
        packets: exchange.sent.len(),
        ignored: exchange.ignored,
    })
}

/// A connected socket that sends no fragment, whatever the kernel thinks of the path.
fn open(session: &Session) -> io::Result<StdUdpSocket> {
    let any: IpAddr = match session.peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let local = SocketAddr::new(session.local.unwrap_or(any), 0);
    let mut socket = StdUdpSocket::bind(local)?;
    for _ in 0..PORT_TRIES {
        // What comes from a responder's port is not answered.
        if socket.local_addr()?.port() != session.peer.port() {
            break;
        }
        socket = StdUdpSocket::bind(local)?;
    }
    let set = |level, option, value| sys::set_option(socket.as_fd(), level, option, value);
    match session.peer {
        SocketAddr::V4(_) => {
            set(libc::SOL_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
            set(libc::SOL_IP, libc::IP_RECVERR, 1)?;
        }
        SocketAddr::V6(_) => {
            let probe = libc::IPV6_PMTUDISC_PROBE;
            set(libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, probe)?;
            set(libc::SOL_IPV6, libc::IPV6_DONTFRAG, 1)?;
            set(libc::SOL_IPV6, libc::IPV6_RECVERR, 1)?;
        }
    }
    set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    let reference = SockRef::from(&socket);
    // A smaller buffer than asked for is what the system grants without privileges.
    reference.set_recv_buffer_size(RECEIVE_BUFFER).ok();
    socket.set_nonblocking(true)?;
    socket.connect(session.peer)?;
    Ok(socket)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Answered,
    Refused,
    /// The own machine did not send it.
    Unsent,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    probe: SizeProbe,
    packet: SenderPacket,
    unix_nanos: i64,
    at: Moment,
    fate: Fate,
}

struct Exchange {
    measurement: Measurement,
    packets: Packets,
    clock: Clock,
    /// By sequence number.
    sent: Vec<Sent>,
    rtt: Option<Duration>,
    /// The longest time from a request to its reply, the responder's own delay included.
    slowest: Option<Duration>,
    answers: usize,
    ignored: u32,
    /// The path or the peer is not there.
    gone: Option<io::Error>,
    buffer: Vec<u8>,
}

impl Exchange {
    async fn run(&mut self, socket: &UdpSocket, deadline: Moment) -> io::Result<()> {
        while let Some(round) = self.measurement.next_round() {
            let begin = self.sent.len();
            let answers = self.answers;
            let wait = self.wait();
            if self.clock.now() + wait > deadline {
                break;
            }
            for (i, probe) in round.into_iter().enumerate() {
                if i > 0 && i % BURST == 0 {
                    tokio::time::sleep(BURST_PAUSE).await;
                    self.drain(socket.as_fd());
                }
                self.send(socket.as_fd(), probe)?;
            }
            let until = self.clock.instant(self.clock.now() + wait);
            let ended = async {
                while self.has_open(begin) && self.gone.is_none() {
                    let interest = Interest::READABLE | Interest::ERROR;
                    let drain = || match self.drain(socket.as_fd()) {
                        0 => Err(io::ErrorKind::WouldBlock.into()),
                        _ => Ok(()),
                    };
                    socket.async_io(interest, drain).await?;
                }
                io::Result::Ok(())
            };
            if let Ok(Err(error)) = tokio::time::timeout_at(until.into(), ended).await {
                return Err(error);
            }
            if let Some(error) = self.gone.take() {
                return Err(error);
            }
            let lost: Vec<SizeProbe> = self.sent[begin..]
                .iter()
                .filter(|sent| sent.fate == Fate::Open)
                .map(|sent| sent.probe)
                .collect();
            self.measurement.handle_round(&lost, self.answers > answers);
        }
        Ok(())
    }

    fn wait(&self) -> Duration {
        self.slowest.map_or(FIRST_WAIT, |slowest| {
            (slowest * 2 + GRACE).clamp(WAITS.0, WAITS.1)
        })
    }

    fn has_open(&self, begin: usize) -> bool {
        self.sent[begin..]
            .iter()
            .any(|sent| sent.fate == Fate::Open)
    }

    fn send(&mut self, socket: BorrowedFd<'_>, probe: SizeProbe) -> io::Result<()> {
        // What waits in the error queue would be returned by the send call.
        self.drain_errors(socket, None);
        let index = self.sent.len();
        let unix_nanos = self.clock.unix_nanos();
        let timestamp = Timestamp::from_unix_nanos(unix_nanos, TimestampFormat::Ntp);
        let sequence = Sequence(index as u32);
        let encoded = self
            .packets
            .encode(probe, sequence, timestamp, &mut self.buffer);
        let (packet, octets) = encoded.ok_or(io::ErrorKind::InvalidInput)?;
        self.sent.push(Sent {
            probe,
            packet,
            unix_nanos,
            at: self.clock.now(),
            fate: Fate::Open,
        });
        let mut sent = SockRef::from(&socket).send(&self.buffer[..octets]);
        if sent.is_err() && !self.drain_errors(socket, Some(index)) {
            // The error was one of an earlier packet: this one was not sent.
            let encoded = self
                .packets
                .encode(probe, sequence, timestamp, &mut self.buffer);
            let (_, octets) = encoded.ok_or(io::ErrorKind::InvalidInput)?;
            sent = SockRef::from(&socket).send(&self.buffer[..octets]);
            if sent.is_err() {
                self.drain_errors(socket, Some(index));
            }
        }
        if let Err(error) = sent {
            self.handle_send_error(index, error)?;
        }
        Ok(())
    }

    fn handle_send_error(&mut self, index: usize, error: io::Error) -> io::Result<()> {
        match error.raw_os_error() {
            Some(libc::EMSGSIZE) => {
                if self.sent[index].fate == Fate::Open {
                    // The kernel refuses without saying what would fit: one octet less is the most that can be.
                    self.refuse(
                        index,
                        u32::from(self.sent[index].probe.size) - 1,
                        Refuser::Kernel,
                    );
                }
                Ok(())
            }
            // The own machine's firewall drops it: lost, as it would be further on.
            Some(libc::EPERM) => Ok(()),
            Some(libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM | libc::EINTR) => {
                self.sent[index].fate = Fate::Unsent;
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Takes everything that has arrived. Returns how much it was.
    fn drain(&mut self, socket: BorrowedFd<'_>) -> usize {
        let mut seen = usize::from(self.drain_errors(socket, None));
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            match sys::receive(socket, &mut buffer) {
                Ok(Some(arrival)) => {
                    self.handle_packet(&buffer[..arrival.octets], arrival.unix_nanos);
                }
                Ok(None) => break,
                // An error of an earlier packet: the queue has it in full.
                Err(_) => {
                    if !self.drain_errors(socket, None) {
                        break;
                    }
                }
            }
            seen += 1;
        }
        self.buffer = buffer;
        seen
    }

    fn handle_packet(&mut self, octets: &[u8], unix_nanos: Option<i64>) {
        let Some(reply) = self.packets.parse(octets) else {
            return;
        };
        let size = self.packets.size_of(octets.len());
        let now = self.clock.now();
        let arrived = unix_nanos.unwrap_or_else(|| self.clock.unix_nanos());
        let Some(sent) = self.sent.get_mut(reply.sender_sequence.0 as usize) else {
            return;
        };
        if !reply.answers(&sent.packet) || sent.fate == Fate::Answered {
            return;
        }
        sent.fate = Fate::Answered;
        let elapsed = now.saturating_since(sent.at);
        let there_and_back = arrived - sent.unix_nanos - reply.turnaround_nanos().unwrap_or(0);
        // A step of the wall clock between the two stamps makes no round trip longer than it was.
        let rtt = Duration::from_nanos(u64::try_from(there_and_back).unwrap_or(0)).min(elapsed);
        self.rtt = Some(self.rtt.map_or(rtt, |known| known.min(rtt)));
        self.slowest = Some(self.slowest.map_or(elapsed, |known| known.max(elapsed)));
        self.answers += 1;
        let probe = sent.probe;
        self.measurement.handle_reply(probe, size);
    }

    /// Takes every entry of the error queue. `sending`: the packet that is being sent. Returns whether there was one; with
    /// `sending`, whether one is about that packet.
    fn drain_errors(&mut self, socket: BorrowedFd<'_>, sending: Option<usize>) -> bool {
        let mut quoted = [0; 64];
        let mut found = false;
        while let Ok(Some(arrival)) = sys::receive_queued(socket, &mut quoted) {
            let Some(error) = arrival.error else { continue };
            let about = match error.origin {
                Origin::Local => sending,
                _ => self.quoted(&quoted[..arrival.octets]),
            };
            found |= sending.is_none() || about == sending;
            match (error.errno, error.origin, error.offender) {
                (libc::EMSGSIZE, Origin::Local, _) => {
                    if let Some(index) = about {
                        self.refuse(index, error.info, Refuser::Kernel);
                    }
                }
                (libc::EMSGSIZE, Origin::Icmp { .. }, Some(router)) => match about {
                    Some(index) => self.refuse(index, error.info, Refuser::Router(router)),
                    None => self.ignored += 1,
                },
                (libc::ECONNREFUSED, Origin::Icmp { .. }, _) if about.is_some() => {
                    self.gone = Some(io::Error::from_raw_os_error(error.errno));
                }
                // Other messages are no word about sizes; the packet counts as lost.
                _ => {}
            }
        }
        found
    }

    /// Which packet an ICMP message quotes. Old routers quote nothing of the payload: then it is about the largest one
    /// that is under way, for the kernel has compared addresses and ports.
    fn quoted(&self, payload: &[u8]) -> Option<usize> {
        if payload.len() < 4 {
            let open = self.sent.iter().enumerate();
            let open = open.filter(|(_, sent)| sent.fate == Fate::Open);
            return open.max_by_key(|(_, sent)| sent.probe.size).map(|(i, _)| i);
        }
        let index = Packets::quoted_sequence(payload)?.0 as usize;
        let sent = self.sent.get(index)?;
        self.packets
            .is_quote_of(payload, &sent.packet)
            .then_some(index)
    }

    fn refuse(&mut self, index: usize, mtu: u32, by: Refuser) {
        let Some(sent) = self.sent.get_mut(index) else {
            return;
        };
        if self.measurement.handle_refusal(sent.probe, mtu, by) {
            sent.fate = Fate::Refused;
        } else {
            self.ignored += 1;
        }
    }
}
