//! The end of a process: one token that everybody watches, signals that trigger it, and a drain
//! with a deadline.
//!
//! The library takes a [`Shutdown`], the binary makes it. SIGTERM and SIGINT trigger it; a second
//! one of them ends the process at once, because a person who presses Ctrl-C twice means it.

use std::{future::Future, io, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::logging;

/// Asks tasks to stop. Cheap to clone; all clones are one signal.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A signal that nobody has triggered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A signal that follows this one and can be triggered alone: for a part that ends before the
    /// whole does.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
        }
    }

    /// Asks everybody to stop. Does nothing the second time.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Whether stopping was asked for.
    pub fn is_signaled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until stopping is asked for; returns at once when it was. Cancel-safe.
    pub async fn signaled(&self) {
        self.token.cancelled().await;
    }

    /// Like [`Self::signaled`], but owns its clone of the signal, for futures that outlive the
    /// borrow.
    pub fn signaled_owned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.token.clone().cancelled_owned()
    }

    /// Runs `future` unless stopping is asked for first: `None` then, and the future is dropped.
    pub async fn or_signaled<F: Future>(&self, future: F) -> Option<F::Output> {
        self.token.run_until_cancelled(future).await
    }
}

/// The signals that end the process, caught from the moment of [`Signals::install`].
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over SIGTERM and SIGINT. Call it before anything that must be cleaned up exists. Needs
    /// a running runtime.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// A task for [`crate::tasks::Tasks::spawn_helper`]: the first signal triggers `shutdown`, the
    /// second ends the process at once with 128 + its number.
    pub async fn watch(mut self, shutdown: Shutdown) {
        let first = self.next().await;
        info!(
            signal = first.name(),
            "Shutting down; the same signal again ends at once"
        );
        shutdown.trigger();
        let second = self.next().await;
        warn!(
            signal = second.name(),
            "Second signal: ending without a drain"
        );
        logging::flush();
        std::process::exit(second.exit_code());
    }

    async fn next(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.terminate.recv() => StopSignal::Terminate,
            _ = self.interrupt.recv() => StopSignal::Interrupt,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum StopSignal {
    Terminate,
    Interrupt,
}

impl StopSignal {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }

    fn exit_code(self) -> i32 {
        match self {
            Self::Terminate => 128 + 15,
            Self::Interrupt => 128 + 2,
        }
    }
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a missed deadline means that something was cut off"]
pub enum Drained {
    /// Everything finished in time.
    Complete,
    /// The deadline came first; the rest was dropped.
    Missed,
}

/// Lets `work` finish, but no longer than `deadline`; a miss is logged with what was cut off.
pub async fn drain(what: &str, deadline: Duration, work: impl Future<Output = ()>) -> Drained {
    if tokio::time::timeout(deadline, work).await.is_ok() {
        return Drained::Complete;
    }
    warn!(what, ?deadline, "Drain missed its deadline; cutting it off");
    Drained::Missed
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn every_clone_sees_the_signal_and_the_second_trigger_changes_nothing() {
        let shutdown = Shutdown::new();
        let clone = shutdown.clone();
        assert!(!clone.is_signaled());
        shutdown.trigger();
        shutdown.trigger();
        clone.signaled().await;
        assert!(clone.is_signaled());
    }

    #[tokio::test]
    async fn a_child_follows_its_parent_but_not_the_other_way_round() {
        let parent = Shutdown::new();
        let child = parent.child();
        child.trigger();
        assert!(!parent.is_signaled());
        let other = parent.child();
        parent.trigger();
        assert!(other.is_signaled());
    }

    #[tokio::test]
    async fn work_is_dropped_when_the_signal_comes_first() {
        let shutdown = Shutdown::new();
        assert_eq!(shutdown.or_signaled(async { 7 }).await, Some(7));
        shutdown.trigger();
        assert_eq!(shutdown.or_signaled(pending::<u8>()).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_at_its_deadline_and_says_so() {
        assert_eq!(
            drain("nothing", Duration::from_secs(1), async {}).await,
            Drained::Complete
        );
        assert_eq!(
            drain("a stuck peer", Duration::from_secs(1), pending()).await,
            Drained::Missed
        );
    }

    #[tokio::test]
    async fn the_first_signal_triggers_the_shutdown() {
        let shutdown = Shutdown::new();
        let signals = Signals::install().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(signals.watch(shutdown.clone()));
        // Only this process' own handler sees it: tokio has taken SIGTERM over.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .unwrap();
        tokio::time::timeout(Duration::from_secs(10), shutdown.signaled())
            .await
            .unwrap();
    }
}
