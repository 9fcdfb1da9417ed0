//! Who probes whom: the full mesh.
//!
//! The mesh task publishes a [`Roster`] when the membership really changed, at most every 200 ms, so that 500 probers that
//! join together cause a handful of rosters and not 500. Each stream builds its own prober's [`v1::Assignment`] from the
//! newest roster and sends it if it differs from the one it sent last. So the N² of a full mesh is spread over the
//! streams' tasks, and a slow prober delays nobody.
//!
//! Pure: a roster and a prober in, an assignment out.

mod pace;
mod phase;
mod roster;
mod sample;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use meshprobe_core::ids::NodeName;
use meshprobe_core::path::{Plane, ProbeKind};
use meshprobe_proto::v1;
use prost::Message;

use crate::membership::WayHome;

pub use pace::{Pace, default_udp_interval};
pub use phase::phase;
pub use roster::{Roster, RosterNode};
pub(crate) use sample::Ring;

/// How often one kind is sent on one plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What is sent.
    pub kind: ProbeKind,
    /// Where it runs.
    pub plane: Plane,
    /// Time between two probes of one path.
    pub interval: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// A name that every prober asks of a DNS server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsProbe {
    /// The server for people: "coredns-1", "vip".
    pub server: String,
    /// Where it listens.
    pub address: std::net::SocketAddr,
    /// The fully qualified name.
    pub name: String,
    /// The response code that is right: 0 NOERROR, 3 NXDOMAIN.
    pub expected_rcode: u8,
    /// Where the server's address lives.
    pub plane: Plane,
}

/// A virtual IP in front of the responders that every prober connects to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceProbe {
    /// For people, unique.
    pub name: String,
    /// Where it is.
    pub address: std::net::SocketAddr,
}

/// What is the same for every prober.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanConfig {
    /// Kinds and intervals. Between nodes a schedule concerns the probers of its plane; `tcp` on the host plane is done
    /// by the pod-plane prober where a node has no host-plane prober.
    pub schedules: Vec<Schedule>,
    /// Whether the interval of STAMP probes is the one in `schedules`.
    pub udp_pace: Pace,
    /// When all is well, one report in this time.
    pub report_interval: Duration,
    /// DNS targets.
    pub dns: Vec<DnsProbe>,
    /// Names that are asked as an application asks them.
    pub search: Vec<String>,
    /// Virtual IPs in front of the responders.
    pub services: Vec<ServiceProbe>,
    /// Targets outside the mesh, as they are sent.
    pub external: Vec<v1::ExternalTarget>,
    /// Peers that each prober probes by QUIC; all, if there are fewer.
    pub quic_sample: usize,
    /// Secrets of authenticated STAMP, the one to send with first. Empty: unauthenticated.
    pub stamp_keys: Vec<Bytes>,
    /// Where reports can go, as host:port.
    pub aggregators: Vec<(String, WayHome)>,
}

impl Default for PlanConfig {
    fn default() -> Self {
        let every = |kind| {
            let (interval, timeout) = match kind {
                ProbeKind::Udp => (1_000, 250),
                ProbeKind::Service => (1_000, 1_000),
                ProbeKind::Tcp | ProbeKind::DnsUdp | ProbeKind::DnsTcp => (5_000, 1_000),
                // The third SYN leaves after three seconds, and has one for its answer. Connecting alone costs a target little,
                // and says first that nobody gets out.
                ProbeKind::TcpConnect => (5_000, 4_000),
                ProbeKind::Tls => (10_000, 5_000),
                ProbeKind::Http => (10_000, 10_000),
                ProbeKind::Quic => (30_000, 1_000),
                ProbeKind::DnsSearch => (30_000, 5_000),
                ProbeKind::Mtu => (60_000, 6_000),
                // A kernel may forbid it, and it tells little that UDP does not.
                ProbeKind::Icmp => return None,
            };
            Some((
                Duration::from_millis(interval),
                Duration::from_millis(timeout),
            ))
        };
        let schedules = layers().filter_map(|(kind, plane)| {
            let (interval, timeout) = every(kind)?;
            Some(Schedule {
                kind,
                plane,
                interval,
                timeout,
            })
        });
        Self {
            schedules: schedules.collect(),
            udp_pace: Pace::default(),
            report_interval: Duration::from_secs(10),
            dns: Vec::new(),
            search: Vec::new(),
            services: Vec::new(),
            external: Vec::new(),
            quic_sample: 10,
            stamp_keys: Vec::new(),
            aggregators: Vec::new(),
        }
    }
}

impl PlanConfig {
    /// Time between two probes of one path in this layer.
    pub fn interval(&self, kind: ProbeKind, plane: Plane) -> Option<Duration> {
        let found = self
            .schedules
            .iter()
            .find(|s| s.kind == kind && s.plane == plane);
        found.map(|schedule| schedule.interval)
    }
}

/// Every kind with every plane that it can run in.
pub fn layers() -> impl Iterator<Item = (ProbeKind, Plane)> {
    ProbeKind::ALL
        .into_iter()
        .flat_map(|kind| planes(kind).iter().map(move |plane| (kind, *plane)))
}

