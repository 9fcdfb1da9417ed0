//! How long one look of the diagnosis takes: a full mesh, a sampled one, healthy and with faults, and when nothing changed.
//!
//! Pictures as the aggregator makes them, without the aggregator. CPU time of one thread; the median of several looks. A look
//! comes every second, and a report every ten: from one to the next a tenth of the rows is new. The first look after a start
//! finds all of them new; it is measured as well.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use meshprobe_core::dark::NodeState;
use meshprobe_core::diagnosis::{
    Arrived, CellPicture, Columns, Diagnoser, DiagnosisConfig, LayerPicture, NodePicture, Picture,
    RowPicture, Topology, TopologyNode, diagnose,
};
use meshprobe_core::ids::{NodeName, ZoneIndex};
use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_core::time::Moment;
use meshprobe_core::verdict::Verdict;

use super::child::thread_cpu_time;
use super::{Arguments, Bench, Promise, Report};

/// See the module.
pub const BENCH: Bench = Bench {
    name: "diagnose",
    summary: "CPU time of one look of the diagnosis at a full mesh, a sampled one, and one that has not changed",
    run,
};

const LAYERS: [(ProbeKind, Plane, u64); 4] = [
    (ProbeKind::Udp, Plane::Pod, 1),
    (ProbeKind::Tcp, Plane::Pod, 5),
    (ProbeKind::Tcp, Plane::Host, 5),
    (ProbeKind::Icmp, Plane::Pod, 5),
];
const ZONES: usize = 4;
/// When the pictures are taken; any moment after the counts are full.
const NOW: Moment = Moment::from_millis(1_000_000);

#[derive(Debug, Parser)]
struct DiagnoseArguments {
    /// Nodes of the full mesh
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(10..))]
    nodes: u16,
    /// Nodes of the sampled mesh
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u16).range(100..))]
    sampled_nodes: u16,
    /// Whom each node of the sampled mesh probes
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(4..))]
    sample: u16,
    /// Looks that are measured
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// Nothing arrives at one node.
    Ingress,
    /// Three of ten packets between two zones are lost.
    Zones,
}

