//! Where the packets of failing paths end: the newest trace of each, of the paths that were traced last.
//!
//! A trace is taken after a failure and shown to people; it changes nothing else. So there is room for a thousand, and the
//! oldest one goes when another path needs it.

use std::collections::HashMap;
use std::net::IpAddr;

use meshprobe_core::diagnosis::{TraceHop, TracePicture};
use meshprobe_core::ids::NodeIndex;
use meshprobe_core::path::Layer;
use meshprobe_core::time::Moment;
use meshprobe_proto::convert::{self, UnknownNumber};
use meshprobe_proto::v1;

use super::details::PathKey;
use super::targets::TargetColumn;

/// Most paths with a trace.
const MAX_TRACES: usize = 1_000;
/// Most hops of one.
const MAX_HOPS: usize = 30;

/// Why a trace is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// Another start's trace on this stream.
    #[error("trace of incarnation {sent} on a stream of incarnation {expected}")]
    ForeignIncarnation {
        /// In the trace.
        sent: u64,
        /// In the Hello.
        expected: u64,
    },
    /// No route at all.
    #[error("trace without a route")]
    NoRoute,
    /// A kind, plane or family that this version does not know.
    #[error(transparent)]
    UnknownNumber(#[from] UnknownNumber),
    /// A target that no dictionary entry explains, or that cannot be in the layer.
    #[error("trace of target number {0}, which is no target of its layer")]
    Target(u32),
    /// Hops that cannot be.
    #[error("hop {index}: {reason}")]
    Hop {
        /// Which one, from 0.
        index: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// More hops than packets have.
    #[error("{0} hops; {MAX_HOPS} are allowed")]
    TooManyHops(usize),
    /// Ports that do not exist.
    #[error("ports {source_port} and {destination_port}; 0 to 65535 are allowed")]
    Ports {
        /// Of the source.
        source_port: u32,
        /// Of the destination.
        destination_port: u32,
    },
}

impl TraceError {
    /// As metric label.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ForeignIncarnation { .. } => "trace_incarnation",
            Self::NoRoute => "trace_empty",
            Self::UnknownNumber(_) => "trace_number",
            Self::Target(_) => "trace_target",
            Self::Hop { .. } | Self::TooManyHops(_) => "trace_hops",
            Self::Ports { .. } => "trace_ports",
        }
    }
}

/// Checks a route. The layer that it was taken in.
pub(crate) fn check_route(route: &v1::TraceRoute) -> Result<Layer, TraceError> {
    let layer = convert::layer(route.kind, route.plane, route.family)?;
    let (source_port, destination_port) = (route.source_port, route.destination_port);
    if source_port > 65_535 || destination_port > 65_535 {
        return Err(TraceError::Ports {
            source_port,
            destination_port,
        });
    }
    if route.hops.len() > MAX_HOPS {
        return Err(TraceError::TooManyHops(route.hops.len()));
    }
    let mut least = 1;
    for (index, hop) in route.hops.iter().enumerate() {
        let wrong = |reason| Err(TraceError::Hop { index, reason });
        if !(least..=255).contains(&hop.ttl) {
            return wrong("hop limits ascend from 1 to 255");
        }
        least = hop.ttl + 1;
        if !hop.address.is_empty() && hop.address.parse::<IpAddr>().is_err() {
            return wrong("an address that is none");
        }
        let is_octet = |number: Option<u32>| number.is_none_or(|number| number <= 255);
        if !is_octet(hop.icmp_type) || !is_octet(hop.icmp_code) {
            return wrong("an ICMP type or code that does not exist");
        }
    }
    Ok(layer)
}

#[derive(Clone, Debug)]
struct Kept {
    at: Moment,
    route: v1::TraceRoute,
}

/// The newest trace of each path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traces {
    kept: HashMap<PathKey, Kept>,
}

