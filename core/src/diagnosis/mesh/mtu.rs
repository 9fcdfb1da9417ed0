//! Packets above a size that do not pass.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::ground::Ground;
use super::leg::Sum;
use super::loss::is_told;
use super::marks::{Marks, each_path, layers_of};
use super::naming::place;
use super::search::{Standing, search};
use super::sentence;
use super::shape::Shape;
use super::tally::Evidence;
use crate::detail::{Detail, MtuDetail, MtuLimit};
use crate::diagnosis::{CellPicture, DiagnosisConfig, LayerPicture, Picture};
use crate::finding::{Confidence, Estimate, Finding, NamedPath, Pattern, Scope};
use crate::path::{Plane, ProbeKind};

/// A measurement confirms itself: that a limit is a mistake is as good as excluded.
const WRONG_BY_CHANCE: f64 = 1e-5;
/// Of the ways of a cause so many are limited, at least.
const LEAST_RATIO: f64 = 0.6;
/// Measurements in a row that a limit stands before its place is told: by then every other path has had its turn.
const SETTLED: u8 = 2;

/// What one measurement says of a way.
#[derive(Clone, Copy, Debug)]
struct Limit {
    size: u16,
    why: MtuLimit,
}

/// What is known of a path's two ways: `None`: nothing; `Some(None)`: nothing limits it.
type Ways = (Option<Option<Limit>>, Option<Option<Limit>>);

/// Limits of the packet size at a node, between zones, on a path, everywhere.
pub(super) fn findings(
    picture: &Picture,
    ground: &Ground<'_>,
    config: &DiagnosisConfig,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for layer in layers_of(picture, ProbeKind::Mtu) {
        let sizes = SizesOf { layer, ground };
        let Some(marks) = sizes.marks() else { continue };
        let found = search(&marks, ground, None, Vec::new(), config.max_causes);
        for found in found.iter().filter(|f| f.standing == Standing::Found) {
            let scope = Scope::of(place(found.shape, ground));
            let is_known = findings.iter().any(|known| known.scope == scope);
            let is_settled = found.spells.longest >= SETTLED;
            if is_known || !is_settled || sizes.is_healing(found.shape) {
                continue;
            }
            let mut finding = sizes.finding(&marks.sum(found.shape), found.shape, scope);
            if layer.layer.plane == Plane::Pod && is_clean_on_host(picture, ground, found.shape) {
                finding.plane = Some(Plane::Pod);
            }
            findings.push(finding);
        }
    }
    findings
}

struct SizesOf<'a> {
    layer: &'a LayerPicture,
    ground: &'a Ground<'a>,
}

