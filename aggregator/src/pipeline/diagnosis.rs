//! The diagnosis at work: pictures of the mesh in, causes out.
//!
//! It runs in a task of its own, its sums on a thread for blocking work, so neither ingest nor the judgement of dark nodes
//! ever waits for it. Both ends are `watch` channels: if it is slower than the pictures come, or the mesh task slower
//! than its results, the newest one counts and the rest is counted as skipped.
//!
//! The task ends at shutdown, or with the mesh task. A panic in the diagnosis is one of this task.

use std::sync::Arc;

use jiff::Timestamp;
use meshprobe_core::diagnosis::{Diagnosis, DiagnosisConfig, Picture, diagnose};
use meshprobe_core::time::Moment;
use meshprobe_daemon::clock;
use meshprobe_daemon::shutdown::Shutdown;
use tokio::sync::watch;

use super::Now;
use super::metrics::PipelineMetrics;

/// A picture of the mesh with the wall clock at its moment.
#[derive(Clone, Debug)]
pub struct Shot {
    /// Which one: grows by one with each picture of this process.
    pub number: u64,
    /// The picture.
    pub picture: Arc<Picture>,
    /// The wall clock at [`Picture::now`].
    pub at: Timestamp,
}

impl Shot {
    /// The wall clock's time at another moment of this process, as the clock went when the picture was taken.
    pub fn wall_at(&self, moment: Moment) -> Timestamp {
        let now = Now {
            moment: self.picture.now,
            wall: self.at,
        };
        now.wall_at(moment)
    }
}

/// What was found in a picture.
#[derive(Clone, Debug)]
pub struct Diagnosed {
    /// Where.
    pub shot: Shot,
    /// What.
    pub diagnosis: Arc<Diagnosis>,
}

/// The task.
#[derive(Debug)]
pub(super) struct DiagnosisTask {
    pub(super) config: DiagnosisConfig,
    pub(super) shots: watch::Receiver<Option<Shot>>,
    pub(super) diagnosed: watch::Sender<Option<Diagnosed>>,
    pub(super) metrics: PipelineMetrics,
}

impl DiagnosisTask {
    /// Runs until shutdown.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let mut before = 0;
        loop {
            tokio::select! {
                () = shutdown.signaled() => return,
                changed = self.shots.changed() => if changed.is_err() {
                    return;
                },
            }
            let Some(shot) = self.shots.borrow_and_update().clone() else {
                continue;
            };
            self.metrics
                .diagnosis_skipped
                .inc_by(shot.number.saturating_sub(before + 1));
            before = shot.number;
            let (picture, config) = (Arc::clone(&shot.picture), self.config.clone());
            let work = tokio::task::spawn_blocking(move || {
                let started = clock::now();
                let diagnosis = diagnose(&picture, &config);
                (diagnosis, clock::now().saturating_duration_since(started))
            });
            let (diagnosis, took) = match work.await {
                Ok(done) => done,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // Only the end of the runtime aborts it.
                    Err(_aborted) => return,
                },
            };
            self.metrics.count_diagnosis(&diagnosis.findings, took);
            self.diagnosed.send_replace(Some(Diagnosed {
                shot,
                diagnosis: Arc::new(diagnosis),
            }));
        }
    }
}
