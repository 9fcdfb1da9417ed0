//! DNS servers and virtual addresses.

use anyhow::ensure;
use meshprobe_lab::{Lab, Transport, addressing as at};

use crate::state::with_fault;
use crate::ways::{asks, at_once, dns_works, node, pod_reaches_pod, service_home, underlay_home};

pub(crate) fn dns_instance_down(lab: &Lab) -> anyhow::Result<()> {
    with_fault(lab, "dns-instance-down dns-1", || {
        let [dead, alive] = lab.dns_instances() else {
            anyhow::bail!("this lab has two");
        };
        let pod = node(lab, "mesh-1");
        for transport in [Transport::Udp, Transport::Tcp] {
            ensure!(
                !asks(lab, pod, dead.address, transport),
                "the dead one answers"
            );
            ensure!(
                asks(lab, pod, alive.address, transport),
                "the other one does not answer"
            );
        }
        let answered = (0..60)
            .filter(|_| asks(lab, pod, at::dns_service(), Transport::Udp))
            .count();
        ensure!(
            (5..=55).contains(&answered),
            "{answered} of 60 questions to the virtual address were answered"
        );
        Ok(())
    })
}

pub(crate) fn dns_blocked(lab: &Lab) -> anyhow::Result<()> {
    // Also where a DNS server runs: it is no prober.
    let host = lab.dns_instances()[0].node.clone();
    for name in ["mesh-1", host.as_str()] {
        with_fault(lab, &format!("dns-blocked {name}"), || {
            let blocked = node(lab, name);
            let servers = lab
                .dns_instances()
                .iter()
                .map(|dns| dns.address)
                .chain([at::dns_service()]);
            for server in servers {
                for transport in [Transport::Udp, Transport::Tcp] {
                    ensure!(
                        !asks(lab, blocked, server, transport),
                        "{server} answers over {transport:?}"
                    );
                }
            }
            at_once(
                lab.nodes().iter().filter(|other| other.name != name),
                |other| {
                    ensure!(pod_reaches_pod(lab, blocked, other)?);
                    ensure!(dns_works(lab, other), "{} has no DNS either", other.name);
                    Ok(())
                },
            )?;
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn vip_broken(lab: &Lab) -> anyhow::Result<()> {
    with_fault(lab, "vip-broken mesh-4", || {
        let broken = node(lab, "mesh-4");
        ensure!(
            !dns_works(lab, broken) && !service_home(lab, broken)?,
            "virtual addresses work"
        );
        for dns in lab.dns_instances() {
            ensure!(
                asks(lab, broken, dns.address, Transport::Udp),
                "{} does not answer",
                dns.name
            );
        }
        ensure!(
            underlay_home(lab, broken)?,
            "the node port of another node works"
        );
        ensure!(dns_works(lab, node(lab, "mesh-2")));
        Ok(())
    })
}
