//! How a probe ended, in words.

use meshprobe_proto::v1::OutcomeClass;

/// Empty for a reply and where nothing is known.
pub fn words(class: OutcomeClass) -> &'static str {
    match class {
        OutcomeClass::Unspecified | OutcomeClass::Reply => "",
        OutcomeClass::Late => "late",
        OutcomeClass::Timeout => "timeout",
        OutcomeClass::Refused => "refused",
        OutcomeClass::Unreachable => "unreachable",
        OutcomeClass::TooBig => "too big",
        OutcomeClass::SendFailed => "send failed",
        OutcomeClass::Invalid => "invalid",
        OutcomeClass::WrongAnswer => "wrong answer",
        OutcomeClass::Rcode => "wrong rcode",
        OutcomeClass::Reset => "reset",
        OutcomeClass::AnsweredByOther => "answered by another node",
        OutcomeClass::TlsFailed => "TLS handshake failed",
        OutcomeClass::HttpStatus => "HTTP status",
    }
}
