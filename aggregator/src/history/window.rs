//! What is kept of one layer in one window of time: sums of rows, columns and pairs of zones, and the paths that were not
//! healthy. Whoever is in neither list and was sampled was healthy; who was not sampled is not said to have been.

use std::{collections::BTreeMap, sync::Arc};

use meshprobe_core::{outcome::OutcomeClass, rtt::RttCode, verdict::Verdict};

use crate::snapshot::PathEnd;

/// The ends of the paths of a layer. Rows and columns below are places in its lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Axes {
    /// Nodes, by name.
    pub sources: Vec<PathEnd>,
    /// Nodes by name, or targets.
    pub targets: Vec<PathEnd>,
}

impl Axes {
    /// Paths, sampled or not.
    pub fn paths(&self) -> u64 {
        self.sources.len() as u64 * self.targets.len() as u64
    }

    /// The number of a path: row by row.
    pub fn number(&self, row: usize, column: usize) -> u64 {
        row as u64 * self.targets.len() as u64 + column as u64
    }
}

/// Numbers of paths in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first one.
    pub start: u64,
    /// How many.
    pub length: u64,
}

/// Paths in a row that have one verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OddRun {
    /// Which paths.
    pub run: Run,
    /// Sampled, and not [`Verdict::Healthy`].
    pub verdict: Verdict,
}

/// Counts of one path that was not healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The number of the path.
    pub path: u64,
    /// Valid probes in the fast window.
    pub sent: u32,
    /// Of those, not answered.
    pub lost: u32,
    /// Of those, arrived as the target says.
    pub received: Option<u32>,
    /// How the last failed probe ended.
    pub failure: Option<OutcomeClass>,
    /// Median round-trip time.
    pub rtt: RttCode,
}

/// Many paths together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Paths with data.
    pub paths: u32,
    /// Their valid probes.
    pub sent: u32,
    /// Of those, not answered.
    pub lost: u32,
    /// Valid probes of the paths whose target says how many arrived.
    pub asked: u32,
    /// Of those, arrived.
    pub received: u32,
    /// Median of the paths' median round-trip times.
    pub rtt_median: RttCode,
    /// 99th percentile of the paths' median round-trip times.
    pub rtt_p99: RttCode,
}

/// From one zone to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneLine {
    /// Zone of the sources.
    pub from: String,
    /// Zone of the targets.
    pub to: String,
    /// Their paths.
    pub line: Line,
}

/// One layer in one window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerWindow {
    /// The ends of its paths.
    pub axes: Arc<Axes>,
    /// Paths that were sampled, ascending.
    pub sampled: Arc<[Run]>,
    /// By source.
    pub rows: Vec<Line>,
    /// By target.
    pub columns: Vec<Line>,
    /// By pair of zones; empty for targets that are no nodes.
    pub zones: Vec<ZoneLine>,
    /// Sampled paths that were not healthy, ascending.
    pub odd: Vec<OddRun>,
    /// Counts of those of them that were unhealthy, ascending; at most 20,000.
    pub counted: Vec<Counted>,
}

/// Unhealthy paths of a window whose counts are kept; of the others only the verdict is. A mesh that is lossy everywhere
/// has rows, columns and zones to tell how much.
pub(super) const MOST_COUNTED: usize = 20_000;

impl LayerWindow {
    /// The verdict of each path, row by row.
    pub fn verdicts(&self) -> Vec<u8> {
        let mut plane = vec![Verdict::NotSampled as u8; self.axes.paths() as usize];
        let runs = self.sampled.iter().map(|run| (*run, Verdict::Healthy));
        let odd = self.odd.iter().map(|odd| (odd.run, odd.verdict));
        for (run, verdict) in runs.chain(odd) {
            let (start, end) = (run.start as usize, (run.start + run.length) as usize);
            if let Some(part) = plane.get_mut(start..end) {
                part.fill(verdict as u8);
            }
        }
        plane
    }

