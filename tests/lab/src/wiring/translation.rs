//! Address translation on a node, as Flannel and `kube-proxy` write it.

use super::{LabNode, Plan, v6};
use crate::addressing as at;
use crate::script::push;
use crate::service;

/// kube-proxy's mark for "give it my address on the way out".
pub(super) const MASQUERADE_MARK: &str = "0x4000";

/// `nft -f` in the node's namespace: both tables.
pub(crate) fn tables(plan: &Plan, node: &LabNode) -> String {
    format!(
        "table ip flannel {{\n\
           chain postrouting {{\n\
             type nat hook postrouting priority srcnat; policy accept;\n\
             ip saddr {pods} ip daddr {pods} return\n\
             ip saddr {pods} ip daddr != 224.0.0.0/4 masquerade\n\
             ip saddr != {pods} ip daddr {own} return\n\
             ip saddr != {pods} ip daddr {pods} masquerade\n\
           }}\n\
         }}\n\
         table ip kube-proxy {{\n\
           chain dns {{\n\
           }}\n\
           chain aggregator {{\n\
           }}\n\
           chain responders {{\n\
           }}\n\
           chain kubernetes {{\n\
           }}\n\
           chain services {{\n\
           }}\n\
           chain zones {{\n\
           }}\n\
           chain before-prerouting {{\n\
             type filter hook prerouting priority raw; policy accept;\n\
             jump zones\n\
           }}\n\
           chain before-output {{\n\
             type filter hook output priority raw; policy accept;\n\
             jump zones\n\
           }}\n\
           chain prerouting {{\n\
             type nat hook prerouting priority dstnat; policy accept;\n\
             jump services\n\
           }}\n\
           chain output {{\n\
             type nat hook output priority -100; policy accept;\n\
             jump services\n\
           }}\n\
           chain postrouting {{\n\
             type nat hook postrouting priority srcnat - 1; policy accept;\n\
             meta mark & {MASQUERADE_MARK} == {MASQUERADE_MARK} masquerade\n\
             ct status dnat ip saddr {prober} ip daddr {prober} masquerade\n\
           }}\n\
         }}\n\
         {services}{dns}{aggregator}{kubernetes}{responders}{v6}",
        pods = at::POD_NETWORK,
        own = node.pod_cidr,
        prober = node.pod_ip,
        services = services(),
        dns = dns(plan),
        v6 = v6::tables(plan, node),
        aggregator = aggregator(plan, node),
        kubernetes = kubernetes(plan),
        responders = service::live_rules(&plan.nodes),
    )
}

/// `nft -f` in the node's namespace: removes the virtual IPs, as if kube-proxy had never run.
pub(crate) fn no_services() -> String {
    "flush chain ip kube-proxy services\n".to_owned()
}

/// `nft -f` in the node's namespace: the virtual IPs and the node port, each in a chain of its own.
pub(crate) fn services() -> String {
    ["dns", "aggregator", "responders", "kubernetes"]
        .map(|chain| format!("add rule ip kube-proxy services jump {chain}\n"))
        .concat()
}

/// `nft -f` in the node's namespace: removes the virtual IP of the DNS, and no other.
pub(crate) fn no_dns() -> String {
    "flush chain ip kube-proxy dns\n".to_owned()
}

/// `nft -f` in the node's namespace: the virtual IP of the DNS.
pub(crate) fn dns(plan: &Plan) -> String {
    let backends: Vec<String> = plan
        .dns
        .iter()
        .enumerate()
        .map(|(place, dns)| format!("{place} : {}", dns.address.ip()))
        .collect();
    let pick = format!(
        "numgen random mod {} map {{ {} }}",
        backends.len(),
        backends.join(", ")
    );
    ["udp", "tcp"]
        .map(|protocol| {
            format!(
                "add rule ip kube-proxy dns ip daddr {} {protocol} dport {} dnat to {pick}\n",
                at::DNS_VIP,
                at::DNS_PORT
            )
        })
        .concat()
}

/// The API server runs on a host, where pods have their node's address.
fn kubernetes(plan: &Plan) -> String {
    let host = plan.aggregator.node_port.ip();
    format!(
        "add rule ip kube-proxy kubernetes ip daddr {} tcp dport {} dnat to {host}:{}\n",
        at::KUBERNETES_VIP,
        at::KUBERNETES_PORT,
        at::API_SERVER_PORT
    )
}

fn aggregator(plan: &Plan, node: &LabNode) -> String {
    let aggregator = plan.aggregator.pod_address;
    let mut rules = String::new();
    let mut add = |rule: std::fmt::Arguments<'_>| {
        push(
            &mut rules,
            format_args!("add rule ip kube-proxy aggregator {rule}"),
        );
    };
    add(format_args!(
        "ip daddr {} tcp dport {} dnat to {aggregator}",
        at::AGGREGATOR_VIP,
        at::AGGREGATOR_PORT
    ));
    // Masqueraded, so that the answer comes back through this node wherever the aggregator's pod is.
    add(format_args!(
        "ip daddr {} tcp dport {} meta mark set meta mark | {MASQUERADE_MARK} dnat to {aggregator}",
        node.host_ip,
        at::AGGREGATOR_NODE_PORT
    ));
    rules
}
