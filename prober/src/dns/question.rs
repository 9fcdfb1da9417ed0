//! A DNS question and what comes back for it. Pure.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
pub use hickory_proto::rr::RecordType;
use hickory_proto::rr::{Name, RData};

/// What a sender says that it can take (DNS flag day 2020): beyond it answers are truncated, not fragmented.
pub const EDNS_PAYLOAD: u16 = 1232;

/// The largest answer over UDP that is read; a longer one would have ignored what EDNS says.
pub const UDP_OCTETS: usize = 4096;

/// Addresses of one answer that are looked at.
const MAX_ADDRESSES: usize = 64;

/// A question that was encoded once and is compared with what comes back.
#[derive(Clone, Debug)]
pub struct Question {
    id: u16,
    query: Query,
    octets: Vec<u8>,
}

/// The answer to a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its response code, with the bits that EDNS adds.
    pub rcode: u8,
    /// It says that there is more than fits.
    pub truncated: bool,
    /// Records in the answer section.
    pub records: u16,
    /// The addresses among them, at the end of whatever chain of aliases.
    pub addresses: Vec<IpAddr>,
}

/// The name cannot be asked for.
#[derive(Debug, thiserror::Error)]
#[error("encode the question for {name:?}: {reason}")]
pub struct QuestionError {
    name: String,
    reason: String,
}

impl Question {
    /// Asks for records of a fully qualified name, under an id that nobody should guess.
    pub fn new(name: &str, kind: RecordType, edns: bool, id: u16) -> Result<Self, QuestionError> {
        let failed = |reason: String| QuestionError {
            name: name.chars().take(64).collect(),
            reason,
        };
        let mut qualified = Name::from_ascii(name).map_err(|error| failed(error.to_string()))?;
        qualified.set_fqdn(true);
        let query = Query::query(qualified, kind);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        if edns {
            let mut edns = Edns::new();
            edns.set_max_payload(EDNS_PAYLOAD);
            message.set_edns(edns);
        }
        Ok(Self {
            id,
            query,
            octets: message
                .to_vec()
                .map_err(|error| failed(error.to_string()))?,
        })
    }

    /// The message to send.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The answer to this question; `None`: it answers something else, or is no DNS message at all.
    pub fn read(&self, octets: &[u8]) -> Option<Answer> {
        let message = Message::from_vec(octets).ok()?;
        let metadata = &message.metadata;
        let ours = metadata.id == self.id
            && metadata.message_type == MessageType::Response
            && message.queries.first() == Some(&self.query);
        if !ours {
            return None;
        }
        let address = |data: &RData| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        };
        let addresses = message.answers.iter().filter_map(|r| address(&r.data));
        Some(Answer {
            rcode: u8::try_from(u16::from(metadata.response_code)).unwrap_or(u8::MAX),
            truncated: metadata.truncation,
            records: u16::try_from(message.answers.len()).unwrap_or(u16::MAX),
            addresses: addresses.take(MAX_ADDRESSES).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::ResponseCode;
    use hickory_proto::rr::Record;
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "kubernetes.default.svc.cluster.local";

    fn question(id: u16) -> Question {
        Question::new(NAME, RecordType::A, true, id).unwrap()
    }

    fn answer(question: &Question, change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let asked = Message::from_vec(question.octets()).unwrap();
        let mut message = Message::response(asked.metadata.id, OpCode::Query);
        message.add_queries(asked.queries.clone());
        change(&mut message);
        message.to_vec().unwrap()
    }

    #[test]
    fn an_answer_tells_its_code_its_records_and_whether_it_fitted() {
        let question = question(7);
        let full = answer(&question, |m| {
            let name = Name::from_ascii(NAME).unwrap();
            let data = RData::from("10.96.0.1".parse::<IpAddr>().unwrap());
            m.answers.push(Record::from_rdata(name, 5, data));
        });
        let full = question.read(&full).unwrap();
        assert_eq!((full.rcode, full.records), (0, 1));
        assert_eq!(full.addresses, ["10.96.0.1".parse::<IpAddr>().unwrap()]);
        let servfail = answer(&question, |m| {
            m.metadata.response_code = ResponseCode::ServFail;
        });
        assert_eq!(question.read(&servfail).unwrap().rcode, 2);
        let cut = answer(&question, |m| m.metadata.truncation = true);
        assert!(question.read(&cut).unwrap().truncated);
    }

    #[test]
    fn what_was_not_asked_is_no_answer() {
        let (seven, eight) = (question(7), question(8));
        assert_eq!(seven.read(&answer(&eight, |_| {})), None);
        assert_eq!(seven.read(seven.octets()), None, "a query is no answer");
        for length in 0..seven.octets().len() {
            assert_eq!(seven.read(&seven.octets()[..length]), None);
        }
    }

    #[test]
    fn a_name_that_cannot_be_asked_is_refused() {
        let long = "a".repeat(64);
        assert!(Question::new(&long, RecordType::A, false, 1).is_err());
    }

    proptest! {
        #[test]
        fn random_octets_are_no_answer_and_do_no_harm(octets in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(question(7).read(&octets), None);
        }

        #[test]
        fn a_mutated_answer_is_read_or_refused_and_stays_small(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
            cut in any::<prop::sample::Index>(),
        ) {
            let question = question(7);
            let mut octets = answer(&question, |m| {
                let name = Name::from_ascii(NAME).unwrap();
                for last in 0..20 {
                    let data = RData::from(IpAddr::from([10, 0, 0, last]));
                    m.answers.push(Record::from_rdata(name.clone(), 5, data));
                }
            });
            for (place, value) in changes {
                let place = place.index(octets.len());
                octets[place] = value;
            }
            octets.truncate(cut.index(octets.len()) + 1);
            if let Some(answer) = question.read(&octets) {
                prop_assert!(answer.addresses.len() <= MAX_ADDRESSES);
            }
        }
    }
}
