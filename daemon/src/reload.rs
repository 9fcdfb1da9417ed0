//! One queue for "read your configuration again", fed by SIGHUP, the admin port and whoever else
//! asks.
//!
//! The owner of the configuration holds [`ReloadRequests`] and answers each request with what came
//! of it. Requests that arrive while one is worked on wait in a short queue; when that is full the
//! asker is told so instead of waiting for ever.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tracing::{info, warn};

use crate::shutdown::Shutdown;

/// A reload reads the whole configuration again, so more than a few waiting ones would all do the
/// same.
const QUEUE_DEPTH: usize = 4;

/// Why a reload did not happen. The configuration in force is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The new configuration was refused; the text says why.
    #[error("{0}")]
    Refused(String),
    /// Several reloads are waiting already.
    #[error("a reload is in progress and others wait; try again later")]
    Busy,
    /// The process is shutting down.
    #[error("shutting down")]
    Closed,
}

/// Makes the two ends of the queue.
pub fn channel() -> (ReloadHandle, ReloadRequests) {
    let (requests_tx, requests_rx) = mpsc::channel(QUEUE_DEPTH);
    (ReloadHandle { requests_tx }, ReloadRequests { requests_rx })
}

/// Asks for a reload.
#[derive(Debug, Clone)]
pub struct ReloadHandle {
    requests_tx: mpsc::Sender<ReloadRequest>,
}

impl ReloadHandle {
    /// Asks for a reload and waits for its result: what changed, in one sentence.
    pub async fn reload(&self) -> Result<String, ReloadError> {
        let (answer_tx, answer_rx) = oneshot::channel();
        self.requests_tx
            .try_send(ReloadRequest { answer_tx })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ReloadError::Busy,
                mpsc::error::TrySendError::Closed(_) => ReloadError::Closed,
            })?;
        answer_rx.await.map_err(|_| ReloadError::Closed)?
    }

    /// A task: reloads on each SIGHUP and logs what came of it, until `shutdown`.
    pub fn on_hangup(
        self,
        shutdown: Shutdown,
    ) -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let mut hangups = signal(SignalKind::hangup())?;
        Ok(async move {
            while let Some(Some(())) = shutdown.or_signaled(hangups.recv()).await {
                match self.reload().await {
                    Ok(summary) => info!(summary, "Reloaded the configuration on SIGHUP"),
                    Err(error) => {
                        warn!(%error, "Reload on SIGHUP failed; the configuration in force stays");
                    }
                }
            }
        })
    }
}

/// The owner's end: receives requests.
#[derive(Debug)]
pub struct ReloadRequests {
    requests_rx: mpsc::Receiver<ReloadRequest>,
}

impl ReloadRequests {
    /// The next request; `None` when every handle is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<ReloadRequest> {
        self.requests_rx.recv().await
    }
}

/// One request, to be answered.
#[derive(Debug)]
pub struct ReloadRequest {
    answer_tx: oneshot::Sender<Result<String, ReloadError>>,
}

impl ReloadRequest {
    /// Answers with what changed (`Ok`) or why nothing did (`Err`). An asker that went away is not
    /// an error.
    pub fn answer(self, result: Result<String, String>) {
        self.answer_tx
            .send(result.map_err(ReloadError::Refused))
            .ok();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_asker_hears_what_came_of_it() {
        let (handle, mut requests) = channel();
        let owner = async {
            requests
                .next()
                .await
                .unwrap()
                .answer(Ok("interval 1s → 2s".into()));
            requests
                .next()
                .await
                .unwrap()
                .answer(Err("line 3: unknown key".into()));
        };
        let asker = async {
            assert_eq!(handle.reload().await.unwrap(), "interval 1s → 2s");
            assert_eq!(
                handle.reload().await.unwrap_err().to_string(),
                "line 3: unknown key"
            );
        };
        tokio::join!(owner, asker);
    }

    #[tokio::test]
    async fn an_owner_that_is_gone_or_drops_the_request_is_told_as_shutting_down() {
        let (handle, mut requests) = channel();
        let dropped = async { drop(requests.next().await.unwrap()) };
        let (answer, ()) = tokio::join!(handle.reload(), dropped);
        assert_eq!(answer, Err(ReloadError::Closed));
        drop(requests);
        assert_eq!(handle.reload().await, Err(ReloadError::Closed));
    }

    #[tokio::test]
    async fn a_full_queue_is_said_at_once() {
        let (handle, _requests) = channel();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..QUEUE_DEPTH {
            let handle = handle.clone();
            waiting.spawn(async move { handle.reload().await });
        }
        tokio::task::yield_now().await;
        assert_eq!(handle.reload().await, Err(ReloadError::Busy));
    }

    #[tokio::test]
    async fn a_hangup_asks_for_a_reload() {
        let (handle, mut requests) = channel();
        let shutdown = Shutdown::new();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(handle.on_hangup(shutdown.clone()).unwrap());
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP)
            .unwrap();
        let request = tokio::time::timeout(Duration::from_secs(10), requests.next())
            .await
            .unwrap()
            .unwrap();
        request.answer(Ok("nothing changed".into()));
        shutdown.trigger();
        tasks.join_next().await.unwrap().unwrap();
    }
}
