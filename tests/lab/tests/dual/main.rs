//! A cluster of two families: what works over IPv6, and what faults do to it.

mod services;
#[path = "../world/sized.rs"]
mod sized;
#[path = "../world/mod.rs"]
mod world;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context as _, ensure};
use meshprobe_lab::{Families, Fault, Lab, LabNode, LabSpec, addressing as at};

use sized::Fate;
use world::probe::{self, CLOSED_PORT, ECHO_PORT, Seen};

fn main() -> ExitCode {
    let spec = LabSpec {
        nodes: 4,
        zones: 2,
        families: Families::Dual,
        ..LabSpec::default()
    };
    world::run(
        &spec,
        &[
            (
                "every_pod_reaches_every_pod_under_its_own_address_of_either_family",
                every_pod_reaches_every_pod,
            ),
            (
                "a_pod_reaches_hosts_under_its_nodes_address",
                pod_reaches_hosts,
            ),
            (
                "virtual_addresses_and_node_ports_reach_the_aggregator",
                ways_home,
            ),
            (
                "a_pod_reaches_the_internet_under_the_routers_address",
                internet,
            ),
            ("the_overlay_carries_1450_bytes_of_either_family", sizes),
            (
                "dead_ipv6_leaves_ipv4_alone_on_a_node_and_everywhere",
                v6_dead,
            ),
            ("faults_of_packets_concern_either_family", packet_faults),
            ("faults_of_routes_concern_either_family", route_faults),
            (
                "router_errors_about_sizes_reach_the_sender_in_either_family",
                router_errors,
            ),
            (
                "broken_virtual_addresses_are_broken_in_either_family",
                vip_broken,
            ),
            ("names_are_answered_over_either_family", services::names),
            (
                "external_targets_serve_and_fail_in_either_family",
                services::external,
            ),
        ],
    )
}

fn v6(address: Option<impl Into<IpAddr>>) -> IpAddr {
    address.expect("this cluster has IPv6").into()
}

fn node<'lab>(lab: &'lab Lab, name: &str) -> &'lab LabNode {
    lab.node(name).expect("a node of this lab")
}

/// Echo at both addresses of every pod, and at the aggregator's; once for all tests.
fn start_servers(lab: &Lab) -> anyhow::Result<()> {
    static STARTED: std::sync::Once = std::sync::Once::new();
    let mut result = Ok(());
    STARTED.call_once(|| {
        result = (|| {
            probe::start_echo_in_pods(lab)?;
            for node in lab.nodes() {
                let address = SocketAddr::from((v6(node.pod_ip_v6), ECHO_PORT));
                probe::start_echo(lab, &node.pod_namespace, address)?;
            }
            let aggregator = lab.aggregator();
            let pod = aggregator.pod_address_v6.context("an IPv6 address")?;
            probe::start_tcp_echo(lab, &aggregator.namespace, pod)?;
            let www = SocketAddr::from((at::WWW_IP_V6, ECHO_PORT));
            probe::start_echo(lab, at::INTERNET, www)
        })();
    });
    result
}

/// Whether UDP works between two pods: IPv4, IPv6.
fn reaches(lab: &Lab, from: &LabNode, to: &LabNode) -> anyhow::Result<[bool; 2]> {
    let seen = |to| probe::udp(lab, &from.pod_namespace, to).map(Seen::is_answer);
    Ok([
        seen(probe::pod_echo(to))?,
        seen(SocketAddr::from((v6(to.pod_ip_v6), ECHO_PORT)))?,
    ])
}

/// Compares every pair of different nodes with what is expected of it.
fn ensure_pairs(
    lab: &Lab,
    expected: impl Fn(&LabNode, &LabNode) -> [bool; 2] + Sync,
) -> anyhow::Result<()> {
    let expected = &expected;
    thread::scope(|scope| {
        let sources: Vec<_> = lab
            .nodes()
            .iter()
            .map(|from| {
                scope.spawn(move || -> anyhow::Result<()> {
                    for to in lab.nodes().iter().filter(|to| to.name != from.name) {
                        let (seen, expected) = (reaches(lab, from, to)?, expected(from, to));
                        ensure!(
                            seen == expected,
                            "{} → {}: IPv4 and IPv6 are {seen:?}, not {expected:?}",
                            from.name,
                            to.name
                        );
                    }
                    Ok(())
                })
            })
            .collect();
        sources
            .into_iter()
            .try_for_each(|source| source.join().expect("a look does not panic"))
    })
}

