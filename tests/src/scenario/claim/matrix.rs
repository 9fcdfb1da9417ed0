//! The step `matrix`: which cells are unhealthy, and that no other is.
//!
//! ```yaml
//! - matrix:
//!     within: 40s                       # from the last thing that was broken or healed
//!     stays: 3s                         # and is so for this long
//!     expect:
//!       - layer: mtu/pod/v4
//!         down: [{from: victim}, {to: victim}]
//!         healthy: [{from: victim, to: witness}]   # an exception to the others
//!     may_touch: [quic/*/*]             # layers that the failure may or may not reach
//! ```
//!
//! Every cell of every layer with data is judged: one that no list names has to be healthy. Silence is not health. A cell
//! that several lists name belongs to the first of `healthy`, `ignored`, `down`, `failing`, `lossy`, `slow`.

use meshprobe_core::path::{Layer, ProbeKind};
use meshprobe_core::verdict::Verdict;
use meshprobe_daemon::config::HumanDuration;
use serde::Deserialize;

use super::cells::{CellList, ResolvedCells, UnknownEnd};
use super::grid::Grid;
use super::ground::Ground;
use super::layers::LayerPattern;
use crate::scenario::cast::Cast;

/// Differences that are told of one layer.
const TOLD: usize = 6;

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixClaim {
    /// From the last thing that was broken or healed.
    pub within: HumanDuration,
    /// What is so by accident for a moment does not count.
    #[serde(default = "stays")]
    pub stays: HumanDuration,
    #[serde(default)]
    pub expect: Vec<Expectation>,
    /// Layers of which nothing is said.
    #[serde(default)]
    pub may_touch: Vec<LayerPattern>,
}

fn stays() -> HumanDuration {
    HumanDuration::from_secs(3)
}

/// What the cells of some layers are.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    pub layer: LayerPattern,
    /// Nothing gets through.
    #[serde(default)]
    pub down: CellList,
    /// Something is lost: down, suspect or lossy.
    #[serde(default)]
    pub failing: CellList,
    /// Something is lost, and something gets through.
    #[serde(default)]
    pub lossy: CellList,
    /// Everything gets through, late. The others may not be slow then.
    #[serde(default)]
    pub slow: CellList,
    /// Whatever they are is right.
    #[serde(default)]
    pub ignored: CellList,
    /// As if no other list had named them.
    #[serde(default)]
    pub healthy: CellList,
}

impl Expectation {
    /// The lists in the order in which they decide.
    fn lists(&self) -> [(Class, &CellList); 6] {
        [
            (Class::Healthy, &self.healthy),
            (Class::Ignored, &self.ignored),
            (Class::Down, &self.down),
            (Class::Failing, &self.failing),
            (Class::Lossy, &self.lossy),
            (Class::Slow, &self.slow),
        ]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Healthy,
    Ignored,
    Down,
    Failing,
    Lossy,
    Slow,
}

impl Class {
    /// `is_exact`: slow is not healthy. Elsewhere it is, for on a busy machine anything is slow for a moment.
    fn accepts(self, verdict: Option<Verdict>, is_exact: bool) -> bool {
        use Verdict::{Down, Healthy, Lossy, Slow, Suspect};
        match self {
            Self::Healthy => verdict == Some(Healthy) || (!is_exact && verdict == Some(Slow)),
            Self::Ignored => true,
            Self::Down => verdict == Some(Down),
            Self::Failing => matches!(verdict, Some(Down | Suspect | Lossy)),
            Self::Lossy => matches!(verdict, Some(Suspect | Lossy)),
            Self::Slow => verdict == Some(Slow),
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Ignored => "anything",
            Self::Down => "down",
            Self::Failing => "failing",
            Self::Lossy => "lossy",
            Self::Slow => "slow",
        }
    }
}

/// With nodes in the place of roles.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedMatrix {
    expect: Vec<ResolvedExpectation>,
    may_touch: Vec<LayerPattern>,
}

#[derive(Debug, Clone, PartialEq)]
struct ResolvedExpectation {
    layer: LayerPattern,
    lists: Vec<(Class, Vec<ResolvedCells>)>,
}