impl Traces {
    /// Takes a route that [`check_route`] found good.
    pub(crate) fn keep(&mut self, path: PathKey, route: v1::TraceRoute, at: Moment) {
        if self.kept.get(&path).is_some_and(|known| known.at > at) {
            return;
        }
        if self.kept.len() >= MAX_TRACES && !self.kept.contains_key(&path) {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.at);
            if let Some(oldest) = oldest.map(|(path, _)| *path) {
                self.kept.remove(&oldest);
            }
        }
        self.kept.insert(path, Kept { at, route });
    }

    /// The traces of some paths, by layer.
    pub(crate) fn of(&self, leads: impl Fn(&PathKey) -> bool) -> Vec<(&v1::TraceRoute, Moment)> {
        let kept = self.kept.iter().filter(|(path, _)| leads(path));
        let mut found: Vec<_> = kept.collect();
        found.sort_unstable_by_key(|(path, _)| path.layer);
        found
            .into_iter()
            .map(|(_, kept)| (&kept.route, kept.at))
            .collect()
    }

    /// The traces that were taken since then, for the diagnosis; `place` is where the column of a path stands there.
    pub(crate) fn pictures(
        &self,
        since: Moment,
        place: impl Fn(&PathKey) -> Option<u32>,
    ) -> Vec<TracePicture> {
        let lately = self.kept.iter().filter(|(_, kept)| kept.at >= since);
        let mut pictures: Vec<TracePicture> = lately
            .filter_map(|(path, kept)| {
                Some(TracePicture {
                    layer: path.layer,
                    source: path.source,
                    column: place(path)?,
                    at: kept.at,
                    hops: kept.route.hops.iter().map(hop_picture).collect(),
                    reached: kept.route.reached,
                })
            })
            .collect();
        pictures.sort_unstable_by_key(|trace| (trace.layer, trace.source, trace.column));
        pictures
    }

    /// Nothing of this node stays behind.
    pub(crate) fn forget_node(&mut self, node: NodeIndex) {
        self.kept.retain(|path, _| !path.touches(node));
    }

    /// Nothing of this target stays behind.
    pub(crate) fn forget_target(&mut self, target: TargetColumn) {
        self.kept.retain(|path, _| !path.leads_to(target));
    }
}

/// A hop that [`check_route`] found good.
fn hop_picture(hop: &v1::Hop) -> TraceHop {
    let octet = |number: Option<u32>| number.and_then(|number| u8::try_from(number).ok());
    TraceHop {
        ttl: u8::try_from(hop.ttl).unwrap_or(u8::MAX),
        address: hop.address.parse().ok(),
        icmp: octet(hop.icmp_type).zip(octet(hop.icmp_code)),
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::path::{Family, Plane, ProbeKind};

    use super::*;

    const UDP: Layer = Layer {
        kind: ProbeKind::Udp,
        plane: Plane::Pod,
        family: Family::V4,
    };

    fn path(source: u32, column: u32) -> PathKey {
        PathKey {
            layer: UDP,
            source: NodeIndex(source),
            column,
        }
    }

    fn route(hops: &[(u32, &str)]) -> v1::TraceRoute {
        v1::TraceRoute {
            kind: v1::ProbeKind::Udp.into(),
            plane: v1::Plane::Pod.into(),
            family: v1::Family::V4.into(),
            source_port: 40_000,
            destination_port: 4_862,
            hops: hops
                .iter()
                .map(|(ttl, address)| v1::Hop {
                    ttl: *ttl,
                    address: (*address).to_owned(),
                    ..v1::Hop::default()
                })
                .collect(),
            reached: false,
        }
    }

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn a_route_is_checked_hop_by_hop() {
        let good = route(&[(1, "10.0.0.1"), (2, ""), (4, "fd00::1")]);
        assert_eq!(check_route(&good), Ok(UDP));
        let refused = |change: fn(&mut v1::TraceRoute)| {
            let mut wrong = route(&[(1, "10.0.0.1"), (2, "")]);
            change(&mut wrong);
            check_route(&wrong).unwrap_err().reason()
        };
        assert_eq!(refused(|r| r.kind = 99), "trace_number");
        assert_eq!(refused(|r| r.source_port = 65_536), "trace_ports");
        assert_eq!(refused(|r| r.hops[1].ttl = 1), "trace_hops");
        assert_eq!(refused(|r| r.hops[0].ttl = 0), "trace_hops");
        assert_eq!(refused(|r| r.hops[1].ttl = 256), "trace_hops");
        assert_eq!(refused(|r| r.hops[0].address = "r1".into()), "trace_hops");
        assert_eq!(refused(|r| r.hops[0].icmp_type = Some(256)), "trace_hops");
        assert_eq!(
            refused(|r| r.hops = vec![v1::Hop::default(); 31]),
            "trace_hops"
        );
    }

    #[test]
    fn the_newest_trace_of_a_path_stays_and_the_oldest_path_makes_room() {
        let mut traces = Traces::default();
        traces.keep(path(0, 1), route(&[(1, "10.0.0.1")]), at(20));
        traces.keep(path(0, 1), route(&[]), at(10));
        let found = traces.of(|p| *p == path(0, 1));
        assert_eq!((found.len(), found[0].0.hops.len()), (1, 1));
        for column in 2..=1_000 {
            traces.keep(path(0, column), route(&[]), at(u64::from(column) + 20));
        }
        assert_eq!(traces.kept.len(), MAX_TRACES);
        traces.keep(path(5, 6), route(&[]), at(5_000));
        assert_eq!(traces.kept.len(), MAX_TRACES);
        assert!(traces.of(|p| *p == path(0, 1)).is_empty());
        traces.forget_node(NodeIndex(0));
        assert_eq!(traces.kept.len(), 1);
    }
}
