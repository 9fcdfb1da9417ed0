//! Nodes, their two directions, their prober and their reports.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use meshprobe_lab::{Fault, Lab, ProberHook};

use crate::state::{ensure_same, snapshot, start_servers, with_fault};
use crate::ways::{
    at_once, dns_works, node, one_way, others, pod_reaches_host, pod_reaches_pod, service_home,
    underlay_home,
};
use crate::world::probe;

pub(crate) fn node_dark(lab: &Lab) -> anyhow::Result<()> {
    with_fault(lab, "node-dark mesh-3", || {
        let dark = node(lab, "mesh-3");
        at_once(others(lab, "mesh-3"), |other| {
            ensure!(
                !pod_reaches_pod(lab, other, dark)?,
                "{} still reaches its pod",
                other.name
            );
            ensure!(
                !pod_reaches_host(lab, other, dark)?,
                "{} still reaches its host",
                other.name
            );
            Ok(())
        })?;
        ensure!(!service_home(lab, dark)? && !underlay_home(lab, dark)?);
        ensure!(
            pod_reaches_pod(lab, dark, dark)?,
            "inside the node all is well"
        );
        ensure!(
            pod_reaches_pod(lab, node(lab, "mesh-1"), node(lab, "mesh-5"))?,
            "others of its zone are untouched"
        );
        Ok(())
    })
}

pub(crate) fn node_freeze(lab: &Lab) -> anyhow::Result<()> {
    start_servers(lab)?;
    let before = snapshot(lab)?;
    let frozen = node(lab, "mesh-3");
    let injected = "node-freeze mesh-3 1500ms".parse::<Fault>()?.inject(lab)?;
    let other = node(lab, "mesh-4");
    let seen = probe::udp_once(lab, &other.pod_namespace, probe::pod_echo(frozen))?;
    ensure!(!seen.is_answer(), "frozen, and it answers");
    thread::sleep(Duration::from_millis(1700));
    ensure!(
        pod_reaches_pod(lab, other, frozen)? && pod_reaches_pod(lab, frozen, other)?,
        "it does not thaw by itself"
    );
    injected.heal()?;
    // Healing early waits for the end.
    "node-freeze mesh-3 300ms"
        .parse::<Fault>()?
        .inject(lab)?
        .heal()?;
    ensure_same(&before, &snapshot(lab)?)
}

#[derive(Debug, Default)]
struct RecordingHook(Mutex<Vec<String>>);

impl ProberHook for RecordingHook {
    fn stop(&self, node: &str) -> io::Result<()> {
        self.record(format!("stop {node}"))
    }

    fn start(&self, node: &str) -> io::Result<()> {
        self.record(format!("start {node}"))
    }

    fn process_id(&self, _: &str) -> io::Result<Option<u32>> {
        Ok(None)
    }

    fn pause(&self, node: &str) -> io::Result<()> {
        self.record(format!("pause {node}"))
    }

    fn resume(&self, node: &str) -> io::Result<()> {
        self.record(format!("resume {node}"))
    }
}

impl RecordingHook {
    fn record(&self, what: String) -> io::Result<()> {
        self.0.lock().map_err(|_| io::ErrorKind::Other)?.push(what);
        Ok(())
    }
}

pub(crate) fn prober_down(lab: &Lab) -> anyhow::Result<()> {
    let fault: Fault = "prober-down mesh-2".parse()?;
    let error = fault.inject(lab).expect_err("nobody said how");
    ensure!(
        error.to_string() == "the lab was not told how to kill and start probers",
        "{error}"
    );
    let hook = Arc::new(RecordingHook::default());
    lab.set_prober_hook(hook.clone());
    fault.inject(lab)?.heal()?;
    let calls = hook.0.lock().expect("not poisoned").clone();
    ensure!(calls == ["stop mesh-2", "start mesh-2"], "{calls:?}");
    Ok(())
}

pub(crate) fn reports_cut(lab: &Lab) -> anyhow::Result<()> {
    // Also on the aggregator's own node, where the way home leaves by no link.
    for name in ["mesh-4", "mesh-1"] {
        with_fault(lab, &format!("reports-cut {name}"), || {
            let cut = node(lab, name);
            ensure!(!service_home(lab, cut)?, "home by the service");
            ensure!(!underlay_home(lab, cut)?, "home by the node port");
            let by_pod = probe::tcp(lab, &cut.pod_namespace, lab.aggregator().pod_address)?;
            ensure!(!by_pod.is_answer(), "home by the pod address");
            let from_host = probe::tcp(lab, &cut.namespace, lab.aggregator().service)?;
            ensure!(!from_host.is_answer(), "home from the host");
            at_once(
                lab.nodes().iter().filter(|other| other.name != name),
                |other| {
                    ensure!(pod_reaches_pod(lab, cut, other)? && pod_reaches_pod(lab, other, cut)?);
                    ensure!(
                        service_home(lab, other)? && underlay_home(lab, other)?,
                        "{} is cut too",
                        other.name
                    );
                    Ok(())
                },
            )?;
            ensure!(dns_works(lab, cut));
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn ingress_dead(lab: &Lab) -> anyhow::Result<()> {
    with_fault(lab, "ingress-dead mesh-3", || {
        let deaf = node(lab, "mesh-3");
        at_once(others(lab, "mesh-3"), |other| {
            ensure!(
                one_way(lab, deaf, other)?,
                "its packets do not arrive at {}",
                other.name
            );
            ensure!(
                !one_way(lab, other, deaf)?,
                "packets of {} arrive",
                other.name
            );
            ensure!(
                !pod_reaches_host(lab, other, deaf)?,
                "its host answers {}",
                other.name
            );
            Ok(())
        })?;
        ensure!(!service_home(lab, deaf)? && !underlay_home(lab, deaf)?);
        Ok(())
    })
}

pub(crate) fn egress_dead(lab: &Lab) -> anyhow::Result<()> {
    with_fault(lab, "egress-dead mesh-3", || {
        let mute = node(lab, "mesh-3");
        at_once(others(lab, "mesh-3"), |other| {
            ensure!(
                one_way(lab, other, mute)?,
                "packets of {} do not arrive",
                other.name
            );
            ensure!(
                !one_way(lab, mute, other)?,
                "its packets arrive at {}",
                other.name
            );
            ensure!(
                !pod_reaches_host(lab, other, mute)?,
                "its host answers {}",
                other.name
            );
            Ok(())
        })?;
        ensure!(!service_home(lab, mute)?, "home by the overlay");
        ensure!(underlay_home(lab, mute)?, "not home by the underlay");
        Ok(())
    })
}

pub(crate) fn aggregator_isolated(lab: &Lab) -> anyhow::Result<()> {
    with_fault(lab, "aggregator-isolated", || {
        at_once(others(lab, "mesh-1"), |other| {
            ensure!(
                !service_home(lab, other)? && !underlay_home(lab, other)?,
                "{}",
                other.name
            );
            Ok(())
        })?;
        ensure!(
            service_home(lab, node(lab, "mesh-1"))?,
            "its own node still reaches it"
        );
        ensure!(pod_reaches_pod(
            lab,
            node(lab, "mesh-2"),
            node(lab, "mesh-3")
        )?);
        Ok(())
    })
}
