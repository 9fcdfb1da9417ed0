//! A list of scenarios, each in a process of its own: `tests/scenarios/sets/NAME.yaml`.
//!
//! ```yaml
//! jobs: 2
//! zones: {3: 1}
//! runs:
//!   - {scenario: node-dark, nodes: [3, 6, 12]}
//!   - {scenario: healthy, nodes: [6], duration: 1m}
//! ```
//!
//! A process for each run keeps them apart: their namespaces, their memory, and what happens to the others if one hangs.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use meshprobe_daemon::clock;
use meshprobe_daemon::config::HumanDuration;
use serde::Deserialize;
use serde_json::{Value, json};

/// A run that takes so much longer than its duration hangs.
const RUN_PATIENCE: Duration = Duration::from_secs(420);
const LOOK: Duration = Duration::from_millis(100);

/// A whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Runs at the same time.
    pub jobs: usize,
    /// Zones of a cluster of so many nodes, where a run does not say; others are the scenario's own.
    #[serde(default)]
    pub zones: BTreeMap<u8, u8>,
    pub runs: Vec<Runs>,
}

/// One scenario in clusters of several sizes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runs {
    pub scenario: String,
    pub nodes: Vec<u8>,
    #[serde(default)]
    pub zones: Option<u8>,
    #[serde(default)]
    pub seed: Option<u64>,
    #[serde(default)]
    pub duration: Option<HumanDuration>,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
struct Run {
    scenario: String,
    nodes: u8,
    arguments: Vec<String>,
    patience: Duration,
}

impl Set {
    /// Reads the set of this name.
    pub fn load(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let path = folder.join("sets").join(format!("{name}.yaml"));
        if !path.exists() {
            let names = super::library::names(&folder.join("sets"))?;
            bail!(
                "there is no set `{name}`; the sets are: {}",
                names.join(", ")
            );
        }
        Ok(meshprobe_daemon::config::load(&path)?)
    }

    /// All runs, one after the other. Fails if a scenario is not there.
    fn runs(&self, folder: &Path) -> anyhow::Result<VecDeque<Run>> {
        let mut all = VecDeque::new();
        for runs in &self.runs {
            let scenario = super::library::load(folder, &runs.scenario)?;
            let duration = runs.duration.or(scenario.duration).unwrap_or_default();
            let run = |nodes: &u8| {
                let zones = runs.zones.or_else(|| self.zones.get(nodes).copied());
                let mut arguments = vec![
                    runs.scenario.clone(),
                    "--nodes".to_owned(),
                    nodes.to_string(),
                ];
                let options = [
                    ("--zones", zones.map(|zones| zones.to_string())),
                    ("--seed", runs.seed.map(|seed| seed.to_string())),
                    (
                        "--duration",
                        runs.duration.map(|duration| duration.to_string()),
                    ),
                ];
                for (name, value) in options {
                    if let Some(value) = value {
                        arguments.extend([name.to_owned(), value]);
                    }
                }
                Run {
                    scenario: runs.scenario.clone(),
                    nodes: *nodes,
                    arguments,
                    patience: RUN_PATIENCE + duration.duration(),
                }
            };
            all.extend(runs.nodes.iter().map(run));
        }
        Ok(all)
    }

    /// Runs everything, `jobs` at a time; prints each run's story when it ends, then the table. Whether all passed.
    pub fn run(&self, name: &str, folder: &Path, jobs: Option<usize>) -> anyhow::Result<bool> {
        let began_at = clock::now();
        let runs = self.runs(folder)?;
        if runs.is_empty() {
            bail!("the set `{name}` has no runs");
        }
        let jobs = jobs.unwrap_or(self.jobs).clamp(1, runs.len());
        let (queue, done) = (Mutex::new(runs), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        let next = queue
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .pop_front();
                        let Some(run) = next else { return };
                        let result = run.run(folder);
                        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                        done.push(Done::tell(run, result));
                    }
                });
            }
        });
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let passed = done.iter().all(|done| done.outcome["passed"] == true);
        println!("\n{}", table(&done));
        let minutes = clock::now()
            .saturating_duration_since(began_at)
            .as_secs_f64()
            / 60.0;
        println!("{} scenarios in {minutes:.1} minutes", done.len());
        let outcomes: Vec<Value> = done.into_iter().map(|done| done.outcome).collect();
        println!(
            "{}",
            json!({"set": name, "passed": passed, "runs": outcomes})
        );
        Ok(passed)
    }
}

/// A run that ended.
struct Done {
    run: Run,
    outcome: Value,
}

impl Done {
    fn tell(run: Run, result: anyhow::Result<String>) -> Self {
        println!("\n=== {}", run.arguments.join(" "));
        let (story, outcome) = match result {
            Ok(output) => match output.trim_end().rsplit_once('\n') {
                Some((story, last)) => (
                    story.to_owned(),
                    serde_json::from_str(last).unwrap_or_default(),
                ),
                None => (output, Value::Null),
            },
            Err(error) => (format!("{error:#}"), Value::Null),
        };
        println!("{story}");
        let outcome = match outcome {
            Value::Object(_) => outcome,
            _ => {
                json!({"scenario": run.scenario, "passed": false, "failures": ["the run itself failed"]})
            }
        };
        Self { run, outcome }
    }
}

