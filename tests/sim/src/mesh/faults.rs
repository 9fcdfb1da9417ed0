//! What goes wrong on purpose.

use std::time::Duration;

use meshprobe_core::path::Plane;
use meshprobe_prober::book::Close;
use meshprobe_prober::spool::Way;
use meshprobe_proto::v1;

use super::{Event, Mesh};
use crate::network::Direction;
use crate::stream::Up;
use crate::trace::Happening;

/// Until a prober that was told to stop is gone: what is in flight ends, the spool is flushed.
const STOPPING: Duration = Duration::from_millis(300);

/// A fault of the network. Each can be repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing reaches a node, nothing leaves it.
    NodeDark(usize),
    /// The pod network of a node is gone; its own address works.
    PodNetwork(usize),
    /// Nothing reaches a node on the pod network.
    PodIngress(usize),
    /// Nothing leaves a node on the pod network.
    PodEgress(usize),
    /// The aggregator's own link is down.
    Aggregator,
}

impl Mesh {
    /// Begins a fault.
    pub fn inject(&mut self, fault: Fault) {
        self.switch(fault, true);
    }

    /// Ends a fault.
    pub fn heal(&mut self, fault: Fault) {
        self.switch(fault, false);
    }

    fn switch(&mut self, fault: Fault, on: bool) {
        self.note(Happening::Fault { fault, on });
        let (node, planes, directions): (usize, &[Plane], &[Direction]) = match fault {
            Fault::NodeDark(node) => (
                node,
                &[Plane::Pod, Plane::Host],
                &[Direction::In, Direction::Out],
            ),
            Fault::PodNetwork(node) => (node, &[Plane::Pod], &[Direction::In, Direction::Out]),
            Fault::PodIngress(node) => (node, &[Plane::Pod], &[Direction::In]),
            Fault::PodEgress(node) => (node, &[Plane::Pod], &[Direction::Out]),
            Fault::Aggregator => {
                self.network.block_aggregator(on);
                return;
            }
        };
        // What is under way now was sent over the links as they were.
        self.wake_node(node);
        for plane in planes {
            for direction in directions {
                self.network.block(node, *plane, *direction, on);
            }
        }
    }

    /// From now on every probe from and to a node is simulated.
    pub(super) fn wake_node(&mut self, node: usize) {
        for peer in 0..self.nodes() {
            for (from, to) in [(node, peer), (peer, node)] {
                for slot in self.slots(from, to).iter() {
                    self.wake(from, slot);
                }
            }
        }
    }

    /// A prober is told to stop: it says goodbye and that it will be back, ends what it has begun, and is gone.
    pub fn stop_prober(&mut self, node: usize, back_within: Duration) {
        if !self.running[node] {
            return;
        }
        for slot in 0..self.probers[node].paths.len() {
            self.wake(node, slot);
        }
        self.probers[node].sender.stop();
        self.probers[node].tcp.clear();
        self.close_window(node, Close::Regular);
        let goodbye = v1::Goodbye {
            reason: "SIGTERM".to_owned(),
            back_within_seconds: u32::try_from(back_within.as_secs()).unwrap_or(u32::MAX),
        };
        for way in Way::ALL {
            if self.streams[node][way as usize].admitted.is_some() {
                self.send_up(node, way, Up::Goodbye(goodbye.clone()));
            }
        }
        let event = Event::Stopped {
            prober: node as u16,
            start: self.starts[node],
        };
        self.agenda.plan(self.now + STOPPING, event);
    }

    /// The process has ended; its kernel closes its streams and refuses what comes to its ports.
    pub(crate) fn handle_stopped(&mut self, node: usize) {
        self.note(Happening::Prober {
            node,
            running: false,
        });
        self.wake_node(node);
        self.running[node] = false;
        self.starts[node] += 1;
        for way in Way::ALL {
            self.close_stream(node, way);
        }
    }

    /// Starts a prober, for the first time or anew.
    pub fn start_prober(&mut self, node: usize) {
        if self.running[node] {
            return;
        }
        if self.starts[node] > 0 {
            self.probers[node] = self.make_prober(node);
        }
        self.running[node] = true;
        self.note(Happening::Prober {
            node,
            running: true,
        });
        self.plan_connects(node, Duration::from_secs(1));
    }
}
