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
pub const CATALOGUE: &[FaultInfo] = &[
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
        "NODE|all",
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
        "NODE|all",
        "a firewall drops UDP, except the overlay's own",
    ),
    info(
        "tcp-blocked",
        "NODE|all",
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
        "mtu-blackhole",
        "NODE BYTES [in|out|both]",
        "overlay packets of more than BYTES vanish at the node without a word",
    ),
    info(
        "mtu-signalled",
        "NODE BYTES",
        "the node passes pod packets of up to BYTES on, and answers larger ones with ICMP",
    ),
    info(
        "mtu-overlay-too-big",
        "[BYTES]",
        "the fabric silently carries 1400 bytes from node to node, the overlay needs 1500",
    ),
    info(
        "ecmp-member",
        "ZONE ZONE [FAILING/OF] [one-way|both]",
        "1/16 of the flows between two zones are dead, by the hash of their addresses and ports",
    ),
    info(
        "zone-lossy",
        "PERCENT ZONE ZONE",
        "packets between two zones are lost at random, in each direction",
    ),
    info(
        "slow-node",
        "NODE",
        "the node's link is congested: what it sends waits some 50 ms in a queue",
    ),
    info(
        "conntrack-full",
        "NODE",
        "the connection table is full: new flows fail, old ones live",
    ),
    info(
        "v6-dead",
        "[NODE|all]",
        "IPv6 packets are lost at the node's links, IPv4 is fine; needs a dual-stack cluster",
    ),
    info(
        "throttled-prober",
        "NODE [PERCENT]",
        "the prober gets 1 % of a processor; the node is fine",
    ),
    info(
        "address-conflict",
        "NODE OTHER",
        "the prober's pod address of NODE is also on OTHER's pod, and the cluster's routes lead there",
    ),
    info(
        "overlay-backend-mix",
        "NODE",
        "the node routes to other nodes' pods directly (host-gw), which they refuse: they speak VXLAN",
    ),
    info(
        "flapping",
        "NODE [PERIOD]",
        "the node's link goes down and up, once in every PERIOD (20s)",
    ),
    info(
        "dns-servfail",
        "",
        "what the DNS servers forward to is broken: external names fail",
    ),
    info(
        "dns-nxdomain",
        "NAME",
        "a name is missing in the cluster's DNS, on all servers",
    ),
    info(
        "dns-throttled",
        "[PERCENT] [INSTANCE]",
        "the DNS servers, or one, lose a share of the questions (20%)",
    ),
    info(
        "dns-vip",
        "NODE",
        "the virtual IP of the DNS is gone on the node; the servers' own addresses work",
    ),
    info(
        "dns-config-drift",
        "NODE [search|nameserver]",
        "the resolv.conf of the node's prober differs from the others'",
    ),
    info(
        "vip-stale-endpoint",
        "",
        "one backend of the responders' virtual IP is gone, but not its rule",
    ),
    info(
        "external-target-down",
        "TARGET [refused|silent]",
        "an external target's server is killed, or its address answers nothing",
    ),
    info(
        "tls-expired",
        "TARGET",
        "an external target's certificate has expired",
    ),
    info(
        "tls-handshake",
        "TARGET",
        "an external target accepts connections, and every TLS handshake fails",
    ),
    info(
        "http-status",
        "TARGET STATUS",
        "an external target answers every request with a status, such as 502",
    ),
    info(
        "external-node",
        "NODE",
        "a firewall keeps the node from the internet; inside all is well",
    ),
    info(
        "external-all",
        "",
        "the router translates no more: no node reaches the internet",
    ),
    info(
        "aggregator-isolated",
        "",
        "the link of the aggregator's own node is down",
    ),
];
