//! Reads the configuration again, when asked and when a file of it changes, and puts in force what can be changed without
//! a restart.
//!
//! What is refused changes nothing: the configuration in force stays. Files are looked at by content, not by inode or
//! time: Kubernetes replaces them by renaming a directory.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use meshprobe_daemon::logging::LogHandle;
use meshprobe_daemon::reload::ReloadRequests;
use meshprobe_daemon::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::config::Config;
use crate::config::args::{Args, Surroundings};
use crate::reporter::task::{Request, reload_file};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub struct Reloader {
    /// In force.
    pub config: Config,
    /// Flags of this process.
    pub args: Args,
    /// Its environment.
    pub surroundings: Surroundings,
    /// To the reporter, which puts assignments and aggregators in force.
    pub requests_tx: mpsc::Sender<Request>,
    /// To change the log's level.
    pub log: LogHandle,
}

impl Reloader {
    /// Serves requests until `shutdown`.
    pub async fn run(mut self, mut reloads: ReloadRequests, shutdown: Shutdown) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = self.contents();
        loop {
            tokio::select! {
                () = shutdown.signaled() => return,
                Some(request) = reloads.next() => {
                    known = self.contents();
                    request.answer(self.reload().map_err(|error| format!("{error:#}")));
                }
                _ = looks.tick() => {
                    let contents = self.contents();
                    if contents != known {
                        known = contents;
                        match self.reload() {
                            Ok(summary) => info!(summary, "Reloaded the configuration, whose files have changed"),
                            Err(error) => warn!(error = format!("{error:#}"), "Changed files are refused; the configuration in force stays"),
                        }
                    }
                }
            }
        }
    }

    /// What the files hold; `None` for one that cannot be read.
    fn contents(&self) -> Vec<Option<Vec<u8>>> {
        let files: [Option<PathBuf>; 2] = [
            Some(self.args.path().to_owned()),
            self.config.assignment_file.clone(),
        ];
        files
            .into_iter()
            .map(|file| std::fs::read(file?).ok())
            .collect()
    }

    fn reload(&mut self) -> anyhow::Result<String> {
        let next = self.args.load(&self.surroundings)?;
        next.check().map_err(|failure| anyhow!("{failure}"))?;
        let mut changes = Vec::new();
        if let Some(path) = &next.assignment_file {
            reload_file(path, &next.node, &self.requests_tx)?;
            changes.push("assignment read again");
        }
        if next.aggregators != self.config.aggregators {
            self.requests_tx
                .try_send(Request::Aggregators(next.aggregators.clone()))
                .context("hand over the aggregators")?;
            changes.push("aggregators changed");
        }
        if next.log.level != self.config.log.level {
            self.log.set_level(&next.log.level)?;
            changes.push("log level changed");
        }
        if self.config.needs_restart(&next) {
            changes.push("other changes wait for a restart");
        }
        self.config = next;
        Ok(if changes.is_empty() {
            "nothing changed".to_owned()
        } else {
            changes.join("; ")
        })
    }
}
