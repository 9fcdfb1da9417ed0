//! SQL: opening, loading, writing. No policy; the writer decides what an error means.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, params};

use super::{Finished, Loaded, Notification, NotificationState, Operation, StoreError, schema};
use crate::{
    incident::{Incident, IncidentChange, IncidentId},
    membership::{NodeRecord, Progress, StoreChange},
    notify::ToldRecord,
};

/// Resolved incidents that are kept in memory for the API.
const MAX_LOADED_RESOLVED: u32 = 10_000;
/// Notifications that were given up and are shown.
const MAX_LOADED_DEAD: u32 = 1_000;
/// Notifications that arrived and are shown.
const MAX_LOADED_DELIVERED: u32 = 200;
/// A lock of somebody else (a person with sqlite3) is waited for; longer, and the batch goes to the backlog.
const BUSY_MILLIS: u64 = 200;

/// How a connection may treat the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// As usual.
    Shared,
    /// Without the `-shm` file: reads what a killed process left behind where there is no room for one.
    Exclusive,
    /// Reads the file alone, without any side file. Complete after an orderly end.
    Immutable,
}

/// Opens the file, without looking into it.
pub(super) fn connect(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    if access == Access::Immutable {
        let mut uri =
            url::Url::from_file_path(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
                .map_err(|()| rusqlite::Error::InvalidPath(path.to_owned()))?;
        uri.set_query(Some("immutable=1"));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        return Connection::open_with_flags(uri.as_str(), flags);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_MILLIS))?;
    if access == Access::Exclusive {
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    }
    // A new file only: it has to be set before the first table.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// Opens the file again after the disk refused; it was looked at when it was opened first.
pub(super) fn reconnect(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = connect(path, Access::Shared)?;
    schema::migrate(&mut connection)?;
    Ok(connection)
}

/// Refuses what cannot be trusted, then brings the tables up to date.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let sqlite = |source| classify(path, source);
    let found = schema::version(connection).map_err(sqlite)?;
    if found > schema::NEWEST {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: schema::NEWEST,
        });
    }
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(sqlite)?;
    if verdict != "ok" {
        return Err(StoreError::Damaged {
            path: path.to_owned(),
            reason: verdict,
        });
    }
    schema::migrate(connection).map_err(sqlite)
}

/// Tells damage from everything else.
pub(super) fn classify(path: &Path, source: rusqlite::Error) -> StoreError {
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged {
            path: path.to_owned(),
            reason: source.to_string(),
        },
        _ => StoreError::Sqlite {
            path: path.to_owned(),
            source,
        },
    }
}

/// Is it the disk that refuses (and not the content)?
pub(super) fn is_refused_write(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
        )
    )
}

/// Reads everything that a start needs.
pub(super) fn load(connection: &Connection, path: &Path) -> Result<Loaded, StoreError> {
    let sqlite = |source| classify(path, source);
    let nodes: Vec<NodeRecord> = bodies(connection, path, "SELECT body FROM nodes ORDER BY name")?;
    let progress: Vec<Progress> = bodies(
        connection,
        path,
        "SELECT body FROM progress ORDER BY node, plane",
    )?;
    let incidents: Vec<Incident> = bodies(
        connection,
        path,
        &format!(
            "SELECT body FROM (SELECT body, opened_at FROM incidents WHERE state = 'open' UNION ALL
             SELECT body, opened_at FROM (SELECT body, opened_at FROM incidents WHERE state != 'open'
                 ORDER BY opened_at DESC LIMIT {MAX_LOADED_RESOLVED}))
             ORDER BY opened_at DESC"
        ),
    )?;
    let told: Vec<ToldRecord> =
        bodies(connection, path, "SELECT body FROM told ORDER BY incident")?;
    let outbox = load_outbox(connection, path)?;
    let finished = load_finished(connection, path)?;
    let dead_letters: i64 = connection
        .query_row(
            "SELECT count(*) FROM outbox WHERE state = 'dead'",
            [],
            |row| row.get(0),
        )
        .map_err(sqlite)?;
    let silences = bodies(connection, path, "SELECT body FROM silences ORDER BY id")?;
    Ok(Loaded {
        nodes,
        progress,
        incidents: incidents.into_iter().map(Incident::completed).collect(),
        told,
        outbox,
        finished,
        dead_letters: dead_letters.unsigned_abs(),
        silences,
    })
}

/// Rows whose one column is JSON.
fn bodies<T: serde::de::DeserializeOwned>(
    connection: &Connection,
    path: &Path,
    sql: &str,
) -> Result<Vec<T>, StoreError> {
    let texts: Vec<String> =
        rows(connection, sql, |row| row.get(0)).map_err(|source| classify(path, source))?;
    texts
        .iter()
        .map(|text| serde_json::from_str(text))
        .collect::<Result<_, _>>()
        .map_err(|error| StoreError::Damaged {
            path: path.to_owned(),
            reason: format!("a row cannot be read: {error}"),
        })
}

