//! The embedded store: nodes, incidents with their timeline, and the outbox of notifications, in one `SQLite` file.
//!
//! One thread owns the connection; everybody else has a [`StoreHandle`]. Writes that arrive together share a
//! transaction, and a batch is one transaction in any case: an incident and the notification about it are both there
//! or neither is. WAL with `synchronous=FULL`: what was confirmed survives `kill -9` and power loss.
//!
//! **The store may fail, monitoring may not.** When a write fails (full disk, read-only file system, lock), the batch
//! goes to a bounded `backlog` and is tried again every second; the answer to the writer is
//! [`Written::Kept`] instead of [`Written::Durable`], and [`StoreState`] says so to the API, the metrics and the
//! notifier. Every operation is an upsert by key, so trying again is safe.
//!
//! Reads happen once, at the start ([`Loaded`]); afterwards memory is the truth and the file its copy. Only what memory does
//! not keep is read later, beside the writer ([`StoreReader`]).
//!
//! The thread ends when the last handle is dropped, after a last attempt at what is still in the backlog.

mod backlog;
mod database;
mod error;
mod operation;
mod reader;
mod schema;
mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use meshprobe_core::finding::Pattern;
use meshprobe_daemon::tasks::Tasks;
use tokio::sync::{mpsc, oneshot, watch};

pub use error::StoreError;
pub use operation::{Finished, Notification, NotificationState, Operation};
pub use reader::{StoreReader, Timeline, TimelineEvent, Told};

use crate::{
    incident::{Incident, IncidentState},
    membership::{NodeRecord, Progress, Remembered},
    notify::ToldRecord,
    pipeline::{StoreBatch, StoreUnavailable},
    silence::Silence,
};

/// Batches that wait for the thread. A batch is written in some milliseconds, so this is several seconds of the
/// busiest mesh; a writer that finds it full waits.
const QUEUE_DEPTH: usize = 1024;

/// What the file held at the start.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Every node, by name.
    pub nodes: Vec<NodeRecord>,
    /// How far each prober's reports were taken.
    pub progress: Vec<Progress>,
    /// Open incidents, and resolved ones up to a limit, newest first.
    pub incidents: Vec<Incident>,
    /// What people know of incidents.
    pub told: Vec<ToldRecord>,
    /// Notifications that are neither delivered nor given up, oldest first.
    pub outbox: Vec<Notification>,
    /// The newest that are done with, oldest first.
    pub finished: Vec<Finished>,
    /// How many were given up, over all time that is kept.
    pub dead_letters: u64,
    /// Silences that are in force, will be, or were until lately.
    pub silences: Vec<Silence>,
}

/// Resolved incidents that are younger than this may be opened again under their old number of reopenings.
const REMEMBER_RESOLVED: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

impl Loaded {
    /// What the pipeline has to know of it.
    pub fn remembered(&self, now: jiff::Timestamp) -> Remembered {
        let since = now - REMEMBER_RESOLVED;
        let incidents = self
            .incidents
            .iter()
            // The store's own incident is the notifier's business.
            .filter(|incident| incident.pattern != Pattern::StoreUnwritable)
            .filter(|incident| {
                incident.state == IncidentState::Open || incident.updated_at >= since
            })
            .cloned()
            .collect();
        Remembered {
            nodes: self.nodes.clone(),
            progress: self.progress.clone(),
            incidents,
        }
    }
}

/// How the store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreState {
    /// Why it cannot be written, as a sentence; `None` while it can.
    pub unwritable: Option<String>,
    /// Operations that wait in memory.
    pub backlog: usize,
    /// Operations that were given up because the backlog was full.
    pub dropped: u64,
}

impl StoreState {
    /// Is everything on disk that should be?
    pub fn is_writable(&self) -> bool {
        self.unwritable.is_none()
    }
}

/// Where a write ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// On disk.
    Durable,
    /// In memory, until the disk takes it.
    Kept,
}

