//! A UDP socket for an endpoint that needs little memory.
//!
//! With receive offload an endpoint keeps a buffer for 32 messages of 64 datagrams of the largest size: 18 MB for each
//! connection that has a socket of its own. Probes are a handful of datagrams; one in each message will do.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime, UdpPoller};

use crate::sys;

/// One datagram in each message, in both directions.
#[derive(Debug)]
pub(super) struct PlainSocket(Arc<dyn AsyncUdpSocket>);

impl PlainSocket {
    /// Takes a bound socket. Needs a running runtime.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let same = socket.try_clone()?;
        let wrapped = TokioRuntime.wrap_udp_socket(socket)?;
        // It was switched on just now. A kernel that does not know it does not join datagrams either.
        sys::set_option(same.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 0).ok();
        Ok(Self(wrapped))
    }
}

impl AsyncUdpSocket for PlainSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.0).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        1
    }

    fn max_receive_segments(&self) -> usize {
        1
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}
