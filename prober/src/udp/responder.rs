//! Who is answered: the Session-Reflector's sessions and limits around the decisions of [`meshprobe_core::stamp`].
//!
//! In this order: the port and the length (they cost nothing), the HMAC, the content, the session, the rate. Each
//! refusal is counted by its reason. A session is an SSID; within it, what comes from the peer's own addresses and what
//! comes from elsewhere (NAT, or somebody who knows the SSID) have separate limits and counters, so that a forger
//! cannot use up the peer's share.
//!
//! A provisioned peer is told who answers: the reply carries the responder's own SSID, so that a duplicate address or a
//! wrong route shows. Anybody else gets its own SSID back, as RFC 8972 §3 has it.
//!
//! A probe of a size (padded, or with a wish for a shorter reply) is answered, without a fragment, and counted nowhere: it
//! may be lost when all is well.

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
    /// DSCP and ECN that it arrived with.
    pub traffic_class: Option<u8>,
    /// When it is looked at.
    pub now: Moment,
}

/// A reply to send back to where the request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Octets at the start of the buffer.
    pub octets: usize,
    /// DSCP to send it with; `None`: the system's default.
    pub dscp: Option<u8>,
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
    /// Probes that were answered, by family: from each, the sender reckons which way it lost what it misses.
    answered: [u32; 2],
}

impl Stream {
    fn new(rate: u32) -> Self {
        Self {
            budget: TokenBucket::new(rate, rate / 2),
            answered: [0; 2],
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Responder {
    reflector: Reflector,
    own_port: u16,
    /// By which it names itself to its peers.
    own_ssid: Option<Ssid>,
    is_anonymous: bool,
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
            own_ssid: None,
            is_anonymous: false,
            sessions: Vec::new(),
            open: open.then(|| Stream::new(RATE_OPEN)),
        }
    }

    /// Whether its peers get their own identifier back instead of its.
    #[must_use]
    pub fn anonymous(self, is_anonymous: bool) -> Self {
        Self {
            is_anonymous,
            ..self
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
            reflected_control: ReflectedControlPolicy::Shorten,
        };
        self.own_ssid = plan.ssid.filter(|_| !self.is_anonymous);
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
        let (stream, heard, ssid) = match session {
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
                let ssid = self.own_ssid.map_or(ReplySsid::Echo, ReplySsid::Own);
                (stream, heard, ssid)
            }
            None => (
                self.open.as_mut().ok_or(Refusal::Unprovisioned)?,
                None,
                ReplySsid::Echo,
            ),
        };
        if !stream.budget.try_take(request.now) {
            return Err(Refusal::RateLimited);
        }
        let is_counted = !admitted.tests_size();
        let answered = &mut stream.answered[Family::of(source).index()];
        if is_counted {
            *answered = answered.wrapping_add(1);
        }
        let answered = *answered;
        let facts = Facts {
            sequence: is_counted.then(|| Sequence(answered.wrapping_sub(1))),
            received_at: request.received_at,
            sent_at: sent_at(),
            error_estimate: ErrorEstimate::UNKNOWN,
            ssid,
            ttl: request.ttl,
            traffic_class: request.traffic_class,
            counters: Some(SessionCounters {
                received: answered,
                sent: answered,
            }),
        };
        let reply = admitted.reply(&facts, buffer)?;
        Ok(Answered {
            octets: reply.octets,
            dscp: reply.dscp,
            heard: heard.filter(|_| is_counted),
        })
    }
}

#[cfg(test)]
mod tests;
