//! What cargo knows about the workspace and about everything that it builds on.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// `cargo metadata`, as far as the checks read it.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// The workspace's own packages, and those that they build on unless they were left out.
    pub(crate) packages: Vec<Package>,
    /// Where the workspace's `Cargo.toml` is.
    pub(crate) workspace_root: PathBuf,
    /// Where build results go; follows `CARGO_TARGET_DIR`.
    pub(crate) target_directory: PathBuf,
    /// Which packages the platform needs.
    resolve: Option<Resolve>,
}

/// One package.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// An SPDX expression.
    pub(crate) license: Option<String>,
    /// The registry that it comes from; `None` for our own.
    pub(crate) source: Option<String>,
    #[serde(default)]
    pub(crate) dependencies: Vec<Dependency>,
}

/// What a package says that it needs.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Set for packages of this workspace.
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
}

impl Metadata {
    /// The workspace's own packages only; needs no network.
    pub(crate) fn of_workspace() -> anyhow::Result<Self> {
        read(&["--no-deps"])
    }

    /// Everything that is built for `platform`.
    pub(crate) fn of_platform(platform: &str) -> anyhow::Result<Self> {
        let mut metadata = read(&["--locked", "--filter-platform", platform])?;
        if let Some(resolve) = &metadata.resolve {
            let needed: std::collections::HashSet<&str> =
                resolve.nodes.iter().map(|node| node.id.as_str()).collect();
            metadata
                .packages
                .retain(|package| needed.contains(package.id.as_str()));
        }
        Ok(metadata)
    }
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn read(arguments: &[&str]) -> anyhow::Result<Metadata> {
    let output = cargo()
        .args(["metadata", "--format-version", "1"])
        .args(arguments)
        .output()
        .context("run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    serde_json::from_slice(&output.stdout).context("read what cargo metadata says")
}
