//! Work that a fault does for as long as it lasts, on a thread of its own.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::FaultError;

/// A running thread. It must be ended: a handle that is lost leaves it running.
#[derive(Debug)]
#[must_use = "the work goes on until it is ended"]
pub(super) struct Background {
    over: Arc<Over>,
    thread: JoinHandle<Result<(), FaultError>>,
}

/// Tells the thread that the fault is healed.
#[derive(Debug, Default)]
pub(super) struct Over {
    is_over: Mutex<bool>,
    changed: Condvar,
}

impl Over {
    /// Sleeps, but not longer than the fault lasts. True: it is over.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        let (is_over, _) = self
            .changed
            .wait_timeout_while(is_over, time, |is_over| !*is_over)
            .unwrap_or_else(PoisonError::into_inner);
        *is_over
    }

    fn tell(&self) {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

impl Background {
    /// `work` must look at `Over` often, and undo what it did before it returns.
    pub(super) fn start(
        name: &str,
        work: impl FnOnce(&Over) -> Result<(), FaultError> + Send + 'static,
    ) -> Result<Self, FaultError> {
        let over = Arc::new(Over::default());
        let told = Arc::clone(&over);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&told))
            .map_err(FaultError::Timer)?;
        Ok(Self { over, thread })
    }

    /// Tells the thread, and waits for what it says.
    pub(super) fn end(self) -> Result<(), FaultError> {
        self.over.tell();
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
