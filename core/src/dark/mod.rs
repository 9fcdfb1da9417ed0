//! Which node is dark, and which only looks so (DETECTION.md §2).
//!
//! Three independent channels are held against each other for each node j:
//!
//! 1. do its peers reach j (their probes are answered),
//! 2. do j's probes arrive at its peers (they count what they receive),
//! 3. do j's reports arrive at the aggregator;
//!
//! and a fourth, what is known of j's life cycle. One observer is never believed alone.
//!
//! The [`Detector`] is a pure state machine. The aggregator, the unit tests and the virtual-time simulator drive the
//! same code: feed `handle_*`, call [`Detector::evaluate`] when [`Detector::next_deadline`] says so or after new
//! evidence, carry out the [`Action`]s.

mod case;
mod declare;
mod detector;
mod electorate;
mod evidence;
mod silence;
mod state;

pub use case::ANSWERED_SHARE;
pub use detector::{Accusation, Action, Detector, NodeFacts, SUSPICION_TICK};
pub use evidence::Sighting;
pub use state::{DarkConfig, Declaration, NodeState};

#[cfg(test)]
mod tests;
