//! What the kernel says of the way out: the MTU of the interface, of the route as it is configured, and of the path as it
//! was learned.
//!
//! `IP_MTU` of a connected socket mixes the three: it is the route's MTU, or what a router has told within the last ten
//! minutes. Only the routing table itself (netlink, `RTM_F_FIB_MATCH`) tells what somebody configured, and that is what
//! applications go by; a learned value is a symptom. No privileges are needed for either.

use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::sys;

/// The kernel answers inside the send call; this is for a kernel that does not.
const PATIENCE: Duration = Duration::from_millis(100);

/// Answers are a few hundred octets; a link's is one or two thousand.
const ANSWER_OCTETS: usize = 16 << 10;

const HEADER: usize = 16;
const RTMSG: usize = 12;
const IFINFOMSG: usize = 16;

/// What the kernel says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// MTU of the interface that packets leave by.
    pub interface_mtu: u16,
    /// `IP_MTU`: configured or learned.
    pub route_mtu: u16,
    /// MTU of the route in the routing table, if it has one.
    pub configured: Option<u16>,
}

impl Egress {
    /// The MTU that the routing table sets; the largest number if it sets none.
    pub fn configured_mtu(self) -> u16 {
        self.configured.unwrap_or(u16::MAX)
    }

    /// Asks about the way of a connected socket from `local` to `peer`.
    pub fn of(socket: BorrowedFd<'_>, local: IpAddr, peer: IpAddr) -> Self {
        let (level, option) = match peer {
            IpAddr::V4(_) => (libc::SOL_IP, libc::IP_MTU),
            IpAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_MTU),
        };
        let route_mtu = sys::option(socket, level, option).map_or(0, saturated);
        // Without netlink (a sandbox that forbids it) the path's MTU is the best guess.
        let (interface_mtu, configured) = ask_kernel(local, peer).unwrap_or((route_mtu, None));
        Self {
            interface_mtu,
            route_mtu,
            configured,
        }
    }
}

fn saturated(mtu: i32) -> u16 {
    u16::try_from(mtu.max(0)).unwrap_or(u16::MAX)
}

/// Interface MTU, and that of the route.
fn ask_kernel(local: IpAddr, peer: IpAddr) -> io::Result<(u16, Option<u16>)> {
    let socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::RAW,
        Some(Protocol::from(libc::NETLINK_ROUTE)),
    )?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut answer = vec![0; ANSWER_OCTETS];
    // The table's entry has the configured values; the decision has the interface, of one of several next hops.
    let decision = ask(&socket, &route_question(local, peer, 0), &mut answer)
        .and_then(|answer| parse_route(answer).ok_or_else(unreadable))?;
    let configured = ask(
        &socket,
        &route_question(local, peer, libc::RTM_F_FIB_MATCH),
        &mut answer,
    )
    .ok()
    .and_then(parse_route)
    .and_then(|route| route.mtu);
    let interface = decision.interface.ok_or_else(unreadable)?;
    let interface_mtu = ask(&socket, &link_question(interface), &mut answer)
        .and_then(|answer| parse_link(answer).ok_or_else(unreadable))?;
    let short = |mtu| u16::try_from(mtu).unwrap_or(u16::MAX);
    // Zero is how a table says "none".
    let configured = configured.filter(|mtu| *mtu > 0).map(short);
    Ok((short(interface_mtu), configured))
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no such field in the answer")
}

fn ask<'a>(mut socket: &Socket, question: &[u8], answer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    socket.write_all(question)?;
    let length = socket.read(answer)?;
    Ok(&answer[..length])
}

fn route_question(local: IpAddr, peer: IpAddr, flags: u32) -> Vec<u8> {
    let (family, bits) = match peer {
        IpAddr::V4(_) => (libc::AF_INET, 32),
        IpAddr::V6(_) => (libc::AF_INET6, 128),
    };
    let from = Some(local).filter(|ip| ip.is_ipv4() == peer.is_ipv4() && !ip.is_unspecified());
    let source_bits = if from.is_some() { bits } else { 0 };
    // family, destination bits, source bits, TOS, table, protocol, scope, type, flags.
    let mut body = vec![family as u8, bits, source_bits, 0, 0, 0, 0, 0];
    body.extend(flags.to_ne_bytes());
    push_address(&mut body, libc::RTA_DST, peer);
    if let Some(from) = from {
        push_address(&mut body, libc::RTA_SRC, from);
    }
    message(libc::RTM_GETROUTE, &body)
}

