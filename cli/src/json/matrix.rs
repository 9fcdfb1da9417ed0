//! `Matrix`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meshprobe_proto::v1;
use serde::Serialize;

use super::{LayerView, Text64, timestamp};

/// See [`v1::Matrix`].
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MatrixView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<LayerView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    version: Text64,
    sources: &'a [String],
    targets: &'a [String],
    source_zones: &'a [String],
    target_zones: &'a [String],
    verdicts: String,
    rtt_median: String,
    loss_percent: String,
}

impl<'a> From<&'a v1::Matrix> for MatrixView<'a> {
    fn from(matrix: &'a v1::Matrix) -> Self {
        let v1::Matrix {
            layer,
            at,
            version,
            sources,
            targets,
            source_zones,
            target_zones,
            verdicts,
            rtt_median,
            loss_percent,
        } = matrix;
        Self {
            layer: layer.as_ref().map(LayerView::from),
            at: timestamp(*at),
            version: Text64(*version),
            sources,
            targets,
            source_zones,
            target_zones,
            verdicts: STANDARD.encode(verdicts),
            rtt_median: STANDARD.encode(rtt_median),
            loss_percent: STANDARD.encode(loss_percent),
        }
    }
}
