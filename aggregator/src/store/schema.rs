//! The tables and how they came to be. `user_version` is the number of migrations that a file has seen.

use rusqlite::Connection;

/// One step each; a step that was shipped is never edited.
const MIGRATIONS: [&str; 1] = [
    // Times are milliseconds since the Unix epoch. Bodies are JSON, so that a person can read the file with any tool.
    "CREATE TABLE nodes (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
     CREATE TABLE progress (node TEXT NOT NULL, plane TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (node, plane)) STRICT;
     CREATE TABLE incidents (
         id TEXT PRIMARY KEY,
         pattern TEXT NOT NULL,
         state TEXT NOT NULL,
         severity TEXT NOT NULL,
         summary TEXT NOT NULL,
         opened_at INTEGER NOT NULL,
         updated_at INTEGER NOT NULL,
         resolved_at INTEGER,
         body TEXT NOT NULL
     ) STRICT;
     CREATE INDEX incidents_by_state ON incidents (state, opened_at);
     CREATE TABLE incident_events (
         incident TEXT NOT NULL,
         at INTEGER NOT NULL,
         transition TEXT NOT NULL,
         summary TEXT NOT NULL,
         body TEXT NOT NULL,
         PRIMARY KEY (incident, at, transition)
     ) STRICT;
     CREATE TABLE outbox (
         number INTEGER PRIMARY KEY AUTOINCREMENT,
         receiver TEXT NOT NULL,
         id TEXT NOT NULL,
         incident TEXT,
         kind TEXT NOT NULL,
         state TEXT NOT NULL,
         attempts INTEGER NOT NULL,
         next_attempt_at INTEGER NOT NULL,
         last_answer TEXT,
         created_at INTEGER NOT NULL,
         queued_at INTEGER NOT NULL,
         finished_at INTEGER,
         body TEXT NOT NULL,
         UNIQUE (receiver, id)
     ) STRICT;
     CREATE INDEX outbox_by_state ON outbox (state, number);
     CREATE INDEX outbox_by_incident ON outbox (incident, number);
     CREATE TABLE told (incident TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
     CREATE TABLE silences (id TEXT PRIMARY KEY, ends_at INTEGER NOT NULL, body TEXT NOT NULL) STRICT;",
];

/// The number of the newest schema.
pub(super) const NEWEST: u32 = MIGRATIONS.len() as u32;

/// The schema of the file; 0 is a new file.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings the file to the newest schema, each step in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let from = version(connection)?;
    for (number, step) in (1_u32..).zip(MIGRATIONS).skip(from as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}
