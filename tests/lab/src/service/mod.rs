//! A service behind a virtual IP whose backends are the probers' own responders.
//!
//! The virtual IPs of the DNS and of the aggregator are for what they lead to; this one is there to be measured: which share of
//! the connections fails, and which backend answers. kube-proxy picks a backend at random for every connection, on the node
//! that the connection comes from, and has no idea whether the backend lives.

use std::net::{SocketAddr, SocketAddrV4};

use crate::addressing as at;
use crate::wiring::LabNode;

/// More would make the share of a dead one small and its measurement long.
const BACKENDS: usize = 3;

/// A virtual IP and what is behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabService {
    /// Its name in the cluster's DNS.
    pub name: &'static str,
    /// The virtual IP and its port, TCP.
    pub address: SocketAddr,
    /// The backends, which have the same port.
    pub backends: Vec<LabBackend>,
}

/// One backend of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabBackend {
    /// The node that it runs on.
    pub node: String,
    /// Its own address.
    pub address: SocketAddrV4,
}

/// The service in front of the probers' responders: of three nodes, the aggregator's only if there are no others.
pub(crate) fn responders(nodes: &[LabNode]) -> LabService {
    let others = nodes
        .iter()
        .filter(|node| node.index != at::AGGREGATOR_NODE);
    let last_choice = nodes
        .iter()
        .filter(|node| node.index == at::AGGREGATOR_NODE);
    let backends = others.chain(last_choice).take(BACKENDS);
    LabService {
        name: at::RESPONDER_NAME,
        address: SocketAddr::from((at::RESPONDER_VIP, at::RESPONDER_PORT)),
        backends: backends
            .map(|node| LabBackend {
                node: node.name.clone(),
                address: SocketAddrV4::new(node.pod_ip, at::RESPONDER_PORT),
            })
            .collect(),
    }
}

/// The backends with the last one replaced by the address of a pod that is gone: an endpoint that nobody removed.
fn with_stale_endpoint(nodes: &[LabNode]) -> Vec<LabBackend> {
    let mut backends = responders(nodes).backends;
    if let Some(last) = backends.last_mut()
        && let Some(node) = nodes.iter().find(|node| node.name == last.node)
    {
        last.address.set_ip(at::departed_pod_ip(node.index));
    }
    backends
}

/// `nft -f` in a node's namespace: the virtual IP leads to its backends.
pub(crate) fn live_rules(nodes: &[LabNode]) -> String {
    rules(&responders(nodes).backends)
}

/// `nft -f` in a node's namespace: the virtual IP leads to its backends, of which one is gone.
///
/// Where one connection to the gone backend was refused, the next with its source port is sent there again for two minutes
/// (`nf_conntrack_tcp_timeout_syn_sent`), whatever the rules say by then. The connections of the fault have therefore a zone
/// of their own in the connection table: a fault that is healed is over at once.
pub(crate) fn stale_rules(nodes: &[LabNode]) -> String {
    format!(
        "{}add rule ip kube-proxy zones ip daddr {} tcp dport {} ct original zone set {STALE_ZONE}\n",
        rules(&with_stale_endpoint(nodes)),
        at::RESPONDER_VIP,
        at::RESPONDER_PORT,
    )
}

/// Everything else is in zone 0.
const STALE_ZONE: u16 = 1;

fn rules(backends: &[LabBackend]) -> String {
    let choices: Vec<String> = backends
        .iter()
        .enumerate()
        .map(|(place, backend)| format!("{place} : {}", backend.address.ip()))
        .collect();
    format!(
        "flush chain ip kube-proxy zones\n\
         flush chain ip kube-proxy responders\n\
         add rule ip kube-proxy responders ip daddr {} tcp dport {} dnat to numgen random mod {} map {{ {} }}\n",
        at::RESPONDER_VIP,
        at::RESPONDER_PORT,
        choices.len(),
        choices.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::LabSpec;
    use crate::wiring::Plan;

    fn nodes(count: u8) -> Vec<LabNode> {
        let spec = LabSpec {
            nodes: count,
            zones: 1,
            dns_instances: 1,
            ..LabSpec::default()
        };
        Plan::new(&spec).nodes
    }

    fn backend_nodes(count: u8) -> Vec<String> {
        let service = responders(&nodes(count));
        service.backends.into_iter().map(|b| b.node).collect()
    }

    #[test]
    fn three_nodes_stand_behind_the_service_and_the_aggregators_only_for_want_of_others() {
        assert_eq!(backend_nodes(6), ["mesh-2", "mesh-3", "mesh-4"]);
        assert_eq!(backend_nodes(3), ["mesh-2", "mesh-3", "mesh-1"]);
        assert_eq!(backend_nodes(1), ["mesh-1"]);
    }

    #[test]
    fn a_stale_endpoint_replaces_one_backend_and_leaves_the_others() {
        let nodes = nodes(6);
        let (live, stale) = (responders(&nodes).backends, with_stale_endpoint(&nodes));
        assert_eq!(stale[..2], live[..2]);
        assert_eq!(stale[2].address.to_string(), "10.244.4.250:4862");
        assert_eq!(
            stale_rules(&nodes),
            "flush chain ip kube-proxy zones\n\
             flush chain ip kube-proxy responders\n\
             add rule ip kube-proxy responders ip daddr 10.96.0.30 tcp dport 4862 dnat to numgen random mod 3 map \
             { 0 : 10.244.2.2, 1 : 10.244.3.2, 2 : 10.244.4.250 }\n\
             add rule ip kube-proxy zones ip daddr 10.96.0.30 tcp dport 4862 ct original zone set 1\n"
        );
    }
}
