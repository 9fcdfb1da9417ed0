//! The faults that there are, for help texts and for messages about unknown ones.

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultInfo {
    /// The first word of its text form.
    pub name: &'static str,
    /// The words after it; optional ones in brackets.
    pub arguments: &'static str,
    /// What happens, in one line.
    pub summary: &'static str,
}

impl FaultInfo {
    /// `node-freeze NODE [DURATION]`
    pub fn usage(&self) -> String {
        format!("{} {}", self.name, self.arguments)
            .trim_end()
            .to_owned()
    }
}

const fn info(name: &'static str, arguments: &'static str, summary: &'static str) -> FaultInfo {
    FaultInfo {
        name,
        arguments,
        summary,
    }
}

/// Every kind of fault, in the order in which help texts show them.
pub const CATALOGUE: [FaultInfo; 18] = [
    info(
        "node-dark",
        "NODE",
        "the node's link is down: power or network card lost",
    ),
    info(
        "node-freeze",
        "NODE [DURATION]",
        "the node stops for a moment (800ms) and goes on by itself",
    ),
    info(
        "prober-down",
        "NODE",
        "the prober is killed; the node is fine",
    ),
    info(
        "reports-cut",
        "NODE",
        "the node reaches all but the aggregator",
    ),
    info(
        "ingress-dead",
        "NODE",
        "whatever is sent to the node is lost",
    ),
    info(
        "egress-dead",
        "NODE",
        "whatever the node sends is lost, except on the underlay way to the aggregator",
    ),
    info(
        "overlay-routes-missing",
        "NODE",
        "Flannel died: no routes to the other nodes' pods",
    ),
    info(
        "overlay-one-route",
        "NODE TO",
        "the route to one other node's pods is missing",
    ),
    info(
        "overlay-port-blocked",
        "NODE",
        "a firewall drops VXLAN (UDP 8472) in and out",
    ),
    info(
        "path-one-way",
        "FROM TO",
        "packets of one node to the other are lost; back works",
    ),
    info(
        "zone-partition",
        "ZONE ZONE",
        "two zones cannot reach each other",
    ),
    info(
        "loss",
        "PERCENT NODE|all [in|out|both]",
        "packets are lost at random, by default those that arrive",
    ),
    info(
        "udp-blocked",
        "NODE",
        "a firewall drops UDP, except the overlay's own",
    ),
    info(
        "tcp-blocked",
        "NODE",
        "a firewall drops TCP, except to the aggregator",
    ),
    info(
        "dns-instance-down",
        "INSTANCE",
        "one of the DNS servers is killed",
    ),
    info(
        "dns-blocked",
        "NODE",
        "a network policy forgets port 53 of the node's pods",
    ),
    info(
        "vip-broken",
        "NODE",
        "kube-proxy's rules are gone: no virtual IPs on the node",
    ),
    info(
        "aggregator-isolated",
        "",
        "the link of the aggregator's own node is down",
    ),
];
