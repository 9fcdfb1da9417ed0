//! `meshprobe-bench NAME|list`: measures what the documentation promises.
//!
//! Exit code: 0 measured and every promise kept, 2 a promise was missed, 1 it could not be measured.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use meshprobe_tests::bench::{self, Arguments, Machine};

const MISSED: u8 = 2;

/// Measures what the documentation promises; the last line is one JSON object.
#[derive(Parser)]
#[command(name = "meshprobe-bench")]
struct Cli {
    /// Which bench; `list` names them
    name: String,
    /// Arguments of the bench; `--help` shows them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if cli.name == "list" {
        for bench in bench::ALL {
            println!("{:12} {}", bench.name, bench.summary);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let bench = bench::find(&cli.name).with_context(|| {
        let names: Vec<&str> = bench::ALL.iter().map(|bench| bench.name).collect();
        format!(
            "there is no bench `{}`; the benches are: {}",
            cli.name,
            names.join(", ")
        )
    })?;
    let report = (bench.run)(&Arguments::new(bench.name, cli.arguments))?;
    println!("\n{}", report.table());
    println!("{}", report.json(bench.name, &Machine::this()));
    Ok(if report.is_kept() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(MISSED)
    })
}