impl Run {
    /// Everything that the run printed.
    fn run(&self, folder: &Path) -> anyhow::Result<String> {
        // This very program, also after its file has been replaced.
        let mut child = Command::new("/proc/self/exe")
            .args(&self.arguments)
            .arg("--scenarios")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the run")?;
        let mut stdout = child.stdout.take().context("a pipe was asked for")?;
        let reading = thread::spawn(move || {
            let mut octets = Vec::new();
            stdout
                .read_to_end(&mut octets)
                .map(|_| String::from_utf8_lossy(&octets).into_owned())
        });
        let deadline = clock::now() + self.patience;
        while child.try_wait()?.is_none() {
            if clock::now() >= deadline {
                // Its namespaces and all that runs in them end with it.
                child.kill().context("end a run that hangs")?;
                child.wait()?;
                bail!("the run did not end within {:?}", self.patience);
            }
            thread::sleep(LOOK);
        }
        let read = reading
            .join()
            .map_err(|_| anyhow::anyhow!("the reader of the run's output panicked"))?;
        Ok(read?)
    }
}

fn table(done: &[Done]) -> String {
    let mut rows = vec![format!(
        "{:24} {:>5}  {:8} {:>8} {:>8}  found",
        "scenario", "nodes", "result", "find s", "clear s"
    )];
    for Done { run, outcome } in done {
        let seconds = |name: &str| {
            outcome[name]
                .as_f64()
                .map_or("-".to_owned(), |value| format!("{value:.2}"))
        };
        let found = outcome["found"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let found: Vec<&str> = found.iter().filter_map(Value::as_str).collect();
        let result = if outcome["passed"] == true {
            "passed"
        } else {
            "FAILED"
        };
        let row = format!(
            "{:24} {:>5}  {result:8} {:>8} {:>8}  {}",
            run.scenario,
            run.nodes,
            seconds("seconds_to_find"),
            seconds("seconds_to_clear"),
            found.join("; ")
        );
        rows.push(row.trim_end().to_owned());
        let failures = outcome["failures"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        rows.extend(
            failures
                .iter()
                .filter_map(Value::as_str)
                .map(|failure| format!("    {failure}")),
        );
    }
    rows.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::library;

    #[test]
    fn a_set_becomes_a_run_for_each_size() {
        let text = "jobs: 2\nzones: {3: 1}\nruns:\n  - {scenario: healthy, nodes: [3, 12], duration: 1m}\n  - {scenario: node-dark, nodes: [3], zones: 3}\n";
        let set: Set = meshprobe_daemon::config::parse(text, Path::new("ci.yaml")).expect("a set");
        let runs = set.runs(&library::own_folder()).expect("known scenarios");
        let arguments: Vec<String> = runs.iter().map(|run| run.arguments.join(" ")).collect();
        assert_eq!(
            arguments,
            [
                "healthy --nodes 3 --zones 1 --duration 1m",
                "healthy --nodes 12 --duration 1m",
                "node-dark --nodes 3 --zones 3"
            ]
        );
    }

    #[test]
    fn a_run_may_take_as_long_as_its_scenario_says() {
        let text = "jobs: 1\nruns:\n  - {scenario: healthy, nodes: [3]}\n  - {scenario: healthy, nodes: [3], duration: 1m}\n";
        let set: Set = meshprobe_daemon::config::parse(text, Path::new("ci.yaml")).expect("a set");
        let runs = set.runs(&library::own_folder()).expect("known scenarios");
        let patience: Vec<u64> = runs.iter().map(|run| run.patience.as_secs()).collect();
        assert_eq!(patience, [420 + 600, 420 + 60]);
    }

    #[test]
    fn a_set_with_a_scenario_that_is_not_there_is_refused_before_anything_runs() {
        let text = "jobs: 1\nruns:\n  - {scenario: helthy, nodes: [3]}\n";
        let set: Set = meshprobe_daemon::config::parse(text, Path::new("ci.yaml")).expect("a set");
        let runs = set.runs(&library::own_folder());
        let error = runs.expect_err("no such scenario");
        assert!(format!("{error:#}").contains("helthy"), "{error:#}");
    }

    #[test]
    fn every_run_of_this_repositorys_sets_names_a_scenario_and_fits_it() {
        let folder = library::own_folder();
        for name in ["ci", "full"] {
            let set = Set::load(&folder, name).expect(name);
            for runs in &set.runs {
                let scenario = library::load(&folder, &runs.scenario).expect(&runs.scenario);
                for nodes in &runs.nodes {
                    assert!(
                        *nodes >= scenario.cluster.min_nodes,
                        "{name}: {} with {nodes}",
                        runs.scenario
                    );
                    let zones = runs.zones.or_else(|| set.zones.get(nodes).copied());
                    assert!(
                        zones.is_none_or(|zones| zones >= scenario.cluster.min_zones),
                        "{name}: {} in {zones:?} zones",
                        runs.scenario
                    );
                }
                assert!(
                    runs.duration.is_none() || scenario.duration.is_some(),
                    "{name}: {}",
                    runs.scenario
                );
            }
        }
    }

    #[test]
    fn the_full_set_has_every_scenario() {
        let folder = library::own_folder();
        let set = Set::load(&folder, "full").expect("a set");
        for name in library::names(&folder).expect("a folder") {
            assert!(
                set.runs.iter().any(|runs| runs.scenario == name),
                "{name} is not in it"
            );
        }
    }

    #[test]
    fn a_run_without_an_outcome_has_failed() {
        let run = Run {
            scenario: "healthy".to_owned(),
            nodes: 3,
            arguments: Vec::new(),
            patience: Duration::ZERO,
        };
        for output in ["", "error: no lab\n", "a\nb\n"] {
            let done = Done::tell(run.clone(), Ok(output.to_owned()));
            assert_eq!(done.outcome["passed"], false);
        }
        let done = Done::tell(run, Ok("story\n{\"passed\": true}\n".to_owned()));
        assert_eq!(done.outcome["passed"], true);
    }
}
