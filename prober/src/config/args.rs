//! Flags and environment of the prober. A flag beats the environment, that beats the file.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Parser;
use meshprobe_core::path::Plane;
use meshprobe_daemon::config::{self, ConfigError, Spanned};
use meshprobe_daemon::exit::Failure;
use meshprobe_daemon::logging::LogLevel;

use super::{AggregatorEntry, Config, Settings, WaySetting};
use crate::external::proxy::ProxyVariables;

/// Where the file is looked for if nobody says where.
const DEFAULT_FILE: &str = "/etc/meshprobe/prober.yaml";

/// Probes every other node, the DNS servers and whatever else it is assigned, answers their probes, and reports what
/// it saw to the aggregator.
#[derive(Clone, Debug, Parser)]
#[command(name = "meshprobe-prober", version)]
pub struct Args {
    /// The configuration file; default /etc/meshprobe/prober.yaml if it is there
    #[arg(long, env = "MESHPROBE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long)]
    pub check_config: bool,
    /// Print the configuration with all overrides and exit
    #[arg(long)]
    pub dump_config: bool,
    /// Name of this node; also `NODE_NAME`
    #[arg(long, env = "MESHPROBE_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Failure domain of this node
    #[arg(long, env = "MESHPROBE_ZONE")]
    pub zone: Option<String>,
    /// Larger failure domain of this node
    #[arg(long, env = "MESHPROBE_REGION")]
    pub region: Option<String>,
    /// Plane that this prober runs in: pod or host
    #[arg(long, env = "MESHPROBE_PLANE", value_parser = plane)]
    pub plane: Option<Plane>,
    /// Own addresses; also `POD_IPS` or `POD_IP`
    #[arg(
        long,
        env = "MESHPROBE_LISTEN_ADDRESSES",
        value_delimiter = ',',
        value_name = "IP"
    )]
    pub listen_addresses: Vec<IpAddr>,
    /// UDP and TCP port of the responders
    #[arg(long, env = "MESHPROBE_PORT")]
    pub port: Option<u16>,
    /// Where the admin port listens
    #[arg(long, env = "MESHPROBE_ADMIN", value_name = "IP:PORT")]
    pub admin: Option<SocketAddr>,
    /// The node's own address; also `HOST_IP`
    #[arg(long, env = "MESHPROBE_HOST_IP", value_name = "IP")]
    pub host_ip: Option<IpAddr>,
    /// Addresses of the aggregator by the overlay
    #[arg(
        long,
        env = "MESHPROBE_AGGREGATOR_OVERLAY",
        value_delimiter = ',',
        value_name = "HOST:PORT"
    )]
    pub aggregator_overlay: Vec<String>,
    /// Addresses of the aggregator by the nodes' own network
    #[arg(
        long,
        env = "MESHPROBE_AGGREGATOR_UNDERLAY",
        value_delimiter = ',',
        value_name = "HOST:PORT"
    )]
    pub aggregator_underlay: Vec<String>,
    /// A file that lists the mesh, instead of the aggregator's assignment
    #[arg(long, env = "MESHPROBE_ASSIGNMENT_FILE", value_name = "FILE")]
    pub assignment_file: Option<PathBuf>,
    /// The least severe events to log, such as debug or info,h2=warn
    #[arg(long, env = "MESHPROBE_LOG_LEVEL")]
    pub log_level: Option<LogLevel>,
}

fn plane(text: &str) -> Result<Plane, String> {
    match text {
        "pod" => Ok(Plane::Pod),
        "host" => Ok(Plane::Host),
        other => Err(format!("unknown plane {other:?}: write pod or host")),
    }
}

/// What is not a flag: names that Kubernetes manifests use by convention, and the host's name.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `NODE_NAME`.
    pub node_name: Option<String>,
    /// `POD_IPS`, else `POD_IP`.
    pub pod_ips: Option<String>,
    /// `HOST_IP`.
    pub host_ip: Option<String>,
    /// The host's name.
    pub hostname: String,
    /// `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
    pub proxies: ProxyVariables,
}

impl Surroundings {
    /// Of this process.
    pub fn read() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self {
            node_name: variable("NODE_NAME"),
            pod_ips: variable("POD_IPS").or_else(|| variable("POD_IP")),
            host_ip: variable("HOST_IP"),
            hostname: kernel_hostname(),
            proxies: ProxyVariables::read(variable),
        }
    }
}

fn kernel_hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

impl Args {
    /// The file with all overrides.
    pub fn settings(&self, surroundings: &Surroundings) -> Result<Settings, ConfigError> {
        let default = Path::new(DEFAULT_FILE);
        let mut settings: Settings = match &self.config {
            Some(path) => config::load(path)?,
            None if default.exists() => config::load(default)?,
            None => Settings::default(),
        };
        self.overlay(&mut settings);
        surroundings.fill_in(&mut settings, self.path())?;
        Ok(settings)
    }

