//! `cargo xtask sim diagnosis`: a thousand random faults, and a day without any.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use meshprobe_daemon::clock;
use serde::Serialize;

use super::engine::Engine;
use super::family::{self, Family};
use super::fault::Fault;
use super::trial::{self, Pace, Verdict};
use super::watch::Watcher;
use super::world::{World, WorldSpec};
use crate::chance::Chance;
use crate::experiment::Outcome;
use crate::statistics::Times;

/// What has to be right.
const ENOUGH: f64 = 0.98;
/// Until baselines are learnt, seconds.
pub(super) const WARM: u32 = 420;
/// The largest mesh with a second prober on each node, and that is tried with two families throughout.
const MOST_LAYERS: usize = 200;
/// Between two looks at healthy traffic, seconds.
const HEALTHY_LOOK: u32 = 5;

/// Random faults of every family: is each named, and nothing else?
#[derive(Clone, Debug, Parser)]
pub struct DiagnosisArguments {
    /// Nodes of the mesh
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(3..))]
    nodes: u16,
    /// Zones of the mesh; default: what fits its size
    #[arg(long)]
    zones: Option<usize>,
    /// Faults, each on a healthy mesh of its own
    #[arg(long, default_value_t = 1_000)]
    faults: usize,
    /// The run's seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only faults of these families; `list` names them
    #[arg(long, value_delimiter = ',')]
    family: Vec<String>,
    /// Only this fault of the run, by number
    #[arg(long)]
    only: Option<usize>,
    /// Hours of healthy traffic; default: a day, less for large meshes
    #[arg(long)]
    hours: Option<f64>,
    /// Tell the story of so many wrong answers
    #[arg(long, default_value_t = 0)]
    explain: usize,
    /// Runs at once; default: one for each processor
    #[arg(long)]
    jobs: Option<usize>,
}

/// What all faults came to.
#[derive(Clone, Debug, Serialize)]
pub struct DiagnosisReport {
    nodes: usize,
    zones: usize,
    faults: usize,
    seed: u64,
    precision: f64,
    recall: f64,
    false_per_day: f64,
    healthy_hours: f64,
    /// Total faults that were told after 15 s, and faults whose end was told after a minute.
    late: usize,
    late_to_clear: usize,
    diagnosis_ms: f64,
    seconds: f64,
    passed: bool,
}

impl Outcome for DiagnosisReport {
    fn passed(&self) -> bool {
        self.passed
    }
}

impl DiagnosisArguments {
    /// Simulates, and prints a table by family.
    pub fn run(&self) -> DiagnosisReport {
        let started = clock::now();
        let nodes = usize::from(self.nodes);
        let zones = self
            .zones
            .unwrap_or_else(|| usual_zones(nodes))
            .clamp(1, nodes);
        let families = self.families();
        let plain = spec(nodes, zones, false);
        let dual = spec(nodes, zones, true);
        let verdicts = if families.is_empty() {
            Vec::new()
        } else {
            self.try_all(&families, plain, dual)
        };
        print!("{}", table(&verdicts));
        let wrong = verdicts.iter().enumerate().filter(|(_, v)| !v.is_right());
        for (number, verdict) in wrong.take(self.explain) {
            let number = self.only.unwrap_or(number);
            println!("\nfault {number}: {}", tell(verdict));
        }
        let hours = self.hours.unwrap_or_else(|| usual_hours(nodes));
        let wrong = self.watch_health(plain, hours);
        let (precision, recall) = rates(&verdicts);
        let false_per_day = if hours > 0.0 {
            wrong as f64 * 24.0 / hours
        } else {
            0.0
        };
        let busy: Duration = verdicts.iter().map(|v| v.busy).sum();
        let looks: u32 = verdicts.iter().map(|v| v.looks).sum();
        DiagnosisReport {
            nodes,
            zones,
            faults: verdicts.len(),
            seed: self.seed,
            precision,
            recall,
            false_per_day,
            healthy_hours: hours,
            late: verdicts.iter().filter(|v| is_late(v)).count(),
            late_to_clear: verdicts.iter().filter(|v| is_late_to_clear(v)).count(),
            diagnosis_ms: busy.as_secs_f64() * 1e3 / f64::from(looks.max(1)),
            seconds: seconds_since(started),
            passed: precision >= ENOUGH && recall >= ENOUGH && wrong == 0,
        }
    }

