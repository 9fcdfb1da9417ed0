//! Packets of an exact size that nobody may cut into pieces, and what routers say about them.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use meshprobe_lab::Lab;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};

use crate::world::probe::any_address;

/// A packet that has not arrived by then is lost.
const PATIENCE: Duration = Duration::from_millis(300);
/// Tries before a size counts as too large.
const TRIES: usize = 3;
const UDP_HEADER: usize = 8;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Arrived,
    /// Nothing was heard of it.
    Vanished,
    /// A router said that it takes no more than `mtu` bytes.
    TooBig {
        mtu: u32,
        router: IpAddr,
    },
    /// The sender's own link takes no more.
    TooBigHere,
}

/// Sends packets of this size, IP header included, from one namespace to an address in another.
pub(crate) fn send(
    lab: &Lab,
    from: &str,
    to: (&str, IpAddr),
    bytes: usize,
) -> anyhow::Result<Fate> {
    let (namespace, address) = to;
    let receiver = lab.udp_in(namespace, SocketAddr::from((address, 0)))?;
    receiver.set_nonblocking(true)?;
    let target = receiver.local_addr()?;
    let sender = lab.udp_in(from, any_address(target))?;
    forbid_pieces(&sender, target)?;
    let ip_header = if target.is_ipv4() { 20 } else { 40 };
    let payload = vec![7; bytes - ip_header - UDP_HEADER];
    let mut buffer = vec![0; 9000];
    for _ in 0..TRIES {
        match sender.send_to(&payload, target) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(nix::libc::EMSGSIZE) => {
                return Ok(Fate::TooBigHere);
            }
            Err(error) => return Err(error.into()),
        }
        for _ in 0..PATIENCE.as_millis() / 5 {
            match receiver.recv(&mut buffer) {
                Ok(length) if length == payload.len() => return Ok(Fate::Arrived),
                Ok(length) => anyhow::bail!("{length} bytes arrived of {}", payload.len()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(fate) = told(&sender)? {
                return Ok(fate);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(Fate::Vanished)
}

/// The socket sends whatever it is told in one piece, and keeps what routers say.
fn forbid_pieces(socket: &UdpSocket, to: SocketAddr) -> anyhow::Result<()> {
    if to.is_ipv4() {
        set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE)?;
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
    } else {
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)?;
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
    }
    Ok(())
}

fn told(socket: &UdpSocket) -> anyhow::Result<Option<Fate>> {
    let mut data = [0; 9000];
    let mut parts = [IoSliceMut::new(&mut data)];
    let mut control = nix::cmsg_space!([u8; 128]);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message =
        match recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)
        {
            Ok(message) => message,
            Err(nix::Error::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
    for control in message.cmsgs()? {
        let (error, router) = match control {
            ControlMessageOwned::Ipv4RecvErr(error, Some(router)) => {
                let octets = router.sin_addr.s_addr.to_ne_bytes();
                (error, IpAddr::V4(Ipv4Addr::from(octets)))
            }
            ControlMessageOwned::Ipv6RecvErr(error, Some(router)) => {
                (error, IpAddr::V6(Ipv6Addr::from(router.sin6_addr.s6_addr)))
            }
            _ => continue,
        };
        if error.ee_errno == nix::libc::EMSGSIZE as u32 {
            return Ok(Some(if error.ee_origin == nix::libc::SO_EE_ORIGIN_LOCAL {
                Fate::TooBigHere
            } else {
                Fate::TooBig {
                    mtu: error.ee_info,
                    router,
                }
            }));
        }
    }
    Ok(None)
}