impl MatrixClaim {
    /// With nodes in the place of roles.
    pub fn resolve(&self, cast: &Cast, ground: &Ground) -> Result<ResolvedMatrix, UnknownEnd> {
        let expect = self.expect.iter().map(|expectation| {
            let lists = expectation.lists().into_iter().map(|(class, list)| {
                let cells = list.0.iter().map(|cells| cells.resolve(cast, ground));
                Ok((class, cells.collect::<Result<Vec<_>, _>>()?))
            });
            Ok(ResolvedExpectation {
                layer: expectation.layer.clone(),
                lists: lists.collect::<Result<_, UnknownEnd>>()?,
            })
        });
        Ok(ResolvedMatrix {
            expect: expect.collect::<Result<_, UnknownEnd>>()?,
            may_touch: self.may_touch.clone(),
        })
    }
}

impl ResolvedMatrix {
    /// What is not as it should be, one sentence each; nothing: everything is.
    pub fn differences(&self, grids: &[Grid]) -> Vec<String> {
        let mut differences = Vec::new();
        for expectation in &self.expect {
            differences.extend(expectation.names_nothing(grids));
        }
        for grid in grids {
            if self.may_touch.iter().any(|layers| layers.names(grid.layer)) {
                continue;
            }
            differences.extend(self.differences_in(grid));
        }
        differences
    }

    fn of_layer(&self, layer: Layer) -> impl Iterator<Item = &ResolvedExpectation> {
        self.expect
            .iter()
            .filter(move |expectation| expectation.layer.names(layer))
    }

    fn differences_in(&self, grid: &Grid) -> Vec<String> {
        let layer = grid.layer;
        let lists: Vec<(Class, &ResolvedCells)> = self
            .of_layer(layer)
            .flat_map(|expectation| &expectation.lists)
            .flat_map(|(class, cells)| cells.iter().map(|cells| (*class, cells)))
            .collect();
        let is_exact = lists.iter().any(|(class, _)| *class == Class::Slow);
        let mut wrong = Vec::new();
        for (row, column) in grid.cells() {
            let mut naming = lists.iter();
            let class = naming
                .find(|(_, cells)| cells.name(grid, row, column))
                .map_or(Class::Healthy, |(class, _)| *class);
            let verdict = grid.verdict(row, column);
            // Of QUIC each node probes a sample of its peers, and whom it leaves out it says nothing of.
            if layer.kind == ProbeKind::Quic && verdict == Some(Verdict::NotSampled) {
                continue;
            }
            if !class.accepts(verdict, is_exact) {
                let is = verdict.map_or("unknown", Verdict::as_str);
                let path = grid.path(row, column);
                wrong.push(format!("{layer}: {path} is {is}, not {}", class.words()));
            }
        }
        let more = wrong.len().saturating_sub(TOLD);
        wrong.truncate(TOLD);
        if more > 0 {
            wrong.push(format!("{layer}: {more} more such paths"));
        }
        wrong
    }
}

