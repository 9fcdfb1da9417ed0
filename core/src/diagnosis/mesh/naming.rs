//! From a cause and what every layer says of it to its name.

use super::cause::{Cause, What, Word};
use super::ground::Ground;
use super::shape::Shape;
use crate::finding::{Pattern, Place, Scope};
use crate::path::{Family, Plane, ProbeKind};

/// What is broken about a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything that is measured.
    All,
    /// One plane, while the other one works.
    Plane(Plane),
    /// One kind, while others pass.
    Kind(ProbeKind),
    /// One family, while the other one works.
    Family(Family),
}

/// What a cause is about; `None`: not to be said yet.
pub(super) fn extent(cause: &Cause) -> Option<Extent> {
    let layer = cause.layer;
    match cause.what {
        What::Loss => {}
        What::Flows(_) => return Some(Extent::All),
        What::NewFlows(found) => return found.is_sure().then_some(Extent::All),
    }
    let declared_plane = cause.declaration.as_ref().map(|declared| declared.plane);
    let other_kind = cause.verdict(|other| {
        other.plane == layer.plane
            && other.family == layer.family
            && !implies(layer.kind, other.kind)
    });
    let other_family =
        cause.verdict(|other| other.plane == layer.plane && other.family != layer.family);
    let other_plane =
        cause.verdict(|other| other.plane != layer.plane && other.family == layer.family);
    if other_kind == Word::Clean {
        return Some(Extent::Kind(layer.kind));
    }
    if let Some(plane) = declared_plane {
        // The detector asks for every kind and both planes before it declares anything.
        return Some(match (plane, other_plane) {
            (Some(plane), _) => Extent::Plane(plane),
            (None, Word::Clean) => Extent::Plane(layer.plane),
            (None, _) => Extent::All,
        });
    }
    if other_kind == Word::Pending {
        return None;
    }
    match other_family {
        Word::Clean => return Some(Extent::Family(layer.family)),
        Word::Pending => return None,
        Word::Affected | Word::Unknown => {}
    }
    match other_plane {
        Word::Clean => Some(Extent::Plane(layer.plane)),
        Word::Pending => None,
        Word::Affected | Word::Unknown => Some(Extent::All),
    }
}

/// Does what blocks a kind block the other one as well? QUIC is UDP.
const fn implies(kind: ProbeKind, other: ProbeKind) -> bool {
    kind as u8 == other as u8 || matches!((kind, other), (ProbeKind::Udp, ProbeKind::Quic))
}

/// The name of a cause of this extent.
pub(super) fn pattern_of(cause: &Cause, extent: Extent) -> Pattern {
    match cause.what {
        What::Loss => pattern(cause.shape, extent, cause.is_total),
        What::Flows(_) => Pattern::Flows,
        What::NewFlows(_) => Pattern::NewFlows,
    }
}

/// The name of a fault of this extent at this place.
pub(super) fn pattern(shape: Shape, extent: Extent, is_total: bool) -> Pattern {
    let is_overlay = extent == Extent::Plane(Plane::Pod);
    match (extent, shape) {
        (Extent::Kind(_), _) => Pattern::Kind,
        (Extent::Family(_), _) => Pattern::Family,
        (_, Shape::Path(..) | Shape::Pair(..)) => Pattern::Path,
        (_, Shape::Zones(..) | Shape::ZonePair(..)) => Pattern::ZonePair,
        (_, Shape::Zone(_)) => Pattern::Zone,
        (_, Shape::Everywhere) if is_overlay => Pattern::Overlay,
        (_, Shape::Everywhere) => Pattern::Mesh,
        (_, Shape::Ingress(_)) if is_overlay => Pattern::OverlayIngress,
        (_, Shape::Ingress(_)) => Pattern::NodeIngress,
        (_, Shape::Egress(_)) if is_overlay => Pattern::OverlayEgress,
        (_, Shape::Egress(_)) => Pattern::NodeEgress,
        (_, Shape::Node(_)) if is_overlay => Pattern::OverlayNode,
        (_, Shape::Node(_)) if is_total => Pattern::Isolated,
        (_, Shape::Node(_)) => Pattern::NodeLink,
    }
}

/// A shape in names.
pub(super) fn place(shape: Shape, ground: &Ground<'_>) -> Place {
    let name = |node: u32| ground.name(node as usize);
    let zone = |zone: u16| ground.zone_name(usize::from(zone)).to_owned();
    match shape {
        Shape::Everywhere => Place::Everywhere,
        Shape::Zone(z) => Place::Zone(zone(z)),
        Shape::Zones(x, y) => Scope::zones(zone(x), zone(y)).place,
        Shape::ZonePair(x, y) => Scope::zone_pair(zone(x), zone(y)).place,
        Shape::Node(node) | Shape::Ingress(node) | Shape::Egress(node) => {
            Scope::node(name(node)).place
        }
        Shape::Pair(a, b) => Scope::nodes(vec![name(a), name(b)]).place,
        Shape::Path(a, b) => Scope::path(name(a), name(b)).place,
    }
}

/// What a fault of this extent at this place blames.
pub(super) fn scope(shape: Shape, extent: Extent, ground: &Ground<'_>) -> Scope {
    let scope = Scope::of(place(shape, ground));
    match extent {
        Extent::Kind(kind) => scope.with_kind(kind),
        Extent::Family(family) => scope.with_family(family),
        Extent::All | Extent::Plane(_) => scope,
    }
}
