//! Who is answered: the Session-Reflector's sessions and limits around the decisions of [`meshprobe_core::stamp`].
//!
//! In this order: the port and the length (they cost nothing), the HMAC, the content, the session, the rate. Each
//! refusal is counted by its reason. A session is an SSID; within it, what comes from the peer's own addresses and what
//! comes from elsewhere (NAT, or somebody who knows the SSID) have separate limits and counters, so that a forger
//! cannot use up the peer's share.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use meshprobe_core::ids::Ssid;
use meshprobe_core::path::Family;
use meshprobe_core::stamp::reflect::{
    DscpPolicy, Facts, ReflectedControlPolicy, Reflector, Refusal, ReplySsid, SessionCounters,
};
use meshprobe_core::stamp::{ErrorEstimate, Sequence, Timestamp};
use meshprobe_core::time::Moment;

use crate::budget::TokenBucket;
use crate::path_id::PathId;
use crate::plan::Plan;

/// Answers a second to one session from the expected addresses: whatever the shortest intervals and confirming bursts
/// add up to. An answer is no longer than its request, so this is a limit for the CPU.
const RATE_EXPECTED: u32 = 25_000;

/// Answers a second to one session from elsewhere: the peer behind NAT has its regular probes and its bursts.
const RATE_ELSEWHERE: u32 = 200;

/// Answers a second to all who have no session, in open mode.
const RATE_OPEN: u32 = 100;

/// A packet that arrived at the responder.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who sent it, as far as the packet tells.
    pub source: SocketAddr,
    /// What it holds.
    pub octets: &'a [u8],
    /// T2; [`Timestamp::UNSET`] if it could not be measured: the sender then takes no round trip from the reply.
    pub received_at: Timestamp,
    /// TTL or hop limit that it arrived with.
    pub ttl: Option<u8>,
    /// When it is looked at.
    pub now: Moment,
}

/// A reply to send back to where the request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Octets at the start of the buffer.
    pub octets: usize,
    /// The path that the probe is counted on, if it came from a peer in this family.
    pub heard: Option<PathId>,
}

#[derive(Debug)]
struct Session {
    heard_v4: Option<PathId>,
    heard_v6: Option<PathId>,
    addresses: Vec<IpAddr>,
    expected: Stream,
    elsewhere: Stream,
}

/// One of the two parts of a session.
#[derive(Debug)]
struct Stream {
    budget: TokenBucket,
    received: u32,
    sent: u32,
}

