//! What the newest probe of a path found, beside the cells: sparse, bounded, never on the way of a report without any.
//!
//! A detail is kept in its wire form, a few dozen octets for most: a full mesh of 512 nodes has half a million MTU details,
//! and nobody looks at more than one of them at a time. When there is no room, new paths get none, and that is counted;
//! what is known stays up to date. UDP, whose details would alone fill everything, has at most half of the room.

use std::collections::HashMap;

use meshprobe_core::detail::Detail;
use meshprobe_core::ids::NodeIndex;
use meshprobe_core::path::{Layer, ProbeKind};
use meshprobe_core::time::Moment;
use meshprobe_proto::v1;
use prost::Message as _;

use super::targets::{Group, TargetColumn};

/// Most details: two planes of a full mesh of 512 nodes by one slow kind.
const MAX_DETAILS: usize = 1 << 19;
/// Most octets of all of them.
const MAX_OCTETS: usize = 64 << 20;
/// What an entry costs beside its content.
const OVERHEAD: usize = 64;

/// A path by the numbers of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PathKey {
    pub(crate) layer: Layer,
    pub(crate) source: NodeIndex,
    /// The node, or the place in the group of the layer's targets.
    pub(crate) column: u32,
}

impl PathKey {
    /// Is this node one of its ends?
    pub(super) fn touches(&self, node: NodeIndex) -> bool {
        let ends_there = Group::of_layer(self.layer) == Group::NODES && self.column == node.0;
        self.source == node || ends_there
    }

    /// Does it lead to this target?
    pub(super) fn leads_to(&self, target: TargetColumn) -> bool {
        Group::of_layer(self.layer) == target.group && self.column == target.index
    }
}

#[derive(Clone, Debug)]
struct Kept {
    at: Moment,
    wire: Box<[u8]>,
}

impl Kept {
    fn octets(&self) -> usize {
        OVERHEAD + self.wire.len()
    }
}

/// Whether a detail was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// It is the newest one of its path.
    Kept,
    /// There is no room for another path.
    Full,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    entries: usize,
    octets: usize,
}

/// The newest detail of each path.
#[derive(Clone, Debug)]
pub(crate) struct Details {
    kept: HashMap<PathKey, Kept>,
    all: Size,
    udp: Size,
    most: Size,
}

impl Default for Details {
    fn default() -> Self {
        Self::bounded(MAX_DETAILS, MAX_OCTETS)
    }
}

impl Details {
    fn bounded(entries: usize, octets: usize) -> Self {
        Self {
            kept: HashMap::new(),
            all: Size::default(),
            udp: Size::default(),
            most: Size { entries, octets },
        }
    }

    /// Takes what a probe found.
    pub(crate) fn keep(&mut self, path: PathKey, detail: &Detail, at: Moment) -> Keeping {
        let wire = v1::Detail::from(detail).encode_to_vec().into_boxed_slice();
        let kept = Kept { at, wire };
        let before = self.kept.get(&path).map_or(0, Kept::octets);
        let grown = |size: Size| Size {
            entries: size.entries + usize::from(before == 0),
            octets: size.octets + kept.octets() - before,
        };
        let is_udp = path.layer.kind == ProbeKind::Udp;
        let fits = |size: Size, share: usize| {
            size.entries <= self.most.entries / share && size.octets <= self.most.octets / share
        };
        if !fits(grown(self.all), 1) || (is_udp && !fits(grown(self.udp), 2)) {
            // An old word beside a new verdict would mislead.
            self.remove(&path);
            return Keeping::Full;
        }
        self.all = grown(self.all);
        if is_udp {
            self.udp = grown(self.udp);
        }
        self.kept.insert(path, kept);
        Keeping::Kept
    }

    /// What the newest probe of a path found, and when that was said.
    pub(crate) fn get(&self, path: &PathKey) -> Option<(v1::Detail, Moment)> {
        let kept = self.kept.get(path)?;
        Some((v1::Detail::decode(&*kept.wire).ok()?, kept.at))
    }

    /// Nothing of this node stays behind.
    pub(crate) fn forget_node(&mut self, node: NodeIndex) {
        self.forget(|path| path.touches(node));
    }

    /// Nothing of this target stays behind.
    pub(crate) fn forget_target(&mut self, target: TargetColumn) {
        self.forget(|path| path.leads_to(target));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.entries
    }

    /// Octets that they take, about.
    pub(crate) fn octets(&self) -> usize {
        self.all.octets
    }

    fn forget(&mut self, is_over: impl Fn(&PathKey) -> bool) {
        let paths = self.kept.keys().filter(|path| is_over(path));
        for path in paths.copied().collect::<Vec<_>>() {
            self.remove(&path);
        }
    }

