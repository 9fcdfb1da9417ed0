//! Wall clocks are stepped: nothing is found, nothing is measured wrong, and a cut is found as ever.
//!
//! Each trial steps one clock, by an hour in either direction or by so little that only the stamps could tell, in two thirds of
//! the trials while a probe from or to that node is on its way. All probes are simulated, none is skipped.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Parser;
use meshprobe_core::finding::Pattern;
use serde::Serialize;

use super::Outcome;
use super::trial::{Expected, Treatment, Trial};
use crate::mesh::{Fault, Mesh, SeenReport, Spec, WARM};
use crate::statistics::{Quantiles, Times};

const HOUR: i64 = 3_600_000_000_000;
/// By how much clocks are stepped. Those of milliseconds make round-trip times that look possible.
const STEPS: [i64; 8] = [
    HOUR,
    -HOUR,
    HOUR + 3_700_000_000,
    -HOUR - 2_300_000_000,
    4_000_000,
    -4_000_000,
    8_000_000,
    -1_500_000_000,
];
/// How long the mesh is watched after a step: some windows.
const WATCHED: Duration = Duration::from_secs(35);
/// Two zones are 0.6 ms apart each way, and queues add 0.06 ms on average: 2.5 ms happen once in 10^8 probes.
const LONGEST_RTT: Duration = Duration::from_micros(2_500);
/// A window is as long as the report interval at most, and reports leave at once.
const LONGEST_WINDOW: Duration = Duration::from_millis(10_010);
const LONGEST_AGE: Duration = Duration::from_millis(50);
/// A step throws away what is under way: a probe for each path of the node at most.
const INVALID_PER_PATH: u64 = 1;

/// Wall clocks jump: nothing is found, and nothing is measured wrong.
#[derive(Clone, Debug, Parser)]
pub struct ClockStepArguments {
    #[arg(long, default_value_t = 6)]
    nodes: usize,
    #[arg(long, default_value_t = 2)]
    zones: usize,
    /// Steps of a node's clock; one of the aggregator's, and a cut after a step, for every eight of them
    #[arg(long, default_value_t = 72)]
    steps: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct ClockStepReport {
    passed: bool,
    nodes: usize,
    steps: usize,
    /// Reports that were looked at.
    reports: usize,
    /// STAMP probes that were simulated.
    udp_probes: u64,
    max_rtt_micros: u128,
    max_window_millis: u128,
    max_age_millis: u128,
    invalid_probes: u64,
    cuts: Quantiles,
    failed: usize,
}

/// A mesh whose clocks are stepped, and what went wrong.
struct Series {
    mesh: Mesh,
    failures: Vec<String>,
    seen: Vec<SeenReport>,
}

impl ClockStepArguments {
    /// Simulates, and prints what went wrong.
    pub fn run(&self) -> ClockStepReport {
        let mut mesh = Mesh::new(&Spec {
            nodes: self.nodes,
            zones: self.zones.min(self.nodes),
            loss: 0.0,
            seed: self.seed,
            dark_hold: None,
            aggregator_on: None,
            udp_interval: None,
        });
        mesh.set_skipping(false);
        mesh.run_for(WARM);
        mesh.watch_reports();
        let mut series = Series {
            mesh,
            failures: Vec::new(),
            seen: Vec::new(),
        };
        let mut cuts = Times::default();
        for number in 0..self.steps {
            self.step(&mut series, number);
            if number % STEPS.len() == STEPS.len() - 1 {
                Self::step_aggregator(&mut series, STEPS[number / STEPS.len() % STEPS.len()]);
                cuts.push(self.cut(&mut series));
            }
        }
        for failure in &series.failures {
            println!("FAILED (seed {}): {failure}", self.seed);
        }
        let of = |value: fn(&SeenReport) -> Duration| series.seen.iter().map(value).max();
        let report = ClockStepReport {
            passed: series.failures.is_empty(),
            nodes: self.nodes,
            steps: self.steps,
            reports: series.seen.len(),
            udp_probes: series.mesh.tally().udp_probes,
            max_rtt_micros: of(|seen| seen.max_rtt).unwrap_or_default().as_micros(),
            max_window_millis: of(|seen| seen.window).unwrap_or_default().as_millis(),
            max_age_millis: of(|seen| seen.age).unwrap_or_default().as_millis(),
            invalid_probes: series.seen.iter().map(|seen| seen.invalid).sum(),
            cuts: cuts.quantiles(),
            failed: series.failures.len(),
        };
        println!(
            "{} steps of clocks of {} nodes: {} reports, none late; longest RTT {} µs, window {} ms, age {} ms; {} probes thrown away",
            report.steps,
            report.nodes,
            report.reports,
            report.max_rtt_micros,
            report.max_window_millis,
            report.max_age_millis,
            report.invalid_probes
        );
        report
    }

