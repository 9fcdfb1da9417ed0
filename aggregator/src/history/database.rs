//! The file of the history. SQL and nothing else; what an error means is the keeper's business.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, params};

use super::record::{Gap, PackedWindow, Part, Record, Resolution};

/// The number of the tables below.
const SCHEMA: u32 = 1;
/// Times are milliseconds since the Unix epoch, `length` is that of a window.
const TABLES: &str = "
    CREATE TABLE parts (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, body BLOB NOT NULL) STRICT;
    CREATE TABLE windows (
        id INTEGER PRIMARY KEY,
        length INTEGER NOT NULL,
        layer TEXT NOT NULL,
        start INTEGER NOT NULL,
        axes INTEGER,
        sampled INTEGER,
        body BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX windows_by_layer ON windows (length, layer, start);
    CREATE INDEX windows_by_start ON windows (start);
    CREATE INDEX windows_by_axes ON windows (axes);
    CREATE INDEX windows_by_sampled ON windows (sampled);
    CREATE TABLE gaps (id INTEGER PRIMARY KEY, start INTEGER NOT NULL, until INTEGER NOT NULL, reason TEXT NOT NULL) STRICT;
    CREATE TABLE pictures (start INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
    CREATE TABLE pictures_of (incident TEXT PRIMARY KEY, start INTEGER NOT NULL) STRICT;
    CREATE INDEX pictures_of_by_start ON pictures_of (start);";

/// What the rows about nodes and findings have instead of a layer.
const MESH: &str = "mesh";
/// Numbers of parts that are remembered. A mesh in peace has two for each layer.
const MOST_KNOWN_PARTS: usize = 4096;
/// Rows that one step of deleting takes at most: some milliseconds.
const STEP: u32 = 256;
/// Pages that are given back to the file system after a step.
const VACUUM_PAGES: u32 = 2048;

/// How a file was opened.
#[derive(Debug)]
pub(super) enum Opened {
    /// As it was, or anew because there was none.
    Fine(Database),
    /// Anew: what was there could not be read and was moved aside.
    Replaced {
        database: Database,
        damaged: PathBuf,
        reason: String,
    },
}

/// The open file.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
    /// Parts that were written or read lately, by hash.
    parts: HashMap<[u8; 32], i64>,
}

/// Where a window was read.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) start: i64,
    pub(super) window: PackedWindow,
}