/// Where a kind can run. Between nodes, and on the way out of the mesh, it is the plane of the prober; otherwise that of
/// the server.
const fn planes(kind: ProbeKind) -> &'static [Plane] {
    match kind {
        ProbeKind::DnsUdp | ProbeKind::DnsTcp => &[Plane::Pod, Plane::Service, Plane::Host],
        ProbeKind::Service => &[Plane::Service],
        _ => &[Plane::Pod, Plane::Host],
    }
}

/// The assignment of one prober, its generation still zero; `None`: the roster does not have it.
pub fn assignment(
    config: &PlanConfig,
    roster: &Roster,
    node: &NodeName,
    plane: Plane,
) -> Option<v1::Assignment> {
    let own = roster.node(node)?;
    let ssid = own.ssid(plane)?;
    let sample = roster.quic_sample(own, plane, config.quic_sample);
    let peers = roster.nodes().iter().filter(|peer| peer.name != *node);
    let peers = peers.filter_map(|peer| {
        let peer_ssid = peer.ssid(plane).or_else(|| peer.any_ssid())?;
        Some(v1::PeerTarget {
            node: peer.name.to_string(),
            ssid: peer_ssid.0.into(),
            addresses: peer.addresses.clone(),
            phase: phase(ssid, peer_ssid).into(),
            answer_only: false,
            quic: sample.contains(&peer.index),
        })
    });
    let (dns, services) = if asks_servers(own, plane) {
        (config.dns.as_slice(), config.services.as_slice())
    } else {
        (&[][..], &[][..])
    };
    Some(v1::Assignment {
        generation: 0,
        ssid: ssid.0.into(),
        peers: peers.collect(),
        dns: dns.iter().map(dns_target).collect(),
        schedules: schedules(config, own, plane),
        report_interval_millis: millis(config.report_interval),
        stamp_keys: config.stamp_keys.iter().map(|key| key.to_vec()).collect(),
        aggregators: config.aggregators.iter().map(aggregator).collect(),
        search: config
            .search
            .iter()
            .map(|name| search_target(name))
            .collect(),
        services: services.iter().map(service_target).collect(),
        external: config.external.clone(),
    })
}

/// Two assignments with the same fingerprint say the same.
pub fn fingerprint(assignment: &v1::Assignment) -> u64 {
    let mut hasher = DefaultHasher::new();
    assignment.encode_to_vec().hash(&mut hasher);
    hasher.finish()
}

/// One prober of a node asks the servers of the cluster: that of the pod plane, if there is one. A path to a server has the
/// server's plane, so two of them would write into one cell.
fn asks_servers(own: &RosterNode, plane: Plane) -> bool {
    plane == Plane::Pod || own.ssid(Plane::Pod).is_none()
}

/// Every kind on every plane, those that are off with an interval of zero: a prober has an idea of its own of what is not
/// mentioned.
fn schedules(config: &PlanConfig, own: &RosterNode, plane: Plane) -> Vec<v1::KindSchedule> {
    let concerns = |schedule: &Schedule| match schedule.kind {
        ProbeKind::DnsUdp | ProbeKind::DnsTcp | ProbeKind::Service => asks_servers(own, plane),
        kind => {
            let stands_in = plane == Plane::Pod
                && schedule.plane == Plane::Host
                && kind == ProbeKind::Tcp
                && own.ssid(Plane::Host).is_none();
            schedule.plane == plane || stands_in
        }
    };
    let wire = |(kind, on): (ProbeKind, Plane)| {
        let same = |schedule: &&Schedule| (schedule.kind, schedule.plane) == (kind, on);
        let found = config.schedules.iter().find(same);
        let found = found.filter(|schedule| concerns(schedule));
        v1::KindSchedule {
            kind: v1::ProbeKind::from(kind).into(),
            plane: v1::Plane::from(on).into(),
            interval_millis: found.map_or(0, |schedule| millis(schedule.interval)),
            timeout_millis: found.map_or(0, |schedule| millis(schedule.timeout)),
        }
    };
    layers().map(wire).collect()
}

fn search_target(name: &str) -> v1::SearchTarget {
    v1::SearchTarget {
        name: name.to_owned(),
    }
}

fn service_target(service: &ServiceProbe) -> v1::ServiceTarget {
    v1::ServiceTarget {
        name: service.name.clone(),
        address: service.address.to_string(),
    }
}

fn dns_target(probe: &DnsProbe) -> v1::DnsTarget {
    v1::DnsTarget {
        server: probe.server.clone(),
        address: probe.address.to_string(),
        name: probe.name.clone(),
        expected_rcode: probe.expected_rcode.into(),
        plane: v1::Plane::from(probe.plane).into(),
    }
}

fn aggregator((address, way): &(String, WayHome)) -> v1::AggregatorAddress {
    let way = match way {
        WayHome::Overlay => v1::WayHome::Overlay,
        WayHome::Underlay => v1::WayHome::Underlay,
    };
    v1::AggregatorAddress {
        address: address.clone(),
        way: way.into(),
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
