//! The aggregator's configuration file, `/etc/meshprobe/aggregator.yaml`.
//!
//! Three steps, and nothing later has to look again: the shape (unknown keys, types, ranges, addresses: refused by
//! [`meshprobe_daemon::config`] with file, line and column), what only several fields together can get wrong
//! (`check`, all problems at once), and the secrets (`secret`, read from files so that the configuration itself
//! can be shown). `change` says what a reload can take over and what needs a restart.
//!
//! Every field has a default; an empty file is a working aggregator that accepts any prober.

mod certificates;
mod change;
mod check;
mod external;
mod history;
mod intervals;
mod mesh;
mod network;
mod receivers;
mod routing;
mod secret;
mod stamp;
mod targets;
#[cfg(test)]
mod tests;

use std::{num::NonZeroUsize, path::PathBuf};

use meshprobe_daemon::{
    config::{ConfigError, HumanDuration},
    logging::LogConfig,
};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::wall;

pub use certificates::{BundleError, read_bundle};
pub use change::ReloadPlan;
pub use external::{
    Allowed, Ask, Cidr, ExpectedResponse, External, ExternalTarget, HostPort, PortRange,
};
pub use history::HistoryConfig;
pub use intervals::{Interval, KindInterval, Probing, QuicInterval};
pub use mesh::{
    AddressConfig, AggregatorAddressConfig, Detection, DnsName, DnsServer, Membership, Rcode,
    StaticNode, Way, ZoneConfig,
};
pub use network::{Endpoint, IpLiteral, Limits, Listen, ListenAddress, TlsListeners};
pub use receivers::{
    AlertmanagerConfig, RateLimit, ReceiverConfig, ReceiverKind, SlackConfig, SlackLayout,
    TemplateConfig, TemplateMethod, WebhookConfig,
};
pub use routing::{Glob, MatchConfig, Notifications, RouteConfig};
pub use secret::{InlineSecret, Secret, SecretError};
pub use stamp::{Stamp, StampKey, rotation_gap};
pub use targets::{DnsSearch, ServiceConfig};

/// Where the file is unless a flag or `MESHPROBE_CONFIG` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/meshprobe/aggregator.yaml";

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which addresses to serve on.
    pub listen: Listen,
    /// How people reach the HTTP port: the base of every link in a notification. Default: no links.
    pub external_url: Option<Url>,
    /// Where the pages about patterns are: `node-dark` is added to it. Default: this process serves them under
    /// `external_url`.
    pub runbook_url: Option<Url>,
    /// The failure domains. With an empty list any zone name is accepted; otherwise static nodes must use these.
    pub zones: Vec<ZoneConfig>,
    /// Nodes that are known from the start, whether or not their probers ever call.
    pub nodes: Vec<StaticNode>,
    /// Who else may become a node.
    pub membership: Membership,
    /// The DNS servers that every prober asks.
    pub dns: Vec<DnsServer>,
    /// Names that every prober asks as an application would.
    pub dns_search: DnsSearch,
    /// Virtual IPs in front of the responders, which every prober connects to.
    pub services: Vec<ServiceConfig>,
    /// Targets outside the mesh, and the fence around them.
    pub external: External,
    /// What is probed, how often.
    pub probing: Probing,
    /// When a node counts as failed.
    pub detection: Detection,
    /// Authenticated STAMP.
    pub stamp: Stamp,
    /// Where else probers can bring their reports: the other way home, other replicas.
    pub aggregators: Vec<AggregatorAddressConfig>,
    /// Where nodes, incidents and undelivered notifications are kept.
    pub store: StoreConfig,
    /// How much of the past is kept.
    pub history: HistoryConfig,
    /// Who can be told.
    pub receivers: Vec<ReceiverConfig>,
    /// What is told to whom.
    pub notifications: Notifications,
    /// TLS of the gRPC and the HTTP port; without it they speak plain text.
    pub tls: TlsListeners,
    /// How much the aggregator accepts from outside.
    pub limits: Limits,
    /// How it logs.
    pub log: LogConfig,
    /// How long a shutdown may take: streams end, the last changes are written.
    pub drain: Drain,
}

/// The deadline of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// After this, what has not ended is cut off.
    pub deadline: HumanDuration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            deadline: HumanDuration::from_secs(10),
        }
    }
}

/// The embedded database.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The database file; `-wal` and `-shm` files appear beside it. Its folder must exist.
    pub path: PathBuf,
    /// Changes that are kept in memory while the file cannot be written. Beyond it the oldest are given up, and counted.
    pub backlog: NonZeroUsize,
    /// Resolved incidents and delivered notifications are deleted after this time.
    pub keep_resolved: HumanDuration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/var/lib/meshprobe/aggregator.db"),
            backlog: NonZeroUsize::new(100_000).unwrap_or(NonZeroUsize::MIN),
            keep_resolved: HumanDuration::from_secs(90 * 86_400),
        }
    }
}

impl Config {
    /// Reads the file and checks it, the files that it names included.
    pub fn load(path: &std::path::Path) -> Result<Self, ConfigError> {
        let config: Self = meshprobe_daemon::config::load(path)?;
        config.check(wall::now()).into_result(path)?;
        Ok(config)
    }

    /// The whole configuration as YAML with every default written out. Secrets are in files of their own and are not
    /// part of it.
    pub fn dump(&self) -> Result<String, serde_saphyr::ser::Error> {
        serde_saphyr::to_string(self)
    }
}