impl Database {
    /// Opens or creates the file. History that cannot be read is no reason to stop: it is moved aside.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Opened> {
        match Self::connect(path) {
            Ok(database) => Ok(Opened::Fine(database)),
            Err(error) if is_damage(&error) => {
                let damaged =
                    move_aside(path).map_err(|_| rusqlite::Error::InvalidPath(path.to_owned()))?;
                Ok(Opened::Replaced {
                    database: Self::connect(path)?,
                    damaged,
                    reason: error.to_string(),
                })
            }
            Err(error) => Err(error),
        }
    }

    fn connect(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        // One connection: no shared memory file, which a full disk could take away under our feet.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A killed process loses nothing; a power cut may cost the last seconds of history, and no consistency.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
        let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found == 0 {
            connection.execute_batch(&format!(
                "BEGIN; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;"
            ))?;
        } else if found != SCHEMA {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
                Some(format!("its tables are those of another version ({found})")),
            ));
        }
        Ok(Self {
            connection,
            parts: HashMap::new(),
        })
    }

    /// Writes all of them or none.
    pub(super) fn write<'a>(
        &mut self,
        records: impl Iterator<Item = &'a Record>,
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        let mut fresh = Vec::new();
        for record in records {
            write_one(&transaction, &self.parts, &mut fresh, record)?;
        }
        transaction.commit()?;
        // Only now they are there for certain.
        if self.parts.len() > MOST_KNOWN_PARTS {
            self.parts.clear();
        }
        self.parts.extend(fresh);
        Ok(())
    }

    /// The windows of a layer that start between two moments, both included.
    pub(super) fn layer_windows(
        &self,
        resolution: Resolution,
        layer: Layer,
        from: i64,
        to: i64,
    ) -> rusqlite::Result<Vec<Found>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT w.start, a.hash, a.body, s.hash, s.body, w.body FROM windows w
             JOIN parts a ON a.id = w.axes JOIN parts s ON s.id = w.sampled
             WHERE w.length = ?1 AND w.layer = ?2 AND w.start BETWEEN ?3 AND ?4 ORDER BY w.start",
        )?;
        let found = statement.query_map(
            params![resolution.millis(), layer.to_string(), from, to],
            |row| {
                let part = |hash, body| {
                    Ok::<_, rusqlite::Error>(Part {
                        hash: row.get(hash)?,
                        body: row.get::<_, Vec<u8>>(body)?.into(),
                    })
                };
                Ok(Found {
                    start: row.get(0)?,
                    window: PackedWindow {
                        axes: part(1, 2)?,
                        sampled: part(3, 4)?,
                        body: row.get::<_, Vec<u8>>(5)?.into(),
                    },
                })
            },
        )?;
        found.collect()
    }

    /// The windows of nodes and findings that start between two moments, both included.
    pub(super) fn mesh_windows(
        &self,
        resolution: Resolution,
        from: i64,
        to: i64,
    ) -> rusqlite::Result<Vec<(i64, Arc<[u8]>)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT start, body FROM windows WHERE length = ?1 AND layer = ?2 AND start BETWEEN ?3 AND ?4 ORDER BY start",
        )?;
        let found = statement.query_map(params![resolution.millis(), MESH, from, to], |row| {
            Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?.into()))
        })?;
        found.collect()
    }

    /// The layers that have a window which starts between two moments, both included.
    pub(super) fn layers(
        &self,
        resolution: Resolution,
        from: i64,
        to: i64,
    ) -> rusqlite::Result<Vec<Layer>> {
        let mut layers = Vec::new();
        let mut statement = self.connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM windows WHERE length = ?1 AND layer = ?2 AND start BETWEEN ?3 AND ?4)",
        )?;
        for layer in every_layer() {
            let name = layer.to_string();
            if statement.query_row(params![resolution.millis(), name, from, to], |row| {
                row.get(0)
            })? {
                layers.push(layer);
            }
        }
        Ok(layers)
    }

    /// End of the newest window.
    pub(super) fn newest(&self) -> rusqlite::Result<Option<i64>> {
        self.connection.query_row(
            "SELECT max(start + length) FROM windows WHERE start > (SELECT max(start) FROM windows) - 1200000",
            [],
            |row| row.get(0),
        )
    }

    /// Start of the oldest window.
    pub(super) fn oldest(&self) -> rusqlite::Result<Option<i64>> {
        self.connection
            .query_row("SELECT min(start) FROM windows", [], |row| row.get(0))
    }

    /// Start of the oldest window of a resolution.
    pub(super) fn oldest_of(&self, resolution: Resolution) -> rusqlite::Result<Option<i64>> {
        self.connection.query_row(
            "SELECT min(start) FROM windows WHERE length = ?1 AND layer = ?2",
            params![resolution.millis(), MESH],
            |row| row.get(0),
        )
    }

    /// Start of the newest window of a resolution.
    pub(super) fn newest_of(&self, resolution: Resolution) -> rusqlite::Result<Option<i64>> {
        self.connection.query_row(
            "SELECT max(start) FROM windows WHERE length = ?1 AND layer = ?2",
            params![resolution.millis(), MESH],
            |row| row.get(0),
        )
    }

    /// The gap that holds a moment.
    pub(super) fn gap_at(&self, at: i64) -> rusqlite::Result<Option<Gap>> {
        self.connection
            .query_row(
                "SELECT start, until, reason FROM gaps WHERE start <= ?1 AND until > ?1 ORDER BY id DESC LIMIT 1",
                [at],
                |row| {
                    Ok(Gap {
                        from: row.get(0)?,
                        to: row.get(1)?,
                        reason: row.get(2)?,
                    })
                },
            )
            .optional()
    }

    /// The pictures around an incident.
    pub(super) fn pictures(&self, incident: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        self.connection
            .query_row(
                "SELECT body FROM pictures JOIN pictures_of USING (start) WHERE incident = ?1",
                [incident],
                |row| row.get(0),
            )
            .optional()
    }

    /// Windows in the file. Walks an index: for tests and the start.
    pub(super) fn count(&self) -> rusqlite::Result<u64> {
        self.connection
            .query_row("SELECT count(*) FROM windows", [], |row| row.get(0))
            .map(i64::unsigned_abs)
    }

    /// Octets in use.
    pub(super) fn octets(&self) -> rusqlite::Result<u64> {
        let pragma = |name| {
            self.connection
                .pragma_query_value(None, name, |row| row.get(0))
                .map(i64::unsigned_abs)
        };
        let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
        Ok(pages * pragma("page_size")?)
    }

    /// Deletes some windows of a resolution that ended before a moment, and says how many.
    pub(super) fn delete_windows(
        &self,
        resolution: Resolution,
        before: i64,
    ) -> rusqlite::Result<u64> {
        let mut statement = self.connection.prepare_cached(
            "DELETE FROM windows WHERE id IN (SELECT id FROM windows WHERE length = ?1 AND start < ?2 LIMIT ?3)",
        )?;
        let length = resolution.millis();
        Ok(statement.execute(params![length, before - length, STEP])? as u64)
    }

    /// Deletes gaps and pictures of before a moment, and says how many pictures.
    pub(super) fn delete_others(
        &self,
        gaps_before: i64,
        pictures_before: i64,
    ) -> rusqlite::Result<u64> {
        self.connection
            .execute("DELETE FROM gaps WHERE until < ?1", [gaps_before])?;
        let deleted = self
            .connection
            .execute("DELETE FROM pictures WHERE start < ?1", [pictures_before])?;
        self.connection.execute(
            "DELETE FROM pictures_of WHERE start < ?1",
            [pictures_before],
        )?;
        Ok(deleted as u64)
    }

    /// Deletes some of the oldest windows, or the oldest pictures if they are older still, and says how many.
    pub(super) fn delete_oldest(&self) -> rusqlite::Result<u64> {
        let oldest = self.oldest()?;
        let pictures: Option<i64> =
            self.connection
                .query_row("SELECT min(start) FROM pictures", [], |row| row.get(0))?;
        if let Some(start) = pictures
            && oldest.is_none_or(|oldest| start < oldest)
        {
            return self.delete_others(i64::MIN, start + 1);
        }
        let mut statement = self.connection.prepare_cached(
            "DELETE FROM windows WHERE id IN (SELECT id FROM windows ORDER BY start LIMIT ?1)",
        )?;
        Ok(statement.execute([STEP])? as u64)
    }

    /// Deletes parts that no window refers to.
    pub(super) fn delete_unused_parts(&mut self) -> rusqlite::Result<()> {
        self.connection.execute(
            "DELETE FROM parts WHERE id NOT IN (SELECT axes FROM windows WHERE axes IS NOT NULL)
             AND id NOT IN (SELECT sampled FROM windows WHERE sampled IS NOT NULL)",
            [],
        )?;
        self.parts.clear();
        Ok(())
    }

    /// Gives free pages back to the file system, some at a time.
    pub(super) fn vacuum(&self) -> rusqlite::Result<()> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        // Each row of the answer is a page: it has to be read to the end.
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }
}

