//! The UDP sockets: for each listen address one that probes and one that answers.
//!
//! The probing socket is unconnected, so that one socket serves all peers. With `IP_RECVERR` it still learns of every
//! ICMP error, with the destination that the probe was sent to. Both get kernel receive stamps.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;

use meshprobe_core::path::Family;
use meshprobe_daemon::listeners::{ListenError, listen_udp};
use socket2::SockRef;

use crate::sys;

/// Room for a second of replies at 10,000 probes a second while the thread is not scheduled.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Tries to get a source port that is no responder's.
const PORT_TRIES: usize = 16;

/// Why the sockets could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The responder's address cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The probing socket cannot be had.
    #[error("open the probing socket on {ip}")]
    Sender {
        /// On which address.
        ip: IpAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
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
        let responder = listen_udp("listen.port", SocketAddr::new(ip, responder_port))?;
        let address = responder
            .local_addr()
            .unwrap_or(SocketAddr::new(ip, responder_port));
        let sender =
            sender(ip, address.port()).map_err(|source| SocketError::Sender { ip, source })?;
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
                enable(&sender, "IP_RECVERR", libc::SOL_IP, libc::IP_RECVERR)?;
                enable(&responder, "IP_RECVTTL", libc::SOL_IP, libc::IP_RECVTTL)?;
            }
            Family::V6 => {
                enable(&sender, "IPV6_RECVERR", libc::SOL_IPV6, libc::IPV6_RECVERR)?;
                enable(
                    &responder,
                    "IPV6_RECVHOPLIMIT",
                    libc::SOL_IPV6,
                    libc::IPV6_RECVHOPLIMIT,
                )?;
            }
        }
        Ok(Self {
            sender,
            responder,
            family,
        })
    }
}

/// A socket whose port is not the responders' one: nobody would answer what comes from there.
fn sender(ip: IpAddr, responder_port: u16) -> io::Result<UdpSocket> {
    let mut socket = UdpSocket::bind((ip, 0))?;
    for _ in 0..PORT_TRIES {
        if socket.local_addr()?.port() != responder_port {
            break;
        }
        socket = UdpSocket::bind((ip, 0))?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn enable(
    socket: &UdpSocket,
    name: &'static str,
    level: i32,
    option: i32,
) -> Result<(), SocketError> {
    sys::enable(socket.as_fd(), level, option).map_err(|source| SocketError::Option {
        option: name,
        address: socket.local_addr().unwrap_or(SocketAddr::from(([0; 4], 0))),
        source,
    })
}
