//! The Debian packages that the virtual cluster and the comparisons need.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

/// What the packages are for. Each purpose includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Compiling only.
    Build,
    /// The virtual cluster: demo and scenarios.
    Lab,
    /// Other programs that tests talk to.
    Test,
    /// Comparisons with other programs.
    Bench,
}

struct DebianPackage {
    name: &'static str,
    /// The program that proves that it is there, wherever it came from.
    program: &'static str,
    purpose: Purpose,
    reason: &'static str,
}

const PACKAGES: [DebianPackage; 9] = [
    DebianPackage {
        name: "gcc",
        program: "cc",
        purpose: Purpose::Build,
        reason: "links the binaries, compiles SQLite and the crypto",
    },
    DebianPackage {
        name: "iproute2",
        program: "ip",
        purpose: Purpose::Lab,
        reason: "network namespaces, links, bridges and VXLAN of the virtual cluster",
    },
    DebianPackage {
        name: "nftables",
        program: "nft",
        purpose: Purpose::Lab,
        reason: "virtual IPs, NAT and faults of the virtual cluster",
    },
    DebianPackage {
        name: "unbound",
        program: "unbound",
        purpose: Purpose::Lab,
        reason: "the DNS servers of the virtual cluster",
    },
    DebianPackage {
        name: "nginx",
        program: "nginx",
        purpose: Purpose::Lab,
        reason: "the web servers on the virtual cluster's internet",
    },
    DebianPackage {
        name: "tinyproxy-bin",
        program: "tinyproxy",
        purpose: Purpose::Lab,
        reason: "the forward proxy on the virtual cluster's internet",
    },
    DebianPackage {
        name: "prometheus-alertmanager",
        program: "prometheus-alertmanager",
        purpose: Purpose::Test,
        reason: "the receiver that alerts are pushed to in the aggregator's tests",
    },
    DebianPackage {
        name: "python3-scapy",
        program: "scapy",
        purpose: Purpose::Test,
        reason: "the other implementation of STAMP in the prober's tests",
    },
    DebianPackage {
        name: "fping",
        program: "fping",
        purpose: Purpose::Bench,
        reason: "what the cost of a probe is compared with",
    },
];

/// Where Debian keeps administration tools; an ordinary user's `PATH` lacks them.
const ADMIN_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Makes sure that everything for `purpose` is installed: installs what is missing as root, names
/// it otherwise.
pub(crate) fn ensure(purpose: Purpose) -> anyhow::Result<()> {
    let missing = missing(purpose, is_installed);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    for DebianPackage { name, reason, .. } in &missing {
        println!("missing: {name} ({reason})");
    }
    let names_in_line = names.join(" ");
    let command = format!("apt-get install --yes --no-install-recommends {names_in_line}");
    if find("apt-get").is_none() {
        let programs: Vec<&str> = missing.iter().map(|package| package.program).collect();
        bail!(
            "install the programs {} with this system's package manager",
            programs.join(", ")
        );
    }
    if !is_root()? {
        bail!("install them with:\n\n    sudo {command}\n");
    }
    println!("installing: {command}");
    install(&names)?;
    let still_missing = self::missing(purpose, is_installed);
    ensure!(
        still_missing.is_empty(),
        "apt-get succeeded, but there is still no {}",
        still_missing
            .iter()
            .map(|package| package.program)
            .collect::<Vec<_>>()
            .join(", ")
    );
    Ok(())
}

fn missing(purpose: Purpose, is_installed: impl Fn(&str) -> bool) -> Vec<&'static DebianPackage> {
    let needed = PACKAGES.iter().filter(|package| package.purpose <= purpose);
    needed
        .filter(|package| !is_installed(package.program))
        .collect()
}

fn is_installed(program: &str) -> bool {
    find(program).is_some()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(ADMIN_DIRECTORIES.iter().map(PathBuf::from));
    directories
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

fn is_root() -> anyhow::Result<bool> {
    let status = fs::read_to_string("/proc/self/status").context("read who runs this")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    Ok(effective.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0"))
}

fn install(names: &[&str]) -> anyhow::Result<()> {
    let _no_services = NoServices::begin()?;
    let apt_get = |arguments: &[&str]| {
        Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .status()
            .context("run apt-get")
    };
    let mut arguments = vec!["install", "--yes", "--no-install-recommends", "-qq"];
    arguments.extend(names);
    if apt_get(&arguments)?.success() {
        return Ok(());
    }
    // The lists of a fresh image are empty or old.
    ensure!(
        apt_get(&["update", "-qq"])?.success(),
        "apt-get update failed"
    );
    ensure!(
        apt_get(&arguments)?.success(),
        "apt-get install {} failed",
        names.join(" ")
    );
    Ok(())
}

/// Keeps Debian from starting what it installs: we want the programs `unbound` and `nginx`, not a
/// resolver on port 53 of this machine and a web server on port 80. The switch is `/usr/sbin/policy-rc.d`; one that is there already is
/// respected.
struct NoServices {
    written: bool,
}

impl NoServices {
    const SWITCH: &str = "/usr/sbin/policy-rc.d";

    fn begin() -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        if Path::new(Self::SWITCH).exists() {
            return Ok(Self { written: false });
        }
        fs::write(Self::SWITCH, "#!/bin/sh\nexit 101\n")
            .with_context(|| format!("write {}", Self::SWITCH))?;
        let guard = Self { written: true };
        fs::set_permissions(Self::SWITCH, fs::Permissions::from_mode(0o755))?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.written
            && let Err(error) = fs::remove_file(Self::SWITCH)
        {
            eprintln!("warning: remove {} by hand: {error}", Self::SWITCH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(purpose: Purpose, installed: &[&str]) -> Vec<&'static str> {
        let missing = missing(purpose, |program| installed.contains(&program));
        missing.iter().map(|package| package.name).collect()
    }

    #[test]
    fn only_what_the_purpose_needs_and_the_machine_lacks_is_missing() {
        assert_eq!(names(Purpose::Build, &["cc"]), Vec::<&str>::new());
        assert_eq!(
            names(Purpose::Lab, &["cc", "ip"]),
            ["nftables", "unbound", "nginx", "tinyproxy-bin"]
        );
        assert_eq!(
            names(
                Purpose::Bench,
                &["cc", "ip", "nft", "unbound", "nginx", "tinyproxy"]
            ),
            ["prometheus-alertmanager", "python3-scapy", "fping"]
        );
    }

    #[test]
    fn a_program_is_found_outside_of_the_path_of_an_ordinary_user() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program-anywhere"));
    }
}
