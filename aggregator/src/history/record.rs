//! What is written: windows, gaps, and the pictures around incidents.

use std::{sync::Arc, time::Duration};

use meshprobe_core::{dark::NodeState, finding::Finding, lifecycle::Lifecycle, path::Layer};
use ring::digest;
use serde::{Deserialize, Serialize};

use super::{
    codec,
    window::{LayerWindow, Run},
};

/// How long a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// Ten seconds.
    Fine,
    /// One minute.
    Minute,
    /// Ten minutes.
    Coarse,
}

impl Resolution {
    /// All of them, the finest first.
    pub const ALL: [Self; 3] = [Self::Fine, Self::Minute, Self::Coarse];

    /// Length of a window.
    pub const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Fine => 10,
            Self::Minute => 60,
            Self::Coarse => 600,
        })
    }

    /// The same in milliseconds.
    pub const fn millis(self) -> i64 {
        self.length().as_millis() as i64
    }

    /// The start of the window that a moment is in. Moments are milliseconds since the epoch.
    pub const fn start_of(self, at: i64) -> i64 {
        at - at.rem_euclid(self.millis())
    }

    /// The next coarser one.
    pub const fn coarser(self) -> Option<Self> {
        match self {
            Self::Fine => Some(Self::Minute),
            Self::Minute => Some(Self::Coarse),
            Self::Coarse => None,
        }
    }
}

/// What many windows share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// SHA-256 of the body.
    pub(super) hash: [u8; 32],
    pub(super) body: Arc<[u8]>,
}

impl Part {
    fn new(body: Vec<u8>) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, &body).as_ref());
        Self {
            hash,
            body: body.into(),
        }
    }
}

/// A packed window of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PackedWindow {
    pub(super) axes: Part,
    pub(super) sampled: Part,
    pub(super) body: Arc<[u8]>,
}

/// Packs windows; parts that are the same as in the window before are packed once.
#[derive(Debug, Default)]
pub(super) struct WindowPacker {
    known: std::collections::HashMap<Layer, KnownParts>,
}

#[derive(Debug)]
struct KnownParts {
    axes: (Arc<super::window::Axes>, Part),
    sampled: (Arc<[Run]>, Part),
}

impl WindowPacker {
    pub(super) fn pack(&mut self, layer: Layer, window: &LayerWindow) -> PackedWindow {
        let known = self.known.remove(&layer);
        let (axes, sampled) = match known {
            Some(KnownParts { axes, sampled }) => (
                Some(axes.1).filter(|_| axes.0 == window.axes),
                Some(sampled.1).filter(|_| sampled.0 == window.sampled),
            ),
            None => (None, None),
        };
        let axes = axes.unwrap_or_else(|| Part::new(codec::pack_axes(&window.axes)));
        let sampled = sampled.unwrap_or_else(|| Part::new(codec::pack_sampled(&window.sampled)));
        let parts = KnownParts {
            axes: (Arc::clone(&window.axes), axes.clone()),
            sampled: (Arc::clone(&window.sampled), sampled.clone()),
        };
        self.known.insert(layer, parts);
        PackedWindow {
            axes,
            sampled,
            body: codec::pack_window(window).into(),
        }
    }
}

/// One thing to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// One layer in one window.
    Layer {
        resolution: Resolution,
        /// Milliseconds since the epoch.
        start: i64,
        layer: Layer,
        window: PackedWindow,
    },
    /// Nodes and findings in one window: a compressed [`MeshWindow`].
    Mesh {
        resolution: Resolution,
        start: i64,
        body: Arc<[u8]>,
    },
    /// Nothing is known of this time.
    Gap { gap: Gap },
    /// The pictures around incidents that opened together: a bundle without an incident.
    Pictures {
        /// When the first of them opened; also its key.
        start: i64,
        incidents: Vec<String>,
        body: Arc<[u8]>,
    },
}

impl Record {
    /// Memory that it takes, about. Parts are shared and small.
    pub(super) fn octets(&self) -> usize {
        128 + match self {
            Self::Layer { window, .. } => window.body.len(),
            Self::Mesh { body, .. } | Self::Pictures { body, .. } => body.len(),
            Self::Gap { gap } => gap.reason.len(),
        }
    }

