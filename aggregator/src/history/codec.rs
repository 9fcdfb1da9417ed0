//! Windows as octets. What rarely changes (names, which paths are sampled) is a part of its own, which windows refer to.

use std::sync::Arc;

use meshprobe_core::{outcome::OutcomeClass, rtt::RttCode, verdict::Verdict};
use meshprobe_proto::pack::{self, Damaged, Packer, Unpacker};

use super::window::{Axes, Counted, LayerWindow, Line, OddRun, Run, ZoneLine};
use crate::snapshot::PathEnd;

/// The usual level: a window is packed once in ten seconds.
const LEVEL: i32 = 3;
/// Octets of an expanded part or window: the plane of a lossy mesh of 5,000 nodes.
const MOST_OCTETS: usize = 128 << 20;
/// Paths of a layer. Bounds what a damaged file makes a reader allocate.
const MOST_PATHS: u64 = 100_000_000;

/// Packs the names.
pub(super) fn pack_axes(axes: &Axes) -> Vec<u8> {
    let mut packer = Packer::new();
    for ends in [&axes.sources, &axes.targets] {
        packer.number(ends.len() as u64);
        for end in ends {
            packer.block(end.name.as_bytes());
            packer.block(end.zone.as_bytes());
        }
    }
    pack::compress(&packer.finish(), LEVEL)
}

/// The names that were packed.
pub(super) fn unpack_axes(octets: &[u8]) -> Result<Axes, Damaged> {
    let octets = pack::expand(octets, MOST_OCTETS)?;
    let mut unpacker = Unpacker::new(&octets);
    let mut axes = Axes::default();
    for ends in [&mut axes.sources, &mut axes.targets] {
        for _ in 0..unpacker.count()? {
            ends.push(PathEnd {
                name: text(unpacker.block()?)?,
                zone: text(unpacker.block()?)?,
            });
        }
    }
    unpacker.finish()?;
    if axes.paths() > MOST_PATHS {
        return Err(Damaged("a layer has too many paths"));
    }
    Ok(axes)
}

/// Packs which paths are sampled.
pub(super) fn pack_sampled(runs: &[Run]) -> Vec<u8> {
    let mut packer = Packer::new();
    packer.number(runs.len() as u64);
    pack_runs(&mut packer, runs.iter().copied());
    pack::compress(&packer.finish(), LEVEL)
}

/// Which paths are sampled.
pub(super) fn unpack_sampled(octets: &[u8]) -> Result<Vec<Run>, Damaged> {
    let octets = pack::expand(octets, MOST_OCTETS)?;
    let mut unpacker = Unpacker::new(&octets);
    let count = unpacker.count()?;
    let runs = unpack_runs(&mut unpacker, count)?;
    unpacker.finish()?;
    Ok(runs)
}

/// Packs everything but the parts.
pub(super) fn pack_window(window: &LayerWindow) -> Vec<u8> {
    let LayerWindow {
        axes: _,
        sampled: _,
        rows,
        columns,
        zones,
        odd,
        counted,
    } = window;
    let mut packer = Packer::new();
    pack_lines(&mut packer, rows);
    pack_lines(&mut packer, columns);
    packer.number(zones.len() as u64);
    for zone in zones {
        packer.block(zone.from.as_bytes());
        packer.block(zone.to.as_bytes());
    }
    pack_lines(
        &mut packer,
        &zones.iter().map(|zone| zone.line).collect::<Vec<_>>(),
    );
    packer.number(odd.len() as u64);
    pack_runs(&mut packer, odd.iter().map(|odd| odd.run));
    packer.octets(odd.iter().map(|odd| odd.verdict as u8));
    packer.number(counted.len() as u64);
    packer.numbers(steps(counted.iter().map(|one| one.path)));
    packer.numbers(counted.iter().map(|one| one.sent.into()));
    packer.numbers(counted.iter().map(|one| one.lost.into()));
    packer.numbers(
        counted
            .iter()
            .map(|one| one.received.map_or(0, |n| u64::from(n) + 1)),
    );
    packer.octets(counted.iter().map(|one| one.failure.map_or(0, |f| f as u8)));
    packer.octets(counted.iter().map(|one| one.rtt.as_octet()));
    pack::compress(&packer.finish(), LEVEL)
}

