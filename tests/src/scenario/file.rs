//! A scenario as it is written down: `tests/scenarios/NAME.yaml`.
//!
//! ```yaml
//! name: node-dark
//! title: a node loses its network card, and everybody else says so
//! roles: [victim]
//! steps:
//!   - break: node-dark victim
//!   - find: {within: 5s, incidents: [{pattern: node-dark, nodes: [victim]}]}
//!   - heal: all
//!   - clear: {within: 60s}
//!   - quiet: 10s
//! ```
//!
//! Nodes are named by *roles*, so that one file works in a cluster of any size; which node plays which role follows from
//! the seed (see [`super::cast`]).

use std::path::Path;

use meshprobe_daemon::config::{ConfigError, ConfigProblems, HumanDuration, Spanned};
use meshprobe_lab::Families;
use serde::Deserialize;
use serde_json::Value;

use super::cast::Cast;
use super::claim::ground::Ground;
use super::medley::Draw;
use super::step::{QuietFor, Step};

/// A whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name of the file.
    pub name: String,
    /// What happens and what is expected, in one sentence.
    pub title: String,
    /// The cluster, unless the command line says otherwise.
    #[serde(default)]
    pub cluster: Cluster,
    /// Names for nodes; each is played by another node, never by the aggregator's own.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Names of DNS servers: no role is played by a node that one of them runs on.
    #[serde(default)]
    pub apart_from: Vec<String>,
    /// Faults of other scenarios, drawn with the seed, in the place of steps.
    #[serde(default)]
    pub draw: Option<Draw>,
    /// How long `quiet: duration` lasts, unless the command line says otherwise.
    #[serde(default)]
    pub duration: Option<HumanDuration>,
    /// The mesh also probes names, a virtual IP and servers outside.
    #[serde(default)]
    pub targets: bool,
    /// Laid over the aggregator's configuration.
    #[serde(default)]
    pub aggregator: Value,
    /// Laid over every prober's configuration.
    #[serde(default)]
    pub prober: Value,
    /// The aggregator keeps its store on a file system of this many KiB.
    #[serde(default)]
    pub store_kib: Option<u32>,
    /// What happens, one after the other.
    #[serde(default)]
    pub steps: Vec<Spanned<Step>>,
    /// Warnings and errors in the daemons' logs that belong to the failure.
    #[serde(default)]
    pub allowed_log: Vec<AllowedLine>,
}

/// The size and shape of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    pub nodes: u8,
    pub zones: u8,
    /// In a smaller cluster other incidents would be right.
    pub min_nodes: u8,
    /// With fewer zones there is nothing between zones to break.
    pub min_zones: u8,
    /// DNS servers behind the virtual IP.
    pub dns_instances: u8,
    /// `v4`, or `dual` for both families.
    pub families: Families,
    /// A second prober on every node: the host plane.
    pub host_probers: bool,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            nodes: 6,
            zones: 2,
            min_nodes: 3,
            min_zones: 1,
            dns_instances: 2,
            families: Families::V4,
            host_probers: false,
        }
    }
}

/// A warning or an error that the failure explains.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedLine {
    /// Who may say it.
    pub from: LogSource,
    /// A part of the line.
    pub contains: String,
    /// Why it is right.
    pub because: String,
}

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    Aggregator,
    Prober,
}

impl Scenario {
    /// Reads the file and checks what its fields say together.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let scenario: Self = meshprobe_daemon::config::load(path)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        scenario.check(&stem).into_result(path)?;
        Ok(scenario)
    }

    fn check(&self, stem: &str) -> ConfigProblems {
        let mut problems = ConfigProblems::default();
        if self.name != stem {
            problems.add(
                "name",
                format!("is `{}`, but the file is {stem}.yaml", self.name),
            );
        }
        if self.steps.is_empty() == self.draw.is_none() {
            problems.add(
                "steps",
                "are needed, or `draw` in their place: nothing would be tested".to_owned(),
            );
        }
        let free_nodes = usize::from(self.cluster.min_nodes.saturating_sub(1));
        if self.roles.len() > free_nodes {
            problems.add(
                "roles",
                format!(
                    "{} roles need as many nodes beside the aggregator's",
                    self.roles.len()
                ),
            );
        }
        if self.cluster.nodes < self.cluster.min_nodes {
            problems.add("cluster.nodes", "is less than min_nodes".to_owned());
        }
        if self.cluster.zones < self.cluster.min_zones {
            problems.add("cluster.zones", "is less than min_zones".to_owned());
        }
        // Played once on paper: every fault and every role must exist.
        match Cast::assign(&self.roles, &paper_nodes(self.cluster.nodes), 1) {
            Err(error) => problems.add("roles", error.to_string()),
            Ok(cast) => {
                let ground = Ground::on_paper(self.cluster.zones);
                for (index, step) in self.steps.iter().enumerate() {
                    if let Err(error) = step.value.check(&cast, &ground) {
                        problems.add_at(step, format!("steps[{index}]"), error.to_string());
                    }
                }
            }
        }
        let needs_duration = self
            .steps
            .iter()
            .any(|step| matches!(step.value, Step::Quiet(QuietFor::Duration)));
        if needs_duration != self.duration.is_some() {
            problems.add(
                "duration",
                "is needed where a step says `quiet: duration`, and only there".to_owned(),
            );
        }
        problems
    }
}