/// The columns of [`Notification`], in the order of [`read_notification`].
const NOTIFICATION: &str =
    "id, receiver, body, created_at, queued_at, attempts, next_attempt_at, last_answer";

fn load_outbox(connection: &Connection, path: &Path) -> Result<Vec<Notification>, StoreError> {
    rows(
        connection,
        &format!("SELECT {NOTIFICATION} FROM outbox WHERE state = 'pending' ORDER BY number"),
        read_notification,
    )
    .map_err(|source| classify(path, source))
}

/// The newest that are done with, oldest first: given up ones, and some of the others.
fn load_finished(connection: &Connection, path: &Path) -> Result<Vec<Finished>, StoreError> {
    let newest = |states: &str, most: u32| {
        format!(
            "SELECT * FROM (SELECT number, {NOTIFICATION}, state, finished_at FROM outbox
                 WHERE state IN ({states}) ORDER BY number DESC LIMIT {most})"
        )
    };
    rows(
        connection,
        &format!(
            "SELECT {NOTIFICATION}, state, finished_at FROM ({} UNION ALL {}) ORDER BY number",
            newest("'dead'", MAX_LOADED_DEAD),
            newest("'delivered', 'digested'", MAX_LOADED_DELIVERED)
        ),
        |row| {
            let state: String = row.get(8)?;
            Ok(Finished {
                notification: read_notification(row)?,
                state: NotificationState::from_name(&state).unwrap_or(NotificationState::Dead),
                at_millis: row.get::<_, Option<i64>>(9)?.unwrap_or_default(),
            })
        },
    )
    .map_err(|source| classify(path, source))
}

fn read_notification(row: &rusqlite::Row<'_>) -> rusqlite::Result<Notification> {
    let body: String = row.get(2)?;
    let message = serde_json::from_str(&body).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, error.into())
    })?;
    Ok(Notification {
        id: row.get(0)?,
        receiver: row.get(1)?,
        message,
        created_at_millis: row.get(3)?,
        queued_at_millis: row.get(4)?,
        attempts: row.get(5)?,
        next_attempt_millis: row.get(6)?,
        last_answer: row.get(7)?,
    })
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map([], read)?.collect()
}

/// Writes operations in one transaction: all or nothing.
pub(super) fn write<'a>(
    connection: &mut Connection,
    operations: impl IntoIterator<Item = &'a Operation>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for operation in operations {
        apply(&transaction, operation)?;
    }
    transaction.commit()
}

fn apply(transaction: &Transaction<'_>, operation: &Operation) -> rusqlite::Result<()> {
    match operation {
        Operation::Incident(change) => put_incident(transaction, change),
        Operation::Notify(notification) => put_notification(transaction, notification),
        Operation::Progress {
            receiver,
            id,
            state,
            attempts,
            next_attempt_millis,
            queued_at_millis,
            last_answer,
            at_millis,
        } => {
            let finished_at = (*state != NotificationState::Pending).then_some(*at_millis);
            transaction
                .prepare_cached(
                    "UPDATE outbox SET state = ?3, attempts = ?4, next_attempt_at = ?5, last_answer = ?6, finished_at = ?7,
                         queued_at = ?8
                     WHERE receiver = ?1 AND id = ?2",
                )?
                .execute(params![
                    receiver,
                    id,
                    state.as_str(),
                    attempts,
                    next_attempt_millis,
                    last_answer,
                    finished_at,
                    queued_at_millis
                ])?;
            Ok(())
        }
        Operation::Told { incident, record } => put_told(transaction, incident, record.as_deref()),
        Operation::Mesh(change) => apply_mesh(transaction, change),
        Operation::Silence(silence) => {
            transaction
                .prepare_cached(
                    "INSERT INTO silences (id, ends_at, body) VALUES (?1, ?2, ?3)
                     ON CONFLICT (id) DO UPDATE SET ends_at = excluded.ends_at, body = excluded.body",
                )?
                .execute(params![
                    silence.id.as_str(),
                    silence.ends_at.as_millisecond(),
                    json(silence)?
                ])?;
            Ok(())
        }
    }
}

