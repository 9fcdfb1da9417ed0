//! One packet at a time: with its arrival time and hop limit, and errors with all that the kernel tells of them.
//!
//! For the slow kinds, which look at few packets closely. What the kernel writes is parsed without pointers.

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::{CONTROL, Control, Messages, check, native_u32, unix_nanos};

/// Reads a socket option that is a number.
pub(crate) fn option(socket: BorrowedFd<'_>, level: i32, option: i32) -> io::Result<i32> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as it is borrowed; the buffer is an int, of the length that is passed.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    check(result).map(|_| value)
}

/// What the kernel told about one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Octets of it in the buffer.
    pub(crate) octets: usize,
    /// When it arrived, nanoseconds since the Unix epoch.
    pub(crate) unix_nanos: Option<i64>,
    /// TTL or hop limit.
    pub(crate) ttl: Option<u8>,
    /// An error instead of a packet.
    pub(crate) error: Option<SocketError>,
}

/// Who found the error (`ee_origin`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
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
pub(crate) struct SocketError {
    /// The system's error number.
    pub(crate) errno: i32,
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// What the error carries: for `EMSGSIZE` an MTU.
    pub(crate) info: u32,
    /// Who sent the ICMP message.
    pub(crate) offender: Option<IpAddr>,
}

/// Receives one packet without waiting; `None`: there is none.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
    receive_with(socket, buffer, libc::MSG_DONTWAIT)
}

/// Takes one entry out of the error queue; the buffer gets what is quoted of the packet's payload. `None`: it is empty.
pub(crate) fn receive_queued(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<Option<Arrival>> {
    receive_with(socket, buffer, libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE)
}

fn receive_with(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: i32,
) -> io::Result<Option<Arrival>> {
    let mut control = Control([0; CONTROL]);
    let mut name: MaybeUninit<libc::sockaddr_storage> = MaybeUninit::zeroed();
    let mut vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all-zero octets are a valid msghdr.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
    // SAFETY: the header points to buffers of the stated lengths that outlive the call; the descriptor is open for as
    // long as it is borrowed.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    if received < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock => Ok(None),
            _ => Err(error),
        };
    }
    let length = header.msg_controllen.min(CONTROL);
    Ok(Some(Arrival {
        octets: (received as usize).min(buffer.len()),
        ..parse(&control.0[..length])
    }))
}

fn parse(control: &[u8]) -> Arrival {
    let mut arrival = Arrival::default();
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

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::{set_option, wait_readable};
    use super::*;

    #[test]
    fn an_options_value_is_the_one_that_was_set() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let name = (libc::SOL_IP, libc::IP_TTL);
        set_option(socket.as_fd(), name.0, name.1, 17).unwrap();
        assert_eq!(option(socket.as_fd(), name.0, name.1).unwrap(), 17);
    }

    #[test]
    fn a_closed_port_is_told_with_its_sender_and_what_was_sent() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for option in [libc::IP_RECVERR, libc::IP_RECVTTL] {
            set_option(socket.as_fd(), libc::SOL_IP, option, 1).unwrap();
        }
        let closed = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        socket.connect(closed).unwrap();
        socket.send(b"to nobody").unwrap();
        wait_readable(&[socket.as_fd()], Duration::from_secs(5)).unwrap();
        let mut quoted = [0; 32];
        let arrival = receive_queued(socket.as_fd(), &mut quoted)
            .unwrap()
            .unwrap();
        let error = arrival.error.unwrap();
        assert_eq!(error.errno, libc::ECONNREFUSED);
        assert_eq!(error.origin, Origin::Icmp { kind: 3, code: 3 });
        assert_eq!(error.offender, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(&quoted[..arrival.octets], b"to nobody");
        assert_eq!(receive_queued(socket.as_fd(), &mut quoted).unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_octets_make_the_parsers_panic(
            control in proptest::collection::vec(any::<u8>(), 0..CONTROL),
            level in prop_oneof![Just(libc::SOL_IP), Just(libc::SOL_IPV6), Just(libc::SOL_SOCKET)],
            kind in prop_oneof![Just(libc::IP_RECVERR), Just(libc::IPV6_RECVERR), Just(libc::IP_TTL)],
        ) {
            parse(&control);
            parse_error(&control);
            parse_offender(&control);
            // With a right header, so that the values are looked at.
            let mut message = (16 + control.len()).to_ne_bytes().to_vec();
            message.extend(level.to_ne_bytes());
            message.extend(kind.to_ne_bytes());
            message.extend(&control);
            let arrival = parse(&message);
            prop_assert!(arrival.error.is_none() || control.len() >= 12);
        }
    }
}
