//! What passes on the loopback interface, with the kernel's own stamps: the witness that a measurement is checked by.
//!
//! A packet is seen twice, once on its way out and once on its way in. Needs the right to capture, which a process has in
//! a network namespace of its own.

use std::collections::HashSet;
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

/// `ETH_P_ALL` in network order, as a packet socket wants it. A socket of one protocol is not shown what leaves.
const EVERYTHING: i32 = 0x0003_u16.to_be() as i32;
/// `PACKET_OUTGOING`.
const OUTGOING: u8 = 4;
const UDP: u8 = 17;
/// A second of packets at the largest rate that a bench makes.
const RECEIVE_BUFFER: usize = 32 << 20;
/// Beyond it a packet is dropped, and the drop seen as a packet without its answer.
const QUEUE_DEPTH: usize = 1 << 16;
/// The capture looks so often whether anybody still listens.
const LOOK: Duration = Duration::from_millis(100);
/// What is kept of a datagram: a STAMP packet.
pub(super) const PAYLOAD: usize = 44;

/// A datagram at one point of its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Captured {
    /// When, nanoseconds since the Unix epoch, by the kernel.
    pub(super) unix_nanos: i64,
    /// On its way out; else on its way in.
    pub(super) is_outgoing: bool,
    pub(super) source: SocketAddrV4,
    pub(super) destination: SocketAddrV4,
    /// Its first octets.
    pub(super) payload: [u8; PAYLOAD],
}

/// Brings the loopback interface of a fresh network namespace up.
pub(super) fn loopback_up() -> anyhow::Result<()> {
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .context("run ip, of Debian's package iproute2")?;
    anyhow::ensure!(status.success(), "cannot bring the loopback interface up");
    Ok(())
}

/// Captures STAMP packets from or to one of these ports until the receiver is dropped.
pub(super) fn start(ports: &[u16]) -> anyhow::Result<mpsc::Receiver<Captured>> {
    let ports: HashSet<u16> = ports.iter().copied().collect();
    let socket = Socket::new(
        Domain::PACKET,
        Type::DGRAM,
        Some(Protocol::from(EVERYTHING)),
    )
    .context("open a packet socket")?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("ask for receive stamps")?;
    // More than an ordinary process may have; what is granted without privileges will mostly do.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER).ok();
    }
    socket
        .set_read_timeout(Some(LOOK))
        .context("set a timeout")?;
    let (captured_tx, captured_rx) = mpsc::sync_channel(QUEUE_DEPTH);
    thread::Builder::new()
        .name("capture".to_owned())
        .spawn(move || {
            let mut is_wanted = true;
            while is_wanted {
                let packet = receive(&socket);
                is_wanted = match packet {
                    Received::Packet(packet)
                        if ports.contains(&packet.source.port())
                            || ports.contains(&packet.destination.port()) =>
                    {
                        let sent = captured_tx.try_send(packet);
                        !matches!(sent, Err(mpsc::TrySendError::Disconnected(_)))
                    }
                    Received::Packet(_) | Received::Other => true,
                    // Nothing for a while: is anybody there?
                    Received::Nothing => {
                        let probe = captured_tx.try_send(NOTHING);
                        !matches!(probe, Err(mpsc::TrySendError::Disconnected(_)))
                    }
                };
            }
        })
        .context("start the capture")?;
    Ok(captured_rx)
}

/// Says that nothing has passed for a while; of no port.
const NOTHING: Captured = Captured {
    unix_nanos: 0,
    is_outgoing: false,
    source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
    destination: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
    payload: [0; PAYLOAD],
};

impl Captured {
    /// Is it a packet, and no sign that there was none?
    pub(super) fn is_packet(&self) -> bool {
        *self != NOTHING
    }
}

enum Received {
    Packet(Captured),
    Other,
    Nothing,
}

fn receive(socket: &Socket) -> Received {
    let mut octets = [0; 128];
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut buffers = [IoSliceMut::new(&mut octets)];
    let message = match recvmsg::<LinkAddr>(
        socket.as_raw_fd(),
        &mut buffers,
        Some(&mut control),
        MsgFlags::empty(),
    ) {
        Ok(message) => message,
        Err(Errno::EAGAIN) => return Received::Nothing,
        Err(_) => return Received::Other,
    };
    let is_outgoing = message
        .address
        .is_some_and(|address| address.pkttype() == OUTGOING);
    let length = message.bytes;
    let stamp = message.cmsgs().ok().and_then(|mut messages| {
        messages.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(at) => {
                Some(at.tv_sec() * 1_000_000_000 + at.tv_nsec())
            }
            _ => None,
        })
    });
    let parsed = stamp.and_then(|stamp| parse(&octets[..length.min(128)], stamp, is_outgoing));
    parsed.map_or(Received::Other, Received::Packet)
}

/// An IPv4 packet with a UDP datagram that is long enough.
fn parse(octets: &[u8], unix_nanos: i64, is_outgoing: bool) -> Option<Captured> {
    let header = octets.first_chunk::<20>()?;
    if header[0] >> 4 != 4 || header[9] != UDP {
        return None;
    }
    let datagram = octets.get(usize::from(header[0] & 0xf) * 4..)?;
    let (ports, rest) = datagram.split_first_chunk::<8>()?;
    let address =
        |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Some(Captured {
        unix_nanos,
        is_outgoing,
        source: SocketAddrV4::new(address(12), port(0)),
        destination: SocketAddrV4::new(address(16), port(2)),
        payload: *rest.first_chunk()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_taken_apart_and_anything_else_is_left() {
        let mut packet = vec![0; 20 + 8 + PAYLOAD];
        packet[0] = 0x45;
        packet[9] = UDP;
        packet[12..20].copy_from_slice(&[127, 0, 0, 1, 127, 0, 1, 9]);
        packet[20..24].copy_from_slice(&[0x9c, 0x40, 0x12, 0xfe]);
        packet[28] = 7;
        let parsed = parse(&packet, 5, true).unwrap();
        assert_eq!(parsed.source, "127.0.0.1:40000".parse().unwrap());
        assert_eq!(parsed.destination, "127.0.1.9:4862".parse().unwrap());
        assert_eq!((parsed.payload[0], parsed.unix_nanos), (7, 5));
        assert_eq!(parse(&packet[..60], 5, true), None, "too short");
        packet[9] = 6;
        assert_eq!(parse(&packet, 5, true), None, "TCP");
    }
}
