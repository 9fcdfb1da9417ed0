//! What the kernel writes beside a packet: when it arrived and how, or the ICMP message about one that was sent.
//!
//! Read without pointers and without trust: an ICMP message is what a stranger sends, and the error queue quotes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the kernel told about a received packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketFacts {
    /// When it arrived, nanoseconds since the Unix epoch.
    pub unix_nanos: Option<i64>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// DSCP and ECN.
    pub traffic_class: Option<u8>,
    /// The own address that it came to, if the socket was told to say so.
    pub local: Option<IpAddr>,
    /// Packets that this socket has dropped in its life because its buffer was full.
    pub overflow: Option<u32>,
}

impl PacketFacts {
    /// What these control messages say. Anything may stand in them: what does not fit is left out.
    pub fn parse(control: &[u8]) -> Self {
        let mut facts = Self::default();
        for (level, kind, value) in Messages::new(control) {
            match (level, kind) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => facts.unix_nanos = unix_nanos(value),
                (libc::SOL_IP, libc::IP_TTL) | (libc::SOL_IPV6, libc::IPV6_HOPLIMIT) => {
                    facts.ttl = native_u32(value, 0).and_then(|ttl| u8::try_from(ttl).ok());
                }
                // One octet, where IPv6 has a number.
                (libc::SOL_IP, libc::IP_TOS) => facts.traffic_class = value.first().copied(),
                (libc::SOL_IPV6, libc::IPV6_TCLASS) => {
                    facts.traffic_class = native_u32(value, 0).and_then(|c| u8::try_from(c).ok());
                }
                // Interface index, own address, destination in the packet.
                (libc::SOL_IP, libc::IP_PKTINFO) => {
                    let octets = value.get(4..).and_then(<[u8]>::first_chunk::<4>);
                    facts.local = octets.map(|octets| IpAddr::from(*octets));
                }
                (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                    facts.local = value
                        .first_chunk::<16>()
                        .map(|octets| IpAddr::from(*octets));
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => facts.overflow = native_u32(value, 0),
                _ => {}
            }
        }
        facts
    }
}

/// What the kernel told about one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Octets of it in the buffer.
    pub octets: usize,
    /// When it arrived, nanoseconds since the Unix epoch.
    pub unix_nanos: Option<i64>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// An error instead of a packet.
    pub error: Option<SocketError>,
}

/// Who found the error (`ee_origin`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The own kernel.
    Local,
    /// An ICMP message (of either version) with this type and code.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Something else (time stamping).
    Other,
}

/// An entry of a socket's error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketError {
    /// The system's error number.
    pub errno: i32,
    /// Where it comes from.
    pub origin: Origin,
    /// What the error carries: for `EMSGSIZE` an MTU.
    pub info: u32,
    /// Who sent the ICMP message.
    pub offender: Option<IpAddr>,
}

impl Arrival {
    /// What these control messages say. Anything may stand in them: what does not fit is left out.
    pub fn parse(control: &[u8]) -> Self {
        let mut arrival = Self::default();
        for (level, kind, value) in Messages::new(control) {
            match (level, kind) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => arrival.unix_nanos = unix_nanos(value),
                (libc::SOL_IP, libc::IP_TTL) | (libc::SOL_IPV6, libc::IPV6_HOPLIMIT) => {
                    arrival.ttl = native_u32(value, 0).and_then(|ttl| u8::try_from(ttl).ok());
                }
                (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR) => {
                    arrival.error = parse_error(value);
                }
                _ => {}
            }
        }
        arrival
    }
}

/// `struct sock_extended_err`: errno u32, origin u8, type u8, code u8, pad u8, info u32, data u32; then the sender of the
/// message as a `sockaddr`.
fn parse_error(value: &[u8]) -> Option<SocketError> {
    let errno = native_u32(value, 0)? as i32;
    let [origin, kind, code, _] = *value.get(4..)?.first_chunk::<4>()?;
    Some(SocketError {
        errno,
        origin: match origin {
            libc::SO_EE_ORIGIN_LOCAL => Origin::Local,
            libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => Origin::Icmp { kind, code },
            _ => Origin::Other,
        },
        info: native_u32(value, 8)?,
        offender: value.get(16..).and_then(parse_offender),
    })
}

/// `struct sockaddr_in`: family, port, address; `sockaddr_in6`: family, port, flow label, address.
fn parse_offender(name: &[u8]) -> Option<IpAddr> {
    let family = u16::from_ne_bytes(*name.first_chunk()?);
    match i32::from(family) {
        libc::AF_INET => {
            let octets = *name.get(4..)?.first_chunk::<4>()?;
            Some(Ipv4Addr::from(octets).into())
        }
        libc::AF_INET6 => {
            let octets = *name.get(8..)?.first_chunk::<16>()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// Iterates over control messages without pointers: (level, type, value).
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub(crate) const fn new(control: &'a [u8]) -> Self {
        Self { rest: control }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = (i32, i32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // struct cmsghdr on 64-bit Linux: length of header and value (8), level (4), type (4).
        const HEADER: usize = size_of::<libc::cmsghdr>();
        let length = self.rest.first_chunk::<{ size_of::<usize>() }>();
        let length = usize::from_ne_bytes(*length?);
        let level = native_u32(self.rest, size_of::<usize>())? as i32;
        let kind = native_u32(self.rest, size_of::<usize>() + 4)? as i32;
        let value = self.rest.get(HEADER..length)?;
        let next = length.next_multiple_of(size_of::<usize>());
        self.rest = self.rest.get(next..).unwrap_or_default();
        Some((level, kind, value))
    }
}

/// `struct timespec` as nanoseconds since the Unix epoch.
pub(crate) fn unix_nanos(timespec: &[u8]) -> Option<i64> {
    let (seconds, nanos) = (native_i64(timespec, 0)?, native_i64(timespec, 8)?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

pub(crate) fn native_u32(octets: &[u8], at: usize) -> Option<u32> {
    let octets = octets.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*octets))
}

fn native_i64(octets: &[u8], at: usize) -> Option<i64> {
    let octets = octets.get(at..)?.first_chunk::<8>()?;
    Some(i64::from_ne_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_octets_make_the_parsers_panic(
            control in proptest::collection::vec(any::<u8>(), 0..256),
            level in prop_oneof![Just(libc::SOL_IP), Just(libc::SOL_IPV6), Just(libc::SOL_SOCKET)],
            kind in prop_oneof![Just(libc::IP_RECVERR), Just(libc::IPV6_RECVERR), Just(libc::IP_TTL)],
        ) {
            Arrival::parse(&control);
            PacketFacts::parse(&control);
            parse_error(&control);
            parse_offender(&control);
            // With a right header, so that the values are looked at.
            let mut message = (16 + control.len()).to_ne_bytes().to_vec();
            message.extend(level.to_ne_bytes());
            message.extend(kind.to_ne_bytes());
            message.extend(&control);
            PacketFacts::parse(&message);
            let arrival = Arrival::parse(&message);
            prop_assert!(arrival.error.is_none() || control.len() >= 12);
        }
    }
}
