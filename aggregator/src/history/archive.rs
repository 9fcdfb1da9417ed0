//! Windows on disk: writing, rolling up, deleting, reading. Synchronous; the time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use meshprobe_core::path::Layer;
use meshprobe_proto::pack::{self, Damaged};
use tracing::{error, info, warn};

use super::{
    Gap, HistoryError, HistoryMetrics, HistorySettings, Layers, Past, PastLayer, PastMesh,
    WindowSpan, codec,
    database::{self, Database, Found, Opened},
    pending::Pending,
    record::{MeshWindow, PackedWindow, Record, Resolution, WindowPacker, merge_mesh},
    recorder::mesh_record,
    window::{LayerWindow, merge},
};

/// Expanded octets of nodes and findings in one window.
const MOST_MESH_OCTETS: usize = 64 << 20;
/// Steps of deleting after one write: it may take a while until room is made, alerting does not wait for it.
const DELETE_STEPS: usize = 16;
/// How often parts that nobody refers to are looked for.
const PARTS_EVERY: i64 = 3_600_000;

/// The windows that are kept.
#[derive(Debug)]
pub(super) struct Archive {
    settings: HistorySettings,
    metrics: HistoryMetrics,
    /// `None`: the file could not be opened yet.
    database: Option<Database>,
    pending: Pending,
    /// Windows that got a finer one since they were rolled up, by resolution.
    due: BTreeMap<Resolution, BTreeSet<i64>>,
    packer: WindowPacker,
    /// Why the disk refuses, while it does.
    refused: Option<String>,
    dropped: u64,
    next_parts: i64,
}

impl Archive {
    /// Opens the file, if the disk lets it. `now` is milliseconds since the epoch.
    pub(super) fn new(settings: HistorySettings, metrics: HistoryMetrics, now: i64) -> Self {
        let mut archive = Self {
            pending: Pending::new(settings.pending_octets),
            settings,
            metrics,
            database: None,
            due: BTreeMap::new(),
            packer: WindowPacker::default(),
            refused: None,
            dropped: 0,
            next_parts: now + PARTS_EVERY,
        };
        archive.open(now);
        if let Err(error) = archive.resume(now) {
            archive.handle(&error, now);
        }
        archive
    }

    /// Takes records; what cannot be written waits.
    pub(super) fn take(&mut self, records: Vec<Record>, now: i64) {
        let has_windows = !records.is_empty();
        self.push(records);
        self.flush(now);
        self.roll_up(now);
        if has_windows {
            self.delete(now);
        }
        self.show();
    }

    fn push(&mut self, records: Vec<Record>) {
        for record in records {
            if let Record::Mesh {
                resolution, start, ..
            } = &record
                && let Some(coarser) = resolution.coarser()
            {
                let due = self.due.entry(coarser).or_default();
                due.insert(coarser.start_of(*start));
            }
            self.pending.push(record);
        }
        let dropped = self.pending.dropped();
        self.metrics.dropped.inc_by(dropped - self.dropped);
        self.dropped = dropped;
    }

    /// Writes what waits.
    fn flush(&mut self, now: i64) {
        if self.pending.is_empty() {
            return;
        }
        if self.database.is_none() {
            self.open(now);
        }
        let Some(database) = &mut self.database else {
            return;
        };
        let gap = self
            .pending
            .lost()
            .map(|gap| Record::Gap { gap: gap.clone() });
        match database.write(self.pending.iter().chain(&gap)) {
            Ok(()) => {
                let windows = self.pending.iter().filter(|record| record.is_window());
                self.metrics.windows.inc_by(windows.count() as u64);
                if gap.is_some() {
                    self.metrics.gaps.inc();
                }
                self.pending.clear();
                if self.refused.take().is_some() {
                    info!("The history can be written again");
                }
            }
            Err(error) => self.handle(&error, now),
        }
    }

    /// The disk refused, or the file is damaged.
    fn handle(&mut self, error: &rusqlite::Error, now: i64) {
        if database::is_damage(error) {
            self.database = None;
            error!(%error, path = %self.settings.path.display(), "The history is damaged; it is moved aside and begun anew");
            if let Err(error) = database::move_aside(&self.settings.path) {
                warn!(%error, "The damaged history cannot be moved aside");
            }
            self.gap(i64::MIN, now, format!("the file was damaged: {error}"));
            return;
        }
        let reason = error.to_string();
        if self.refused.as_ref() != Some(&reason) {
            warn!(%error, path = %self.settings.path.display(), "The history cannot be written; what is new stays in memory");
            self.refused = Some(reason);
        }
    }