fn write_one(
    transaction: &Transaction<'_>,
    known: &HashMap<[u8; 32], i64>,
    fresh: &mut Vec<([u8; 32], i64)>,
    record: &Record,
) -> rusqlite::Result<()> {
    let mut window = transaction.prepare_cached(
        "INSERT OR REPLACE INTO windows (length, layer, start, axes, sampled, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    match record {
        Record::Layer {
            resolution,
            start,
            layer,
            window: packed,
        } => {
            let axes = part(transaction, known, fresh, &packed.axes)?;
            let sampled = part(transaction, known, fresh, &packed.sampled)?;
            let (length, layer) = (resolution.millis(), layer.to_string());
            window.execute(params![length, layer, start, axes, sampled, &*packed.body])?;
        }
        Record::Mesh {
            resolution,
            start,
            body,
        } => {
            let nothing = None::<i64>;
            window.execute(params![
                resolution.millis(),
                MESH,
                start,
                nothing,
                nothing,
                &**body
            ])?;
        }
        Record::Gap { gap } => {
            let Gap { from, to, reason } = gap;
            transaction.execute(
                "INSERT INTO gaps (start, until, reason) VALUES (?1, ?2, ?3)",
                params![from, to, reason],
            )?;
        }
        Record::Pictures {
            start,
            incidents,
            body,
        } => {
            transaction.execute(
                "INSERT OR REPLACE INTO pictures (start, body) VALUES (?1, ?2)",
                params![start, &**body],
            )?;
            for incident in incidents {
                transaction.execute(
                    "INSERT OR REPLACE INTO pictures_of (incident, start) VALUES (?1, ?2)",
                    params![incident, start],
                )?;
            }
        }
    }
    Ok(())
}

fn part(
    transaction: &Transaction<'_>,
    known: &HashMap<[u8; 32], i64>,
    fresh: &mut Vec<([u8; 32], i64)>,
    part: &Part,
) -> rusqlite::Result<i64> {
    let Part { hash, body } = part;
    let fresh_id = || {
        fresh
            .iter()
            .find(|(other, _)| other == hash)
            .map(|(_, id)| *id)
    };
    if let Some(id) = known.get(hash).copied().or_else(fresh_id) {
        return Ok(id);
    }
    transaction.execute(
        "INSERT INTO parts (hash, body) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING",
        params![hash, &**body],
    )?;
    let id = transaction.query_row("SELECT id FROM parts WHERE hash = ?1", [hash], |row| {
        row.get(0)
    })?;
    fresh.push((*hash, id));
    Ok(id)
}

/// Is it the content that cannot be used (and not the disk that refuses)?
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Renames the file so that a new one can be made. The one that was moved aside before goes.
pub(super) fn move_aside(path: &Path) -> std::io::Result<PathBuf> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let damaged = beside(".damaged");
    fs::rename(path, &damaged)?;
    // What was in the log of the damaged file is of no use to the new one.
    fs::remove_file(beside("-wal")).ok();
    Ok(damaged)
}

fn every_layer() -> impl Iterator<Item = Layer> {
    ProbeKind::ALL.into_iter().flat_map(|kind| {
        [Plane::Pod, Plane::Host, Plane::Service]
            .into_iter()
            .flat_map(move |plane| {
                [Family::V4, Family::V6].map(|family| Layer {
                    kind,
                    plane,
                    family,
                })
            })
    })
}
