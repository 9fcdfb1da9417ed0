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
    /// Secrets of authenticated STAMP, the one to send with first. Empty: unauthenticated.
    pub stamp_keys: Vec<Bytes>,
    /// Where reports can go, as host:port.
    pub aggregators: Vec<(String, WayHome)>,
}

impl Default for PlanConfig {
    fn default() -> Self {
        let schedule = |kind, plane, interval, timeout| Schedule {
            kind,
            plane,
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(timeout),
        };
        Self {
            schedules: vec![
                schedule(ProbeKind::Udp, Plane::Pod, 1_000, 250),
                schedule(ProbeKind::Udp, Plane::Host, 1_000, 250),
                schedule(ProbeKind::Tcp, Plane::Pod, 5_000, 1_000),
                schedule(ProbeKind::Tcp, Plane::Host, 5_000, 1_000),
                schedule(ProbeKind::DnsUdp, Plane::Pod, 5_000, 1_000),
                schedule(ProbeKind::DnsUdp, Plane::Service, 5_000, 1_000),
                schedule(ProbeKind::DnsUdp, Plane::Host, 5_000, 1_000),
                schedule(ProbeKind::DnsTcp, Plane::Pod, 5_000, 1_000),
                schedule(ProbeKind::DnsTcp, Plane::Service, 5_000, 1_000),
                schedule(ProbeKind::DnsTcp, Plane::Host, 5_000, 1_000),
            ],
            udp_pace: Pace::default(),
            report_interval: Duration::from_secs(10),
            dns: Vec::new(),
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

/// The assignment of one prober, its generation still zero; `None`: the roster does not have it.
pub fn assignment(
    config: &PlanConfig,
    roster: &Roster,
    node: &NodeName,
    plane: Plane,
) -> Option<v1::Assignment> {
    let own = roster.node(node)?;
    let ssid = own.ssid(plane)?;
    let peers = roster.nodes().iter().filter(|peer| peer.name != *node);
    let peers = peers.filter_map(|peer| {
        let peer_ssid = peer.ssid(plane).or_else(|| peer.any_ssid())?;
        Some(v1::PeerTarget {
            node: peer.name.to_string(),
            ssid: peer_ssid.0.into(),
            addresses: peer.addresses.clone(),
            phase: phase(ssid, peer_ssid).into(),
            answer_only: false,
            quic: false,
        })
    });
    Some(v1::Assignment {
        generation: 0,
        ssid: ssid.0.into(),
        peers: peers.collect(),
        dns: if does_dns(own, plane) {
            config.dns.iter().map(dns_target).collect()
        } else {
            Vec::new()
        },
        schedules: schedules(config, own, plane),
        report_interval_millis: millis(config.report_interval),
        stamp_keys: config.stamp_keys.iter().map(|key| key.to_vec()).collect(),
        aggregators: config.aggregators.iter().map(aggregator).collect(),
        search: Vec::new(),
        services: Vec::new(),
        external: Vec::new(),
    })
}

/// Two assignments with the same fingerprint say the same.
pub fn fingerprint(assignment: &v1::Assignment) -> u64 {
    let mut hasher = DefaultHasher::new();
    assignment.encode_to_vec().hash(&mut hasher);
    hasher.finish()
}

/// One prober of a node asks the DNS servers: that of the pod plane, if there is one.
fn does_dns(own: &RosterNode, plane: Plane) -> bool {
    plane == Plane::Pod || own.ssid(Plane::Pod).is_none()
}

fn schedules(config: &PlanConfig, own: &RosterNode, plane: Plane) -> Vec<v1::KindSchedule> {
    let concerns = |schedule: &&Schedule| {
        if !schedule.kind.is_between_nodes() {
            return does_dns(own, plane);
        }
        let stands_in = plane == Plane::Pod
            && schedule.plane == Plane::Host
            && schedule.kind == ProbeKind::Tcp
            && own.ssid(Plane::Host).is_none();
        schedule.plane == plane || stands_in
    };
    let wire = |schedule: &Schedule| v1::KindSchedule {
        kind: v1::ProbeKind::from(schedule.kind).into(),
        plane: v1::Plane::from(schedule.plane).into(),
        interval_millis: millis(schedule.interval),
        timeout_millis: millis(schedule.timeout),
    };
    config.schedules.iter().filter(concerns).map(wire).collect()
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
