//! One node: its underlay address, its pod bridge, and the overlay as Flannel's vxlan backend writes it.

use super::{LabNode, Plan};
use crate::addressing as at;
use crate::script::push;

/// `ip -batch` in the node's namespace.
pub(crate) fn links(plan: &Plan, node: &LabNode) -> String {
    let index = node.index;
    let mut script = String::new();
    push(
        &mut script,
        format_args!(
            "link set lo up\n\
             address add {host}/24 dev eth0\n\
             link set eth0 up\n\
             route add default via {gateway}\n\
             link add name cni0 mtu {mtu} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             address add {pod_gateway}/24 dev cni0\n\
             link set cni0 up\n\
             link add name flannel.1 mtu {mtu} address {mac} type vxlan id {vni} local {host} dev eth0 dstport {port} nolearning\n\
             address add {vtep}/32 dev flannel.1\n\
             link set flannel.1 up",
            host = node.host_ip,
            gateway = at::zone_gateway(node.zone_index),
            pod_gateway = at::pod_gateway(index),
            mac = at::vtep_mac(index),
            mtu = at::POD_MTU,
            vni = at::VXLAN_ID,
            port = at::VXLAN_PORT,
            vtep = at::vtep_ip(index),
        ),
    );
    for pod in plan.pods().iter().filter(|pod| pod.node == index) {
        push(
            &mut script,
            format_args!("link set {} master cni0 up", pod.port),
        );
    }
    for peer in peers(plan, node) {
        push(
            &mut script,
            format_args!(
                "route add {cidr} via {vtep} dev flannel.1 onlink\n\
                 neighbour add {vtep} lladdr {mac} dev flannel.1 nud permanent",
                cidr = peer.pod_cidr,
                vtep = at::vtep_ip(peer.index),
                mac = at::vtep_mac(peer.index),
            ),
        );
    }
    script
}

/// `bridge -batch` in the node's namespace: which node is behind which link address.
pub(crate) fn forwarding(plan: &Plan, node: &LabNode) -> String {
    let mut script = String::new();
    for peer in peers(plan, node) {
        push(
            &mut script,
            format_args!(
                "fdb add {} dev flannel.1 dst {} self permanent",
                at::vtep_mac(peer.index),
                peer.host_ip
            ),
        );
    }
    script
}

fn peers<'plan>(plan: &'plan Plan, node: &LabNode) -> impl Iterator<Item = &'plan LabNode> {
    let index = node.index;
    plan.nodes.iter().filter(move |peer| peer.index != index)
}
