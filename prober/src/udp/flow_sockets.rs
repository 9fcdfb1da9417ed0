//! The probing sockets of one address: one for each flow, some of which are replaced by and by.
//!
//! A replaced socket is kept until its last probe is answered or over, and a late answer would have come.

use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use meshprobe_core::time::Moment;
use tracing::debug;

use super::flow::{FLOWS, Flow, ROTATION};
use super::sockets::{SocketError, bind_sender};
use crate::patience::MAX_PATIENCE;

/// How long a replaced socket is kept: the longest wait, and as long again for what is late.
const LINGER: Duration = Duration::from_millis(2 * MAX_PATIENCE.as_millis() as u64);

/// A socket that sends probes and receives their replies.
#[derive(Debug)]
pub struct FlowSocket {
    socket: UdpSocket,
    port: u16,
    /// Packets that it has dropped in its life, as far as it has told.
    dropped: u32,
    /// When somebody looked whether anything has come.
    pub(super) looked_at: Moment,
}

/// See the module.
#[derive(Debug)]
pub struct FlowSockets {
    ip: IpAddr,
    responder_port: u16,
    current: Vec<FlowSocket>,
    /// Which flow each was, and until when it is kept.
    replaced: Vec<(Flow, Moment, FlowSocket)>,
    rotations: u64,
    next_rotation: Moment,
}

impl FlowSocket {
    fn bind(ip: IpAddr, responder_port: u16) -> Result<Self, SocketError> {
        let socket = bind_sender(ip, responder_port)?;
        let port = socket.local_addr().map_or(0, |address| address.port());
        Ok(Self {
            socket,
            port,
            dropped: 0,
            looked_at: Moment::ORIGIN,
        })
    }

    /// The socket.
    pub const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// The source port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// A packet came with the socket's counter of those that were dropped: how many are new.
    pub const fn handle_dropped(&mut self, total: Option<u32>) -> u32 {
        let Some(total) = total else { return 0 };
        total.wrapping_sub(std::mem::replace(&mut self.dropped, total))
    }
}

impl FlowSockets {
    /// Binds a socket for each flow on `ip`, none of them on the responders' port.
    pub fn bind(ip: IpAddr, responder_port: u16) -> Result<Self, SocketError> {
        Ok(Self {
            ip,
            responder_port,
            current: (0..FLOWS)
                .map(|_| FlowSocket::bind(ip, responder_port))
                .collect::<Result<_, _>>()?,
            replaced: Vec::new(),
            rotations: 0,
            next_rotation: Moment::ORIGIN + ROTATION,
        })
    }

    /// Replaces a port if it is time, and lets go of sockets that nobody waits for.
    pub fn rotate(&mut self, now: Moment) {
        self.replaced.retain(|(_, until, _)| *until > now);
        if now < self.next_rotation {
            return;
        }
        self.next_rotation = now + ROTATION;
        let flow = Flow::rotating(self.rotations);
        self.rotations += 1;
        match FlowSocket::bind(self.ip, self.responder_port) {
            Ok(fresh) => {
                let old = std::mem::replace(&mut self.current[flow.index()], fresh);
                self.replaced.push((flow, now + LINGER, old));
            }
            // The old port goes on; the next turn may find descriptors again.
            Err(error) => debug!(%error, "No socket for another source port"),
        }
    }

    /// The socket of a flow.
    pub fn of(&self, flow: Flow) -> &FlowSocket {
        &self.current[flow.index()]
    }

    /// How many sockets there are now.
    pub const fn count(&self) -> usize {
        self.current.len() + self.replaced.len()
    }

    /// One of them, first those of the flows in their order, then those that were replaced; and whose it is or was.
    pub fn at(&mut self, place: usize) -> Option<(Flow, &mut FlowSocket)> {
        match place.checked_sub(self.current.len()) {
            None => Some((Flow::all().nth(place)?, &mut self.current[place])),
            Some(place) => {
                let (flow, _, socket) = self.replaced.get_mut(place)?;
                Some((*flow, socket))
            }
        }
    }

    /// Is the one at this place no flow's socket any more?
    pub const fn is_replaced(&self, place: usize) -> bool {
        place >= self.current.len()
    }

    /// The descriptors of the flows for which `wanted` says so, and of all that were replaced.
    pub fn descriptors(
        &self,
        mut wanted: impl FnMut(Flow) -> bool,
    ) -> impl Iterator<Item = BorrowedFd<'_>> {
        let current = Flow::all().zip(&self.current);
        let current = current.filter(move |(flow, _)| wanted(*flow));
        current
            .map(|(_, socket)| socket.socket.as_fd())
            .chain(self.replaced.iter().map(|(_, _, old)| old.socket.as_fd()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    use super::*;

    const fn second(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1_000)
    }

    #[test]
    fn half_of_the_ports_stay_and_the_others_are_replaced_one_by_one() {
        let mut sockets = FlowSockets::bind(Ipv4Addr::LOCALHOST.into(), 4862).unwrap();
        let ports = |sockets: &FlowSockets| {
            Flow::all()
                .map(|f| sockets.of(f).port())
                .collect::<Vec<_>>()
        };
        let first = ports(&sockets);
        let distinct: HashSet<_> = first.iter().collect();
        assert_eq!(distinct.len(), usize::from(FLOWS));
        assert!(!first.contains(&4862));
        let mut before = first.clone();
        for round in 1..=4 {
            sockets.rotate(second(round * 8));
            let after = ports(&sockets);
            let changed = before.iter().zip(&after).filter(|(b, a)| b != a).count();
            assert_eq!(changed, 1);
            before = after;
        }
        assert_eq!(before[..4], first[..4]);
        assert!(before[4..].iter().all(|port| !first.contains(port)));
    }

    #[test]
    fn a_replaced_socket_still_receives_until_nobody_waits() {
        let mut sockets = FlowSockets::bind(Ipv4Addr::LOCALHOST.into(), 4862).unwrap();
        let old = sockets.of(Flow::rotating(0)).socket().local_addr().unwrap();
        sockets.rotate(second(8));
        assert_eq!(sockets.count(), usize::from(FLOWS) + 1);
        let place = usize::from(FLOWS);
        assert!(sockets.is_replaced(place));
        let (flow, socket) = sockets.at(place).unwrap();
        assert_eq!(flow, Flow::rotating(0));
        assert_eq!(socket.socket().local_addr().unwrap(), old);
        sockets.rotate(second(9));
        assert_eq!(sockets.count(), usize::from(FLOWS) + 1);
        sockets.rotate(second(10));
        assert_eq!(sockets.count(), usize::from(FLOWS));
    }

    #[test]
    fn dropped_packets_are_counted_once() {
        let mut sockets = FlowSockets::bind(Ipv4Addr::LOCALHOST.into(), 4862).unwrap();
        let (_, socket) = sockets.at(0).unwrap();
        assert_eq!(socket.handle_dropped(None), 0);
        assert_eq!(socket.handle_dropped(Some(3)), 3);
        assert_eq!(socket.handle_dropped(Some(3)), 0);
        assert_eq!(socket.handle_dropped(Some(5)), 2);
    }
}
