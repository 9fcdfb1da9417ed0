//! What errors of the UDP sockets say about a probe.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use meshprobe_core::outcome::Outcome;

use super::control::ControlMessages;

/// Sends one probe, with a transmit stamp if it is to be `stamped`. `errors_pending` is set if the call told of an earlier probe's error instead: the error is in the
/// queue as well, and this probe is sent again.
pub(super) fn send_to(
    socket: &UdpSocket,
    octets: &[u8],
    destination: SocketAddr,
    stamped: bool,
    errors_pending: &mut bool,
) -> io::Result<()> {
    let send = || {
        if stamped {
            let mut control = ControlMessages::default();
            control.put_transmit_stamp();
            control.send(socket, octets, destination)
        } else {
            socket.send_to(octets, destination)
        }
    };
    match send() {
        Err(error) if is_pending_error(&error) => {
            *errors_pending = true;
            send().map(|_| ())
        }
        result => result.map(|_| ()),
    }
}

/// Errors that the network sent, as opposed to those of this system call.
pub(super) fn is_pending_error(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EMSGSIZE
                | libc::EPROTO
        )
    )
}

/// What an error in the queue says about its probe.
pub(super) fn icmp_outcome(errno: i32, info: u32) -> Outcome {
    match errno {
        libc::ECONNREFUSED => Outcome::Refused,
        libc::EMSGSIZE => Outcome::TooBig {
            mtu: u16::try_from(info).unwrap_or(u16::MAX),
        },
        _ => Outcome::Unreachable,
    }
}

/// Did the kernel refuse to send for want of room?
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM)
    )
}

/// What a failed send call says about its probe.
pub(super) fn send_outcome(error: &io::Error) -> Outcome {
    match error.raw_os_error() {
        // The own machine has no room: not a statement about the network.
        Some(libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM | libc::EINTR) | None => Outcome::Invalid,
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN) => Outcome::Unreachable,
        Some(libc::ECONNREFUSED) => Outcome::Refused,
        Some(errno) => Outcome::SendFailed { errno },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_machines_want_of_room_is_no_loss_and_its_firewall_is() {
        let outcome = |errno| send_outcome(&io::Error::from_raw_os_error(errno));
        assert_eq!(outcome(libc::ENOBUFS), Outcome::Invalid);
        assert_eq!(outcome(libc::EAGAIN), Outcome::Invalid);
        assert_eq!(
            outcome(libc::EPERM),
            Outcome::SendFailed { errno: libc::EPERM }
        );
        assert_eq!(outcome(libc::ENETUNREACH), Outcome::Unreachable);
    }

    #[test]
    fn each_icmp_error_is_its_own_outcome() {
        assert_eq!(icmp_outcome(libc::ECONNREFUSED, 0), Outcome::Refused);
        assert_eq!(icmp_outcome(libc::EHOSTUNREACH, 0), Outcome::Unreachable);
        assert_eq!(
            icmp_outcome(libc::EMSGSIZE, 1450),
            Outcome::TooBig { mtu: 1450 }
        );
    }
}
