//! What the cluster consists of, and the scripts that make it: pure functions from numbers to text.

pub(crate) mod fabric;
pub(crate) mod node;
pub(crate) mod pod;
pub(crate) mod translation;
pub(crate) mod v6;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use crate::addressing as at;
use crate::spec::{Families, LabSpec};

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabNode {
    /// From 1.
    pub index: u8,
    /// `mesh-1` …
    pub name: String,
    /// `zone-a` …
    pub zone: String,
    /// The zone's number, from 1.
    pub zone_index: u8,
    /// The node's address on the underlay.
    pub host_ip: Ipv4Addr,
    /// The address of the prober's pod.
    pub pod_ip: Ipv4Addr,
    /// The subnet of the node's pods.
    pub pod_cidr: String,
    /// The same three for IPv6, in a cluster that has it.
    pub host_ip_v6: Option<Ipv6Addr>,
    pub pod_ip_v6: Option<Ipv6Addr>,
    pub pod_cidr_v6: Option<String>,
    /// The namespace of the node itself (the host plane).
    pub namespace: String,
    /// The namespace of the prober's pod (the pod plane).
    pub pod_namespace: String,
}

/// A zone: a bridge on the fabric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabZone {
    /// From 1.
    pub index: u8,
    /// `zone-a` …
    pub name: String,
    /// The subnet of the zone's hosts.
    pub network: String,
    /// The router's address in it.
    pub gateway: Ipv4Addr,
}

/// A DNS server's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabDns {
    /// `dns-1` …
    pub name: String,
    /// Its namespace, of the same name.
    pub namespace: String,
    /// The node that it runs on.
    pub node: String,
    pub(crate) node_index: u8,
    /// The server's own address.
    pub address: SocketAddr,
    /// Its IPv6 address, in a cluster that has them.
    pub address_v6: Option<SocketAddr>,
}

/// The aggregator's place in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabAggregator {
    /// The node that it runs on.
    pub node: String,
    /// Its pod's namespace: run the aggregator there.
    pub namespace: String,
    /// Its pod's address and gRPC port.
    pub pod_address: SocketAddr,
    /// The service address: the overlay way home.
    pub service: SocketAddr,
    /// Its node's address and the node port: the underlay way home. Any node's address works.
    pub node_port: SocketAddr,
    /// The same three for IPv6, in a cluster that has it.
    pub pod_address_v6: Option<SocketAddr>,
    pub service_v6: Option<SocketAddr>,
    pub node_port_v6: Option<SocketAddr>,
}

/// Everything that is in the cluster.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) families: Families,
    pub(crate) host_probers: bool,
    pub(crate) nodes: Vec<LabNode>,
    pub(crate) zones: Vec<LabZone>,
    pub(crate) dns: Vec<LabDns>,
    pub(crate) aggregator: LabAggregator,
}

impl Plan {
    pub(crate) fn new(spec: &LabSpec) -> Self {
        let has_v6 = spec.families.has_v6();
        let nodes: Vec<LabNode> = (1..=spec.nodes)
            .map(|index| node(index, spec.zone_of(index), spec.families))
            .collect();
        let zones = (1..=spec.zones)
            .map(|index| LabZone {
                index,
                name: at::zone_name(index),
                network: at::zone_network(index),
                gateway: at::zone_gateway(index),
            })
            .collect();
        let dns = (1..)
            .zip(spec.dns_nodes())
            .map(|(instance, node_index)| LabDns {
                name: at::dns_name(instance),
                namespace: at::dns_name(instance),
                node: at::node_name(node_index),
                node_index,
                address: socket(at::dns_ip(node_index), at::DNS_PORT),
                address_v6: has_v6
                    .then(|| SocketAddr::from((at::dns_ip_v6(node_index), at::DNS_PORT))),
            })
            .collect();
        let aggregator_zone = spec.zone_of(at::AGGREGATOR_NODE);
        let aggregator_host = at::host_ip(aggregator_zone, at::AGGREGATOR_NODE);
        let aggregator_host_v6 = at::host_ip_v6(aggregator_zone, at::AGGREGATOR_NODE);
        let aggregator = LabAggregator {
            node: at::node_name(at::AGGREGATOR_NODE),
            namespace: at::AGGREGATOR_NAMESPACE.to_owned(),
            pod_address: socket(at::aggregator_ip(), at::AGGREGATOR_PORT),
            service: at::aggregator_service(),
            node_port: socket(aggregator_host, at::AGGREGATOR_NODE_PORT),
            pod_address_v6: has_v6
                .then(|| SocketAddr::from((at::aggregator_ip_v6(), at::AGGREGATOR_PORT))),
            service_v6: has_v6.then(at::aggregator_service_v6),
            node_port_v6: has_v6
                .then(|| SocketAddr::from((aggregator_host_v6, at::AGGREGATOR_NODE_PORT))),
        };
        Self {
            families: spec.families,
            host_probers: spec.host_probers,
            nodes,
            zones,
            dns,
            aggregator,
        }
    }