    /// Is it a window (and not a gap or pictures)?
    pub(super) const fn is_window(&self) -> bool {
        matches!(self, Self::Layer { .. } | Self::Mesh { .. })
    }

    /// The time that it is about, milliseconds since the epoch.
    pub(super) fn span(&self) -> (i64, i64) {
        match self {
            Self::Layer {
                resolution, start, ..
            }
            | Self::Mesh {
                resolution, start, ..
            } => (*start, start + resolution.millis()),
            Self::Gap { gap } => (gap.from, gap.to),
            Self::Pictures { start, .. } => (*start, *start),
        }
    }
}

/// A time of which nothing is known, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Milliseconds since the epoch.
    pub from: i64,
    /// Milliseconds since the epoch.
    pub to: i64,
    /// Why, for people.
    pub reason: String,
}

/// Nodes and findings in one window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MeshWindow {
    /// By name.
    pub nodes: Vec<PastNode>,
    /// What stood in it, at most [`MeshWindow::MOST_FINDINGS`].
    pub findings: Vec<PastFinding>,
    /// More findings stood than are kept.
    #[serde(default)]
    pub has_more_findings: bool,
    /// How much of it was recorded: a longer window may have holes.
    pub recorded_millis: i64,
}

/// A node in the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastNode {
    /// Its name.
    pub name: String,
    /// Its zone, empty if unknown.
    pub zone: String,
    /// The worst state in the window.
    pub state: NodeState,
    /// At the end of the window.
    pub lifecycle: Lifecycle,
    /// At the end of the window.
    pub is_reporting: bool,
    /// Paths to it that were Down or Suspect.
    pub failing_in: u32,
    /// Paths from it that were Down or Suspect.
    pub failing_out: u32,
}

impl MeshWindow {
    /// Findings of one window that are kept.
    pub const MOST_FINDINGS: usize = 200;

    /// The last word on a finding replaces the ones before it.
    pub(super) fn add_finding(&mut self, new: PastFinding) {
        let known = self
            .findings
            .iter()
            .position(|known| known.finding.key() == new.finding.key());
        match known {
            Some(place) => {
                let had_incident = self.findings[place].has_incident;
                self.findings[place] = PastFinding {
                    has_incident: new.has_incident || had_incident,
                    ..new
                };
            }
            None if self.findings.len() < Self::MOST_FINDINGS => self.findings.push(new),
            None => self.has_more_findings = true,
        }
    }
}

/// A finding in the past. Its `since` is in `since_millis`: a moment means nothing to another process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastFinding {
    /// The last word on it in the window.
    pub finding: Finding,
    /// When it began, milliseconds since the epoch.
    pub since_millis: Option<i64>,
    /// Its incident was open in the window.
    #[serde(default)]
    pub has_incident: bool,
}

/// The worse of two states of a node.
pub(super) fn worse(one: NodeState, other: NodeState) -> NodeState {
    let rank = |state| match state {
        NodeState::Failed(_) => 4,
        NodeState::Suspect => 3,
        NodeState::Unknown => 2,
        NodeState::Leaving => 1,
        NodeState::Ok => 0,
    };
    if rank(other) >= rank(one) { other } else { one }
}

/// Several windows as one.
pub(super) fn merge_mesh(windows: &[MeshWindow]) -> MeshWindow {
    let mut nodes: std::collections::BTreeMap<&str, PastNode> = std::collections::BTreeMap::new();
    let mut merged = MeshWindow::default();
    for window in windows {
        for node in &window.nodes {
            match nodes.get_mut(node.name.as_str()) {
                None => {
                    nodes.insert(&node.name, node.clone());
                }
                Some(known) => {
                    *known = PastNode {
                        state: worse(known.state, node.state),
                        failing_in: known.failing_in.max(node.failing_in),
                        failing_out: known.failing_out.max(node.failing_out),
                        ..node.clone()
                    };
                }
            }
        }
        for finding in &window.findings {
            merged.add_finding(finding.clone());
        }
        merged.has_more_findings |= window.has_more_findings;
        merged.recorded_millis += window.recorded_millis;
    }
    merged.nodes = nodes.into_values().collect();
    merged
}
