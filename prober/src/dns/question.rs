//! A DNS question and what its answer is worth. Pure.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use crate::assignment::DnsTarget;

/// What a sender says that it can take (DNS flag day 2020): beyond it answers are truncated, not fragmented.
const EDNS_PAYLOAD: u16 = 1232;

/// A question that was encoded once and is compared with what comes back.
#[derive(Clone, Debug)]
pub struct Question {
    id: u16,
    query: Query,
    expected: ResponseCode,
    octets: Vec<u8>,
}

/// What a message from the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The answer, with the response code that was expected.
    Right {
        /// It says that there is more than fits.
        truncated: bool,
    },
    /// The answer, with another response code.
    OtherCode(u8),
    /// No answer to this question: another id, another question, or no DNS message at all.
    NotOurs,
}

/// The name cannot be asked for.
#[derive(Debug, thiserror::Error)]
#[error("encode the question for {name:?}: {reason}")]
pub struct QuestionError {
    name: String,
    reason: String,
}

impl Question {
    /// Asks for the addresses of the target's name, under a random id.
    pub fn new(target: &DnsTarget, id: u16) -> Result<Self, QuestionError> {
        let failed = |reason: String| QuestionError {
            name: target.name.clone(),
            reason,
        };
        let mut name = Name::from_ascii(&target.name).map_err(|error| failed(error.to_string()))?;
        name.set_fqdn(true);
        let kind = if target.address.is_ipv4() {
            RecordType::A
        } else {
            RecordType::AAAA
        };
        let query = Query::query(name, kind);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_PAYLOAD);
        message.set_edns(edns);
        Ok(Self {
            id,
            query,
            expected: ResponseCode::from(0, target.expected_rcode),
            octets: message
                .to_vec()
                .map_err(|error| failed(error.to_string()))?,
        })
    }

    /// The message to send.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// What a message from the server is.
    pub fn judge(&self, octets: &[u8]) -> Verdict {
        let Ok(message) = Message::from_vec(octets) else {
            return Verdict::NotOurs;
        };
        let metadata = &message.metadata;
        let ours = metadata.id == self.id
            && metadata.message_type == MessageType::Response
            && message.queries.first() == Some(&self.query);
        if !ours {
            return Verdict::NotOurs;
        }
        if metadata.response_code != self.expected {
            return Verdict::OtherCode(metadata.response_code.low());
        }
        Verdict::Right {
            truncated: metadata.truncation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(expected_rcode: u8) -> DnsTarget {
        DnsTarget {
            server: "vip".into(),
            address: "10.96.0.10:53".parse().unwrap(),
            name: "kubernetes.default.svc.cluster.local".into(),
            expected_rcode,
            plane: meshprobe_core::path::Plane::Service,
        }
    }

    fn answer(question: &Question, change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let asked = Message::from_vec(question.octets()).unwrap();
        let mut message = Message::response(asked.metadata.id, OpCode::Query);
        message.add_queries(asked.queries.clone());
        change(&mut message);
        message.to_vec().unwrap()
    }

    #[test]
    fn the_expected_answer_is_right_and_another_code_is_told() {
        let question = Question::new(&target(0), 7).unwrap();
        let right = answer(&question, |_| {});
        assert_eq!(question.judge(&right), Verdict::Right { truncated: false });
        let servfail = answer(&question, |m| {
            m.metadata.response_code = ResponseCode::ServFail;
        });
        assert_eq!(question.judge(&servfail), Verdict::OtherCode(2));
        let cut = answer(&question, |m| m.metadata.truncation = true);
        assert_eq!(question.judge(&cut), Verdict::Right { truncated: true });
    }

    #[test]
    fn an_absent_name_is_right_when_its_absence_is_expected() {
        let question = Question::new(&target(3), 7).unwrap();
        let absent = answer(&question, |m| {
            m.metadata.response_code = ResponseCode::NXDomain;
        });
        assert_eq!(question.judge(&absent), Verdict::Right { truncated: false });
        let there = answer(&question, |_| {});
        assert_eq!(question.judge(&there), Verdict::OtherCode(0));
    }

    #[test]
    fn what_was_not_asked_is_not_ours() {
        let question = Question::new(&target(0), 7).unwrap();
        let other = Question::new(&target(0), 8).unwrap();
        assert_eq!(question.judge(&answer(&other, |_| {})), Verdict::NotOurs);
        assert_eq!(
            question.judge(question.octets()),
            Verdict::NotOurs,
            "a query is no answer"
        );
        for length in 0..question.octets().len() {
            assert_eq!(
                question.judge(&question.octets()[..length]),
                Verdict::NotOurs
            );
        }
    }
}
