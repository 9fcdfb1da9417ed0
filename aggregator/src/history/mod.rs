//! The past: what the mesh looked like at any moment, and the pictures around incidents.
//!
//! **What is kept.** Every ten seconds one blob for each layer (`window`): sums of its rows, columns and pairs of zones,
//! which paths were sampled, and the paths that were not healthy. Whoever was sampled and is not among those was healthy;
//! whoever was not sampled is not said to have been. Beside them one blob of nodes and findings. Six of those become one
//! of a minute, ten of these one of ten minutes; each resolution has its own retention, and all together a size
//! ([`HistorySettings`]).
//!
//! **Where.** In a file of its own beside the store. The store answers within milliseconds because it writes little, with
//! `synchronous=FULL`; history writes blobs of megabytes, deletes and vacuums. Neither waits for the other's lock, and history
//! that is damaged is moved aside and begun anew, which the store must never do.
//!
//! **A full disk hurts nobody else.** Nobody waits for the history. What the disk refuses stays in memory within a bound
//! (`pending`), is tried again with each window, and answers questions meanwhile; what did not fit is a marked gap.
//!
//! **The last minutes** are kept as pictures in memory (`Series`), packed and within a bound. When an incident opens, those
//! around it are written, so that its bundle can be made weeks later.
//!
//! One thread (`keeper`) owns the file and everything above. It ends when the pictures end, after the last window is
//! written.

mod archive;
mod chronicle;
mod codec;
mod database;
mod fold;
mod keeper;
mod metrics;
mod past;
mod pending;
mod record;
mod recorder;
#[cfg(test)]
mod tests;
mod window;

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use meshprobe_core::{diagnosis::Picture, finding::Finding, path::Layer};
use meshprobe_daemon::tasks::Tasks;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

pub use chronicle::Chronicle;
pub use metrics::HistoryMetrics;
pub use past::{Past, PastLayer, PastMesh, WindowSpan};
pub use record::{Gap, MeshWindow, PastFinding, PastNode, Resolution};
pub use window::{Axes, Counted, LayerWindow, Line, OddRun, Run, ZoneLine};

use self::keeper::{Inputs, Keeper};
use crate::{incident::Incident, notify::Incidents, pipeline::Diagnosed};

/// Questions that wait. Each takes some milliseconds; whoever finds no room is told to ask again.
const QUESTIONS: usize = 16;

/// A picture of the mesh with the time of day and what the diagnosis found in it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The time of day that `picture.now` was.
    pub at: Timestamp,
    /// The mesh.
    pub picture: Arc<Picture>,
    /// What was found in this very picture.
    pub findings: Arc<[Finding]>,
    /// The incidents that were open then: what the detector declared is a finding too, and it is in no picture.
    pub open: Arc<[Incident]>,
}

impl Observed {
    /// A run of the diagnosis while these incidents were open.
    pub fn of(diagnosed: &Diagnosed, open: Vec<Incident>) -> Self {
        Self {
            at: diagnosed.shot.at,
            picture: Arc::clone(&diagnosed.shot.picture),
            findings: diagnosed.diagnosis.findings.clone().into(),
            open: open.into(),
        }
    }
}

/// Settings of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// The file.
    pub path: PathBuf,
    /// Windows of each resolution are deleted after this time, the finest first.
    pub keep: [Duration; 3],
    /// Pictures around incidents are deleted after this time.
    pub keep_pictures: Duration,
    /// Octets of the file; beyond it the oldest windows go.
    pub max_octets: u64,
    /// Octets that wait in memory while the disk refuses.
    pub pending_octets: usize,
    /// How long the last pictures stay in memory.
    pub picture_span: Duration,
    /// Octets that they may take.
    pub picture_octets: usize,
    /// Octets of pictures that are kept of one incident.
    pub bundle_octets: usize,
}

impl HistorySettings {
    /// Some pictures of 500 nodes before an incident opened and after, in four layers: enough to see it come.
    pub const DEFAULT_BUNDLE_OCTETS: usize = 8 << 20;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Nothing is known of that moment; the text says why.
    #[error("{0}")]
    Nothing(String),
    /// Too many questions wait.
    #[error("too many questions about the past wait already; ask again in a moment")]
    Busy,
    /// What was written cannot be read.
    #[error("the history cannot be read: {0}")]
    Unreadable(String),
    /// The process is about to end, or has no history.
    #[error("the aggregator is shutting down")]
    Stopped,
}

/// A question to the keeper.
#[derive(Debug)]
enum Question {
    Past {
        at: Timestamp,
        layers: Layers,
        answer: oneshot::Sender<Result<Past, HistoryError>>,
    },
    Bundle {
        incident: String,
        shown: Value,
        answer: oneshot::Sender<Result<Vec<u8>, HistoryError>>,
    },
}

/// Which layers a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// None: nodes and findings.
    None,
    /// One.
    One(Layer),
    /// All that have data.
    All,
}

/// Asks the keeper. Cheap to clone; does not keep it alive.
#[derive(Clone, Debug)]
pub struct HistoryHandle {
    questions: mpsc::Sender<Question>,
}

impl HistoryHandle {
    /// What was known at a moment: nodes, findings and these layers, all of one window.
    pub async fn at(&self, at: Timestamp, layers: Layers) -> Result<Past, HistoryError> {
        let (answer, reply) = oneshot::channel();
        self.ask(Question::Past { at, layers, answer })?;
        reply.await.map_err(|_| HistoryError::Stopped)?
    }

    /// The bundle of an incident, `shown` as the API shows it: the octets of a file.
    pub async fn bundle(&self, incident: String, shown: Value) -> Result<Vec<u8>, HistoryError> {
        let (answer, reply) = oneshot::channel();
        self.ask(Question::Bundle {
            incident,
            shown,
            answer,
        })?;
        reply.await.map_err(|_| HistoryError::Stopped)?
    }

    /// A handle whose keeper does not run.
    #[cfg(test)]
    pub(crate) fn of_nothing() -> Self {
        Self {
            questions: mpsc::channel(1).0,
        }
    }

    fn ask(&self, question: Question) -> Result<(), HistoryError> {
        self.questions
            .try_send(question)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => HistoryError::Busy,
                mpsc::error::TrySendError::Closed(_) => HistoryError::Stopped,
            })
    }
}

/// The history, put together and not yet running.
#[derive(Debug)]
pub struct History {
    keeper: Keeper,
}

impl History {
    /// Puts it together. The file is opened by the thread: it may be on a disk that refuses.
    pub fn new(
        settings: HistorySettings,
        pictures: watch::Receiver<Option<Diagnosed>>,
        incidents: &Incidents,
        metrics: HistoryMetrics,
    ) -> (Self, HistoryHandle) {
        let (questions_tx, questions_rx) = mpsc::channel(QUESTIONS);
        let (open, changes) = incidents.watch();
        let inputs = Inputs {
            pictures,
            open,
            all: incidents.clone(),
            changes: Some(changes),
            questions: questions_rx,
        };
        let keeper = Keeper {
            settings,
            metrics,
            inputs,
        };
        let handle = HistoryHandle {
            questions: questions_tx,
        };
        (Self { keeper }, handle)
    }

    /// Starts the thread.
    pub fn spawn(self, tasks: &mut Tasks) {
        let runtime = tokio::runtime::Handle::current();
        tasks.spawn_blocking("history", move || self.keeper.run(&runtime));
    }
}