impl SizesOf<'_> {
    /// `None`: nothing is limited.
    fn marks(&self) -> Option<Marks<'_>> {
        let mut any = false;
        each_path(self.layer, self.ground, |_, _, cell| any |= fails(cell));
        if !any {
            return None;
        }
        let mut marks = Marks::new(self.ground, WRONG_BY_CHANCE, LEAST_RATIO);
        each_path(self.layer, self.ground, |from, to, cell| {
            let (out, back) = self.ways(from, to, cell);
            let row = cell.consecutive_losses.max(1);
            let seen = |limit: Option<Limit>| if limit.is_some() { row } else { 0 };
            if let Some(limit) = out {
                marks.push(from, to, seen(limit));
            }
            if let Some(limit) = back {
                marks.push(to, from, seen(limit));
            }
        });
        marks.sort();
        Some(marks)
    }

    fn detail(&self, from: usize, to: usize) -> Option<&MtuDetail> {
        let row = self.layer.rows.get(self.ground.node(from).index())?;
        match row.as_deref()?.detail(self.ground.node(to).index())? {
            Detail::Mtu(detail) => Some(detail),
            _ => None,
        }
    }

    fn ways(&self, from: usize, to: usize, cell: &CellPicture) -> Ways {
        if !is_told(cell) {
            return (None, None);
        }
        if cell.consecutive_losses == 0 {
            return (Some(None), Some(None));
        }
        let Some(detail) = self.detail(from, to) else {
            return (None, None);
        };
        let way = |size: u16, why: MtuLimit| match why {
            MtuLimit::Unknown => None,
            MtuLimit::Interface | MtuLimit::Local => Some(None),
            MtuLimit::BlackHole | MtuLimit::Signalled => Some(Some(Limit { size, why })),
        };
        (
            way(detail.forward, detail.forward_limit),
            way(detail.reverse, detail.reverse_limit),
        )
    }

    /// Has a path of the place been found good again, for the first time? Then the others of it, which had no turn since,
    /// say nothing of now.
    fn is_healing(&self, shape: Shape) -> bool {
        let mut healed = false;
        each_path(self.layer, self.ground, |from, to, cell| {
            let is_near = match shape {
                Shape::Path(a, b) | Shape::Pair(a, b) => {
                    let ends = [from as u32, to as u32];
                    ends.contains(&a) || ends.contains(&b)
                }
                shape => shape.touches(self.ground, from, to),
            };
            let is_back = cell.consecutive_losses == 0 && cell.consecutive_replies <= 1;
            healed |= is_near && is_told(cell) && is_back && cell.long_lost > 0.0;
        });
        healed
    }

    fn finding(&self, sum: &Sum, shape: Shape, scope: Scope) -> Finding {
        let ground = self.ground;
        let mut sizes = BTreeSet::new();
        let mut interfaces = BTreeSet::new();
        let mut routes = BTreeSet::new();
        let mut senders: BTreeSet<IpAddr> = BTreeSet::new();
        let mut is_signalled = false;
        let mut paths = Vec::new();
        each_path(self.layer, ground, |from, to, cell| {
            let (out, back) = self.ways(from, to, cell);
            let ways = [(out, from, to), (back, to, from)];
            let mut is_here = false;
            for (limit, a, b) in ways {
                let Some(Some(limit)) = limit else { continue };
                if !shape.covers(ground, a, b) {
                    continue;
                }
                is_here = true;
                sizes.insert(limit.size);
                is_signalled |= limit.why == MtuLimit::Signalled;
            }
            let Some(detail) = self.detail(from, to).filter(|_| is_here) else {
                return;
            };
            interfaces.insert(detail.interface_mtu);
            routes.insert(detail.route_mtu);
            senders.extend(detail.signalled_by);
            if paths.len() < Finding::MAX_PATHS {
                paths.push(NamedPath {
                    source: ground.name(from).to_string(),
                    target: ground.name(to).to_string(),
                    layer: self.layer.layer,
                });
            }
        });
        let size = range(&sizes);
        let interface = range(&interfaces);
        let by = senders
            .iter()
            .map(IpAddr::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let fate = if is_signalled {
            match by.as_str() {
                "" => "are answered with ICMP \"too big\"".to_owned(),
                by => format!("are answered with ICMP \"too big\" by {by}"),
            }
        } else {
            "vanish without a word".to_owned()
        };
        let summary = format!(
            "Packets of more than {size} octets {} {fate}; the interface says {interface}",
            sentence::between(shape, ground)
        );
        let (bad, all) = (sum.lossy, sum.legs);
        let mut finding = Finding::new(Pattern::Mtu, scope, summary);
        finding.loss = Some(Estimate::of(u64::from(bad), u64::from(all)));
        finding.confidence = if all >= 4 {
            Confidence::Certain
        } else {
            Confidence::Likely
        };
        finding.evidence = vec![
            format!(
                "{bad} of {all} measured ways are limited ({})",
                self.layer.layer
            ),
            format!(
                "the largest packet that passes has {size} octets, the interface's MTU is {interface}"
            ),
        ];
        if is_signalled {
            finding.evidence.push(format!(
                "signalled by {}",
                if by.is_empty() {
                    "an unknown sender"
                } else {
                    &by
                }
            ));
        } else {
            finding.evidence.push(
                "black hole: smaller packets came through in the same seconds, and nobody said that larger ones are too big"
                    .to_owned(),
            );
        }
        if routes != interfaces && !routes.is_empty() {
            finding
                .evidence
                .push(format!("the routing table says {}", range(&routes)));
        }
        finding.failing = bad;
        finding.judged = all;
        finding.paths = paths;
        finding
    }
}

fn fails(cell: &CellPicture) -> bool {
    is_told(cell) && cell.consecutive_losses > 0
}

/// Did the same paths carry large packets on the host network?
fn is_clean_on_host(picture: &Picture, ground: &Ground<'_>, shape: Shape) -> bool {
    let (mut bad, mut all) = (0u32, 0u32);
    let layers = layers_of(picture, ProbeKind::Mtu);
    for layer in layers.filter(|layer| layer.layer.plane == Plane::Host) {
        each_path(layer, ground, |from, to, cell| {
            if shape.touches(ground, from, to) && is_told(cell) {
                bad += u32::from(fails(cell));
                all += 1;
            }
        });
    }
    all > 0 && bad == 0
}

/// "1400", "1313 to 1400".
fn range(sizes: &BTreeSet<u16>) -> String {
    match (sizes.first(), sizes.last()) {
        (Some(least), Some(most)) if least == most => least.to_string(),
        (Some(least), Some(most)) => format!("{least} to {most}"),
        _ => "an unknown number of".to_owned(),
    }
}
