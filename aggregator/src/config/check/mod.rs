//! What only several fields together, or the files that they name, can get wrong. Everything is said at once.

mod external;
mod receivers;
mod stamp;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use meshprobe_core::path::ProbeKind;
use meshprobe_daemon::{
    config::{ConfigProblems, HumanDuration, Spanned},
    tls::ServerTls,
};

use super::{Config, KindInterval, Secret};

/// Faster probing is a load test.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// A slower kind would have no verdict worth the name.
const MAX_INTERVAL: Duration = Duration::from_secs(3_600);
/// Authenticated STAMP and signed webhooks accept two secrets while one replaces the other.
const MAX_SECRETS: usize = 2;
/// Probers wait no longer for any answer.
const MAX_TIMEOUT: HumanDuration = HumanDuration::from_secs(30);
/// Each of them is a long-lived connection of every prober.
const MAX_QUIC_SAMPLE: u16 = 64;
/// More targets of these kinds no prober takes.
const MAX_SEARCH_NAMES: usize = 64;
const MAX_SERVICES: usize = 256;
/// Session identifiers have 16 bits and zero is none.
const MAX_NODES: u32 = 65_535;

impl Config {
    /// Everything that is wrong, at `now`, with a configuration of the right shape.
    pub fn check(&self, now: Timestamp) -> ConfigProblems {
        let mut problems = ConfigProblems::new();
        self.check_listeners(&mut problems);
        self.check_nodes(&mut problems);
        self.check_dns(&mut problems);
        self.check_dns_search(&mut problems);
        self.check_services(&mut problems);
        external::check(&self.external, &mut problems);
        self.check_intervals(&mut problems);
        receivers::check(self, &mut problems);
        self.history.check(&self.store.path, &mut problems);
        stamp::check(&self.stamp, now, &mut problems);
        for (index, other) in self.aggregators.iter().enumerate() {
            if !is_host_and_port(&other.address.value) {
                problems.add_at(
                    &other.address,
                    format!("aggregators[{index}].address"),
                    format!(
                        "bad address {:?}: write host:port, for example 192.0.2.10:30860",
                        other.address.value
                    ),
                );
            }
        }
        for (port, files) in [("grpc", &self.tls.grpc), ("http", &self.tls.http)] {
            // As it will be done at the start, so that a key that does not fit its certificate is found here.
            if let Some(files) = files
                && let Err(error) = ServerTls::load(files.clone(), &[])
            {
                problems.add(format!("tls.{port}"), error.to_string());
            }
        }
        problems
    }

    fn check_listeners(&self, problems: &mut ConfigProblems) {
        let mut taken = HashMap::new();
        taken.insert(self.listen.admin, "listen.admin".to_owned());
        for (list, addresses) in [
            ("listen.grpc", &self.listen.grpc),
            ("listen.http", &self.listen.http),
        ] {
            for (index, address) in addresses.iter().enumerate() {
                let field = format!("{list}[{index}]");
                // Port 0 asks for any free port, so two of them do not collide.
                if address.value.0.port() == 0 {
                    continue;
                }
                if let Some(other) = taken.insert(address.value, field.clone()) {
                    problems.add_at(
                        address,
                        field,
                        format!("{} is taken by {other}; write another port", address.value),
                    );
                }
            }
        }
        let limits = &self.limits;
        problems.require(
            limits.grpc_connections > 0,
            "limits.grpc_connections",
            || "must be at least 1".into(),
        );
        problems.require(
            limits.http_connections > 0,
            "limits.http_connections",
            || "must be at least 1".into(),
        );
        problems.require(
            limits.grpc_message_bytes >= 65_536,
            "limits.grpc_message_bytes",
            || {
                format!(
                    "must be at least 65536 (a report of a large mesh), is {}",
                    limits.grpc_message_bytes
                )
            },
        );
    }

