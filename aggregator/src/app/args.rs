//! Flags, and what they override: flag, then environment, then file, then default.

use std::path::{Path, PathBuf};

use clap::Parser;
use meshprobe_daemon::{
    config::{ConfigError, Location, Spanned},
    logging::{LogFormat, LogLevel},
};

use crate::config::{Config, DEFAULT_PATH, ListenAddress};

/// The mesh's aggregator: takes the probers' reports, names what is broken, tells people.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "meshprobe-aggregator",
    version,
    after_help = "Exit codes: 0 stopped on request, 1 failed, 2 bad flags or configuration."
)]
pub struct Args {
    /// The configuration file; without it and without the default file every setting has its default
    #[arg(long, env = "MESHPROBE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the configuration and the files that it names, and exit
    #[arg(long)]
    pub check_config: bool,
    /// Print the configuration with all defaults and overrides as YAML, and exit
    #[arg(long, conflicts_with = "check_config")]
    pub dump_config: bool,
    /// Serve gRPC here (overrides listen.grpc)
    #[arg(long, env = "MESHPROBE_LISTEN_GRPC", value_name = "IP:PORT", value_parser = listen_address)]
    pub listen_grpc: Option<ListenAddress>,
    /// Serve HTTP here (overrides listen.http)
    #[arg(long, env = "MESHPROBE_LISTEN_HTTP", value_name = "IP:PORT", value_parser = listen_address)]
    pub listen_http: Option<ListenAddress>,
    /// Serve health and metrics here (overrides listen.admin)
    #[arg(long, env = "MESHPROBE_LISTEN_ADMIN", value_name = "IP:PORT", value_parser = listen_address)]
    pub listen_admin: Option<ListenAddress>,
    /// The database file (overrides store.path)
    #[arg(long, env = "MESHPROBE_STORE_PATH", value_name = "FILE")]
    pub store_path: Option<PathBuf>,
    /// The least severe events to log, for example info or info,h2=warn (overrides log.level)
    #[arg(long, env = "MESHPROBE_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// text or json (overrides log.format)
    #[arg(long, env = "MESHPROBE_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

fn listen_address(text: &str) -> Result<ListenAddress, String> {
    text.to_owned().try_into()
}

impl Args {
    /// The file that these flags mean.
    pub fn path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH))
    }

    /// Reads the file, lays the flags over it, and checks the result. Nothing is bound or opened.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let path = self.path();
        // Who names a file wants that file; the default one may be absent.
        let mut config = if self.config.is_none() && !path.exists() {
            Config::default()
        } else {
            meshprobe_daemon::config::load(path)?
        };
        self.lay_over(&mut config);
        config.check(crate::wall::now()).into_result(path)?;
        Ok(config)
    }

    fn lay_over(&self, config: &mut Config) {
        let unplaced = |address| vec![Spanned::new(address, Location::UNKNOWN, Location::UNKNOWN)];
        if let Some(address) = self.listen_grpc {
            config.listen.grpc = unplaced(address);
        }
        if let Some(address) = self.listen_http {
            config.listen.http = unplaced(address);
        }
        if let Some(address) = self.listen_admin {
            config.listen.admin = address;
        }
        if let Some(path) = &self.store_path {
            config.store.path.clone_from(path);
        }
        if let Some(level) = &self.log_level {
            config.log.level.clone_from(level);
        }
        if let Some(format) = self.log_format {
            config.log.format = format;
        }
    }
}
