//! Every address, port and name of the lab, computed from small numbers.
//!
//! Nodes are numbered from 1, zones from 1. The same cluster size gives the same addresses every time, so that a log line
//! or a capture can be read without asking which run it came from.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// More nodes than this do not fit the host addresses of one zone (`172.30.Z.11` to `172.30.Z.210`).
pub const MAX_NODES: u8 = 200;
/// The aggregator's home; its pod address is on this node's subnet.
pub const AGGREGATOR_NODE: u8 = 1;
/// What the pods of all nodes are in: inside it, nothing is translated.
pub const POD_NETWORK: &str = "10.244.0.0/16";
/// What the virtual IPs are in.
pub const SERVICE_NETWORK: &str = "10.96.0.0/12";
/// What all hosts of all zones are in.
pub const UNDERLAY_NETWORK: &str = "172.30.0.0/16";
/// The same for IPv6, in clusters that have it.
pub const POD_NETWORK_V6: &str = "fd00:244::/32";
pub const UNDERLAY_NETWORK_V6: &str = "fd00:30::/32";
pub const SERVICE_NETWORK_V6: &str = "fd00:96::/32";
/// VXLAN adds 50 bytes to a packet.
pub const POD_MTU: u32 = 1450;
/// Flannel's own choice on Linux (the IANA port is 4789).
pub const VXLAN_PORT: u16 = 8472;
pub const VXLAN_ID: u32 = 1;

/// The virtual IP of the cluster's DNS, as kubeadm assigns it.
pub const DNS_VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
pub const DNS_PORT: u16 = 53;
/// The virtual IP of the aggregator's service: the overlay way home.
pub const AGGREGATOR_VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);
/// The same virtual IPs for IPv6.
pub const DNS_VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10);
pub const AGGREGATOR_VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x20);
/// The aggregator's gRPC port.
pub const AGGREGATOR_PORT: u16 = 4860;
/// The aggregator's port on every node's address: the underlay way home.
pub const AGGREGATOR_NODE_PORT: u16 = 30860;
/// The virtual IP in front of the probers' own TCP responders, and the port of both.
pub const RESPONDER_VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 30);
pub const RESPONDER_PORT: u16 = 4862;
/// The virtual IP of the API server: a name that every cluster's DNS answers.
pub const KUBERNETES_VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Its port there, and the API server's own on the host of the aggregator's node.
pub const KUBERNETES_PORT: u16 = 443;
pub const API_SERVER_PORT: u16 = 6443;

pub const CLUSTER_DOMAIN: &str = "cluster.local";
pub const KUBERNETES_NAME: &str = "kubernetes.default.svc.cluster.local";
pub const DNS_NAME: &str = "kube-dns.kube-system.svc.cluster.local";
pub const AGGREGATOR_NAME: &str = "meshprobe-aggregator.meshprobe.svc.cluster.local";
pub const RESPONDER_NAME: &str = "meshprobe-responders.meshprobe.svc.cluster.local";

/// The router's leg to the internet; everything from the underlay leaves with it as source.
pub const FABRIC_PUBLIC_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// Where the external names point: a web server each.
pub const WWW_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub const REGISTRY_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
/// A forward proxy, where somebody starts it.
pub const PROXY_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 30);
pub const PROXY_PORT: u16 = 8888;
/// A place for a webhook receiver.
pub const WEBHOOK_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
/// The internet's own DNS server, to which the cluster's servers forward.
pub const INTERNET_DNS_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
/// The same places for IPv6.
pub const FABRIC_PUBLIC_IP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 1);
pub const WWW_IP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10);
pub const WEBHOOK_IP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x20);
pub const INTERNET_DNS_IP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x53);
/// Names that the internet's DNS server knows, and where they point.
pub const EXTERNAL_NAMES: [(&str, Ipv4Addr); 4] = [
    ("www.example.com", WWW_IP),
    ("www.example.org", WWW_IP),
    ("registry.example.net", REGISTRY_IP),
    ("hooks.example.net", WEBHOOK_IP),
];

/// The ones of them that have an IPv6 address too.
pub const EXTERNAL_NAMES_V6: [(&str, Ipv6Addr); 2] = [
    ("www.example.com", WWW_IP_V6),
    ("www.example.org", WWW_IP_V6),
];

/// The namespace of the routers and bridges between the nodes.
pub const FABRIC: &str = "fabric";
/// The namespace beyond the router.
pub const INTERNET: &str = "internet";
/// The namespace of the aggregator's pod.
pub const AGGREGATOR_NAMESPACE: &str = "agg";

/// `mesh-1`, `mesh-2`, …: the node's name, its host namespace, and its port on the fabric.
pub fn node_name(node: u8) -> String {
    format!("mesh-{node}")
}

/// `pod-mesh-1`: the namespace of the prober's pod on a node.
pub fn pod_namespace(node: u8) -> String {
    format!("pod-mesh-{node}")
}

/// `zone-a`, `zone-b`, …: the zone's name and its bridge in the fabric.
pub fn zone_name(zone: u8) -> String {
    format!("zone-{}", char::from(b'a' + zone - 1))
}

