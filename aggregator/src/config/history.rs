//! How much of the past is kept.

use std::path::{Path, PathBuf};

use meshprobe_daemon::config::{ConfigProblems, HumanDuration};
use serde::{Deserialize, Serialize};

use crate::history::HistorySettings;

/// Less and a day of a dozen nodes would not fit.
const LEAST_BYTES: u64 = 16 << 20;
/// What a window of seconds has to outlive, so that longer ones can be made of it.
const LEAST_KEPT: HumanDuration = HumanDuration::from_secs(1200);

/// The past: windows of ten seconds, of a minute and of ten minutes, and the pictures around incidents.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryConfig {
    /// The database file. Default: `history.db` in the folder of the store.
    pub path: Option<PathBuf>,
    /// Windows of ten seconds are deleted after this time.
    pub keep_10s: HumanDuration,
    /// Windows of a minute are deleted after this time.
    pub keep_1m: HumanDuration,
    /// Windows of ten minutes are deleted after this time.
    pub keep_10m: HumanDuration,
    /// Pictures around incidents are deleted after this time: from then on their bundles have none.
    pub keep_pictures: HumanDuration,
    /// Size of the file; beyond it the oldest goes first, whatever its age.
    pub max_bytes: u64,
    /// Memory for what cannot be written while the disk is full; beyond it the oldest goes, and leaves a marked gap.
    pub pending_bytes: u32,
    /// Pictures of the last minutes are kept in memory for this time …
    pub pictures: HumanDuration,
    /// … and within this memory: without room they become sparser.
    pub pictures_bytes: u32,
    /// Pictures that are kept of one incident, before compression of the file.
    pub bundle_bytes: u32,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            path: None,
            keep_10s: HumanDuration::from_secs(86_400),
            keep_1m: HumanDuration::from_secs(7 * 86_400),
            keep_10m: HumanDuration::from_secs(90 * 86_400),
            keep_pictures: HumanDuration::from_secs(90 * 86_400),
            max_bytes: 2 << 30,
            pending_bytes: 32 << 20,
            pictures: HumanDuration::from_secs(600),
            pictures_bytes: 64 << 20,
            bundle_bytes: HistorySettings::DEFAULT_BUNDLE_OCTETS as u32,
        }
    }
}

impl HistoryConfig {
    /// What the history has to know. `store` is the store's file.
    pub(crate) fn settings(&self, store: &Path) -> HistorySettings {
        let path = self.path.clone();
        HistorySettings {
            path: path.unwrap_or_else(|| store.with_file_name("history.db")),
            keep: [self.keep_10s, self.keep_1m, self.keep_10m].map(HumanDuration::duration),
            keep_pictures: self.keep_pictures.duration(),
            max_octets: self.max_bytes,
            pending_octets: self.pending_bytes as usize,
            picture_span: self.pictures.duration(),
            picture_octets: self.pictures_bytes as usize,
            bundle_octets: self.bundle_bytes as usize,
        }
    }

    pub(super) fn check(&self, store: &Path, problems: &mut ConfigProblems) {
        problems.require(self.settings(store).path != store, "history.path", || {
            "is the store's file; write another one".to_owned()
        });
        problems.require(self.keep_10s >= LEAST_KEPT, "history.keep_10s", || {
            format!("must be at least {LEAST_KEPT}, is {}", self.keep_10s)
        });
        for (field, shorter, longer) in [
            ("history.keep_1m", self.keep_10s, self.keep_1m),
            ("history.keep_10m", self.keep_1m, self.keep_10m),
        ] {
            problems.require(longer >= shorter, field, || {
                format!(
                    "must be at least as long as that of the finer windows ({shorter}), is {longer}"
                )
            });
        }
        problems.require(self.max_bytes >= LEAST_BYTES, "history.max_bytes", || {
            format!("must be at least {LEAST_BYTES}, is {}", self.max_bytes)
        });
        problems.require(
            self.bundle_bytes <= self.pictures_bytes,
            "history.bundle_bytes",
            || "must be at most history.pictures_bytes, out of which it is filled".to_owned(),
        );
    }
}
