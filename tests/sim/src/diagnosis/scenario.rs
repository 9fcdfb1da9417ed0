//! `cargo xtask sim scenario`: the rows of SCENARIOS.md in virtual time, in clusters of several sizes.
//!
//! Rows that are about the aggregator itself or about clocks (`aggregator-restart`, `aggregator-isolated`, `clock-step`) are
//! tried by `dark`, `cuts` and `clock-step`, with whole probers and a whole aggregator.

use clap::Parser;
use meshprobe_core::finding::{Pattern, Scope};
use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_daemon::clock;
use serde::Serialize;

use super::command::{spec, tell, usual_zones, warm};
use super::family;
use super::fault::Fault;
use super::rule::{Drop, Ends, Rule};
use super::trial::{self, Pace, Verdict};
use super::world::World;
use crate::chance::Chance;
use crate::experiment::Outcome;

/// Clusters that each row is tried in: nodes and zones.
const CLUSTERS: [(usize, usize); 3] = [(3, 1), (6, 2), (12, 3)];
/// A link that comes and goes does so in so many seconds.
const FLAPPING: u32 = 20;

/// How a row becomes a fault.
#[derive(Clone, Copy, Debug)]
enum Made {
    /// A random one of a family.
    Of(&'static str),
    By(fn(&World, &mut Chance) -> Fault),
}

/// Rows by their names.
const ROWS: &[(&str, Made)] = &[
    ("healthy", Made::By(healthy)),
    ("node-dark", Made::By(node_dark)),
    ("node-freeze", Made::By(node_freeze)),
    ("prober-down", Made::By(prober_down)),
    ("reports-cut", Made::By(reports_cut)),
    ("overlay-routes-missing", Made::By(routes_missing)),
    ("overlay-one-route", Made::Of("one-route")),
    ("overlay-port-blocked", Made::By(port_blocked)),
    ("ingress-dead", Made::By(ingress_dead)),
    ("egress-dead", Made::By(egress_dead)),
    ("path-one-way", Made::By(path_one_way)),
    ("zone-partition", Made::By(zone_partition)),
    ("zone-lossy", Made::By(zone_lossy)),
    ("node-lossy", Made::By(node_lossy)),
    ("ecmp-member", Made::Of("flows")),
    ("udp-tcp-blocked", Made::Of("kind-node")),
    ("udp-tcp-blocked-everywhere", Made::Of("kind-everywhere")),
    ("mtu-blackhole-node", Made::Of("mtu-node")),
    ("mtu-signalled", Made::Of("mtu-signalled")),
    ("mtu-overlay-too-big", Made::Of("mtu-everywhere")),
    ("dns-instance-down", Made::Of("dns-server")),
    ("dns-throttled", Made::Of("dns-overloaded")),
    ("dns-blocked", Made::Of("dns-blocked")),
    ("dns-servfail", Made::Of("dns-upstream")),
    ("dns-nxdomain", Made::Of("dns-name")),
    ("dns-vip", Made::Of("dns-vip")),
    ("dns-config-drift", Made::Of("config-drift")),
    ("vip-broken", Made::Of("vip-broken")),
    ("vip-stale-endpoint", Made::Of("vip-stale-endpoint")),
    ("external-node", Made::Of("external-node")),
    ("external-all", Made::Of("external-all")),
    ("external-target", Made::Of("external-target")),
    ("tls", Made::Of("tls")),
    ("http-502", Made::Of("http")),
    ("slow-node", Made::Of("slow-node")),
    ("conntrack-full", Made::Of("new-flows")),
    ("address-conflict", Made::Of("address-conflict")),
    ("sandbox-failed", Made::By(sandbox_failed)),
    ("v6-dead-node", Made::Of("family-node")),
    ("v6-dead", Made::Of("family-everywhere")),
    ("throttled-prober", Made::Of("observer-unhealthy")),
    ("drain", Made::By(drain)),
    ("scale-down", Made::By(scale_down)),
    ("flapping", Made::By(flapping)),
    ("two-faults", Made::By(two_faults)),
];

/// Rows of the table of failures: exactly the expected findings, in time, gone in time.
#[derive(Clone, Debug, Parser)]
pub struct ScenarioArguments {
    /// The row, `all`, or `list`
    name: String,
    /// Nodes; default: clusters of 3, 6 and 12
    #[arg(long)]
    nodes: Option<usize>,
    /// Zones; default: what fits the size
    #[arg(long)]
    zones: Option<usize>,
    /// Which nodes, zones and sizes
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How they went.
#[derive(Clone, Debug, Serialize)]
pub struct ScenarioReport {
    scenario: String,
    runs: usize,
    failed: Vec<String>,
    seconds: f64,
    passed: bool,
}

impl Outcome for ScenarioReport {
    fn passed(&self) -> bool {
        self.passed
    }
}

impl ScenarioArguments {
    /// Simulates, and prints a line for each run.
    pub fn run(&self) -> ScenarioReport {
        let started = clock::now();
        let rows: Vec<&(&str, Made)> = ROWS
            .iter()
            .filter(|(name, _)| self.name == "all" || self.name == *name)
            .collect();
        if rows.is_empty() {
            println!("Rows are:");
            for (name, _) in ROWS {
                println!("  {name}");
            }
        }
        let clusters = match self.nodes {
            Some(nodes) => vec![(nodes, self.zones.unwrap_or_else(|| usual_zones(nodes)))],
            None => CLUSTERS.to_vec(),
        };
        let mut runs = 0;
        let mut failed = Vec::new();
        for (nodes, zones) in clusters {
            let worlds = [false, true].map(|dual| spec(nodes, zones.clamp(1, nodes), dual));
            let engines = worlds.map(|spec| warm(spec, self.seed));
            for (name, made) in &rows {
                let Some((engine, fault)) = engines
                    .iter()
                    .find_map(|engine| Some((engine, self.make(*made, &engine.world, name)?)))
                else {
                    continue;
                };
                let verdict = trial::run(engine.clone(), &fault, Pace::for_nodes(nodes));
                runs += 1;
                let is_good = verdict.is_right() && verdict.is_in_time();
                println!("{}", line(name, nodes, zones, &verdict, is_good));
                if !is_good {
                    println!("{}", tell(&verdict));
                    failed.push(format!("{name} ({nodes} nodes)"));
                }
            }
        }
        ScenarioReport {
            scenario: self.name.clone(),
            runs,
            passed: runs > 0 && failed.is_empty(),
            failed,
            seconds: clock::now()
                .saturating_duration_since(started)
                .as_secs_f64(),
        }
    }

