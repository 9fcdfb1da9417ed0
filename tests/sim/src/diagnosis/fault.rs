//! A fault: what is broken, and what has to be said about it.

use meshprobe_core::finding::{Pattern, Scope};

use super::rule::Rule;

/// What a finding is called by.
pub(super) type Name = (Pattern, Scope);

/// One fault, or several at once.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) family: &'static str,
    /// For people: `overlay-node mesh-3 35 %`.
    pub(super) title: String,
    pub(super) rules: Vec<Rule>,
    /// Exactly these findings.
    pub(super) expected: Vec<Name>,
    /// Everything that it hits is lost: it has to be found in seconds.
    pub(super) is_total: bool,
    /// Seconds in which it comes and goes; zero: it stays.
    pub(super) period: u32,
    /// Seconds after which it ends by itself; zero: it does not.
    pub(super) lasts: u32,
}

impl Fault {
    /// Both at once.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.title = format!("{} and {}", self.title, other.title);
        self.rules.extend(other.rules);
        self.expected.extend(other.expected);
        self.is_total &= other.is_total;
        self.family = "two-faults";
        self
    }
}
