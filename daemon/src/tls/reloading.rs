//! A value built from files that is replaced when they change.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use tracing::{info, warn};

use super::{TlsError, files::FileSet};
use crate::shutdown::Shutdown;

type Build<T> = Box<dyn Fn(&FileSet) -> Result<Arc<T>, TlsError> + Send + Sync>;

/// What a look at the files came to.
#[derive(Debug)]
#[must_use = "a refused reload has to be told to somebody"]
pub enum Reloaded {
    /// Nothing has changed since the last look (or the same error is still there).
    Unchanged,
    /// The new content is in force.
    Replaced,
    /// The new content is no good; the old one stays in force.
    Refused(TlsError),
}

/// A configuration in force, and the files that it came from. Cheap to clone.
pub struct Reloading<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    paths: Vec<PathBuf>,
    build: Build<T>,
    current: RwLock<Arc<T>>,
    /// What the last look saw, good or bad, so that each change is judged (and complained about)
    /// once.
    last_seen: Mutex<Result<FileSet, String>>,
}

impl<T> Clone for Reloading<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<T> fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading")
            .field("paths", &self.inner.paths)
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Reloading<T> {
    pub(super) fn new(paths: Vec<PathBuf>, build: Build<T>) -> Result<Self, TlsError> {
        let files = FileSet::read(&paths)?;
        let current = RwLock::new(build(&files)?);
        let last_seen = Mutex::new(Ok(files));
        Ok(Self {
            inner: Arc::new(Inner {
                paths,
                build,
                current,
                last_seen,
            }),
        })
    }

    /// The configuration in force now. Take it for each connection and do not keep it.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.inner.current.read())
    }

    /// Looks at the files once and replaces the configuration if they changed and are good.
    pub fn poll(&self) -> Reloaded {
        let Inner {
            paths,
            build,
            current,
            last_seen,
        } = &*self.inner;
        let mut last_seen = last_seen.lock();
        let files = match FileSet::read(paths) {
            Ok(files) => files,
            Err(error) => {
                let seen = Err(error.to_string());
                if *last_seen == seen {
                    return Reloaded::Unchanged;
                }
                *last_seen = seen;
                return Reloaded::Refused(error);
            }
        };
        if last_seen.as_ref() == Ok(&files) {
            return Reloaded::Unchanged;
        }
        let built = build(&files);
        *last_seen = Ok(files);
        match built {
            Ok(built) => {
                *current.write() = built;
                Reloaded::Replaced
            }
            Err(error) => Reloaded::Refused(error),
        }
    }

    /// A task: looks at the files every `interval` until `shutdown`, and logs what changed.
    pub async fn watch(self, interval: Duration, shutdown: Shutdown) {
        let files = self
            .inner
            .paths
            .iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
            .join(", ");
        while shutdown
            .or_signaled(tokio::time::sleep(interval))
            .await
            .is_some()
        {
            match self.poll() {
                Reloaded::Unchanged => {}
                Reloaded::Replaced => info!(files, "TLS files changed; the new ones are in force"),
                Reloaded::Refused(error) => {
                    warn!(files, %error, "TLS files changed and are no good; the old ones stay in force");
                }
            }
        }
    }
}
