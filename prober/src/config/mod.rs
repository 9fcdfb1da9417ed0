//! The prober's configuration: a YAML file, overridden by flags and environment, checked as a whole.
//!
//! [`Settings`] is what is written; [`Config`] is what it means. A loaded [`Config`] can be run as it is.

pub mod args;
pub mod settings;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use meshprobe_core::ids::NodeName;
use meshprobe_core::path::Plane;
use meshprobe_daemon::config::{ConfigError, ConfigProblems};
use meshprobe_daemon::exit::Failure;
use meshprobe_daemon::logging::LogConfig;
use meshprobe_proto::v1;

use crate::assignment::{self, AggregatorAddress, TargetSet};
use crate::external::fence::{Fence, MAX_RULES};
use crate::external::probe::literals_outside;
use crate::external::trust::Trust;
use crate::quic::config::DEFAULT_QUIC_PORT;
use crate::reporter::way::TlsFiles;
use crate::spool::Way;
pub use settings::{
    AggregatorEntry, AggregatorSettings, AssignmentSettings, DnsSettings, ExternalSettings,
    ListenSettings, NodeSettings, ResponderSettings, Settings, SpoolSettings, TlsSettings,
    WaySetting,
};

/// Port of the STAMP and of the echo responder.
pub const DEFAULT_PORT: u16 = 4862;

/// Admin port.
pub const DEFAULT_ADMIN_PORT: u16 = 4864;

/// Memory for reports that are not acknowledged.
pub const DEFAULT_SPOOL_BYTES: usize = 4 << 20;

/// Less would merge the first windows of a small mesh.
const MIN_SPOOL_BYTES: usize = 64 << 10;

/// What applications ask by.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Labels of a node that are told.
const MAX_LABELS: usize = 64;

/// What the settings mean.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this prober is.
    pub node: NodeName,
    /// In which plane.
    pub plane: Plane,
    /// Failure domain.
    pub zone: String,
    /// Larger failure domain.
    pub region: String,
    /// Labels of the node.
    pub labels: BTreeMap<String, String>,
    /// Where the responders listen.
    pub listen: Vec<IpAddr>,
    /// Their port.
    pub port: u16,
    /// Where the admin port listens.
    pub admin: SocketAddr,
    /// UDP port of the QUIC responder; `None`: none.
    pub quic_port: Option<u16>,
    /// Where peers can probe this node.
    pub addresses: Vec<v1::Address>,
    /// The aggregators.
    pub aggregators: Vec<AggregatorAddress>,
    /// TLS towards them.
    pub tls: Option<TlsFiles>,
    /// The assignment file.
    pub assignment_file: Option<PathBuf>,
    /// Also answer who is not assigned.
    pub open_responder: bool,
    /// Do not tell peers who answers.
    pub anonymous_responder: bool,
    /// The resolver's configuration.
    pub resolv_conf: PathBuf,
    /// Targets outside the mesh.
    pub external: ExternalSettings,
    /// Memory of the spool.
    pub spool_bytes: usize,
    /// The log.
    pub log: LogConfig,
}