    fn open(&mut self, now: i64) {
        match Database::open(&self.settings.path) {
            Ok(Opened::Fine(database)) => self.database = Some(database),
            Ok(Opened::Replaced {
                database,
                damaged,
                reason,
            }) => {
                error!(reason, damaged = %damaged.display(), "The history could not be read; it was moved aside and begun anew");
                self.database = Some(database);
                self.gap(i64::MIN, now, format!("the file was damaged: {reason}"));
            }
            Err(error) => self.handle(&error, now),
        }
    }

    fn gap(&mut self, from: i64, to: i64, reason: String) {
        let gap = Gap { from, to, reason };
        self.metrics.gaps.inc();
        self.pending.push(Record::Gap { gap });
    }

    /// What was going on when the last process ended: the time since is a gap, and windows may wait to be rolled up.
    fn resume(&mut self, now: i64) -> rusqlite::Result<()> {
        let Some(database) = &self.database else {
            return Ok(());
        };
        let newest = database.newest()?;
        let mut due = BTreeMap::new();
        for resolution in [Resolution::Fine, Resolution::Minute] {
            let Some(coarser) = resolution.coarser() else {
                continue;
            };
            let Some(newest) = database.newest_of(resolution)? else {
                continue;
            };
            let from = match database.newest_of(coarser)? {
                Some(rolled) => rolled + coarser.millis(),
                None => coarser.start_of(newest),
            };
            // Where nothing was written nothing is found: an hour of steps is enough for any crash.
            let from = coarser.start_of(from.max(newest - 3_600_000));
            let starts = (from..=newest).step_by(coarser.millis() as usize);
            due.insert(coarser, starts.collect::<BTreeSet<i64>>());
        }
        self.due = due;
        if let Some(newest) = newest
            && newest < now
        {
            self.gap(newest, now, "the aggregator did not run".to_owned());
        }
        Ok(())
    }

    /// Makes the coarser windows whose time is over.
    fn roll_up(&mut self, now: i64) {
        for resolution in [Resolution::Minute, Resolution::Coarse] {
            let due = self.due.entry(resolution).or_default();
            // The windows in the one that goes on are not all there.
            let rest = due.split_off(&resolution.start_of(now));
            let over = std::mem::replace(due, rest);
            for start in over {
                match self.rolled_up(resolution, start) {
                    Ok(records) => {
                        self.push(records);
                        self.flush(now);
                    }
                    Err(Unread::Sqlite(error)) => self.handle(&error, now),
                    Err(Unread::Damaged(error)) => {
                        warn!(%error, start, "Windows cannot be rolled up");
                    }
                }
            }
        }
    }

    fn rolled_up(&mut self, resolution: Resolution, start: i64) -> Result<Vec<Record>, Unread> {
        let Some(finer) = Resolution::ALL
            .into_iter()
            .find(|finer| finer.coarser() == Some(resolution))
        else {
            return Ok(Vec::new());
        };
        let last = start + resolution.millis() - finer.millis();
        let mut records = Vec::new();
        let meshes = self.meshes(finer, start, last)?;
        if meshes.is_empty() {
            return Ok(records);
        }
        for layer in self.layers(finer, start, last)? {
            let windows = self.windows(finer, layer, start, last)?;
            let windows = windows.iter().map(|found| unpack(&found.window));
            let merged = merge(&windows.collect::<Result<Vec<_>, _>>()?);
            records.push(Record::Layer {
                resolution,
                start,
                layer,
                window: self.packer.pack(layer, &merged),
            });
        }
        let meshes: Vec<MeshWindow> = meshes.into_values().collect();
        records.push(mesh_record(resolution, start, &merge_mesh(&meshes)));
        Ok(records)
    }

