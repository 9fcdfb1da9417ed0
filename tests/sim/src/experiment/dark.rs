//! Loss and nothing else: no node is ever declared dark, and nothing else is declared either.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use meshprobe_core::finding::Pattern;
use meshprobe_daemon::clock;
use serde::Serialize;

use super::Outcome;
use crate::aggregator::Announced;
use crate::margin::Margin;
use crate::mesh::{Mesh, Spec, Tally, WARM};

/// Between two looks at what was declared.
const STEP: Duration = Duration::from_secs(60);
/// Of the trace, before a false declaration.
const TRACED: Duration = Duration::from_secs(5);
/// Lines of it.
const TRACED_LINES: usize = 400;

/// Meshes and the hours that are simulated by default: what fits into a minute on two cores.
const USUAL: [(usize, [f64; 4]); 4] = [
    // Loss of 0, 1, 10 and 30 %.
    (3, [24.0, 24.0, 6.0, 4.0]),
    (10, [24.0, 6.0, 1.0, 0.3]),
    (50, [12.0, 0.25, 0.03, 0.02]),
    // Zero: it takes minutes to warm up, and is left to the full set.
    (200, [2.0, 0.01, 0.0, 0.0]),
];
const USUAL_LOSS: [f64; 4] = [0.0, 1.0, 10.0, 30.0];
const FULL_NODES: [usize; 7] = [3, 4, 6, 12, 50, 100, 200];

/// Uniform loss for hours: nothing may be declared.
#[derive(Clone, Debug, Parser)]
pub struct DarkArguments {
    /// Sizes of the meshes; default: 3, 10, 50 and 200
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<usize>,
    /// Percent of the packets that are lost, each direction on its own; default: 0, 1, 10 and 30
    #[arg(long, value_delimiter = ',')]
    loss: Vec<f64>,
    /// Hours of virtual time for each; default: less the more there is to simulate
    #[arg(long)]
    hours: Option<f64>,
    /// 3 to 200 nodes, 24 hours each
    #[arg(long)]
    full: bool,
    /// Stop each run after this many seconds of real time, and say how far it came; 0: never
    #[arg(long, default_value_t = 0.0)]
    seconds: f64,
    /// How long a quorum must stand before a node is dark, milliseconds
    #[arg(long, default_value_t = 1_000)]
    hold: u64,
    /// Time between two STAMP probes of one path, milliseconds; default: as planned for the size of the mesh
    #[arg(long)]
    udp_interval: Option<u64>,
    #[arg(long, default_value_t = 2)]
    zones: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs at once; default: one for each processor
    #[arg(long)]
    jobs: Option<usize>,
}

/// What all runs found.
#[derive(Clone, Debug, Serialize)]
pub struct DarkReport {
    passed: bool,
    false_node_dark: usize,
    other_false_declarations: usize,
    is_bound_kept: bool,
    simulated_hours: f64,
    probes: u64,
    max_accusation_share: f64,
    quorums: u64,
    seconds: f64,
    runs: Vec<Run>,
}

/// One mesh at one loss.
#[derive(Clone, Debug, Serialize)]
struct Run {
    nodes: usize,
    loss_percent: f64,
    hours_wanted: f64,
    hours: f64,
    node_hours: f64,
    events: u64,
    #[serde(flatten)]
    tally: Tally,
    #[serde(flatten)]
    margin: Margin,
    seconds: f64,
    false_node_dark: usize,
    other_false_declarations: usize,
    /// What was declared, and the trace before the first of it.
    #[serde(skip)]
    story: String,
}

