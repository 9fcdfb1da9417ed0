//! A prober's stream to the aggregator: two pipes, and what both ends know of it.

use meshprobe_aggregator::membership::Announcement;
use meshprobe_aggregator::pipeline::StreamByHand;
use meshprobe_core::time::Moment;
use meshprobe_proto::v1;

use crate::pipe::Pipe;

/// What a prober says.
#[derive(Debug)]
pub(crate) enum Up {
    Hello(Box<Announcement>),
    Dictionary(v1::Dictionary),
    Report(Box<v1::Report>),
    Goodbye(v1::Goodbye),
    /// The answer to a ping of HTTP/2.
    Pong,
    /// A ping of HTTP/2.
    Ping,
}

/// What the aggregator says.
#[derive(Debug)]
pub(crate) enum Down {
    Assignment(Box<v1::Assignment>),
    Ack(v1::Ack),
    Confirm(v1::Confirm),
    Ping,
    Pong,
}

/// An end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Prober,
    Aggregator,
}

/// What one end knows of the other one's life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pulse {
    /// When anything came last.
    pub(crate) heard_at: Moment,
    /// When it was last asked.
    pub(crate) pinged_at: Option<Moment>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Grows when it is opened or closed; what belongs to another epoch is void.
    pub(crate) epoch: u32,
    pub(crate) up: Pipe<Up>,
    pub(crate) down: Pipe<Down>,
    /// The aggregator's end, once the Hello was admitted.
    pub(crate) admitted: Option<StreamByHand>,
    /// Entries of the dictionary that were sent.
    pub(crate) dictionary_sent: usize,
    /// By [`Side`].
    pub(crate) pulses: [Pulse; 2],
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self {
            epoch: 0,
            up: Pipe::new(),
            down: Pipe::new(),
            admitted: None,
            dictionary_sent: 0,
            pulses: [Pulse::default(); 2],
        }
    }

    /// Forgets all that was under way. Returns the aggregator's end, if there was one.
    pub(crate) fn reset(&mut self) -> Option<StreamByHand> {
        let former = std::mem::replace(self, Self::new());
        self.epoch = former.epoch + 1;
        former.admitted
    }
}