fn apply_mesh(transaction: &Transaction<'_>, change: &StoreChange) -> rusqlite::Result<()> {
    match change {
        StoreChange::Node(record) => {
            transaction
                .prepare_cached(
                    "INSERT INTO nodes (name, body) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET body = excluded.body",
                )?
                .execute(params![record.name.as_str(), json(record)?])?;
        }
        StoreChange::Forget(name) => {
            for sql in [
                "DELETE FROM nodes WHERE name = ?1",
                "DELETE FROM progress WHERE node = ?1",
            ] {
                transaction
                    .prepare_cached(sql)?
                    .execute(params![name.as_str()])?;
            }
        }
        StoreChange::Progress(progress) => {
            transaction
                .prepare_cached(
                    "INSERT INTO progress (node, plane, body) VALUES (?1, ?2, ?3)
                     ON CONFLICT (node, plane) DO UPDATE SET body = excluded.body",
                )?
                .execute(params![
                    progress.node.as_str(),
                    progress.plane.to_string(),
                    json(progress)?
                ])?;
        }
    }
    Ok(())
}

fn put_incident(transaction: &Transaction<'_>, change: &IncidentChange) -> rusqlite::Result<()> {
    let IncidentChange {
        transition,
        incident,
    } = change;
    let body = json(incident)?;
    transaction
        .prepare_cached(
            "INSERT INTO incidents (id, pattern, state, severity, summary, opened_at, updated_at, resolved_at, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (id) DO UPDATE SET pattern = excluded.pattern, state = excluded.state,
                 severity = excluded.severity, summary = excluded.summary, opened_at = excluded.opened_at,
                 updated_at = excluded.updated_at, resolved_at = excluded.resolved_at, body = excluded.body",
        )?
        .execute(params![
            incident.id.as_str(),
            incident.pattern.as_str(),
            incident.state.as_str(),
            incident.severity.as_str(),
            incident.summary,
            incident.opened_at.as_millisecond(),
            incident.updated_at.as_millisecond(),
            incident.resolved_at.map(jiff::Timestamp::as_millisecond),
            body,
        ])?;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO incident_events (incident, at, transition, summary, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            incident.id.as_str(),
            incident.updated_at.as_millisecond(),
            transition.as_str(),
            incident.summary,
            json(&incident.evidence)?,
        ])?;
    Ok(())
}

fn put_notification(
    transaction: &Transaction<'_>,
    notification: &Notification,
) -> rusqlite::Result<()> {
    // A message that is there already keeps its place and its progress.
    transaction
        .prepare_cached(
            "INSERT INTO outbox
                 (receiver, id, incident, kind, state, attempts, next_attempt_at, last_answer, created_at, queued_at, body)
             VALUES (?1, ?2, ?3, ?4, 'pending', ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (receiver, id) DO NOTHING",
        )?
        .execute(params![
            notification.receiver,
            notification.id,
            notification.message.incident().map(|incident| incident.id.as_str()),
            notification.message.kind(),
            notification.attempts,
            notification.next_attempt_millis,
            notification.last_answer,
            notification.created_at_millis,
            notification.queued_at_millis,
            json(&notification.message)?,
        ])?;
    Ok(())
}

fn put_told(
    transaction: &Transaction<'_>,
    incident: &IncidentId,
    record: Option<&ToldRecord>,
) -> rusqlite::Result<()> {
    match record {
        Some(record) => transaction
            .prepare_cached(
                "INSERT INTO told (incident, body) VALUES (?1, ?2) ON CONFLICT (incident) DO UPDATE SET body = excluded.body",
            )?
            .execute(params![incident.as_str(), json(record)?])?,
        None => transaction
            .prepare_cached("DELETE FROM told WHERE incident = ?1")?
            .execute(params![incident.as_str()])?,
    };
    Ok(())
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Deletes what is older than `before` and finished, some at a time so that no write waits long. Says how many rows.
pub(super) fn prune(connection: &mut Connection, before_millis: i64) -> rusqlite::Result<usize> {
    let transaction = connection.transaction()?;
    let mut deleted = transaction.execute(
        "DELETE FROM outbox WHERE number IN
             (SELECT number FROM outbox WHERE state != 'pending' AND finished_at < ?1 LIMIT 1000)",
        params![before_millis],
    )?;
    deleted += transaction.execute(
        "DELETE FROM incident_events WHERE incident IN
             (SELECT id FROM incidents WHERE state != 'open' AND updated_at < ?1 LIMIT 1000)",
        params![before_millis],
    )?;
    deleted += transaction.execute(
        "DELETE FROM incidents WHERE id IN
             (SELECT id FROM incidents WHERE state != 'open' AND updated_at < ?1 LIMIT 1000)",
        params![before_millis],
    )?;
    deleted += transaction.execute(
        "DELETE FROM silences WHERE id IN (SELECT id FROM silences WHERE ends_at < ?1 LIMIT 1000)",
        params![before_millis],
    )?;
    transaction.commit()?;
    connection
        .query_row("PRAGMA incremental_vacuum(256)", [], |_| Ok(()))
        .optional()?;
    Ok(deleted)
}
