//! Answers about the past: what the history knows of a moment, and the file of an incident.

use bytes::Bytes;
use jiff::Timestamp;
use meshprobe_core::path::Layer;
use meshprobe_proto::{json::JsonWriter, v1};

use super::{Api, ApiError, views};
use crate::history::{HistoryError, Layers, Line, Past, PastMesh, PastNode, WindowSpan, ZoneLine};

/// Octets of one chunk of a bundle.
pub const BUNDLE_CHUNK: usize = 64 << 10;

impl Api {
    /// The nodes as they were.
    pub async fn nodes_at(&self, at: Timestamp) -> Result<v1::ListNodesResponse, ApiError> {
        let past = self.history.at(at, Layers::None).await?;
        Ok(v1::ListNodesResponse {
            nodes: past.mesh.0.nodes.iter().map(node).collect(),
            window: Some(window(past.span, &past.mesh)),
        })
    }

    /// The matrix of one layer as it was; without data it is empty, and says which layer it would be.
    pub async fn matrix_at(&self, layer: Layer, at: Timestamp) -> Result<v1::Matrix, ApiError> {
        let Past { span, layers, mesh } = self.history.at(at, Layers::One(layer)).await?;
        let window = Some(window(span, &mesh));
        let Some(found) = layers.first() else {
            return Ok(v1::Matrix {
                layer: Some(layer.into()),
                at: Some(views::timestamp(span.end())),
                window,
                ..v1::Matrix::default()
            });
        };
        let lines = |lines: &[Line]| lines.iter().map(sum).collect();
        Ok(v1::Matrix {
            window,
            source_sums: lines(&found.window.rows),
            target_sums: lines(&found.window.columns),
            zone_sums: found.window.zones.iter().map(zone_sum).collect(),
            ..views::matrix(&found.matrix(span))
        })
    }

    /// Everything that was known between two ends.
    pub async fn path_at(
        &self,
        source: &str,
        target: &str,
        at: Timestamp,
    ) -> Result<v1::PathDetail, ApiError> {
        super::require_ends(source, target)?;
        let Past { span, layers, mesh } = self.history.at(at, Layers::All).await?;
        if !mesh.0.nodes.iter().any(|node| node.name == source) {
            return Err(ApiError::NotFound(format!(
                "no node was called {source:?} at {at}"
            )));
        }
        let is_known = |name: &str| {
            layers
                .iter()
                .any(|layer| layer.window.axes.targets.iter().any(|end| end.name == name))
        };
        if !is_known(target) {
            return Err(ApiError::NotFound(format!(
                "no node and no target was called {target:?} at {at}"
            )));
        }
        let cells = |source: &str, target: &str| {
            let cells = layers.iter();
            let cells = cells.filter_map(|layer| layer.cell(source, target, span));
            cells.map(|cell| views::cell(&cell)).collect()
        };
        Ok(v1::PathDetail {
            forward: cells(source, target),
            reverse: cells(target, source),
            window: Some(window(span, &mesh)),
            ..v1::PathDetail::default()
        })
    }

    /// The bundle of an incident: the octets of a file.
    pub async fn bundle(&self, id: &str, json: &JsonWriter) -> Result<Bytes, ApiError> {
        let mut detail = self.incident(id).await?;
        // Whoever the file is sent to needs no addresses of receivers, and those may stand in errors.
        for told in &mut detail.notifications {
            told.last_error.clear();
        }
        let shown = json.write(&detail).map_err(|error| {
            ApiError::Internal(format!("the incident has no JSON form: {error}"))
        })?;
        Ok(self.history.bundle(id.to_owned(), shown).await?.into())
    }
}

pub(super) fn window(span: WindowSpan, mesh: &PastMesh) -> v1::HistoryWindow {
    v1::HistoryWindow {
        start: Some(views::timestamp(span.start())),
        end: Some(views::timestamp(span.end())),
        resolution_seconds: span.resolution.length().as_secs() as u32,
        recorded_seconds: (mesh.0.recorded_millis / 1000).clamp(0, i64::from(u32::MAX)) as u32,
    }
}

fn node(node: &PastNode) -> v1::Node {
    let PastNode {
        name,
        zone,
        state,
        lifecycle,
        // A report's age within the window is not kept.
        is_reporting: _,
        failing_in,
        failing_out,
    } = node;
    v1::Node {
        name: name.clone(),
        zone: zone.clone(),
        lifecycle: views::lifecycle(*lifecycle).into(),
        state: views::node_state(*state).into(),
        failing_in: *failing_in,
        failing_out: *failing_out,
        ..v1::Node::default()
    }
}

fn sum(line: &Line) -> v1::PathSum {
    let Line {
        paths,
        sent,
        lost,
        asked,
        received,
        rtt_median,
        rtt_p99,
    } = *line;
    let seconds = |code: meshprobe_core::rtt::RttCode| {
        code.rtt()
            .map_or(0.0, |rtt| rtt.as_duration().as_secs_f64())
    };
    v1::PathSum {
        paths,
        sent,
        lost,
        asked,
        received,
        rtt_median_seconds: seconds(rtt_median),
        rtt_p99_seconds: seconds(rtt_p99),
    }
}

fn zone_sum(zone: &ZoneLine) -> v1::ZoneSum {
    v1::ZoneSum {
        from: zone.from.clone(),
        to: zone.to.clone(),
        sum: Some(sum(&zone.line)),
    }
}

/// The moment that a request asks for; `None`: now.
pub(super) fn moment(at: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, ApiError> {
    let Some(at) = at else { return Ok(None) };
    Timestamp::new(at.seconds, at.nanos)
        .map(Some)
        .map_err(|error| ApiError::Invalid(format!("at is no moment: {error}")))
}

impl From<HistoryError> for ApiError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Nothing(_) => Self::NotFound(error.to_string()),
            HistoryError::Busy => Self::Busy(error.to_string()),
            HistoryError::Unreadable(_) => Self::Internal(error.to_string()),
            HistoryError::Stopped => Self::Stopping,
        }
    }
}
