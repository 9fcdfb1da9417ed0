//! What the diagnosis says: one finding for one cause, with its scope, its size and what backs it.
//!
//! A finding is a statement about one picture of the mesh; an incident is a finding over time. Its identity is
//! ([`Pattern`], [`Scope`]), in names and not in numbers, so that it is the same in every replica, after a restart and in a
//! replayed bundle.

mod advice;
mod pattern;
mod scope;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::path::{Layer, Plane};
use crate::time::Moment;
use crate::verdict::wilson_bounds;

pub use advice::{FirstAction, first_actions};
pub use pattern::Pattern;
pub use scope::{Place, Scope};

/// How sure the diagnosis is of a finding's cause. What is measured is never in doubt, only what it is blamed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Inferred: another cause would look the same, or one fact is missing. People read "suspected".
    Suspected,
    /// The best explanation by far, of few samples or few observers.
    Likely,
    /// Measured from both sides, or said by the network itself.
    Certain,
}

/// A share with its 95 % interval: what a partial fault loses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The most likely share, 0 to 1.
    pub ratio: f64,
    /// Lower Wilson 95 % bound.
    pub lower: f64,
    /// Upper Wilson 95 % bound.
    pub upper: f64,
    /// Probes that it rests on.
    pub sent: u64,
    /// Of those, lost.
    pub lost: u64,
}

impl Estimate {
    /// The share of `lost` in `sent` with its Wilson 95 % interval. `sent == 0`: nothing is known, 0 to 1.
    pub fn of(lost: u64, sent: u64) -> Self {
        let fitting = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let lost = lost.min(sent);
        let (lower, upper) = wilson_bounds(fitting(lost), fitting(sent));
        Self {
            ratio: if sent == 0 {
                0.0
            } else {
                lost as f64 / sent as f64
            },
            lower,
            upper,
            sent,
            lost,
        }
    }
}

/// "33 % (27 to 40 %)"
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ratio: f64| ratio * 100.0;
        let digits = usize::from(percent(self.ratio) < 9.95);
        write!(
            f,
            "{:.digits$} % ({:.digits$} to {:.digits$} %)",
            percent(self.ratio),
            percent(self.lower),
            percent(self.upper)
        )
    }
}

/// One path in names, as evidence shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamedPath {
    /// Node that sends the probes.
    pub source: String,
    /// Node or target that answers them.
    pub target: String,
    /// By what means.
    pub layer: Layer,
}

/// Another cause that the same measurements allow (an ambiguity class: the same sampled paths).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Alternative {
    /// What it would be called.
    pub pattern: Pattern,
    /// What it would blame.
    pub scope: Scope,
}

/// What the paths of a finding about a share counted, in the counts that fade (see
/// [`crate::cell::PathCell::long_counts`]).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counted {
    /// Probes.
    pub sent: f64,
    /// Of those, lost.
    pub lost: f64,
    /// End of the newest window in which something was lost; `None`: that is not kept.
    pub lost_at: Option<Moment>,
}

/// One cause, as far as one picture of the mesh tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which shape.
    pub pattern: Pattern,
    /// What it blames.
    pub scope: Scope,
    /// The plane that is broken while another one works; `None`: no plane is known to work, or it has none.
    pub plane: Option<Plane>,
    /// The share that is lost (or slow, or refused) on the paths that it explains; `None`: it is not about a share.
    pub loss: Option<Estimate>,
    /// What was counted by now; `None`: it is not about a share of lost packets. For the looks that follow.
    #[serde(skip)]
    pub counted: Option<Counted>,
    /// When it began, as far as measured.
    pub since: Option<Moment>,
    /// How sure the cause is.
    pub confidence: Confidence,
    /// What else it could be.
    pub alternatives: Vec<Alternative>,
    /// One sentence for people: what is broken, where, how much of it.
    pub summary: String,
    /// What backs it, a sentence each, the strongest first.
    pub evidence: Vec<String>,
    /// What speaks against it, a sentence each: paths that it should break and that work.
    pub counter_examples: Vec<String>,
    /// Paths that it explains and that fail.
    pub failing: u32,
    /// Paths that it would explain and that were judged.
    pub judged: u32,
    /// Some of the failing paths, at most [`Finding::MAX_PATHS`].
    pub paths: Vec<NamedPath>,
}

impl Finding {
    /// Most paths that a finding names.
    pub const MAX_PATHS: usize = 16;

    /// A finding with nothing but its identity and its sentence.
    pub fn new(pattern: Pattern, scope: Scope, summary: impl Into<String>) -> Self {
        Self {
            pattern,
            scope,
            plane: None,
            loss: None,
            counted: None,
            since: None,
            confidence: Confidence::Likely,
            alternatives: Vec::new(),
            summary: summary.into(),
            evidence: Vec::new(),
            counter_examples: Vec::new(),
            failing: 0,
            judged: 0,
            paths: Vec::new(),
        }
    }

    /// What makes two findings the same one.
    pub fn key(&self) -> (Pattern, &Scope) {
        (self.pattern, &self.scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_reads_as_a_share_with_its_interval() {
        assert_eq!(Estimate::of(33, 100).to_string(), "33 % (25 to 43 %)");
        assert_eq!(Estimate::of(1, 100).to_string(), "1.0 % (0.2 to 5.4 %)");
        let nothing = Estimate::of(0, 0);
        assert_eq!((nothing.lower, nothing.upper), (0.0, 1.0));
    }
}
