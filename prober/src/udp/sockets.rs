//! The UDP sockets: for each listen address one that probes and one that answers.
//!
//! The probing socket is unconnected, so that one socket serves all peers. With `IP_RECVERR` it still learns of every
//! ICMP error, with the destination that the probe was sent to. Both get kernel receive stamps.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;

use meshprobe_core::path::Family;
use meshprobe_daemon::listeners::ListenError;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

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
    /// Sends probes and receives their replies.
    pub sender: UdpSocket,
    /// Receives the probes of others and answers them.
    pub responder: UdpSocket,
    /// Of both.
    pub family: Family,
}

impl AddressSockets {
    /// Binds both on `ip`; port 0 lets the system choose the responder's (for tests).
    pub fn bind(ip: IpAddr, responder_port: u16) -> Result<Self, SocketError> {
        let responder = bind(
            SocketAddr::new(ip, responder_port),
            Type::DGRAM,
            Protocol::UDP,
        )?;
        let responder = UdpSocket::from(responder);
        let address = responder
            .local_addr()
            .unwrap_or(SocketAddr::new(ip, responder_port));
        let sender = sender(ip, address.port())?;
        let family = Family::of(ip);
        for socket in [&sender, &responder] {
            // A smaller buffer than asked for is what the system grants without privileges.
            SockRef::from(socket)
                .set_recv_buffer_size(RECEIVE_BUFFER)
                .ok();
            enable(
                socket,
                "SO_TIMESTAMPNS",
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPNS,
            )?;
            enable(socket, "SO_RXQ_OVFL", libc::SOL_SOCKET, libc::SO_RXQ_OVFL)?;
        }
        match family {
            Family::V4 => {
                // Never fragmented, and without the search for an identification that only fragments need.
                for socket in [&sender, &responder] {
                    let (option, value) = (libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE);
                    set(socket, "IP_MTU_DISCOVER", libc::SOL_IP, option, value)?;
                }
                enable(&sender, "IP_RECVERR", libc::SOL_IP, libc::IP_RECVERR)?;
                enable(&responder, "IP_RECVTTL", libc::SOL_IP, libc::IP_RECVTTL)?;
                if ip.is_unspecified() {
                    enable(&responder, "IP_PKTINFO", libc::SOL_IP, libc::IP_PKTINFO)?;
                }
            }
            Family::V6 => {
                enable(&sender, "IPV6_RECVERR", libc::SOL_IPV6, libc::IPV6_RECVERR)?;
                enable(
                    &responder,
                    "IPV6_RECVHOPLIMIT",
                    libc::SOL_IPV6,
                    libc::IPV6_RECVHOPLIMIT,
                )?;
                if ip.is_unspecified() {
                    let option = libc::IPV6_RECVPKTINFO;
                    enable(&responder, "IPV6_RECVPKTINFO", libc::SOL_IPV6, option)?;
                }
            }
        }
        Ok(Self {
            sender,
            responder,
            family,
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

/// A socket whose port is not the responders' one: nobody would answer what comes from there.
fn sender(ip: IpAddr, responder_port: u16) -> Result<UdpSocket, SocketError> {
    let mut socket = bind(SocketAddr::new(ip, 0), Type::DGRAM, Protocol::UDP)?;
    for _ in 0..PORT_TRIES {
        let port = socket.local_addr().ok().and_then(|addr| addr.as_socket());
        if port.is_none_or(|addr| addr.port() != responder_port) {
            break;
        }
        socket = bind(SocketAddr::new(ip, 0), Type::DGRAM, Protocol::UDP)?;
    }
    Ok(socket.into())
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