    /// Steps the clock of a node.
    fn step(&self, series: &mut Series, number: usize) {
        let rest = series.mesh.random_within(Duration::from_secs(12));
        series.mesh.run_for(rest);
        let node = series.mesh.random_index(self.nodes);
        let peer = (node + 1 + series.mesh.random_index(self.nodes - 1)) % self.nodes;
        let nanos = STEPS[number % STEPS.len()];
        // In turns, so that each step comes in each of three situations: at any time, while a probe of the node is on its
        // way, and while it holds somebody else's.
        let under_way = match (number + number / STEPS.len()) % 3 {
            1 => series.mesh.next_under_way(node, peer),
            2 => series.mesh.next_under_way(peer, node),
            _ => None,
        };
        if let Some(at) = under_way {
            let wait = at.saturating_since(series.mesh.now());
            series.mesh.run_for(wait);
        }
        let about = format!("step {number} of node {node} by {nanos} ns");
        let others = 2 * (self.nodes - 1) as u64;
        series.watch(&about, others * INVALID_PER_PATH, |mesh| {
            mesh.step_clock(node, nanos);
        });
    }

    fn step_aggregator(series: &mut Series, nanos: i64) {
        let about = format!("step of the aggregator by {nanos} ns");
        series.watch(&about, 0, |mesh| mesh.step_aggregators_clock(nanos));
    }

    /// A node is cut right after its clock and a peer's were stepped.
    fn cut(&self, series: &mut Series) -> Duration {
        let node = series.mesh.random_index(self.nodes);
        series.mesh.step_clock(node, HOUR);
        series.mesh.step_clock((node + 1) % self.nodes, -HOUR);
        let trial = Trial {
            treatment: Treatment::Faults(vec![Fault::NodeDark(node)], Duration::from_secs(20)),
            expected: Expected::One(Pattern::NodeDark, vec![node]),
        };
        let found = trial.run(&mut series.mesh);
        series.mesh.take_reports();
        match found {
            Ok(time) => time.unwrap_or_default(),
            Err(failure) => {
                series.failures.push(format!("cut after a step: {failure}"));
                Duration::ZERO
            }
        }
    }
}

impl Series {
    /// Does something to a clock and looks at all that is said in the time after it.
    fn watch(&mut self, about: &str, invalid: u64, treat: impl FnOnce(&mut Mesh)) {
        let mesh = &mut self.mesh;
        mesh.take_reports();
        let late = |mesh: &Mesh| mesh.count_reports("late") + mesh.count_reports("rejected");
        let (probes_before, losses_before, late_before) =
            (mesh.tally().udp_probes, mesh.tally().losses, late(mesh));
        mesh.run_for(Duration::from_secs(2));
        let probes_of_two_seconds = mesh.tally().udp_probes - probes_before;
        treat(mesh);
        let begun = mesh.now();
        let probes_before = mesh.tally().udp_probes;
        mesh.run_for(WATCHED);
        let seen = mesh.take_reports();
        let mut wrong = Vec::new();
        let told = mesh.take_announcements();
        if !told.is_empty() {
            wrong.push(format!("{told:#?}"));
        }
        let losses = mesh.tally().losses - losses_before;
        if losses > 0 {
            wrong.push(format!("{losses} probes were lost"));
        }
        let late = late(mesh) - late_before;
        if late > 0 {
            wrong.push(format!("{late} reports were late or refused"));
        }
        let expected = probes_of_two_seconds * WATCHED.as_secs() / 2;
        let probes = mesh.tally().udp_probes - probes_before;
        let paths = (mesh.nodes() * (mesh.nodes() - 1)) as u64;
        if probes.abs_diff(expected) > paths {
            wrong.push(format!(
                "{probes} probes in {WATCHED:?} where {expected} belong"
            ));
        }
        let thrown_away: u64 = by_number(&seen).values().map(|seen| seen.invalid).sum();
        if thrown_away > invalid {
            wrong.push(format!("{thrown_away} probes were thrown away"));
        }
        let bad = |seen: &&SeenReport| {
            seen.max_rtt > LONGEST_RTT
                || seen.window > LONGEST_WINDOW
                || seen.age > LONGEST_AGE
                || seen.lost > 0
        };
        wrong.extend(seen.iter().filter(bad).map(|seen| format!("{seen:?}")));
        wrong.extend(gaps(&seen));
        for what in wrong {
            let at = begun.as_millis();
            self.failures.push(format!("{about} at {at} ms: {what}"));
        }
        self.seen.extend(seen);
    }
}

/// Each report once, whichever ways it came.
fn by_number(seen: &[SeenReport]) -> BTreeMap<(usize, u64), &SeenReport> {
    seen.iter()
        .map(|seen| ((seen.node, seen.sequence), seen))
        .collect()
}

/// Windows of one prober follow each other without a gap: the next one is as long as the time between their ends.
fn gaps(seen: &[SeenReport]) -> Vec<String> {
    let reports = by_number(seen);
    let pairs = reports.iter().zip(reports.iter().skip(1));
    pairs
        .filter(|((a, _), (b, _))| a.0 == b.0)
        .filter_map(|((_, before), (_, after))| {
            let ended = |seen: &SeenReport| seen.at - seen.age;
            let between = ended(after).saturating_since(ended(before));
            // Reports travel some hundred microseconds, and ages and lengths are whole milliseconds.
            let off = between.abs_diff(after.window);
            (off > Duration::from_millis(10)).then(|| format!("{between:?} before {after:?}"))
        })
        .collect()
}

impl Outcome for ClockStepReport {
    fn passed(&self) -> bool {
        self.passed
    }
}