    fn families(&self) -> Vec<&'static Family> {
        if self.family.is_empty() {
            return family::ALL.iter().collect();
        }
        let mut families = Vec::new();
        for name in &self.family {
            if let Some(family) = family::find(name) {
                families.push(family);
            } else {
                println!("Families are:");
                for family in family::ALL {
                    println!("  {}", family.name);
                }
            }
        }
        families
    }

    fn try_all(
        &self,
        families: &[&'static Family],
        plain: WorldSpec,
        dual: WorldSpec,
    ) -> Vec<Verdict> {
        let (plain_world, dual_world) = (World::new(plain), World::new(dual));
        let mut drawn: Vec<(usize, bool, Fault)> = Vec::new();
        let fitting: Vec<&&Family> = families
            .iter()
            .filter(|family| (family.fits)(&plain_world) || (family.fits)(&dual_world))
            .collect();
        for number in 0..if fitting.is_empty() { 0 } else { self.faults } {
            let family = fitting[number % fitting.len()];
            let is_turn = plain.nodes <= MOST_LAYERS && (number / fitting.len()) % 4 == 3;
            let is_dual = !(family.fits)(&plain_world) || (is_turn && (family.fits)(&dual_world));
            let world = if is_dual { &dual_world } else { &plain_world };
            let mut chance = Chance::new(self.seed.wrapping_mul(1_000_003) + number as u64);
            let fault = family.draw(world, &mut chance);
            drawn.push((number, is_dual, fault));
        }
        drawn.retain(|(number, ..)| self.only.is_none_or(|only| only == *number));
        let mut verdicts = Vec::new();
        for is_dual in [false, true] {
            let faults: Vec<&(usize, bool, Fault)> = drawn
                .iter()
                .filter(|(_, dual, _)| *dual == is_dual)
                .collect();
            if !faults.is_empty() {
                let world = if is_dual { dual } else { plain };
                verdicts.extend(self.try_in(world, &faults));
            }
        }
        verdicts.sort_by_key(|(number, _)| *number);
        verdicts.into_iter().map(|(_, verdict)| verdict).collect()
    }

    fn try_in(&self, spec: WorldSpec, faults: &[&(usize, bool, Fault)]) -> Vec<(usize, Verdict)> {
        let healthy = warm(spec, self.seed);
        let pace = Pace::for_nodes(spec.nodes);
        let next = AtomicUsize::new(0);
        let jobs = self
            .jobs
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let work = || {
            let mut done = Vec::new();
            while let Some((number, _, fault)) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut engine = healthy.clone();
                engine.reseed(self.seed.wrapping_mul(7_919) + *number as u64);
                for _ in 0..number % 20 {
                    engine.tick();
                }
                done.push((*number, trial::run(engine, fault, pace)));
            }
            done
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
            let results = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
            let mut done = Vec::new();
            for result in results {
                match result {
                    Ok(verdicts) => done.extend(verdicts),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            done
        })
    }

    /// Hours of healthy traffic. How much was told?
    fn watch_health(&self, spec: WorldSpec, hours: f64) -> usize {
        if hours <= 0.0 {
            return 0;
        }
        let mut engine = warm(spec, self.seed + 1);
        let mut watcher = Watcher::new();
        let end = engine.now + (hours * 3_600.0) as u32;
        while engine.now < end {
            engine.tick();
            if engine.now.is_multiple_of(HEALTHY_LOOK) {
                let before = watcher.opened.len();
                let (picture, diagnosis) = watcher.look(&mut engine);
                if watcher.opened.len() > before && before < self.explain.max(1) {
                    println!(
                        "\nIn healthy traffic:\n{}{}",
                        super::explain::story(&engine, &picture, &diagnosis),
                        super::explain::opened(&watcher.opened, 0, u32::MAX)
                    );
                }
            }
        }
        watcher.opened.len()
    }
}

/// A healthy mesh whose baselines are learnt.
pub(super) fn warm(spec: WorldSpec, seed: u64) -> Engine {
    let mut engine = Engine::new(Arc::new(World::new(spec)), seed);
    for _ in 0..WARM {
        engine.tick();
    }
    engine
}