    fn check_nodes(&self, problems: &mut ConfigProblems) {
        unique(
            problems,
            "zones",
            "zone",
            self.zones.iter().map(|zone| &zone.name),
        );
        unique(
            problems,
            "nodes",
            "node",
            self.nodes.iter().map(|node| &node.name),
        );
        let zones: HashSet<&str> = self
            .zones
            .iter()
            .map(|zone| zone.name.value.as_str())
            .collect();
        let mut owners = HashMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if let Some(zone) = &node.zone
                && !zones.is_empty()
                && !zones.contains(zone.value.as_str())
            {
                let mut known: Vec<&str> = zones.iter().copied().collect();
                known.sort_unstable();
                problems.add_at(
                    zone,
                    format!("nodes[{index}].zone"),
                    format!(
                        "unknown zone {:?}; `zones` has {}",
                        zone.value,
                        known.join(", ")
                    ),
                );
            }
            for (position, address) in node.addresses.iter().enumerate() {
                let field = format!("nodes[{index}].addresses[{position}]");
                if address.ip.0.is_unspecified() || address.ip.0.is_multicast() {
                    problems.add(
                        &field,
                        format!("{} is no address of one node", address.ip.0),
                    );
                }
                let key = (address.plane, address.ip.0, address.udp_port);
                if let Some(owner) = owners.insert(key, &node.name.value)
                    && owner != &node.name.value
                {
                    problems.add(
                        &field,
                        format!(
                            "{} on the {} plane belongs to {owner} already",
                            address.ip.0, address.plane
                        ),
                    );
                }
            }
        }
        let max = self.membership.max_nodes;
        problems.require(
            (1..=MAX_NODES).contains(&max),
            "membership.max_nodes",
            || format!("must be 1 to {MAX_NODES}, is {max}"),
        );
        problems.require(self.nodes.len() <= max as usize, "nodes", || {
            format!(
                "{} nodes are listed and membership.max_nodes is {max}; raise it",
                self.nodes.len()
            )
        });
        problems.require(self.membership.self_registration || !self.nodes.is_empty(), "nodes", || {
            "no node is listed and membership.self_registration is false: nobody could ever join".into()
        });
    }

    fn check_dns(&self, problems: &mut ConfigProblems) {
        unique(
            problems,
            "dns",
            "DNS server",
            self.dns.iter().map(|server| &server.server),
        );
        for (index, server) in self.dns.iter().enumerate() {
            if server.names.is_empty() {
                problems.add(
                    format!("dns[{index}].names"),
                    "write at least one name to ask for",
                );
            }
            for (position, name) in server.names.iter().enumerate() {
                if !is_domain_name(&name.name.value) {
                    problems.add_at(
                        &name.name,
                        format!("dns[{index}].names[{position}].name"),
                        format!("{:?} is no domain name; write for example kubernetes.default.svc.cluster.local.", name.name.value),
                    );
                }
            }
        }
    }

    fn check_dns_search(&self, problems: &mut ConfigProblems) {
        let names = &self.dns_search.names;
        unique(problems, "dns_search.names", "name", names.iter());
        at_most_entries(problems, "dns_search.names", names.len(), MAX_SEARCH_NAMES);
        for (index, name) in names.iter().enumerate() {
            if !is_domain_name(&name.value) {
                problems.add_at(
                    name,
                    format!("dns_search.names[{index}]"),
                    format!(
                        "{:?} is no domain name; write it as an application would, for example kubernetes.default",
                        name.value
                    ),
                );
            }
        }
    }

    fn check_services(&self, problems: &mut ConfigProblems) {
        unique(
            problems,
            "services",
            "service",
            self.services.iter().map(|service| &service.name),
        );
        at_most_entries(problems, "services", self.services.len(), MAX_SERVICES);
        for (index, service) in self.services.iter().enumerate() {
            label(problems, &service.name, &format!("services[{index}].name"));
        }
    }

    fn check_intervals(&self, problems: &mut ConfigProblems) {
        for (kind, KindInterval { interval, timeout }) in self.probing.kinds() {
            let Some(duration) = interval.duration() else {
                continue;
            };
            let field = format!("probing.{}", kind.to_string().replace('-', "_"));
            problems.require(
                (MIN_INTERVAL..=MAX_INTERVAL).contains(&duration),
                &format!("{field}.interval"),
                || format!("must be off, or 50ms to 1h, is {interval}"),
            );
            problems.require(
                !timeout.duration().is_zero(),
                &format!("{field}.timeout"),
                || "must not be 0".into(),
            );
            at_most(problems, &format!("{field}.timeout"), timeout, MAX_TIMEOUT);
            if kind == ProbeKind::Quic {
                let sample = self.probing.quic.sample;
                problems.require(
                    (1..=MAX_QUIC_SAMPLE).contains(&sample),
                    "probing.quic.sample",
                    || format!("must be 1 to {MAX_QUIC_SAMPLE}, is {sample}; to send none write quic: off"),
                );
            }
        }
        let report = self.probing.report_interval;
        problems.require(
            (Duration::from_millis(200)..=Duration::from_secs(60)).contains(&report.duration()),
            "probing.report_interval",
            || format!("must be 200ms to 1m, is {report}"),
        );
        let detection = &self.detection;
        at_most(
            problems,
            "detection.dark_hold",
            detection.dark_hold,
            HumanDuration::from_secs(600),
        );
        at_most(
            problems,
            "detection.pattern_hold",
            detection.pattern_hold,
            HumanDuration::from_secs(600),
        );
        at_most(
            problems,
            "detection.warm_up",
            detection.warm_up,
            HumanDuration::from_secs(3600),
        );
        let limits = &self.limits;
        problems.require(
            !limits.keepalive_interval.duration().is_zero(),
            "limits.keepalive_interval",
            || "must not be 0".into(),
        );
        problems.require(
            !limits.keepalive_timeout.duration().is_zero(),
            "limits.keepalive_timeout",
            || "must not be 0".into(),
        );
        problems.require(
            detection.silent_after.duration()
                >= limits.keepalive_interval.duration() + limits.keepalive_timeout.duration(),
            "detection.silent_after",
            || {
                format!(
                    "must not be shorter than limits.keepalive_interval + limits.keepalive_timeout ({} + {}), which is how \
                     long a dead connection goes unnoticed; is {}",
                    limits.keepalive_interval, limits.keepalive_timeout, detection.silent_after
                )
            },
        );
    }
}