/// Settings of the store.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The database file.
    pub path: PathBuf,
    /// Most operations in the backlog.
    pub backlog: usize,
    /// Resolved incidents and finished notifications are deleted after this time.
    pub keep_resolved: std::time::Duration,
}

/// An opened store whose thread does not run yet.
#[derive(Debug)]
pub struct Store {
    writer: writer::Writer,
    batches_tx: mpsc::Sender<Batch>,
    state_rx: watch::Receiver<StoreState>,
}

impl Store {
    /// Opens or creates the file and reads what it holds.
    ///
    /// A damaged file, one of a newer version, or a missing folder is an error: starting empty would forget open
    /// incidents. A full or read-only disk is not: the store starts with what it can read and the state says so.
    pub fn open(settings: StoreSettings) -> Result<(Self, Loaded), StoreError> {
        let (batches_tx, batches_rx) = mpsc::channel(QUEUE_DEPTH);
        let (state_tx, state_rx) = watch::channel(StoreState::default());
        let (writer, loaded) = writer::Writer::open(settings, batches_rx, state_tx)?;
        Ok((
            Self {
                writer,
                batches_tx,
                state_rx,
            },
            loaded,
        ))
    }

    /// Starts the thread.
    pub fn spawn(self, tasks: &mut Tasks) -> StoreHandle {
        let Self {
            writer,
            batches_tx,
            state_rx,
        } = self;
        let runtime = tokio::runtime::Handle::current();
        tasks.spawn_blocking("store", move || writer.run(&runtime));
        StoreHandle {
            batches_tx,
            state_rx,
        }
    }
}

/// Operations that are written together or not at all.
#[derive(Debug)]
struct Batch {
    operations: Vec<Operation>,
    written_tx: Option<oneshot::Sender<Written>>,
}

/// Writes to the store from anywhere.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    batches_tx: mpsc::Sender<Batch>,
    state_rx: watch::Receiver<StoreState>,
}

impl StoreHandle {
    /// A handle without a store: nothing is written.
    #[cfg(test)]
    pub(crate) fn of_nothing() -> Self {
        Self {
            batches_tx: mpsc::channel(1).0,
            state_rx: watch::channel(StoreState::default()).1,
        }
    }

    /// Writes a batch and says where it ended up. Cancelling the wait does not cancel the write.
    pub async fn write(&self, operations: Vec<Operation>) -> Written {
        let (written_tx, written_rx) = oneshot::channel();
        let batch = Batch {
            operations,
            written_tx: Some(written_tx),
        };
        if self.batches_tx.send(batch).await.is_err() {
            return Written::Kept;
        }
        written_rx.await.unwrap_or(Written::Kept)
    }

    /// Hands a batch over without waiting for the disk, nor for room in the queue: `false` when there is none, and the
    /// batch is not taken.
    #[must_use]
    pub fn try_submit(&self, operations: Vec<Operation>) -> bool {
        self.batches_tx
            .try_send(Batch {
                operations,
                written_tx: None,
            })
            .is_ok()
    }

    /// A task: writes what the pipeline wants remembered, in order, until the pipeline ends.
    ///
    /// What is only kept in memory is answered as an error: reports are acknowledged when they are on disk, and the
    /// prober keeps them until then.
    pub async fn serve_pipeline(self, mut batches_rx: mpsc::Receiver<StoreBatch>) {
        while let Some(StoreBatch { changes, done }) = batches_rx.recv().await {
            let operations = changes.into_iter().map(Operation::Mesh).collect();
            let result = match self.write(operations).await {
                Written::Durable => Ok(()),
                Written::Kept => Err(StoreUnavailable),
            };
            // The pipeline stops listening when the stream that it was for has ended.
            done.send(result).ok();
        }
    }

    /// How the store is.
    pub fn state(&self) -> StoreState {
        self.state_rx.borrow().clone()
    }

    /// Hears each change of the state. Holding it does not keep the thread alive.
    pub fn watch_state(&self) -> watch::Receiver<StoreState> {
        self.state_rx.clone()
    }
}