fn link_question(interface: u32) -> Vec<u8> {
    // family, padding, type; index, flags, change mask.
    let mut body = vec![0; 4];
    body.extend(interface.to_ne_bytes());
    body.extend([0; 8]);
    message(libc::RTM_GETLINK, &body)
}

fn push_address(body: &mut Vec<u8>, kind: u16, ip: IpAddr) {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    // Addresses are multiples of four octets, so nothing is to be padded.
    body.extend((4 + octets.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(octets);
}

/// `struct nlmsghdr`: length, type, flags, sequence number, port.
fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// What is read of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Route {
    interface: Option<u32>,
    mtu: Option<u32>,
}

fn parse_route(answer: &[u8]) -> Option<Route> {
    let body = parse_message(answer, libc::RTM_NEWROUTE)?;
    let mut route = Route::default();
    for (kind, value) in Attributes(body.get(RTMSG..)?) {
        match kind {
            libc::RTA_OIF => route.interface = number(value),
            libc::RTA_METRICS => {
                let mtu = Attributes(value).find(|(kind, _)| *kind == RTAX_MTU);
                route.mtu = mtu.and_then(|(_, value)| number(value));
            }
            _ => {}
        }
    }
    Some(route)
}

fn parse_link(answer: &[u8]) -> Option<u32> {
    let body = parse_message(answer, libc::RTM_NEWLINK)?;
    let mtu = Attributes(body.get(IFINFOMSG..)?).find(|(kind, _)| *kind == libc::IFLA_MTU)?;
    number(mtu.1)
}

/// `RTAX_MTU` of linux/rtnetlink.h: the MTU among a route's metrics.
const RTAX_MTU: u16 = 2;

/// The body of the first message, if it is of this type.
fn parse_message(answer: &[u8], kind: u16) -> Option<&[u8]> {
    let length = u32::from_ne_bytes(*answer.first_chunk()?) as usize;
    let found = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    let body = answer.get(HEADER..length)?;
    (found == kind).then_some(body)
}

/// Iterates over `struct rtattr`: length, type, value, padding to four octets.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(*self.0.first_chunk()?));
        let kind = u16::from_ne_bytes(*self.0.get(2..)?.first_chunk()?);
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The upper two bits are flags.
        Some((kind & 0x3fff, value))
    }
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*value.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernel_knows_the_loopback_interface() {
        for address in ["127.0.0.1", "::1"] {
            let ip: IpAddr = address.parse().unwrap();
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            socket.connect(socket.local_addr().unwrap()).unwrap();
            let egress = Egress::of(socket.as_fd(), ip, ip);
            assert_eq!(egress.interface_mtu, u16::MAX, "65,536 does not fit");
            assert!(egress.route_mtu >= 1280, "{egress:?}");
        }
    }

    #[test]
    fn a_route_without_an_mtu_of_its_own_sets_none() {
        let ip: IpAddr = "127.0.0.1".parse().unwrap();
        let (interface, configured) = ask_kernel(ip, ip).unwrap();
        assert_eq!((interface, configured), (u16::MAX, None));
        assert_eq!(Egress::default().configured_mtu(), u16::MAX);
    }

    #[test]
    fn an_answer_is_read_to_the_metric() {
        let mut body = vec![0; RTMSG];
        body.extend([8, 0, 4, 0, 7, 0, 0, 0]);
        body.extend([12, 0, 8, 0, 8, 0, 2, 0, 0x78, 5, 0, 0]);
        let answer = message(libc::RTM_NEWROUTE, &body);
        let route = parse_route(&answer).unwrap();
        assert_eq!((route.interface, route.mtu), (Some(7), Some(1400)));
        assert_eq!(parse_link(&answer), None);
    }

    proptest! {
        #[test]
        fn no_octets_make_the_parsers_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse_route(&octets);
            parse_link(&octets);
            for kind in [libc::RTM_NEWROUTE, libc::RTM_NEWLINK] {
                let wrapped = message(kind, &octets);
                parse_route(&wrapped);
                parse_link(&wrapped);
            }
            prop_assert!(Attributes(&octets).count() <= octets.len());
        }
    }
}
