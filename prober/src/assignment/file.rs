//! An assignment as a file: a mesh without an aggregator.
//!
//! The same file can lie on every node: it lists all nodes, and a prober finds itself by its node name.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use meshprobe_core::ids::NodeName;
use meshprobe_core::path::{Family, Plane, ProbeKind};
use meshprobe_daemon::config::{self, ConfigError, HumanDuration};
use meshprobe_proto::v1;
use serde::{Deserialize, Serialize};

use super::external::ExternalTarget;
use super::wire::keys;
use super::{
    AssignmentError, DnsTarget, Peer, PeerAddress, SearchTarget, ServiceTarget, TargetSet, Timing,
    node, port, ssid,
};

/// Why a file gives no assignment.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file is not what it should be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its content is refused.
    #[error("{path}")]
    Assignment {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: AssignmentError,
    },
    /// The own node is not listed, so its session identifier is not known.
    #[error(
        "{path}: nodes: {node} is not listed; add it with the ssid and the addresses that its peers should use"
    )]
    SelfMissing {
        /// The file.
        path: String,
        /// The own name.
        node: NodeName,
    },
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AssignmentFile {
    #[serde(default = "ten_seconds")]
    report_interval: HumanDuration,
    nodes: Vec<NodeEntry>,
    #[serde(default)]
    dns: Vec<DnsEntry>,
    #[serde(default)]
    search: Vec<String>,
    #[serde(default)]
    services: Vec<ServiceEntry>,
    #[serde(default)]
    external: Vec<ExternalEntry>,
    #[serde(default)]
    schedules: Vec<ScheduleEntry>,
    #[serde(default)]
    stamp_keys: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NodeEntry {
    name: String,
    ssid: u32,
    addresses: Vec<AddressEntry>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AddressEntry {
    plane: Plane,
    ip: IpAddr,
    #[serde(default)]
    udp_port: u32,
    #[serde(default)]
    tcp_port: u32,
    #[serde(default)]
    quic_port: u32,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct DnsEntry {
    server: String,
    address: SocketAddr,
    name: String,
    #[serde(default)]
    expected_rcode: u8,
    #[serde(default = "service")]
    plane: Plane,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ServiceEntry {
    name: String,
    address: SocketAddr,
}

/// A target outside the mesh: `tcp` or `tls` with `host:port`, or `http` with a URL.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct ExternalEntry {
    name: String,
    tcp: Option<String>,
    tls: Option<String>,
    http: Option<String>,
    family: Option<Family>,
    server_name: String,
    ca_pem: String,
    expected_statuses: Vec<u32>,
    expected_body: String,
    max_redirects: u32,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ScheduleEntry {
    kind: ProbeKind,
    plane: Plane,
    interval: HumanDuration,
    timeout: Option<HumanDuration>,
}

const fn ten_seconds() -> HumanDuration {
    HumanDuration::from_secs(10)
}

const fn service() -> Plane {
    Plane::Service
}

/// Reads the file at `path` for the node `own`.
pub fn load(path: &Path, own: &NodeName) -> Result<TargetSet, FileError> {
    let file: AssignmentFile = config::load(path)?;
    target_set(file, path, own)
}

fn target_set(file: AssignmentFile, path: &Path, own: &NodeName) -> Result<TargetSet, FileError> {
    let refused = |source| FileError::Assignment {
        path: path.display().to_string(),
        source,
    };
    let AssignmentFile {
        report_interval,
        nodes,
        dns,
        search,
        services,
        external,
        schedules,
        stamp_keys,
    } = file;
    let mut peers = nodes
        .into_iter()
        .map(peer)
        .collect::<Result<Vec<_>, _>>()
        .map_err(refused)?;
    let Some(position) = peers.iter().position(|peer| peer.node == *own) else {
        return Err(FileError::SelfMissing {
            path: path.display().to_string(),
            node: own.clone(),
        });
    };
    let own_ssid = peers.remove(position).ssid;
    // Phases come from the aggregator's plan; without one they are spread by a hash of the two names.
    for peer in &mut peers {
        peer.phase = spread(own.as_str(), peer.node.as_str());
    }
    let timings: BTreeMap<_, _> = schedules
        .into_iter()
        .map(|entry| {
            let timing = Timing {
                interval: entry.interval.duration(),
                timeout: entry
                    .timeout
                    .map_or(Timing::default_of(entry.kind).timeout, Duration::from),
            };
            let is_off = timing.interval.is_zero();
            ((entry.kind, entry.plane), (!is_off).then_some(timing))
        })
        .collect();
    TargetSet {
        generation: 0,
        ssid: own_ssid,
        peers,
        dns: dns
            .into_iter()
            .map(|entry| DnsTarget {
                server: entry.server,
                address: entry.address,
                name: entry.name,
                expected_rcode: entry.expected_rcode,
                plane: entry.plane,
            })
            .collect(),
        search: search
            .into_iter()
            .map(|name| SearchTarget { name })
            .collect(),
        services: services
            .into_iter()
            .map(|ServiceEntry { name, address }| ServiceTarget { name, address })
            .collect(),
        external: external
            .into_iter()
            .map(external_target)
            .collect::<Result<_, _>>()
            .map_err(refused)?,
        timings,
        report_interval: Duration::from(report_interval),
        stamp_keys: keys(&stamp_keys).map_err(refused)?,
        aggregators: Vec::new(),
    }
    .check()
    .map_err(refused)
}

/// Checked in one place, that of the aggregator's assignments.
fn external_target(entry: ExternalEntry) -> Result<ExternalTarget, AssignmentError> {
    let (kind, address, url) = match (entry.tcp, entry.tls, entry.http) {
        (Some(address), None, None) => (ProbeKind::TcpConnect, address, String::new()),
        (None, Some(address), None) => (ProbeKind::Tls, address, String::new()),
        (None, None, Some(url)) => (ProbeKind::Http, String::new(), url),
        _ => {
            return Err(AssignmentError::External {
                name: entry.name,
                reason: "write one of tcp: host:port, tls: host:port, http: URL".to_owned(),
            });
        }
    };
    v1::ExternalTarget {
        name: entry.name,
        kind: v1::ProbeKind::from(kind).into(),
        address,
        url,
        family: entry
            .family
            .map_or(v1::Family::Unspecified, v1::Family::from)
            .into(),
        server_name: entry.server_name,
        ca_pem: entry.ca_pem,
        expected_statuses: entry.expected_statuses,
        expected_body: entry.expected_body,
        max_redirects: entry.max_redirects,
    }
    .try_into()
}

fn peer(entry: NodeEntry) -> Result<Peer, AssignmentError> {
    let who = entry.name.clone();
    let address = |address: AddressEntry| -> Result<PeerAddress, AssignmentError> {
        Ok(PeerAddress {
            plane: address.plane,
            ip: address.ip,
            udp_port: port(&who, address.udp_port)?,
            tcp_port: port(&who, address.tcp_port)?,
            quic_port: port(&who, address.quic_port)?,
        })
    };
    Ok(Peer {
        node: node(&entry.name)?,
        ssid: ssid(&entry.name, entry.ssid)?,
        addresses: entry
            .addresses
            .into_iter()
            .map(address)
            .collect::<Result<_, _>>()?,
        phase: 0,
        answer_only: false,
        quic: true,
    })
}

/// A hash that is the same in every build (FNV-1a), folded to the upper bits.
pub fn spread(source: &str, target: &str) -> u16 {
    let octets = source.bytes().chain([0]).chain(target.bytes());
    let hash = octets.fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32) ^ (hash >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESH: &str = "\
nodes:
  - name: a
    ssid: 1
    addresses: [{plane: pod, ip: 127.0.0.1, udp_port: 4862, tcp_port: 4862}]
  - name: b
    ssid: 2
    addresses: [{plane: pod, ip: 127.0.0.2, udp_port: 4862}]
schedules:
  - {kind: udp, plane: pod, interval: 100ms}
dns:
  - {server: vip, address: '10.96.0.10:53', name: kubernetes.default.svc.cluster.local.}
";

    fn parse(text: &str, own: &str) -> Result<TargetSet, FileError> {
        let path = Path::new("mesh.yaml");
        target_set(
            config::parse(text, path)?,
            path,
            &NodeName::try_from(own).unwrap(),
        )
    }

    #[test]
    fn every_node_finds_itself_in_the_same_file() {
        let a = parse(MESH, "a").unwrap();
        let b = parse(MESH, "b").unwrap();
        assert_eq!((a.ssid.0, b.ssid.0), (1, 2));
        assert_eq!(a.peers[0].node.as_str(), "b");
        assert_eq!(b.peers[0].node.as_str(), "a");
        assert_eq!(
            a.timing(ProbeKind::Udp, Plane::Pod).unwrap().interval,
            Duration::from_millis(100)
        );
        assert_eq!(
            a.timing(ProbeKind::Tcp, Plane::Pod),
            Some(Timing::default_of(ProbeKind::Tcp))
        );
    }

    #[test]
    fn names_services_and_targets_outside_are_taken_and_checked() {
        let rest = "\
search: [kubernetes.default]
services:
  - {name: echo, address: '10.96.0.20:4862'}
external:
  - {name: db, tcp: 'db.example.com:5432'}
  - {name: ldap, tls: '[2001:db8::7]:636', family: v6, server_name: ldap.example.com}
  - {name: shop, http: 'https://shop.example.com/health', expected_statuses: [200], expected_body: ok, max_redirects: 2}
";
        let text = format!("{MESH}{rest}").replace(
            "schedules:\n",
            "schedules:\n  - {kind: http, plane: pod, interval: 1s}\n  - {kind: tls, plane: pod, interval: 0s}\n",
        );
        let set = parse(&text, "a").unwrap();
        assert_eq!(set.search[0].name, "kubernetes.default");
        assert_eq!(set.services[0].address, "10.96.0.20:4862".parse().unwrap());
        let kinds: Vec<_> = set.external.iter().map(|t| t.ask.kind()).collect();
        assert_eq!(
            kinds,
            [ProbeKind::TcpConnect, ProbeKind::Tls, ProbeKind::Http]
        );
        assert_eq!(set.external[1].family, Family::V6);
        let http = set.timing(ProbeKind::Http, Plane::Pod).unwrap();
        assert_eq!(
            http.timeout,
            Timing::default_of(ProbeKind::Http).timeout,
            "the kind's own"
        );
        assert_eq!(set.timing(ProbeKind::Tls, Plane::Pod), None, "0s is off");
        let reason = |change: &str, to: &str| {
            let error = parse(&text.replace(change, to), "a").unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string);
            source.unwrap_or_else(|| error.to_string())
        };
        assert!(reason("tcp: 'db", "port: 1, tcp: 'db").contains("port"));
        assert!(reason("tcp: 'db", "tls: 'x:1', tcp: 'db").contains("write one of tcp"));
        assert!(reason("db.example.com:5432", "db.example.com").contains("is not host:port"));
        assert!(reason("kubernetes.default]", "'a..b']").contains("search name"));
        assert!(reason("10.96.0.20:4862", "10.96.0.20").contains("address"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let error = parse(MESH, "c").unwrap_err().to_string();
        assert!(error.contains("c is not listed"), "{error}");
        let error = parse(&MESH.replace("ssid: 2", "sid: 2"), "a")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("mesh.yaml:6:5"), "{error}");
        let error = parse(&MESH.replace("ssid: 2", "ssid: 1"), "a").unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("belongs to another node"), "{source}");
        let error = parse(&MESH.replace("100ms", "1ms"), "a").unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("interval 1ms"), "{source}");
    }
}
