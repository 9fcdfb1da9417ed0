//! The prober daemon. Flags, configuration, runtime; the rest is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use meshprobe_daemon::exit::{self, Failure};
use meshprobe_daemon::shutdown::{Shutdown, Signals};
use meshprobe_prober::app::App;
use meshprobe_prober::config::args::{Args, Surroundings};

fn main() -> ExitCode {
    exit::main("meshprobe-prober", || run(&Args::parse()))
}

fn run(args: &Args) -> Result<(), Failure> {
    let surroundings = Surroundings::read();
    let config = args.load(&surroundings).map_err(Failure::config)?;
    if args.dump_config {
        return args.dump(&surroundings);
    }
    if args.check_config {
        return config.check();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::runtime)?;
    runtime.block_on(async {
        let signals = Signals::install().map_err(Failure::runtime)?;
        let app = App::build(config, args.clone(), surroundings)?;
        Box::pin(app.run(signals, Shutdown::new())).await
    })
}
