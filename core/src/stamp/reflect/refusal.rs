//! Why a packet gets no answer. One list, so that every refusal has its counter.

use std::fmt;

/// Why a packet gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Refusal {
    /// Shorter than the base packet (unauthenticated: than 41 octets, see [`crate::stamp::reflect`]).
    TooShort,
    /// Longer than [`crate::stamp::MAX_OCTETS`], or than the buffer for the reply.
    TooLong,
    /// The HMAC fits none of the accepted keys.
    BadHmac,
    /// It comes from the port of a responder.
    ResponderPort,
    /// It is a reply.
    Reflected,
    /// The sender asks for no reply (RFC 10052 §3).
    NoReplyWanted,
    /// Decided by the daemon: the SSID or the peer is not provisioned (RFC 8972 §3).
    Unprovisioned,
    /// Decided by the daemon: too many packets from this source.
    RateLimited,
}

impl Refusal {
    /// All refusals, to register their counters in advance.
    pub const ALL: [Self; 8] = [
        Self::TooShort,
        Self::TooLong,
        Self::BadHmac,
        Self::ResponderPort,
        Self::Reflected,
        Self::NoReplyWanted,
        Self::Unprovisioned,
        Self::RateLimited,
    ];

    /// Value of the `reason` label of its counter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooShort => "too-short",
            Self::TooLong => "too-long",
            Self::BadHmac => "bad-hmac",
            Self::ResponderPort => "responder-port",
            Self::Reflected => "reflected",
            Self::NoReplyWanted => "no-reply-wanted",
            Self::Unprovisioned => "unprovisioned",
            Self::RateLimited => "rate-limited",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Refusal {}
