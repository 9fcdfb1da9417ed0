//! Rules of packet sizes, zone pairs, connection tracking and families.

use super::{Direction, Hook, LabNode, LabZone, Percent, Rules, at};
use crate::fault::{Buckets, PacketSize, Ways};
use crate::script::push;

/// The hash of the fabric's routers: the same flows are dead in every run with the same ports.
const HASH_SEED: u32 = 0x6d65_7368;

impl Rules {
    /// At the overlay's device packets are the pods' own, to the byte: the outer headers are not there yet, or not any more.
    pub(in crate::fault) fn mtu_blackhole(
        namespace: &str,
        bytes: PacketSize,
        direction: Direction,
    ) -> Self {
        let vanish = format!("meta length > {bytes} drop");
        let arriving = (Hook::Arriving, format!("iifname flannel.1 {vanish}"));
        let leaving = (Hook::Leaving, format!("oifname flannel.1 {vanish}"));
        match direction {
            Direction::In => Self::new(namespace, &[arriving]),
            Direction::Out => Self::new(namespace, &[leaving]),
            Direction::Both => Self::new(namespace, &[arriving, leaving]),
        }
    }

    /// A node's share of a fabric that carries less than it says: at the end of the cable, since the bridges filter nothing.
    pub(in crate::fault) fn small_fabric(namespace: &str, bytes: PacketSize) -> Self {
        let (v4, v6) = (at::UNDERLAY_NETWORK, at::UNDERLAY_NETWORK_V6);
        let rules = format!(
            "iifname eth0 ip saddr {v4} ip daddr {v4} meta length > {bytes} drop\n\
             iifname eth0 ip6 saddr {v6} ip6 daddr {v6} meta length > {bytes} drop"
        );
        Self::new(namespace, &[(Hook::Arriving, rules)])
    }

    /// The fabric sees the overlay's outer packets only. Their source port is a hash of the inner flow, so that routers can spread
    /// what is inside.
    pub(in crate::fault) fn ecmp_member(
        zone: &LabZone,
        other: &LabZone,
        failing: Buckets,
        ways: Ways,
    ) -> Self {
        let mut pairs = vec![(zone, other)];
        if ways == Ways::Both {
            pairs.push((other, zone));
        }
        let mut rules = String::new();
        for (from, to) in pairs {
            for (family, way) in ["ip", "ip6"].into_iter().zip(between(from, to)) {
                for (protocols, ports) in [
                    ("meta l4proto { tcp, udp }", " . th sport . th dport"),
                    ("meta l4proto != { tcp, udp }", ""),
                ] {
                    push(
                        &mut rules,
                        format_args!(
                            "{way} {protocols} jhash {family} saddr . {family} daddr . meta l4proto{ports} mod {of} seed {HASH_SEED:#x} < {failing} drop",
                            of = failing.of(),
                            failing = failing.failing(),
                        ),
                    );
                }
            }
        }
        Self::new(at::FABRIC, &[(Hook::Forwarded, rules)])
    }

    pub(in crate::fault) fn zone_lossy(zone: &LabZone, other: &LabZone, percent: Percent) -> Self {
        let rules = both_ways(zone, other, &lose(percent));
        Self::new(at::FABRIC, &[(Hook::Forwarded, rules)])
    }

    /// What a full table does: a packet that would make an entry is dropped, one that belongs to an entry passes. The loopback is left
    /// alone, so that the node's own daemons can be asked how it is.
    pub(in crate::fault) fn conntrack_full(namespace: &str) -> Self {
        let refuse = "ct state new ct status & confirmed != confirmed drop";
        Self::new(
            namespace,
            &[
                (Hook::ArrivingTracked, format!("iifname != lo {refuse}")),
                (Hook::SentTracked, format!("oifname != lo {refuse}")),
            ],
        )
    }

    /// Pods of the node still reach each other.
    pub(in crate::fault) fn v6_dead(namespace: &str) -> Self {
        let dead = "{ eth0, flannel.1 } meta nfproto ipv6 drop";
        Self::new(
            namespace,
            &[
                (Hook::Arriving, format!("iifname {dead}")),
                (Hook::Leaving, format!("oifname {dead}")),
            ],
        )
    }

    /// A strict reverse path check: packets of that node's pods belong to the overlay.
    pub(in crate::fault) fn overlay_only(namespace: &str, sender: &LabNode) -> Self {
        let mut rules = String::new();
        push(
            &mut rules,
            format_args!("iifname eth0 ip saddr {} drop", sender.pod_cidr),
        );
        if let Some(cidr) = &sender.pod_cidr_v6 {
            push(
                &mut rules,
                format_args!("iifname eth0 ip6 saddr {cidr} drop"),
            );
        }
        Self::new(namespace, &[(Hook::Arriving, rules)])
    }

    /// In a pod that has another one's address too: its program answers there, though it listens on its own address only.
    pub(in crate::fault) fn answers_at(
        namespace: &str,
        address: std::net::Ipv4Addr,
        own: std::net::Ipv4Addr,
    ) -> Self {
        let redirect = format!("ip daddr {address} dnat ip to {own}");
        let chains = [("prerouting", "dstnat"), ("output", "-100")].map(|(hook, priority)| {
            format!(
                "chain {hook} {{\ntype nat hook {hook} priority {priority}; policy accept;\n{redirect}\n}}\n"
            )
        });
        Self {
            namespace: namespace.to_owned(),
            chains: chains.concat(),
        }
    }
}

/// A statement about packets between two zones, for each direction and family.
pub(super) fn both_ways(zone: &LabZone, other: &LabZone, statement: &str) -> String {
    let mut rules = String::new();
    for way in between(zone, other).iter().chain(&between(other, zone)) {
        push(&mut rules, format_args!("{way} {statement}"));
    }
    rules
}

/// What a router sees of packets from one zone to another, for each family.
fn between(from: &LabZone, to: &LabZone) -> [String; 2] {
    [
        format!("ip saddr {} ip daddr {}", from.network, to.network),
        format!(
            "ip6 saddr {} ip6 daddr {}",
            at::zone_network_v6(from.index),
            at::zone_network_v6(to.index)
        ),
    ]
}

/// nft refuses a comparison that is always true.
pub(super) fn lose(percent: Percent) -> String {
    if percent.hundredths() == Percent::WHOLE {
        "drop".to_owned()
    } else {
        format!(
            "numgen random mod {} < {} drop",
            Percent::WHOLE,
            percent.hundredths()
        )
    }
}