impl Fault {
    /// The share of packets from a node to another that it takes.
    fn loss(self, from: usize, to: usize) -> f64 {
        let zones = (from % ZONES, to % ZONES);
        match self {
            Self::Ingress if to == 7 => 1.0,
            Self::Zones if zones == (0, 1) || zones == (1, 0) => 0.3,
            _ => 0.0,
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let arguments: DiagnoseArguments = arguments.parse();
    let rounds = arguments.rounds;
    let full = |fault| picture(arguments.nodes.into(), None, fault);
    let sample = Some(arguments.sample.into());
    let sampled = |fault| picture(arguments.sampled_nodes.into(), sample, fault);
    let (healthy, unchanged) = looks("healthy", full(Fault::Nothing), rounds, 0)?;
    let (ingress, _) = looks("node_ingress", full(Fault::Ingress), rounds, 1)?;
    let (zones, _) = looks("zone_pair", full(Fault::Zones), rounds, 1)?;
    let (sampled_healthy, _) = looks("sampled_healthy", sampled(Fault::Nothing), rounds, 0)?;
    let (sampled_zones, _) = looks("sampled_zone_pair", sampled(Fault::Zones), rounds, 1)?;
    let mut report = Report::default();
    for (usual, first, figures, most) in [
        ("ms_healthy", "ms_healthy_first", healthy, 50.0),
        ("ms_node_ingress", "ms_node_ingress_first", ingress, 50.0),
        ("ms_zone_pair", "ms_zone_pair_first", zones, 50.0),
        (
            "ms_sampled_healthy",
            "ms_sampled_healthy_first",
            sampled_healthy,
            200.0,
        ),
        (
            "ms_sampled_zone_pair",
            "ms_sampled_zone_pair_first",
            sampled_zones,
            200.0,
        ),
    ] {
        report = report
            .with(usual, figures.usual, Promise::AtMost(most))
            .with(first, figures.first, Promise::None);
    }
    Ok(report.with("ms_unchanged", unchanged, Promise::AtMost(1.0)))
}

/// Milliseconds.
struct Looks {
    /// Every row is new.
    first: f64,
    /// A tenth of them is.
    usual: f64,
}

/// Looks that each have to find so many causes, and one at a picture that has not changed.
fn looks(
    name: &str,
    mut picture: Picture,
    rounds: u32,
    causes: usize,
) -> anyhow::Result<(Looks, f64)> {
    println!("{name}");
    let is_right = |found: usize| {
        anyhow::ensure!(found == causes, "{found} findings, {causes} are right");
        Ok(())
    };
    let config = DiagnosisConfig::default();
    let first = median(
        rounds,
        &mut (),
        |()| (),
        |()| is_right(diagnose(&picture, &config).findings.len()),
    )?;
    let mut diagnoser = Diagnoser::default();
    diagnoser.diagnose(&picture);
    let mut round = 0;
    let usual = median(
        rounds,
        &mut picture,
        |picture| {
            renew(picture, round);
            round += 1;
        },
        |picture| is_right(diagnoser.diagnose(picture).findings.len()),
    )?;
    let unchanged = median(
        rounds,
        &mut picture,
        |_| (),
        |picture| is_right(diagnoser.diagnose(picture).findings.len()),
    )?;
    Ok((Looks { first, usual }, unchanged))
}

/// One report of each tenth source comes in.
fn renew(picture: &mut Picture, round: usize) {
    for layer in &mut picture.layers {
        for row in layer.rows.iter_mut().skip(round % 10).step_by(10) {
            let new = row.as_deref().cloned();
            *row = new.map(Arc::new);
        }
    }
}

/// The median time of a step, each after a preparation that is not measured.
fn median<S>(
    rounds: u32,
    state: &mut S,
    mut prepare: impl FnMut(&mut S),
    mut step: impl FnMut(&mut S) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        prepare(state);
        let before = thread_cpu_time()?;
        step(state)?;
        let taken = thread_cpu_time()?.saturating_sub(before);
        times.push(taken.as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let middle = times[times.len() / 2];
    println!(
        "  {middle:.3} ms ({:.3} to {:.3})",
        times[0],
        times[times.len() - 1]
    );
    Ok(middle)
}

fn picture(nodes: usize, sample: Option<usize>, fault: Fault) -> Picture {
    let topology = Topology {
        nodes: (0..nodes).map(|node| Some(node_of(node))).collect(),
        zones: std::iter::once(String::new())
            .chain((0..ZONES).map(|zone| format!("zone-{zone}")))
            .collect(),
    };
    let layers = LAYERS
        .iter()
        .enumerate()
        .map(|(number, (kind, plane, seconds))| {
            let row = |from: usize| Some(Arc::new(row(number, *kind, nodes, sample, from, fault)));
            LayerPicture {
                layer: Layer {
                    kind: *kind,
                    plane: *plane,
                    family: Family::V4,
                },
                interval: Duration::from_secs(*seconds),
                columns: Columns::Nodes,
                rows: (0..nodes).map(row).collect(),
            }
        });
    Picture {
        known: Arc::default(),
        now: NOW,
        topology: Arc::new(topology),
        layers: layers.collect(),
        nodes: vec![
            NodePicture {
                state: NodeState::Ok,
                is_reporting: true,
                ..NodePicture::UNKNOWN
            };
            nodes
        ],
        traces: Vec::new(),
    }
}

fn node_of(node: usize) -> TopologyNode {
    let name = NodeName::try_from(format!("node-{node}"));
    TopologyNode {
        name: name.unwrap_or_else(|error| unreachable!("a number makes a good name: {error}")),
        zone: ZoneIndex((node % ZONES) as u16 + 1),
        lifecycle: Lifecycle::Active,
        is_warming_up: false,
        addresses: Vec::new(),
    }
}

fn row(
    layer: usize,
    kind: ProbeKind,
    nodes: usize,
    sample: Option<usize>,
    from: usize,
    fault: Fault,
) -> RowPicture {
    let cell = |to: usize| {
        if to == from {
            CellPicture::NOT_SAMPLED
        } else {
            cell(
                kind,
                mix([layer, from, to]),
                fault.loss(from, to),
                fault.loss(to, from),
            )
        }
    };
    let Some(sample) = sample else {
        return RowPicture::dense((0..nodes).map(cell).collect(), Vec::new());
    };
    let mut columns: Vec<u32> = (1..=sample)
        .map(|step| ((from + step * (nodes / (sample + 1)) + step) % nodes) as u32)
        .filter(|to| *to as usize != from)
        .collect();
    columns.sort_unstable();
    columns.dedup();
    RowPicture {
        cells: columns.iter().map(|to| cell(*to as usize)).collect(),
        columns: Some(columns.into()),
        details: Vec::new(),
    }
}

/// A path some minutes after its fault began. One healthy path in twelve still remembers a lost packet: a loss of 0.1 %.
fn cell(kind: ProbeKind, draw: u64, out: f64, back: f64) -> CellPicture {
    let counts = matches!(kind, ProbeKind::Udp);
    let good = CellPicture {
        verdict: Verdict::Healthy,
        consecutive_replies: u8::MAX,
        sent: 15,
        received: counts.then_some(15),
        long_sent: 80.0,
        long_received: counts.then_some(80.0),
        ..CellPicture::NOT_SAMPLED
    };
    let through = (1.0 - out) * (1.0 - back);
    if through >= 1.0 {
        return if draw.is_multiple_of(12) {
            CellPicture {
                consecutive_replies: (draw >> 8) as u8 | 64,
                long_lost: 0.6,
                long_received: counts.then_some(79.7),
                ..good
            }
        } else {
            good
        };
    }
    if through <= 0.0 {
        return CellPicture {
            verdict: Verdict::Down,
            failure: Some(OutcomeClass::Timeout),
            consecutive_losses: u8::MAX,
            consecutive_replies: 0,
            failing_for: Duration::from_secs(200),
            arrived_in_row: counts.then_some(if out < 1.0 {
                Arrived::Most
            } else {
                Arrived::Nothing
            }),
            lost: 15,
            slot_lost: [5, 10],
            received: counts.then_some(if out < 1.0 { 15 } else { 0 }),
            long_lost: 75.0,
            long_received: counts.then_some(if out < 1.0 { 80.0 } else { 5.0 }),
            ..good
        };
    }
    // The same share of each path, give or take a packet.
    let lost = |sent: f64, through: f64| sent * (1.0 - through);
    let spread = (draw >> 16 & 3) as f64 - 1.5;
    CellPicture {
        verdict: Verdict::Lossy,
        failure: Some(OutcomeClass::Timeout),
        consecutive_replies: (draw >> 24) as u8 & 1,
        lost: (lost(15.0, through) + spread).round() as u16,
        slot_lost: [3, 4],
        received: counts.then_some((15.0 * (1.0 - out)).round() as u16),
        long_lost: (lost(80.0, through) + spread) as f32,
        long_received: counts.then_some((80.0 * (1.0 - out)) as f32),
        ..good
    }
}

/// The finaliser of `SplitMix64` over some numbers.
fn mix(numbers: [usize; 3]) -> u64 {
    numbers.into_iter().fold(1, |state: u64, number| {
        let mut z = (state ^ number as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}
