//! What can be declared of a node, and the numbers behind it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::finding::Pattern;
use crate::ids::{NodeIndex, ZoneIndex};
use crate::path::Plane;
use crate::time::Moment;

/// The judged state of a node as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodeState {
    /// Reached, heard and reporting, as far as anybody says.
    Ok,
    /// Evidence against it is being collected.
    Suspect,
    /// Never heard of since the aggregator started.
    Unknown,
    /// It is leaving on purpose.
    Leaving,
    /// A declared failure.
    Failed(Pattern),
}

/// A failure as the detector declares it: what becomes an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declaration {
    /// Which shape.
    pub pattern: Pattern,
    /// The nodes that it names, ascending. Empty only for [`Pattern::AggregatorIsolated`].
    pub nodes: Vec<NodeIndex>,
    /// The zone that went dark as a whole, for [`Pattern::ZoneDark`].
    pub zone: Option<ZoneIndex>,
    /// The plane that is broken while the other one works; `None`: no plane is known to work.
    pub plane: Option<Plane>,
    /// When the first probe of the first row of losses was sent.
    pub since: Moment,
    /// How many observers accuse, of how many that were asked.
    pub accusers: u32,
    /// How many observers had a vote.
    pub observers: u32,
    /// Fewer than three observers could vote.
    pub few_observers: bool,
    /// What backs it, one sentence each, without node names of its own (the scope has them).
    pub evidence: Vec<String>,
}

/// The numbers of DETECTION.md §2. The defaults are the ones with the measured promises.
#[derive(Clone, Debug, PartialEq)]
pub struct DarkConfig {
    /// How long a quorum must stand before a node is declared dark.
    pub dark_hold: Duration,
    /// How long the evidence for any other pattern must stand: what it rests on arrives more slowly.
    pub pattern_hold: Duration,
    /// Share of the observers' weight that makes a quorum (Rapid's H).
    pub high_share: f64,
    /// Share above which a node may still become part of the cut that is being declared (Rapid's L).
    pub low_share: f64,
    /// Losses in a row after which an observer accuses.
    pub accuse_after: u32,
    /// The same where fewer than three observers exist.
    pub accuse_after_few: u32,
    /// Least number of accusers, where that many observers exist.
    pub min_accusers: u32,
    /// How many further observers are asked to confirm at once (SWIM's indirect probes).
    pub confirmers: usize,
    /// How long a node that was asked to report has for its answer.
    pub answer_within: Duration,
    /// No live stream, or no answer, for this long while peers reach the node: its reports are cut.
    pub silent_after: Duration,
    /// A report older than this is no vote.
    pub report_fresh: Duration,
    /// How long a declaration waits for other nodes whose share lies between `low_share` and `high_share`.
    pub sibling_wait: Duration,
    /// Evaluations, a second apart, that must be clear before a failure ends.
    pub clear_evaluations: u32,
    /// Share of all probers that must fall silent in one window for the aggregator to suspect itself.
    pub isolated_share: f64,
    /// Share of a zone's nodes, and least number of them, that make one zone incident.
    pub zone_share: f64,
    /// See `zone_share`.
    pub zone_min_nodes: usize,
    /// How far apart the failures of a zone's nodes may begin.
    pub zone_within: Duration,
    /// A node that joined has no vote, and is not declared, for this long.
    pub warm_up: Duration,
}

impl Default for DarkConfig {
    fn default() -> Self {
        Self {
            dark_hold: Duration::from_secs(1),
            pattern_hold: Duration::from_secs(2),
            high_share: 0.9,
            low_share: 0.4,
            accuse_after: 4,
            accuse_after_few: 5,
            min_accusers: 3,
            confirmers: 10,
            answer_within: Duration::from_millis(200),
            silent_after: Duration::from_secs(6),
            report_fresh: Duration::from_secs(25),
            sibling_wait: Duration::from_millis(200),
            clear_evaluations: 3,
            isolated_share: 0.3,
            zone_share: 0.55,
            zone_min_nodes: 3,
            zone_within: Duration::from_secs(30),
            warm_up: Duration::from_secs(10),
        }
    }
}