pub(super) const fn spec(nodes: usize, zones: usize, dual: bool) -> WorldSpec {
    WorldSpec {
        nodes,
        zones,
        dual,
        host_probers: dual && nodes <= MOST_LAYERS,
    }
}

/// Zones that a mesh of this size has.
pub(super) fn usual_zones(nodes: usize) -> usize {
    (nodes / 4).clamp(1, 4)
}

/// As much as a minute or two can simulate.
fn usual_hours(nodes: usize) -> f64 {
    match nodes {
        0..=60 => 24.0,
        61..=250 => 2.0,
        _ => 0.1,
    }
}

/// Of what was told, how much is true; of what is true, how much was told.
fn rates(verdicts: &[Verdict]) -> (f64, f64) {
    let expected: usize = verdicts.iter().map(|v| v.found.len()).sum();
    let found: usize = verdicts
        .iter()
        .flat_map(|v| &v.found)
        .filter(|(_, at)| at.is_some())
        .count();
    let extra: usize = verdicts.iter().map(|v| v.extra.len()).sum();
    let ratio = |part: usize, whole: usize| {
        if whole == 0 {
            1.0
        } else {
            (part as f64 / whole as f64 * 10_000.0).round() / 10_000.0
        }
    };
    (ratio(found, found + extra), ratio(found, expected))
}

fn is_late(verdict: &Verdict) -> bool {
    verdict.fault.is_total && verdict.seconds().is_some_and(|s| s > trial::FOUND_WITHIN)
}

fn is_late_to_clear(verdict: &Verdict) -> bool {
    verdict.cleared.is_none_or(|s| s > trial::CLEARED_WITHIN)
}

/// Families, one in a row.
pub(super) fn table(verdicts: &[Verdict]) -> String {
    let mut by_family: BTreeMap<&str, Vec<&Verdict>> = BTreeMap::new();
    for verdict in verdicts {
        by_family
            .entry(verdict.fault.family)
            .or_default()
            .push(verdict);
    }
    let mut lines = vec![format!(
        "{:<20} {:>6} {:>6} {:>6} {:>6} {:>5}  {:>14}  {:>14}\n",
        "family", "faults", "found", "wrong", "extra", "late", "find p50/p99", "clear p50/p99"
    )];
    for (family, verdicts) in by_family {
        let (mut to_find, mut to_clear) = (Times::default(), Times::default());
        for verdict in &verdicts {
            if let Some(seconds) = verdict.seconds() {
                to_find.push(Duration::from_secs(seconds.into()));
            }
            if let Some(seconds) = verdict.cleared {
                to_clear.push(Duration::from_secs(seconds.into()));
            }
        }
        let count = |is: fn(&Verdict) -> bool| verdicts.iter().filter(|v| is(v)).count();
        let found = count(|v| v.seconds().is_some());
        let wrong = count(|v| !v.is_right());
        let late = count(|v| is_late(v) || is_late_to_clear(v));
        let extra: usize = verdicts.iter().map(|v| v.extra.len()).sum();
        let both = |times: &Times| {
            let quantiles = times.quantiles();
            format!("{} / {} s", quantiles.p50_s, quantiles.p99_s)
        };
        lines.push(format!(
            "{family:<20} {:>6} {found:>6} {wrong:>6} {extra:>6} {late:>5}  {:>14}  {:>14}\n",
            verdicts.len(),
            both(&to_find),
            both(&to_clear)
        ));
    }
    lines.concat()
}

/// A wrong answer.
pub(super) fn tell(verdict: &Verdict) -> String {
    let expected = verdict.found.iter().map(|((pattern, scope), at)| {
        let when = at.map_or("never told".to_owned(), |s| format!("told after {s} s"));
        format!("{pattern} · {scope} ({when})")
    });
    let expected: Vec<String> = expected.collect();
    let cleared = verdict
        .cleared
        .map_or("never".to_owned(), |s| format!("after {s} s"));
    format!(
        "{}\n  expected: {}; quiet again: {cleared}\n{}",
        verdict.fault.title,
        expected.join(", "),
        verdict.story
    )
}

fn seconds_since(started: std::time::Instant) -> f64 {
    let seconds = clock::now()
        .saturating_duration_since(started)
        .as_secs_f64();
    (seconds * 10.0).round() / 10.0
}
