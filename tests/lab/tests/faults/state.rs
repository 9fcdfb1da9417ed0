//! The whole cluster's state before and after a fault.

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::{Context as _, ensure};
use meshprobe_lab::{Fault, Lab, addressing as at};

use crate::ways::{dns_works, pod_reaches_pod, service_home, underlay_home};
use crate::world::probe;

/// Breaks, looks, heals, and checks that everything is as before.
pub(crate) fn with_fault(
    lab: &Lab,
    text: &str,
    look: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    start_servers(lab)?;
    let before = snapshot(lab)?;
    let injected = text.parse::<Fault>()?.inject(lab)?;
    look().with_context(|| format!("while {text}"))?;
    injected.heal()?;
    ensure_same(&before, &snapshot(lab)?).with_context(|| format!("after {text}"))?;
    ensure_healthy(lab).with_context(|| format!("after {text}"))
}

/// Routes, permanent neighbours, forwarding entries, links and rules of every namespace.
pub(crate) fn snapshot(lab: &Lab) -> anyhow::Result<BTreeMap<String, String>> {
    let mut state = BTreeMap::new();
    let mut namespaces: Vec<String> = vec![
        at::FABRIC.to_owned(),
        at::INTERNET.to_owned(),
        lab.aggregator().namespace.clone(),
    ];
    for node in lab.nodes() {
        namespaces.extend([node.namespace.clone(), node.pod_namespace.clone()]);
    }
    for namespace in namespaces {
        let commands: [(&str, &[&str]); 7] = [
            ("ip", &["-details", "route", "show", "table", "all"]),
            ("ip", &["-6", "-details", "route", "show", "table", "all"]),
            ("tc", &["qdisc", "show"]),
            ("ip", &["neighbour", "show", "nud", "permanent"]),
            ("ip", &["-brief", "link"]),
            ("ip", &["-brief", "address"]),
            ("nft", &["list", "ruleset"]),
        ];
        for (program, arguments) in commands {
            let shown = lab.output_in(&namespace, program, arguments)?;
            state.insert(
                format!("{namespace}: {program} {}", arguments.join(" ")),
                shown,
            );
        }
        // Learned entries come and go; the overlay's own are permanent.
        let shown = lab.output_in(&namespace, "bridge", &["fdb", "show"])?;
        let overlay: Vec<&str> = shown
            .lines()
            .filter(|line| line.contains("flannel.1"))
            .collect();
        state.insert(format!("{namespace}: bridge fdb"), overlay.join("\n"));
    }
    Ok(state)
}

pub(crate) fn ensure_same(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    for (what, shown) in before {
        let now = &after[what];
        ensure!(
            shown == now,
            "{what} is not as before\nbefore:\n{shown}\nafter:\n{now}"
        );
    }
    Ok(())
}

/// Echo in all pods and a listener in the aggregator's, once for all tests.
pub(crate) fn start_servers(lab: &Lab) -> anyhow::Result<()> {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = STARTED
        .lock()
        .expect("no test panics while it starts servers");
    if !*started {
        probe::start_echo_in_pods(lab)?;
        probe::start_tcp_echo(
            lab,
            &lab.aggregator().namespace,
            lab.aggregator().pod_address,
        )?;
        *started = true;
    }
    Ok(())
}

pub(crate) fn ensure_healthy(lab: &Lab) -> anyhow::Result<()> {
    for from in lab.nodes() {
        ensure!(
            service_home(lab, from)? && underlay_home(lab, from)?,
            "{} does not reach the aggregator",
            from.name
        );
        for to in lab.nodes() {
            ensure!(
                pod_reaches_pod(lab, from, to)?,
                "{} → {} is broken",
                from.name,
                to.name
            );
        }
        ensure!(dns_works(lab, from), "{} has no DNS", from.name);
    }
    Ok(())
}
