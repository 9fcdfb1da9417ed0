//! `PathDetail`.

use meshprobe_proto::v1;
use serde::Serialize;

use super::{LayerView, timestamp};

/// See [`v1::PathDetail`].
#[derive(Serialize)]
pub struct PathView {
    forward: Vec<CellView>,
    reverse: Vec<CellView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CellView {
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<LayerView>,
    verdict: &'static str,
    sent: u32,
    replied: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<u32>,
    consecutive_losses: u32,
    rtt_min_seconds: f64,
    rtt_median_seconds: f64,
    rtt_max_seconds: f64,
    rtt_baseline_seconds: f64,
    last_failure: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
    loss_lower: f64,
    loss_upper: f64,
}

impl From<&v1::PathDetail> for PathView {
    fn from(detail: &v1::PathDetail) -> Self {
        Self {
            forward: detail.forward.iter().map(CellView::from).collect(),
            reverse: detail.reverse.iter().map(CellView::from).collect(),
        }
    }
}

impl From<&v1::Cell> for CellView {
    fn from(cell: &v1::Cell) -> Self {
        Self {
            layer: cell.layer.as_ref().map(LayerView::from),
            verdict: cell.verdict().as_str_name(),
            sent: cell.sent,
            replied: cell.replied,
            received: cell.received,
            consecutive_losses: cell.consecutive_losses,
            rtt_min_seconds: cell.rtt_min_seconds,
            rtt_median_seconds: cell.rtt_median_seconds,
            rtt_max_seconds: cell.rtt_max_seconds,
            rtt_baseline_seconds: cell.rtt_baseline_seconds,
            last_failure: cell.last_failure().as_str_name(),
            updated_at: timestamp(cell.updated_at),
            loss_lower: cell.loss_lower,
            loss_upper: cell.loss_upper,
        }
    }
}
