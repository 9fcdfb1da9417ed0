//! From a picture of the mesh to the causes of what is wrong in it (DETECTION.md §3).
//!
//! [`diagnose`] is a pure function of a [`Picture`]: the same picture gives the same findings, in a unit test, in the
//! simulator, in the aggregator and when a bundle is replayed. It goes from the lowest layer to the highest, and what a lower
//! layer explains is no failure of a higher one:
//!
//! 1. `nodes`: what nodes and probers say of themselves, and what the dark-node detector declared;
//! 2. `mesh`: the ways between nodes, by a priced greedy explanation of the one-way matrix;
//! 3. `targets`: DNS, virtual IPs, targets outside the mesh.
//!
//! How long a finding has to stand before people are told is the incident's business, not ours.

mod developed;
mod diagnoser;
mod evidence;
pub mod explain;
mod homes;
mod known_findings;
mod mesh;
mod nodes;
mod per_row;
mod picture;
mod recent_health;
mod route;
#[cfg(test)]
mod sketch;
mod targets;
mod traced;

pub use developed::Heard;
pub use diagnoser::Diagnoser;
pub use mesh::{Explained, ExplainedCause};
pub use nodes::keeps_prober_from_running;
pub use picture::{
    Arrived, CellPicture, ClusterEvent, Columns, FactChange, HostFacts, LayerPicture, NodePicture,
    Picture, ProberPicture, RowPicture, SelfHealth, Target, TargetName, Topology, TopologyNode,
    TraceHop, TracePicture,
};

pub use known_findings::KnownFindings;
pub use recent_health::RecentHealth;

use crate::finding::Finding;

/// The numbers of the diagnosis, with their reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct DiagnosisConfig {
    /// Loss that a healthy network has.
    pub healthy_loss: f64,
    /// Most causes that are told at once; what is left is told as single paths.
    pub max_causes: usize,
}

impl Default for DiagnosisConfig {
    fn default() -> Self {
        Self {
            healthy_loss: 1e-3,
            max_causes: 5,
        }
    }
}

/// What a picture shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagnosis {
    /// One for each cause, the most serious first.
    pub findings: Vec<Finding>,
}

/// The causes of what is wrong in a picture, lowest layer first.
pub fn diagnose(picture: &Picture, config: &DiagnosisConfig) -> Diagnosis {
    diagnose_again(picture, config, &mut KnownRows::default())
}

/// What was worked out of the rows of the picture before.
#[derive(Clone, Debug, Default)]
struct KnownRows {
    loss: mesh::LossRows,
    others: nodes::OtherResponders,
}

/// The same, without working out again what is known.
fn diagnose_again(picture: &Picture, config: &DiagnosisConfig, rows: &mut KnownRows) -> Diagnosis {
    let mut findings = nodes::findings(picture, &mut rows.others);
    let (of_mesh, explained) = mesh::findings(picture, &findings, config, &mut rows.loss);
    findings.extend(of_mesh);
    let of_targets = targets::findings(picture, &explained, &findings, config);
    findings.extend(of_targets);
    evidence::enrich(picture, &mut findings);
    Diagnosis { findings }
}