    /// Deletes what is too old or too much, some steps at a time.
    fn delete(&mut self, now: i64) {
        let before =
            |age: Duration| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let Some(database) = &mut self.database else {
            return;
        };
        let mut delete = || {
            let mut deleted = 0;
            for (resolution, keep) in Resolution::ALL.into_iter().zip(self.settings.keep) {
                deleted += database.delete_windows(resolution, before(keep))?;
            }
            let longest = self.settings.keep.into_iter().max().unwrap_or_default();
            deleted +=
                database.delete_others(before(longest), before(self.settings.keep_pictures))?;
            for _ in 0..DELETE_STEPS {
                if database.octets()? <= self.settings.max_octets {
                    break;
                }
                match database.delete_oldest()? {
                    0 => break,
                    some => deleted += some,
                }
            }
            if now >= self.next_parts {
                self.next_parts = now + PARTS_EVERY;
                database.delete_unused_parts()?;
            }
            if deleted > 0 {
                database.vacuum()?;
            }
            self.metrics.deleted.inc_by(deleted);
            self.metrics.octets.set(database.octets()? as i64);
            let oldest = database.oldest()?.unwrap_or_default();
            self.metrics.oldest.set(oldest as f64 / 1000.0);
            Ok::<_, rusqlite::Error>(())
        };
        if let Err(error) = delete() {
            self.handle(&error, now);
        }
    }

    fn show(&self) {
        self.metrics.pending.set(self.pending.octets() as i64);
        let is_writable = self.refused.is_none() && self.database.is_some();
        self.metrics.writable.set(is_writable.into());
    }

    /// What was known at a moment.
    pub(super) fn at(&self, at: Timestamp, layers: Layers) -> Result<Past, HistoryError> {
        self.at_any(at, layers, &Resolution::ALL)
    }

    /// The same, of the first of these resolutions that has a window.
    pub(super) fn at_any(
        &self,
        at: Timestamp,
        layers: Layers,
        resolutions: &[Resolution],
    ) -> Result<Past, HistoryError> {
        let moment = at.as_millisecond();
        for resolution in resolutions.iter().copied() {
            let start = resolution.start_of(moment);
            let mut meshes = self.meshes(resolution, start, start)?;
            let Some(mesh) = meshes.remove(&start) else {
                // A longer window would tell of the time around a hole as if it were of the hole.
                if self
                    .begins(resolution)?
                    .is_some_and(|oldest| oldest <= start)
                {
                    break;
                }
                continue;
            };
            let wanted = match layers {
                Layers::None => Vec::new(),
                Layers::One(layer) => vec![layer],
                Layers::All => self.layers(resolution, start, start)?,
            };
            let mut found = Vec::new();
            for layer in wanted {
                if let Some(packed) = self.windows(resolution, layer, start, start)?.pop() {
                    let window = unpack(&packed.window).map_err(Unread::Damaged)?;
                    found.push(PastLayer { layer, window });
                }
            }
            return Ok(Past {
                span: WindowSpan { resolution, start },
                mesh: PastMesh(mesh),
                layers: found,
            });
        }
        Err(HistoryError::Nothing(self.why_nothing(at)?))
    }

    /// Start of the oldest window of a resolution.
    fn begins(&self, resolution: Resolution) -> Result<Option<i64>, Unread> {
        let pending = self.pending.iter().filter_map(|record| match record {
            Record::Mesh {
                resolution: r,
                start,
                ..
            } if *r == resolution => Some(*start),
            _ => None,
        });
        let kept = match &self.database {
            Some(database) => database.oldest_of(resolution)?,
            None => None,
        };
        Ok(pending.chain(kept).min())
    }

    fn why_nothing(&self, at: Timestamp) -> Result<String, Unread> {
        let moment = at.as_millisecond();
        let pending = self.pending.iter().find_map(|record| match record {
            Record::Gap { gap } if gap.from <= moment && moment < gap.to => Some(gap.clone()),
            _ => None,
        });
        let lost = self.pending.lost();
        let lost = lost
            .filter(|gap| gap.from <= moment && moment < gap.to)
            .cloned();
        let (mut gap, mut newest, mut oldest) = (pending.or(lost), None, None);
        if let Some(database) = &self.database {
            (newest, oldest) = (database.newest()?, database.oldest()?);
            gap = gap.or(database.gap_at(moment)?);
        }
        for record in self.pending.iter().filter(|record| record.is_window()) {
            let (from, to) = record.span();
            newest = newest.max(Some(to));
            oldest = Some(oldest.map_or(from, |oldest: i64| oldest.min(from)));
        }
        let text = |millis: i64| {
            Timestamp::from_millisecond(millis)
                .map_or_else(|_| "the beginning".to_owned(), |at| at.to_string())
        };
        Ok(match (gap, oldest, newest) {
            (_, Some(oldest), _) if moment < oldest => {
                format!("history begins at {}; {at} is before that", text(oldest))
            }
            (Some(gap), ..) => format!(
                "nothing is known of {at}: from {} to {} there is a gap ({})",
                text(gap.from),
                text(gap.to),
                gap.reason
            ),
            (None, _, Some(newest)) if moment >= newest => format!(
                "history ends at {}: a window of {} s is kept when it is over. Ask without a time for what is now",
                text(newest),
                Resolution::Fine.length().as_secs()
            ),
            (None, Some(_), _) => format!("nothing was recorded at {at}"),
            (None, None, _) => "there is no history yet".to_owned(),
        })
    }

