//! Where the scenario files are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::file::Scenario;

/// The folder of this repository's scenarios.
pub fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// The scenario of this name, or in the file of this path.
pub fn load(folder: &Path, name: &str) -> anyhow::Result<Scenario> {
    let is_path = name.contains('/') || Path::new(name).extension().is_some();
    let path = if is_path {
        PathBuf::from(name)
    } else {
        folder.join(format!("{name}.yaml"))
    };
    if !is_path && !path.exists() {
        bail!(
            "there is no scenario `{name}`; the scenarios are: {}",
            names(folder)?.join(", ")
        );
    }
    Ok(Scenario::load(&path)?)
}

/// The names of all scenarios in a folder, in alphabetical order.
pub fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("list {}", folder.display()))?
            .path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
            && let Some(stem) = path.file_stem()
        {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_this_repository_can_be_read() {
        let folder = own_folder();
        let names = names(&folder).expect("a folder");
        assert!(names.len() >= 15, "{names:?}");
        for name in names {
            if let Err(error) = load(&folder, &name) {
                panic!("{name}: {error:#}");
            }
        }
    }

    #[test]
    fn the_scenarios_that_are_promised_exist() {
        let names = names(&own_folder()).expect("a folder");
        for promised in [
            "healthy",
            "node-dark",
            "node-freeze",
            "prober-down",
            "reports-cut",
            "ingress-dead",
            "egress-dead",
            "overlay-routes-missing",
            "aggregator-restart",
            "aggregator-isolated",
            "drain",
            "two-dark",
            "mtu-blackhole-node",
            "mtu-signalled",
            "mtu-overlay-too-big",
            "dns-instance-down",
            "dns-blocked",
            "dns-servfail",
            "dns-nxdomain",
            "dns-throttled",
            "dns-vip",
            "vip-broken",
            "vip-stale-endpoint",
            "external-node",
            "external-all",
            "external-target",
            "tls-expired",
            "tls-handshake",
            "http-502",
            "udp-blocked",
            "tcp-blocked",
            "ecmp-member",
            "v6-dead",
            "throttled-prober",
            "path-one-way",
            "zone-lossy",
            "node-lossy",
            "slow-node",
            "overlay-one-route",
            "overlay-port-blocked",
            "overlay-backend-mix",
            "zone-partition",
            "zone-partition-aggregator",
            "dns-config-drift",
            "dns-throttled-one",
            "conntrack-full",
            "address-conflict",
            "flapping",
            "rollout",
            "scale-down",
            "two-faults",
            "two-faults-dns",
            "random-pair",
            "udp-blocked-everywhere",
            "overlay-dead",
        ] {
            assert!(
                names.iter().any(|name| name == promised),
                "{promised} is missing"
            );
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = load(&own_folder(), "node-drak")
            .expect_err("it does not exist")
            .to_string();
        assert!(error.contains("node-dark"), "{error}");
    }
}