fn while_broken(
    lab: &Lab,
    text: &str,
    look: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    start_servers(lab)?;
    let before = state(lab)?;
    let injected = text.parse::<Fault>()?.inject(lab)?;
    look().with_context(|| format!("while {text}"))?;
    injected.heal()?;
    let after = state(lab)?;
    ensure!(
        before == after,
        "after {text}: before {before}, then {after}"
    );
    ensure_pairs(lab, |_, _| [true, true]).with_context(|| format!("after {text}"))
}

/// Routes and rules of the nodes and the fabric.
fn state(lab: &Lab) -> anyhow::Result<String> {
    let mut shown = String::new();
    for namespace in lab
        .nodes()
        .iter()
        .map(|node| node.namespace.as_str())
        .chain([at::FABRIC])
    {
        for (program, arguments) in [
            ("ip", &["-details", "route", "show"][..]),
            ("ip", &["-6", "-details", "route", "show"]),
            ("ip", &["-brief", "address"]),
            ("nft", &["list", "ruleset"]),
        ] {
            shown += &lab.output_in(namespace, program, arguments)?;
        }
    }
    Ok(shown)
}

fn every_pod_reaches_every_pod(lab: &Lab) -> anyhow::Result<()> {
    start_servers(lab)?;
    for from in lab.nodes() {
        for to in lab.nodes() {
            let ways = [
                (IpAddr::V4(from.pod_ip), probe::pod_echo(to)),
                (
                    v6(from.pod_ip_v6),
                    SocketAddr::from((v6(to.pod_ip_v6), ECHO_PORT)),
                ),
            ];
            for (own, echo) in ways {
                for seen in [
                    probe::udp(lab, &from.pod_namespace, echo)?,
                    probe::tcp(lab, &from.pod_namespace, echo)?,
                ] {
                    ensure!(seen == Seen::From(own), "{} → {echo}: {seen:?}", from.name);
                }
            }
        }
    }
    Ok(())
}

fn pod_reaches_hosts(lab: &Lab) -> anyhow::Result<()> {
    for to in lab.nodes() {
        let echo = SocketAddr::from((v6(to.host_ip_v6), ECHO_PORT));
        probe::start_echo(lab, &to.namespace, echo)?;
        for from in lab.nodes() {
            if from.name != to.name {
                let seen = probe::udp(lab, &from.pod_namespace, echo)?;
                ensure!(
                    seen == Seen::From(v6(from.host_ip_v6)),
                    "{} → {echo}: {seen:?}",
                    from.name
                );
            }
            let closed = SocketAddr::new(echo.ip(), CLOSED_PORT);
            let seen = probe::tcp(lab, &from.pod_namespace, closed)?;
            ensure!(seen == Seen::Refused, "{} → {closed}: {seen:?}", from.name);
        }
    }
    Ok(())
}

fn ways_home(lab: &Lab) -> anyhow::Result<()> {
    start_servers(lab)?;
    let aggregator = lab.aggregator();
    for from in lab.nodes() {
        for way in [aggregator.service_v6, aggregator.node_port_v6] {
            let way = way.context("an IPv6 address")?;
            for namespace in [&from.pod_namespace, &from.namespace] {
                let seen = probe::tcp(lab, namespace, way)?;
                ensure!(seen.is_answer(), "{namespace} → {way}: {seen:?}");
            }
        }
    }
    Ok(())
}

fn internet(lab: &Lab) -> anyhow::Result<()> {
    start_servers(lab)?;
    let www = SocketAddr::from((at::WWW_IP_V6, ECHO_PORT));
    for from in lab.nodes() {
        for namespace in [&from.pod_namespace, &from.namespace] {
            let seen = probe::udp(lab, namespace, www)?;
            ensure!(
                seen == Seen::From(at::FABRIC_PUBLIC_IP_V6.into()),
                "{namespace}: {seen:?}"
            );
        }
    }
    Ok(())
}

fn sizes(lab: &Lab) -> anyhow::Result<()> {
    let (from, to) = (node(lab, "mesh-1"), node(lab, "mesh-2"));
    for address in [IpAddr::V4(to.pod_ip), v6(to.pod_ip_v6)] {
        let target = (to.pod_namespace.as_str(), address);
        ensure!(sized::send(lab, &from.pod_namespace, target, 1450)? == Fate::Arrived);
        ensure!(sized::send(lab, &from.pod_namespace, target, 1451)? == Fate::TooBigHere);
    }
    let target = (to.namespace.as_str(), v6(to.host_ip_v6));
    ensure!(sized::send(lab, &from.namespace, target, 1500)? == Fate::Arrived);
    Ok(())
}

