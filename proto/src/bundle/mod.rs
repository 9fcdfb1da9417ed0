//! An incident in one file, to be attached to a ticket and replayed offline.
//!
//! The file is a zstd stream of lines of JSON, so `zstd -dc FILE | jq -c 'keys'` shows what is in it. Each line is an object
//! with one key, its kind:
//!
//! | Line | Content |
//! |---|---|
//! | `bundle` | always the first: [`Manifest`] |
//! | `incident` | the incident as the API shows it, with its timeline |
//! | `topology`, `columns`, `facts` | names, targets, what a prober said of its host; referred to by number |
//! | `row` | the paths of one source in one layer, packed by column, referred to by number |
//! | `picture` | the mesh at one moment: its nodes, traces, the numbers of its rows, and what the diagnosis found in it then |
//! | `end` | always the last: how many lines came before it |
//!
//! A row that did not change between two pictures is there once. Rows are exact to the bit: [`Bundle::pictures`] gives the
//! diagnosis what it saw then. The format is [`VERSION`]; a reader refuses what it does not know.
//!
//! A bundle holds names, addresses, routes and measurements. It holds no keys and no receivers of notifications.

mod lines;
mod picture;
mod read;
mod row;
mod series;
#[cfg(test)]
mod tests;
mod write;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pack::Damaged;

pub use picture::{PackedLayer, PackedPicture, PicturePacker};
pub use read::{Limits, read};
pub use series::Series;
pub use write::write;

/// What the first line calls the format.
pub const FORMAT: &str = "meshprobe-bundle";
/// The version of the format.
pub const VERSION: u32 = 1;

/// What a bundle is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The aggregator's version: another one may find something else in the same pictures.
    pub meshprobe: String,
    /// When it was put together.
    pub made_at: Timestamp,
    /// The incident's id.
    pub incident: String,
    /// How many pictures follow.
    pub pictures: usize,
    /// What is missing, a sentence each: pictures that were thinned out.
    #[serde(default)]
    pub remarks: Vec<String>,
}

impl Manifest {
    /// Of an incident, now, with so many pictures.
    pub fn new(
        incident: impl Into<String>,
        made_at: Timestamp,
        meshprobe: impl Into<String>,
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            meshprobe: meshprobe.into(),
            made_at,
            incident: incident.into(),
            pictures: 0,
            remarks: Vec::new(),
        }
    }
}

/// What a bundle holds.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// What it is of.
    pub manifest: Manifest,
    /// The incident as the API shows it; null when there was none.
    pub incident: Value,
    /// The mesh around it, oldest first.
    pub pictures: Vec<PackedPicture>,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It is something else.
    #[error("this is no meshprobe bundle: {0}")]
    Foreign(String),
    /// Another version wrote it.
    #[error(
        "this bundle has version {found} of the format, this meshprobe reads version {VERSION}: \
         use the version that wrote it ({meshprobe})"
    )]
    Version {
        /// Its version.
        found: u32,
        /// The aggregator that wrote it.
        meshprobe: String,
    },
    /// It was a bundle once.
    #[error("the bundle is damaged at line {line}: {reason}")]
    Damaged {
        /// Where, counted from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// It needs more memory than is allowed.
    #[error("the bundle is too large: {0}")]
    TooLarge(&'static str),
    /// A picture in it is damaged.
    #[error("a picture of the bundle is damaged: {0}")]
    Picture(#[from] Damaged),
    /// The system refused.
    #[error("read the bundle")]
    Io(#[source] std::io::Error),
}
