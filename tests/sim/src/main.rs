//! `meshprobe-sim`: what `cargo xtask sim …` runs. The last line of the output is one JSON object.

use std::process::ExitCode;

use clap::Parser;
use meshprobe_sim::diagnosis::{DiagnosisArguments, ScenarioArguments};
use meshprobe_sim::experiment::{ClockStepArguments, CutsArguments, DarkArguments, Outcome};

/// What a simulation found that must not be.
const EXIT_FAILED: u8 = 2;

/// The decisions of meshprobe in virtual time.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim", disable_help_subcommand = true)]
enum Arguments {
    Dark(DarkArguments),
    Cuts(CutsArguments),
    ClockStep(ClockStepArguments),
    Diagnosis(DiagnosisArguments),
    Scenario(ScenarioArguments),
}

fn main() -> ExitCode {
    match Arguments::parse() {
        Arguments::Dark(arguments) => finish("dark", &arguments.run()),
        Arguments::Cuts(arguments) => finish("cuts", &arguments.run()),
        Arguments::ClockStep(arguments) => finish("clock-step", &arguments.run()),
        Arguments::Diagnosis(arguments) => finish("diagnosis", &arguments.run()),
        Arguments::Scenario(arguments) => finish("scenario", &arguments.run()),
    }
}

fn finish(name: &str, report: &impl Outcome) -> ExitCode {
    let mut line = serde_json::to_value(report).unwrap_or_default();
    line["sim"] = name.into();
    println!("{line}");
    if report.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILED)
    }
}
