//! The overlay, paths, zones, loss and protocols.

use anyhow::ensure;
use meshprobe_lab::{Lab, LabNode};

use crate::state::with_fault;
use crate::ways::{
    at_once, node, one_way, others, pod_reaches_host, pod_reaches_pod, replies, service_home,
    underlay_home,
};
use crate::world::probe;

pub(crate) fn overlay_routes_missing(lab: &Lab) -> anyhow::Result<()> {
    with_fault(lab, "overlay-routes-missing mesh-4", || {
        let broken = node(lab, "mesh-4");
        at_once(others(lab, "mesh-4"), |other| {
            ensure!(
                !pod_reaches_pod(lab, broken, other)?,
                "it reaches {}",
                other.name
            );
            ensure!(
                one_way(lab, other, broken)?,
                "packets of {} do not arrive",
                other.name
            );
            ensure!(
                pod_reaches_host(lab, broken, other)? && pod_reaches_host(lab, other, broken)?,
                "the host plane is clean"
            );
            Ok(())
        })?;
        ensure!(!service_home(lab, broken)?, "home by the overlay");
        ensure!(underlay_home(lab, broken)?, "not home by the underlay");
        Ok(())
    })
}

pub(crate) fn overlay_one_route(lab: &Lab) -> anyhow::Result<()> {
    with_fault(lab, "overlay-one-route mesh-4 mesh-5", || {
        let broken = node(lab, "mesh-4");
        at_once(others(lab, "mesh-4"), |other| {
            let works = pod_reaches_pod(lab, broken, other)?;
            ensure!(works == (other.name != "mesh-5"), "{}: {works}", other.name);
            Ok(())
        })?;
        Ok(())
    })
}

pub(crate) fn overlay_port_blocked(lab: &Lab) -> anyhow::Result<()> {
    with_fault(lab, "overlay-port-blocked mesh-5", || {
        let blocked = node(lab, "mesh-5");
        at_once(others(lab, "mesh-5"), |other| {
            ensure!(
                !one_way(lab, other, blocked)? && !one_way(lab, blocked, other)?,
                "{}",
                other.name
            );
            ensure!(
                pod_reaches_host(lab, blocked, other)? && pod_reaches_host(lab, other, blocked)?,
                "the host plane is clean"
            );
            Ok(())
        })?;
        ensure!(underlay_home(lab, blocked)?);
        Ok(())
    })?;
    with_fault(lab, "overlay-port-blocked all", || {
        let (one, other) = (node(lab, "mesh-2"), node(lab, "mesh-3"));
        ensure!(
            !one_way(lab, one, other)? && !one_way(lab, other, one)?,
            "the overlay is dead everywhere"
        );
        ensure!(
            pod_reaches_host(lab, one, other)?,
            "the host plane is clean"
        );
        Ok(())
    })
}

pub(crate) fn path_one_way(lab: &Lab) -> anyhow::Result<()> {
    // Once inside a zone, once between zones.
    for (from, to) in [("mesh-3", "mesh-5"), ("mesh-3", "mesh-4")] {
        with_fault(lab, &format!("path-one-way {from} {to}"), || {
            let (from, to) = (node(lab, from), node(lab, to));
            ensure!(!one_way(lab, from, to)?, "forth works");
            ensure!(one_way(lab, to, from)?, "back is broken");
            ensure!(!pod_reaches_host(lab, from, to)?, "on the host plane too");
            let third = node(lab, "mesh-6");
            ensure!(pod_reaches_pod(lab, from, third)? && pod_reaches_pod(lab, third, to)?);
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn zone_partition(lab: &Lab) -> anyhow::Result<()> {
    with_fault(lab, "zone-partition zone-a zone-b", || {
        at_once(lab.nodes().iter(), |from| {
            for to in lab.nodes().iter().filter(|to| to.name != from.name) {
                let works = one_way(lab, from, to)?;
                ensure!(
                    works == (from.zone == to.zone),
                    "{} → {}: {works}",
                    from.name,
                    to.name
                );
            }
            Ok(())
        })?;
        Ok(())
    })
}

pub(crate) fn loss(lab: &Lab) -> anyhow::Result<()> {
    const PROBES: usize = 400;
    let (from, to) = (node(lab, "mesh-2"), node(lab, "mesh-5"));
    with_fault(lab, "loss 30% mesh-5 in", || {
        let answered = replies(lab, from, to, PROBES)?;
        // 280 expected, standard deviation 9.2: seven of them on either side.
        ensure!(
            (215..=345).contains(&answered),
            "{answered} of {PROBES} came back at 30 % loss"
        );
        ensure!(
            replies(lab, from, node(lab, "mesh-6"), 50)? == 50,
            "others lose packets too"
        );
        Ok(())
    })?;
    with_fault(lab, "loss 30% all", || {
        let answered = replies(lab, from, to, PROBES)?;
        // Both ways are lossy: 196 expected, standard deviation 10.
        ensure!(
            (126..=266).contains(&answered),
            "{answered} of {PROBES} came back at 30 % loss each way"
        );
        Ok(())
    })?;
    with_fault(lab, "loss 100% mesh-5 out", || {
        ensure!(one_way(lab, from, to)? && !one_way(lab, to, from)?);
        Ok(())
    })
}

pub(crate) fn protocol_blocked(lab: &Lab) -> anyhow::Result<()> {
    let blocked = node(lab, "mesh-3");
    let ways = |other: &LabNode| -> anyhow::Result<[bool; 4]> {
        let udp = |from: &LabNode, to: &LabNode| {
            anyhow::Ok(probe::udp(lab, &from.pod_namespace, probe::pod_echo(to))?.is_answer())
        };
        let tcp = |from: &LabNode, to: &LabNode| {
            anyhow::Ok(probe::tcp(lab, &from.pod_namespace, probe::pod_echo(to))?.is_answer())
        };
        Ok([
            udp(blocked, other)?,
            udp(other, blocked)?,
            tcp(blocked, other)?,
            tcp(other, blocked)?,
        ])
    };
    with_fault(lab, "udp-blocked mesh-3", || {
        at_once(others(lab, "mesh-3"), |other| {
            ensure!(ways(other)? == [false, false, true, true], "{}", other.name);
            Ok(())
        })?;
        Ok(())
    })?;
    with_fault(lab, "udp-blocked all", || {
        let [others, from_others, tcp, from_others_tcp] = ways(node(lab, "mesh-2"))?;
        ensure!(!others && !from_others && tcp && from_others_tcp);
        let (one, other) = (node(lab, "mesh-2"), node(lab, "mesh-1"));
        ensure!(
            !probe::udp(lab, &one.pod_namespace, probe::pod_echo(other))?.is_answer(),
            "not only at one node"
        );
        Ok(())
    })?;
    with_fault(lab, "tcp-blocked mesh-3", || {
        at_once(others(lab, "mesh-3"), |other| {
            ensure!(ways(other)? == [true, true, false, false], "{}", other.name);
            Ok(())
        })?;
        ensure!(
            service_home(lab, blocked)? && underlay_home(lab, blocked)?,
            "reports still come home"
        );
        Ok(())
    })?;
    // The aggregator's own node: everybody's reports arrive there.
    with_fault(lab, "tcp-blocked mesh-1", || {
        for other in lab.nodes() {
            ensure!(
                service_home(lab, other)? && underlay_home(lab, other)?,
                "{}",
                other.name
            );
        }
        Ok(())
    })
}
