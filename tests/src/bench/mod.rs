//! What the documentation promises in numbers, measured.
//!
//! A bench is one file here: a function that measures, prints what people want to see on the way, and returns a
//! [`Report`] of figures, each with the number that is promised for it. This module is the frame around them: names,
//! the table at the end, the JSON line, the exit code.
//!
//! A bench is called before the process has any thread, so that it may move itself into fresh namespaces
//! (`meshprobe_lab::enter`), which starts the program again with the same arguments.

mod capture;
mod child;
pub mod dark;
pub mod diagnose;
pub mod durability;
pub mod footprint;
pub mod history;
pub mod ingest;
mod machine;
pub mod mtu;
pub mod outbox;
pub mod pacing;
mod pair;
pub mod probe_cost;
mod quota;
mod report;
pub mod rtt_error;

use std::ffi::OsString;

use clap::Parser;

pub use machine::Machine;
pub use report::{Figure, Promise, Report};

/// A bench: its name and how to run it.
#[derive(Debug, Clone, Copy)]
pub struct Bench {
    /// As `cargo xtask bench NAME` says it.
    pub name: &'static str,
    /// One line for the list.
    pub summary: &'static str,
    /// Measures. Called before the process has a thread.
    pub run: fn(&Arguments) -> anyhow::Result<Report>,
}

/// Every bench, in the order of the list.
pub const ALL: &[Bench] = &[
    dark::BENCH,
    diagnose::BENCH,
    probe_cost::BENCH,
    footprint::BENCH,
    ingest::BENCH,
    durability::BENCH,
    history::BENCH,
    mtu::BENCH,
    pacing::BENCH,
    rtt_error::BENCH,
    outbox::BENCH,
];

/// The bench with this name.
pub fn find(name: &str) -> Option<&'static Bench> {
    ALL.iter().find(|bench| bench.name == name)
}

/// What was written after the bench's name.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    bench: String,
    words: Vec<OsString>,
}

impl Arguments {
    /// The words after the name of `bench`.
    pub fn new(bench: &str, words: Vec<OsString>) -> Self {
        Self {
            bench: bench.to_owned(),
            words,
        }
    }

    /// Reads them as `T`. Ends the process with help or a usage error where clap says so.
    pub fn parse<T: Parser>(&self) -> T {
        let name = OsString::from(format!("meshprobe-bench {}", self.bench));
        T::parse_from([name].into_iter().chain(self.words.iter().cloned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bench_is_found_by_its_own_name() {
        for bench in ALL {
            assert_eq!(
                find(bench.name).map(|found| found.summary),
                Some(bench.summary)
            );
        }
        assert!(find("no-such-bench").is_none());
    }
}
