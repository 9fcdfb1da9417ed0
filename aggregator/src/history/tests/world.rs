//! A small mesh whose paths are set by hand.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use meshprobe_core::{
    dark::NodeState,
    diagnosis::{
        CellPicture, Columns, LayerPicture, NodePicture, Picture, RowPicture, Topology,
        TopologyNode,
    },
    finding::{Finding, Pattern, Scope},
    ids::{NodeName, ZoneIndex},
    lifecycle::Lifecycle,
    outcome::OutcomeClass,
    path::{Family, Layer, Plane, ProbeKind},
    time::Moment,
    verdict::Verdict,
};

use super::super::{HistorySettings, Observed};
use crate::incident::Incident;

pub(super) const UDP: Layer = Layer {
    kind: ProbeKind::Udp,
    plane: Plane::Pod,
    family: Family::V4,
};

/// 2026-11-29T03:10:00Z.
pub(super) const START: i64 = 1_795_921_800;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

pub(super) struct World {
    pub(super) cells: Vec<Vec<CellPicture>>,
    pub(super) states: Vec<NodeState>,
    pub(super) findings: Vec<Finding>,
    pub(super) open: Vec<Incident>,
    topology: Arc<Topology>,
}

pub(super) fn healthy() -> CellPicture {
    CellPicture {
        verdict: Verdict::Healthy,
        sent: 20,
        received: Some(20),
        rtt: Some(Duration::from_micros(431)),
        ..CellPicture::NOT_SAMPLED
    }
}

pub(super) fn down() -> CellPicture {
    CellPicture {
        verdict: Verdict::Down,
        failure: Some(OutcomeClass::Timeout),
        sent: 20,
        lost: 20,
        received: Some(0),
        ..CellPicture::NOT_SAMPLED
    }
}

pub(super) fn with(verdict: Verdict) -> CellPicture {
    CellPicture {
        verdict,
        ..CellPicture::NOT_SAMPLED
    }
}

impl World {
    /// Nodes `n-0` … in two zones, everything healthy.
    pub(super) fn new(nodes: usize) -> Self {
        let node = |number: usize| TopologyNode {
            name: NodeName::try_from(format!("n-{number}")).unwrap(),
            zone: ZoneIndex((1 + number % 2) as u16),
            lifecycle: Lifecycle::Active,
            is_warming_up: false,
            addresses: Vec::new(),
        };
        let cell = |row, column| {
            if row == column {
                CellPicture::NOT_SAMPLED
            } else {
                healthy()
            }
        };
        Self {
            cells: (0..nodes)
                .map(|row| (0..nodes).map(|column| cell(row, column)).collect())
                .collect(),
            states: vec![NodeState::Ok; nodes],
            findings: Vec::new(),
            open: Vec::new(),
            topology: Arc::new(Topology {
                nodes: (0..nodes).map(|number| Some(node(number))).collect(),
                zones: ["", "zone-a", "zone-b"].map(str::to_owned).to_vec(),
            }),
        }
    }

    /// A fault: the way from 0 to 1 is cut.
    pub(super) fn cut(&mut self) {
        self.cells[0][1] = down();
        let names = [0, 1].map(|i| NodeName::try_from(format!("n-{i}")).unwrap());
        let [from, to] = names;
        let scope = Scope::path(from, to);
        let mut finding = Finding::new(Pattern::Path, scope, "nothing arrives");
        finding.since = Some(Moment::from_millis(1000));
        self.findings = vec![finding];
        self.states[1] = NodeState::Suspect;
    }

    pub(super) fn heal(&mut self) {
        self.cells[0][1] = healthy();
        self.findings.clear();
        self.states[1] = NodeState::Ok;
    }

    pub(super) fn observed(&self, second: i64) -> Observed {
        let row =
            |cells: &Vec<CellPicture>| Some(Arc::new(RowPicture::dense(cells.clone(), Vec::new())));
        let node = |state: &NodeState| NodePicture {
            state: *state,
            is_reporting: true,
            ..NodePicture::UNKNOWN
        };
        let picture = Picture {
            known: Arc::default(),
            now: Moment::from_millis(second as u64 * 1000),
            topology: Arc::clone(&self.topology),
            layers: vec![LayerPicture {
                layer: UDP,
                interval: Duration::from_millis(500),
                columns: Columns::Nodes,
                rows: self.cells.iter().map(row).collect(),
            }],
            nodes: self.states.iter().map(node).collect(),
            traces: Vec::new(),
        };
        Observed {
            at: at(second),
            picture: Arc::new(picture),
            findings: self.findings.clone().into(),
            open: self.open.clone().into(),
        }
    }
}

/// A folder that goes with the test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("meshprobe-history-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn settings(&self) -> HistorySettings {
        HistorySettings {
            path: self.0.join("history.db"),
            keep: [1200, 3600, 86_400].map(Duration::from_secs),
            keep_pictures: Duration::from_secs(86_400),
            max_octets: 1 << 30,
            pending_octets: 1 << 20,
            picture_span: Duration::from_secs(600),
            picture_octets: 8 << 20,
            bundle_octets: 4 << 20,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
