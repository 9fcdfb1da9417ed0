//! A day of a mesh in the history: its size on disk, and how long a look at its past takes.
//!
//! The day is made up window by window: each path of each layer has its own round-trip time that wavers, loses a probe in
//! a thousand, and once an hour something breaks: a node goes dark, a zone pair loses a fifth, a node's way out is cut, one
//! path dies. The pictures go through what the aggregator has: the recorder, the archive with its roll-ups and retention,
//! the file. Around each incident there is a picture every five seconds, as there is in life, and those are kept; in between
//! there is one at the end of each window.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use jiff::Timestamp;
use meshprobe_aggregator::history::{
    Chronicle, HistoryMetrics, HistorySettings, Layers, Observed, Resolution,
};
use meshprobe_core::dark::NodeState;
use meshprobe_core::diagnosis::{
    CellPicture, Columns, LayerPicture, NodePicture, Picture, RowPicture, Topology, TopologyNode,
};
use meshprobe_core::finding::{Finding, Pattern, Scope};
use meshprobe_core::ids::{NodeName, ZoneIndex};
use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_core::rtt::{Rtt, RttCode};
use meshprobe_core::time::Moment;
use meshprobe_core::verdict::Verdict;
use meshprobe_daemon::clock;
use serde_json::Value;

use super::child::Scratch;
use super::{Arguments, Bench, Promise, Report};

/// See the module.
pub const BENCH: Bench = Bench {
    name: "history",
    summary: "a day of 500 nodes in the history: octets on disk, time of a look at the past",
    run,
};

const KINDS: [(ProbeKind, Plane); 4] = [
    (ProbeKind::Udp, Plane::Pod),
    (ProbeKind::Tcp, Plane::Pod),
    (ProbeKind::Tcp, Plane::Host),
    (ProbeKind::Mtu, Plane::Pod),
];
const ZONES: usize = 3;
/// How long an incident lasts, seconds, and when in the hour it begins.
const LASTS: i64 = 300;
const BEGINS: i64 = 1200;
/// Pictures of an incident begin so long before it.
const BEFORE: i64 = 120;
/// 2026-11-29T00:00:00Z, seconds.
const START: i64 = 1_795_910_400;

#[derive(Debug, Parser)]
struct HistoryArguments {
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(8..=5_000))]
    nodes: u16,
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u8).range(1..))]
    hours: u8,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let arguments: HistoryArguments = arguments.parse();
    let scratch = Scratch::new("history")?;
    let path = scratch.path("history.db");
    let settings = HistorySettings {
        path: path.clone(),
        keep: [24, 7 * 24, 90 * 24].map(|hours| Duration::from_secs(hours * 3600)),
        keep_pictures: Duration::from_secs(90 * 86_400),
        max_octets: 16 << 30,
        pending_octets: 64 << 20,
        picture_span: Duration::from_secs(600),
        picture_octets: 128 << 20,
        bundle_octets: HistorySettings::DEFAULT_BUNDLE_OCTETS,
    };
    let mut world = World::new(usize::from(arguments.nodes), arguments.seed);
    let mut chronicle = Chronicle::new(settings, HistoryMetrics::default(), at(START));
    let end = START + 3600 * i64::from(arguments.hours);
    let mut spent = Duration::ZERO;
    let mut longest = Duration::ZERO;
    let mut opened = Vec::new();
    let mut second = START;
    while second < end {
        let in_hour = (second - START) % 3600;
        let around = (BEGINS - BEFORE..BEGINS + LASTS).contains(&in_hour);
        // The last picture of a window is the one that counts.
        second += if around { 5 } else { 10 };
        let observed = world.picture(second - 1);
        let started = clock::now();
        chronicle.observe(&observed);
        if (second - START) % 3600 == BEGINS + 15 {
            let id = format!("incident-{}", opened.len());
            chronicle.opened(id.clone(), at(second - 1));
            opened.push(id);
        }
        chronicle.tick(at(second));
        let took = clock::now().saturating_duration_since(started);
        spent += took;
        longest = longest.max(took);
        if (second - START) % 3600 == 0 {
            let (octets, windows) = chronicle.size()?;
            let hour = (second - START) / 3600;
            println!(
                "  hour {hour}: {:.1} MB, {windows} rows",
                octets as f64 / 1e6
            );
        }
    }
    chronicle.finish(at(end));
    let (octets, windows) = chronicle.size()?;
    let on_disk = std::fs::metadata(&path).context("look at the file")?.len();
    let (past, coarse) = looks(&chronicle, end)?;
    let bundle = opened
        .last()
        .map(|id| chronicle.bundle(id, Value::Null, at(end)))
        .transpose()?
        .unwrap_or_default();
    let days = f64::from(arguments.hours) / 24.0;
    Ok(Report::default()
        .with(
            "mb_per_day",
            on_disk as f64 / 1e6 / days,
            Promise::AtMost(500.0),
        )
        .with(
            "mb_in_use_per_day",
            octets as f64 / 1e6 / days,
            Promise::None,
        )
        .with(
            "ms_past_matrix",
            past.as_secs_f64() * 1e3,
            Promise::AtMost(200.0),
        )
        .with(
            "ms_past_matrix_10_min",
            coarse.as_secs_f64() * 1e3,
            Promise::AtMost(200.0),
        )
        .with(
            "rows_per_s",
            windows as f64 / spent.as_secs_f64(),
            Promise::None,
        )
        .with(
            "ms_per_picture",
            spent.as_secs_f64() * 1e3 / f64::from(world.made),
            Promise::None,
        )
        .with(
            "ms_longest_step",
            longest.as_secs_f64() * 1e3,
            Promise::None,
        )
        .with("bundle_mb", bundle.len() as f64 / 1e6, Promise::None)
        .with("incidents", opened.len() as f64, Promise::None))
}