fn paper_nodes(count: u8) -> Vec<String> {
    (1..=count)
        .map(meshprobe_lab::addressing::node_name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
name: two-faults
title: two things break at once
cluster: {nodes: 6, zones: 2, min_nodes: 6}
roles: [victim, other]
duration: 20s
steps:
  - quiet: duration
  - break: node-dark victim
  - break: loss 30% other out
  - find:
      within: 5s
      incidents:
        - {pattern: node-dark, nodes: [victim]}
  - quiet: 5s
  - heal: node-dark victim
  - heal: all
  - clear: {within: 60s}
  - kill: aggregator
  - start: aggregator
  - stop: prober other
  - start: prober other
  - roll_probers: {pause: 1s}
  - check: no-report-lost
  - matrix:
      within: 40s
      expect:
        - {layer: udp/pod/v4, down: [{from: victim, to: zone-b}], ignored: all}
  - path: {within: 5s, layer: mtu/pod/v4, from: victim, detail: {mtu: {forward: 1450}}}
  - share: {of: lost-probes, layer: dns-udp/pod/v4, percent: 20, tolerance: 3, during: 10s}
  - node: {within: 5s, name: victim, state: ok}
allowed_log:
  - {from: prober, contains: lost the aggregator, because: the link is down}
";

    fn parse(text: &str) -> Result<Scenario, ConfigError> {
        let path = Path::new("two-faults.yaml");
        let scenario: Scenario = meshprobe_daemon::config::parse(text, path)?;
        scenario.check("two-faults").into_result(path)?;
        Ok(scenario)
    }

    fn error_of(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from} is not in the example");
        let error = parse(&GOOD.replace(from, to)).expect_err(to);
        error.to_string()
    }

    #[test]
    fn the_format_reads_what_its_example_says() {
        let scenario = parse(GOOD).expect("a good file");
        assert_eq!(scenario.roles, ["victim", "other"]);
        assert_eq!(scenario.steps.len(), 18);
        assert_eq!(scenario.allowed_log[0].from, LogSource::Prober);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = error_of("title: two", "titel: two");
        assert!(error.contains("two-faults.yaml:3"), "{error}");
        let error = error_of("- {pattern: node-dark,", "- {patern: node-dark,");
        assert!(error.contains("two-faults.yaml:14"), "{error}");
    }

    #[test]
    fn a_pattern_that_does_not_exist_is_refused() {
        let error = error_of("pattern: node-dark", "pattern: node-drak");
        assert!(error.contains("node-drak"), "{error}");
    }

    #[test]
    fn a_fault_that_does_not_exist_is_refused_before_a_cluster_is_built() {
        let error = error_of("break: node-dark victim", "break: node-drak victim");
        assert!(
            error.contains("steps[1]") && error.contains("did you mean"),
            "{error}"
        );
    }

    #[test]
    fn a_role_that_nobody_plays_is_refused() {
        let error = error_of("nodes: [victim]", "nodes: [vicitm]");
        assert!(
            error.contains("steps[3]") && error.contains("vicitm"),
            "{error}"
        );
        let error = error_of("stop: prober other", "stop: prober somebody");
        assert!(error.contains("somebody"), "{error}");
    }

    #[test]
    fn a_healing_of_something_that_nobody_broke_is_refused() {
        let error = error_of("heal: node-dark victim", "heal: node-drak victim");
        assert!(error.contains("steps[5]"), "{error}");
    }

    #[test]
    fn a_claim_about_nothing_is_refused_with_its_place_and_what_to_write() {
        let at = |line: &str| GOOD.lines().position(|one| one.contains(line));
        for (from, to, part) in [
            (
                "to: zone-b}",
                "to: zone-x}",
                "`zone-x` is no role and no zone",
            ),
            ("udp/pod/v4, down", "upd/pod/v4, down", "no kind of a layer"),
            (", detail: {mtu: {forward: 1450}}", "", "nothing is claimed"),
            ("forward: 1450", "forwards: 1450", "forwards"),
            ("tolerance: 3", "tolerance: -3", "tolerance"),
            ("name: victim, state", "name: nobody, state", "nobody"),
        ] {
            let error = error_of(from, to);
            assert!(error.contains(part), "{error}");
            assert!(
                error.contains("two-faults.yaml:") || error.contains("line "),
                "{error}"
            );
        }
        let line = at("- node:").expect("a step") + 1;
        let error = error_of("name: victim, state", "name: nobody, state");
        assert!(error.contains(&format!("line {line}, ")), "{error}");
    }

    #[test]
    fn the_name_is_the_name_of_the_file() {
        let error = error_of("name: two-faults", "name: three-faults");
        assert!(error.contains("three-faults"), "{error}");
    }

    #[test]
    fn a_duration_that_no_step_uses_is_refused() {
        let error = error_of("  - quiet: duration\n", "");
        assert!(error.contains("quiet: duration"), "{error}");
    }
}
