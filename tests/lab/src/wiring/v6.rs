//! The second family, on the same links: the underlay's and the pods' IPv6 addresses, the overlay's routes for them, and their
//! translation.
//!
//! The overlay's outer packets stay IPv4: `flannel.1` carries both families inside. Addresses are used at once (`nodad`): the lab
//! gives each of them once.

use super::{LabNode, Plan, fabric, pod};
use crate::addressing as at;
use crate::script::push;

/// `ip -batch` in the node's namespace, after its links are up; the routes to pods are in `node`.
pub(super) fn node_links(plan: &Plan, node: &LabNode) -> String {
    let mut script = String::new();
    let Some(host) = node.host_ip_v6 else {
        return script;
    };
    let index = node.index;
    push(
        &mut script,
        format_args!(
            "address add {host}/64 dev eth0 nodad\n\
             route add ::/0 via {gateway} dev eth0\n\
             address add {pod_gateway}/64 dev cni0 nodad\n\
             address add {vtep}/128 dev flannel.1 nodad",
            gateway = at::zone_gateway_v6(node.zone_index),
            pod_gateway = at::pod_gateway_v6(index),
            vtep = at::vtep_ip_v6(index),
        ),
    );
    for peer in plan.nodes.iter().filter(|peer| peer.index != index) {
        push(
            &mut script,
            format_args!(
                "neighbour add {} lladdr {} dev flannel.1 nud permanent",
                at::vtep_ip_v6(peer.index),
                at::vtep_mac(peer.index),
            ),
        );
    }
    script
}

/// `ip -batch` in the pod's namespace, after its link is up.
pub(super) fn pod_links(pod: &pod::Pod) -> String {
    let Some(address) = pod.address_v6 else {
        return String::new();
    };
    format!(
        "address add {address}/64 dev eth0 nodad noprefixroute\n\
         route add {gateway} dev eth0 src {address}\n\
         route add {cidr} via {gateway} dev eth0 src {address}\n\
         route add ::/0 via {gateway} dev eth0\n",
        gateway = at::pod_gateway_v6(pod.node),
        cidr = at::pod_cidr_v6(pod.node),
    )
}

/// `ip -batch` in the fabric.
pub(super) fn fabric_links(plan: &Plan) -> String {
    let mut script = String::new();
    if !plan.families.has_v6() {
        return script;
    }
    push(
        &mut script,
        format_args!(
            "address add {}/64 dev {} nodad",
            at::FABRIC_PUBLIC_IP_V6,
            fabric::UPLINK
        ),
    );
    for zone in &plan.zones {
        push(
            &mut script,
            format_args!(
                "address add {}/64 dev {} nodad",
                at::zone_gateway_v6(zone.index),
                zone.name
            ),
        );
    }
    script
}

/// `ip -batch` in the internet.
pub(super) fn internet_links(plan: &Plan) -> String {
    let mut script = String::new();
    if plan.families.has_v6() {
        for address in [at::WWW_IP_V6, at::WEBHOOK_IP_V6, at::INTERNET_DNS_IP_V6] {
            push(
                &mut script,
                format_args!("address add {address}/64 dev eth0 nodad"),
            );
        }
    }
    script
}

/// `nft -f` in the fabric.
pub(super) fn fabric_translation(plan: &Plan) -> String {
    if !plan.families.has_v6() {
        return String::new();
    }
    format!(
        "table ip6 provider {{\n\
         chain postrouting {{\n\
         type nat hook postrouting priority srcnat; policy accept;\n\
         }}\n\
         }}\n\
         {}",
        masquerade(plan)
    )
}

/// `nft -f` in the fabric: everything from the underlay leaves with the router's address.
pub(crate) fn masquerade(plan: &Plan) -> String {
    if !plan.families.has_v6() {
        return String::new();
    }
    format!(
        "flush chain ip6 provider postrouting\n\
         add rule ip6 provider postrouting ip6 saddr {} oifname \"{}\" masquerade\n",
        at::UNDERLAY_NETWORK_V6,
        fabric::UPLINK
    )
}

