//! Probes on demand: somebody asks, one probe is made out of turn, and its end is the answer. It counts in no window.
//!
//! A demand names a path; whichever runner has that path makes the probe with its own tools, so that what is shown is what
//! the regular probes would see. STAMP's engine has no tasks; its demands are made by `udp` with a socket of their own.

mod run;
mod udp;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::path_id::PathId;
use crate::runner::Finding;

pub use run::{DemandRun, run};

/// Demands that wait for one runner; as many as may be under way together.
const DEPTH: usize = MAX_UNDER_WAY;

/// Demands under way at once.
pub const MAX_UNDER_WAY: usize = 8;

/// One probe, wanted now.
#[derive(Debug)]
pub struct Demand {
    /// On which path.
    pub path: PathId,
    /// Longest wait; `None`: that of the schedule.
    pub timeout: Option<Duration>,
    answer_tx: Mutex<Option<oneshot::Sender<Finding>>>,
}

impl Demand {
    /// Who makes the probe answers here. Only the first one does.
    pub fn take_answer(&self) -> Option<oneshot::Sender<Finding>> {
        self.answer_tx.lock().take()
    }
}

/// Where runners listen for demands.
#[derive(Debug, Default)]
pub struct Demands {
    listeners: Mutex<Vec<mpsc::Sender<Arc<Demand>>>>,
}

impl Demands {
    /// A runner listens from now on.
    pub fn listen(&self) -> mpsc::Receiver<Arc<Demand>> {
        let (demands_tx, demands_rx) = mpsc::channel(DEPTH);
        self.listeners.lock().push(demands_tx);
        demands_rx
    }

    /// Wants a probe. The answer ends without one when no runner has the path, or none has room.
    pub fn want(&self, path: PathId, timeout: Option<Duration>) -> oneshot::Receiver<Finding> {
        let (answer_tx, answer_rx) = oneshot::channel();
        let demand = Arc::new(Demand {
            path,
            timeout,
            answer_tx: Mutex::new(Some(answer_tx)),
        });
        for listener in self.listeners.lock().iter() {
            listener.try_send(Arc::clone(&demand)).ok();
        }
        answer_rx
    }
}
