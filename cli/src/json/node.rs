//! `ListNodesResponse`.

use std::collections::BTreeMap;

use meshprobe_proto::v1;
use serde::Serialize;

use super::timestamp;

/// See [`v1::ListNodesResponse`].
#[derive(Serialize)]
pub struct NodesView<'a> {
    nodes: Vec<NodeView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeView<'a> {
    name: &'a str,
    zone: &'a str,
    region: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    lifecycle: &'static str,
    state: &'static str,
    state_reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_report_at: Option<String>,
    last_report_way: &'static str,
    prober_version: &'a str,
    addresses: &'a [String],
    local_health: u32,
    failing_in: u32,
    failing_out: u32,
}

impl<'a> From<&'a v1::ListNodesResponse> for NodesView<'a> {
    fn from(response: &'a v1::ListNodesResponse) -> Self {
        Self {
            nodes: response.nodes.iter().map(NodeView::from).collect(),
        }
    }
}

impl<'a> From<&'a v1::Node> for NodeView<'a> {
    fn from(node: &'a v1::Node) -> Self {
        let v1::Node {
            name,
            zone,
            region,
            labels,
            lifecycle: _,
            state: _,
            state_reason,
            last_report_at,
            last_report_way: _,
            prober_version,
            addresses,
            local_health,
            failing_in,
            failing_out,
        } = node;
        Self {
            name,
            zone,
            region,
            labels: labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect(),
            lifecycle: node.lifecycle().as_str_name(),
            state: node.state().as_str_name(),
            state_reason,
            last_report_at: timestamp(*last_report_at),
            last_report_way: node.last_report_way().as_str_name(),
            prober_version,
            addresses,
            local_health: *local_health,
            failing_in: *failing_in,
            failing_out: *failing_out,
        }
    }
}
