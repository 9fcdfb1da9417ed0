//! Who is there and what is measured: nodes in zones, the layers between them, DNS servers, a service, servers outside. As in
//! the lab, with the intervals of the default plan.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use meshprobe_aggregator::plan::{PlanConfig, default_udp_interval};
use meshprobe_core::diagnosis::{Columns, Target, TargetName, Topology, TopologyNode};
use meshprobe_core::ids::{NodeName, ZoneIndex};
use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_core::verdict::Thresholds;

/// One report in so many seconds when all is well.
pub(super) const REPORT_SECONDS: u32 = 10;
/// Backends behind the responders' virtual IP.
pub(super) const BACKENDS: usize = 3;
/// What DNS servers are asked, and the response code that is right.
pub(super) const NAMES: [(&str, u8); 3] = [
    (KUBERNETES, 0),
    ("www.example.com.", 0),
    ("absent.default.svc.cluster.local.", 3),
];
/// The name in [`NAMES`] that the servers forward.
pub(super) const EXTERNAL_NAME: usize = 1;
const KUBERNETES: &str = "kubernetes.default.svc.cluster.local.";
/// Names as applications write them; the second one is forwarded.
pub(super) const SEARCH: [&str; 2] = ["kubernetes.default", "www.example.com"];
/// The server that stands for the virtual IP of the DNS.
pub(super) const DNS_VIP: &str = "vip";
/// The service in front of the responders.
pub(super) const RESPONDERS: &str = "responders";
/// Servers outside the mesh, each probed in every way.
pub(super) const SERVERS: [&str; 2] = ["www.example.com", "registry.example.net"];
/// The API server, which is reached by a virtual IP.
pub(super) const API_SERVER: &str = "kubernetes-tcp";

/// What differs from mesh to mesh.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorldSpec {
    pub(super) nodes: usize,
    pub(super) zones: usize,
    /// IPv6 beside IPv4.
    pub(super) dual: bool,
    /// A second prober on each node's host network.
    pub(super) host_probers: bool,
}

/// A layer and its rhythm.
#[derive(Clone, Debug)]
pub(super) struct LayerSpec {
    pub(super) layer: Layer,
    pub(super) interval: Duration,
    pub(super) thresholds: Thresholds,
    /// Seconds between two probes of a path; at least 1.
    pub(super) every: u32,
    /// Probes of a path when its turn comes: 2 where the interval is half a second.
    pub(super) at_once: u32,
    /// Each source probes so many of the next nodes by number; `None`: all.
    pub(super) sample: Option<usize>,
    pub(super) columns: Columns,
    /// What stands behind each column that is no node.
    pub(super) targets: Arc<[Goal]>,
}

/// A target, by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// A name, asked of an instance; `None`: of the virtual IP.
    Dns {
        instance: Option<usize>,
        name: usize,
    },
    /// A name as an application asks it.
    Search { name: usize },
    /// The responders' virtual IP.
    Service,
    /// A server outside, by number.
    Server {
        server: usize,
        tls: bool,
        http: bool,
    },
    /// The API server behind its virtual IP.
    Api,
}

/// Everything that does not change.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) spec: WorldSpec,
    pub(super) topology: Arc<Topology>,
    pub(super) layers: Vec<LayerSpec>,
    /// Nodes on which the DNS servers run.
    pub(super) dns: Vec<usize>,
    /// Nodes on which the backends of the responders' service run.
    pub(super) backends: Vec<usize>,
}

impl World {
    pub(super) fn new(spec: WorldSpec) -> Self {
        let dns: Vec<usize> = dns_nodes(spec.nodes);
        let last = spec.nodes - 1;
        let mut world = Self {
            spec,
            topology: Arc::new(topology(&spec)),
            layers: Vec::new(),
            backends: (0..BACKENDS).map(|i| (i + 1).min(last)).collect(),
            dns,
        };
        world.backends.dedup();
        world.layers = world.plan();
        world.layers.sort_by_key(|spec| spec.layer);
        world
    }

    pub(super) fn nodes(&self) -> usize {
        self.spec.nodes
    }

    /// A node's zone, from 0.
    pub(super) fn zone_of(&self, node: usize) -> usize {
        zone_of(&self.spec, node)
    }

    pub(super) fn zone_name(zone: usize) -> String {
        zone_name(zone)
    }