fn v6_dead(lab: &Lab) -> anyhow::Result<()> {
    while_broken(lab, "v6-dead mesh-3", || {
        ensure_pairs(lab, |from, to| {
            [true, from.name != "mesh-3" && to.name != "mesh-3"]
        })?;
        let host = SocketAddr::from((v6(node(lab, "mesh-3").host_ip_v6), CLOSED_PORT));
        let seen = probe::tcp(lab, &node(lab, "mesh-2").pod_namespace, host)?;
        ensure!(seen != Seen::Refused, "its host is reached");
        Ok(())
    })?;
    while_broken(lab, "v6-dead", || ensure_pairs(lab, |_, _| [true, false]))
}

fn packet_faults(lab: &Lab) -> anyhow::Result<()> {
    while_broken(lab, "zone-partition zone-a zone-b", || {
        ensure_pairs(lab, |from, to| [from.zone == to.zone; 2])?;
        let host = SocketAddr::from((v6(node(lab, "mesh-2").host_ip_v6), CLOSED_PORT));
        let seen = probe::tcp(lab, &node(lab, "mesh-1").namespace, host)?;
        ensure!(seen != Seen::Refused, "hosts of the other zone are reached");
        Ok(())
    })?;
    while_broken(lab, "path-one-way mesh-1 mesh-3", || {
        let host = SocketAddr::from((v6(node(lab, "mesh-3").host_ip_v6), CLOSED_PORT));
        let seen = probe::tcp(lab, &node(lab, "mesh-1").namespace, host)?;
        ensure!(seen != Seen::Refused, "the host is reached");
        Ok(())
    })?;
    while_broken(lab, "udp-blocked mesh-3", || {
        ensure_pairs(lab, |from, to| {
            [from.name != "mesh-3" && to.name != "mesh-3"; 2]
        })
    })
}

fn route_faults(lab: &Lab) -> anyhow::Result<()> {
    while_broken(lab, "overlay-routes-missing mesh-3", || {
        ensure_pairs(lab, |from, to| {
            [from.name != "mesh-3" && to.name != "mesh-3"; 2]
        })
    })?;
    while_broken(lab, "overlay-backend-mix mesh-3", || {
        ensure_pairs(lab, |from, to| {
            [from.name != "mesh-3" && to.name != "mesh-3"; 2]
        })
    })
}

fn router_errors(lab: &Lab) -> anyhow::Result<()> {
    let (tight, other) = (node(lab, "mesh-3"), node(lab, "mesh-2"));
    while_broken(lab, "mtu-signalled mesh-3 1301", || {
        for (from, to, router) in [
            (tight, other, at::pod_gateway_v6(3)),
            (other, tight, at::vtep_ip_v6(3)),
        ] {
            let target = (to.pod_namespace.as_str(), v6(to.pod_ip_v6));
            let send = |bytes| sized::send(lab, &from.pod_namespace, target, bytes);
            ensure!(send(1301)? == Fate::Arrived);
            let seen = send(1302)?;
            let told = Fate::TooBig {
                mtu: 1301,
                router: router.into(),
            };
            ensure!(seen == told, "{} → {}: {seen:?}", from.name, to.name);
        }
        Ok(())
    })?;
    while_broken(lab, "mtu-blackhole mesh-3 1301 in", || {
        let target = (tight.pod_namespace.as_str(), v6(tight.pod_ip_v6));
        let send = |bytes| sized::send(lab, &other.pod_namespace, target, bytes);
        ensure!(send(1301)? == Fate::Arrived && send(1302)? == Fate::Vanished);
        Ok(())
    })
}

fn vip_broken(lab: &Lab) -> anyhow::Result<()> {
    let service = lab.aggregator().service_v6.context("an IPv6 address")?;
    while_broken(lab, "vip-broken mesh-3", || {
        let broken = probe::tcp(lab, &node(lab, "mesh-3").pod_namespace, service)?;
        ensure!(!broken.is_answer(), "{broken:?}");
        let fine = probe::tcp(lab, &node(lab, "mesh-4").pod_namespace, service)?;
        ensure!(fine.is_answer(), "{fine:?}");
        ensure_pairs(lab, |_, _| [true, true])
    })
}