    /// The verdict of one path.
    pub fn verdict(&self, row: usize, column: usize) -> Verdict {
        let path = self.axes.number(row, column);
        let holds = |run: &Run| {
            path.checked_sub(run.start)
                .is_some_and(|at| at < run.length)
        };
        // The last run that starts at or before the path.
        let odd = self.odd.partition_point(|odd| odd.run.start <= path);
        if let Some(odd) = odd.checked_sub(1).map(|i| self.odd[i])
            && holds(&odd.run)
        {
            return odd.verdict;
        }
        let sampled = self.sampled.partition_point(|run| run.start <= path);
        match sampled.checked_sub(1).map(|i| self.sampled[i]) {
            Some(run) if holds(&run) => Verdict::Healthy,
            _ => Verdict::NotSampled,
        }
    }

    /// The counts of one path, if it was unhealthy.
    pub fn counts(&self, row: usize, column: usize) -> Option<&Counted> {
        let path = self.axes.number(row, column);
        let found = self.counted.binary_search_by_key(&path, |one| one.path);
        found.ok().map(|i| &self.counted[i])
    }
}

/// Makes runs out of a plane of verdicts: what was sampled, and what was not healthy.
pub(super) fn runs(plane: &[u8]) -> (Vec<Run>, Vec<OddRun>) {
    let (mut sampled, mut odd): (Vec<Run>, Vec<OddRun>) = (Vec::new(), Vec::new());
    let mut start = 0;
    for part in plane.chunk_by(|one, next| one == next) {
        let run = Run {
            start,
            length: part.len() as u64,
        };
        start += run.length;
        let verdict = Verdict::from_number(part[0]).unwrap_or_default();
        if verdict == Verdict::NotSampled {
            continue;
        }
        match sampled.last_mut() {
            Some(last) if last.start + last.length == run.start => last.length += run.length,
            _ => sampled.push(run),
        }
        if verdict != Verdict::Healthy {
            odd.push(OddRun { run, verdict });
        }
    }
    (sampled, odd)
}

/// Sums up paths into a [`Line`].
#[derive(Clone, Debug)]
pub(super) struct Sum {
    line: Line,
    /// Paths by the code of their round-trip time.
    codes: [u32; 256],
}

impl Sum {
    pub(super) const EMPTY: Self = Self {
        line: Line {
            paths: 0,
            sent: 0,
            lost: 0,
            asked: 0,
            received: 0,
            rtt_median: RttCode::NONE,
            rtt_p99: RttCode::NONE,
        },
        codes: [0; 256],
    };

    /// A path with data.
    pub(super) fn add(&mut self, sent: u16, lost: u16, received: Option<u16>, rtt: RttCode) {
        let line = &mut self.line;
        line.paths += 1;
        line.sent = line.sent.saturating_add(sent.into());
        line.lost = line.lost.saturating_add(lost.into());
        if let Some(received) = received {
            line.asked = line.asked.saturating_add(sent.into());
            line.received = line.received.saturating_add(received.into());
        }
        self.codes[usize::from(rtt.as_octet())] += 1;
    }

    pub(super) fn line(&self) -> Line {
        Line {
            rtt_median: self.quantile(50),
            rtt_p99: self.quantile(99),
            ..self.line
        }
    }

    fn quantile(&self, percent: u64) -> RttCode {
        // Code 0 is "not measured".
        let measured: u64 = self.codes[1..].iter().map(|count| u64::from(*count)).sum();
        let wanted = (measured * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (code, count) in (0..=255_u8).zip(self.codes).skip(1) {
            seen += u64::from(count);
            if seen >= wanted {
                return RttCode::from_octet(code);
            }
        }
        RttCode::NONE
    }
}

/// One line for the same paths in several windows.
pub(super) fn merged_line<'a>(lines: impl Iterator<Item = &'a Line>) -> Line {
    let mut merged = Line::default();
    let mut medians: Vec<RttCode> = Vec::new();
    for line in lines {
        merged.paths = merged.paths.max(line.paths);
        merged.sent = merged.sent.saturating_add(line.sent);
        merged.lost = merged.lost.saturating_add(line.lost);
        merged.asked = merged.asked.saturating_add(line.asked);
        merged.received = merged.received.saturating_add(line.received);
        merged.rtt_p99 = merged.rtt_p99.max(line.rtt_p99);
        if !line.rtt_median.is_none() {
            medians.push(line.rtt_median);
        }
    }
    medians.sort_unstable();
    merged.rtt_median = medians.get(medians.len() / 2).copied().unwrap_or_default();
    merged
}