/// `dns-1`, `dns-2`, …: a DNS instance's name and namespace.
pub fn dns_name(instance: u8) -> String {
    format!("dns-{instance}")
}

/// The router's address in a zone, every node's default gateway.
pub fn zone_gateway(zone: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 30, zone, 1)
}

/// All hosts of a zone.
pub fn zone_network(zone: u8) -> String {
    format!("172.30.{zone}.0/24")
}

/// A node's address on the underlay.
pub fn host_ip(zone: u8, node: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 30, zone, 10 + node)
}

/// The pods of a node.
pub fn pod_cidr(node: u8) -> String {
    format!("10.244.{node}.0/24")
}

/// `flannel.1`'s address: the next hop to a node's pods.
pub fn vtep_ip(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, node, 0)
}

/// `flannel.1`'s link address: locally administered, so it collides with no hardware.
pub fn vtep_mac(node: u8) -> String {
    format!("8e:00:0a:f4:{node:02x}:00")
}

/// `cni0`'s address: the gateway of a node's pods.
pub fn pod_gateway(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, node, 1)
}

/// The prober's pod.
pub fn pod_ip(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, node, 2)
}

/// The DNS server's pod, on the nodes that have one.
pub fn dns_ip(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, node, 3)
}

/// An address of a node's pods that no pod has any more.
pub fn departed_pod_ip(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, node, 250)
}

/// The aggregator's pod.
pub fn aggregator_ip() -> Ipv4Addr {
    Ipv4Addr::new(10, 244, AGGREGATOR_NODE, 5)
}

/// The DNS service that pods use.
pub fn dns_service() -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(DNS_VIP, DNS_PORT))
}

/// The API server's service.
pub fn kubernetes() -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(KUBERNETES_VIP, KUBERNETES_PORT))
}

/// The aggregator's service: reached over the overlay.
pub fn aggregator_service() -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(AGGREGATOR_VIP, AGGREGATOR_PORT))
}

/// The router's IPv6 address in a zone.
pub fn zone_gateway_v6(zone: u8) -> Ipv6Addr {
    underlay_v6(zone, 1)
}

/// All hosts of a zone, for IPv6.
pub fn zone_network_v6(zone: u8) -> String {
    format!("{}/64", underlay_v6(zone, 0))
}

/// A node's IPv6 address on the underlay: `mesh-7` in zone-b has `fd00:30:2::17`.
pub fn host_ip_v6(zone: u8, node: u8) -> Ipv6Addr {
    underlay_v6(zone, 10 + node)
}

/// The pods of a node, for IPv6.
pub fn pod_cidr_v6(node: u8) -> String {
    format!("{}/64", pod_network_v6(node, 0))
}

/// `flannel.1`'s IPv6 address: the next hop to a node's pods.
pub fn vtep_ip_v6(node: u8) -> Ipv6Addr {
    pod_network_v6(node, 0xffff)
}

/// `cni0`'s IPv6 address.
pub fn pod_gateway_v6(node: u8) -> Ipv6Addr {
    pod_network_v6(node, 1)
}

/// The prober's pod: `mesh-7`'s has `fd00:244:7::2`.
pub fn pod_ip_v6(node: u8) -> Ipv6Addr {
    pod_network_v6(node, 2)
}

/// The DNS server's pod.
pub fn dns_ip_v6(node: u8) -> Ipv6Addr {
    pod_network_v6(node, 3)
}

/// The aggregator's pod.
pub fn aggregator_ip_v6() -> Ipv6Addr {
    pod_network_v6(AGGREGATOR_NODE, 5)
}

/// The DNS service that pods use, for IPv6.
pub fn dns_service_v6() -> SocketAddr {
    SocketAddr::V6(SocketAddrV6::new(DNS_VIP_V6, DNS_PORT, 0, 0))
}

/// The aggregator's service, for IPv6.
pub fn aggregator_service_v6() -> SocketAddr {
    SocketAddr::V6(SocketAddrV6::new(AGGREGATOR_VIP_V6, AGGREGATOR_PORT, 0, 0))
}

fn underlay_v6(zone: u8, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x30, as_written(zone), 0, 0, 0, 0, as_written(host))
}

fn pod_network_v6(node: u8, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x244, as_written(node), 0, 0, 0, 0, host)
}

/// A number whose hexadecimal form reads as the decimal one: 12 becomes 0x12.
const fn as_written(number: u8) -> u16 {
    let number = number as u16;
    number / 100 * 0x100 + number / 10 % 10 * 0x10 + number % 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_family_reads_as_the_first() {
        assert_eq!(host_ip_v6(2, 7).to_string(), "fd00:30:2::17");
        assert_eq!(host_ip_v6(26, 200).to_string(), "fd00:30:26::210");
        assert_eq!(pod_ip_v6(123).to_string(), "fd00:244:123::2");
        assert_eq!(pod_cidr_v6(12), "fd00:244:12::/64");
        assert_eq!(zone_network_v6(10), "fd00:30:10::/64");
    }
}
