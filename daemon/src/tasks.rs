//! The tracked spawner: every task has a name and an owner, and a death that matters ends the
//! process in order.
//!
//! Two kinds of task:
//!
//! - **critical**: has to run until shutdown is asked for. Ending earlier, returning an error or
//!   panicking is a failure: it triggers the shutdown, the others drain, and [`Tasks::run`] returns
//!   the failure.
//! - **helper**: may end whenever it is done, but a panic is a failure all the same. It is cut off
//!   when the critical tasks have ended (the watcher of signals has to live that long).
//!
//! Tasks that come and go (a connection, a request) belong to the task that made them: it keeps
//! them in its own [`tokio::task::JoinSet`] and joins them before it ends. Nothing is
//! fire-and-forget.

use std::{borrow::Cow, collections::HashMap, future::Future, time::Duration};

use tokio::task::{Id, JoinError, JoinSet};
use tracing::{debug, error, info, warn};

use crate::{logging::panic_message, shutdown::Shutdown};

type Name = Cow<'static, str>;

/// Why a process has to end although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum TaskFailure {
    /// A critical task returned before the shutdown.
    #[error("task {name} ended although it has to run until shutdown")]
    Ended {
        /// The task.
        name: Name,
    },
    /// A task returned an error.
    #[error("task {name} failed: {source:#}")]
    Failed {
        /// The task.
        name: Name,
        /// What it returned.
        source: anyhow::Error,
    },
    /// A task panicked; the log has the place.
    #[error("task {name} panicked: {message}")]
    Panicked {
        /// The task.
        name: Name,
        /// What the panic said.
        message: String,
    },
}

/// What a critical task may return: nothing, or a `Result` without a value.
pub trait IntoTaskResult: Send + 'static {
    /// Converts to the common form.
    fn into_task_result(self) -> anyhow::Result<()>;
}

impl IntoTaskResult for () {
    fn into_task_result(self) -> anyhow::Result<()> {
        Ok(())
    }
}

impl<E: Into<anyhow::Error> + Send + 'static> IntoTaskResult for Result<(), E> {
    fn into_task_result(self) -> anyhow::Result<()> {
        self.map_err(Into::into)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Critical,
    Helper,
}

/// The tasks of a process. Dropping it aborts them all.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    entries: HashMap<Id, (Name, Role)>,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task that has to run until the shutdown.
    pub fn spawn<F>(&mut self, name: impl Into<Name>, future: F)
    where
        F: Future<Output: IntoTaskResult> + Send + 'static,
    {
        let task = self
            .set
            .spawn(async move { future.await.into_task_result() });
        self.entries
            .insert(task.id(), (name.into(), Role::Critical));
    }

    /// Spawns critical work that blocks its thread (a database, say). It cannot be cut off: it has
    /// to watch for the shutdown, or for its channel to close, by itself.
    pub fn spawn_blocking<R: IntoTaskResult>(
        &mut self,
        name: impl Into<Name>,
        work: impl FnOnce() -> R + Send + 'static,
    ) {
        let task = self.set.spawn_blocking(move || work().into_task_result());
        self.entries
            .insert(task.id(), (name.into(), Role::Critical));
    }

    /// Spawns a task that may end when it likes and is cut off at the very end.
    pub fn spawn_helper(
        &mut self,
        name: impl Into<Name>,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.set.spawn(async move {
            future.await;
            Ok(())
        });
        self.entries.insert(task.id(), (name.into(), Role::Helper));
    }

    /// Runs until `shutdown` is triggered or a task fails (which triggers it), then waits at most
    /// `drain` for the critical tasks.
    ///
    /// Returns the first failure. A missed drain is logged with the names of the tasks that were
    /// cut off, and is not a failure: what was asked for, the end, happens.
    pub async fn run(mut self, shutdown: &Shutdown, drain: Duration) -> Result<(), TaskFailure> {
        let mut first_failure = None;
        while let Some(Some(end)) = shutdown.or_signaled(self.next_end()).await {
            // The signal and the end that it caused may arrive together.
            let failure = if shutdown.is_signaled() {
                end.failure_in_drain()
            } else {
                end.failure_before_shutdown()
            };
            if let Some(failure) = failure {
                first_failure = Some(failure);
                break;
            }
        }
        if first_failure.is_none() {
            // With no tasks left that could fail, the signal is all there is to wait for.
            shutdown.signaled().await;
        }
        shutdown.trigger();

        let drained = tokio::time::timeout(drain, self.drain_critical(&mut first_failure)).await;
        if drained.is_err() {
            warn!(tasks = self.unfinished(), deadline = ?drain, "Drain missed its deadline; cutting off");
        } else {
            info!("All tasks ended");
        }
        self.set.abort_all();
        first_failure.map_or(Ok(()), Err)
    }

    async fn drain_critical(&mut self, first_failure: &mut Option<TaskFailure>) {
        while self
            .entries
            .values()
            .any(|(_, role)| *role == Role::Critical)
        {
            let Some(end) = self.next_end().await else {
                return;
            };
            match (end.failure_in_drain(), &first_failure) {
                (Some(failure), None) => *first_failure = Some(failure),
                // Only the first failure is returned; this one would be lost.
                (Some(failure), Some(_)) => {
                    error!(%failure, "Another task failed during the drain");
                }
                (None, _) => {}
            }
        }
    }

    async fn next_end(&mut self) -> Option<TaskEnd> {
        let joined = self.set.join_next_with_id().await?;
        let id = match &joined {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        // Every task of the set was entered when it was spawned.
        let (name, role) = self
            .entries
            .remove(&id)
            .unwrap_or(("unnamed".into(), Role::Critical));
        debug!(task = %name, "Task ended");
        Some(TaskEnd {
            name,
            role,
            result: joined.map(|(_, result)| result),
        })
    }

    fn unfinished(&self) -> String {
        let mut names: Vec<&str> = self
            .entries
            .values()
            .filter(|(_, role)| *role == Role::Critical)
            .map(|(name, _)| name.as_ref())
            .collect();
        names.sort_unstable();
        names.join(", ")
    }
}