/// One layer over several windows: sums of counts; of a path the worst that was seen, else health if it ever was
/// healthy, else that there was no data.
pub(super) fn merge(windows: &[LayerWindow]) -> LayerWindow {
    let axes = merged_axes(windows);
    let mut plane = vec![Verdict::NotSampled as u8; axes.paths() as usize];
    let mut counted: BTreeMap<u64, Counted> = BTreeMap::new();
    let places = |of: &[PathEnd], all: &[PathEnd]| {
        let known: std::collections::HashMap<&str, usize> = all
            .iter()
            .enumerate()
            .map(|(place, end)| (end.name.as_str(), place))
            .collect();
        of.iter()
            .map(|end| known.get(end.name.as_str()).copied().unwrap_or_default())
            .collect::<Vec<usize>>()
    };
    let (mut rows, mut columns) = (
        vec![Vec::new(); axes.sources.len()],
        vec![Vec::new(); axes.targets.len()],
    );
    let mut zones: BTreeMap<(&str, &str), Vec<&Line>> = BTreeMap::new();
    for window in windows {
        let row_of = places(&window.axes.sources, &axes.sources);
        let column_of = places(&window.axes.targets, &axes.targets);
        let width = column_of.len().max(1);
        for (i, part) in window.verdicts().chunks(width).enumerate() {
            for (j, verdict) in part.iter().enumerate() {
                let known = &mut plane[axes.number(row_of[i], column_of[j]) as usize];
                // Not sampled, no data, healthy, slow, lossy, suspect, down: in this order.
                *known = (*known).max(*verdict);
            }
        }
        for one in &window.counted {
            let (i, j) = (one.path as usize / width, one.path as usize % width);
            let path = axes.number(row_of[i], column_of[j]);
            let sum = counted.entry(path).or_insert(Counted {
                path,
                sent: 0,
                lost: 0,
                received: None,
                failure: None,
                rtt: RttCode::NONE,
            });
            sum.sent = sum.sent.saturating_add(one.sent);
            sum.lost = sum.lost.saturating_add(one.lost);
            sum.received = match (sum.received, one.received) {
                (Some(sum), Some(one)) => Some(sum.saturating_add(one)),
                (one, other) => one.or(other),
            };
            sum.failure = one.failure.or(sum.failure);
            sum.rtt = sum.rtt.max(one.rtt);
        }
        for (line, row) in window.rows.iter().zip(&row_of) {
            rows[*row].push(line);
        }
        for (line, column) in window.columns.iter().zip(&column_of) {
            columns[*column].push(line);
        }
        for zone in &window.zones {
            let pair = (zone.from.as_str(), zone.to.as_str());
            zones.entry(pair).or_default().push(&zone.line);
        }
    }
    let (sampled, odd) = runs(&plane);
    let all = |lines: &[Vec<&Line>]| {
        let merged = lines.iter().map(|lines| merged_line(lines.iter().copied()));
        merged.collect()
    };
    LayerWindow {
        sampled: sampled.into(),
        rows: all(&rows),
        columns: all(&columns),
        zones: zones
            .iter()
            .map(|((from, to), lines)| ZoneLine {
                from: (*from).to_owned(),
                to: (*to).to_owned(),
                line: merged_line(lines.iter().copied()),
            })
            .collect(),
        odd,
        counted: counted.into_values().take(MOST_COUNTED).collect(),
        axes,
    }
}

fn merged_axes(windows: &[LayerWindow]) -> Arc<Axes> {
    let Some(last) = windows.last() else {
        return Arc::default();
    };
    if windows.iter().all(|window| window.axes == last.axes) {
        return Arc::clone(&last.axes);
    }
    let all = |of: fn(&Axes) -> &[PathEnd]| {
        let ends = windows.iter().flat_map(|window| of(&window.axes));
        let by_name: BTreeMap<&str, &PathEnd> = ends.map(|end| (end.name.as_str(), end)).collect();
        by_name.into_values().cloned().collect()
    };
    Arc::new(Axes {
        sources: all(|axes| &axes.sources),
        targets: all(|axes| &axes.targets),
    })
}