/// `nft -f` in the fabric: only what goes to the webhook receiver is translated.
pub(crate) fn no_masquerade(plan: &Plan) -> String {
    if !plan.families.has_v6() {
        return String::new();
    }
    format!(
        "flush chain ip6 provider postrouting\n\
         add rule ip6 provider postrouting ip6 saddr {} oifname \"{}\" ip6 daddr {} masquerade\n",
        at::UNDERLAY_NETWORK_V6,
        fabric::UPLINK,
        at::WEBHOOK_IP_V6
    )
}

/// `nft -f` in the node's namespace: what Flannel and `kube-proxy` write for the family.
pub(super) fn tables(plan: &Plan, node: &LabNode) -> String {
    let Some(own) = &node.pod_cidr_v6 else {
        return String::new();
    };
    format!(
        "table ip6 flannel {{\n\
           chain postrouting {{\n\
             type nat hook postrouting priority srcnat; policy accept;\n\
             ip6 saddr {pods} ip6 daddr {pods} return\n\
             ip6 saddr {pods} ip6 daddr != ff00::/8 masquerade\n\
             ip6 saddr != {pods} ip6 daddr {own} return\n\
             ip6 saddr != {pods} ip6 daddr {pods} masquerade\n\
           }}\n\
         }}\n\
         table ip6 kube-proxy {{\n\
           chain dns {{\n\
           }}\n\
           chain services {{\n\
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
             meta mark & {mark} == {mark} masquerade\n\
           }}\n\
         }}\n\
         {services}{dns}",
        pods = at::POD_NETWORK_V6,
        mark = super::translation::MASQUERADE_MARK,
        services = services(plan, node),
        dns = dns(plan),
    )
}

/// `nft -f` in the node's namespace: removes the family's virtual IPs.
pub(crate) fn no_services(plan: &Plan) -> &'static str {
    if plan.families.has_v6() {
        "flush chain ip6 kube-proxy services\n"
    } else {
        ""
    }
}

/// `nft -f` in the node's namespace: the family's virtual IPs and node port.
pub(crate) fn services(plan: &Plan, node: &LabNode) -> String {
    let (Some(host), Some(aggregator)) = (node.host_ip_v6, plan.aggregator.pod_address_v6) else {
        return String::new();
    };
    let mut rules = "add rule ip6 kube-proxy services jump dns\n".to_owned();
    let mut add = |rule: std::fmt::Arguments<'_>| {
        push(
            &mut rules,
            format_args!("add rule ip6 kube-proxy services {rule}"),
        );
    };
    add(format_args!(
        "ip6 daddr {} tcp dport {} dnat to {aggregator}",
        at::AGGREGATOR_VIP_V6,
        at::AGGREGATOR_PORT
    ));
    add(format_args!(
        "ip6 daddr {host} tcp dport {} meta mark set meta mark | {mark} dnat to {aggregator}",
        at::AGGREGATOR_NODE_PORT,
        mark = super::translation::MASQUERADE_MARK,
    ));
    rules
}

/// `nft -f` in the node's namespace: removes the family's virtual IP of the DNS.
pub(crate) fn no_dns(plan: &Plan) -> &'static str {
    if plan.families.has_v6() {
        "flush chain ip6 kube-proxy dns\n"
    } else {
        ""
    }
}

/// `nft -f` in the node's namespace: the family's virtual IP of the DNS.
pub(crate) fn dns(plan: &Plan) -> String {
    if !plan.families.has_v6() {
        return String::new();
    }
    let backends: Vec<String> = plan
        .dns
        .iter()
        .enumerate()
        .map(|(place, dns)| format!("{place} : {}", at::dns_ip_v6(dns.node_index)))
        .collect();
    let pick = format!(
        "numgen random mod {} map {{ {} }}",
        backends.len(),
        backends.join(", ")
    );
    ["udp", "tcp"]
        .map(|protocol| {
            format!(
                "add rule ip6 kube-proxy dns ip6 daddr {} {protocol} dport {} dnat to {pick}\n",
                at::DNS_VIP_V6,
                at::DNS_PORT
            )
        })
        .concat()
}