    fn remove(&mut self, path: &PathKey) {
        let Some(kept) = self.kept.remove(path) else {
            return;
        };
        let is_udp = path.layer.kind == ProbeKind::Udp;
        for size in [Some(&mut self.all), is_udp.then_some(&mut self.udp)]
            .into_iter()
            .flatten()
        {
            size.entries -= 1;
            size.octets -= kept.octets();
        }
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::detail::{ExternalDetail, MtuDetail, UdpDetail};
    use meshprobe_core::path::{Family, Plane};

    use super::*;

    fn path(kind: ProbeKind, source: u32, column: u32) -> PathKey {
        PathKey {
            layer: Layer {
                kind,
                plane: Plane::Pod,
                family: Family::V4,
            },
            source: NodeIndex(source),
            column,
        }
    }

    fn mtu(forward: u16) -> Detail {
        Detail::Mtu(MtuDetail {
            forward,
            ..MtuDetail::default()
        })
    }

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn the_newest_word_on_a_path_is_kept_with_its_time() {
        let mut details = Details::default();
        let key = path(ProbeKind::Mtu, 0, 1);
        for size in [1_450, 1_400] {
            let kept = details.keep(key, &mtu(size), at(u64::from(size)));
            assert_eq!(kept, Keeping::Kept);
        }
        let (detail, when) = details.get(&key).unwrap();
        assert_eq!(detail, v1::Detail::from(&mtu(1_400)));
        assert_eq!(when, at(1_400));
        assert_eq!(details.len(), 1);
        assert_eq!(details.get(&path(ProbeKind::Mtu, 1, 0)), None);
    }

    #[test]
    fn when_it_is_full_known_paths_stay_up_to_date_and_new_ones_get_none() {
        let mut details = Details::bounded(4, 1 << 20);
        for column in 1..=4 {
            let kept = details.keep(path(ProbeKind::Mtu, 0, column), &mtu(1_500), at(1));
            assert_eq!(kept, Keeping::Kept);
        }
        let beyond = details.keep(path(ProbeKind::Mtu, 0, 5), &mtu(1_500), at(2));
        assert_eq!(beyond, Keeping::Full);
        let known = details.keep(path(ProbeKind::Mtu, 0, 4), &mtu(1_400), at(2));
        assert_eq!(known, Keeping::Kept);
        details.forget_node(NodeIndex(4));
        let freed = details.keep(path(ProbeKind::Mtu, 0, 5), &mtu(1_500), at(3));
        assert_eq!(freed, Keeping::Kept);
    }

    #[test]
    fn octets_are_bounded_and_a_word_that_no_longer_fits_does_not_leave_an_old_one() {
        let key = path(ProbeKind::Http, 0, 0);
        let external = |octets: usize| {
            Detail::External(ExternalDetail {
                failure: "x".repeat(octets),
                ..ExternalDetail::default()
            })
        };
        let mut details = Details::bounded(10, OVERHEAD + 100);
        assert_eq!(details.keep(key, &external(50), at(1)), Keeping::Kept);
        assert_eq!(details.keep(key, &external(200), at(2)), Keeping::Full);
        assert_eq!(details.get(&key), None);
        assert_eq!((details.len(), details.octets()), (0, 0));
    }

    #[test]
    fn udp_leaves_half_of_the_room_to_the_others() {
        let mut details = Details::bounded(4, 1 << 20);
        let udp = Detail::Udp(UdpDetail::default());
        let kept = (1..=4).map(|column| details.keep(path(ProbeKind::Udp, 0, column), &udp, at(1)));
        let kept = kept.filter(|keeping| *keeping == Keeping::Kept).count();
        assert_eq!(kept, 2);
        let mtu = details.keep(path(ProbeKind::Mtu, 0, 1), &mtu(1_500), at(1));
        assert_eq!(mtu, Keeping::Kept);
    }

    #[test]
    fn a_node_and_a_target_take_their_details_with_them() {
        let mut details = Details::default();
        let http = path(ProbeKind::Http, 0, 1);
        let external = Detail::External(ExternalDetail::default());
        for key in [path(ProbeKind::Mtu, 0, 1), path(ProbeKind::Mtu, 2, 0)] {
            details.keep(key, &mtu(1_500), at(1));
        }
        details.keep(http, &external, at(1));
        details.forget_node(NodeIndex(1));
        assert!(details.get(&http).is_some(), "column 1 is no node there");
        assert_eq!(details.len(), 2);
        details.forget_target(TargetColumn {
            group: Group::of_layer(http.layer),
            index: 1,
        });
        assert_eq!(details.get(&http), None);
        assert_eq!(details.len(), 1);
        details.forget_node(NodeIndex(2));
        assert_eq!((details.len(), details.octets()), (0, 0));
    }
}
