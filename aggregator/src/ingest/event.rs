//! What the streams tell the mesh task.

use meshprobe_core::time::Moment;
use meshprobe_proto::v1;
use tokio::sync::oneshot;

use super::refusal::Refusal;
use super::session::{Admitted, ProberKey, StreamId};
use crate::membership::Announcement;

/// Events that wait for the mesh task, over all streams. A report of 5,000 paths is applied in half a millisecond, so
/// this is the work of some hundred milliseconds at most; beyond it the streams wait, and so do their probers.
pub(crate) const EVENT_QUEUE: usize = 256;

/// Something happened on a stream.
#[derive(Debug)]
pub(crate) enum StreamEvent {
    /// A prober called.
    Open {
        stream: StreamId,
        hello: Box<Announcement>,
        answer: oneshot::Sender<Result<Admitted, Refusal>>,
    },
    /// New numbers of targets.
    Dictionary {
        prober: ProberKey,
        stream: StreamId,
        dictionary: v1::Dictionary,
    },
    /// A report. Nothing of it is checked yet.
    Report {
        prober: ProberKey,
        stream: StreamId,
        report: Box<v1::Report>,
        arrived_at: Moment,
    },
    /// What the prober says of its host. Nothing of it is checked yet.
    HostFacts {
        prober: ProberKey,
        stream: StreamId,
        facts: Box<v1::HostFacts>,
    },
    /// Where packets of a failing path end. Nothing of it is checked yet.
    Trace {
        prober: ProberKey,
        stream: StreamId,
        trace: Box<v1::Trace>,
    },
    /// A probe that was asked for has ended. Nothing of it is checked yet.
    ProbeResult {
        prober: ProberKey,
        stream: StreamId,
        result: Box<v1::ProbeResult>,
    },
    /// The prober is about to stop.
    Goodbye {
        prober: ProberKey,
        stream: StreamId,
        goodbye: v1::Goodbye,
    },
    /// The stream ended.
    Closed { prober: ProberKey, stream: StreamId },
}
