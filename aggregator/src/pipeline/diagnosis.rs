//! The diagnosis at work: pictures of the mesh in, causes out.
//!
//! It runs in a task of its own, its sums on a thread for blocking work, so neither ingest nor the judgement of dark nodes
//! ever waits for it. Both ends are `watch` channels: if it is slower than the pictures come, or the mesh task slower
//! than its results, the newest one counts and the rest is counted as skipped.
//!
//! The task ends at shutdown, or with the mesh task. A panic in the diagnosis is one of this task.

use std::sync::Arc;

use jiff::Timestamp;
use meshprobe_core::diagnosis::{Diagnoser, Diagnosis, Picture};
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
    pub(super) diagnoser: Diagnoser,
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
            let picture = Arc::clone(&shot.picture);
            let mut diagnoser = std::mem::take(&mut self.diagnoser);
            let work = tokio::task::spawn_blocking(move || {
                let started = clock::now();
                let diagnosis = diagnoser.diagnose(&picture);
                let took = clock::now().saturating_duration_since(started);
                (diagnoser, diagnosis, took)
            });
            let (diagnosis, took) = match work.await {
                Ok((diagnoser, diagnosis, took)) => {
                    self.diagnoser = diagnoser;
                    (diagnosis, took)
                }
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // Only the end of the runtime aborts it.
                    Err(_aborted) => return,
                },
            };
            self.metrics.count_diagnosis(&diagnosis.findings, took);
            self.diagnosed
                .send_replace(Some(Diagnosed { shot, diagnosis }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshprobe_core::diagnosis::Topology;

    use super::*;

    fn shot(number: u64) -> Shot {
        let picture = Picture {
            known: Arc::default(),
            now: Moment::from_millis(number * 1_000),
            topology: Arc::new(Topology::default()),
            layers: Vec::new(),
            nodes: Vec::new(),
            traces: Vec::new(),
        };
        Shot {
            number,
            picture: Arc::new(picture),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn the_newest_picture_is_diagnosed_and_those_before_it_are_counted_as_skipped() {
        let (shots_tx, shots) = watch::channel(None);
        let (diagnosed, mut found) = watch::channel(None);
        let metrics = PipelineMetrics::default();
        let task = DiagnosisTask {
            diagnoser: Diagnoser::default(),
            shots,
            diagnosed,
            metrics: metrics.clone(),
        };
        for number in 1..=3 {
            shots_tx.send_replace(Some(shot(number)));
        }
        let shutdown = Shutdown::new();
        let mut running = tokio::task::JoinSet::new();
        running.spawn(task.run(shutdown.clone()));
        found.changed().await.unwrap();
        let newest = found.borrow_and_update().clone().unwrap();
        assert_eq!(newest.shot.number, 3);
        assert!(newest.diagnosis.findings.is_empty());
        assert_eq!(metrics.diagnosis_skipped.get(), 2);
        let earlier = newest.shot.picture.now - Duration::from_secs(2);
        assert_eq!(newest.shot.wall_at(earlier).as_second(), -2);
        shutdown.trigger();
        running.join_next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn it_ends_with_the_mesh_task() {
        let (shots_tx, shots) = watch::channel(None);
        let task = DiagnosisTask {
            diagnoser: Diagnoser::default(),
            shots,
            diagnosed: watch::channel(None).0,
            metrics: PipelineMetrics::default(),
        };
        drop(shots_tx);
        task.run(Shutdown::new()).await;
    }
}
