//! The checks that need no compiler.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use crate::{
    arrows,
    deny::Rules,
    file_length, leftovers,
    metadata::{Metadata, cargo},
    sources,
    steps::command,
    supply_chain,
};

/// What we ship for.
const PLATFORMS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// The dependency arrows of the workspace.
pub(crate) fn arrows(workspace: &Metadata) -> anyhow::Result<()> {
    none(&arrows::violations(&workspace.packages))?;
    println!("{} packages keep the arrows", workspace.packages.len());
    Ok(())
}

/// The length of source files, and what was left over in them.
pub(crate) fn sources(workspace: &Metadata) -> anyhow::Result<()> {
    let sources = sources::read(&workspace.workspace_root).context("read the sources")?;
    let mut violations = file_length::violations(&sources);
    violations.extend(leftovers::violations(&sources));
    none(&violations)?;
    println!("{} source files", sources.len());
    Ok(())
}

/// Licences, bans, second versions and sources; with `cargo deny` on top where it is installed.
pub(crate) fn supply_chain(workspace: &Metadata) -> anyhow::Result<()> {
    let path = workspace.workspace_root.join("deny.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let rules = Rules::parse(&text)?;
    for platform in PLATFORMS {
        let packages = Metadata::of_platform(platform)?.packages;
        none(&supply_chain::violations(&packages, &rules)).context(platform)?;
        println!("{platform}: {} packages", packages.len());
    }
    let has_cargo_deny = Command::new("cargo-deny")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    if has_cargo_deny {
        return command(cargo().args(["deny", "check", "licenses", "bans", "sources"]));
    }
    println!("cargo-deny is not installed; the check above covers the same rules");
    Ok(())
}

fn none(violations: &[String]) -> anyhow::Result<()> {
    if violations.is_empty() {
        return Ok(());
    }
    bail!(
        "{} violations:\n  {}",
        violations.len(),
        violations.join("\n  ")
    )
}
