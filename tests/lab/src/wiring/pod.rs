//! One pod: an address, and everything through the node.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::v6;
use crate::addressing as at;

/// A pod of the cluster.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) node: u8,
    pub(crate) address: Ipv4Addr,
    pub(crate) address_v6: Option<Ipv6Addr>,
    /// The node's end of the pod's cable.
    pub(crate) port: &'static str,
}

/// `ip -batch` in the pod's namespace.
///
/// The subnet is reached through the gateway too, so that packets to a pod of the same node are routed by the node.
pub(crate) fn links(pod: &Pod) -> String {
    format!(
        "link set lo up\n\
         address add {address}/24 dev eth0 noprefixroute\n\
         link set eth0 up\n\
         route add {gateway} dev eth0 scope link src {address}\n\
         route add {cidr} via {gateway} dev eth0 src {address}\n\
         route add default via {gateway} dev eth0\n\
         {v6}",
        v6 = v6::pod_links(pod),
        address = pod.address,
        gateway = at::pod_gateway(pod.node),
        cidr = at::pod_cidr(pod.node),
    )
}
