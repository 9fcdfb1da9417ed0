//! The paths of one source in one layer: one cell for each phase of its healthy paths, which are all alike, and one of its own
//! for each path that lost something lately.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshprobe_core::cell::PathCell;
use meshprobe_core::coverage::Coverage;
use meshprobe_core::detail::Detail;
use meshprobe_core::diagnosis::RowPicture;
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::rtt::Rtt;
use meshprobe_core::window::{LostWays, Summary};
use meshprobe_prober::udp::flow_loss::FlowTable;

use super::cell::{apply, cover};
use super::wire::Condition;
use super::world::LayerSpec;

/// A path that lost nothing for so many seconds is like all others again: what is left in its counts is 1 % of it.
const SETTLED: u32 = 360;

/// A path that is not like the others of its row, and what its open window holds beside what theirs do.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) cell: PathCell,
    /// Probes more (the confirming ones) or fewer (invalid ones) than a healthy path sends.
    pub(super) extra: i32,
    pub(super) lost: u32,
    /// Probes of the target that arrived, more or fewer than those of a healthy one.
    pub(super) received: i32,
    /// Which way lost the probes of the open window, as far as a reply has told.
    pub(super) lost_ways: LostWays,
    /// Those of which no reply has told yet.
    pub(super) untold: LostWays,
    /// Losses in a row.
    pub(super) streak: u32,
    pub(super) failure: Option<OutcomeClass>,
    /// It is probed closely until then.
    pub(super) watched_until: u32,
    /// When something last happened.
    pub(super) touched: u32,
    /// Source port of the next probe.
    pub(super) port: u8,
    pub(super) detail: Option<Detail>,
    pub(super) micros: u64,
}

impl Path {
    fn new(cell: PathCell, now: u32) -> Self {
        Self {
            cell,
            extra: 0,
            lost: 0,
            received: 0,
            lost_ways: LostWays::default(),
            untold: LostWays::default(),
            streak: 0,
            failure: None,
            watched_until: 0,
            touched: now,
            port: 0,
            detail: None,
            micros: 0,
        }
    }
}

/// All paths of one source between nodes.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) source: usize,
    /// Healthy paths, by their phase.
    pub(super) regular: Vec<PathCell>,
    pub(super) coverage: Coverage,
    pub(super) paths: BTreeMap<usize, Path>,
    /// What is wrong with paths, by target, ascending.
    pub(super) conditions: Vec<(usize, Condition)>,
    /// Healthy probes until the next one that is lost.
    pub(super) until_loss: u64,
    pub(super) flows: FlowTable,
    pub(super) shown: Option<Arc<RowPicture>>,
    pub(super) is_changed: bool,
}

impl Row {
    pub(super) fn new(source: usize, spec: &LayerSpec, until_loss: u64) -> Self {
        Self {
            source,
            regular: vec![PathCell::EMPTY; spec.every as usize],
            coverage: Coverage::default(),
            paths: BTreeMap::new(),
            conditions: Vec::new(),
            until_loss,
            flows: FlowTable::default(),
            shown: None,
            is_changed: false,
        }
    }

    /// The path to a target, as one of its own.
    pub(super) fn path(&mut self, spec: &LayerSpec, target: usize, now: u32) -> &mut Path {
        let cell = self.regular[phase(spec, self.source, target)];
        let path = self
            .paths
            .entry(target)
            .or_insert_with(|| Path::new(cell, now));
        path.touched = now;
        path
    }

    /// What is wrong with the path to a target.
    pub(super) fn condition(&self, target: usize) -> Option<&Condition> {
        let found = self.conditions.binary_search_by_key(&target, |(at, _)| *at);
        found.ok().map(|i| &self.conditions[i].1)
    }

    /// Closes the window that began after second `start` and ends with `now`.
    pub(super) fn report(&mut self, spec: &LayerSpec, start: u32, now: u32, counts: bool) {
        cover(&mut self.coverage, start, now, &spec.thresholds);
        let window_millis = (now - start) * 1_000;
        let received = if counts {
            (now - start) * spec.at_once
        } else {
            0
        };
        let healthy = rtt(spec, 0);
        for (phase, cell) in self.regular.iter_mut().enumerate() {
            let sent = turns(spec, phase, start, now);
            if sent == 0 && received == 0 {
                continue;
            }
            let summary = Summary {
                window_millis,
                sent,
                replied: sent,
                received,
                ..if sent > 0 {
                    healthy
                } else {
                    Summary::default()
                }
            };
            apply(cell, &summary, now, &spec.thresholds);
        }
        let source = self.source;
        let conditions = &self.conditions;
        self.paths.retain(|target, path| {
            let turns = turns(spec, phase(spec, source, *target), start, now);
            let sent = (turns as i32 + path.extra).max(0) as u32;
            let replied = sent.saturating_sub(path.lost);
            let received = (received as i32 + path.received).max(0) as u32;
            if sent > 0 || received > 0 {
                let times = if replied > 0 {
                    rtt(spec, path.micros)
                } else {
                    Summary::default()
                };
                let summary = Summary {
                    window_millis,
                    sent,
                    replied,
                    received,
                    lost_ways: std::mem::take(&mut path.lost_ways),
                    consecutive_losses: path.streak.min(255) as u8,
                    last_failure: path.failure,
                    ..times
                };
                apply(&mut path.cell, &summary, now, &spec.thresholds);
            }
            (path.extra, path.lost, path.received, path.failure) = (0, 0, 0, None);
            path.streak > 0
                || now.saturating_sub(path.touched) < SETTLED
                || conditions
                    .binary_search_by_key(target, |(at, _)| *at)
                    .is_ok()
        });
        self.is_changed = true;
    }
}

/// In which second of the interval a path's probes leave: spread over it, for each source and for each target.
pub(super) fn phase(spec: &LayerSpec, source: usize, target: usize) -> usize {
    (target + 7 * source) % spec.every as usize
}

/// Does a path of this phase have its turn in this second?
pub(super) fn is_due(spec: &LayerSpec, phase: usize, now: u32) -> bool {
    (now as usize + phase).is_multiple_of(spec.every as usize)
}

/// Probes of a healthy path of this phase in the seconds after `start` up to `end`.
fn turns(spec: &LayerSpec, phase: usize, start: u32, end: u32) -> u32 {
    let every = spec.every as usize;
    let upto = |second: u32| (second as usize + phase) / every;
    (upto(end) - upto(start)) as u32 * spec.at_once
}

/// Round-trip times in a window whose probes take so much longer than usual.
pub(super) fn rtt(spec: &LayerSpec, micros: u64) -> Summary {
    use meshprobe_core::path::{Plane, ProbeKind};
    let base = match spec.layer.kind {
        ProbeKind::Tls | ProbeKind::Http | ProbeKind::Quic => 4_000,
        ProbeKind::TcpConnect | ProbeKind::DnsSearch => 1_500,
        _ if spec.layer.plane == Plane::Host => 250,
        _ => 400,
    };
    let code = |percent: u64| Rtt::from_nanos((base * percent / 100 + micros) * 1_000).code();
    Summary {
        rtt_min: code(80),
        rtt_median: code(100),
        rtt_max: code(150),
        ..Summary::default()
    }
}
