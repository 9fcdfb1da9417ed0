//! Building the programs in release mode and running one of them.

use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use anyhow::Context as _;

use crate::{
    metadata::{Metadata, cargo},
    packages::{self, Purpose},
    steps,
};

/// Where a program finds the others.
pub(crate) const BIN_DIR_VARIABLE: &str = "MESHPROBE_BIN_DIR";

/// A program of this repository, and what has to be there before it runs.
#[derive(Debug)]
pub(crate) struct Program {
    name: &'static str,
    /// What it is called with, before the arguments of the person.
    arguments: &'static [&'static str],
    /// The packages whose binaries it needs, its own included.
    builds: &'static [&'static str],
    purpose: Purpose,
}

impl Program {
    pub(crate) const DEMO: Self = Self {
        name: "meshprobe",
        arguments: &["demo"],
        builds: &["meshprobe", "meshprobe-prober", "meshprobe-aggregator"],
        purpose: Purpose::Lab,
    };

    pub(crate) const SCENARIO: Self = Self {
        name: "meshprobe-scenario",
        arguments: &[],
        builds: &[
            "meshprobe",
            "meshprobe-prober",
            "meshprobe-aggregator",
            "meshprobe-tests",
        ],
        purpose: Purpose::Lab,
    };

    pub(crate) const SIM: Self = Self {
        name: "meshprobe-sim",
        arguments: &[],
        builds: &["meshprobe-sim"],
        purpose: Purpose::Build,
    };

    pub(crate) const FUZZ: Self = Self {
        name: "meshprobe-fuzz",
        arguments: &[],
        builds: &["meshprobe-tests"],
        purpose: Purpose::Build,
    };

    pub(crate) const BENCH: Self = Self {
        name: "meshprobe-bench",
        purpose: Purpose::Bench,
        ..Self::SCENARIO
    };
}

/// Whether the compiler's progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Shown,
    /// Only what goes wrong.
    Quiet,
}

/// Builds `program` and runs it in the place of this process; returns only if that fails.
pub(crate) fn run(program: &Program, arguments: &[OsString]) -> anyhow::Result<()> {
    packages::ensure(program.purpose)?;
    // On standard error: the last line of standard output belongs to the program.
    eprintln!(
        "Building {} (release; minutes the first time, then seconds) …",
        program.builds.join(", ")
    );
    build(program, Output::Quiet)?;
    let workspace = Metadata::of_workspace()?;
    let mut command = command(program, &workspace, arguments);
    let error = command.exec();
    Err(error).with_context(|| format!("run {}", command.get_program().to_string_lossy()))
}

/// Builds what `program` needs.
pub(crate) fn build(program: &Program, output: Output) -> anyhow::Result<()> {
    let mut build = cargo();
    build.args(["build", "--release", "--bins", "--locked"]);
    for package in program.builds {
        build.args(["--package", package]);
    }
    match output {
        Output::Shown => steps::command(&mut build),
        Output::Quiet => {
            let status = build.arg("--quiet").status().context("run cargo build")?;
            anyhow::ensure!(status.success(), "the build failed; its messages are above");
            Ok(())
        }
    }
}

/// The command that runs the built `program`.
pub(crate) fn command(program: &Program, workspace: &Metadata, arguments: &[OsString]) -> Command {
    let directory = workspace.target_directory.join("release");
    let mut command = Command::new(directory.join(program.name));
    command
        .args(program.arguments)
        .args(arguments)
        .env(BIN_DIR_VARIABLE, directory);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_run_from_the_target_directory_and_told_where_the_others_are() {
        let mut workspace = Metadata::of_workspace().unwrap();
        workspace.target_directory = "/elsewhere".into();
        let command = command(&Program::DEMO, &workspace, &["break".into()]);
        assert_eq!(command.get_program(), "/elsewhere/release/meshprobe");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["demo", "break"]);
        let variables: Vec<_> = command.get_envs().collect();
        assert_eq!(
            variables,
            [(
                BIN_DIR_VARIABLE.as_ref(),
                Some("/elsewhere/release".as_ref())
            )]
        );
    }
}