impl Config {
    /// Checks the settings as a whole; `path` is what errors call them, `hostname` the default for the node's name.
    pub fn from_settings(
        settings: Settings,
        path: &Path,
        hostname: &str,
    ) -> Result<Self, ConfigError> {
        let mut problems = ConfigProblems::new();
        let plane = settings.plane.unwrap_or(Plane::Pod);
        problems.require(plane != Plane::Service, "plane", || {
            "a prober runs in the plane pod or host".to_owned()
        });
        problems.require(
            settings.node.labels.len() <= MAX_LABELS,
            "node.labels",
            || format!("at most {MAX_LABELS} labels are told"),
        );
        let node = node_name(&settings.node, hostname, &mut problems);
        let port = settings.listen.port.unwrap_or(DEFAULT_PORT);
        let mut listen: Vec<IpAddr> = settings
            .listen
            .addresses
            .iter()
            .map(|ip| ip.value)
            .collect();
        for (i, ip) in settings.listen.addresses.iter().enumerate() {
            if listen[..i]
                .iter()
                .any(|other| other.is_ipv4() == ip.value.is_ipv4())
            {
                let field = format!("listen.addresses[{i}]");
                problems.add_at(
                    ip,
                    field,
                    "there is an address of this family already; write at most one of each",
                );
            }
        }
        if listen.is_empty() {
            listen.push(Ipv4Addr::UNSPECIFIED.into());
        }
        let quic_port = settings.listen.quic_port.unwrap_or(DEFAULT_QUIC_PORT);
        problems.require(
            quic_port == 0 || quic_port != port,
            "listen.quic_port",
            || format!("the STAMP responder has port {port}; write another one, or 0 for no QUIC"),
        );
        let addresses = advertised(&settings, plane, &listen, port, quic_port);
        let aggregators = aggregators(&settings.aggregator, &mut problems);
        let has_file = settings.assignment.file.is_some();
        problems.require(
            has_file || !aggregators.is_empty(),
            "aggregator.addresses",
            || {
                "nobody says whom to probe; write the aggregator's host:port, or an assignment.file"
                    .to_owned()
            },
        );
        problems.require(aggregators.is_empty() || !addresses.is_empty(), "listen.addresses", || {
            "peers need an address of this prober; write one (in Kubernetes set POD_IP), or listen.advertise".to_owned()
        });
        let tls = settings
            .aggregator
            .tls
            .as_ref()
            .and_then(|tls| tls_files(tls, &mut problems));
        let spool_bytes = settings.spool.limit_bytes.unwrap_or(DEFAULT_SPOOL_BYTES);
        problems.require(spool_bytes >= MIN_SPOOL_BYTES, "spool.limit_bytes", || {
            format!("must be at least {MIN_SPOOL_BYTES}, is {spool_bytes}")
        });
        for (field, rules) in [
            ("external.allow", &settings.external.allow),
            ("external.deny", &settings.external.deny),
        ] {
            problems.require(rules.len() <= MAX_RULES, field, || {
                format!("at most {MAX_RULES} entries are taken")
            });
        }
        problems.into_result(path)?;
        Ok(Self {
            node,
            plane,
            zone: settings.node.zone,
            region: settings.node.region,
            labels: settings.node.labels,
            admin: settings
                .listen
                .admin
                .unwrap_or(SocketAddr::new(listen[0], DEFAULT_ADMIN_PORT)),
            listen,
            port,
            quic_port: (quic_port != 0).then_some(quic_port),
            addresses,
            aggregators,
            tls,
            assignment_file: settings.assignment.file,
            open_responder: settings.responder.open,
            anonymous_responder: settings.responder.anonymous,
            resolv_conf: settings
                .dns
                .resolv_conf
                .unwrap_or_else(|| PathBuf::from(RESOLV_CONF)),
            external: settings.external,
            spool_bytes,
            log: settings.log,
        })
    }
}

impl Config {
    /// Checks what only other files can tell: the assignment and the authorities.
    pub fn check(&self) -> Result<(), Failure> {
        Trust::load(self.external.ca.clone()).map_err(Failure::config)?;
        self.first_assignment().map(|_| ())
    }

    /// What the assignment file says, if there is one. A target outside the mesh whose address is outside the fence is
    /// refused here; where only its name is known, its probes are.
    pub fn first_assignment(&self) -> Result<Option<TargetSet>, Failure> {
        let Some(path) = &self.assignment_file else {
            return Ok(None);
        };
        let set = assignment::file::load(path, &self.node).map_err(Failure::config)?;
        let mut problems = ConfigProblems::new();
        for problem in literals_outside(&self.fence(), &set.external) {
            problems.add("external", problem);
        }
        problems.into_result(path).map_err(Failure::config)?;
        Ok(Some(set))
    }

    /// Which addresses outside the mesh may be connected to.
    pub fn fence(&self) -> Fence {
        let ports = [self.port, self.admin.port()];
        let own = self
            .listen
            .iter()
            .flat_map(|ip| ports.map(|port| SocketAddr::new(*ip, port)))
            .chain([self.admin])
            .collect();
        let ExternalSettings { allow, deny, ca: _ } = self.external.clone();
        Fence::new(allow, deny, own)
    }

