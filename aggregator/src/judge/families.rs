//! Which address family decides about a node as a whole.
//!
//! IPv4 and IPv6 are separate paths to the same machine, and one of them dead is no dead node. Where a node is probed by both
//! on one plane, IPv4 decides, which carries the overlay and the reports of most clusters; where by one, that one.

use meshprobe_core::ids::NodeIndex;
use meshprobe_core::path::{Family, Layer, Plane};

const PLANES: usize = 3;
const _: () = assert!((Plane::Service as usize) < PLANES);

/// On which planes each node is probed by IPv4.
#[derive(Debug, Default)]
pub(super) struct Families {
    by_v4: Vec<[bool; PLANES]>,
}

impl Families {
    /// Whether a row about this node counts.
    #[inline]
    pub(super) fn decides(&mut self, subject: NodeIndex, layer: Layer) -> bool {
        let (node, plane) = (subject.0 as usize, layer.plane as usize);
        let is_by_v4 = self.by_v4.get(node).is_some_and(|planes| planes[plane]);
        match layer.family {
            Family::V6 => !is_by_v4,
            Family::V4 if is_by_v4 => true,
            Family::V4 => {
                if self.by_v4.len() <= node {
                    self.by_v4.resize(node + 1, [false; PLANES]);
                }
                self.by_v4[node][plane] = true;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::path::ProbeKind;

    use super::*;

    fn layer(plane: Plane, family: Family) -> Layer {
        Layer {
            kind: ProbeKind::Udp,
            plane,
            family,
        }
    }

    #[test]
    fn ipv6_decides_about_nodes_that_have_nothing_else_on_the_plane() {
        let mut families = Families::default();
        let node = NodeIndex(7);
        assert!(families.decides(node, layer(Plane::Pod, Family::V6)));
        assert!(families.decides(node, layer(Plane::Pod, Family::V4)));
        assert!(!families.decides(node, layer(Plane::Pod, Family::V6)));
        assert!(families.decides(node, layer(Plane::Pod, Family::V4)));
        assert!(families.decides(node, layer(Plane::Host, Family::V6)));
        assert!(families.decides(NodeIndex(8), layer(Plane::Pod, Family::V6)));
    }
}
