//! Everything that is remembered, without thread and clock: windows in the archive, the last pictures, and which of them
//! belong to incidents.

use std::{collections::HashSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use meshprobe_core::time::Moment;
use meshprobe_proto::bundle::{
    self, Bundle, BundleError, Limits, Manifest, PackedPicture, PicturePacker, Series,
};
use serde_json::Value;
use tracing::warn;

use super::{
    HistoryError, HistoryMetrics, HistorySettings, Layers, Observed, Past, Resolution,
    archive::Archive, record::Record, recorder::Recorder,
};
use crate::incident::{Incident, IncidentState};

/// Time between two pictures that are kept.
const PICTURE_EVERY: Duration = Duration::from_secs(5);
/// Pictures of an incident begin so long before it opened …
const BEFORE_MILLIS: i64 = 120_000;
/// … and end so long after it. Incidents that open in this time share their pictures.
const AFTER_MILLIS: i64 = 60_000;
/// Incidents that are remembered as known, so that an update is no opening.
const MOST_KNOWN: usize = 100_000;

/// The memory of the aggregator.
#[derive(Debug)]
pub struct Chronicle {
    recorder: Recorder,
    archive: Archive,
    packer: PicturePacker,
    last: Series,
    next_picture: Option<Moment>,
    episode: Option<Episode>,
    /// Open incidents whose pictures were kept.
    known: HashSet<(String, u32)>,
    bundle_octets: usize,
    metrics: HistoryMetrics,
}

/// Incidents that opened within a minute.
#[derive(Debug)]
struct Episode {
    /// When the first of them opened, milliseconds since the epoch.
    start: i64,
    incidents: Vec<String>,
}

impl Chronicle {
    /// Opens the file, if the disk lets it.
    pub fn new(settings: HistorySettings, metrics: HistoryMetrics, now: Timestamp) -> Self {
        Self {
            recorder: Recorder::default(),
            packer: PicturePacker::default(),
            last: Series::new(settings.picture_span, settings.picture_octets),
            next_picture: None,
            episode: None,
            known: HashSet::new(),
            bundle_octets: settings.bundle_octets,
            archive: Archive::new(settings, metrics.clone(), now.as_millisecond()),
            metrics,
        }
    }

    /// Takes a picture.
    pub fn observe(&mut self, observed: &Observed) {
        let now = observed.at.as_millisecond();
        let records = self.recorder.observe(observed);
        if !records.is_empty() {
            self.archive.take(records, now);
        }
        let moment = observed.picture.now;
        if self.next_picture.is_some_and(|next| moment < next) {
            return;
        }
        self.next_picture = Some(moment + PICTURE_EVERY);
        let Observed {
            at,
            picture,
            findings,
            open: _,
        } = observed;
        let packed = self.packer.pack(*at, picture, Arc::clone(findings));
        self.last.push(packed);
        self.metrics.pictures.set(self.last.iter().len() as i64);
        self.metrics.picture_octets.set(self.last.octets() as i64);
    }

    /// Something happened to an incident. The first word on one that is open counts as its opening.
    pub fn incident(&mut self, incident: &Incident, now: Timestamp) {
        let key = (incident.id.to_string(), incident.reopened);
        if incident.state != IncidentState::Open {
            self.known.remove(&key);
            return;
        }
        if self.known.len() < MOST_KNOWN && self.known.insert(key) {
            self.opened(incident.id.to_string(), now);
        }
    }

    /// An incident opened: the pictures around it are kept.
    pub fn opened(&mut self, incident: String, now: Timestamp) {
        let now = now.as_millisecond();
        self.end_episode(now);
        let episode = self.episode.get_or_insert_with(|| Episode {
            start: now,
            incidents: Vec::new(),
        });
        episode.incidents.push(incident);
        // At once, for the case that this process does not live to see the minute after it.
        self.keep_pictures(now);
    }

    /// An incident that was open when this process started: its pictures were kept by the one before.
    pub fn remember(&mut self, incident: &Incident) {
        self.known
            .insert((incident.id.to_string(), incident.reopened));
    }

    /// What is due without a picture: windows that are over, pictures of incidents.
    pub fn tick(&mut self, now: Timestamp) {
        let now = now.as_millisecond();
        let records = self.recorder.close_before(now);
        self.archive.take(records, now);
        self.end_episode(now);
    }

    /// The process ends.
    pub fn finish(&mut self, now: Timestamp) {
        let now = now.as_millisecond();
        let records = self.recorder.close();
        self.archive.take(records, now);
        if self.episode.is_some() {
            self.keep_pictures(now);
        }
    }

    fn end_episode(&mut self, now: i64) {
        let is_over = |episode: &Episode| {
            // A clock that was set back ends it as well.
            !(episode.start..episode.start + AFTER_MILLIS).contains(&now)
        };
        if self.episode.as_ref().is_some_and(is_over) {
            self.keep_pictures(now);
            self.episode = None;
        }
    }

    /// Writes the pictures around the incidents of this minute.
    fn keep_pictures(&mut self, now: i64) {
        let Some(Episode { start, incidents }) = &self.episode else {
            return;
        };
        let (from, to) = (start - BEFORE_MILLIS, start + AFTER_MILLIS);
        let mut series = Series::new(Duration::MAX, self.bundle_octets);
        for picture in self.last.iter() {
            if (from..=to).contains(&picture.at.as_millisecond()) {
                series.push(picture.clone());
            }
        }
        let thinned = self.last.thinned() > 0 || series.thinned() > 0;
        let pictures: Vec<PackedPicture> = series.iter().cloned().collect();
        let mut manifest = manifest("", now);
        if thinned {
            manifest
                .remarks
                .push("pictures were left out for want of room".to_owned());
        }
        let bundle = Bundle {
            manifest,
            incident: Value::Null,
            pictures,
        };
        match bundle::write(&bundle, Vec::new()) {
            Ok(body) => {
                let record = Record::Pictures {
                    start: *start,
                    incidents: incidents.clone(),
                    body: body.into(),
                };
                self.archive.take(vec![record], now);
            }
            Err(error) => warn!(%error, "The pictures of an incident cannot be packed"),
        }
    }

    /// What was known at a moment.
    pub fn at(&self, at: Timestamp, layers: Layers) -> Result<Past, HistoryError> {
        self.archive.at(at, layers)
    }

    /// The same in one resolution only.
    pub fn at_resolution(
        &self,
        at: Timestamp,
        layers: Layers,
        resolution: Resolution,
    ) -> Result<Past, HistoryError> {
        self.archive.at_any(at, layers, &[resolution])
    }

    /// The bundle of an incident, `shown` as the API shows it.
    pub fn bundle(&self, id: &str, shown: Value, now: Timestamp) -> Result<Vec<u8>, HistoryError> {
        let unreadable = |error: BundleError| HistoryError::Unreadable(error.to_string());
        let mut bundle = match self.archive.pictures(id)? {
            Some(kept) => bundle::read(&kept[..], Limits::default()).map_err(unreadable)?,
            None => Bundle {
                manifest: Manifest {
                    remarks: vec!["no pictures were kept of this incident".to_owned()],
                    ..manifest(id, 0)
                },
                incident: Value::Null,
                pictures: Vec::new(),
            },
        };
        bundle.manifest = Manifest {
            remarks: bundle.manifest.remarks,
            ..manifest(id, now.as_millisecond())
        };
        bundle.incident = shown;
        bundle::write(&bundle, Vec::new())
            .map_err(|error| HistoryError::Unreadable(error.to_string()))
    }

    /// Octets of the file in use, and windows in it.
    pub fn size(&self) -> Result<(u64, u64), HistoryError> {
        self.archive
            .size()
            .map_err(|error| HistoryError::Unreadable(error.to_string()))
    }
}

fn manifest(incident: &str, now: i64) -> Manifest {
    let made_at = Timestamp::from_millisecond(now).unwrap_or(Timestamp::UNIX_EPOCH);
    Manifest::new(incident, made_at, env!("CARGO_PKG_VERSION"))
}
