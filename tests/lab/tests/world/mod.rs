//! What the tests share: a runner for programs that bring their own `main`, and small probes with real packets.

pub(crate) mod probe;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use anyhow::Context as _;
use meshprobe_lab::{Inside, Lab, LabSpec};

/// A test in the lab.
pub(crate) type Test = (&'static str, fn(&Lab) -> anyhow::Result<()>);

/// Enters fresh namespaces, builds one lab, runs the tests in it one after the other.
pub(crate) fn run(spec: &LabSpec, tests: &[Test]) -> ExitCode {
    let wanted = Wanted::from_arguments();
    if wanted.list {
        for (name, _) in tests.iter().filter(|(name, _)| wanted.has(name)) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    match run_wanted(spec, tests, &wanted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_wanted(spec: &LabSpec, tests: &[Test], wanted: &Wanted) -> anyhow::Result<bool> {
    let inside: Inside = meshprobe_lab::enter(|| Ok(Vec::new()))?;
    let lab = build(&inside, spec)?;
    let mut failed = Vec::new();
    for (name, test) in tests.iter().filter(|(name, _)| wanted.has(name)) {
        let outcome = catch_unwind(AssertUnwindSafe(|| test(&lab)))
            .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")));
        match outcome {
            Ok(()) => println!("test {name} ... ok"),
            Err(error) => {
                println!("test {name} ... FAILED\n    {error:#}");
                failed.push(*name);
            }
        }
    }
    println!(
        "test result: {}. {} failed",
        if failed.is_empty() { "ok" } else { "FAILED" },
        failed.len()
    );
    Ok(failed.is_empty())
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long building takes is shown, never judged"
)]
fn build(inside: &Inside, spec: &LabSpec) -> anyhow::Result<Lab> {
    let start = std::time::Instant::now();
    let lab = Lab::build(inside, spec).context("build the lab")?;
    println!("built {} nodes in {:?}", spec.nodes, start.elapsed());
    Ok(lab)
}

/// What `cargo test -- …` asked for.
struct Wanted {
    list: bool,
    exact: bool,
    filters: Vec<String>,
}

impl Wanted {
    fn from_arguments() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
        Self {
            list: has("--list"),
            exact: has("--exact"),
            filters: arguments
                .iter()
                .filter(|argument| !argument.starts_with('-'))
                .cloned()
                .collect(),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.filters.is_empty()
            || self.filters.iter().any(|filter| {
                if self.exact {
                    name == filter
                } else {
                    name.contains(filter.as_str())
                }
            })
    }
}
