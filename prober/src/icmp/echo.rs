//! The messages: echo request and reply (RFC 792, RFC 4443 §4). Pure.
//!
//! The kernel fills in identifier and checksum and hands over only replies with that identifier; which request a reply
//! answers is told by the number and by a random payload.

use std::net::IpAddr;

/// Octets of a message: type, code, checksum, identifier, sequence number, payload.
pub const OCTETS: usize = 8 + PAYLOAD;

const PAYLOAD: usize = 32;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    is_v4: bool,
    sequence: u16,
    payload: [u8; PAYLOAD],
}

impl Echo {
    /// A request to `peer`; `payload` should be random.
    pub const fn new(peer: IpAddr, sequence: u16, payload: [u8; PAYLOAD]) -> Self {
        Self {
            is_v4: peer.is_ipv4(),
            sequence,
            payload,
        }
    }

    /// As it is handed to the kernel.
    pub fn encode(&self) -> [u8; OCTETS] {
        let mut octets = [0; OCTETS];
        octets[0] = if self.is_v4 { 8 } else { 128 };
        octets[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        octets[8..].copy_from_slice(&self.payload);
        octets
    }

    /// Do these octets answer exactly this request?
    pub fn is_answered_by(&self, octets: &[u8]) -> bool {
        let Some(message) = octets.first_chunk::<OCTETS>() else {
            return false;
        };
        let reply = if self.is_v4 { 0 } else { 129 };
        octets.len() == OCTETS
            && message[0] == reply
            && message[1] == 0
            && message[6..8] == self.sequence.to_be_bytes()
            && message[8..] == self.payload
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn echo(peer: &str) -> Echo {
        Echo::new(peer.parse().unwrap(), 0x1234, [7; PAYLOAD])
    }

    #[test]
    fn a_reply_to_another_request_or_of_another_type_is_none() {
        for (peer, reply) in [("10.0.0.1", 0), ("fd00::1", 129)] {
            let echo = echo(peer);
            let mut octets = echo.encode();
            assert!(!echo.is_answered_by(&octets), "the request itself");
            octets[0] = reply;
            // Identifier and checksum are the kernel's.
            octets[2..6].fill(9);
            assert!(echo.is_answered_by(&octets));
            for place in [0, 1, 7, 8, OCTETS - 1] {
                let mut other = octets;
                other[place] ^= 1;
                assert!(!echo.is_answered_by(&other), "octet {place}");
            }
            assert!(!echo.is_answered_by(&octets[..OCTETS - 1]));
        }
    }

    proptest! {
        #[test]
        fn no_octets_make_the_parser_panic(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(!echo("10.0.0.1").is_answered_by(&octets) || octets.len() == OCTETS);
        }
    }
}
