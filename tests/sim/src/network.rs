//! The simulated network: which packets arrive, and after how long.
//!
//! Every node has a link to each plane. A link is up or cut for each direction; every packet that crosses the fabric
//! is lost with the same probability, independently of all others and in each direction on its own, so a round trip at
//! 30 % survives with 0.7².

use std::time::Duration;

use meshprobe_core::path::Plane;

use crate::dice::{Dice, Odds};

/// Between two links of one zone.
const NEAR: Duration = Duration::from_micros(150);
/// Between two zones.
const FAR: Duration = Duration::from_micros(600);
/// Mean of what queues add.
const JITTER: Duration = Duration::from_micros(60);

/// Direction of a packet as its node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Towards the node.
    In,
    /// From the node.
    Out,
}

/// One end of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A node's link.
    Node(usize),
    /// The aggregator's link.
    Aggregator,
}

/// The link of one node to one plane: how many faults block each direction.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    blocked: [u8; 2],
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Network {
    loss: Odds,
    zones: Vec<u16>,
    // Pod and host plane of each node.
    links: Vec<[Link; 2]>,
    aggregator_blocked: u8,
    /// The node that the aggregator runs on: their packets to each other cross no link.
    aggregator_on: Option<usize>,
}

impl Network {
    /// All links up. `zones` has one entry for each node.
    pub(crate) fn new(zones: Vec<u16>, loss: f64, aggregator_on: Option<usize>) -> Self {
        Self {
            loss: Odds::new(loss),
            links: vec![[Link::default(); 2]; zones.len()],
            zones,
            aggregator_blocked: 0,
            aggregator_on,
        }
    }

    /// Puts one more block on a link, or takes one away.
    pub(crate) fn block(&mut self, node: usize, plane: Plane, direction: Direction, blocked: bool) {
        let count = &mut self.links[node][plane_index(plane)].blocked[direction as usize];
        *count = if blocked {
            *count + 1
        } else {
            count.saturating_sub(1)
        };
    }

    /// Puts one more block on the aggregator's link, or takes one away.
    pub(crate) fn block_aggregator(&mut self, blocked: bool) {
        let count = &mut self.aggregator_blocked;
        *count = if blocked {
            *count + 1
        } else {
            count.saturating_sub(1)
        };
    }

    /// Is no link between the two nodes blocked in this plane, in either direction?
    pub(crate) fn is_clear(&self, a: usize, b: usize, plane: Plane) -> bool {
        let clear = |node: usize| self.links[node][plane_index(plane)].blocked == [0, 0];
        clear(a) && clear(b)
    }

    /// Is every link on the way up?
    pub(crate) fn is_open(&self, from: End, to: End, plane: Plane) -> bool {
        self.is_local(from, to)
            || (self.passes(from, plane, Direction::Out) && self.passes(to, plane, Direction::In))
    }

    /// Sends a packet: after how long it arrives, `None` if it does not.
    pub(crate) fn send(
        &self,
        from: End,
        to: End,
        plane: Plane,
        dice: &mut Dice,
    ) -> Option<Duration> {
        if self.is_local(from, to) {
            return Some(Duration::from_micros(30));
        }
        let is_lost = self.loses(dice);
        (!is_lost && self.is_open(from, to, plane)).then(|| self.delay(from, to, dice))
    }

    /// Is a packet lost that crosses the fabric?
    #[inline]
    pub(crate) fn loses(&self, dice: &mut Dice) -> bool {
        dice.happens(self.loss)
    }

    /// Is any packet ever lost?
    pub(crate) fn is_lossy(&self) -> bool {
        self.loss > Odds::ZERO
    }

    /// The delay of a packet that arrives.
    pub(crate) fn delay(&self, from: End, to: End, dice: &mut Dice) -> Duration {
        let base = if self.zone(from) == self.zone(to) {
            NEAR
        } else {
            FAR
        };
        base + dice.exponential(JITTER)
    }

    fn is_local(&self, from: End, to: End) -> bool {
        match (from, to) {
            (End::Node(node), End::Aggregator) | (End::Aggregator, End::Node(node)) => {
                self.aggregator_on == Some(node)
            }
            _ => false,
        }
    }

    fn passes(&self, end: End, plane: Plane, direction: Direction) -> bool {
        match end {
            End::Node(node) => {
                self.links[node][plane_index(plane)].blocked[direction as usize] == 0
            }
            End::Aggregator => {
                let own = self.aggregator_blocked == 0;
                own && self
                    .aggregator_on
                    .is_none_or(|node| self.passes(End::Node(node), plane, direction))
            }
        }
    }

    fn zone(&self, end: End) -> u16 {
        match end {
            End::Node(node) => self.zones[node],
            End::Aggregator => self.aggregator_on.map_or(0, |node| self.zones[node]),
        }
    }
}

fn plane_index(plane: Plane) -> usize {
    usize::from(plane == Plane::Host)
}

#[cfg(test)]
mod tests {
    use meshprobe_core::time::Moment;

    use super::*;
    use crate::dice::Subject;

    const A: End = End::Node(0);
    const B: End = End::Node(1);

    #[test]
    fn a_block_concerns_one_direction_of_one_plane() {
        let mut network = Network::new(vec![0, 0], 0.0, None);
        let mut dice = Subject::run(1).dice(Moment::ORIGIN);
        network.block(0, Plane::Pod, Direction::In, true);
        assert!(network.send(B, A, Plane::Pod, &mut dice).is_none());
        assert!(network.send(A, B, Plane::Pod, &mut dice).is_some());
        assert!(network.send(B, A, Plane::Host, &mut dice).is_some());
        network.block(0, Plane::Pod, Direction::In, false);
        assert!(network.send(B, A, Plane::Pod, &mut dice).is_some());
    }

    #[test]
    fn an_aggregator_shares_the_link_of_the_node_that_it_runs_on() {
        let mut network = Network::new(vec![0, 0], 0.0, Some(0));
        let mut dice = Subject::run(1).dice(Moment::ORIGIN);
        for direction in [Direction::In, Direction::Out] {
            network.block(0, Plane::Host, direction, true);
        }
        assert!(
            network
                .send(B, End::Aggregator, Plane::Host, &mut dice)
                .is_none()
        );
        assert!(
            network
                .send(A, End::Aggregator, Plane::Host, &mut dice)
                .is_some()
        );
    }

    #[test]
    fn packets_are_lost_with_the_given_probability() {
        let network = Network::new(vec![0, 1], 0.3, None);
        let mut dice = Subject::run(1).dice(Moment::ORIGIN);
        let lost = (0..10_000)
            .filter(|_| network.send(A, B, Plane::Pod, &mut dice).is_none())
            .count();
        assert!((2_800..3_200).contains(&lost), "{lost}");
    }
}
