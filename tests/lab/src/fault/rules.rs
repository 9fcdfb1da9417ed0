//! The faults that drop packets: which rules, at which hook. Pure text.
//!
//! Tables are of family `inet`: a rule that names no address means both families. Neighbour discovery is IPv6's ARP and passes always.
//!
//! Rules see packets before any translation on the way in (`raw`), and after routing on the way out. VXLAN's outer packets pass
//! the same hooks as everything else on `eth0`, so "everything" includes the overlay.

mod network;
mod services;

use super::{Direction, Percent};
use crate::addressing as at;
use crate::script::push;
use crate::wiring::{LabNode, LabZone};

/// What keeps neighbours' link addresses known.
const NEIGHBOURS: &str = "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept";

/// An nft table that is the whole fault, in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) namespace: String,
    chains: String,
}

/// Where in a packet's way a chain looks.
#[derive(Debug, Clone, Copy)]
enum Hook {
    /// All that arrives at any link, before translation.
    Arriving,
    /// The same, when connections are known.
    ArrivingTracked,
    /// What the node passes on.
    Forwarded,
    /// What the node's own programs send, before translation.
    Sent,
    /// The same, when connections are known.
    SentTracked,
    /// All that leaves by any link.
    Leaving,
}

impl Hook {
    fn declaration(self) -> &'static str {
        match self {
            Self::Arriving => "hook prerouting priority raw",
            Self::ArrivingTracked => "hook prerouting priority mangle",
            Self::Forwarded => "hook forward priority filter",
            Self::Sent => "hook output priority raw",
            Self::SentTracked => "hook output priority mangle",
            Self::Leaving => "hook postrouting priority raw",
        }
    }

    fn chain(self) -> &'static str {
        match self {
            Self::Arriving | Self::ArrivingTracked => "arriving",
            Self::Forwarded => "forwarded",
            Self::Sent | Self::SentTracked => "sent",
            Self::Leaving => "leaving",
        }
    }
}

impl Rules {
    fn new(namespace: &str, chains: &[(Hook, String)]) -> Self {
        let chains = chains.iter().map(|(hook, rules)| {
            format!(
                "chain {} {{\ntype filter {}; policy accept;\n{NEIGHBOURS}\n{rules}\n}}\n",
                hook.chain(),
                hook.declaration()
            )
        });
        Self {
            namespace: namespace.to_owned(),
            chains: chains.collect(),
        }
    }

    /// `nft -f`: makes the table.
    pub(super) fn script(&self, table: &str) -> String {
        format!("table inet {table} {{\n{}}}\n", self.chains)
    }

    /// `nft -f`: removes it.
    pub(super) fn removal(table: &str) -> String {
        format!("delete table inet {table}\n")
    }

    pub(super) fn freeze(namespace: &str) -> Self {
        Self::new(
            namespace,
            &[
                (Hook::Arriving, "iifname eth0 drop".to_owned()),
                (Hook::Leaving, "oifname eth0 drop".to_owned()),
            ],
        )
    }

    pub(super) fn ingress_dead(namespace: &str) -> Self {
        Self::new(
            namespace,
            &[(Hook::Arriving, "iifname eth0 drop".to_owned())],
        )
    }

    /// Without the exception nobody could tell it from a dark node: the node's own reports are what shows that it receives.
    pub(super) fn egress_dead(namespace: &str) -> Self {
        let rules = format!(
            "oifname eth0 meta l4proto tcp ct original proto-dst {} accept\noifname eth0 drop",
            at::AGGREGATOR_NODE_PORT
        );
        Self::new(namespace, &[(Hook::Leaving, rules)])
    }

