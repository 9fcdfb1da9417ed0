//! Why a handshake or a connection ended: as an outcome and in words.

use meshprobe_core::detail::bounded_text;
use meshprobe_core::outcome::Outcome;
use quinn::{ConnectError, ConnectionError, TransportErrorCode};

use super::echo::NoEcho;

/// A probe that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QuicFailure {
    /// How it counts.
    pub(super) outcome: Outcome,
    /// For people.
    pub(super) text: String,
}

impl QuicFailure {
    pub(super) fn timeout(what: &str) -> Self {
        Self {
            outcome: Outcome::Timeout,
            text: format!("no answer to the {what} in time"),
        }
    }

    pub(super) fn own(error: &std::io::Error) -> Self {
        Self {
            outcome: error
                .raw_os_error()
                .map_or(Outcome::Invalid, |errno| Outcome::SendFailed { errno }),
            text: bounded_text(&error.to_string()),
        }
    }
}

impl From<ConnectionError> for QuicFailure {
    fn from(error: ConnectionError) -> Self {
        let outcome = match &error {
            ConnectionError::TimedOut => Outcome::Timeout,
            ConnectionError::Reset => Outcome::Reset,
            ConnectionError::ConnectionClosed(close)
                if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
            {
                Outcome::Refused
            }
            ConnectionError::ConnectionClosed(_) | ConnectionError::ApplicationClosed(_) => {
                Outcome::Reset
            }
            // 0x100 to 0x1ff are TLS alerts (RFC 9001 §4.8).
            ConnectionError::TransportError(transport)
                if (0x100..0x200).contains(&u64::from(transport.code)) =>
            {
                Outcome::TlsFailed
            }
            ConnectionError::VersionMismatch | ConnectionError::TransportError(_) => {
                Outcome::WrongAnswer
            }
            ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => Outcome::Invalid,
        };
        Self {
            outcome,
            text: bounded_text(&error.to_string()),
        }
    }
}

impl From<ConnectError> for QuicFailure {
    fn from(error: ConnectError) -> Self {
        Self {
            outcome: Outcome::Invalid,
            text: bounded_text(&error.to_string()),
        }
    }
}

impl From<NoEcho> for QuicFailure {
    fn from(error: NoEcho) -> Self {
        match error {
            NoEcho::Connection(error) => error.into(),
            NoEcho::Unsupported => Self {
                outcome: Outcome::WrongAnswer,
                text: "the peer takes no datagrams".to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_of_a_connection_has_its_outcome() {
        let cases = [
            (ConnectionError::TimedOut, Outcome::Timeout),
            (ConnectionError::Reset, Outcome::Reset),
            (ConnectionError::VersionMismatch, Outcome::WrongAnswer),
            (ConnectionError::LocallyClosed, Outcome::Invalid),
        ];
        for (error, outcome) in cases {
            let failure = QuicFailure::from(error);
            assert_eq!(failure.outcome, outcome, "{}", failure.text);
            assert!(!failure.text.is_empty());
        }
    }
}
