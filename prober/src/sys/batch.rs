//! Many packets by one system call, each with what the kernel tells about it.
//!
//! Nearly every packet is a bare STAMP packet. So each one has room for that, side by side with the others, and what is
//! longer goes on in a second place that is not touched, and so is no memory, until a packet for a size test comes.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use meshprobe_core::stamp::MAX_OCTETS;

use super::{CONTROL, Control, check, socket_address};
use crate::control_messages::PacketFacts;

/// Packets of one `recvmmsg` call: a slot's worth at 3,000 packets a second.
const BATCH: usize = 32;

/// Octets of a packet that need no second place: an authenticated packet with an extension or two.
const HEAD: usize = 256;

/// Octets of the second place. What does not fit is cut off, and the packet marked as truncated.
const TAIL: usize = MAX_OCTETS - HEAD;

/// A received packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) octets: &'a [u8],
    /// It was longer than what is kept.
    pub(crate) truncated: bool,
    pub(crate) facts: PacketFacts,
}

/// Buffers for batched receives. One for all sockets of a thread.
pub(crate) struct ReceiveBatch {
    heads: Box<[[u8; HEAD]]>,
    /// One after the other. Zeroed by the kernel when it is touched first.
    tails: Box<[u8]>,
    /// A packet that has a tail, in one piece.
    joined: Vec<u8>,
    controls: Box<[Control]>,
    names: Box<[libc::sockaddr_storage]>,
    lengths: [u32; BATCH],
    control_lengths: [usize; BATCH],
    flags: [i32; BATCH],
}

impl ReceiveBatch {
    pub(crate) fn new() -> Self {
        Self {
            heads: vec![[0; HEAD]; BATCH].into(),
            tails: vec![0; TAIL * BATCH].into(),
            joined: Vec::new(),
            controls: vec![Control([0; CONTROL]); BATCH].into(),
            // SAFETY: all-zero octets are a valid sockaddr_storage (family AF_UNSPEC).
            names: vec![unsafe { zeroed() }; BATCH].into(),
            lengths: [0; BATCH],
            control_lengths: [0; BATCH],
            flags: [0; BATCH],
        }
    }

    /// How many packets one call can return.
    pub(crate) const fn capacity() -> usize {
        BATCH
    }

    /// Receives what is there, at most a batch, without waiting. Returns how many packets can be read with
    /// [`Self::packet`].
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: all-zero octets are valid values of these plain structures.
        let (mut vectors, mut headers): ([[libc::iovec; 2]; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (zeroed(), zeroed()) };
        for (i, tail) in self.tails.chunks_exact_mut(TAIL).enumerate() {
            vectors[i] = [
                libc::iovec {
                    iov_base: self.heads[i].as_mut_ptr().cast(),
                    iov_len: HEAD,
                },
                libc::iovec {
                    iov_base: tail.as_mut_ptr().cast(),
                    iov_len: TAIL,
                },
            ];
            let header = &mut headers[i].msg_hdr;
            header.msg_name = (&raw mut self.names[i]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = vectors[i].as_mut_ptr();
            header.msg_iovlen = 2;
            header.msg_control = self.controls[i].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
        }
        // SAFETY: every header points to distinct buffers of the stated lengths that outlive the call; the
        // descriptor is open for as long as it is borrowed; no timeout is passed.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let received = check(received)? as usize;
        for (i, header) in headers[..received].iter().enumerate() {
            self.lengths[i] = header.msg_len;
            self.control_lengths[i] = header.msg_hdr.msg_controllen;
            self.flags[i] = header.msg_hdr.msg_flags;
        }
        Ok(received)
    }

    /// A packet of the last call; `None` if its source is no IP address.
    pub(crate) fn packet(&mut self, index: usize) -> Option<Packet<'_>> {
        let source = socket_address(&self.names[index])?;
        let length = (self.lengths[index] as usize).min(MAX_OCTETS);
        let octets = if length <= HEAD {
            &self.heads[index][..length]
        } else {
            self.joined.clear();
            self.joined.extend_from_slice(&self.heads[index]);
            self.joined
                .extend_from_slice(&self.tails[index * TAIL..][..length - HEAD]);
            &self.joined
        };
        let control = &self.controls[index].0[..self.control_lengths[index].min(CONTROL)];
        Some(Packet {
            source,
            octets,
            truncated: self.flags[index] & libc::MSG_TRUNC != 0,
            facts: PacketFacts::parse(control),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn packets_of_every_length_arrive_in_one_piece_and_longer_ones_are_marked() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sent: Vec<u8> = (0..MAX_OCTETS + 8).map(|i| (i % 251) as u8).collect();
        let lengths = [0, 44, HEAD, HEAD + 1, 1_472, MAX_OCTETS, MAX_OCTETS + 8];
        for length in lengths {
            sender
                .send_to(&sent[..length], receiver.local_addr().unwrap())
                .unwrap();
        }
        let mut batch = ReceiveBatch::new();
        assert_eq!(batch.receive(receiver.as_fd()).unwrap(), lengths.len());
        for (i, length) in lengths.into_iter().enumerate() {
            let packet = batch.packet(i).unwrap();
            let kept = length.min(MAX_OCTETS);
            assert_eq!(packet.octets, &sent[..kept]);
            assert_eq!(packet.truncated, length > MAX_OCTETS);
            assert_eq!(packet.source, sender.local_addr().unwrap());
        }
    }
}
