//! Reading what is on disk while the writer goes on: the timeline of an incident.
//!
//! Each question opens a connection of its own, read-only and for a moment; WAL lets it read beside the writer. What still
//! waits in memory for the disk is not in the answer.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, params};
use tokio::sync::Semaphore;

use super::{NotificationState, StoreError, database::classify};
use crate::incident::{IncidentId, Transition};

/// Questions that read at the same time; the others wait.
const READERS: usize = 4;
/// Lines of a timeline; the newest are kept.
const MAX_LINES: u32 = 1_000;
/// Longest wait for a lock.
const BUSY: Duration = Duration::from_millis(500);

/// One line of an incident's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineEvent {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub transition: Transition,
    /// What the incident said from then on.
    pub summary: String,
    /// What backed it.
    pub evidence: Vec<String>,
}

/// What became of one message about an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who was told.
    pub receiver: String,
    /// Of what.
    pub transition: Transition,
    /// How far it got.
    pub state: NotificationState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was delivered or given up.
    pub finished_at: Option<Timestamp>,
    /// Attempts so far.
    pub attempts: u32,
    /// How the last attempt failed.
    pub last_error: Option<String>,
}

/// What happened to an incident, and what people were told of it; oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// What happened.
    pub events: Vec<TimelineEvent>,
    /// What people were told.
    pub told: Vec<Told>,
}

/// Reads the store from anywhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StoreReader {
    path: PathBuf,
    permits: Arc<Semaphore>,
}

impl StoreReader {
    /// A reader of this file.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            permits: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// What the file knows of an incident.
    pub async fn timeline(&self, id: &IncidentId) -> Result<Timeline, StoreError> {
        let (path, id) = (self.path.clone(), id.clone());
        // The semaphore is never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&path, &id).map_err(|source| classify(&path, source))
        });
        match reading.await {
            Ok(timeline) => timeline,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

fn read(path: &std::path::Path, id: &IncidentId) -> rusqlite::Result<Timeline> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    let events = lines(
        &connection,
        "SELECT at, transition, summary, body FROM
             (SELECT at, transition, summary, body FROM incident_events WHERE incident = ?1 ORDER BY at DESC LIMIT ?2)
         ORDER BY at",
        id,
        |row| {
            let body: String = row.get(3)?;
            Ok(TimelineEvent {
                at: timestamp(row.get(0)?),
                transition: word(row.get(1)?)?,
                summary: row.get(2)?,
                evidence: serde_json::from_str(&body).unwrap_or_default(),
            })
        },
    )?;
    let told = lines(
        &connection,
        "SELECT receiver, kind, state, created_at, finished_at, attempts,
             CASE WHEN state = 'delivered' THEN NULL ELSE last_answer END FROM
             (SELECT * FROM outbox WHERE incident = ?1 ORDER BY number DESC LIMIT ?2)
         ORDER BY number",
        id,
        |row| {
            let state: String = row.get(2)?;
            Ok(Told {
                receiver: row.get(0)?,
                transition: word(row.get(1)?)?,
                state: NotificationState::from_name(&state)
                    .ok_or_else(|| unreadable(2, format!("notification state {state:?}")))?,
                created_at: timestamp(row.get(3)?),
                finished_at: row.get::<_, Option<i64>>(4)?.map(timestamp),
                attempts: row.get(5)?,
                last_error: row.get(6)?,
            })
        },
    )?;
    Ok(Timeline { events, told })
}

fn lines<T>(
    connection: &Connection,
    sql: &str,
    id: &IncidentId,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare(sql)?;
    statement
        .query_map(params![id.as_str(), MAX_LINES], read)?
        .collect()
}

fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn word(text: String) -> rusqlite::Result<Transition> {
    serde_json::from_value(serde_json::Value::String(text))
        .map_err(|error| unreadable(1, error.to_string()))
}

fn unreadable(column: usize, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, why.into())
}
