//! What nodes and probers say of themselves: starved observers, probers that cannot start, addresses and settings that
//! do not fit together.

use super::Picture;
use crate::finding::Finding;

/// Causes that lie in a node's own state.
pub(super) fn findings(_picture: &Picture) -> Vec<Finding> {
    Vec::new()
}