    /// The configuration that the settings mean.
    pub fn load(&self, surroundings: &Surroundings) -> Result<Config, ConfigError> {
        let settings = self.settings(surroundings)?;
        Config::from_settings(settings, self.path(), &surroundings.hostname)
    }

    /// Prints the settings with all overrides to standard output.
    pub fn dump(&self, surroundings: &Surroundings) -> Result<(), Failure> {
        let settings = self.settings(surroundings).map_err(Failure::config)?;
        let text = serde_saphyr::to_string(&settings).map_err(Failure::runtime)?;
        std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(Failure::runtime)
    }

    /// What errors call the configuration.
    pub fn path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE))
    }

    fn overlay(&self, settings: &mut Settings) {
        let Self {
            config: _,
            check_config: _,
            dump_config: _,
            node_name,
            zone,
            region,
            plane,
            listen_addresses,
            port,
            admin,
            host_ip,
            aggregator_overlay,
            aggregator_underlay,
            assignment_file,
            log_level,
        } = self.clone();
        if let Some(name) = node_name {
            settings.node.name = Some(spanned(name));
        }
        replace(&mut settings.node.zone, zone);
        replace(&mut settings.node.region, region);
        settings.plane = plane.or(settings.plane);
        if !listen_addresses.is_empty() {
            settings.listen.addresses = listen_addresses.into_iter().map(spanned).collect();
        }
        settings.listen.port = port.or(settings.listen.port);
        settings.listen.admin = admin.or(settings.listen.admin);
        settings.node.host_ip = host_ip.or(settings.node.host_ip);
        for (addresses, way) in [
            (aggregator_overlay, WaySetting::Overlay),
            (aggregator_underlay, WaySetting::Underlay),
        ] {
            if addresses.is_empty() {
                continue;
            }
            settings
                .aggregator
                .addresses
                .retain(|entry| entry.way != way);
            let entries = addresses.into_iter().map(|address| AggregatorEntry {
                address: spanned(address),
                way,
            });
            settings.aggregator.addresses.extend(entries);
        }
        if let Some(file) = assignment_file {
            settings.assignment.file = Some(file);
        }
        replace(&mut settings.log.level, log_level);
    }
}

impl Surroundings {
    /// Fills in what neither the file nor a flag says.
    fn fill_in(&self, settings: &mut Settings, path: &Path) -> Result<(), ConfigError> {
        let mut problems = config::ConfigProblems::new();
        let mut address = |name: &str, text: &str| {
            let parsed = text.trim().parse::<IpAddr>();
            if parsed.is_err() {
                problems.add(name, format!("{text:?} is not an IP address"));
            }
            parsed.ok()
        };
        if settings.node.name.is_none() {
            settings.node.name = self.node_name.clone().map(spanned);
        }
        if settings.listen.addresses.is_empty()
            && let Some(ips) = &self.pod_ips
        {
            let ips = ips.split(',').filter_map(|text| address("POD_IP", text));
            settings.listen.addresses = ips.map(spanned).collect();
        }
        if settings.node.host_ip.is_none() {
            settings.node.host_ip = self
                .host_ip
                .as_deref()
                .and_then(|text| address("HOST_IP", text));
        }
        problems.into_result(path)
    }
}

fn replace<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// A value that does not come from the file has no place in it.
fn spanned<T>(value: T) -> Spanned<T> {
    Spanned::new(value, config::Location::UNKNOWN, config::Location::UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_beat_the_surroundings() {
        let args = Args::parse_from([
            "meshprobe-prober",
            "--node-name=a",
            "--listen-addresses=10.0.0.1,fd00::1",
            "--aggregator-overlay=agg:4860",
        ]);
        let surroundings = Surroundings {
            node_name: Some("b".into()),
            pod_ips: Some("10.0.0.9".into()),
            host_ip: Some("192.168.0.1".into()),
            hostname: "c".into(),
            ..Surroundings::default()
        };
        let config = args.load(&surroundings).unwrap();
        assert_eq!(config.node.as_str(), "a");
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.addresses.len(), 3);
    }

    #[test]
    fn in_kubernetes_the_downward_api_is_enough() {
        let args = Args::parse_from(["meshprobe-prober", "--aggregator-overlay=agg:4860"]);
        let surroundings = Surroundings {
            node_name: Some("worker-1".into()),
            pod_ips: Some("10.0.0.9".into()),
            host_ip: Some("192.168.0.1".into()),
            hostname: "pod-xyz".into(),
            ..Surroundings::default()
        };
        let config = args.load(&surroundings).unwrap();
        assert_eq!(config.node.as_str(), "worker-1");
        assert_eq!(config.listen, ["10.0.0.9".parse::<IpAddr>().unwrap()]);
        let broken = Surroundings {
            pod_ips: Some("10.0.0".into()),
            ..surroundings
        };
        let error = args.load(&broken).unwrap_err().to_string();
        assert!(
            error.contains("POD_IP: \"10.0.0\" is not an IP address"),
            "{error}"
        );
    }

    #[test]
    fn the_flags_are_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }
}
