//! The book of silences as the API, the notifier and the metrics share it.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::{
    Departures, Mute, Silence, SilenceBook, SilenceError, SilenceId, SilenceKind, SilenceState,
};
use crate::{incident::Incident, snapshot::Snapshot};

/// Silences for everybody. Cheap to clone; no lock is held while anybody waits.
#[derive(Clone, Debug)]
pub struct Silences {
    inner: Arc<RwLock<Inner>>,
    changed_tx: watch::Sender<()>,
}

#[derive(Debug)]
struct Inner {
    book: SilenceBook,
    departures: Departures,
}

impl Default for Silences {
    fn default() -> Self {
        Self::new([])
    }
}

impl Silences {
    /// Those that were remembered.
    pub fn new(known: impl IntoIterator<Item = Silence>) -> Self {
        Self {
            inner: Arc::new(RwLock::new(Inner {
                book: SilenceBook::restore(known),
                departures: Departures::default(),
            })),
            changed_tx: watch::Sender::new(()),
        }
    }

    /// One more, if it makes sense and there is room.
    pub fn add(&self, silence: Silence, now: Timestamp) -> Result<(), SilenceError> {
        self.inner.write().book.add(silence, now)?;
        self.changed_tx.send_replace(());
        Ok(())
    }

    /// Ends one now, and gives it back as it is then; `None`: there is none, or it is over.
    pub fn end(&self, id: &SilenceId, now: Timestamp) -> Option<Silence> {
        let ended = self.inner.write().book.end(id, now)?;
        self.changed_tx.send_replace(());
        Some(ended)
    }

    /// All of them: those that begin last first.
    pub fn all(&self) -> Vec<Silence> {
        self.inner.read().book.iter().cloned().collect()
    }

    /// The one with this identity.
    pub fn one(&self, id: &SilenceId) -> Option<Silence> {
        self.inner.read().book.one(id).cloned()
    }

    /// How many are in this state.
    pub fn count(&self, kind: SilenceKind, state: SilenceState, now: Timestamp) -> usize {
        self.inner.read().book.count(kind, state, now)
    }

    /// Why nobody is told of an incident; `None`: people are told.
    pub fn mute(&self, incident: &Incident, snapshot: &Snapshot, now: Timestamp) -> Option<Mute> {
        let inner = self.inner.read();
        inner.book.mute(incident, snapshot, &inner.departures, now)
    }

    /// The mesh is like this now: who is draining?
    pub fn follow(&self, snapshot: &Snapshot, now: Timestamp) {
        let is_news = self.inner.write().departures.follow(snapshot, now);
        if is_news {
            self.changed_tx.send_replace(());
        }
    }

    /// When something is muted, or no longer, without anybody doing anything.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let inner = self.inner.read();
        let changes = [
            inner.book.next_change(now),
            inner.departures.next_change(now),
        ];
        changes.into_iter().flatten().min()
    }

    /// Hears each change that somebody makes.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changed_tx.subscribe()
    }
}
