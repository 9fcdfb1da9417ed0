//! Where probers' streams come in.
//!
//! - [`ProberStreams`] is the gRPC service; it hands each stream to the `Supervisor`.
//! - The supervisor owns one task for each stream and joins it when it ends; the task's panic ends the process.
//! - A stream's task decodes, knows whose stream it is, and passes events to the mesh task through one bounded channel: a
//!   busy mesh task slows the probers' streams down and loses nothing. Back to the prober it writes assignments (built here
//!   from the newest roster), acknowledgements and confirmations.
//!
//! State lives in the mesh task alone: the session (`session`) and the numbers that were taken (`sequence`).

pub(crate) mod event;
pub(crate) mod refusal;
mod sequence;
mod service;
pub(crate) mod session;
mod stream;

use std::time::Duration;

pub use refusal::Refusal;
pub use service::ProberStreams;
pub(crate) use service::{Shared, Supervisor};

/// Limits of the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestConfig {
    /// A stream without a Hello after this time is ended.
    pub hello_timeout: Duration,
    /// A prober that reads nothing for this time is cut off.
    pub write_timeout: Duration,
    /// Longest message. A report of 5,000 targets in eight layers has 300 kB, its dictionary 400 kB.
    pub max_message_bytes: usize,
    /// Most streams, over all probers.
    pub max_streams: usize,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            hello_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(10),
            max_message_bytes: 4 * 1_024 * 1_024,
            max_streams: 20_000,
        }
    }
}