/// The slowest of some looks: at windows of ten seconds in an incident, at windows of ten minutes.
fn looks(chronicle: &Chronicle, end: i64) -> anyhow::Result<(Duration, Duration)> {
    let layer = layer(KINDS[0]);
    let mut slowest = Duration::ZERO;
    for moment in (START + BEGINS + 60..end).step_by(3600) {
        let started = clock::now();
        let past = chronicle.at(at(moment), Layers::One(layer))?;
        let matrix = past.layers.first().context("there is no such layer")?;
        let unhealthy = matrix.window.counted.len();
        let plane = matrix.matrix(past.span);
        slowest = slowest.max(clock::now().saturating_duration_since(started));
        anyhow::ensure!(
            unhealthy > 0 && plane.verdicts.len() == matrix.window.axes.paths() as usize,
            "the incident at {moment} is not in the history"
        );
    }
    let mut coarse = Duration::ZERO;
    for moment in (START..end - 600).step_by(3600) {
        let started = clock::now();
        let past = chronicle.at_resolution(at(moment), Layers::One(layer), Resolution::Coarse)?;
        let matrix = past.layers.first().context("there is no such layer")?;
        matrix.matrix(past.span);
        coarse = coarse.max(clock::now().saturating_duration_since(started));
    }
    Ok((slowest, coarse))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
}

const fn layer((kind, plane): (ProbeKind, Plane)) -> Layer {
    Layer {
        kind,
        plane,
        family: Family::V4,
    }
}

/// A mesh that wavers.
struct World {
    nodes: usize,
    topology: Arc<Topology>,
    chance: u64,
    made: u32,
}

/// What is broken at a moment.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Dark(usize),
    Zones,
    Egress(usize),
    Path(usize, usize),
}

impl World {
    fn new(nodes: usize, seed: u64) -> Self {
        let node = |number: usize| TopologyNode {
            name: NodeName::try_from(format!("node-{number:04}.example"))
                .unwrap_or_else(|_| unreachable!("it is a name")),
            zone: ZoneIndex((1 + number % ZONES) as u16),
            lifecycle: Lifecycle::Active,
            is_warming_up: false,
            addresses: Vec::new(),
        };
        Self {
            nodes,
            topology: Arc::new(Topology {
                nodes: (0..nodes).map(|number| Some(node(number))).collect(),
                zones: ["", "zone-a", "zone-b", "zone-c"]
                    .map(str::to_owned)
                    .to_vec(),
            }),
            chance: seed | 1,
            made: 0,
        }
    }

