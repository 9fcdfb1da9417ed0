//! Causes on the ways between nodes.

use super::{DiagnosisConfig, Picture};
use crate::finding::Finding;
use crate::ids::NodeIndex;
use crate::path::Layer;

/// What the causes between nodes explain of everything else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explained {}

impl Explained {
    /// The loss that is to be expected on the way from a node to a target that lives on `host` (`None`: outside the mesh, or
    /// nobody knows), there and back, 0 to 1.
    pub fn expected_loss(
        &self,
        _source: NodeIndex,
        _host: Option<NodeIndex>,
        _layer: Layer,
    ) -> f64 {
        0.0
    }
}

/// Causes between nodes, and what they explain.
pub(super) fn findings(_picture: &Picture, _config: &DiagnosisConfig) -> (Vec<Finding>, Explained) {
    (Vec::new(), Explained::default())
}
