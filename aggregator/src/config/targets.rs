//! Targets inside the cluster that are no nodes: names as applications ask them, virtual IPs.

use meshprobe_daemon::config::Spanned;
use serde::{Deserialize, Serialize};

use super::Endpoint;

/// Names that every prober asks as an application on its node would.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsSearch {
    /// As an application writes them: the search list of the node's resolv.conf is applied.
    pub names: Vec<Spanned<String>>,
}

/// A virtual IP in front of the responders.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// Its name for people.
    pub name: Spanned<String>,
    /// IP literal and port.
    pub address: Endpoint,
}
