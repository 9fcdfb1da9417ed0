//! The lines of the file.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use meshprobe_core::{
    diagnosis::{Columns, HostFacts, NodePicture, Topology, TracePicture},
    finding::Finding,
    path::Layer,
    time::Moment,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Manifest;

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    Bundle(Manifest),
    Incident(Value),
    Topology {
        number: usize,
        topology: Arc<Topology>,
    },
    Columns {
        number: usize,
        columns: Columns,
    },
    Facts {
        number: usize,
        facts: Arc<HostFacts>,
    },
    Row {
        number: usize,
        /// Base64 of [`super::row::pack`].
        cells: String,
    },
    Picture(PictureLine),
    End {
        lines: u64,
    },
}

/// A picture, by the numbers of its parts.
#[derive(Serialize, Deserialize)]
pub(super) struct PictureLine {
    pub(super) at: Timestamp,
    pub(super) now: Moment,
    pub(super) topology: usize,
    pub(super) nodes: Vec<NodePicture>,
    /// What probers said of their hosts: number of the node, place of the prober, number of the facts.
    pub(super) facts: Vec<(usize, usize, usize)>,
    pub(super) layers: Vec<LayerLine>,
    pub(super) traces: Vec<TracePicture>,
    /// What the diagnosis found in it then.
    pub(super) findings: Vec<Finding>,
}

/// A layer of a picture.
#[derive(Serialize, Deserialize)]
pub(super) struct LayerLine {
    pub(super) layer: Layer,
    pub(super) interval: Duration,
    pub(super) columns: usize,
    pub(super) rows: Vec<Option<usize>>,
}
