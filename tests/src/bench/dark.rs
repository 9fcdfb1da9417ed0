//! From a node's link going down to the first byte of the webhook that says so.
//!
//! One virtual cluster, the real programs. For each setting of the hold the mesh is started afresh; then nodes are cut
//! one after the other, in turn and never the aggregator's own, at random moments, so that a cut meets every phase of the
//! probing. Between two cuts the link is repaired, the incident has to end, and every path has to answer again.
//!
//! The clock starts when `ip link set … down` has returned: the kernel cut the link a little earlier, so the time shown is
//! short by at most the bracket, the time that the command took. The longest bracket is printed.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use meshprobe_core::finding::Pattern;
use meshprobe_daemon::clock;
use meshprobe_lab::mesh::{Mesh, MeshOptions, Notification};
use meshprobe_lab::{Fault, Inside, Lab, LabSpec, enter};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::{Arguments, Bench, Promise, Report};
use crate::distribution::Distribution;
use crate::recovery;

/// See the module.
pub const BENCH: Bench = Bench {
    name: "dark",
    summary: "from a node's link going down to the webhook's first byte, with and without the hold",
    run,
};

/// A mesh starts, warms up and fills its windows.
const START_PATIENCE: Duration = Duration::from_secs(90);
/// A cut that is not announced by then never will be.
const ALERT_PATIENCE: Duration = Duration::from_secs(30);
/// An incident stays open for a while, and probers that lost the aggregator try again at growing intervals.
const HEAL_PATIENCE: Duration = Duration::from_secs(150);
const LOOK: Duration = Duration::from_millis(100);
/// A cut comes at a random moment of this time: the probing interval.
const PHASE: Duration = Duration::from_secs(1);

#[derive(Debug, Parser)]
struct DarkArguments {
    /// Cuts for each setting of the hold
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    cuts: u16,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(4..))]
    nodes: u8,
    #[arg(long, default_value_t = 2)]
    zones: u8,
    /// Of the moments at which the links are cut
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the logs, and say where they are
    #[arg(long)]
    keep: bool,
}

/// A setting of the hold.
struct Setting {
    name: &'static str,
    /// Laid over the aggregator's configuration.
    detection: Value,
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let arguments: DarkArguments = arguments.parse();
    let inside = enter(|| Ok(Vec::new()))?;
    if arguments.keep {
        inside.keep_state_directory().context("keep the logs")?;
        println!("Logs: {}", inside.state_directory().display());
    }
    let without = Setting {
        name: "hold-0",
        detection: json!({"dark_hold": "0s"}),
    };
    let default = Setting {
        name: "hold-default",
        detection: json!({}),
    };
    let without_hold = measure(&inside, &arguments, &without)?;
    let by_default = measure(&inside, &arguments, &default)?;
    let figure = |times: &Distribution, p| times.quantile(p).unwrap_or(f64::NAN);
    Ok(Report::default()
        .with(
            "p50_s_hold_0",
            figure(&without_hold, 0.5),
            Promise::AtMost(0.6),
        )
        .with(
            "p99_s_hold_0",
            figure(&without_hold, 0.99),
            Promise::AtMost(1.0),
        )
        .with("p50_s_default", figure(&by_default, 0.5), Promise::None)
        .with(
            "p99_s_default",
            figure(&by_default, 0.99),
            Promise::AtMost(2.0),
        )
        .with("cuts", f64::from(arguments.cuts), Promise::None))
}

fn measure(
    inside: &Inside,
    arguments: &DarkArguments,
    setting: &Setting,
) -> anyhow::Result<Distribution> {
    let spec = LabSpec {
        nodes: arguments.nodes,
        zones: arguments.zones,
        ..LabSpec::default()
    };
    let lab = Lab::build(inside, &spec).context("build the virtual cluster")?;
    let store = lab.state_directory().join(format!("{}.db", setting.name));
    let options = MeshOptions {
        aggregator: json!({"detection": setting.detection, "store": {"path": store}}),
        ..MeshOptions::default()
    };
    let mesh = Mesh::start(&lab, options)?;
    mesh.wait_until_healthy(START_PATIENCE)?;
    println!(
        "\n{}: {} nodes, {} cuts",
        setting.name, arguments.nodes, arguments.cuts
    );
    let mut phases = StdRng::seed_from_u64(arguments.seed);
    let victims: Vec<&str> = lab
        .nodes()
        .iter()
        .map(|node| node.name.as_str())
        .filter(|name| *name != lab.aggregator().node)
        .collect();
    let mut times = Vec::new();
    let mut longest_bracket = Duration::ZERO;
    for (cut, victim) in (1..=arguments.cuts).zip(victims.iter().cycle()) {
        thread::sleep(PHASE.mul_f64(phases.random()));
        let measured = cut_once(&mesh, victim).with_context(|| format!("cut {cut}, {victim}"))?;
        println!(
            "  cut {cut:3}  {victim:8}  {:.3} s (bracket {:.1} ms)",
            measured.time.as_secs_f64(),
            measured.bracket.as_secs_f64() * 1e3
        );
        times.push(measured.time);
        longest_bracket = longest_bracket.max(measured.bracket);
    }
    let times: Distribution = times.into_iter().collect();
    println!(
        "{times}  longest bracket {:.1} ms",
        longest_bracket.as_secs_f64() * 1e3
    );
    Ok(times)
}

struct Measured {
    time: Duration,
    bracket: Duration,
}

fn cut_once(mesh: &Mesh, victim: &str) -> anyhow::Result<Measured> {
    let dark = Pattern::NodeDark.as_str();
    let fault = Fault::NodeDark {
        node: victim.to_owned(),
    };
    let before = clock::now();
    let injected = fault.inject(mesh.lab())?;
    let cut_at = clock::now();
    let since = |earliest: Instant| move |n: &Notification| n.received_at >= earliest;
    let (is_new, pattern) = (since(before), dark);
    let alert = mesh
        .wait_for_webhook(ALERT_PATIENCE, |n| {
            is_new(n) && n.is_firing(pattern, victim)
        })
        .with_context(|| {
            format!(
                "no {dark} webhook within {ALERT_PATIENCE:?}\n{}",
                mesh.logs()
            )
        })?;
    let healing = clock::now();
    injected.heal()?;
    let is_new = since(healing);
    mesh.wait_for_webhook(HEAL_PATIENCE, |n| {
        is_new(n) && n.is_resolved(pattern, victim)
    })
    .with_context(|| format!("not resolved within {HEAL_PATIENCE:?}\n{}", mesh.logs()))?;
    wait_for_recovery(mesh)?;
    Ok(Measured {
        time: alert.received_at.saturating_duration_since(cut_at),
        bracket: cut_at.saturating_duration_since(before),
    })
}

fn wait_for_recovery(mesh: &Mesh) -> anyhow::Result<()> {
    let deadline = clock::now() + HEAL_PATIENCE;
    let api = mesh.api()?;
    while let Some(missing) = recovery::missing(&api)? {
        if clock::now() >= deadline {
            bail!(
                "not recovered after {HEAL_PATIENCE:?}: {missing}\n{}",
                mesh.logs()
            );
        }
        thread::sleep(LOOK);
    }
    Ok(())
}
