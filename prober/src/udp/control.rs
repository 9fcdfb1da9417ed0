//! Control messages that go with a packet: where it leaves from, with which DSCP, and that its departure be stamped.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{MsgHdr, SockAddr, SockRef};

/// Octets of a control message's header: length, level, type.
const HEADER: usize = size_of::<libc::cmsghdr>();

/// Octets of a control message with a value of so many octets.
const fn space(value: usize) -> usize {
    HEADER + value.next_multiple_of(size_of::<usize>())
}

/// Room for a source address, a traffic class and the wish for a stamp.
const CONTROL: usize = space(size_of::<libc::in6_pktinfo>())
    + space(size_of::<libc::c_int>())
    + space(size_of::<libc::c_uint>());

/// Control messages one after the other, as `struct cmsghdr` and its value.
pub(super) struct ControlMessages {
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
    /// Sends a packet with them.
    pub(super) fn send(
        &self,
        socket: &UdpSocket,
        octets: &[u8],
        to: SocketAddr,
    ) -> io::Result<usize> {
        let to = SockAddr::from(to);
        let buffers = [IoSlice::new(octets)];
        let message = MsgHdr::new()
            .with_addr(&to)
            .with_buffers(&buffers)
            .with_control(&self.buffer[..self.length]);
        SockRef::from(socket).sendmsg(&message, 0)
    }

    /// `struct in_pktinfo` or `struct in6_pktinfo`, with the source address and no interface.
    pub(super) fn put_source(&mut self, from: IpAddr) {
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

    pub(super) fn put_dscp(&mut self, dscp: u8, to: SocketAddr) {
        let class = libc::c_int::from(dscp << 2).to_ne_bytes();
        match to {
            SocketAddr::V4(_) => self.put(libc::SOL_IP, libc::IP_TOS, &class),
            SocketAddr::V6(_) => self.put(libc::SOL_IPV6, libc::IPV6_TCLASS, &class),
        }
    }

    /// The kernel shall say when this one packet passes the interface (since Linux 4.6). The socket was made ready for it.
    pub(super) fn put_transmit_stamp(&mut self) {
        let flags = libc::SOF_TIMESTAMPING_TX_SOFTWARE.to_ne_bytes();
        self.put(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &flags);
    }

    /// Room for all that can be put is there: each of them once.
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
