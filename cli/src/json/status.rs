//! `Status`.

use meshprobe_proto::v1;
use serde::Serialize;

use super::{LayerView, Text64, timestamp};

/// See [`v1::Status`].
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView<'a> {
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    judging: bool,
    not_judging_reason: &'a str,
    nodes: u32,
    nodes_reporting: u32,
    open_incidents: u32,
    paths: Vec<CountView>,
    layers: Vec<LayerView>,
    notifications_pending: Text64,
    store_writable: bool,
}

#[derive(Serialize)]
struct CountView {
    verdict: &'static str,
    count: Text64,
}

impl<'a> From<&'a v1::Status> for StatusView<'a> {
    fn from(status: &'a v1::Status) -> Self {
        let v1::Status {
            version,
            started_at,
            judging,
            not_judging_reason,
            nodes,
            nodes_reporting,
            open_incidents,
            paths,
            layers,
            notifications_pending,
            store_writable,
        } = status;
        let count = |count: &v1::VerdictCount| CountView {
            verdict: count.verdict().as_str_name(),
            count: Text64(count.count),
        };
        Self {
            version,
            started_at: timestamp(*started_at),
            judging: *judging,
            not_judging_reason,
            nodes: *nodes,
            nodes_reporting: *nodes_reporting,
            open_incidents: *open_incidents,
            paths: paths.iter().map(count).collect(),
            layers: layers.iter().map(LayerView::from).collect(),
            notifications_pending: Text64(*notifications_pending),
            store_writable: *store_writable,
        }
    }
}