    fn make(&self, made: Made, world: &World, name: &str) -> Option<Fault> {
        let salt = name.bytes().fold(self.seed, |salt, octet| {
            salt.wrapping_mul(31).wrapping_add(octet.into())
        });
        let mut chance = Chance::new(salt);
        match made {
            Made::Of(name) => {
                let family = family::find(name).filter(|family| (family.fits)(world))?;
                Some(family.draw(world, &mut chance))
            }
            Made::By(draw) => {
                let drawn = draw(world, &mut chance);
                (!drawn.title.is_empty()).then_some(drawn)
            }
        }
    }
}

fn line(name: &str, nodes: usize, zones: usize, verdict: &Verdict, is_good: bool) -> String {
    let word = if is_good { "passed" } else { "FAILED" };
    let seconds = |seconds: Option<u32>| seconds.map_or("-".to_owned(), |s| format!("{s} s"));
    format!(
        "{word}  {name:<28} {nodes:>3} nodes {zones} zones  found {:>6}  gone {:>6}  told {}  {}",
        seconds(verdict.seconds()),
        seconds(verdict.cleared),
        verdict.told,
        verdict.fault.title
    )
}

fn fault(title: String, rules: Vec<Rule>, expected: Option<(Pattern, Scope)>) -> Fault {
    Fault {
        family: "scenario",
        title,
        rules,
        expected: expected.into_iter().collect(),
        is_total: true,
        period: 0,
        lasts: 0,
    }
}

/// Something at one node.
fn at_node(
    world: &World,
    chance: &mut Chance,
    pattern: Pattern,
    rules: impl Fn(usize) -> Vec<Rule>,
) -> Fault {
    let node = chance.index(world.nodes());
    let name = World::name(node);
    let expected = (pattern, Scope::node(name.clone()));
    fault(format!("{pattern} {name}"), rules(node), Some(expected))
}

fn healthy(_: &World, _: &mut Chance) -> Fault {
    fault("nothing".to_owned(), Vec::new(), None)
}

fn node_dark(world: &World, chance: &mut Chance) -> Fault {
    at_node(world, chance, Pattern::NodeDark, |node| {
        vec![Rule::Dark(node)]
    })
}

fn node_freeze(world: &World, chance: &mut Chance) -> Fault {
    Fault {
        expected: Vec::new(),
        lasts: 1,
        ..node_dark(world, chance)
    }
}

fn prober_down(world: &World, chance: &mut Chance) -> Fault {
    at_node(world, chance, Pattern::ProberDown, |node| {
        vec![Rule::ProberGone(node)]
    })
}

fn reports_cut(world: &World, chance: &mut Chance) -> Fault {
    at_node(world, chance, Pattern::ReportsCut, |node| {
        vec![Rule::ReportsCut(node)]
    })
}

fn routes_missing(world: &World, chance: &mut Chance) -> Fault {
    let nodes = world.nodes();
    at_node(world, chance, Pattern::OverlayEgress, |node| {
        let to = (0..nodes).filter(|to| *to != node).collect();
        vec![
            Rule::Drop(Drop::overlay(Ends::Node(node), Ends::AnyNode, 1.0)),
            Rule::NoRoutes { node, to },
        ]
    })
}

fn both_ways(node: usize, drop: fn(Ends, Ends, f64) -> Drop) -> Vec<Rule> {
    vec![
        Rule::Drop(drop(Ends::Node(node), Ends::AnyNode, 1.0)),
        Rule::Drop(drop(Ends::AnyNode, Ends::Node(node), 1.0)),
    ]
}

fn port_blocked(world: &World, chance: &mut Chance) -> Fault {
    at_node(world, chance, Pattern::OverlayNode, |node| {
        both_ways(node, Drop::overlay)
    })
}

fn ingress_dead(world: &World, chance: &mut Chance) -> Fault {
    at_node(world, chance, Pattern::NodeIngress, |node| {
        vec![Rule::Drop(Drop::all(Ends::Any, Ends::Node(node), 1.0))]
    })
}

fn egress_dead(world: &World, chance: &mut Chance) -> Fault {
    at_node(world, chance, Pattern::NodeEgress, |node| {
        vec![Rule::Drop(Drop::all(Ends::Node(node), Ends::Any, 1.0))]
    })
}

fn path_one_way(world: &World, chance: &mut Chance) -> Fault {
    let from = chance.index(world.nodes());
    let to = (from + 1 + chance.index(world.nodes() - 1)) % world.nodes();
    let names = (World::name(from), World::name(to));
    let rule = Rule::Drop(Drop::all(Ends::Node(from), Ends::Node(to), 1.0));
    let title = format!("path {}→{}", names.0, names.1);
    let expected = (Pattern::Path, Scope::path(names.0, names.1));
    fault(title, vec![rule], Some(expected))
}

/// Between the first two zones; no title: the cluster has none.
fn zones(world: &World, loss: f64) -> Fault {
    if world.spec.zones < 2 || world.nodes_in(0).min(world.nodes_in(1)) < 2 {
        return fault(String::new(), Vec::new(), None);
    }
    let (a, b) = (Ends::Zone(0), Ends::Zone(1));
    let rules = [Drop::all(a, b, loss), Drop::all(b, a, loss)];
    let scope = Scope::zones(World::zone_name(0), World::zone_name(1));
    Fault {
        is_total: loss >= 1.0,
        ..fault(
            format!("{scope} {:.0} %", loss * 100.0),
            rules.map(Rule::Drop).to_vec(),
            Some((Pattern::ZonePair, scope)),
        )
    }
}

fn zone_partition(world: &World, _: &mut Chance) -> Fault {
    zones(world, 1.0)
}

fn zone_lossy(world: &World, _: &mut Chance) -> Fault {
    zones(world, 0.05)
}

fn node_lossy(world: &World, chance: &mut Chance) -> Fault {
    let fault = at_node(world, chance, Pattern::NodeIngress, |node| {
        vec![Rule::Drop(Drop::all(Ends::Any, Ends::Node(node), 0.05))]
    });
    Fault {
        is_total: false,
        ..fault
    }
}

fn sandbox_failed(world: &World, chance: &mut Chance) -> Fault {
    at_node(world, chance, Pattern::ProberNotRunning, |node| {
        vec![
            Rule::ProberGone(node),
            Rule::Event {
                node,
                reason: "FailedCreatePodSandBox",
                message: "failed to allocate for range 0: no IP addresses available".to_owned(),
            },
        ]
    })
}

fn leaving(world: &World, chance: &mut Chance, count: usize, stage: Lifecycle) -> Fault {
    let first = chance.index(world.nodes());
    let rules = (0..count).map(|i| Rule::Life {
        node: (first + i) % world.nodes(),
        stage,
    });
    let title = format!("{count} nodes {stage}");
    fault(title, rules.collect(), None)
}

fn drain(world: &World, chance: &mut Chance) -> Fault {
    leaving(world, chance, 1, Lifecycle::Draining)
}

fn scale_down(world: &World, chance: &mut Chance) -> Fault {
    let count = (world.nodes() * 3 / 10).max(1);
    leaving(world, chance, count, Lifecycle::Leaving)
}

fn flapping(world: &World, chance: &mut Chance) -> Fault {
    Fault {
        period: FLAPPING,
        ..node_dark(world, chance)
    }
}

/// One fault of a node, and one of something else.
fn two_faults(world: &World, chance: &mut Chance) -> Fault {
    let others = ["dns-name", "external-target", "tls", "http", "dns-server"];
    let first = match chance.index(4) {
        0 => port_blocked(world, chance),
        1 => path_one_way(world, chance),
        2 => egress_dead(world, chance),
        _ => node_dark(world, chance),
    };
    let name = others[chance.index(others.len())];
    match family::find(name) {
        Some(family) => first.and(family.draw(world, chance)),
        None => first,
    }
}
