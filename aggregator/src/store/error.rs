//! Why the store cannot be opened, with what to do about it.

use std::{io, path::PathBuf};

/// Refused to start on this file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder is not there or cannot be entered.
    #[error("the store's folder {} cannot be used: create it and make it writable for this user, or set store.path", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The content is not what was written.
    #[error(
        "the store {path} is damaged ({reason}). Starting with an empty one would forget open incidents and undelivered \
         notifications, so nothing was touched. Restore a backup, or save what is readable with \
         `sqlite3 {path} .recover | sqlite3 {path}.recovered` and put that file in its place, or move it away \
         (`mv {path} {path}.damaged`) to start empty",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What `SQLite` said.
        reason: String,
    },
    /// A later version has changed the tables.
    #[error(
        "the store {} was written by a newer version (its schema is {found}, this version knows {known}): \
         run that version, or set store.path to another file",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Another aggregator writes this file.
    #[error("the store {} is used by another process: each aggregator needs a file of its own", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
    },
    /// Anything else.
    #[error("open the store {}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What `SQLite` said.
        #[source]
        source: rusqlite::Error,
    },
}
