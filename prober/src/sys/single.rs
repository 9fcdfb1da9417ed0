//! One packet at a time: with its arrival time and hop limit, and errors with all that the kernel tells of them.
//!
//! For the slow kinds, which look at few packets closely.

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::{CONTROL, Control, check};
use crate::control_messages::Arrival;

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
        ..Arrival::parse(&control.0[..length])
    }))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    use super::super::{set_option, wait_readable};
    use super::*;
    use crate::control_messages::Origin;

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
}
