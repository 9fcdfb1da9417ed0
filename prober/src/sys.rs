//! The system calls that no crate offers soundly: batched receive with control messages, the socket's error queue,
//! `ppoll` and `TCP_INFO`. The only module of this crate with unsafe code; everything that it returns is plain data.
#![expect(
    unsafe_code,
    reason = "recvmmsg, MSG_ERRQUEUE, ppoll and TCP_INFO have no sound safe wrapper (see the module docs)"
)]

mod batch;
mod single;

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

pub(crate) use self::batch::ReceiveBatch;
pub(crate) use self::single::{option, receive, receive_queued};
use crate::control_messages::{Messages, native_u32, unix_nanos};

/// Octets for the control messages of one packet: a timestamp, a TTL, a drop counter, an error with its offender.
const CONTROL: usize = 256;

/// Control messages are read through pointers to their headers.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// Sets a socket option that is a number.
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    value: i32,
) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed; the value is an int of the given length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    check(result).map(|_| ())
}

/// An entry of a socket's error queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueuedError {
    /// Where the packet had been sent to.
    pub(crate) destination: SocketAddr,
    /// The system's error number.
    pub(crate) errno: i32,
    /// What the error carries: for `EMSGSIZE` the path MTU.
    pub(crate) info: u32,
    /// The beginning of the packet's payload, as far as it was quoted.
    pub(crate) quoted: [u8; 16],
    /// Octets of it.
    pub(crate) quoted_length: usize,
}

/// What a socket's error queue holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    /// An error of the network or of the own kernel.
    Error(QueuedError),
    /// When a packet passed the interface, nanoseconds since the Unix epoch: the transmit stamp that was asked for.
    Departed(i64),
    /// Something that nobody asked for.
    Unknown,
}

/// Takes one entry out of the error queue; `None` when it is empty.
pub(crate) fn receive_queue(socket: BorrowedFd<'_>) -> io::Result<Option<Queued>> {
    let mut quoted = [0_u8; 16];
    let mut control = Control([0; CONTROL]);
    let mut name: MaybeUninit<libc::sockaddr_storage> = MaybeUninit::zeroed();
    let mut vector = libc::iovec {
        iov_base: quoted.as_mut_ptr().cast(),
        iov_len: quoted.len(),
    };
    // SAFETY: all-zero octets are a valid msghdr.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
    // SAFETY: the header points to buffers of the stated lengths that outlive the call; the descriptor is open for
    // as long as it is borrowed.
    let received = unsafe {
        libc::recvmsg(
            socket.as_raw_fd(),
            &raw mut header,
            libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
        )
    };
    if received < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: it was zeroed before the kernel wrote to it.
    let name = unsafe { name.assume_init() };
    let length = header.msg_controllen.min(CONTROL);
    let mut stamp = None;
    let mut error = None;
    for (level, kind, value) in Messages::new(&control.0[..length]) {
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => stamp = unix_nanos(value),
            // struct sock_extended_err: errno u32, origin u8, type u8, code u8, pad u8, info u32, data u32.
            (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR) => {
                let origin = value.get(4).copied();
                let fields = native_u32(value, 0).zip(native_u32(value, 8));
                error = fields.map(|(errno, info)| (errno, info, origin));
            }
            _ => {}
        }
    }
    let Some((errno, info, origin)) = error else {
        return Ok(Some(Queued::Unknown));
    };
    if origin == Some(libc::SO_EE_ORIGIN_TIMESTAMPING) {
        return Ok(Some(stamp.map_or(Queued::Unknown, Queued::Departed)));
    }
    let Some(destination) = socket_address(&name) else {
        return Ok(Some(Queued::Unknown));
    };
    Ok(Some(Queued::Error(QueuedError {
        destination,
        errno: errno as i32,
        info,
        quoted,
        quoted_length: received as usize,
    })))
}

/// Waits until one of the sockets has something, or for `timeout`. `true`: one has.
pub(crate) fn wait_readable(sockets: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<bool> {
    let mut entries: smallvec::SmallVec<[libc::pollfd; 8]> = sockets
        .iter()
        .map(|socket| libc::pollfd {
            fd: socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos() as _,
    };
    // SAFETY: the entries are an array of the given length, the timeout lives until the call returns, and no signal
    // mask is passed.
    let ready = unsafe {
        libc::ppoll(
            entries.as_mut_ptr(),
            entries.len() as libc::nfds_t,
            &raw const timeout,
            std::ptr::null(),
        )
    };
    match check(ready) {
        Ok(ready) => Ok(ready > 0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}

/// What the kernel measured of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpFacts {
    /// The smoothed round-trip time: after the handshake that of SYN and SYN/ACK.
    pub(crate) rtt: Duration,
    /// Segments that were sent again, the SYN included.
    pub(crate) retransmissions: u32,
}

/// Reads `TCP_INFO`.
pub(crate) fn tcp_facts(socket: BorrowedFd<'_>) -> io::Result<TcpFacts> {
    // SAFETY: all-zero octets are a valid tcp_info.
    let mut info: libc::tcp_info = unsafe { zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the buffer is as long as stated, and the descriptor is open for as long as it is borrowed.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    check(result)?;
    Ok(TcpFacts {
        rtt: Duration::from_micros(info.tcpi_rtt.into()),
        retransmissions: info.tcpi_total_retrans,
    })
}

/// Gives back the memory of code that is not in use: all of it, and what is in use comes back by itself.
///
/// Parsing flags and configuration, opening TLS and binding sockets is two thirds of the program, runs once, and would
/// count as this process's memory for ever. Returns how many octets of code are mapped.
pub(crate) fn release_code(maps: &str) -> usize {
    code_ranges(maps)
        .map(|range| {
            // SAFETY: the range is a file's code, mapped privately, executable and not writable: no page of it differs
            // from the file, so the kernel brings it back as it was when it is needed next.
            unsafe {
                libc::madvise(
                    range.start as *mut libc::c_void,
                    range.len(),
                    libc::MADV_DONTNEED,
                )
            };
            range.len()
        })
        .sum()
}

/// The mappings of files that hold code, out of `/proc/self/maps`: `start-end perms offset device inode path`.
fn code_ranges(maps: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    maps.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let is_code = fields.next()? == "r-xp";
        let is_file = fields.nth(3)?.starts_with('/');
        let address = |text| usize::from_str_radix(text, 16).ok();
        (is_code && is_file).then_some(address(start)?..address(end)?)
    })
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn socket_address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it holds a sockaddr_in, which is smaller and no stricter in alignment.
            let v4 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let v6 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::new(IpAddr::V6(ip), u16::from_be(v6.sin6_port)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_given_back() {
        let maps = "\
55d04b91c000-55d04bb9f000 r--p 00000000 fe:00 1 /usr/bin/meshprobe-prober
55d04bb9f000-55d04bba1000 r-xp 00282000 fe:00 1 /usr/bin/meshprobe-prober
55d04c2c7000-55d04c2c9000 rw-p 009a9000 fe:00 1 /usr/bin/meshprobe-prober
7f8b3e37a000-7f8b3e3a0000 rw-p 00000000 00:00 0
7fffaf5f2000-7fffaf5f4000 r-xp 00000000 00:00 0 [vdso]
broken
";
        let mut ranges = code_ranges(maps);
        assert_eq!(ranges.next(), Some(0x55d0_4bb9_f000..0x55d0_4bba_1000));
        assert_eq!(ranges.next(), None);
    }

    #[test]
    fn the_program_goes_on_after_its_code_was_given_back() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(release_code(&maps) > 0);
        assert!(code_ranges(&maps).all(|range| !range.is_empty()));
    }
}