    /// Does another configuration change what is fixed at the start?
    pub fn needs_restart(&self, next: &Self) -> bool {
        let Self {
            node,
            plane,
            zone,
            region,
            labels,
            listen,
            port,
            quic_port,
            admin,
            addresses,
            aggregators: _,
            tls,
            assignment_file: _,
            open_responder,
            anonymous_responder,
            resolv_conf,
            external,
            spool_bytes,
            log,
        } = self;
        *node != next.node
            || *plane != next.plane
            || *zone != next.zone
            || *region != next.region
            || *labels != next.labels
            || *listen != next.listen
            || *port != next.port
            || *quic_port != next.quic_port
            || *admin != next.admin
            || *addresses != next.addresses
            || *tls != next.tls
            || *open_responder != next.open_responder
            || *anonymous_responder != next.anonymous_responder
            || *resolv_conf != next.resolv_conf
            || *external != next.external
            || *spool_bytes != next.spool_bytes
            || log.format != next.log.format
    }
}

/// A name that is refused is replaced by one that the check never lets out.
fn node_name(settings: &NodeSettings, hostname: &str, problems: &mut ConfigProblems) -> NodeName {
    let (text, place) = match &settings.name {
        Some(name) => (name.value.clone(), Some(name)),
        None => (hostname.to_ascii_lowercase(), None),
    };
    let refused = match NodeName::try_from(text) {
        Ok(name) => return name,
        Err(error) => error.to_string(),
    };
    match place {
        Some(name) => problems.add_at(name, "node.name", refused),
        None => problems.add(
            "node.name",
            format!("the host's name will not do ({refused}); write one"),
        ),
    }
    #[expect(clippy::unwrap_used, reason = "a constant that is a node name")]
    NodeName::try_from("refused").unwrap()
}

fn advertised(
    settings: &Settings,
    plane: Plane,
    listen: &[IpAddr],
    port: u16,
    quic_port: u16,
) -> Vec<v1::Address> {
    let own = if settings.listen.advertise.is_empty() {
        listen
    } else {
        &settings.listen.advertise
    };
    let mut addresses: Vec<v1::Address> = own
        .iter()
        .filter(|ip| !ip.is_unspecified())
        .map(|ip| v1::Address {
            plane: v1::Plane::from(plane).into(),
            ip: ip.to_string(),
            udp_port: port.into(),
            tcp_port: port.into(),
            quic_port: quic_port.into(),
        })
        .collect();
    if plane == Plane::Pod
        && let Some(ip) = settings.node.host_ip
    {
        addresses.push(v1::Address {
            plane: v1::Plane::Host.into(),
            ip: ip.to_string(),
            // Nobody has to listen there: a reset proves the way too.
            udp_port: 0,
            tcp_port: port.into(),
            quic_port: 0,
        });
    }
    addresses
}

fn aggregators(
    settings: &AggregatorSettings,
    problems: &mut ConfigProblems,
) -> Vec<AggregatorAddress> {
    for (i, entry) in settings.addresses.iter().enumerate() {
        let text = &entry.address.value;
        let port = text
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) || text.contains(['/', ' ']) {
            let field = format!("aggregator.addresses[{i}].address");
            problems.add_at(
                &entry.address,
                field,
                format!("{text:?} is not host:port; write for example meshprobe:4860"),
            );
        }
    }
    settings
        .addresses
        .iter()
        .map(|entry| AggregatorAddress {
            way: match entry.way {
                WaySetting::Overlay => Way::Overlay,
                WaySetting::Underlay => Way::Underlay,
            },
            address: entry.address.value.clone(),
        })
        .collect()
}

