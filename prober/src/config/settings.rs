//! What is written in the configuration file.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use meshprobe_core::path::Plane;
use meshprobe_daemon::config::Spanned;
use meshprobe_daemon::logging::LogConfig;
use serde::{Deserialize, Serialize};

use crate::external::fence::Rule;

/// The configuration file. Every key has a default.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Who this node is.
    pub node: NodeSettings,
    /// In which plane this prober runs: `pod` (default) or `host`.
    pub plane: Option<Plane>,
    /// Where it answers.
    pub listen: ListenSettings,
    /// Where it reports to.
    pub aggregator: AggregatorSettings,
    /// Where the assignment comes from, if not from the aggregator.
    pub assignment: AssignmentSettings,
    /// Who is answered.
    pub responder: ResponderSettings,
    /// How names are looked up.
    pub dns: DnsSettings,
    /// Targets outside the mesh.
    pub external: ExternalSettings,
    /// Reports that are not acknowledged.
    pub spool: SpoolSettings,
    /// The log.
    pub log: LogConfig,
}

/// Who this node is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeSettings {
    /// The Kubernetes node name; default: the host's name.
    pub name: Option<Spanned<String>>,
    /// Failure domain.
    pub zone: String,
    /// Larger failure domain.
    pub region: String,
    /// Labels of the node.
    pub labels: BTreeMap<String, String>,
    /// The node's own address, which peers probe by TCP beside the pod's.
    pub host_ip: Option<IpAddr>,
}

/// Where the prober answers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenSettings {
    /// Own addresses; default: the pod's, else all IPv4 ones. At most one of each family.
    pub addresses: Vec<Spanned<IpAddr>>,
    /// UDP and TCP port of the responders; default 4862.
    pub port: Option<u16>,
    /// UDP port of the QUIC responder; default 4863; 0: none.
    pub quic_port: Option<u16>,
    /// Admin port; default: port 4864 of the first address.
    pub admin: Option<SocketAddr>,
    /// Under which addresses peers reach this prober, if they differ from `addresses` (NAT).
    pub advertise: Vec<IpAddr>,
}

/// Where the prober reports to.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AggregatorSettings {
    /// The two ways home; several addresses of one way are tried in turn.
    pub addresses: Vec<AggregatorEntry>,
    /// TLS; without it the streams are in the clear.
    pub tls: Option<TlsSettings>,
}

/// One address of the aggregator.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AggregatorEntry {
    /// `host:port`.
    pub address: Spanned<String>,
    /// `overlay`: its service or pod address (default); `underlay`: a node address with a node port.
    #[serde(default)]
    pub way: WaySetting,
}

/// See [`AggregatorEntry::way`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaySetting {
    /// By the overlay.
    #[default]
    Overlay,
    /// By the nodes' own network.
    Underlay,
}

/// Files of the TLS client.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The authorities that are trusted, PEM.
    pub ca: PathBuf,
    /// The own certificate chain, PEM.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// The name in the aggregator's certificate, if it is not the host that is dialled.
    #[serde(default)]
    pub server_name: Option<String>,
}

/// Where the assignment comes from.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AssignmentSettings {
    /// A file that lists the nodes of the mesh; default: the aggregator's assignment.
    pub file: Option<PathBuf>,
}

/// Who is answered.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResponderSettings {
    /// Also answer who is not assigned; default false.
    pub open: bool,
    /// Return the asker's session identifier instead of the own one; default false.
    pub anonymous: bool,
}

/// How names are looked up.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsSettings {
    /// The resolver's configuration that applications use; default /etc/resolv.conf.
    pub resolv_conf: Option<PathBuf>,
}

/// Targets outside the mesh: what this prober may connect to, whoever assigns it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExternalSettings {
    /// The only addresses and ports; default: all but this machine's, link-local ones, metadata services and groups.
    pub allow: Vec<Rule>,
    /// What is not allowed even so.
    pub deny: Vec<Rule>,
    /// Authorities that are trusted beside the public ones, PEM.
    pub ca: Option<PathBuf>,
}

/// Reports that are not acknowledged.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolSettings {
    /// Memory for them; beyond it windows are merged. Default 4194304.
    pub limit_bytes: Option<usize>,
}
