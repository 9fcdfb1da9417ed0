//! The UDP sockets: for each listen address one that answers, and one that probes for each flow.
//!
//! The probing sockets are unconnected, so that each of them serves all peers. With `IP_RECVERR` each still learns of every
//! ICMP error, with the destination that the probe was sent to. All get kernel receive stamps.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;

use meshprobe_core::path::Family;
use meshprobe_daemon::listeners::ListenError;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::flow_sockets::FlowSockets;
use crate::sys;

/// Room for a second of replies at 10,000 probes a second while the thread is not scheduled.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Connections that wait to be accepted: a mesh that starts all at once.
const ECHO_BACKLOG: i32 = 1024;

/// The configuration field that holds the port.
const FIELD: &str = "listen";

/// Tries to get a source port that is no responder's.
const PORT_TRIES: usize = 16;

/// Why the sockets could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// An address cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A socket option is refused.
    #[error("set {option} on the socket of {address}")]
    Option {
        /// Which one.
        option: &'static str,
        /// Whose.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The sockets of one listen address.
#[derive(Debug)]
pub struct AddressSockets {
    /// Send probes and receive their replies.
    pub senders: FlowSockets,
    /// Receives the probes of others and answers them.
    pub responder: UdpSocket,
    /// Of all of them.
    pub family: Family,
}

impl AddressSockets {
    /// Binds all of them on `ip`; port 0 lets the system choose the responder's (for tests).
    pub fn bind(ip: IpAddr, responder_port: u16) -> Result<Self, SocketError> {
        let responder = bind_responder(SocketAddr::new(ip, responder_port))?;
        let port = responder
            .local_addr()
            .map_or(responder_port, |address| address.port());
        Ok(Self {
            senders: FlowSockets::bind(ip, port)?,
            responder,
            family: Family::of(ip),
        })
    }
}

/// Binds the TCP responder.
pub fn bind_echo(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let socket = bind(address, Type::STREAM, Protocol::TCP)?;
    socket
        .listen(ECHO_BACKLOG)
        .map_err(|source| ListenError::Bind {
            field: FIELD.to_owned(),
            protocol: "tcp",
            addr: address,
            source,
        })?;
    Ok(socket.into())
}

/// Binds the QUIC responder's socket.
pub fn bind_quic(address: SocketAddr) -> Result<UdpSocket, ListenError> {
    bind(address, Type::DGRAM, Protocol::UDP).map(Into::into)
}

/// Binds a non-blocking socket of one family only: `::` beside `0.0.0.0` is two sockets, as it is two kinds of paths.
fn bind(address: SocketAddr, kind: Type, protocol: Protocol) -> Result<Socket, ListenError> {
    let bind = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if kind == Type::STREAM {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    bind().map_err(|source| ListenError::Bind {
        field: FIELD.to_owned(),
        protocol: if kind == Type::STREAM { "tcp" } else { "udp" },
        addr: address,
        source,
    })
}

/// Binds the socket that answers, and has it told all that a reply says: when, with which TTL and DSCP a request came.
fn bind_responder(address: SocketAddr) -> Result<UdpSocket, SocketError> {
    let socket = UdpSocket::from(bind(address, Type::DGRAM, Protocol::UDP)?);
    prepare(&socket, Family::of(address.ip()))?;
    let is_any = address.ip().is_unspecified();
    match Family::of(address.ip()) {
        Family::V4 => {
            enable(&socket, "IP_RECVTTL", libc::SOL_IP, libc::IP_RECVTTL)?;
            enable(&socket, "IP_RECVTOS", libc::SOL_IP, libc::IP_RECVTOS)?;
            if is_any {
                enable(&socket, "IP_PKTINFO", libc::SOL_IP, libc::IP_PKTINFO)?;
            }
        }
        Family::V6 => {
            let level = libc::SOL_IPV6;
            let option = libc::IPV6_RECVHOPLIMIT;
            enable(&socket, "IPV6_RECVHOPLIMIT", level, option)?;
            enable(&socket, "IPV6_RECVTCLASS", level, libc::IPV6_RECVTCLASS)?;
            if is_any {
                enable(&socket, "IPV6_RECVPKTINFO", level, libc::IPV6_RECVPKTINFO)?;
            }
        }
    }
    Ok(socket)
}

/// Binds a socket that probes. Its port is not the responders' one: nobody would answer what comes from there.
pub(super) fn bind_sender(ip: IpAddr, responder_port: u16) -> Result<UdpSocket, SocketError> {
    let mut socket = bind(SocketAddr::new(ip, 0), Type::DGRAM, Protocol::UDP)?;
    for _ in 0..PORT_TRIES {
        let port = socket.local_addr().ok().and_then(|addr| addr.as_socket());
        if port.is_none_or(|addr| addr.port() != responder_port) {
            break;
        }
        socket = bind(SocketAddr::new(ip, 0), Type::DGRAM, Protocol::UDP)?;
    }
    // After the port was chosen: among sockets that share, the system would choose one that is taken. A trace of a failing
    // flow has to leave from its port; only processes of the same user can share it.
    socket
        .set_reuse_port(true)
        .map_err(|source| SocketError::Option {
            option: "SO_REUSEPORT",
            address: SocketAddr::new(ip, responder_port),
            source,
        })?;
    let socket = UdpSocket::from(socket);
    prepare(&socket, Family::of(ip))?;
    match Family::of(ip) {
        Family::V4 => enable(&socket, "IP_RECVERR", libc::SOL_IP, libc::IP_RECVERR)?,
        Family::V6 => enable(&socket, "IPV6_RECVERR", libc::SOL_IPV6, libc::IPV6_RECVERR)?,
    }
    Ok(socket)
}

/// Binds a socket that talks to itself and to nobody else.
pub(super) fn bind_loopback(ip: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((ip, 0))?;
    socket.connect(socket.local_addr()?)?;
    socket.set_nonblocking(true)?;
    let level = libc::SOL_SOCKET;
    sys::set_option(socket.as_fd(), level, libc::SO_TIMESTAMPNS, 1)?;
    Ok(socket)
}

/// What both kinds of sockets have: room, receive stamps, a count of what was dropped, and packets that are never
/// fragmented. A packet that is too large is lost or refused, which is what a size test asks; and for IPv4 the search for
/// an identification is saved that only fragments need.
fn prepare(socket: &UdpSocket, family: Family) -> Result<(), SocketError> {
    // A smaller buffer than asked for is what the system grants without privileges.
    SockRef::from(socket)
        .set_recv_buffer_size(RECEIVE_BUFFER)
        .ok();
    let level = libc::SOL_SOCKET;
    enable(socket, "SO_TIMESTAMPNS", level, libc::SO_TIMESTAMPNS)?;
    enable(socket, "SO_RXQ_OVFL", level, libc::SO_RXQ_OVFL)?;
    // Ready for transmit stamps of single packets, without the packet itself, which needs no privilege.
    let flags = libc::SOF_TIMESTAMPING_SOFTWARE | libc::SOF_TIMESTAMPING_OPT_TSONLY;
    set(
        socket,
        "SO_TIMESTAMPING",
        level,
        libc::SO_TIMESTAMPING,
        flags as i32,
    )?;
    match family {
        Family::V4 => {
            let (option, value) = (libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE);
            set(socket, "IP_MTU_DISCOVER", libc::SOL_IP, option, value)
        }
        Family::V6 => {
            let (option, value) = (libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE);
            set(socket, "IPV6_MTU_DISCOVER", libc::SOL_IPV6, option, value)
        }
    }
}

fn enable(
    socket: &UdpSocket,
    name: &'static str,
    level: i32,
    option: i32,
) -> Result<(), SocketError> {
    set(socket, name, level, option, 1)
}

fn set(
    socket: &UdpSocket,
    name: &'static str,
    level: i32,
    option: i32,
    value: i32,
) -> Result<(), SocketError> {
    sys::set_option(socket.as_fd(), level, option, value).map_err(|source| SocketError::Option {
        option: name,
        address: socket.local_addr().unwrap_or(SocketAddr::from(([0; 4], 0))),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ReceiveBatch;

    #[test]
    fn a_responder_learns_when_and_how_a_request_arrived_in_both_families() {
        for ip in ["127.0.0.1", "::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            let own = AddressSockets::bind(ip, 0).unwrap();
            let asker = UdpSocket::bind((ip, 0)).unwrap();
            let (hops, class) = match ip {
                IpAddr::V4(_) => ((libc::SOL_IP, libc::IP_TTL), (libc::SOL_IP, libc::IP_TOS)),
                IpAddr::V6(_) => (
                    (libc::SOL_IPV6, libc::IPV6_UNICAST_HOPS),
                    (libc::SOL_IPV6, libc::IPV6_TCLASS),
                ),
            };
            sys::set_option(asker.as_fd(), hops.0, hops.1, 77).unwrap();
            sys::set_option(asker.as_fd(), class.0, class.1, 46 << 2).unwrap();
            asker
                .send_to(b"request", own.responder.local_addr().unwrap())
                .unwrap();
            let mut batch = ReceiveBatch::new();
            assert_eq!(batch.receive(own.responder.as_fd()).unwrap(), 1);
            let facts = batch.packet(0).unwrap().facts;
            assert_eq!((facts.ttl, facts.traffic_class), (Some(77), Some(46 << 2)));
        }
    }
}
