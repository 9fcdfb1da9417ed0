//! Why a stream is refused or ended: each reason has a name in the metrics, a status for the prober and a sentence for
//! its operator.

use tonic::Status;

use crate::membership::{AnnouncementError, JoinError, NodeAddress};

/// Why the aggregator ends a stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something came before the Hello.
    #[error("the first message of a stream must be a Hello")]
    NoHello,
    /// Nothing came.
    #[error("no Hello within {0} s")]
    HelloTimeout(u64),
    /// A Hello that makes no sense.
    #[error(transparent)]
    Announcement(#[from] AnnouncementError),
    /// There is no room.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A later start of the same prober is known.
    #[error("incarnation {sent} is older than {current}, which is connected or was lately")]
    OlderIncarnation {
        /// In the Hello.
        sent: u64,
        /// The one that counts.
        current: u64,
    },
    /// A later start of the same prober called.
    #[error("another start of this prober took its place")]
    Superseded,
    /// Two processes claim to be the same prober.
    #[error("another process with other addresses ({}) is this prober and reports; are two nodes configured with one name?", list(.addresses))]
    Impostor {
        /// Where the prober is that was there first.
        addresses: Vec<NodeAddress>,
    },
    /// A second Hello.
    #[error("a second Hello on one stream")]
    SecondHello,
    /// A message that is too long.
    #[error("a message that is too long: {0}")]
    Oversized(String),
    /// A message that is no protobuf of ours.
    #[error("a message that cannot be decoded: {0}")]
    Undecodable(String),
    /// More streams than probers can have.
    #[error("{0} prober streams are open, which is the limit")]
    TooManyStreams(usize),
    /// The prober does not read what is sent to it.
    #[error("nothing was read from this stream for {0} s")]
    SlowReader(u64),
    /// The aggregator is shutting down.
    #[error("the aggregator is shutting down")]
    ShuttingDown,
}

impl Refusal {
    /// As metric label.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoHello => "no_hello",
            Self::HelloTimeout(_) => "hello_timeout",
            Self::Announcement(_) => "malformed_hello",
            Self::Join(JoinError::NotListed) => "not_listed",
            Self::Join(JoinError::TooManyNodes(_)) => "too_many_nodes",
            Self::Join(JoinError::NoSsid) => "no_ssid",
            Self::OlderIncarnation { .. } => "older_incarnation",
            Self::Superseded => "superseded",
            Self::Impostor { .. } => "impostor",
            Self::SecondHello => "second_hello",
            Self::Oversized(_) => "oversized",
            Self::Undecodable(_) => "undecodable",
            Self::TooManyStreams(_) => "too_many_streams",
            Self::SlowReader(_) => "slow_reader",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// Is it a fault of the prober, or of its configuration, that its operator should know about?
    pub const fn is_fault(&self) -> bool {
        !matches!(self, Self::Superseded | Self::ShuttingDown)
    }
}

impl From<&Refusal> for Status {
    fn from(refusal: &Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::NoHello
            | Refusal::Announcement(_)
            | Refusal::SecondHello
            | Refusal::Oversized(_)
            | Refusal::Undecodable(_) => Self::invalid_argument(text),
            Refusal::HelloTimeout(_) | Refusal::SlowReader(_) => Self::deadline_exceeded(text),
            Refusal::Join(_) | Refusal::TooManyStreams(_) => Self::resource_exhausted(text),
            Refusal::OlderIncarnation { .. } | Refusal::Superseded => Self::aborted(text),
            Refusal::Impostor { .. } => Self::already_exists(text),
            Refusal::ShuttingDown => Self::unavailable(text),
        }
    }
}

fn list(addresses: &[NodeAddress]) -> String {
    let texts: Vec<String> = addresses.iter().map(|a| a.ip.to_string()).collect();
    texts.join(", ")
}
