//! The process: `configuration → build → App → run`. Building binds and opens everything and starts nothing; a half-built
//! process cannot be run.
//!
//! | Task | Ends when |
//! |---|---|
//! | `grpc`, `http` (one for each listener) | the shutdown is signaled; then connections drain |
//! | `mesh`, `prober-streams` | see [`crate::pipeline`]: streams get their last acknowledgement |
//! | `pipeline-store` | the mesh task has dropped its end |
//! | `notifier` | the mesh task has dropped its end, and everything is told |
//! | `outbox` | the notifier has ended, and what was never tried is tried once |
//! | `history` (a thread) | the diagnosis has ended, and the last window is written |
//! | `store` (a thread) | all of the above have ended, and everything is written |
//! | `admin`, `reload`, `tls` | the shutdown is signaled |
//!
//! So the order of an orderly end follows from who holds whose handle, not from a list. Every task is critical: one that
//! ends early or panics ends the process.

mod args;
mod build;
mod listeners;
mod ports;
mod reload;
mod routes;
mod run;
mod settings;

use std::time::Duration;

use clap::Parser as _;
use meshprobe_daemon::{
    build_info::BuildInfo, exit::Failure, listeners::Inherited, logging, shutdown::Signals, tls,
};
use tracing::info;

pub use args::Args;
pub use build::App;
pub use listeners::Addresses;

const BUILD: BuildInfo = BuildInfo::new("meshprobe-aggregator");
/// After the last task nothing is left to wait for but threads of the runtime.
const RUNTIME_END: Duration = Duration::from_secs(1);

/// `main`: everything between the flags and the exit code.
pub fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let inherited = Inherited::from_env().map_err(Failure::config)?;
    tls::install_crypto_provider();
    let config = args.load().map_err(Failure::config)?;
    if args.check_config {
        settings::pipeline(&config).map_err(Failure::config)?;
        routes::routes(&config).map_err(Failure::config)?;
        return print(&format!("{} is good\n", args.path().display()));
    }
    if args.dump_config {
        return print(&config.dump().map_err(Failure::runtime)?);
    }
    let log = logging::init(&config.log).map_err(Failure::config)?;
    info!(config = %args.path().display(), "{}", BUILD);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::runtime)?;
    let result = runtime.block_on(async {
        let signals = Signals::install().map_err(Failure::runtime)?;
        let app = App::build(args, config, inherited, log)?;
        // The whole configuration lives in it.
        Box::pin(app.run(Some(signals))).await
    });
    runtime.shutdown_timeout(RUNTIME_END);
    result
}

/// Standard output is the answer to `--check-config` and `--dump-config`, not a log.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::runtime)
}
