//! What can be broken in the small cluster, and how a probe ends.

use std::collections::{BTreeMap, BTreeSet};

use crate::outcome::OutcomeClass;

/// What is broken now.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a failure of its own"
)]
pub(super) struct Faults {
    /// DNS instances whose process is gone: connections are refused.
    pub(super) dead_dns: BTreeSet<usize>,
    /// DNS instances that nobody reaches.
    pub(super) silent_dns: BTreeSet<usize>,
    /// Share of the questions that each instance loses.
    pub(super) dns_loss: BTreeMap<usize, f64>,
    /// Nodes whose pods may not send to port 53.
    pub(super) blocked: BTreeSet<usize>,
    /// Nodes without virtual IPs.
    pub(super) no_vips: BTreeSet<usize>,
    /// Nodes without the virtual IP of the DNS.
    pub(super) no_dns_vip: BTreeSet<usize>,
    /// What the servers forward to answers with failures.
    pub(super) servfail: bool,
    /// Names that are gone.
    pub(super) absent: BTreeSet<&'static str>,
    /// One of three backends is gone.
    pub(super) stale: bool,
    /// Nobody gets out.
    pub(super) no_way_out: bool,
    /// Nodes that do not get out.
    pub(super) cut: BTreeSet<usize>,
    /// Hosts outside that are down, and whether they refuse.
    pub(super) down: BTreeMap<&'static str, bool>,
    pub(super) expired: BTreeSet<&'static str>,
    pub(super) status: BTreeMap<&'static str, u16>,
    pub(super) dark: BTreeSet<usize>,
    /// Nodes of which nothing leaves.
    pub(super) mute: BTreeSet<usize>,
    /// Every way between nodes lost everything until a few seconds ago.
    pub(super) cut_lately: bool,
    /// The aggregator has started anew since a dark node last said something of itself.
    pub(super) has_restarted: bool,
    /// Nothing gets through at all, for a moment.
    pub(super) freeze: bool,
    /// Resolvers that ask the internet's server.
    pub(super) drift: BTreeSet<usize>,
}

/// How a probe ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fate {
    Reply,
    Timeout,
    Refused,
    Rcode(u8),
    Tls(&'static str),
    Status(u16),
    /// The name could not be resolved.
    Unresolved(OutcomeClass),
}

impl Fate {
    pub(super) fn class(&self) -> OutcomeClass {
        match self {
            Self::Reply => OutcomeClass::Reply,
            Self::Timeout => OutcomeClass::Timeout,
            Self::Refused => OutcomeClass::Refused,
            Self::Rcode(_) => OutcomeClass::Rcode,
            Self::Tls(_) => OutcomeClass::TlsFailed,
            Self::Status(_) => OutcomeClass::HttpStatus,
            Self::Unresolved(class) => *class,
        }
    }
}
