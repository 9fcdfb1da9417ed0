//! Addresses, limits and TLS of the ports.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use meshprobe_daemon::{
    config::{HumanDuration, Spanned},
    tls::ServerTlsFiles,
};
use serde::{Deserialize, Serialize};

/// Which addresses to serve on. Sockets that the service manager hands in (named `grpc` and `http`) are served too.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Probers and the gRPC API.
    pub grpc: Vec<Spanned<ListenAddress>>,
    /// The JSON API.
    pub http: Vec<Spanned<ListenAddress>>,
    /// Health, readiness, metrics, reload.
    pub admin: ListenAddress,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            grpc: vec![unplaced(ListenAddress::any(4860))],
            http: vec![unplaced(ListenAddress::any(4861))],
            admin: ListenAddress::any(4865),
        }
    }
}

/// A value that stands in no file.
fn unplaced<T>(value: T) -> Spanned<T> {
    use meshprobe_daemon::config::Location;
    Spanned::new(value, Location::UNKNOWN, Location::UNKNOWN)
}

/// An address and port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenAddress(pub SocketAddr);

impl ListenAddress {
    /// Every IPv4 address of this machine.
    pub fn any(port: u16) -> Self {
        Self(SocketAddr::from(([0, 0, 0, 0], port)))
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            format!("bad listen address {text:?}: write an IP literal and a port, for example 0.0.0.0:4860 or \"[::]:4860\"")
        })
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.0.to_string()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct IpLiteral(pub IpAddr);

impl TryFrom<String> for IpLiteral {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            format!("bad address {text:?}: write an IPv4 or IPv6 literal, for example 10.244.1.7 or \"fd00::7\"")
        })
    }
}

impl From<IpLiteral> for String {
    fn from(literal: IpLiteral) -> Self {
        literal.0.to_string()
    }
}

/// An IP literal and a port that somebody else serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(pub SocketAddr);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Ok(Self(address)),
            _ => Err(format!(
                "bad address {text:?}: write an IP literal and a port, for example 10.96.0.10:53 or \"[fd00::a]:53\""
            )),
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.0.to_string()
    }
}

/// How much is accepted from outside. The defaults serve 5,000 probers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections to the gRPC port at once.
    pub grpc_connections: usize,
    /// Connections to the HTTP port at once.
    pub http_connections: usize,
    /// Clients that watch the matrix or the incidents at once.
    pub watchers: usize,
    /// Largest message that is accepted on the gRPC port, bytes.
    pub grpc_message_bytes: usize,
    /// A silent prober connection is asked for a sign of life after this time …
    pub keepalive_interval: HumanDuration,
    /// … and closed when none comes within this one.
    pub keepalive_timeout: HumanDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            grpc_connections: 12_000,
            http_connections: 1_024,
            watchers: 256,
            grpc_message_bytes: 4 << 20,
            keepalive_interval: HumanDuration::from_secs(2),
            keepalive_timeout: HumanDuration::from_secs(3),
        }
    }
}

/// TLS for each port. The files are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsListeners {
    /// The gRPC port.
    pub grpc: Option<ServerTlsFiles>,
    /// The HTTP port.
    pub http: Option<ServerTlsFiles>,
}