impl DarkArguments {
    /// Simulates, and prints a line for each run as it ends.
    pub fn run(&self) -> DarkReport {
        let runs = self.plan();
        let started = clock::now();
        let jobs = self
            .jobs
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        println!(
            "nodes   loss  virtual h  real s      probes     losses   weighings  max share  quorums  node-dark  other  accusing at most  quorums a day at most  unseen  declared a day at most"
        );
        let next = AtomicUsize::new(0);
        let done = std::thread::scope(|scope| {
            let work = || {
                let mut done = Vec::new();
                while let Some((number, (nodes, loss, hours))) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    runs.get(number).map(|run| (number, *run))
                } {
                    let run = self.simulate(nodes, loss, hours);
                    println!("{run}");
                    done.push((number, run));
                }
                done
            };
            let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
            let results = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
            let mut done: Vec<(usize, Run)> = Vec::new();
            for result in results {
                match result {
                    Ok(runs) => done.extend(runs),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            done.sort_unstable_by_key(|(number, _)| *number);
            done
        });
        let runs: Vec<Run> = done.into_iter().map(|(_, run)| run).collect();
        for run in runs.iter().filter(|run| !run.story.is_empty()) {
            println!(
                "\n{} nodes, {} % loss, seed {}:\n{}",
                run.nodes, run.loss_percent, self.seed, run.story
            );
        }
        let false_node_dark = runs.iter().map(|run| run.false_node_dark).sum();
        let other = runs.iter().map(|run| run.other_false_declarations).sum();
        let is_bound_kept = runs.iter().all(|run| run.margin.is_bound_kept);
        DarkReport {
            passed: false_node_dark == 0 && other == 0 && is_bound_kept,
            is_bound_kept,
            false_node_dark,
            other_false_declarations: other,
            simulated_hours: runs.iter().map(|run| run.hours).sum(),
            probes: runs.iter().map(|run| run.tally.probes()).sum(),
            max_accusation_share: runs
                .iter()
                .map(|run| run.tally.max_accusation_share)
                .fold(0.0, f64::max),
            quorums: runs.iter().map(|run| run.tally.quorums).sum(),
            seconds: seconds_since(started),
            runs,
        }
    }

    fn plan(&self) -> Vec<(usize, f64, f64)> {
        let losses = if self.loss.is_empty() {
            USUAL_LOSS.to_vec()
        } else {
            self.loss.clone()
        };
        let nodes: Vec<usize> = match (self.nodes.is_empty(), self.full) {
            (false, _) => self.nodes.clone(),
            (true, true) => FULL_NODES.to_vec(),
            (true, false) => USUAL.iter().map(|(nodes, _)| *nodes).collect(),
        };
        let mut runs = Vec::new();
        for nodes in nodes {
            for loss in &losses {
                let hours = self.hours.unwrap_or_else(|| {
                    if self.full {
                        24.0
                    } else {
                        usual_hours(nodes, *loss)
                    }
                });
                if hours > 0.0 {
                    runs.push((nodes, *loss, hours));
                }
            }
        }
        runs
    }

    fn simulate(&self, nodes: usize, loss: f64, hours: f64) -> Run {
        let started = clock::now();
        let mut mesh = Mesh::new(&Spec {
            nodes,
            zones: self.zones.min(nodes),
            loss: loss / 100.0,
            seed: self.seed,
            dark_hold: Some(Duration::from_millis(self.hold)),
            aggregator_on: None,
            udp_interval: self.udp_interval.map(Duration::from_millis),
        });
        mesh.run_for(WARM);
        let begun = mesh.now();
        let end = begun + Duration::from_secs_f64(hours * 3_600.0);
        let mut told: Vec<Announced> = Vec::new();
        let mut story = String::new();
        while mesh.now() < end {
            mesh.run_for(STEP.min(end.saturating_since(mesh.now())));
            let news = mesh.take_announcements();
            if let Some(first) = news.first().filter(|_| told.is_empty()) {
                let before = first.at - TRACED;
                story = mesh
                    .trace()
                    .about(&first.nodes, before, first.at, TRACED_LINES);
            }
            told.extend(news);
            if self.seconds > 0.0 && seconds_since(started) >= self.seconds {
                break;
            }
        }
        let opened = |dark: bool| {
            told.iter()
                .filter(|told| told.is_opening() && is_dark(told.pattern) == dark)
                .count()
        };
        let simulated = mesh.now().saturating_since(begun).as_secs_f64() / 3_600.0;
        let margin = mesh.ballots().margin(
            mesh.tally().quorums,
            simulated,
            Duration::from_millis(self.hold),
        );
        Run {
            nodes,
            loss_percent: loss,
            hours_wanted: hours,
            hours: simulated,
            node_hours: simulated * nodes as f64,
            events: mesh.events(),
            tally: *mesh.tally(),
            margin,
            seconds: seconds_since(started),
            false_node_dark: opened(true),
            other_false_declarations: opened(false),
            story,
        }
    }
}

impl DarkReport {
    /// Weighings with a quorum, of all runs.
    pub fn quorums(&self) -> u64 {
        self.quorums
    }

    /// Were there no more of them than the votes allow? See [`crate::margin`].
    pub fn is_bound_kept(&self) -> bool {
        self.is_bound_kept
    }
}

impl Outcome for DarkReport {
    fn passed(&self) -> bool {
        self.passed
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            nodes,
            loss_percent,
            hours,
            seconds,
            tally,
            margin,
            false_node_dark,
            other_false_declarations,
            ..
        } = self;
        let Tally {
            losses,
            weighings,
            max_accusation_share: share,
            quorums,
            ..
        } = tally;
        let probes = tally.probes();
        let Margin {
            accusing_share,
            accusing_share_at_most,
            quorums_a_day_at_most,
            quorums_a_day_unseen,
            declared_a_day_at_most,
            ..
        } = margin;
        write!(
            f,
            "{nodes:>5}  {loss_percent:>4} %  {hours:>9.3}  {seconds:>6.1}  {probes:>10}  {losses:>9}  {weighings:>10}  {share:>9.3}  {quorums:>7}  {false_node_dark:>9}  {other_false_declarations:>5}  {accusing_share:>7.4} {accusing_share_at_most:>8.4}  {quorums_a_day_at_most:>21.1e}  {quorums_a_day_unseen:>6.0e}  {declared_a_day_at_most:>22.1e}"
        )
    }
}

fn is_dark(pattern: Pattern) -> bool {
    matches!(pattern, Pattern::NodeDark | Pattern::ZoneDark)
}

fn usual_hours(nodes: usize, loss: f64) -> f64 {
    let row = USUAL
        .iter()
        .find(|(size, _)| nodes <= *size)
        .unwrap_or(&USUAL[USUAL.len() - 1]);
    let column = USUAL_LOSS
        .iter()
        .position(|usual| loss <= *usual)
        .unwrap_or(USUAL_LOSS.len() - 1);
    row.1[column]
}

fn seconds_since(started: std::time::Instant) -> f64 {
    clock::now()
        .saturating_duration_since(started)
        .as_secs_f64()
}
