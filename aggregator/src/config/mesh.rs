//! What the aggregator knows of the mesh beforehand: zones, nodes, DNS servers, thresholds.

use std::time::Duration;

use meshprobe_core::{dark::DarkConfig, ids::NodeName, path::Plane};
use meshprobe_daemon::config::{HumanDuration, Spanned};
use serde::{Deserialize, Serialize};

use super::{Endpoint, IpLiteral};
use crate::incident::Opens;

/// A failure domain.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneConfig {
    /// Its name.
    pub name: Spanned<String>,
    /// The larger failure domain that it lies in.
    #[serde(default)]
    pub region: String,
}

/// A node that is known before its prober calls.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StaticNode {
    /// Its name, as its prober says it.
    pub name: Spanned<NodeName>,
    /// Its failure domain; empty: whatever its prober says.
    #[serde(default)]
    pub zone: Option<Spanned<String>>,
    /// Where peers can probe it; empty: whatever its prober says.
    #[serde(default)]
    pub addresses: Vec<AddressConfig>,
}

/// An address at which a node can be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AddressConfig {
    /// `pod`, `host` or `service`.
    pub plane: Plane,
    /// An IPv4 or IPv6 literal.
    pub ip: IpLiteral,
    /// The STAMP responder; 0: none there.
    #[serde(default = "responder_port")]
    pub udp_port: u16,
    /// The echo responder. On the host plane a closed port serves too: a reset proves the way.
    #[serde(default = "responder_port")]
    pub tcp_port: u16,
    /// The QUIC responder; 0: none there.
    #[serde(default = "quic_port")]
    pub quic_port: u16,
}

fn responder_port() -> u16 {
    4862
}

fn quic_port() -> u16 {
    4863
}

/// Who becomes a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Membership {
    /// A prober of an unknown node makes it a node.
    pub self_registration: bool,
    /// More nodes than this are refused.
    pub max_nodes: u32,
}

impl Default for Membership {
    fn default() -> Self {
        Self {
            self_registration: true,
            max_nodes: 512,
        }
    }
}

/// A DNS server that every prober asks.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DnsServer {
    /// Its name for people: `coredns-1`, `vip`.
    pub server: Spanned<String>,
    /// IP literal and port.
    pub address: Endpoint,
    /// `pod` for an instance, `service` for a virtual IP, `host` for a node-local cache.
    pub plane: Plane,
    /// What is asked.
    pub names: Vec<DnsName>,
}

/// One question and its right answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DnsName {
    /// The fully qualified name.
    pub name: Spanned<String>,
    /// The response code that is right for it.
    #[serde(default)]
    pub expect: Rcode,
}

/// A DNS response code (RFC 1035 §4.1.1) by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Rcode {
    /// The name exists.
    #[default]
    NoError = 0,
    /// The server does not understand the question.
    FormErr = 1,
    /// The server failed.
    ServFail = 2,
    /// The name does not exist.
    NxDomain = 3,
    /// The server does not do this.
    NotImp = 4,
    /// The server does not want to.
    Refused = 5,
}

impl Rcode {
    /// Its number on the wire.
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// When a node counts as failed. The defaults carry the promises; see the documentation before changing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Detection {
    /// How long a quorum must stand before a node is called dark: a paused machine or a short reconvergence pages
    /// nobody.
    pub dark_hold: HumanDuration,
    /// The same for every other pattern, whose evidence arrives more slowly.
    pub pattern_hold: HumanDuration,
    /// Peers reach the node but its reports have not come for this long: they are cut off.
    pub silent_after: HumanDuration,
    /// A node that joined has no vote, and is not judged, for this long.
    pub warm_up: HumanDuration,
    /// How many observers are asked to look at once when one accuses.
    pub confirmers: usize,
    /// Which findings of the diagnosis open incidents, and so page people. All of them are shown.
    pub diagnosis_opens: Opens,
}

impl Default for Detection {
    fn default() -> Self {
        let DarkConfig {
            dark_hold,
            pattern_hold,
            silent_after,
            warm_up,
            confirmers,
            ..
        } = DarkConfig::default();
        Self {
            dark_hold: dark_hold.into(),
            pattern_hold: pattern_hold.into(),
            silent_after: silent_after.into(),
            warm_up: warm_up.into(),
            confirmers,
            diagnosis_opens: Opens::default(),
        }
    }
}

impl Detection {
    /// The detector's settings; what the file does not offer stays at its default.
    pub fn dark_config(&self, report_interval: Duration) -> DarkConfig {
        let Self {
            dark_hold,
            pattern_hold,
            silent_after,
            warm_up,
            confirmers,
            diagnosis_opens: _,
        } = *self;
        DarkConfig {
            dark_hold: dark_hold.duration(),
            pattern_hold: pattern_hold.duration(),
            silent_after: silent_after.duration(),
            warm_up: warm_up.duration(),
            confirmers,
            report_fresh: report_interval * 5 / 2,
            ..DarkConfig::default()
        }
    }
}

/// Where else a report can go.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AggregatorAddressConfig {
    /// Host and port.
    pub address: Spanned<String>,
    /// Over which network it leads.
    pub way: Way,
}

/// The two ways home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// A service or pod address.
    Overlay,
    /// A node's address and node port.
    Underlay,
}