fn tls_files(settings: &TlsSettings, problems: &mut ConfigProblems) -> Option<TlsFiles> {
    let identity = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        _ => {
            problems.add(
                "aggregator.tls",
                "certificate and key belong together; write both or none",
            );
            return None;
        }
    };
    Some(TlsFiles {
        ca: settings.ca.clone(),
        identity,
        server_name: settings.server_name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use meshprobe_daemon::config::parse;

    use super::*;

    fn config(text: &str) -> Result<Config, ConfigError> {
        let path = Path::new("prober.yaml");
        Config::from_settings(parse(text, path)?, path, "Node-7.example")
    }

    const GOOD: &str = "\
listen: {addresses: [10.0.0.5]}
node: {host_ip: 192.168.0.5}
aggregator:
  addresses:
    - address: meshprobe:4860
    - {address: '192.168.0.1:30860', way: underlay}
";

    #[test]
    fn a_short_file_is_enough() {
        let config = config(GOOD).unwrap();
        assert_eq!(config.node.as_str(), "node-7.example");
        assert_eq!(config.admin, "10.0.0.5:4864".parse().unwrap());
        let ways: Vec<_> = config.aggregators.iter().map(|a| a.way).collect();
        assert_eq!(ways, [Way::Overlay, Way::Underlay]);
        let planes: Vec<_> = config
            .addresses
            .iter()
            .map(|a| (a.plane(), a.udp_port, a.tcp_port))
            .collect();
        assert_eq!(
            planes,
            [(v1::Plane::Pod, 4862, 4862), (v1::Plane::Host, 0, 4862)]
        );
    }

    #[test]
    fn the_example_files_are_what_they_should_be() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
        let path = examples.join("prober.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        let config = config(&text).unwrap();
        assert_eq!(config.node.as_str(), "db-1.example.com");
        assert_eq!(config.aggregators.len(), 1);

        let assignment = examples.join("assignment.yaml");
        let targets = assignment::file::load(&assignment, &config.node).unwrap();
        assert_eq!(targets.peers.len(), 1);
        assert_eq!(targets.dns.len(), 1);
        assert_eq!(targets.external.len(), 3);
        assert_eq!(targets.services.len() + targets.search.len(), 2);
        let outside = literals_outside(&config.fence(), &targets.external);
        assert!(outside.is_empty(), "{outside:?}");
    }

    #[test]
    fn a_literal_outside_the_fence_is_refused_at_load() {
        let path = std::env::temp_dir().join(format!("meshprobe-fence-{}", std::process::id()));
        let text = "nodes:\n  - {name: node-7.example, ssid: 1, addresses: []}\n\
                    external:\n  - {name: lure, tcp: '169.254.169.254:80'}\n  - {name: named, tcp: 'localhost:80'}\n";
        std::fs::write(&path, text).unwrap();
        let config = config(&format!("assignment: {{file: '{}'}}", path.display())).unwrap();
        let error = config.check().unwrap_err().to_string();
        assert!(
            error.contains("lure: 169.254.169.254:80: it is a link-local address"),
            "{error}"
        );
        assert!(!error.contains("named"), "{error}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let error = config("listen:\n  addresses: [10.0.0.5]\n  prot: 1\n")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("prober.yaml:3:3"), "{error}");
        assert!(error.contains("port"), "{error}");
    }

    #[test]
    fn all_contradictions_are_told_at_once() {
        let error = config(
            "node: {name: Big Node}\nlisten: {addresses: [10.0.0.5, 10.0.0.6]}\naggregator: {addresses: [{address: meshprobe}]}\nspool: {limit_bytes: 10}\n",
        )
        .unwrap_err()
        .to_string();
        for expected in [
            "node.name",
            "listen.addresses[1]",
            "\"meshprobe\" is not host:port",
            "spool.limit_bytes",
            "4 problems",
        ] {
            assert!(error.contains(expected), "{expected} is missing in {error}");
        }
    }

    #[test]
    fn somebody_has_to_say_whom_to_probe_and_where_this_prober_is() {
        let error = config("{}").unwrap_err().to_string();
        assert!(error.contains("nobody says whom to probe"), "{error}");
        let error = config("aggregator: {addresses: [{address: 'a:1'}]}")
            .unwrap_err()
            .to_string();
        assert!(error.contains("set POD_IP"), "{error}");
        assert!(config("assignment: {file: mesh.yaml}").is_ok());
    }
}
