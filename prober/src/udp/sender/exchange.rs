//! What the sender and its driver tell each other.

use std::net::SocketAddr;

use meshprobe_core::ids::Ssid;
use meshprobe_core::outcome::Outcome;
use meshprobe_core::stamp::{Sequence, Timestamp};
use meshprobe_core::time::Moment;

use crate::book::Sample;
use crate::path_id::PathId;
use crate::udp::flow::Flow;

/// A probe to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// On which path.
    pub path: PathId,
    /// Where to.
    pub destination: SocketAddr,
    /// From which of the family's ports.
    pub flow: Flow,
    /// Its number in the session.
    pub sequence: Sequence,
    /// When it should have been sent.
    pub due: Moment,
    /// Turns of this path that were skipped before it.
    pub missed: u32,
    /// Not by the schedule but to confirm something.
    pub extra: bool,
}

/// A probe that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// T1 as it travels.
    pub stamp: Timestamp,
    /// T1, nanoseconds since the Unix epoch.
    pub unix_nanos: i64,
    /// The same on the monotonic clock.
    pub at: Moment,
    /// Epoch of the wall clock.
    pub epoch: u32,
    /// The send call took so long that T1 is not when the packet left.
    pub preempted: bool,
    /// The source port.
    pub port: u16,
}

/// A reply as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where it came from.
    pub source: SocketAddr,
    /// Which probe it answers.
    pub sequence: Sequence,
    /// T1 that it returns.
    pub stamp: Timestamp,
    /// T3 − T2; `None` if the responder could not measure it.
    pub turnaround_nanos: Option<i64>,
    /// T4, nanoseconds since the Unix epoch.
    pub unix_nanos: i64,
    /// When the driver looked.
    pub now: Moment,
    /// Epoch of the wall clock when the driver looked.
    pub epoch: u32,
    /// TTL or hop limit with which the probe had arrived there.
    pub ttl: Option<u8>,
    /// DSCP with which the probe had arrived there; `None`: it was not asked, or does not say.
    pub dscp: Option<u8>,
    /// The responder's own number of the reply; `None`: it is not counted.
    pub number: Option<Sequence>,
    /// By which identifier the responder names itself; `None`: it only returns ours, or none.
    pub responder: Option<Ssid>,
}

/// What an arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The end of a probe.
    Sample {
        /// How it ended.
        sample: Sample,
        /// It was overtaken by the answer to a later probe.
        reordered: bool,
    },
    /// Another answer to a probe that was answered.
    Duplicate,
    /// It answers nothing that was sent.
    Unknown,
}

/// What an error says of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where the probe was sent to.
    pub destination: SocketAddr,
    /// Which probe, if the error quotes enough of it.
    pub sequence: Option<Sequence>,
    /// How it ended.
    pub outcome: Outcome,
}