fn unique<'a, T>(
    problems: &mut ConfigProblems,
    list: &str,
    what: &str,
    names: impl Iterator<Item = &'a Spanned<T>>,
) where
    T: std::fmt::Display + Eq + std::hash::Hash + 'a,
{
    let mut seen = HashMap::new();
    for (index, name) in names.enumerate() {
        if let Some(first) = seen.insert(&name.value, index) {
            problems.add_at(
                name,
                format!("{list}[{index}]"),
                format!("{what} {} is there already ({list}[{first}]); names are unique, remove or rename one", name.value),
            );
        }
    }
}

fn at_most(problems: &mut ConfigProblems, field: &str, value: HumanDuration, most: HumanDuration) {
    problems.require(value <= most, field, || {
        format!("must be at most {most}, is {value}")
    });
}

fn secrets(problems: &mut ConfigProblems, field: &str, files: &[std::path::PathBuf]) {
    problems.require(files.len() <= MAX_SECRETS, field, || {
        format!("at most {MAX_SECRETS} files: the newer secret and the one that it replaces; there are {}", files.len())
    });
    for (index, path) in files.iter().enumerate() {
        if let Err(error) = Secret::read(path) {
            problems.add(format!("{field}[{index}]"), with_source(&error));
        }
    }
}

fn at_most_entries(problems: &mut ConfigProblems, list: &str, entries: usize, most: usize) {
    problems.require(entries <= most, list, || {
        format!("at most {most} are probed; there are {entries}")
    });
}

/// A name for people, as the columns of a matrix and the command line have them.
fn label(problems: &mut ConfigProblems, name: &Spanned<String>, field: &str) {
    let text = &name.value;
    if text.is_empty() || text.len() > 253 || text.chars().any(char::is_control) {
        problems.add_at(name, field, "write a name of 1 to 253 printable characters");
    }
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn is_host_and_port(text: &str) -> bool {
    if text
        .parse::<std::net::SocketAddr>()
        .is_ok_and(|address| address.port() != 0)
    {
        return true;
    }
    text.rsplit_once(':').is_some_and(|(host, port)| {
        is_domain_name(host) && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

/// RFC 1035 names with the underscore that service names have.
fn is_domain_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}
