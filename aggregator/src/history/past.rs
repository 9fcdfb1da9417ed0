//! A moment of the past, in the words of the present: as much of it as is known.

use bytes::Bytes;
use jiff::Timestamp;
use meshprobe_core::{path::Layer, verdict::Verdict, verdict::wilson_bounds};

use super::{LayerWindow, MeshWindow, Resolution};
use crate::snapshot::{CellDetail, LOSS_NO_DATA, LayerSnapshot};

/// Which window an answer is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpan {
    /// How long it is.
    pub resolution: Resolution,
    /// Milliseconds since the epoch.
    pub start: i64,
}

impl WindowSpan {
    /// Its start.
    pub fn start(self) -> Timestamp {
        Timestamp::from_millisecond(self.start).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Its end.
    pub fn end(self) -> Timestamp {
        let end = self.start.saturating_add(self.resolution.millis());
        Timestamp::from_millisecond(end).unwrap_or(Timestamp::MAX)
    }
}

/// What was known at a moment.
#[derive(Clone, Debug)]
pub struct Past {
    /// The window that the moment is in.
    pub span: WindowSpan,
    /// Nodes and findings.
    pub mesh: PastMesh,
    /// The layers that were asked for and had data.
    pub layers: Vec<PastLayer>,
}

/// Nodes and findings of a window.
#[derive(Clone, Debug)]
pub struct PastMesh(pub MeshWindow);

/// A layer in a window.
#[derive(Clone, Debug)]
pub struct PastLayer {
    /// Which one.
    pub layer: Layer,
    /// What is known of it.
    pub window: LayerWindow,
}

impl PastLayer {
    /// The matrix: verdicts of all paths, round-trip time and loss of those that were unhealthy. Those of the healthy ones
    /// are known by row and column only.
    pub fn matrix(&self, span: WindowSpan) -> LayerSnapshot {
        let Self { layer, window } = self;
        let verdicts = window.verdicts();
        let mut rtt = vec![0; verdicts.len()];
        let mut loss = vec![LOSS_NO_DATA; verdicts.len()];
        for one in &window.counted {
            let place = one.path as usize;
            if let Some(percent) = (u64::from(one.lost) * 100).checked_div(one.sent.into()) {
                loss[place] = percent.min(100) as u8;
            }
            rtt[place] = one.rtt.as_octet();
        }
        LayerSnapshot {
            layer: *layer,
            at: span.end(),
            version: 0,
            sources: window.axes.sources.clone().into(),
            targets: window.axes.targets.clone().into(),
            verdicts: verdicts.into(),
            rtt_median: Bytes::from(rtt),
            loss_percent: loss.into(),
        }
    }

    /// One path; `None`: there was no such path.
    pub fn cell(&self, source: &str, target: &str, span: WindowSpan) -> Option<CellDetail> {
        let Self { layer, window } = self;
        let row = window
            .axes
            .sources
            .iter()
            .position(|end| end.name == source)?;
        let column = window
            .axes
            .targets
            .iter()
            .position(|end| end.name == target)?;
        let verdict = window.verdict(row, column);
        if verdict == Verdict::NotSampled {
            return None;
        }
        let counts = window.counts(row, column);
        let (sent, lost) = counts.map_or((0, 0), |one| (one.sent, one.lost));
        let (loss_lower, loss_upper) = wilson_bounds(lost, sent);
        Some(CellDetail {
            layer: *layer,
            verdict,
            sent,
            replied: sent.saturating_sub(lost),
            received: counts.and_then(|one| one.received),
            consecutive_losses: 0,
            rtt_min: None,
            rtt_median: counts.and_then(|one| one.rtt.rtt()),
            rtt_max: None,
            rtt_baseline: None,
            last_failure: counts.and_then(|one| one.failure),
            updated_at: Some(span.end()),
            loss_lower,
            loss_upper,
            found: None,
        })
    }
}
