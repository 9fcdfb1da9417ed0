//! A congested link: a slow queue, and somebody who keeps it filled.
//!
//! A token bucket makes the node's link slow. Packets wait in it only if more arrive than leave, so the lab keeps a fixed number of
//! large packets on their way from the node to the router: one more is sent when one has arrived, as a TCP stream with a fixed
//! window does. That queue never grows and never overflows: the node is slow, and loses nothing.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::FaultError;
use super::background::{Background, Over};
use crate::addressing as at;
use crate::lab::{Lab, LabError};
use crate::wiring::LabNode;

/// `tc -batch` in the node's namespace.
pub(super) const CONGEST: &str = "qdisc add dev eth0 root tbf rate 4mbit burst 3000 limit 400000\n";
/// Back to what a virtual link has by itself.
pub(super) const RELIEVE: &str = "qdisc delete dev eth0 root\n";

/// So many packets of [`LOAD_BYTES`] wait: 16 × 1,442 bytes on the link at 4 Mbit/s are 46 ms.
const WINDOW: usize = 16;
const LOAD_BYTES: usize = 1400;
/// Without an arrival for so long the packets on their way are lost, and new ones are sent.
const LOST_AFTER: Duration = Duration::from_millis(200);

/// Starts to fill the queue of the node's link.
pub(super) fn load(lab: &Lab, node: &LabNode) -> Result<Background, FaultError> {
    let open = |namespace: &str, address: Ipv4Addr| {
        lab.udp_in(namespace, SocketAddr::from((address, 0)))
            .map_err(|error| FaultError::Lab(Box::new(LabError::Namespace(error))))
    };
    let sender = open(&node.namespace, node.host_ip)?;
    let receiver = open(at::FABRIC, at::zone_gateway(node.zone_index))?;
    prepare(&sender, &receiver).map_err(FaultError::Timer)?;
    Background::start("congestion", move |over| {
        fill(&sender, &receiver, over);
        Ok(())
    })
}

fn prepare(sender: &UdpSocket, receiver: &UdpSocket) -> io::Result<()> {
    sender.connect(receiver.local_addr()?)?;
    // A packet that other faults' rules refuse is lost like any other.
    sender.set_nonblocking(true)?;
    receiver.set_read_timeout(Some(LOST_AFTER))
}

fn fill(sender: &UdpSocket, receiver: &UdpSocket, over: &Over) {
    let send = |count: usize| {
        for _ in 0..count {
            // Lost here or lost on the way: the arrivals tell.
            drop(sender.send(&[0; LOAD_BYTES]));
        }
    };
    send(WINDOW);
    while !over.wait(Duration::ZERO) {
        match receiver.recv(&mut [0; LOAD_BYTES]) {
            Ok(_) => send(1),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                send(WINDOW);
            }
            // Not a socket's business: an error that stays must not turn this into a busy loop.
            Err(_) => {
                over.wait(LOST_AFTER);
            }
        }
    }
}
