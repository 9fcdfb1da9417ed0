//! Nodes are cut at random moments: each is found, in time, and only it; and what is no dark node is not called one.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Parser;
use meshprobe_core::finding::Pattern;
use serde::Serialize;

use super::Outcome;
use super::trial::{Expected, Treatment, Trial};
use crate::mesh::{Fault, Mesh, Spec, WARM};
use crate::statistics::{Quantiles, Times};

/// Trials of each other kind, for each so many cuts.
const CUTS_FOR_ONE: usize = 10;
/// A freeze that pages nobody.
const FREEZE: Duration = Duration::from_millis(800);

/// Cuts at random moments: each is found, and nothing else.
#[derive(Clone, Debug, Parser)]
pub struct CutsArguments {
    #[arg(long, default_value_t = 10)]
    nodes: usize,
    #[arg(long, default_value_t = 2)]
    zones: usize,
    /// Cuts of one node, for each setting of the hold
    #[arg(long, default_value_t = 50)]
    cuts: usize,
    /// Percent of the packets that are lost besides
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Time between two STAMP probes of one path, milliseconds; default: as planned for the size of the mesh
    #[arg(long)]
    udp_interval: Option<u64>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct CutsReport {
    passed: bool,
    nodes: usize,
    cuts: usize,
    hold_0: Quantiles,
    hold_1: Quantiles,
    /// Other trials by name: how many, and how many failed.
    trials: BTreeMap<&'static str, Count>,
    failed: usize,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Count {
    run: usize,
    failed: usize,
}

/// Trials with one setting of the hold.
struct Series {
    mesh: Mesh,
    counts: BTreeMap<&'static str, Count>,
    failures: Vec<String>,
}

impl CutsArguments {
    /// Simulates, and prints the distributions.
    pub fn run(&self) -> CutsReport {
        let mut report = CutsReport {
            passed: true,
            nodes: self.nodes,
            cuts: self.cuts,
            hold_0: Quantiles::default(),
            hold_1: Quantiles::default(),
            trials: BTreeMap::new(),
            failed: 0,
        };
        // Two nodes cannot tell which of them is at fault before the other one has fallen silent as well.
        let holds: &[Duration] = if self.nodes == 2 {
            &[Duration::from_secs(1)]
        } else {
            &[Duration::ZERO, Duration::from_secs(1)]
        };
        for hold in holds.iter().copied() {
            let mut series = self.begin(hold, None);
            let times = self.cut(&mut series);
            let quantiles = times.quantiles();
            println!(
                "hold {} s: {} of {} cuts found; p50 {:.3} s, p99 {:.3} s, max {:.3} s",
                hold.as_secs(),
                quantiles.count,
                self.cuts,
                quantiles.p50_s,
                quantiles.p99_s,
                quantiles.max_s
            );
            print!("{times}");
            if hold.is_zero() {
                report.hold_0 = quantiles;
            } else {
                report.hold_1 = quantiles;
                self.try_the_rest(&mut series);
            }
            self.add(&mut report, &series);
        }
        if self.nodes > 2 {
            let mut series = self.begin(Duration::from_secs(1), Some(0));
            self.cut_the_aggregators_node(&mut series);
            self.add(&mut report, &series);
        }
        for (name, Count { run, failed }) in &report.trials {
            println!("{name:<24} {run:>4} tried, {failed} failed");
        }
        report.passed = report.failed == 0;
        report
    }

    fn add(&self, report: &mut CutsReport, series: &Series) {
        for (name, count) in &series.counts {
            let total = report.trials.entry(name).or_default();
            total.run += count.run;
            total.failed += count.failed;
        }
        for failure in &series.failures {
            println!("\nFAILED (seed {}): {failure}", self.seed);
        }
        report.failed += series.failures.len();
    }

    /// The aggregator runs on a node that is cut: the prober beside it still reports, and accuses everybody.
    fn cut_the_aggregators_node(&self, series: &mut Series) {
        for _ in 0..self.cuts.div_ceil(CUTS_FOR_ONE) {
            let trial = Trial {
                treatment: Treatment::Faults(vec![Fault::NodeDark(0)], series.lasting()),
                expected: Expected::One(Pattern::AggregatorIsolated, Vec::new()),
            };
            series.run("aggregators-node-cut", &trial);
        }
    }

    fn begin(&self, hold: Duration, aggregator_on: Option<usize>) -> Series {
        let mut mesh = Mesh::new(&Spec {
            nodes: self.nodes,
            zones: self.zones.min(self.nodes),
            loss: self.loss / 100.0,
            seed: self.seed,
            dark_hold: Some(hold),
            aggregator_on,
            udp_interval: self.udp_interval.map(Duration::from_millis),
        });
        mesh.run_for(WARM);
        Series {
            mesh,
            counts: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    fn cut(&self, series: &mut Series) -> Times {
        let mut times = Times::default();
        for _ in 0..self.cuts {
            let node = series.mesh.random_index(self.nodes);
            let trial = Trial {
                treatment: Treatment::Faults(vec![Fault::NodeDark(node)], series.lasting()),
                expected: Expected::One(Pattern::NodeDark, vec![node]),
            };
            if let Some(time) = series.run("node-dark", &trial) {
                times.push(time);
            }
        }
        times
    }

    /// What needs the hold, or does not depend on it.
    fn try_the_rest(&self, series: &mut Series) {
        for _ in 0..self.cuts.div_ceil(CUTS_FOR_ONE) {
            let node = series.mesh.random_index(self.nodes);
            let other = (node + 1 + series.mesh.random_index(self.nodes - 1)) % self.nodes;
            let one = |fault| vec![fault];
            let of_node = |pattern| {
                if self.nodes == 2 {
                    Expected::One(Pattern::UnreachableUnconfirmed, vec![0, 1])
                } else {
                    Expected::One(pattern, vec![node])
                }
            };
            let mut trials = vec![
                (
                    "freeze",
                    one(Fault::NodeDark(node)),
                    FREEZE,
                    Expected::Nothing,
                ),
                (
                    "aggregator-isolated",
                    one(Fault::Aggregator),
                    series.lasting(),
                    Expected::One(Pattern::AggregatorIsolated, Vec::new()),
                ),
                (
                    "isolated",
                    one(Fault::PodNetwork(node)),
                    series.lasting(),
                    of_node(Pattern::Isolated),
                ),
                (
                    "ingress-dead",
                    one(Fault::PodIngress(node)),
                    series.lasting(),
                    of_node(Pattern::IngressDead),
                ),
                (
                    "egress-dead",
                    one(Fault::PodEgress(node)),
                    series.lasting(),
                    of_node(Pattern::EgressDead),
                ),
            ];
            if self.nodes >= 5 {
                let both = vec![node.min(other), node.max(other)];
                trials.push((
                    "two-dark-at-once",
                    vec![Fault::NodeDark(node), Fault::NodeDark(other)],
                    series.lasting(),
                    Expected::One(Pattern::NodeDark, both),
                ));
            }
            for (name, faults, lasts, expected) in trials {
                let treatment = Treatment::Faults(faults, lasts);
                series.run(
                    name,
                    &Trial {
                        treatment,
                        expected,
                    },
                );
            }
            let away = Duration::from_secs(1) + series.mesh.random_within(Duration::from_secs(20));
            let restart = Trial {
                treatment: Treatment::Restart(node, away),
                expected: Expected::Nothing,
            };
            series.run("drain", &restart);
        }
    }
}

impl Series {
    /// Long enough to be found, and of any length beyond that.
    fn lasting(&mut self) -> Duration {
        Duration::from_secs(15) + self.mesh.random_within(Duration::from_secs(30))
    }

    fn run(&mut self, name: &'static str, trial: &Trial) -> Option<Duration> {
        let count = self.counts.entry(name).or_default();
        count.run += 1;
        match trial.run(&mut self.mesh) {
            Ok(time) => time,
            Err(failure) => {
                count.failed += 1;
                self.failures.push(format!("{name}: {failure}"));
                None
            }
        }
    }
}

impl Outcome for CutsReport {
    fn passed(&self) -> bool {
        self.passed
    }
}
