//! `meshprobe-fuzz TARGET|all|list [--cases N] [--seed S]`: feeds parsers with what a stranger might send.
//!
//! Exit code: 0 nothing was found, 1 something was: the input is printed.

use std::process::ExitCode;

use clap::Parser;
use meshprobe_tests::fuzz;

/// Feeds parsers with random and mutated octets; the last line of each target is one JSON object.
#[derive(Parser)]
#[command(name = "meshprobe-fuzz")]
struct Cli {
    /// Which target; `all` runs each of them, `list` names them
    target: String,
    /// Inputs for each target
    #[arg(long, default_value_t = 1_000_000)]
    cases: u64,
    /// Another seed, other inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    if cli.target == "list" {
        for target in fuzz::ALL {
            println!("{:20} {}", target.name, target.summary);
        }
        return Ok(());
    }
    let all = cli.target == "all";
    let targets = if all {
        fuzz::ALL
    } else {
        std::slice::from_ref(fuzz::find(&cli.target)?)
    };
    for target in targets {
        let report = fuzz::run(target, cli.cases, cli.seed)?;
        println!("{}", report.json(target, cli.seed));
    }
    Ok(())
}
