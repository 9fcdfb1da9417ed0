//! Targets outside the mesh, and the fence around them.
//!
//! The fence is written by whoever answers for the traffic: networks and ports that may be probed, nothing else. A
//! literal address outside of it is refused when the file is read. A name may lead anywhere at any time, so the prober
//! compares what it resolves with a fence of its own.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use ipnet::IpNet;
use meshprobe_core::path::{Family, ProbeKind};
use meshprobe_daemon::config::Spanned;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Targets outside the mesh that every prober probes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct External {
    /// Where targets may lie. Nothing is allowed that is not in it.
    pub allow: Vec<Allowed>,
    /// What is probed.
    pub targets: Vec<ExternalTarget>,
}

/// A network and its ports that may be probed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// The network.
    pub cidr: Cidr,
    /// Its ports; empty: all.
    #[serde(default)]
    pub ports: Vec<PortRange>,
}

impl Allowed {
    fn has_port(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|range| range.contains(port))
    }
}

/// A target outside the mesh. Exactly one of `tcp`, `tls` and `url` is given.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalTarget {
    /// Its name for people.
    pub name: Spanned<String>,
    /// It accepts connections here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Spanned<HostPort>>,
    /// It does a TLS handshake here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Spanned<HostPort>>,
    /// It answers a request here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Spanned<Url>>,
    /// The name that its certificate must have; left out: the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Spanned<String>>,
    /// The response that is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Spanned<ExpectedResponse>>,
    /// Redirects that are followed; left out: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirects: Option<Spanned<u32>>,
    /// The address family to reach it by; left out: that of a literal address, else v4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Spanned<Family>>,
    /// Certificates that its chain may end at, PEM, beside the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<Spanned<PathBuf>>,
}

/// What a healthy target answers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedResponse {
    /// Statuses that are right; empty: 200 to 399.
    pub status: Vec<Spanned<u32>>,
    /// What the first 64 KiB of the body must contain; empty: anything.
    pub body: String,
}

/// How a target is probed, out of the field that is given.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// A connection.
    Tcp(&'a Spanned<HostPort>),
    /// A TLS handshake.
    Tls(&'a Spanned<HostPort>),
    /// A request.
    Http(&'a Spanned<Url>),
}

impl Ask<'_> {
    /// By which kind of probe.
    pub const fn kind(self) -> ProbeKind {
        match self {
            Self::Tcp(_) => ProbeKind::TcpConnect,
            Self::Tls(_) => ProbeKind::Tls,
            Self::Http(_) => ProbeKind::Http,
        }
    }

    /// Host and port; `None`: a URL without them.
    pub fn end(self) -> Option<HostPort> {
        match self {
            Self::Tcp(end) | Self::Tls(end) => Some(end.value.clone()),
            Self::Http(url) => Some(HostPort {
                host: url.value.host()?.to_owned(),
                port: url.value.port_or_known_default()?,
            }),
        }
    }
}

impl ExternalTarget {
    /// What is asked of it; `None`: nothing, or more than one thing.
    pub fn ask(&self) -> Option<Ask<'_>> {
        match (&self.tcp, &self.tls, &self.url) {
            (Some(end), None, None) => Some(Ask::Tcp(end)),
            (None, Some(end), None) => Some(Ask::Tls(end)),
            (None, None, Some(url)) => Some(Ask::Http(url)),
            _ => None,
        }
    }

    /// The address family that it is reached by.
    pub fn family(&self) -> Family {
        let literal = self.ask().and_then(Ask::end).and_then(|end| end.ip());
        match &self.family {
            Some(family) => family.value,
            None => literal.map_or(Family::V4, Family::of),
        }
    }
}

impl External {
    /// Whether the fence keeps `end` out; then the reason, and what to write.
    pub fn fence(&self, end: &HostPort) -> Result<(), String> {
        let port = end.port;
        let Some(ip) = end.ip() else {
            // The name's addresses are the prober's business; the port is known here.
            if self.allow.iter().any(|allowed| allowed.has_port(port)) {
                return Ok(());
            }
            return Err(format!(
                "{end} is outside the fence: no entry of external.allow has port {port}; write for example \
                 {{cidr: 192.0.2.0/24, ports: [{port}]}} with the network that {} lies in",
                end.host
            ));
        };
        let has = |allowed: &&Allowed| allowed.cidr.0.contains(&ip) && allowed.has_port(port);
        if self.allow.iter().any(|allowed| has(&allowed)) {
            return Ok(());
        }
        Err(format!(
            "{end} is outside the fence: no entry of external.allow has it; if it may be probed, write {{cidr: {}, \
             ports: [{port}]}} there",
            IpNet::from(ip)
        ))
    }
}

/// A host, by name or address literal, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    host: Host,
    port: u16,
}

impl HostPort {
    /// The address, if it is a literal.
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Domain(_) => None,
            Host::Ipv4(ip) => Some((*ip).into()),
            Host::Ipv6(ip) => Some((*ip).into()),
        }
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.rsplit_once(':').and_then(|(host, port)| {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            let host = Host::parse(host).ok()?;
            Some(Self { host, port })
        });
        parsed.ok_or_else(|| {
            format!(
                "bad target {text:?}: write a host and a port, for example db.example.com:5432 or \"[2001:db8::1]:443\""
            )
        })
    }
}

impl TryFrom<String> for HostPort {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HostPort> for String {
    fn from(end: HostPort) -> Self {
        end.to_string()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A network by its first address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr(pub IpNet);

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let net: IpNet = text.parse().map_err(|_| {
            format!("bad network {text:?}: write an address and a prefix length, for example 192.0.2.0/24 or \"2001:db8::/32\"")
        })?;
        if net.trunc() != net {
            // A fence around something else than what was meant is worse than none.
            return Err(format!(
                "bad network {text:?}: {} is an address inside of it; write {}, or {} for that address alone",
                net.addr(),
                net.trunc(),
                IpNet::from(net.addr())
            ));
        }
        Ok(Self(net))
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.0.to_string()
    }
}

/// A port, or a range of them with both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Is it one of them?
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!(
                "bad port {text:?}: write a port or a range, for example 443 or 8000-8100"
            )),
        }
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        if range.first == range.last {
            range.first.to_string()
        } else {
            format!("{}-{}", range.first, range.last)
        }
    }
}
