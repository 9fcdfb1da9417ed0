//! One node: its underlay address, its pod bridge, and the overlay as Flannel's vxlan backend writes it.

use super::{LabNode, Plan, v6};
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
             link add name flannel.1 mtu {mtu} gso_max_segs 1 gro_max_size 1 address {mac} type vxlan id {vni} local {host} dev eth0 dstport {port} nolearning\n\
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
                "neighbour add {} lladdr {} dev flannel.1 nud permanent",
                at::vtep_ip(peer.index),
                at::vtep_mac(peer.index),
            ),
        );
    }
    script += &v6::node_links(plan, node);
    for route in pod_routes(plan, node).filter(|route| route.to.is_some()) {
        push(
            &mut script,
            format_args!("route add {} {}", route.cidr, route.way),
        );
    }
    script
}

/// A route to the pods of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodRoute {
    /// Whose pods; `None`: the node's own.
    pub(crate) to: Option<u8>,
    pub(crate) is_v6: bool,
    pub(crate) cidr: String,
    /// What follows the subnet in `ip route add`.
    pub(crate) way: String,
}

/// The node's routes to all pods. Those to its own the kernel makes by itself, with the address of `cni0`.
pub(crate) fn pod_routes<'plan>(
    plan: &'plan Plan,
    node: &LabNode,
) -> impl Iterator<Item = PodRoute> + use<'plan> {
    let own = node.index;
    plan.nodes.iter().flat_map(move |peer| {
        let index = peer.index;
        let to = (index != own).then_some(index);
        let v4 = PodRoute {
            to,
            is_v6: false,
            cidr: peer.pod_cidr.clone(),
            way: match to {
                Some(_) => format!("via {} dev flannel.1 onlink", at::vtep_ip(index)),
                None => format!(
                    "dev cni0 proto kernel scope link src {}",
                    at::pod_gateway(index)
                ),
            },
        };
        let v6 = peer.pod_cidr_v6.as_ref().map(|cidr| PodRoute {
            to,
            is_v6: true,
            cidr: cidr.clone(),
            way: match to {
                Some(_) => format!("via {} dev flannel.1 onlink", at::vtep_ip_v6(index)),
                None => "dev cni0 proto kernel metric 256".to_owned(),
            },
        });
        [Some(v4), v6].into_iter().flatten()
    })
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
