//! The programs that the lab is built with.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where Debian keeps administration tools; an ordinary user's `PATH` lacks them.
const ADMIN_DIRECTORIES: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];

/// The programs, by absolute path.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) ip: PathBuf,
    pub(crate) bridge: PathBuf,
    pub(crate) tc: PathBuf,
    pub(crate) nft: PathBuf,
    pub(crate) dns: DnsServer,
    pub(crate) nginx: PathBuf,
    /// Needed only where somebody asks for a proxy.
    pub(crate) tinyproxy: Option<PathBuf>,
}

/// Which DNS server runs in the cluster.
#[derive(Debug, Clone)]
pub(crate) enum DnsServer {
    CoreDns(PathBuf),
    Unbound(PathBuf),
}

/// Programs that the lab needs are not installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the virtual cluster needs {programs}: install {what} with\n    apt-get install --no-install-recommends {packages}",
    programs = missing.iter().map(|tool| format!("`{}`", tool.program)).collect::<Vec<_>>().join(", "),
    what = if missing.len() == 1 { "it" } else { "them" },
    packages = packages(missing),
)]
pub struct ToolsError {
    missing: Vec<Missing>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Missing {
    program: &'static str,
    package: &'static str,
}

fn packages(missing: &[Missing]) -> String {
    let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    packages.dedup();
    packages.join(" ")
}

impl Tools {
    /// Looks every program up, and names all that are missing at once.
    pub(crate) fn find() -> Result<Self, ToolsError> {
        let path = env::var_os("PATH").unwrap_or_default();
        let directories: Vec<PathBuf> = env::split_paths(&path)
            .chain(ADMIN_DIRECTORIES.iter().map(PathBuf::from))
            .collect();
        Self::find_in(&directories)
    }

    fn find_in(directories: &[PathBuf]) -> Result<Self, ToolsError> {
        let mut missing = Vec::new();
        let mut need = |program: &'static str, package: &'static str| {
            find_program(directories, program).unwrap_or_else(|| {
                missing.push(Missing { program, package });
                PathBuf::new()
            })
        };
        let ip = need("ip", "iproute2");
        let bridge = need("bridge", "iproute2");
        let tc = need("tc", "iproute2");
        let nft = need("nft", "nftables");
        // CoreDNS is what clusters run; Debian does not package it, so it is taken only where somebody put it.
        let dns = match find_program(directories, "coredns") {
            Some(path) => DnsServer::CoreDns(path),
            None => DnsServer::Unbound(need("unbound", "unbound")),
        };
        let nginx = need("nginx", "nginx");
        if missing.is_empty() {
            Ok(Self {
                ip,
                bridge,
                tc,
                nft,
                dns,
                nginx,
                tinyproxy: find_program(directories, "tinyproxy"),
            })
        } else {
            Err(ToolsError { missing })
        }
    }
}

fn find_program(directories: &[PathBuf], program: &str) -> Option<PathBuf> {
    directories
        .iter()
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_programs_are_named_with_the_command_that_installs_them() {
        let error = Tools::find_in(&[]).expect_err("nothing is found in no directory");
        assert_eq!(
            error.to_string(),
            "the virtual cluster needs `ip`, `bridge`, `tc`, `nft`, `unbound`, `nginx`: install them with\n    \
             apt-get install --no-install-recommends iproute2 nftables unbound nginx"
        );
    }
}