    pub(super) fn name(node: usize) -> NodeName {
        name(node)
    }

    pub(super) fn nodes_in(&self, zone: usize) -> usize {
        (0..self.nodes())
            .filter(|node| self.zone_of(*node) == zone)
            .count()
    }

    pub(super) fn dns_name(instance: usize) -> String {
        format!("dns-{}", instance + 1)
    }

    fn plan(&self) -> Vec<LayerSpec> {
        use Plane::{Host, Pod, Service};
        use ProbeKind as Kind;
        let mut kinds = vec![
            (Kind::Udp, Pod),
            (Kind::Tcp, Pod),
            (Kind::Tcp, Host),
            (Kind::Mtu, Pod),
            (Kind::Quic, Pod),
            (Kind::DnsUdp, Pod),
            (Kind::DnsTcp, Pod),
            (Kind::DnsUdp, Service),
            (Kind::DnsTcp, Service),
            (Kind::DnsSearch, Pod),
            (Kind::Service, Service),
            (Kind::TcpConnect, Pod),
            (Kind::Tls, Pod),
            (Kind::Http, Pod),
        ];
        if self.spec.host_probers {
            kinds.push((Kind::Udp, Host));
        }
        let mut layers: Vec<LayerSpec> = kinds
            .iter()
            .map(|(kind, plane)| self.layer(*kind, *plane, Family::V4))
            .collect();
        if self.spec.dual {
            let between = kinds.iter().filter(|(kind, _)| kind.is_between_nodes());
            layers.extend(between.map(|(kind, plane)| self.layer(*kind, *plane, Family::V6)));
        }
        layers
    }

    fn layer(&self, kind: ProbeKind, plane: Plane, family: Family) -> LayerSpec {
        let plan = PlanConfig::default();
        let interval = if kind == ProbeKind::Udp {
            default_udp_interval(self.nodes())
        } else {
            plan.interval(kind, plane)
                .unwrap_or(Duration::from_secs(u64::from(REPORT_SECONDS)))
        };
        let nodes = self.nodes() as u64;
        let thresholds = Thresholds::for_mesh(
            nodes * (nodes - 1),
            interval.as_secs_f64(),
            f64::from(REPORT_SECONDS),
        );
        let (columns, targets) = self.columns(kind, plane, family);
        LayerSpec {
            layer: Layer {
                kind,
                plane,
                family,
            },
            interval,
            thresholds: Thresholds {
                down_after: if kind == ProbeKind::Mtu {
                    1
                } else {
                    thresholds.down_after
                },
                ..thresholds
            },
            every: (interval.as_secs() as u32).max(1),
            at_once: (1_000 / interval.as_millis().clamp(1, 1_000)) as u32,
            sample: (kind == ProbeKind::Quic).then_some(plan.quic_sample),
            columns,
            targets: targets.into(),
        }
    }