    /// Xorshift: a million draws for each picture.
    fn draw(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn fault(&self, second: i64) -> Fault {
        let (hour, in_hour) = ((second - START) / 3600, (second - START) % 3600);
        if !(BEGINS..BEGINS + LASTS).contains(&in_hour) {
            return Fault::None;
        }
        let node = (hour as usize * 37) % self.nodes;
        match hour % 4 {
            0 => Fault::Dark(node),
            1 => Fault::Zones,
            2 => Fault::Egress(node),
            _ => Fault::Path(node, (node + 5) % self.nodes),
        }
    }

    fn picture(&mut self, second: i64) -> Observed {
        self.made += 1;
        let fault = self.fault(second);
        let layers = KINDS.map(|kind| LayerPicture {
            layer: layer(kind),
            interval: Duration::from_millis(500),
            columns: Columns::Nodes,
            rows: (0..self.nodes)
                .map(|source| Some(self.row(source, fault)))
                .collect(),
        });
        let node = |number| NodePicture {
            state: match fault {
                Fault::Dark(dark) if dark == number => NodeState::Failed(Pattern::NodeDark),
                _ => NodeState::Ok,
            },
            is_reporting: fault != Fault::Dark(number),
            ..NodePicture::UNKNOWN
        };
        let findings = match fault {
            Fault::None => Vec::new(),
            _ => vec![Finding::new(
                Pattern::NodeIngress,
                Scope::everywhere(),
                "499 of 499 nodes lose everything on the way to node-0037.example since 00:20:00",
            )],
        };
        let picture = Picture {
            known: Arc::default(),
            now: Moment::from_millis((second - START) as u64 * 1000),
            topology: Arc::clone(&self.topology),
            layers: layers.into(),
            nodes: (0..self.nodes).map(node).collect(),
            traces: Vec::new(),
        };
        Observed {
            at: at(second),
            picture: Arc::new(picture),
            findings: findings.into(),
            open: Vec::new().into(),
        }
    }

    fn row(&mut self, source: usize, fault: Fault) -> Arc<RowPicture> {
        let silent = fault == Fault::Dark(source);
        let cells = (0..self.nodes).map(|target| {
            if target == source {
                return CellPicture::NOT_SAMPLED;
            }
            if silent {
                return CellPicture {
                    verdict: Verdict::NoData,
                    ..CellPicture::NOT_SAMPLED
                };
            }
            let draw = self.draw();
            let all = matches!(fault, Fault::Dark(node) if node == target)
                || matches!(fault, Fault::Egress(node) if node == source)
                || fault == Fault::Path(source, target);
            let some = fault == Fault::Zones && (source % ZONES, target % ZONES) == (0, 1);
            let sent = 28 + (draw & 7) as u16;
            let lost = if all {
                sent
            } else if some {
                (draw >> 8) as u16 % (sent * 2 / 5)
            } else {
                // One in a thousand of some thirty probes.
                u16::from((draw >> 8) % 1000 < 30)
            };
            // A way of its own for each pair, and a code up or down now and then.
            let base = 70 + (source * 31 + target * 17) % 24;
            let code = base as u64 + [0, 0, 0, 0, 0, 1, 1, 2][(draw >> 24) as usize & 7];
            let rtt = RttCode::from_octet(code as u8).rtt();
            CellPicture {
                verdict: match () {
                    () if all => Verdict::Down,
                    () if some && lost > 3 => Verdict::Lossy,
                    () => Verdict::Healthy,
                },
                failure: (lost > 0).then_some(OutcomeClass::Timeout),
                consecutive_losses: if all { 30 } else { 0 },
                sent,
                lost,
                received: Some(if all { 0 } else { sent - lost }),
                long_sent: 150.0 + (draw >> 32 & 255) as f32 / 256.0,
                long_lost: f32::from(lost),
                long_received: Some(150.0 + (draw >> 40 & 255) as f32 / 256.0),
                rtt: rtt.filter(|_| !all).map(Rtt::as_duration),
                rtt_baseline: RttCode::from_octet(base as u8).rtt().map(Rtt::as_duration),
                ..CellPicture::NOT_SAMPLED
            }
        });
        Arc::new(RowPicture::dense(cells.collect(), Vec::new()))
    }
}