/// The window that was packed, with its parts.
pub(super) fn unpack_window(
    axes: Arc<Axes>,
    sampled: Arc<[Run]>,
    octets: &[u8],
) -> Result<LayerWindow, Damaged> {
    let octets = pack::expand(octets, MOST_OCTETS)?;
    let mut unpacker = Unpacker::new(&octets);
    let rows = unpack_lines(&mut unpacker)?;
    let columns = unpack_lines(&mut unpacker)?;
    let count = unpacker.count()?;
    let mut names = Vec::new();
    for _ in 0..count {
        names.push((text(unpacker.block()?)?, text(unpacker.block()?)?));
    }
    let lines = unpack_lines(&mut unpacker)?;
    if rows.len() != axes.sources.len()
        || columns.len() != axes.targets.len()
        || lines.len() != names.len()
    {
        return Err(Damaged("a window does not fit its names"));
    }
    let count = unpacker.count()?;
    let runs = unpack_runs(&mut unpacker, count)?;
    let verdicts = unpacker.octets(count)?;
    let odd = runs.into_iter().zip(verdicts).map(|(run, verdict)| {
        let verdict = Verdict::from_number(*verdict).ok_or(Damaged("there is no such verdict"))?;
        Ok(OddRun { run, verdict })
    });
    let odd = odd.collect::<Result<_, Damaged>>()?;
    let count = unpacker.count()?;
    let mut path = 0_u64;
    let mut paths = Vec::with_capacity(count);
    for step in unpacker.numbers::<u64>(count)? {
        path = path.saturating_add(step);
        paths.push(path);
    }
    let sent: Vec<u32> = unpacker.numbers(count)?;
    let lost: Vec<u32> = unpacker.numbers(count)?;
    let received: Vec<u64> = unpacker.numbers(count)?;
    let failures = unpacker.octets(count)?;
    let rtt = unpacker.octets(count)?;
    unpacker.finish()?;
    let within = |path: u64| path < axes.paths();
    let fits = |run: &Run| run.start.saturating_add(run.length) <= axes.paths();
    let odd: Vec<OddRun> = odd;
    if !paths.iter().copied().all(within)
        || !odd.iter().all(|odd| fits(&odd.run))
        || !sampled.iter().all(fits)
    {
        return Err(Damaged("a window has a path beyond its names"));
    }
    let counted = (0..count).map(|i| Counted {
        path: paths[i],
        sent: sent[i],
        lost: lost[i],
        received: received[i].checked_sub(1).map(|n| n as u32),
        failure: OutcomeClass::from_number(failures[i]),
        rtt: RttCode::from_octet(rtt[i]),
    });
    Ok(LayerWindow {
        rows,
        columns,
        zones: names
            .into_iter()
            .zip(lines)
            .map(|((from, to), line)| ZoneLine { from, to, line })
            .collect(),
        odd,
        counted: counted.collect(),
        axes,
        sampled,
    })
}

fn pack_lines(packer: &mut Packer, lines: &[Line]) {
    packer.number(lines.len() as u64);
    packer.numbers(lines.iter().map(|line| line.paths.into()));
    packer.numbers(lines.iter().map(|line| line.sent.into()));
    packer.numbers(lines.iter().map(|line| line.lost.into()));
    // As a rule every probe is asked for, and what arrived is almost what was sent.
    packer.numbers(
        lines
            .iter()
            .map(|line| line.sent.wrapping_sub(line.asked).into()),
    );
    packer.numbers(
        lines
            .iter()
            .map(|line| line.asked.wrapping_sub(line.received).into()),
    );
    packer.octets(lines.iter().map(|line| line.rtt_median.as_octet()));
    packer.octets(lines.iter().map(|line| line.rtt_p99.as_octet()));
}

fn unpack_lines(unpacker: &mut Unpacker<'_>) -> Result<Vec<Line>, Damaged> {
    let count = unpacker.count()?;
    let paths: Vec<u32> = unpacker.numbers(count)?;
    let sent: Vec<u32> = unpacker.numbers(count)?;
    let lost: Vec<u32> = unpacker.numbers(count)?;
    let unasked: Vec<u32> = unpacker.numbers(count)?;
    let missing: Vec<u32> = unpacker.numbers(count)?;
    let median = unpacker.octets(count)?;
    let p99 = unpacker.octets(count)?;
    let line = |i: usize| {
        let asked = sent[i].wrapping_sub(unasked[i]);
        Line {
            paths: paths[i],
            sent: sent[i],
            lost: lost[i],
            asked,
            received: asked.wrapping_sub(missing[i]),
            rtt_median: RttCode::from_octet(median[i]),
            rtt_p99: RttCode::from_octet(p99[i]),
        }
    };
    Ok((0..count).map(line).collect())
}

/// Distances between ascending numbers.
fn steps(numbers: impl Iterator<Item = u64>) -> impl Iterator<Item = u64> {
    numbers.scan(0_u64, |before, number| {
        Some(number.saturating_sub(std::mem::replace(before, number)))
    })
}

fn pack_runs(packer: &mut Packer, runs: impl Iterator<Item = Run> + Clone) {
    let gaps = runs.clone().scan(0_u64, |end, run| {
        Some(
            run.start
                .saturating_sub(std::mem::replace(end, run.start + run.length)),
        )
    });
    packer.numbers(gaps);
    packer.numbers(runs.map(|run| run.length));
}

fn unpack_runs(unpacker: &mut Unpacker<'_>, count: usize) -> Result<Vec<Run>, Damaged> {
    let gaps: Vec<u64> = unpacker.numbers(count)?;
    let lengths: Vec<u64> = unpacker.numbers(count)?;
    let mut end = 0_u64;
    let run = |(gap, length): (u64, u64)| {
        let start = end
            .checked_add(gap)
            .ok_or(Damaged("a number is too large"))?;
        end = start
            .checked_add(length)
            .filter(|end| *end <= MOST_PATHS)
            .ok_or(Damaged("a layer has too many paths"))?;
        Ok(Run { start, length })
    };
    gaps.into_iter().zip(lengths).map(run).collect()
}

fn text(octets: &[u8]) -> Result<String, Damaged> {
    std::str::from_utf8(octets)
        .map(str::to_owned)
        .map_err(|_| Damaged("a name is no text"))
}
