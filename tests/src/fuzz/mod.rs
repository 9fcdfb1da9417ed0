//! Fuzzing of everything that reads what a stranger sends: random and mutated octets, by the million.
//!
//! A [`Target`] is a function that reads octets and checks what must hold whatever they are (a reply is never longer than
//! its request, nothing that was admitted is malformed). Inputs come from a seed, so that every run can be repeated: genuine
//! packets with flipped bits, odd numbers, cuts and splices, and pure noise. A panic or a broken rule ends the run with the
//! input in hexadecimal; memory that grows with the number of inputs is a failure too.

mod mutate;
pub mod target;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use crate::fuzz::mutate::Mutator;
pub use crate::fuzz::target::{ALL, Target};

/// How much the process may grow over all inputs: allocator slack, not a leak of an octet an input.
const MAX_GROWTH_MB: u64 = 64;

/// What a run did.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Inputs that were read.
    pub cases: u64,
    /// Of those, taken for good by the parser: mutation that never gets past the first check tests little.
    pub admitted: u64,
    /// How long it took.
    pub time: Duration,
    /// How much the largest size of the process grew.
    pub growth_mb: u64,
}

impl Report {
    /// One JSON object.
    pub fn json(&self, target: &Target, seed: u64) -> Value {
        json!({
            "fuzz": target.name,
            "cases": self.cases,
            "admitted": self.admitted,
            "seed": seed,
            "seconds": (self.time.as_secs_f64() * 10.0).round() / 10.0,
            "growth_mb": self.growth_mb,
            "passed": true,
        })
    }
}

/// The target with this name.
pub fn find(name: &str) -> anyhow::Result<&'static Target> {
    let names = || ALL.iter().map(|target| target.name).collect::<Vec<_>>();
    ALL.iter()
        .find(|target| target.name == name)
        .with_context(|| {
            format!(
                "there is no fuzz target `{name}`; the targets are: {}",
                names().join(", ")
            )
        })
}

/// Feeds `cases` inputs to a target.
pub fn run(target: &Target, cases: u64, seed: u64) -> anyhow::Result<Report> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mutator = Mutator::new((target.samples)());
    let mut read = (target.reader)();
    let mut input = Vec::new();
    // The first inputs fill caches and tables; what counts is what comes after.
    let warm_up = (cases / 10).min(10_000);
    let mut before = peak_mb()?;
    let mut admitted = 0;
    let started = meshprobe_daemon::clock::since_epoch();
    for case in 0..cases {
        if case == warm_up {
            before = peak_mb()?;
        }
        mutator.next(&mut random, &mut input);
        let ended = catch_unwind(AssertUnwindSafe(|| read(&input)));
        match ended {
            Ok(Ok(taken)) => admitted += u64::from(taken),
            Ok(Err(broken)) => bail!("{broken}\n{}", repeat(target, case, seed, &input)),
            Err(_) => bail!("it panicked\n{}", repeat(target, case, seed, &input)),
        }
    }
    let time = meshprobe_daemon::clock::since_epoch().saturating_sub(started);
    let growth_mb = peak_mb()?.saturating_sub(before);
    ensure!(
        growth_mb <= MAX_GROWTH_MB,
        "the process grew by {growth_mb} MB over {cases} inputs; {MAX_GROWTH_MB} are allowed"
    );
    Ok(Report {
        cases,
        admitted,
        time,
        growth_mb,
    })
}

fn repeat(target: &Target, case: u64, seed: u64, input: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * input.len());
    for octet in input {
        for digit in [octet >> 4, octet & 0xf] {
            hex.extend(char::from_digit(digit.into(), 16));
        }
    }
    format!(
        "target {}, seed {seed}, input {case} of {} octets: {hex}",
        target.name,
        input.len()
    )
}

/// The largest resident size of this process so far.
fn peak_mb() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read the own size")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Ok(kilobytes.context("no VmHWM in /proc/self/status")? / 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_parser_panics_grows_or_breaks_its_rules() {
        for target in ALL {
            let report = run(target, 3_000, 1).unwrap();
            assert!(
                report.admitted > 0,
                "{}: every input was refused at once, which tests nothing",
                target.name
            );
            assert!(
                report.admitted < report.cases,
                "{}: nothing was refused",
                target.name
            );
        }
    }

    #[test]
    fn a_broken_rule_names_the_input() {
        let target = Target {
            name: "broken",
            summary: "",
            samples: || vec![vec![1, 2, 3]],
            reader: || Box::new(|_| Err("a rule".to_owned())),
        };
        let error = run(&target, 10, 7).unwrap_err().to_string();
        assert!(
            error.contains("a rule\ntarget broken, seed 7, input 0"),
            "{error}"
        );
    }

    #[test]
    fn a_panic_names_the_input() {
        let target = Target {
            name: "panics",
            summary: "",
            samples: || vec![vec![1, 2, 3]],
            reader: || Box::new(|octets: &[u8]| Ok(octets[octets.len()] > 0)),
        };
        let error = run(&target, 10, 7).unwrap_err().to_string();
        assert!(error.contains("it panicked"), "{error}");
    }
}
