//! Pictures into windows. Pure: it gets the time with each picture and gives back what is to be written.

use std::{collections::HashMap, sync::Arc};

use meshprobe_core::{
    dark::NodeState, diagnosis::Picture, finding::Finding, time::Moment, verdict::Verdict,
};
use meshprobe_proto::pack;

use super::{
    Observed,
    fold::{self, Worst},
    record::{MeshWindow, PastFinding, PastNode, Record, Resolution, WindowPacker, worse},
    window::LayerWindow,
};
use crate::incident::{Incident, is_found};

/// The level of what is JSON.
const LEVEL: i32 = 3;

/// Folds pictures into windows of ten seconds.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    open: Option<OpenWindow>,
    worst: Worst,
    packer: WindowPacker,
}

/// The window that is being filled.
#[derive(Debug)]
struct OpenWindow {
    /// Milliseconds since the epoch.
    start: i64,
    /// The newest picture in it.
    last: Arc<Picture>,
    /// The worst state of each node, by its number.
    states: HashMap<usize, NodeState>,
    /// Its findings so far; its nodes are those of the last picture.
    window: MeshWindow,
}

impl Recorder {
    /// Takes a picture. What it gives back is a window that ended before it.
    pub(super) fn observe(&mut self, observed: &Observed) -> Vec<Record> {
        let at = observed.at.as_millisecond();
        let ended = self.close_before(at);
        let start = Resolution::Fine.start_of(at);
        let Observed {
            picture,
            findings,
            open: incidents,
            ..
        } = observed;
        self.worst.observe(picture);
        let open = self.open.get_or_insert_with(|| OpenWindow {
            start,
            last: Arc::clone(picture),
            states: HashMap::new(),
            window: MeshWindow::default(),
        });
        open.last = Arc::clone(picture);
        for (number, node) in picture.nodes.iter().enumerate() {
            let state = open.states.entry(number).or_insert(node.state);
            *state = worse(*state, node.state);
        }
        for finding in findings.iter() {
            open.window.add_finding(PastFinding {
                has_incident: incidents.iter().any(|one| is_of(one, finding)),
                ..past(finding, at, picture.now)
            });
        }
        for incident in incidents.iter().filter(|one| !is_found(one.pattern)) {
            open.window.add_finding(PastFinding {
                finding: incident.as_finding(),
                since_millis: Some(incident.started_at.as_millisecond()),
                has_incident: true,
            });
        }
        ended
    }

    /// Ends the open window if its time is over at `now`, milliseconds since the epoch.
    pub(super) fn close_before(&mut self, now: i64) -> Vec<Record> {
        match &self.open {
            // A clock that was set back ends it as well.
            Some(open) if open.start != Resolution::Fine.start_of(now) => self.close(),
            _ => Vec::new(),
        }
    }

    /// Ends the open window, whole or not.
    pub(super) fn close(&mut self) -> Vec<Record> {
        let Some(open) = self.open.take() else {
            return Vec::new();
        };
        let OpenWindow {
            start,
            last,
            states,
            window,
        } = open;
        let resolution = Resolution::Fine;
        let mut failing: HashMap<String, (u32, u32)> = HashMap::new();
        let mut records = Vec::with_capacity(last.layers.len() + 1);
        for layer in &last.layers {
            let packed = fold::layer_window(&last, layer, &self.worst);
            count_failing(&packed, layer.layer.kind.is_between_nodes(), &mut failing);
            records.push(Record::Layer {
                resolution,
                start,
                layer: layer.layer,
                window: self.packer.pack(layer.layer, &packed),
            });
        }
        self.worst.begin();
        let window = MeshWindow {
            nodes: nodes(&last, &states, &failing),
            recorded_millis: resolution.millis(),
            ..window
        };
        records.push(mesh_record(resolution, start, &window));
        records
    }
}

/// A window of nodes and findings, to be written.
pub(super) fn mesh_record(resolution: Resolution, start: i64, window: &MeshWindow) -> Record {
    // Names, numbers and sentences: JSON has them all.
    let json = serde_json::to_vec(window).unwrap_or_default();
    Record::Mesh {
        resolution,
        start,
        body: pack::compress(&json, LEVEL).into(),
    }
}

/// A moment of this process means nothing to the next one.
fn past(finding: &Finding, at: i64, now: Moment) -> PastFinding {
    let since = finding.since.map(|since| {
        let ago = now.saturating_since(since).as_millis();
        at.saturating_sub(i64::try_from(ago).unwrap_or(i64::MAX))
    });
    PastFinding {
        finding: Finding {
            since: None,
            ..finding.clone()
        },
        since_millis: since,
        has_incident: false,
    }
}

/// Is this the incident of a finding?
fn is_of(incident: &Incident, finding: &Finding) -> bool {
    incident.pattern == finding.pattern && incident.scope == finding.scope
}

fn nodes(
    picture: &Picture,
    states: &HashMap<usize, NodeState>,
    failing: &HashMap<String, (u32, u32)>,
) -> Vec<PastNode> {
    let topology = &picture.topology;
    let node = |(number, node): (usize, &Option<meshprobe_core::diagnosis::TopologyNode>)| {
        let node = node.as_ref()?;
        let name = node.name.to_string();
        let (failing_in, failing_out) = failing.get(&name).copied().unwrap_or_default();
        let zone = topology.zones.get(usize::from(node.zone.0));
        let known = picture.nodes.get(number);
        Some(PastNode {
            zone: zone.cloned().unwrap_or_default(),
            state: states.get(&number).copied().unwrap_or(NodeState::Unknown),
            lifecycle: node.lifecycle,
            is_reporting: known.is_some_and(|node| node.is_reporting),
            failing_in,
            failing_out,
            name,
        })
    };
    let mut nodes: Vec<PastNode> = topology.nodes.iter().enumerate().filter_map(node).collect();
    nodes.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    nodes
}

/// Adds the paths that were Down or Suspect to the counts of their ends: in, out.
fn count_failing(
    window: &LayerWindow,
    is_between_nodes: bool,
    failing: &mut HashMap<String, (u32, u32)>,
) {
    let width = window.axes.targets.len().max(1) as u64;
    let bad = window
        .odd
        .iter()
        .filter(|odd| odd.verdict >= Verdict::Suspect);
    for path in bad.flat_map(|odd| odd.run.start..odd.run.start + odd.run.length) {
        let (row, column) = ((path / width) as usize, (path % width) as usize);
        if let Some(source) = window.axes.sources.get(row) {
            failing.entry(source.name.clone()).or_default().1 += 1;
        }
        if let Some(target) = window.axes.targets.get(column).filter(|_| is_between_nodes) {
            failing.entry(target.name.clone()).or_default().0 += 1;
        }
    }
}