    /// The pictures around an incident, if they were kept.
    pub(super) fn pictures(&self, incident: &str) -> Result<Option<Arc<[u8]>>, Unread> {
        let pending = self.pending.iter().filter_map(|record| match record {
            Record::Pictures {
                incidents, body, ..
            } if incidents.iter().any(|one| one == incident) => Some(Arc::clone(body)),
            _ => None,
        });
        if let Some(found) = pending.last() {
            return Ok(Some(found));
        }
        match &self.database {
            Some(database) => Ok(database.pictures(incident)?.map(Arc::from)),
            None => Ok(None),
        }
    }

    /// Octets of the file in use, and windows in it.
    pub(super) fn size(&self) -> rusqlite::Result<(u64, u64)> {
        match &self.database {
            Some(database) => Ok((database.octets()?, database.count()?)),
            None => Ok((0, 0)),
        }
    }

    fn windows(
        &self,
        resolution: Resolution,
        layer: Layer,
        from: i64,
        to: i64,
    ) -> Result<Vec<Found>, Unread> {
        let mut found: BTreeMap<i64, Found> = BTreeMap::new();
        if let Some(database) = &self.database {
            for one in database.layer_windows(resolution, layer, from, to)? {
                found.insert(one.start, one);
            }
        }
        for record in self.pending.iter() {
            if let Record::Layer {
                resolution: r,
                start,
                layer: l,
                window,
            } = record
                && (*r, *l) == (resolution, layer)
                && (from..=to).contains(start)
            {
                let window = window.clone();
                let start = *start;
                found.insert(start, Found { start, window });
            }
        }
        Ok(found.into_values().collect())
    }

    fn meshes(
        &self,
        resolution: Resolution,
        from: i64,
        to: i64,
    ) -> Result<BTreeMap<i64, MeshWindow>, Unread> {
        let mut bodies: BTreeMap<i64, Arc<[u8]>> = BTreeMap::new();
        if let Some(database) = &self.database {
            bodies.extend(database.mesh_windows(resolution, from, to)?);
        }
        for record in self.pending.iter() {
            if let Record::Mesh {
                resolution: r,
                start,
                body,
            } = record
                && *r == resolution
                && (from..=to).contains(start)
            {
                bodies.insert(*start, Arc::clone(body));
            }
        }
        let read = |body: &[u8]| {
            let json = pack::expand(body, MOST_MESH_OCTETS)?;
            serde_json::from_slice(&json)
                .map_err(|_| Damaged("a window of nodes and findings cannot be read"))
        };
        let windows = bodies
            .into_iter()
            .map(|(start, body)| Ok((start, read(&body)?)));
        Ok(windows.collect::<Result<_, Damaged>>()?)
    }

    fn layers(&self, resolution: Resolution, from: i64, to: i64) -> Result<Vec<Layer>, Unread> {
        let mut layers = BTreeSet::new();
        if let Some(database) = &self.database {
            layers.extend(database.layers(resolution, from, to)?);
        }
        for record in self.pending.iter() {
            if let Record::Layer {
                resolution: r,
                start,
                layer,
                ..
            } = record
                && *r == resolution
                && (from..=to).contains(start)
            {
                layers.insert(*layer);
            }
        }
        Ok(layers.into_iter().collect())
    }
}

/// Why something cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

impl From<Unread> for HistoryError {
    fn from(error: Unread) -> Self {
        Self::Unreadable(error.to_string())
    }
}

fn unpack(packed: &PackedWindow) -> Result<LayerWindow, Damaged> {
    let axes = codec::unpack_axes(&packed.axes.body)?;
    let sampled = codec::unpack_sampled(&packed.sampled.body)?;
    codec::unpack_window(Arc::new(axes), sampled.into(), &packed.body)
}