struct TaskEnd {
    name: Name,
    role: Role,
    result: Result<anyhow::Result<()>, JoinError>,
}

impl TaskEnd {
    fn failure_before_shutdown(self) -> Option<TaskFailure> {
        let (name, role) = (self.name.clone(), self.role);
        self.failure_in_drain()
            .or_else(|| (role == Role::Critical).then_some(TaskFailure::Ended { name }))
    }

    fn failure_in_drain(self) -> Option<TaskFailure> {
        let Self {
            name,
            role: _,
            result,
        } = self;
        match result {
            Ok(Ok(())) => None,
            Ok(Err(source)) => Some(TaskFailure::Failed { name, source }),
            Err(error) => match error.try_into_panic() {
                Ok(payload) => Some(TaskFailure::Panicked {
                    name,
                    message: panic_message(&*payload).to_owned(),
                }),
                // Only this module aborts, and only after the last look.
                Err(_aborted) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const DRAIN: Duration = Duration::from_secs(5);

    async fn until(shutdown: Shutdown) {
        shutdown.signaled().await;
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_end_after_the_signal_are_a_success() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new();
        tasks.spawn("a", until(shutdown.clone()));
        tasks.spawn_helper("watcher", pending());
        tasks.spawn_helper("once", async {});
        let trigger = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            shutdown.trigger();
        };
        let (result, ()) = tokio::join!(tasks.run(&shutdown, DRAIN), trigger);
        result.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_critical_task_that_ends_early_takes_the_process_down() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new();
        tasks.spawn("steady", until(shutdown.clone()));
        tasks.spawn("hasty", async {});
        let failure = tasks.run(&shutdown, DRAIN).await.unwrap_err();
        assert!(
            matches!(failure, TaskFailure::Ended { ref name } if name == "hasty"),
            "{failure}"
        );
        assert!(shutdown.is_signaled());
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_returned_with_its_chain_and_the_name_of_the_task() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new();
        tasks.spawn("store", async {
            Err::<(), _>(anyhow::anyhow!("disk full").context("write the outbox"))
        });
        let failure = tasks.run(&shutdown, DRAIN).await.unwrap_err();
        assert_eq!(
            failure.to_string(),
            "task store failed: write the outbox: disk full"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_becomes_an_error_even_in_a_helper() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new();
        tasks.spawn("steady", until(shutdown.clone()));
        tasks.spawn_helper("clumsy", async { panic!("index {} out of range", 7) });
        let failure = tasks.run(&shutdown, DRAIN).await.unwrap_err();
        assert_eq!(
            failure.to_string(),
            "task clumsy panicked: index 7 out of range"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ignores_the_signal_is_cut_off_at_the_deadline() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new();
        tasks.spawn("deaf", pending::<()>());
        shutdown.trigger();
        let started = crate::clock::now();
        tasks.run(&shutdown, DRAIN).await.unwrap();
        assert_eq!(
            crate::clock::now().saturating_duration_since(started),
            DRAIN
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_in_the_drain_is_not_lost() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new();
        let signal = shutdown.clone();
        tasks.spawn("flush", async move {
            signal.signaled().await;
            Err::<(), _>(anyhow::anyhow!("no space"))
        });
        shutdown.trigger();
        let failure = tasks.run(&shutdown, DRAIN).await.unwrap_err();
        assert_eq!(failure.to_string(), "task flush failed: no space");
    }

    #[tokio::test]
    async fn blocking_work_is_joined_like_any_other() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new();
        tasks.spawn_blocking("database", || Err::<(), _>(anyhow::anyhow!("locked")));
        let failure = tasks.run(&shutdown, DRAIN).await.unwrap_err();
        assert_eq!(failure.to_string(), "task database failed: locked");
    }
}
