//! What the causes between nodes explain of everything else.

use super::cause::{Cause, What};
use super::ground::Ground;
use super::loss::is_one_way;
use super::measure::estimate;
use super::naming::Extent;
use super::shape::Shape;
use crate::finding::{Pattern, Scope};
use crate::ids::NodeIndex;
use crate::path::{Layer, Plane, ProbeKind};

/// What the causes between nodes explain of everything else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explained {
    seats: Vec<Seat>,
    causes: Vec<ExplainedCause>,
}

/// Where a node stood in the search, by node number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seat {
    /// Its place; `None`: it was not judged.
    place: Option<u32>,
    zone: u16,
    is_dark: bool,
}

/// One cause between nodes, as far as others have to know it. It may be one that is not told yet.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedCause {
    /// Its name.
    pub pattern: Pattern,
    /// What it blames.
    pub scope: Scope,
    /// The share of packets that it takes on the ways that it is about, 0 to 1.
    pub ratio: f64,
    shape: Shape,
    extent: Extent,
    /// `ratio` is of round trips.
    of_round_trips: bool,
}

impl Explained {
    pub(super) fn of(ground: &Ground<'_>) -> Self {
        let nodes = 0..ground.picture.topology.nodes.len();
        let seats = nodes.map(|number| {
            let place = ground.place(number);
            Seat {
                place: place.map(|place| place as u32),
                zone: place.map_or(0, |place| ground.zone(place) as u16),
                is_dark: ground.is_dark(NodeIndex(number as u32)),
            }
        });
        Self {
            seats: seats.collect(),
            causes: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, cause: &Cause, extent: Extent, pattern: Pattern, scope: Scope) {
        // While a loss is young it is more than its share of the long counts.
        let (share, _) = estimate(&cause.sum);
        self.causes.push(ExplainedCause {
            pattern,
            scope,
            ratio: cause.ratio.max(share.ratio),
            shape: cause.shape,
            extent,
            of_round_trips: cause.what != What::Loss || !is_one_way(cause.layer.kind),
        });
    }

    /// The causes, those that are not told yet among them.
    pub fn causes(&self) -> &[ExplainedCause] {
        &self.causes
    }

    /// Does the node, or its prober, as a whole not answer, as the dark-node detector says?
    pub fn is_dark(&self, node: NodeIndex) -> bool {
        self.seat(node).is_dark
    }

    /// May what the node measures, and what answers on it, be taken for the network's doing? Not if it is dark, leaves, has
    /// just come, or has a prober that is starved.
    pub fn is_judged(&self, node: NodeIndex) -> bool {
        self.seat(node).place.is_some()
    }

    /// The loss that is to be expected on the way from a node to a target that lives on `host` (`None`: outside the mesh, or
    /// nobody knows), there and back, 0 to 1.
    pub fn expected_loss(&self, source: NodeIndex, host: Option<NodeIndex>, layer: Layer) -> f64 {
        let from = self.seat(source);
        let to = host.map(|host| self.seat(host));
        if from.is_dark || to.is_some_and(|to| to.is_dark) {
            return 1.0;
        }
        if host == Some(source) {
            // Packets that stay on the node meet nothing that lies between nodes.
            return 0.0;
        }
        let mut through = 1.0;
        for cause in &self.causes {
            if cause.befalls(layer, host.is_none()) {
                through *= cause.passes(from, to);
            }
        }
        1.0 - through
    }

    fn seat(&self, node: NodeIndex) -> Seat {
        self.seats.get(node.index()).copied().unwrap_or_default()
    }
}

impl ExplainedCause {
    /// Does it take packets of this layer?
    fn befalls(&self, layer: Layer, is_outside: bool) -> bool {
        match self.extent {
            Extent::All => true,
            // What leaves the cluster does not go through the overlay.
            Extent::Plane(Plane::Pod) if is_outside => false,
            Extent::Plane(Plane::Pod) => layer.plane != Plane::Host,
            Extent::Plane(plane) => layer.plane == plane,
            Extent::Kind(kind) => carries(kind, layer.kind),
            Extent::Family(family) => layer.family == family,
        }
    }

    /// The share of round trips between two places that it lets through.
    fn passes(&self, from: Seat, to: Option<Seat>) -> f64 {
        let Some(source) = from.place else { return 1.0 };
        let ways = match to {
            Some(to) => {
                let Some(target) = to.place else { return 1.0 };
                let (a, b) = ((source, from.zone), (target, to.zone));
                i32::from(self.shape.covers_leg(a, b)) + i32::from(self.shape.covers_leg(b, a))
            }
            // Outside there is only the node's own end of the way.
            None => match self.shape {
                Shape::Everywhere => 1,
                Shape::Node(node) if node == source => 2,
                Shape::Ingress(node) | Shape::Egress(node) if node == source => 1,
                _ => 0,
            },
        };
        let ways = if self.of_round_trips {
            ways.min(1)
        } else {
            ways
        };
        (1.0 - self.ratio).powi(ways)
    }
}

/// Is a kind carried by the protocol that another kind stands for?
const fn carries(protocol: ProbeKind, kind: ProbeKind) -> bool {
    match protocol {
        ProbeKind::Udp => matches!(
            kind,
            ProbeKind::Udp
                | ProbeKind::Mtu
                | ProbeKind::Quic
                | ProbeKind::DnsUdp
                | ProbeKind::DnsSearch
        ),
        ProbeKind::Tcp => matches!(
            kind,
            ProbeKind::Tcp
                | ProbeKind::DnsTcp
                | ProbeKind::Service
                | ProbeKind::TcpConnect
                | ProbeKind::Tls
                | ProbeKind::Http
        ),
        _ => protocol as u8 == kind as u8,
    }
}
