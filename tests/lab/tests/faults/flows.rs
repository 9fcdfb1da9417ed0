//! Zone pairs: flows that are dead by their hash, and random loss.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use meshprobe_lab::{Lab, LabNode, addressing as at};

use crate::state::with_fault;
use crate::ways::node;

/// Nothing more comes after such a silence.
const SILENCE: Duration = Duration::from_millis(400);

/// Sends `packets` packets on each of `flows` source ports, one way, and counts the arrivals of each flow.
fn arrivals(
    lab: &Lab,
    from: (&str, SocketAddr),
    to: (&str, SocketAddr),
    flows: u16,
    packets: usize,
) -> anyhow::Result<BTreeMap<u16, usize>> {
    let receiver = lab.udp_in(to.0, to.1)?;
    receiver.set_read_timeout(Some(SILENCE))?;
    let target = receiver.local_addr()?;
    let senders: Vec<UdpSocket> = (0..flows)
        .map(|_| lab.udp_in(from.0, from.1))
        .collect::<Result<_, _>>()?;
    let mut counts: BTreeMap<u16, usize> = (0..flows).map(|flow| (flow, 0)).collect();
    thread::scope(|scope| {
        let counting = scope.spawn(|| -> anyhow::Result<()> {
            let mut buffer = [0; 2];
            loop {
                match receiver.recv(&mut buffer) {
                    Ok(_) => *counts.entry(u16::from_be_bytes(buffer)).or_default() += 1,
                    Err(error)
                        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                    {
                        return Ok(());
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        });
        for _ in 0..packets {
            for (flow, sender) in (0_u16..).zip(&senders) {
                sender.send_to(&flow.to_be_bytes(), target)?;
                // Not more than a receive buffer holds at a time.
                if flow % 32 == 31 {
                    thread::sleep(Duration::from_millis(5));
                }
            }
        }
        counting.join().expect("the counter does not panic")
    })?;
    Ok(counts)
}

fn between_pods(
    lab: &Lab,
    from: &LabNode,
    to: &LabNode,
    flows: u16,
    packets: usize,
) -> anyhow::Result<BTreeMap<u16, usize>> {
    arrivals(
        lab,
        (&from.pod_namespace, SocketAddr::from((from.pod_ip, 0))),
        (&to.pod_namespace, SocketAddr::from((to.pod_ip, 0))),
        flows,
        packets,
    )
}

fn between_hosts(
    lab: &Lab,
    from: &LabNode,
    to: &LabNode,
    flows: u16,
    packets: usize,
) -> anyhow::Result<BTreeMap<u16, usize>> {
    arrivals(
        lab,
        (&from.namespace, SocketAddr::from((from.host_ip, 0))),
        (&to.namespace, SocketAddr::from((to.host_ip, 0))),
        flows,
        packets,
    )
}

/// How many flows are dead; each must be dead or alive, and not lossy.
fn dead(counts: &BTreeMap<u16, usize>, packets: usize) -> anyhow::Result<usize> {
    let mut dead = 0;
    for (flow, arrived) in counts {
        ensure!(
            *arrived == 0 || *arrived == packets,
            "of flow {flow} {arrived} of {packets} packets arrived"
        );
        dead += usize::from(*arrived == 0);
    }
    Ok(dead)
}

pub(crate) fn ecmp_member(lab: &Lab) -> anyhow::Result<()> {
    const FLOWS: u16 = 256;
    const PACKETS: usize = 3;
    let (a, near, b) = (
        node(lab, "mesh-3"),
        node(lab, "mesh-5"),
        node(lab, "mesh-4"),
    );
    let none = |from, to| -> anyhow::Result<()> {
        let dead = dead(&between_pods(lab, from, to, FLOWS, PACKETS)?, PACKETS)?;
        ensure!(dead == 0, "{dead} flows are dead");
        Ok(())
    };
    with_fault(lab, "ecmp-member zone-a zone-b 4/16 one-way", || {
        // 64 of 256 expected, standard deviation 7: five of them on either side.
        for counts in [
            between_pods(lab, a, b, FLOWS, PACKETS)?,
            between_hosts(lab, a, b, FLOWS, PACKETS)?,
        ] {
            let dead = dead(&counts, PACKETS)?;
            ensure!(
                (29..=99).contains(&dead),
                "{dead} of {FLOWS} flows are dead"
            );
        }
        none(b, a)?;
        none(a, near)
    })?;
    with_fault(lab, "ecmp-member zone-b zone-a 1/2", || {
        for (from, to) in [(a, b), (b, a)] {
            // 128 expected, standard deviation 8.
            let dead = dead(&between_pods(lab, from, to, FLOWS, PACKETS)?, PACKETS)?;
            ensure!(
                (88..=168).contains(&dead),
                "{dead} of {FLOWS} flows are dead"
            );
        }
        none(a, near)
    })
}

/// What the fault stands on: the fabric tells inner flows apart by the outer packets' source port.
pub(crate) fn outer_ports(lab: &Lab) -> anyhow::Result<()> {
    const FLOWS: u16 = 128;
    let (a, b) = (node(lab, "mesh-3"), node(lab, "mesh-4"));
    let nft = |script: &str| lab.output_in(at::FABRIC, "nft", &[script]);
    nft(&format!(
        "add table ip seen; add set ip seen ports {{ type inet_service; flags dynamic; size 65535; }}; \
         add chain ip seen forward {{ type filter hook forward priority 0; }}; \
         add rule ip seen forward ip saddr {} ip daddr {} udp dport {} add @ports {{ udp sport }}",
        a.host_ip,
        b.host_ip,
        at::VXLAN_PORT
    ))?;
    let counts = between_pods(lab, a, b, FLOWS, 1)?;
    let shown = nft("list set ip seen ports")?;
    nft("delete table ip seen")?;
    ensure!(dead(&counts, 1)? == 0);
    let ports = shown
        .split_once("elements = {")
        .map_or(0, |(_, elements)| elements.split(',').count());
    // Two flows may share a hash: of 128 flows over some 28,000 ports hardly any do.
    ensure!(
        ports >= usize::from(FLOWS) - 10,
        "{FLOWS} flows have {ports} outer ports"
    );
    Ok(())
}

pub(crate) fn zone_lossy(lab: &Lab) -> anyhow::Result<()> {
    const FLOWS: u16 = 100;
    const PACKETS: usize = 10;
    let (a, near, b) = (
        node(lab, "mesh-3"),
        node(lab, "mesh-5"),
        node(lab, "mesh-4"),
    );
    with_fault(lab, "zone-lossy 10% zone-a zone-b", || {
        for (from, to) in [(a, b), (b, a)] {
            let lost = 1000
                - between_pods(lab, from, to, FLOWS, PACKETS)?
                    .values()
                    .sum::<usize>();
            // 100 of 1000 expected, standard deviation 9.5: five of them on either side.
            ensure!((52..=148).contains(&lost), "{lost} of 1000 were lost");
        }
        let lost = 1000
            - between_pods(lab, a, near, FLOWS, PACKETS)?
                .values()
                .sum::<usize>();
        ensure!(lost == 0, "{lost} were lost inside a zone");
        Ok(())
    })
}
