//! `meshprobe-scenario NAME|list`, `meshprobe-scenario --set NAME`: breaks a virtual cluster and judges what is found.
//!
//! Exit code: 0 passed, 2 failed, 1 it could not be run.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Parser;
use meshprobe_daemon::config::HumanDuration;
use meshprobe_lab::enter;
use meshprobe_tests::scenario::file::Scenario;
use meshprobe_tests::scenario::library;
use meshprobe_tests::scenario::medley;
use meshprobe_tests::scenario::set::Set;
use meshprobe_tests::scenario::{self, Casting};
use tracing_subscriber::filter::LevelFilter;

const FAILED: u8 = 2;

/// Breaks a virtual cluster and judges what is found; the last line is one JSON object.
#[derive(Parser)]
#[command(name = "meshprobe-scenario")]
struct Cli {
    /// A scenario, or the path of its file; `list` names them
    #[arg(required_unless_present = "set", conflicts_with = "set")]
    name: Option<String>,
    /// Runs a list of scenarios: ci, full
    #[arg(long)]
    set: Option<String>,
    /// Scenarios of the set that run at the same time
    #[arg(long, requires = "set")]
    jobs: Option<usize>,
    /// Nodes of the cluster
    #[arg(long, conflicts_with = "set")]
    nodes: Option<u8>,
    /// Zones of the cluster
    #[arg(long, conflicts_with = "set")]
    zones: Option<u8>,
    /// Decides which node plays which role
    #[arg(long, default_value_t = 1, conflicts_with = "set")]
    seed: u64,
    /// How long the quiet part of a scenario lasts, where it can be chosen: 60s, 10m
    #[arg(long, conflicts_with = "set")]
    duration: Option<HumanDuration>,
    /// Keeps the logs also of a run that passed
    #[arg(long, conflicts_with = "set")]
    keep: bool,
    /// Folder of the scenarios
    #[arg(long, default_value_os_t = library::own_folder())]
    scenarios: PathBuf,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<bool> {
    if let Some(set) = &cli.set {
        return Set::load(&cli.scenarios, set)?.run(set, &cli.scenarios, cli.jobs);
    }
    let name = cli.name.as_deref().context("a scenario has to be named")?;
    if name == "list" {
        for name in library::names(&cli.scenarios)? {
            println!("{name:24} {}", library::load(&cli.scenarios, &name)?.title);
        }
        return Ok(true);
    }
    let scenario = library::load(&cli.scenarios, name)?;
    let scenario = medley::play_out(scenario, &cli.scenarios, cli.seed)?;
    let casting = casting(cli, &scenario)?;
    // From here on inside: the program starts again in namespaces of its own.
    let inside = enter(|| Ok(Vec::new()))?;
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(LevelFilter::WARN)
        .init();
    let outcome = scenario::run(&inside, &scenario, &casting)?;
    println!("{}", outcome.json());
    Ok(outcome.passed)
}

fn casting(cli: &Cli, scenario: &Scenario) -> anyhow::Result<Casting> {
    let nodes = cli.nodes.unwrap_or(scenario.cluster.nodes);
    let least = scenario.cluster.min_nodes;
    ensure!(
        nodes >= least,
        "{} needs at least {least} nodes",
        scenario.name
    );
    ensure!(
        cli.duration.is_none() || scenario.duration.is_some(),
        "{} has no duration that could be chosen",
        scenario.name
    );
    let zones = cli.zones.unwrap_or(scenario.cluster.zones.min(nodes));
    ensure!(
        zones >= scenario.cluster.min_zones,
        "{} needs at least {} zones",
        scenario.name,
        scenario.cluster.min_zones
    );
    Ok(Casting {
        nodes,
        zones,
        seed: cli.seed,
        duration: cli.duration.map(HumanDuration::duration),
        keep: cli.keep,
    })
}
