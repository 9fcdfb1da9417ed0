//! The thread that owns the connection: groups batches into transactions, and keeps what the disk refuses.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use meshprobe_daemon::clock;
use rusqlite::Connection;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{debug, error, info, warn};

use super::{
    Batch, Loaded, Operation, StoreError, StoreSettings, StoreState, Written,
    backlog::Backlog,
    database::{self, Access},
};
use crate::wall;

/// How often a disk that refused is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Batches that share a transaction at most: the fsync is shared, the wait of the first one stays short.
const GROUP: usize = 64;
/// How often finished rows are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Writer {
    settings: StoreSettings,
    /// `None`: the file could not be opened for writing yet.
    connection: Option<Connection>,
    backlog: Backlog,
    batches_rx: mpsc::Receiver<Batch>,
    state_tx: watch::Sender<StoreState>,
    /// Held as long as this process writes; `None` where no lock file could be made.
    _lock: Option<File>,
}

impl Writer {
    pub(super) fn open(
        settings: StoreSettings,
        batches_rx: mpsc::Receiver<Batch>,
        state_tx: watch::Sender<StoreState>,
    ) -> Result<(Self, Loaded), StoreError> {
        let path = &settings.path;
        check_folder(path)?;
        let lock = lock(path)?;
        let (connection, loaded) = match open_and_load(path, Access::Shared) {
            Ok((connection, loaded)) => (Some(connection), loaded),
            Err(StoreError::Sqlite { source, .. }) if database::is_refused_write(&source) => {
                warn!(path = %path.display(), error = %source, "The store cannot be written; trying without its side files");
                let loaded = read_without_writing(path)?;
                state_tx.send_modify(|state| state.unwritable = Some(source.to_string()));
                (None, loaded)
            }
            Err(other) => return Err(other),
        };
        let backlog = Backlog::new(settings.backlog);
        Ok((
            Self {
                settings,
                connection,
                backlog,
                batches_rx,
                state_tx,
                _lock: lock,
            },
            loaded,
        ))
    }

    /// Runs until the last handle is dropped.
    pub(super) fn run(mut self, runtime: &tokio::runtime::Handle) {
        let mut next_prune = clock::now() + PRUNE_EVERY;
        let mut next_retry = clock::now() + RETRY_EVERY;
        loop {
            let wait = self.wait(next_retry, next_prune);
            match runtime.block_on(async { timeout(wait, self.batches_rx.recv()).await }) {
                Ok(Some(first)) => self.take(first),
                Ok(None) => break,
                Err(_elapsed) => {}
            }
            let now = clock::now();
            if now >= next_retry {
                if !self.backlog.is_empty() || self.connection.is_none() {
                    self.retry();
                }
                next_retry = now + RETRY_EVERY;
            }
            if now >= next_prune {
                self.prune();
                next_prune = now + PRUNE_EVERY;
            }
        }
        self.finish();
    }

    fn wait(&self, next_retry: Instant, next_prune: Instant) -> Duration {
        let refused = !self.backlog.is_empty() || self.connection.is_none();
        let until = if refused {
            next_retry.min(next_prune)
        } else {
            next_prune
        };
        until
            .saturating_duration_since(clock::now())
            .max(Duration::from_millis(1))
    }

    /// Writes `first` and whatever else waits already.
    fn take(&mut self, first: Batch) {
        let mut group = vec![first];
        while group.len() < GROUP {
            match self.batches_rx.try_recv() {
                Ok(batch) => group.push(batch),
                Err(_) => break,
            }
        }
        // Order is kept: while something waits in memory, newer writes queue up behind it.
        let refused = if self.backlog.is_empty() {
            self.write(group.iter().flat_map(|batch| &batch.operations))
                .err()
        } else {
            Some(String::new())
        };
        let written = if refused.is_none() {
            Written::Durable
        } else {
            Written::Kept
        };
        let mut waiting = Vec::new();
        for Batch {
            operations,
            written_tx,
        } in group
        {
            waiting.extend(written_tx);
            if written == Written::Kept {
                for operation in operations {
                    self.backlog.push(operation);
                }
            }
        }
        // The state first: who hears "kept" and looks, finds out why.
        match refused {
            Some(reason) if !reason.is_empty() => self.set_unwritable(reason),
            Some(_) => self.publish_backlog(),
            None => {}
        }
        for written_tx in waiting {
            // A writer that stopped waiting is not interested.
            written_tx.send(written).ok();
        }
    }

