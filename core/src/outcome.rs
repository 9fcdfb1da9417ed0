//! How a probe ended. Every probe has exactly one outcome.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How one probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The expected answer, in time.
    Reply {
        /// Round-trip time without the responder's own delay.
        rtt: Duration,
    },
    /// The expected answer after the timeout. The path works; the probe counts as lost, never as a second success.
    Late,
    /// No answer in time.
    Timeout,
    /// Nobody listens at that address, and its host said so (RST, ICMP port unreachable).
    Refused,
    /// ICMP destination unreachable or an error of the own routing table.
    Unreachable,
    /// The packet was larger than the path allows, and somebody said so.
    TooBig {
        /// The largest size that the sender of the message allows, octets of IP packet.
        mtu: u16,
    },
    /// The own kernel refused to send it.
    SendFailed {
        /// The error number of the system call.
        errno: i32,
    },
    /// The prober itself was late, throttled or out of buffers. Not a statement about the network: it leaves the
    /// statistics and is never counted as loss.
    Invalid,
    /// The connection worked, the answer was not the expected one.
    WrongAnswer,
    /// A DNS answer with another response code than the expected one.
    Rcode(u8),
    /// A connection that was established, then reset by the other side.
    Reset,
    /// A reply that names another responder than the peer: a duplicate address or a wrong route.
    AnsweredByOther,
    /// The connection worked, the TLS handshake did not.
    TlsFailed,
    /// An HTTP response with another status than the expected ones.
    HttpStatus(u16),
}

/// An outcome without its data: what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum OutcomeClass {
    /// See [`Outcome::Reply`].
    Reply = 1,
    /// See [`Outcome::Late`].
    Late = 2,
    /// See [`Outcome::Timeout`].
    Timeout = 3,
    /// See [`Outcome::Refused`].
    Refused = 4,
    /// See [`Outcome::Unreachable`].
    Unreachable = 5,
    /// See [`Outcome::TooBig`].
    TooBig = 6,
    /// See [`Outcome::SendFailed`].
    SendFailed = 7,
    /// See [`Outcome::Invalid`].
    Invalid = 8,
    /// See [`Outcome::WrongAnswer`].
    WrongAnswer = 9,
    /// See [`Outcome::Rcode`].
    Rcode = 10,
    /// See [`Outcome::Reset`].
    Reset = 11,
    /// See [`Outcome::AnsweredByOther`].
    AnsweredByOther = 12,
    /// See [`Outcome::TlsFailed`].
    TlsFailed = 13,
    /// See [`Outcome::HttpStatus`].
    HttpStatus = 14,
}

impl OutcomeClass {
    /// Every class, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Reply,
        Self::Late,
        Self::Timeout,
        Self::Refused,
        Self::Unreachable,
        Self::TooBig,
        Self::SendFailed,
        Self::Invalid,
        Self::WrongAnswer,
        Self::Rcode,
        Self::Reset,
        Self::AnsweredByOther,
        Self::TlsFailed,
        Self::HttpStatus,
    ];

    /// The class with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Does a probe that ended so count as lost?
    pub const fn is_loss(self) -> bool {
        !matches!(self, Self::Reply | Self::Invalid)
    }

    /// As label and log text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Late => "late",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TooBig => "too-big",
            Self::SendFailed => "send-failed",
            Self::Invalid => "invalid",
            Self::WrongAnswer => "wrong-answer",
            Self::Rcode => "rcode",
            Self::Reset => "reset",
            Self::AnsweredByOther => "answered-by-other",
            Self::TlsFailed => "tls-failed",
            Self::HttpStatus => "http-status",
        }
    }
}

impl Outcome {
    /// The outcome without its data.
    pub const fn class(self) -> OutcomeClass {
        match self {
            Self::Reply { .. } => OutcomeClass::Reply,
            Self::Late => OutcomeClass::Late,
            Self::Timeout => OutcomeClass::Timeout,
            Self::Refused => OutcomeClass::Refused,
            Self::Unreachable => OutcomeClass::Unreachable,
            Self::TooBig { .. } => OutcomeClass::TooBig,
            Self::SendFailed { .. } => OutcomeClass::SendFailed,
            Self::Invalid => OutcomeClass::Invalid,
            Self::WrongAnswer => OutcomeClass::WrongAnswer,
            Self::Rcode(_) => OutcomeClass::Rcode,
            Self::Reset => OutcomeClass::Reset,
            Self::AnsweredByOther => OutcomeClass::AnsweredByOther,
            Self::TlsFailed => OutcomeClass::TlsFailed,
            Self::HttpStatus(_) => OutcomeClass::HttpStatus,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_found_by_its_number() {
        for class in OutcomeClass::ALL {
            assert_eq!(OutcomeClass::from_number(class as u8), Some(class));
        }
        assert_eq!(OutcomeClass::from_number(0), None);
        assert_eq!(OutcomeClass::from_number(15), None);
    }

    #[test]
    fn an_invalid_sample_is_neither_a_reply_nor_a_loss() {
        assert!(!Outcome::Invalid.class().is_loss());
        assert!(Outcome::Late.class().is_loss());
        assert!(
            !Outcome::Reply {
                rtt: Duration::ZERO
            }
            .class()
            .is_loss()
        );
    }
}
