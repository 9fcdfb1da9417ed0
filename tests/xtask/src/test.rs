//! `cargo xtask test`: everything that has to hold before a change is good, cheap checks first.

use crate::{
    binaries::{self, Program},
    checks,
    metadata::{Metadata, cargo},
    packages::{self, Purpose},
    steps::{Steps, command},
};

/// Runs all steps, or with `fast` only those that need no release build and no virtual cluster.
pub(crate) fn run(fast: bool) -> anyhow::Result<()> {
    let workspace = Metadata::of_workspace()?;
    let mut steps = Steps::default();

    steps.run("needed packages", || packages::ensure(Purpose::Test))?;
    steps.run("format", || {
        command(cargo().args(["fmt", "--all", "--check"]))
    })?;
    steps.run("dependency arrows", || checks::arrows(&workspace))?;
    steps.run("length of files, leftovers", || checks::sources(&workspace))?;
    steps.run("licences, bans and sources", || {
        checks::supply_chain(&workspace)
    })?;
    steps.run("lints", || {
        let arguments = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ];
        command(cargo().args(arguments))
    })?;
    steps.run("documentation", || {
        let arguments = [
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--locked",
        ];
        command(cargo().args(arguments).env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    steps.run("tests", || {
        // It builds the daemons before any test runs; with the features of another command they would be built again.
        let built = workspace.target_directory.join("debug");
        let mut test = cargo();
        test.args(["test", "--workspace", "--locked"]);
        command(test.env(binaries::BIN_DIR_VARIABLE, built))
    })?;
    if !fast {
        // Features that only come together in the workspace would hide a missing one in a crate.
        steps.run("each crate alone", || {
            workspace.packages.iter().try_for_each(|package| {
                command(cargo().args(["check", "--locked", "--package", &package.name]))
            })
        })?;
        steps.run("release build", || {
            binaries::build(&Program::SCENARIO, binaries::Output::Shown)
        })?;
        steps.run("scenarios in the virtual cluster", || {
            command(&mut binaries::command(
                &Program::SCENARIO,
                &workspace,
                &["--set".into(), "ci".into()],
            ))
        })?;
    }
    println!("\n{}", steps.summary());
    Ok(())
}