    fn columns(&self, kind: ProbeKind, plane: Plane, family: Family) -> (Columns, Vec<Goal>) {
        let mut targets = Vec::new();
        let mut goals = Vec::new();
        let mut add = |heading: String, name: TargetName, goal: Goal| {
            targets.push(Target { heading, name });
            goals.push(goal);
        };
        match kind {
            ProbeKind::DnsUdp | ProbeKind::DnsTcp => {
                let instances: Vec<Option<usize>> = if plane == Plane::Service {
                    vec![None]
                } else {
                    (0..self.dns.len()).map(Some).collect()
                };
                for instance in instances {
                    let server = instance.map_or(DNS_VIP.to_owned(), Self::dns_name);
                    let address = instance.map_or(vip(10), |i| dns_ip(self.dns[i]));
                    for (number, (name, rcode)) in NAMES.into_iter().enumerate() {
                        let target = TargetName::Dns {
                            server: server.clone(),
                            address: SocketAddr::new(address, 53),
                            name: name.to_owned(),
                            expected_rcode: rcode,
                            plane,
                        };
                        let goal = Goal::Dns {
                            instance,
                            name: number,
                        };
                        add(format!("{server}/{name}"), target, goal);
                    }
                }
            }
            ProbeKind::DnsSearch => {
                for (number, name) in SEARCH.into_iter().enumerate() {
                    let target = TargetName::Search {
                        name: name.to_owned(),
                    };
                    add(name.to_owned(), target, Goal::Search { name: number });
                }
            }
            ProbeKind::Service => {
                let target = TargetName::Service {
                    name: RESPONDERS.to_owned(),
                    address: SocketAddr::new(vip(30), 4862),
                };
                add(RESPONDERS.to_owned(), target, Goal::Service);
            }
            ProbeKind::TcpConnect | ProbeKind::Tls | ProbeKind::Http => {
                for (server, host) in SERVERS.into_iter().enumerate() {
                    let ways: &[(&str, bool, bool)] = match kind {
                        ProbeKind::TcpConnect => &[("tcp", false, false)],
                        ProbeKind::Tls => &[("tls", true, false)],
                        _ => &[("http", false, true), ("https", true, true)],
                    };
                    for (way, tls, http) in ways {
                        let name = format!("{host}-{way}");
                        let (tls, http) = (*tls, *http);
                        let goal = Goal::Server { server, tls, http };
                        let target = TargetName::External {
                            name: name.clone(),
                            kind,
                            family,
                            endpoint: endpoint(host, way),
                        };
                        add(name, target, goal);
                    }
                }
                if kind == ProbeKind::TcpConnect {
                    let target = TargetName::External {
                        name: API_SERVER.to_owned(),
                        kind,
                        family,
                        endpoint: "10.96.0.1:443".to_owned(),
                    };
                    add(API_SERVER.to_owned(), target, Goal::Api);
                }
            }
            _ => return (Columns::Nodes, Vec::new()),
        }
        (Columns::Targets(targets.into()), goals)
    }
}

fn topology(spec: &WorldSpec) -> Topology {
    let nodes = (0..spec.nodes).map(|node| {
        let mut addresses = vec![(Plane::Pod, pod_ip(node)), (Plane::Host, host_ip(node))];
        if spec.dual {
            let [high, low] = (node as u16).to_be_bytes().map(u16::from);
            let v6 = |net| IpAddr::V6(Ipv6Addr::new(0xfd00, net, high, low, 0, 0, 0, 2));
            addresses.extend([(Plane::Pod, v6(0x244)), (Plane::Host, v6(0x30))]);
        }
        Some(TopologyNode {
            name: name(node),
            zone: ZoneIndex(zone_of(spec, node) as u16 + 1),
            lifecycle: Lifecycle::Active,
            is_warming_up: false,
            addresses,
        })
    });
    let zones = std::iter::once(String::new()).chain((0..spec.zones).map(zone_name));
    Topology {
        nodes: nodes.collect(),
        zones: zones.collect(),
    }
}

/// As many as a cluster of this size has, spread over it.
fn dns_nodes(nodes: usize) -> Vec<usize> {
    let instances = (nodes / 50 + 2).min(6).min(nodes);
    (0..instances).map(|i| i * nodes / instances).collect()
}

fn zone_of(spec: &WorldSpec, node: usize) -> usize {
    node % spec.zones
}

fn zone_name(zone: usize) -> String {
    let letter = char::from(b'a' + (zone % 26) as u8);
    format!("zone-{letter}")
}

fn name(node: usize) -> NodeName {
    let text = format!("mesh-{}", node + 1);
    match NodeName::try_from(text) {
        Ok(name) => name,
        Err(error) => unreachable!("a number makes a good name: {error}"),
    }
}

fn octets(node: usize) -> (u8, u8) {
    let [high, low] = (node as u16).to_be_bytes();
    (high, low)
}

pub(super) fn pod_ip(node: usize) -> IpAddr {
    let (high, low) = octets(node);
    Ipv4Addr::new(10, 64 + high, low, 2).into()
}

fn dns_ip(node: usize) -> IpAddr {
    let (high, low) = octets(node);
    Ipv4Addr::new(10, 64 + high, low, 53).into()
}

pub(super) fn host_ip(node: usize) -> IpAddr {
    let (high, low) = octets(node);
    Ipv4Addr::new(172, 30, high, low).into()
}

pub(super) fn pod_cidr(node: usize) -> String {
    let (high, low) = octets(node);
    format!("10.{}.{low}.0/24", 64 + high)
}

/// Where a server is, as configured.
fn endpoint(host: &str, way: &str) -> String {
    let port = if way == "http" { 80 } else { 443 };
    format!("{host}:{port}")
}

fn vip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 96, 0, last).into()
}