    /// Every pod: namespace, node number, address and the name of its port on `cni0`.
    pub(crate) fn pods(&self) -> Vec<pod::Pod> {
        let has_v6 = self.families.has_v6();
        let probers = self.nodes.iter().map(|node| pod::Pod {
            namespace: node.pod_namespace.clone(),
            node: node.index,
            address: node.pod_ip,
            address_v6: node.pod_ip_v6,
            port: "prober",
        });
        let servers = self.dns.iter().map(|dns| pod::Pod {
            namespace: dns.namespace.clone(),
            node: dns.node_index,
            address: at::dns_ip(dns.node_index),
            address_v6: has_v6.then(|| at::dns_ip_v6(dns.node_index)),
            port: "dns",
        });
        let aggregator = pod::Pod {
            namespace: self.aggregator.namespace.clone(),
            node: at::AGGREGATOR_NODE,
            address: at::aggregator_ip(),
            address_v6: has_v6.then(at::aggregator_ip_v6),
            port: "agg",
        };
        probers.chain(servers).chain([aggregator]).collect()
    }

    /// Every namespace's name.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let nodes = self.nodes.iter().map(|node| node.namespace.clone());
        let pods = self.pods().into_iter().map(|pod| pod.namespace);
        [at::FABRIC.to_owned(), at::INTERNET.to_owned()]
            .into_iter()
            .chain(nodes)
            .chain(pods)
            .collect()
    }

    /// `ip -batch`: all namespaces.
    pub(crate) fn namespace_script(&self, verb: &str) -> String {
        let lines: Vec<String> = self
            .namespaces()
            .iter()
            .map(|name| format!("netns {verb} {name}\n"))
            .collect();
        lines.concat()
    }

    /// `ip -batch`: every pair of virtual Ethernet ports, each end made where it belongs.
    pub(crate) fn cable_script(&self) -> String {
        let mut script = cable(at::FABRIC, fabric::UPLINK, at::INTERNET, 1500);
        for node in &self.nodes {
            script += &cable(at::FABRIC, &node.name, &node.namespace, 1500);
        }
        for pod in self.pods() {
            script += &cable(
                &at::node_name(pod.node),
                pod.port,
                &pod.namespace,
                at::POD_MTU,
            );
        }
        script
    }
}

/// No batches of segments (`gso_max_segs`): what passes a hook is what a real cable would carry, and rules about sizes and losses
/// are right for TCP too.
fn cable(namespace: &str, port: &str, peer_namespace: &str, mtu: u32) -> String {
    format!(
        "link add name {port} mtu {mtu} gso_max_segs 1 netns {namespace} type veth \
         peer name eth0 mtu {mtu} gso_max_segs 1 netns {peer_namespace}\n"
    )
}

fn node(index: u8, zone_index: u8, families: Families) -> LabNode {
    let has_v6 = families.has_v6();
    LabNode {
        index,
        name: at::node_name(index),
        zone: at::zone_name(zone_index),
        zone_index,
        host_ip: at::host_ip(zone_index, index),
        pod_ip: at::pod_ip(index),
        pod_cidr: at::pod_cidr(index),
        host_ip_v6: has_v6.then(|| at::host_ip_v6(zone_index, index)),
        pod_ip_v6: has_v6.then(|| at::pod_ip_v6(index)),
        pod_cidr_v6: has_v6.then(|| at::pod_cidr_v6(index)),
        namespace: at::node_name(index),
        pod_namespace: at::pod_namespace(index),
    }
}

fn socket(ip: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(ip, port))
}
