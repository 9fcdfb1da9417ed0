//! Sends a reply from the address that was asked, with the DSCP that it should have.
//!
//! A socket that listens on all addresses would answer from whichever one the routing table prefers, and on a host with
//! several addresses the asker would not know that answer. The kernel tells the address that a packet came to
//! (`IP_PKTINFO`); it is handed back with the reply. A socket that is bound to one address needs none of this, and a reply
//! to a request that says nothing of DSCP neither.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::control::ControlMessages;

/// How a reply leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Manner {
    /// From this address; `None`: from the one that the socket is bound to.
    pub(super) from: Option<IpAddr>,
    /// With this DSCP; `None`: with the system's default.
    pub(super) dscp: Option<u8>,
    /// With a transmit stamp, which comes in the socket's error queue.
    pub(super) stamped: bool,
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
    if manner.stamped {
        control.put_transmit_stamp();
    }
    control.send(socket, octets, to)
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
            ..Manner::default()
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
                ..Manner::default()
            };
            send_reply(&responder, b"reply", asker.local_addr().unwrap(), manner).unwrap();
            let mut batch = ReceiveBatch::new();
            assert_eq!(batch.receive(asker.as_fd()).unwrap(), 1);
            let packet = batch.packet(0).unwrap();
            assert_eq!(packet.facts.traffic_class, Some(46 << 2));
        }
    }
}
