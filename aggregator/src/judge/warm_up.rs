//! The time after a start in which nothing is declared.
//!
//! A restarted aggregator knows its probers from the store and has heard none of them. Until most of them have reported
//! for two full windows, what looks like a dark node may be a stream that has not reconnected. After a maximum it judges
//! anyway: an aggregator that waits for ever for probers that are really gone would be no use.

use std::collections::BTreeMap;
use std::time::Duration;

use meshprobe_core::ids::NodeIndex;
use meshprobe_core::time::Moment;

use crate::snapshot::Judging;

/// How long the warm-up is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WarmUpConfig {
    /// Time that the reports of a prober must cover.
    pub covered: Duration,
    /// Share of the known probers whose reports must.
    pub share: f64,
    /// It is over after this time in any case.
    pub at_most: Duration,
}

impl WarmUpConfig {
    /// Two report windows from four fifths, a minute at most.
    pub fn for_report_interval(report_interval: Duration) -> Self {
        Self {
            covered: 2 * report_interval,
            share: 0.8,
            at_most: Duration::from_secs(60).max(6 * report_interval),
        }
    }
}

/// A warm-up under way.
#[derive(Clone, Debug)]
pub(super) struct WarmUp {
    config: WarmUpConfig,
    started_at: Moment,
    /// Known probers and the time that their reports since the start cover.
    covered: BTreeMap<NodeIndex, Duration>,
}

impl WarmUp {
    /// Waits for the nodes that are known to have reported before the start.
    pub(super) fn new(
        config: WarmUpConfig,
        known: impl IntoIterator<Item = NodeIndex>,
        now: Moment,
    ) -> Self {
        Self {
            config,
            started_at: now,
            covered: known
                .into_iter()
                .map(|node| (node, Duration::ZERO))
                .collect(),
        }
    }

    /// A report came that covers so much of the time until now.
    pub(super) fn handle_report(&mut self, node: NodeIndex, window: Duration) {
        if let Some(covered) = self.covered.get_mut(&node) {
            *covered = covered.saturating_add(window);
        }
    }

    /// A node is not waited for any more: it left.
    pub(super) fn excuse(&mut self, node: NodeIndex) {
        self.covered.remove(&node);
    }

    /// Is it over?
    pub(super) fn is_over(&self, now: Moment) -> bool {
        self.heard() >= self.needed()
            || now.saturating_since(self.started_at) >= self.config.at_most
    }

    /// For people.
    pub(super) fn judging(&self, now: Moment) -> Judging {
        let elapsed = now.saturating_since(self.started_at);
        let left = self.config.at_most.saturating_sub(elapsed).as_secs();
        let covered = self.config.covered.as_secs();
        Judging::WarmingUp {
            reason: format!(
                "started {} s ago: {} of {} known nodes have reported for {covered} s, {} are needed; judging begins in {left} s at the latest",
                elapsed.as_secs(),
                self.heard(),
                self.covered.len(),
                self.needed(),
            ),
        }
    }

    fn heard(&self) -> usize {
        let enough = |covered: &&Duration| **covered >= self.config.covered;
        self.covered.values().filter(enough).count()
    }

    fn needed(&self) -> usize {
        (self.covered.len() as f64 * self.config.share).ceil() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn at(second: u64) -> Moment {
        Moment::from_millis(second * 1_000)
    }

    fn warm_up(nodes: u32) -> WarmUp {
        let config = WarmUpConfig::for_report_interval(WINDOW);
        WarmUp::new(config, (0..nodes).map(NodeIndex), at(0))
    }

    #[test]
    fn four_of_five_known_probers_must_report_two_windows() {
        let mut warm_up = warm_up(5);
        for node in 0..4 {
            warm_up.handle_report(NodeIndex(node), WINDOW);
        }
        assert!(!warm_up.is_over(at(12)));
        for node in 0..3 {
            warm_up.handle_report(NodeIndex(node), WINDOW);
        }
        assert!(!warm_up.is_over(at(22)));
        warm_up.handle_report(NodeIndex(3), WINDOW);
        assert!(warm_up.is_over(at(23)));
    }

    #[test]
    fn it_ends_after_a_minute_whoever_is_missing() {
        let warm_up = warm_up(5);
        assert!(!warm_up.is_over(at(59)));
        assert!(warm_up.is_over(at(60)));
    }

    #[test]
    fn a_first_start_has_nobody_to_wait_for() {
        assert!(warm_up(0).is_over(at(0)));
    }

    #[test]
    fn a_node_that_left_is_not_waited_for() {
        let mut warm_up = warm_up(1);
        warm_up.excuse(NodeIndex(0));
        assert!(warm_up.is_over(at(0)));
    }

    #[test]
    fn a_stranger_does_not_count() {
        let mut warm_up = warm_up(1);
        warm_up.handle_report(NodeIndex(9), 2 * WINDOW);
        assert!(!warm_up.is_over(at(20)));
    }
}
