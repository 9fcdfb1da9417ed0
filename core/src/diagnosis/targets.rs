//! Causes at and on the way to what is no node: DNS servers, names, virtual IPs, targets outside.

use super::{DiagnosisConfig, Explained, Picture};
use crate::finding::Finding;

/// Causes that the ways between nodes do not explain.
pub(super) fn findings(
    _picture: &Picture,
    _explained: &Explained,
    _config: &DiagnosisConfig,
) -> Vec<Finding> {
    Vec::new()
}
