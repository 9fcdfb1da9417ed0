//! States, read at the moment of a scrape.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use meshprobe_core::dark::NodeState;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use tokio::sync::watch;

use crate::{
    api::Watchers,
    notify::Incidents,
    pipeline::MeshHandle,
    silence::{SilenceKind, SilenceState, Silences},
    store::StoreState,
    wall,
};

/// Reads what the API reads. Its registry has the prefix `meshprobe_aggregator`.
#[derive(Debug)]
pub struct StateCollector {
    /// Nodes.
    pub mesh: MeshHandle,
    /// Open incidents.
    pub incidents: Incidents,
    /// Silences.
    pub silences: Silences,
    /// Whether the store can be written.
    pub store: watch::Receiver<StoreState>,
    /// Streams to clients.
    pub watchers: Watchers,
}

/// As label.
pub(crate) const fn node_state(state: NodeState) -> &'static str {
    match state {
        NodeState::Ok => "ok",
        NodeState::Suspect => "suspect",
        NodeState::Unknown => "unknown",
        NodeState::Leaving => "leaving",
        NodeState::Failed(pattern) => pattern.as_str(),
    }
}

impl StateCollector {
    fn encode_all(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.mesh.snapshot();
        let mut nodes: BTreeMap<&'static str, i64> = BTreeMap::new();
        for state in [
            NodeState::Ok,
            NodeState::Suspect,
            NodeState::Unknown,
            NodeState::Leaving,
        ] {
            nodes.insert(node_state(state), 0);
        }
        for row in snapshot.nodes.iter() {
            *nodes.entry(node_state(row.state)).or_default() += 1;
        }
        labelled(
            encoder,
            "node_states",
            "Nodes by judged state",
            "state",
            nodes,
        )?;

        let open = self.incidents.open_by_pattern();
        let open = open
            .into_iter()
            .map(|(pattern, count)| (pattern.as_str(), clamp(count)))
            .collect();
        labelled(
            encoder,
            "incidents_open",
            "Open incidents by pattern",
            "pattern",
            open,
        )?;

        let now = wall::now();
        let open = self.incidents.open();
        let silenced = open
            .iter()
            .filter(|incident| self.silences.mute(incident, &snapshot, now).is_some());
        single(
            encoder,
            "incidents_silenced",
            "Open incidents that nobody is told of, because of a silence, maintenance or draining",
            clamp(silenced.count() as u64),
        )?;
        self.encode_silences(encoder, now)?;

        let store = self.store.borrow().clone();
        single(
            encoder,
            "judging",
            "1 when failures open incidents, 0 during the warm-up",
            i64::from(snapshot.judging.is_active()),
        )?;
        single(
            encoder,
            "store_writable",
            "1 when the store takes writes, 0 while changes are only kept in memory",
            i64::from(store.is_writable()),
        )?;
        single(
            encoder,
            "store_backlog",
            "Changes that wait in memory for the store",
            clamp(store.backlog as u64),
        )?;
        single(
            encoder,
            "store_dropped",
            "Changes that were given up because too many waited for the store, since the start",
            clamp(store.dropped),
        )?;
        single(
            encoder,
            "watchers",
            "Clients that watch the matrix or the incidents",
            clamp(self.watchers.open() as u64),
        )
    }
}

impl StateCollector {
    fn encode_silences(&self, encoder: &mut DescriptorEncoder<'_>, now: Timestamp) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "silences",
            "Silences and maintenance windows that are in force or begin later",
            None,
            MetricType::Gauge,
        )?;
        for kind in [SilenceKind::Silence, SilenceKind::Maintenance] {
            for state in [SilenceState::Pending, SilenceState::Active] {
                let count = clamp(self.silences.count(kind, state, now) as u64);
                let labels = [("kind", kind.as_str()), ("state", state.as_str())];
                ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl Collector for StateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_all(&mut encoder)
    }
}

fn clamp(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn single(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(metric)
}

fn labelled(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    values: BTreeMap<&'static str, i64>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (value, count) in values {
        let labels = [(label, value)];
        ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