    fn write<'a>(
        &mut self,
        operations: impl IntoIterator<Item = &'a Operation>,
    ) -> Result<(), String> {
        let Some(connection) = &mut self.connection else {
            return Err(self
                .state_tx
                .borrow()
                .unwritable
                .clone()
                .unwrap_or_default());
        };
        database::write(connection, operations).map_err(|error| error.to_string())
    }

    fn retry(&mut self) {
        // A new connection each time: after a remount or a replaced volume the old one keeps a dead file open.
        self.connection = None;
        let mut connection = match database::reconnect(&self.settings.path) {
            Ok(connection) => connection,
            Err(error) => {
                self.set_unwritable(error.to_string());
                return;
            }
        };
        let written = database::write(&mut connection, self.backlog.iter());
        match written {
            Err(error) if !database::is_refused_write(&error) => {
                warn!(%error, "The store refuses a change for what it is; writing the others one by one");
                self.write_one_by_one(connection);
            }
            written => {
                self.connection = Some(connection);
                match written {
                    Ok(()) => self.caught_up(),
                    Err(error) => self.set_unwritable(error.to_string()),
                }
            }
        }
    }

    /// A change that the store will never take must not hold up all others for ever.
    fn write_one_by_one(&mut self, mut connection: Connection) {
        let mut refused = 0;
        for operation in self.backlog.iter() {
            match database::write(&mut connection, [operation]) {
                Ok(()) => {}
                Err(error) if database::is_refused_write(&error) => {
                    // What was written already is written again next time; every operation is an upsert.
                    self.connection = Some(connection);
                    self.set_unwritable(error.to_string());
                    return;
                }
                Err(error) => {
                    refused += 1;
                    error!(%error, ?operation, "The store refuses this change; it is given up");
                }
            }
        }
        self.connection = Some(connection);
        self.backlog.give_up(refused);
        self.caught_up();
    }

    fn caught_up(&mut self) {
        let caught_up = self.backlog.len();
        self.backlog.clear();
        let dropped = self.backlog.dropped();
        self.state_tx.send_replace(StoreState {
            unwritable: None,
            backlog: 0,
            dropped,
        });
        info!(caught_up, dropped, "The store can be written again");
    }

    fn set_unwritable(&self, reason: String) {
        let (backlog, dropped) = (self.backlog.len(), self.backlog.dropped());
        self.state_tx.send_if_modified(|state| {
            if state.unwritable.is_none() {
                warn!(reason, path = %self.settings.path.display(), "The store cannot be written; changes are kept in memory");
            }
            let new = StoreState { unwritable: Some(reason), backlog, dropped };
            let changed = *state != new;
            *state = new;
            changed
        });
    }

    fn publish_backlog(&self) {
        let (backlog, dropped) = (self.backlog.len(), self.backlog.dropped());
        self.state_tx.send_modify(|state| {
            state.backlog = backlog;
            state.dropped = dropped;
        });
    }

    fn prune(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let keep = i64::try_from(self.settings.keep_resolved.as_millis()).unwrap_or(i64::MAX);
        match database::prune(connection, wall::millis().saturating_sub(keep)) {
            Ok(0) => {}
            Ok(rows) => debug!(rows, "Deleted old incidents and notifications"),
            Err(error) => debug!(%error, "Cannot delete old rows now"),
        }
    }

    fn finish(mut self) {
        if !self.backlog.is_empty() {
            self.retry();
        }
        if !self.backlog.is_empty() {
            error!(
                operations = self.backlog.len(),
                "The store cannot be written at the end; these changes are lost"
            );
        }
        if let Some(Err((_, error))) = self.connection.take().map(Connection::close) {
            warn!(%error, "Closing the store failed; the next start recovers it");
        }
    }
}

/// A full disk does not stop an existing file from being read. A new one starts empty.
fn read_without_writing(path: &Path) -> Result<Loaded, StoreError> {
    for access in [Access::Exclusive, Access::Immutable] {
        match open_and_load(path, access) {
            Ok((_, loaded)) => return Ok(loaded),
            Err(StoreError::Sqlite { source, .. }) if database::is_refused_write(&source) => {
                debug!(?access, error = %source, "The store cannot be read that way");
            }
            Err(other) => return Err(other),
        }
    }
    warn!(path = %path.display(), "The store can be neither written nor read; starting without what it holds");
    Ok(Loaded::default())
}

fn open_and_load(path: &Path, access: Access) -> Result<(Connection, Loaded), StoreError> {
    let mut connection =
        database::connect(path, access).map_err(|source| database::classify(path, source))?;
    database::prepare(&mut connection, path)?;
    let loaded = database::load(&connection, path)?;
    Ok((connection, loaded))
}

/// One aggregator for each file: two would overwrite each other's nodes and send everything twice.
///
/// The lock is on a file of its own, because closing any descriptor of the database would drop `SQLite`'s locks.
fn lock(path: &Path) -> Result<Option<File>, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = match File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&name)
    {
        Ok(file) => file,
        Err(error) => {
            warn!(%error, path = %path.display(), "Cannot make the store's lock file; going on without");
            return Ok(None);
        }
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::Taken {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => {
            warn!(%error, path = %path.display(), "Cannot lock the store; going on without");
            Ok(None)
        }
    }
}

fn check_folder(path: &Path) -> Result<(), StoreError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(StoreError::Folder {
            folder: PathBuf::from(folder),
            source: io::Error::from(io::ErrorKind::NotADirectory),
        }),
        Err(source) => Err(StoreError::Folder {
            folder: PathBuf::from(folder),
            source,
        }),
    }
}
