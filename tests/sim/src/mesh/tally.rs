//! What was simulated, counted: how much evidence there was that could have misled the judge, and how near it came.

use meshprobe_core::dark::Accusation;
use serde::Serialize;

use crate::prober::Means;

/// Counts of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// STAMP probes, those of calm paths and extra ones included.
    pub udp_probes: u64,
    /// Of those, the extra ones: bursts and close watches after a loss, and what the aggregator asked for.
    pub extra_probes: u64,
    /// TCP probes, those of calm paths and confirmations included.
    pub tcp_probes: u64,
    /// Of all probes, those of calm paths.
    pub skipped_probes: u64,
    /// Probes that got no answer.
    pub losses: u64,
    /// Times that a path began to lose its probes.
    pub first_losses: u64,
    /// Reports that the aggregator took.
    pub reports: u64,
    /// Requests to confirm that were sent to probers.
    pub questions: u64,
    /// Largest share of its observers' weight that accused a node at once: what the quorum (0.9) is compared with.
    pub max_accusation_share: f64,
    /// Most observers that accused a node at once.
    pub max_accusers: u32,
    /// Cases that were weighed: a node under suspicion in one evaluation of the judge.
    pub weighings: u64,
    /// Of those, weighings with a quorum, whether it stood for the hold or not.
    pub quorums: u64,
}

impl Tally {
    /// All probes.
    pub fn probes(&self) -> u64 {
        self.udp_probes + self.tcp_probes
    }

    /// The judge looked.
    pub(crate) fn count_accusations(&mut self, accusations: &[Accusation]) {
        self.weighings += accusations.len() as u64;
        for accusation in accusations {
            self.max_accusers = self.max_accusers.max(accusation.accusers);
            self.max_accusation_share = self.max_accusation_share.max(accusation.share);
            self.quorums += u64::from(accusation.is_quorum);
        }
    }

    /// Probes of a calm path were entered.
    pub(crate) fn count_skipped(&mut self, means: Means, probes: u64) {
        self.skipped_probes += probes;
        match means {
            Means::Udp => self.udp_probes += probes,
            Means::Tcp(_) => self.tcp_probes += probes,
        }
    }
}