    pub(super) fn reports_cut(namespace: &str) -> Self {
        let ways_home = |from: &str| {
            format!(
                "{from} ip daddr {{ {vip}, {pod} }} tcp dport {port} drop\n\
                 {from} ip6 daddr {{ {vip_v6}, {pod_v6} }} tcp dport {port} drop\n\
                 {from} ip daddr {hosts} tcp dport {node_port} drop\n\
                 {from} ip6 daddr {hosts_v6} tcp dport {node_port} drop",
                vip = at::AGGREGATOR_VIP,
                vip_v6 = at::AGGREGATOR_VIP_V6,
                pod = at::aggregator_ip(),
                pod_v6 = at::aggregator_ip_v6(),
                port = at::AGGREGATOR_PORT,
                hosts = at::UNDERLAY_NETWORK,
                hosts_v6 = at::UNDERLAY_NETWORK_V6,
                node_port = at::AGGREGATOR_NODE_PORT,
            )
        };
        Self::new(
            namespace,
            &[
                (Hook::Arriving, ways_home("iifname cni0")),
                (Hook::Sent, ways_home("")),
            ],
        )
    }

    pub(super) fn overlay_port_blocked(namespace: &str) -> Self {
        let port = at::VXLAN_PORT;
        Self::new(
            namespace,
            &[
                (
                    Hook::Arriving,
                    format!("iifname eth0 udp dport {port} drop"),
                ),
                (Hook::Leaving, format!("oifname eth0 udp dport {port} drop")),
            ],
        )
    }

    /// At the receiving end, where the outer packets of the overlay show their sender too.
    pub(super) fn path_one_way(receiver: &LabNode, sender: &LabNode) -> Self {
        let mut rules = String::new();
        push(
            &mut rules,
            format_args!("iifname eth0 ip saddr {} drop", sender.host_ip),
        );
        if let Some(sender) = sender.host_ip_v6 {
            push(
                &mut rules,
                format_args!("iifname eth0 ip6 saddr {sender} drop"),
            );
        }
        Self::new(&receiver.namespace, &[(Hook::Arriving, rules)])
    }

    pub(super) fn zone_partition(zone: &LabZone, other: &LabZone) -> Self {
        let rules = network::both_ways(zone, other, "drop");
        Self::new(at::FABRIC, &[(Hook::Forwarded, rules)])
    }

    pub(super) fn loss(namespace: &str, percent: Percent, direction: Direction) -> Self {
        let lose = network::lose(percent);
        let arriving = (Hook::Arriving, format!("iifname eth0 {lose}"));
        let leaving = (Hook::Leaving, format!("oifname eth0 {lose}"));
        match direction {
            Direction::In => Self::new(namespace, &[arriving]),
            Direction::Out => Self::new(namespace, &[leaving]),
            Direction::Both => Self::new(namespace, &[arriving, leaving]),
        }
    }

    pub(super) fn udp_blocked(namespace: &str) -> Self {
        let block = format!("udp dport != {} drop", at::VXLAN_PORT);
        Self::new(
            namespace,
            &[
                (Hook::Arriving, format!("iifname != lo {block}")),
                (Hook::Sent, format!("oifname != lo {block}")),
            ],
        )
    }

    /// Reports go by TCP: without the exception every blocked node would look cut off.
    pub(super) fn tcp_blocked(namespace: &str) -> Self {
        let block = |link: &str| {
            format!(
                "{link} meta l4proto tcp ct original proto-dst {{ {}, {} }} accept\n{link} meta l4proto tcp drop",
                at::AGGREGATOR_PORT,
                at::AGGREGATOR_NODE_PORT
            )
        };
        Self::new(
            namespace,
            &[
                (Hook::ArrivingTracked, block("iifname != lo")),
                (Hook::SentTracked, block("oifname != lo")),
            ],
        )
    }

    /// A policy of the probers' pods: a DNS server on the same node may still ask its upstream.
    pub(super) fn dns_blocked(namespace: &str, node: u8) -> Self {
        let rules = format!(
            "iifname cni0 ip saddr != {server} meta l4proto {{ tcp, udp }} th dport {port} drop\n\
             iifname cni0 ip6 saddr != {server_v6} meta l4proto {{ tcp, udp }} th dport {port} drop",
            server = at::dns_ip(node),
            server_v6 = at::dns_ip_v6(node),
            port = at::DNS_PORT
        );
        Self::new(namespace, &[(Hook::Arriving, rules)])
    }
}