impl Stream {
    fn new(rate: u32) -> Self {
        Self {
            budget: TokenBucket::new(rate, rate / 2),
            received: 0,
            sent: 0,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Responder {
    reflector: Reflector,
    own_port: u16,
    /// Ascending by identifier: found in a few comparisons, for every packet.
    sessions: Vec<(Ssid, Session)>,
    open: Option<Stream>,
}

impl Responder {
    /// Answers nobody yet. `open`: also answers whoever has no session.
    pub fn new(own_port: u16, open: bool) -> Self {
        Self {
            reflector: Reflector::unauthenticated(vec![own_port]),
            own_port,
            sessions: Vec::new(),
            open: open.then(|| Stream::new(RATE_OPEN)),
        }
    }

    /// Puts another set of peers and keys in force; a kept session keeps its counters.
    pub fn set_plan(&mut self, plan: &Plan) {
        let mut ports = plan.responder_ports.clone();
        if !ports.contains(&self.own_port) {
            ports.push(self.own_port);
        }
        self.reflector = Reflector {
            keys: plan.keys.clone(),
            responder_ports: ports,
            dscp: DscpPolicy::Refuse,
            reflected_control: ReflectedControlPolicy::Off,
        };
        let mut before: HashMap<Ssid, Session> = self.sessions.drain(..).collect();
        for peer in &plan.answered {
            let (expected, elsewhere) = match before.remove(&peer.ssid) {
                Some(known) => (known.expected, known.elsewhere),
                None => (Stream::new(RATE_EXPECTED), Stream::new(RATE_ELSEWHERE)),
            };
            self.sessions.push((
                peer.ssid,
                Session {
                    heard_v4: peer.heard_v4,
                    heard_v6: peer.heard_v6,
                    addresses: peer.addresses.clone(),
                    expected,
                    elsewhere,
                },
            ));
        }
        self.sessions.sort_unstable_by_key(|(ssid, _)| *ssid);
    }

    /// Decides about a packet and writes the reply to `buffer`. T3 is read at the last moment.
    pub fn handle(
        &mut self,
        request: &Request<'_>,
        sent_at: impl FnOnce() -> Timestamp,
        buffer: &mut [u8],
    ) -> Result<Answered, Refusal> {
        let admitted = self
            .reflector
            .admit(request.source.port(), request.octets)?;
        let session = admitted.packet().ssid.and_then(|ssid| {
            let place = self
                .sessions
                .binary_search_by_key(&ssid, |(known, _)| *known);
            place.ok().map(|place| &mut self.sessions[place].1)
        });
        let source = request.source.ip().to_canonical();
        let (stream, heard) = match session {
            Some(session) => {
                let heard = match Family::of(source) {
                    Family::V4 => session.heard_v4,
                    Family::V6 => session.heard_v6,
                };
                let stream = if session.addresses.contains(&source) {
                    &mut session.expected
                } else {
                    &mut session.elsewhere
                };
                (stream, heard)
            }
            None => (self.open.as_mut().ok_or(Refusal::Unprovisioned)?, None),
        };
        if !stream.budget.try_take(request.now) {
            return Err(Refusal::RateLimited);
        }
        stream.received = stream.received.wrapping_add(1);
        stream.sent = stream.sent.wrapping_add(1);
        let facts = Facts {
            sequence: Some(Sequence(stream.sent.wrapping_sub(1))),
            received_at: request.received_at,
            sent_at: sent_at(),
            error_estimate: ErrorEstimate::UNKNOWN,
            ssid: ReplySsid::Echo,
            ttl: request.ttl,
            traffic_class: None,
            counters: Some(SessionCounters {
                received: stream.received,
                sent: stream.sent,
            }),
        };
        let reply = admitted.reply(&facts, buffer)?;
        Ok(Answered {
            octets: reply.octets,
            heard,
        })
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::ids::TargetNumber;
    use meshprobe_core::stamp::{Key, Keys, ReflectorPacket, SenderPacket};

    use super::*;
    use crate::plan::AnsweredPeer;

    const T2: Timestamp = Timestamp(0xE000_0000_0000_0000);
    const T3: Timestamp = Timestamp(0xE000_0000_0001_0000);

    fn plan() -> Plan {
        Plan {
            ssid: Some(Ssid(1)),
            responder_ports: vec![4862, 4872],
            answered: vec![AnsweredPeer {
                ssid: Ssid(2),
                target: TargetNumber(0),
                heard_v4: Some(PathId::for_test(5)),
                heard_v6: None,
                addresses: vec!["10.0.0.2".parse().unwrap()],
            }],
            ..Plan::default()
        }
    }

    fn responder() -> Responder {
        let mut responder = Responder::new(4862, false);
        responder.set_plan(&plan());
        responder
    }

    fn packet(ssid: Option<u16>) -> [u8; 44] {
        let mut octets = [0; 44];
        SenderPacket {
            sequence: Sequence(7),
            timestamp: Timestamp(0xE000_0000_0000_1234),
            error_estimate: ErrorEstimate::UNKNOWN,
            ssid: ssid.map(Ssid),
        }
        .encode_unauthenticated(&mut octets)
        .unwrap();
        octets
    }

    fn ask(
        responder: &mut Responder,
        source: &str,
        octets: &[u8],
        millis: u64,
    ) -> Result<Answered, Refusal> {
        let mut buffer = [0; 2048];
        let request = Request {
            source: source.parse().unwrap(),
            octets,
            received_at: T2,
            ttl: Some(64),
            now: Moment::from_millis(millis),
        };
        responder.handle(&request, || T3, &mut buffer)
    }

    #[test]
    fn a_peers_probe_is_answered_and_counted_on_its_path() {
        let mut responder = responder();
        let answered = ask(&mut responder, "10.0.0.2:40000", &packet(Some(2)), 0).unwrap();
        assert_eq!(answered.octets, 44);
        assert_eq!(answered.heard, Some(PathId::for_test(5)));
    }

    #[test]
    fn whoever_has_no_session_is_refused_unless_the_responder_is_open() {
        let mut closed = responder();
        for ssid in [None, Some(3)] {
            let refused = ask(&mut closed, "10.0.0.2:40000", &packet(ssid), 0);
            assert_eq!(refused, Err(Refusal::Unprovisioned));
        }
        let mut open = Responder::new(4862, true);
        let answered = ask(&mut open, "192.0.2.1:40000", &packet(None), 0).unwrap();
        assert_eq!(answered.heard, None);
    }

    #[test]
    fn two_responders_never_answer_each_other() {
        let mut responder = responder();
        for port in ["10.0.0.2:4862", "10.0.0.2:4872"] {
            let refused = ask(&mut responder, port, &packet(Some(2)), 0);
            assert_eq!(refused, Err(Refusal::ResponderPort));
        }
    }

    #[test]
    fn a_reply_is_never_answered_and_a_truncated_packet_neither() {
        let mut responder = responder();
        let mut reply = [0; 44];
        ReflectorPacket {
            sequence: Sequence(1),
            timestamp: T3,
            error_estimate: ErrorEstimate::UNKNOWN,
            ssid: Some(Ssid(2)),
            receive_timestamp: T2,
            sender_sequence: Sequence(7),
            sender_timestamp: T2,
            sender_error_estimate: ErrorEstimate::UNKNOWN,
            sender_ttl: 64,
        }
        .encode_unauthenticated(&mut reply)
        .unwrap();
        assert_eq!(
            ask(&mut responder, "10.0.0.2:40000", &reply, 0),
            Err(Refusal::Reflected)
        );
        for length in 0..41 {
            let cut = &packet(Some(2))[..length];
            assert_eq!(
                ask(&mut responder, "10.0.0.2:40000", cut, 0),
                Err(Refusal::TooShort)
            );
        }
    }

    #[test]
    fn with_keys_a_forged_packet_is_refused_before_anything_else() {
        let keys = Keys::new(Key::new(b"sixteen octets!!").unwrap());
        let mut responder = Responder::new(4862, true);
        responder.set_plan(&Plan {
            keys: Some(keys.clone()),
            ..plan()
        });
        let mut octets = [0; 112];
        let packet = SenderPacket {
            sequence: Sequence(7),
            timestamp: T2,
            error_estimate: ErrorEstimate::UNKNOWN,
            ssid: Some(Ssid(2)),
        };
        packet
            .encode_authenticated(&keys.current, &mut octets)
            .unwrap();
        assert_eq!(
            ask(&mut responder, "10.0.0.2:40000", &octets, 0)
                .unwrap()
                .octets,
            112
        );
        octets[26] ^= 1;
        assert_eq!(
            ask(&mut responder, "10.0.0.2:40000", &octets, 0),
            Err(Refusal::BadHmac)
        );
    }

    #[test]
    fn a_forger_elsewhere_does_not_use_up_the_peers_share() {
        let mut responder = responder();
        let forged = (0..10_000)
            .filter(|_| ask(&mut responder, "203.0.113.9:40000", &packet(Some(2)), 1_000).is_ok())
            .count();
        assert!(forged <= RATE_ELSEWHERE as usize);
        assert!(ask(&mut responder, "10.0.0.2:40000", &packet(Some(2)), 1_000).is_ok());
    }
}