impl ResolvedExpectation {
    /// A layer or a list that names nothing is a mistake, or a probe that is not made.
    fn names_nothing(&self, grids: &[Grid]) -> Vec<String> {
        let grids = || grids.iter().filter(|grid| self.layer.names(grid.layer));
        let layer = self.layer.text();
        if grids().next().is_none() {
            return vec![format!("{layer} has no data")];
        }
        let names = |cells: &ResolvedCells| {
            grids().any(|grid| {
                grid.cells()
                    .any(|(row, column)| cells.name(grid, row, column))
            })
        };
        self.lists
            .iter()
            .flat_map(|(_, cells)| cells)
            .filter(|cells| !names(cells))
            .map(|cells| format!("{layer}: {} is no path of it", cells.text()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::grid::tests::between_three;
    use super::super::ground;
    use super::*;

    fn claim(expect: &str) -> ResolvedMatrix {
        resolved(&format!(
            "within: 5s\nexpect: [{expect}]\nmay_touch: [quic/*/*]\n"
        ))
    }

    fn resolved(text: &str) -> ResolvedMatrix {
        let claim: MatrixClaim =
            meshprobe_daemon::config::parse(text, Path::new("claim")).expect("a claim");
        let nodes: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let roles = ["victim".to_owned(), "witness".to_owned()];
        // The seed decides: the victim is b.
        let cast = (0..9)
            .filter_map(|seed| Cast::assign(&roles, &nodes, seed).ok())
            .find(|cast| cast.node("victim") == Ok("b"))
            .expect("a seed");
        claim
            .resolve(&cast, &ground::tests::three())
            .expect("known words")
    }

    const FROM_VICTIM: &str = "{layer: mtu/pod/v4, down: [{from: victim}]}";

    #[test]
    fn exactly_the_named_cells_may_be_unhealthy() {
        let claim = claim(FROM_VICTIM);
        let down = [(1, 0, Verdict::Down), (1, 2, Verdict::Down)];
        let grid = between_three(ProbeKind::Mtu, &down);
        assert_eq!(claim.differences(&[grid]), [""; 0]);
    }

    #[test]
    fn a_cell_that_should_fail_and_does_not_is_told() {
        let grid = between_three(ProbeKind::Mtu, &[(1, 0, Verdict::Down)]);
        assert_eq!(
            claim(FROM_VICTIM).differences(&[grid]),
            ["mtu/pod/v4: b -> c is healthy, not down"]
        );
    }

    #[test]
    fn a_cell_too_many_is_told_also_in_another_layer() {
        let down = [
            (1, 0, Verdict::Down),
            (1, 2, Verdict::Down),
            (0, 2, Verdict::Lossy),
        ];
        let grids = [
            between_three(ProbeKind::Mtu, &down),
            between_three(ProbeKind::Udp, &[(2, 0, Verdict::Suspect)]),
            between_three(ProbeKind::Quic, &[(2, 0, Verdict::Down)]),
        ];
        assert_eq!(
            claim(FROM_VICTIM).differences(&grids),
            [
                "mtu/pod/v4: a -> c is lossy, not healthy",
                "udp/pod/v4: c -> a is suspect, not healthy"
            ]
        );
    }

    #[test]
    fn whom_a_sampled_kind_leaves_out_is_no_difference() {
        let text = "within: 5s\nexpect: [{layer: quic/pod/v4, down: [{from: victim}]}]\n";
        let claim = resolved(text);
        let cells = [(0, 2, Verdict::NotSampled), (1, 0, Verdict::Down)];
        let sampled = [cells[0], cells[1], (1, 2, Verdict::NotSampled)];
        let grid = between_three(ProbeKind::Quic, &sampled);
        assert_eq!(claim.differences(&[grid]), [""; 0]);
        let grid = between_three(ProbeKind::Quic, &cells);
        assert_eq!(
            claim.differences(&[grid]),
            ["quic/pod/v4: b -> c is healthy, not down"]
        );
    }

    #[test]
    fn silence_is_not_health() {
        for silent in [Verdict::NoData, Verdict::NotSampled] {
            let grid = between_three(ProbeKind::Udp, &[(0, 1, silent)]);
            assert_eq!(claim("").differences(&[grid]).len(), 1);
        }
        assert_eq!(
            claim(FROM_VICTIM).differences(&[between_three(ProbeKind::Udp, &[])]),
            ["mtu/pod/v4 has no data"]
        );
    }

    #[test]
    fn slow_is_healthy_unless_slowness_is_what_is_looked_for() {
        let slow = between_three(ProbeKind::Udp, &[(0, 1, Verdict::Slow)]);
        assert!(
            claim("")
                .differences(std::slice::from_ref(&slow))
                .is_empty()
        );
        let looked_for = claim("{layer: udp/pod/v4, slow: [{from: victim, to: witness}]}");
        assert_eq!(looked_for.differences(&[slow]).len(), 2);
    }

    #[test]
    fn exceptions_come_first_and_zones_are_groups() {
        let claim = claim(
            "{layer: udp/pod/v4, failing: [{from: zone-a}], healthy: [{from: zone-a, to: zone-a}]}",
        );
        let failing = [(0, 2, Verdict::Lossy), (1, 2, Verdict::Down)];
        let grid = between_three(ProbeKind::Udp, &failing);
        assert_eq!(claim.differences(&[grid]), [""; 0]);
    }

    #[test]
    fn a_list_that_names_no_cell_is_a_mistake() {
        let claim = claim("{layer: udp/pod/v4, ignored: [{target: nowhere}]}");
        let grid = between_three(ProbeKind::Udp, &[]);
        assert_eq!(
            claim.differences(&[grid]),
            ["udp/pod/v4: {target: nowhere} is no path of it"]
        );
    }
}
