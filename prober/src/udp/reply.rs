//! Sends a reply from the address that was asked, with the DSCP that it should have.
//!
//! A socket that listens on all addresses would answer from whichever one the routing table prefers, and on a host with
//! several addresses the asker would not know that answer. The kernel tells the address that a packet came to
//! (`IP_PKTINFO`); it is handed back with the reply. A socket that is bound to one address needs none of this, and a reply
//! to a request that says nothing of DSCP neither.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{MsgHdr, SockAddr, SockRef};

/// Octets of a control message's header: length, level, type.
const HEADER: usize = size_of::<libc::cmsghdr>();

/// Octets of a control message with a value of so many octets.
const fn space(value: usize) -> usize {
    HEADER + value.next_multiple_of(size_of::<usize>())
}

/// Room for a source address and a traffic class.
const CONTROL: usize = space(size_of::<libc::in6_pktinfo>()) + space(size_of::<libc::c_int>());

/// How a reply leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Manner {
    /// From this address; `None`: from the one that the socket is bound to.
    pub(super) from: Option<IpAddr>,
    /// With this DSCP; `None`: with the system's default.
    pub(super) dscp: Option<u8>,
}

/// Sends `octets` to `to`.
pub(super) fn send_reply(
    socket: &UdpSocket,
    octets: &[u8],
    to: SocketAddr,
    manner: Manner,
) -> io::Result<usize> {
    if manner == Manner::default() {
        return socket.send_to(octets, to);
    }
    let mut control = ControlMessages::default();
    if let Some(from) = manner.from {
        control.put_source(from);
    }
    if let Some(dscp) = manner.dscp {
        control.put_dscp(dscp, to);
    }
    let to = SockAddr::from(to);
    let buffers = [IoSlice::new(octets)];
    let message = MsgHdr::new()
        .with_addr(&to)
        .with_buffers(&buffers)
        .with_control(control.octets());
    SockRef::from(socket).sendmsg(&message, 0)
}

/// Control messages one after the other, as `struct cmsghdr` and its value.
struct ControlMessages {
    buffer: [u8; CONTROL],
    length: usize,
}

impl Default for ControlMessages {
    fn default() -> Self {
        Self {
            buffer: [0; CONTROL],
            length: 0,
        }
    }
}

impl ControlMessages {
    fn octets(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// `struct in_pktinfo` or `struct in6_pktinfo`, with the source address and no interface.
    fn put_source(&mut self, from: IpAddr) {
        match from {
            IpAddr::V4(ip) => {
                // Interface index, source address, destination address.
                let mut value = [0; size_of::<libc::in_pktinfo>()];
                value[4..8].copy_from_slice(&ip.octets());
                self.put(libc::SOL_IP, libc::IP_PKTINFO, &value);
            }
            IpAddr::V6(ip) => {
                // Source address, interface index.
                let mut value = [0; size_of::<libc::in6_pktinfo>()];
                value[..16].copy_from_slice(&ip.octets());
                self.put(libc::SOL_IPV6, libc::IPV6_PKTINFO, &value);
            }
        }
    }

    fn put_dscp(&mut self, dscp: u8, to: SocketAddr) {
        let class = libc::c_int::from(dscp << 2).to_ne_bytes();
        match to {
            SocketAddr::V4(_) => self.put(libc::SOL_IP, libc::IP_TOS, &class),
            SocketAddr::V6(_) => self.put(libc::SOL_IPV6, libc::IPV6_TCLASS, &class),
        }
    }

    /// Room for all that can be put is there: each of the two once.
    fn put(&mut self, level: i32, kind: i32, value: &[u8]) {
        let message = &mut self.buffer[self.length..];
        let mut put = |at: usize, octets: &[u8]| {
            message[at..at + octets.len()].copy_from_slice(octets);
        };
        put(0, &(HEADER + value.len()).to_ne_bytes());
        put(size_of::<usize>(), &level.to_ne_bytes());
        put(size_of::<usize>() + size_of::<i32>(), &kind.to_ne_bytes());
        put(HEADER, value);
        self.length += space(value.len());
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::sys::{self, ReceiveBatch};

    #[test]
    fn a_reply_leaves_from_the_address_that_it_is_told() {
        let asker = UdpSocket::bind("127.0.0.1:0").unwrap();
        let responder = UdpSocket::bind("0.0.0.0:0").unwrap();
        let from = IpAddr::V4(Ipv4Addr::new(127, 9, 8, 7));
        let to = asker.local_addr().unwrap();
        let manner = Manner {
            from: Some(from),
            dscp: None,
        };
        send_reply(&responder, b"reply", to, manner).unwrap();
        let (length, source) = asker.recv_from(&mut [0; 16]).unwrap();
        assert_eq!((length, source.ip()), (5, from));
    }

    #[test]
    fn a_reply_leaves_with_the_dscp_that_it_is_told_in_both_families() {
        for (ip, level, option) in [
            ("127.0.0.1", libc::SOL_IP, libc::IP_RECVTOS),
            ("::1", libc::SOL_IPV6, libc::IPV6_RECVTCLASS),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            let asker = UdpSocket::bind((ip, 0)).unwrap();
            sys::set_option(asker.as_fd(), level, option, 1).unwrap();
            let responder = UdpSocket::bind((ip, 0)).unwrap();
            let manner = Manner {
                from: Some(ip),
                dscp: Some(46),
            };
            send_reply(&responder, b"reply", asker.local_addr().unwrap(), manner).unwrap();
            let mut batch = ReceiveBatch::new();
            assert_eq!(batch.receive(asker.as_fd()).unwrap(), 1);
            let packet = batch.packet(0).unwrap();
            assert_eq!(packet.facts.traffic_class, Some(46 << 2));
        }
    }
}
