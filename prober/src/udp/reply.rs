//! Sends a reply from the address that was asked.
//!
//! A socket that listens on all addresses would answer from whichever one the routing table prefers, and on a host with
//! several addresses the asker would not know that answer. The kernel tells the address that a packet came to
//! (`IP_PKTINFO`); it is handed back with the reply. A socket that is bound to one address needs none of this.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{MsgHdr, SockAddr, SockRef};

/// Octets of a control message's header: length, level, type.
const HEADER: usize = size_of::<libc::cmsghdr>();

/// Room for the larger of the two control messages.
const CONTROL: usize = HEADER + size_of::<libc::in6_pktinfo>().next_multiple_of(size_of::<usize>());

/// Sends `octets` to `to`, from `from` if it is given.
pub(super) fn send_reply(
    socket: &UdpSocket,
    octets: &[u8],
    to: SocketAddr,
    from: Option<IpAddr>,
) -> io::Result<usize> {
    let Some(from) = from else {
        return socket.send_to(octets, to);
    };
    let (control, length) = control_message(from);
    let to = SockAddr::from(to);
    let buffers = [IoSlice::new(octets)];
    let message = MsgHdr::new()
        .with_addr(&to)
        .with_buffers(&buffers)
        .with_control(&control[..length]);
    SockRef::from(socket).sendmsg(&message, 0)
}

/// `struct cmsghdr` and `struct in_pktinfo` or `struct in6_pktinfo`, with the source address and no interface.
fn control_message(from: IpAddr) -> ([u8; CONTROL], usize) {
    let mut control = [0; CONTROL];
    let (level, kind, address_at, size) = match from {
        // Interface index, source address, destination address.
        IpAddr::V4(_) => (
            libc::SOL_IP,
            libc::IP_PKTINFO,
            4,
            size_of::<libc::in_pktinfo>(),
        ),
        // Source address, interface index.
        IpAddr::V6(_) => (
            libc::SOL_IPV6,
            libc::IPV6_PKTINFO,
            0,
            size_of::<libc::in6_pktinfo>(),
        ),
    };
    let mut put = |at: usize, octets: &[u8]| control[at..at + octets.len()].copy_from_slice(octets);
    put(0, &(HEADER + size).to_ne_bytes());
    put(size_of::<usize>(), &level.to_ne_bytes());
    put(size_of::<usize>() + size_of::<i32>(), &kind.to_ne_bytes());
    match from {
        IpAddr::V4(ip) => put(HEADER + address_at, &ip.octets()),
        IpAddr::V6(ip) => put(HEADER + address_at, &ip.octets()),
    }
    (control, HEADER + size.next_multiple_of(size_of::<usize>()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_reply_leaves_from_the_address_that_it_is_told() {
        let asker = UdpSocket::bind("127.0.0.1:0").unwrap();
        let responder = UdpSocket::bind("0.0.0.0:0").unwrap();
        let from = IpAddr::V4(Ipv4Addr::new(127, 9, 8, 7));
        let to = asker.local_addr().unwrap();
        send_reply(&responder, b"reply", to, Some(from)).unwrap();
        let (length, source) = asker.recv_from(&mut [0; 16]).unwrap();
        assert_eq!((length, source.ip()), (5, from));
    }
}
