//! The Session-Reflector's decision: received octets in, reply or reason of refusal out.
//!
//! Two steps, so that the daemon can look up the session between them and read T3 at the last moment:
//! 1. [`Reflector::admit`] refuses what may not be answered, and gives a [`Request`];
//! 2. [`Request::reply`] writes the reply.
//!
//! # What is never done
//! - **A reply is never longer than its request.** The responder cannot be used to amplify an attack. A
//!   TWAMP-Light sender, whose packets may be shorter than STAMP's (RFC 8762 §4.6), is therefore answered
//!   with the length that it sent, which must be at least [`TWAMP_LIGHT_OCTETS`]: all fields of a reply
//!   lie in those 41 octets, what is cut off is zeros. Anything shorter is refused as
//!   [`Refusal::TooShort`]; such a sender has to be configured to pad to 41 octets.
//! - A reply is never answered, nor a packet from a responder's port (see [`crate::stamp`]).
//! - One request never earns more than one reply, whatever its TLVs ask for.
//!
//! No state is kept here. A stateful reflector passes its own sequence number and counters in [`Facts`].

mod extensions;
mod refusal;

use super::auth::COVERED_OCTETS;
use super::reflector::{PacketFormat, looks_reflected};
use super::{
    ErrorEstimate, Key, KeyGeneration, Keys, MAX_OCTETS, ParseError, ReflectorPacket, SenderPacket,
    Sequence, Ssid, TWAMP_LIGHT_OCTETS, Timestamp,
};
use extensions::Extensions;

pub use refusal::Refusal;

/// How a responder answers; fixed while it runs, except for the keys.
#[derive(Debug, Clone)]
pub struct Reflector {
    /// Unauthenticated, or authenticated with these keys. A responder has one mode: the packet does
    /// not tell.
    pub keys: Option<Keys>,
    /// Source ports that are never answered: those of all responders of the mesh.
    pub responder_ports: Vec<u16>,
    /// Whether replies may carry the DSCP that a request asks for.
    pub dscp: DscpPolicy,
    /// Whether requests may ask for a shorter reply.
    pub reflected_control: ReflectedControlPolicy,
}

/// Whether the DSCP of a Class of Service TLV is used for the reply (RFC 8972 §6 wants a policy).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DscpPolicy {
    /// Replies go out as the request came in, and say so.
    #[default]
    Refuse,
    /// Replies go out with the DSCP that was asked for.
    Honour,
}

/// Whether the Reflected Test Packet Control TLV is understood (RFC 10052 §5 wants it off by default).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReflectedControlPolicy {
    /// The TLV is returned as not recognised.
    #[default]
    Off,
    /// A reply may be shorter than its request. Longer replies and more than one are still not given.
    Shorten,
}

/// Which SSID a reply carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplySsid {
    /// That of the request, as RFC 8972 §3 demands.
    #[default]
    Echo,
    /// The responder's own: an authenticated reply then names who really answered, which shows a
    /// duplicate address or a wrong route. Only for senders that expect it.
    Own(Ssid),
}

/// What the responder knows about one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The reflector's own sequence number in this session; `None` for a stateless reflector, which
    /// returns the sender's (RFC 8762 §4.3).
    pub sequence: Option<Sequence>,
    /// T2: when the request arrived.
    pub received_at: Timestamp,
    /// T3: when the reply is sent. Read it right before the call.
    pub sent_at: Timestamp,
    /// Format and quality of T2 and T3.
    pub error_estimate: ErrorEstimate,
    /// Which SSID the reply carries.
    pub ssid: ReplySsid,
    /// TTL or hop limit of the request; `None` if it could not be read.
    pub ttl: Option<u8>,
    /// Traffic class octet (DSCP and ECN) of the request; `None` if it could not be read.
    pub traffic_class: Option<u8>,
    /// Packet counters of the session; `None` if none are kept.
    pub counters: Option<SessionCounters>,
}

/// What a stateful reflector counted in a session, this exchange included (RFC 8972 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionCounters {
    /// `R_RxC`: requests received.
    pub received: u32,
    /// `R_TxC`: replies sent.
    pub sent: u32,
}

/// A reply that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Octets at the start of the buffer; at most as many as were received.
    pub octets: usize,
    /// DSCP to send it with, if the request asked about it; else the system's default.
    pub dscp: Option<u8>,
}

impl Reflector {
    /// A responder without authentication whose peers answer on these ports.
    pub const fn unauthenticated(responder_ports: Vec<u16>) -> Self {
        Self {
            keys: None,
            responder_ports,
            dscp: DscpPolicy::Refuse,
            reflected_control: ReflectedControlPolicy::Off,
        }
    }

    /// A responder that answers authenticated packets only.
    pub const fn authenticated(responder_ports: Vec<u16>, keys: Keys) -> Self {
        Self {
            keys: Some(keys),
            responder_ports,
            dscp: DscpPolicy::Refuse,
            reflected_control: ReflectedControlPolicy::Off,
        }
    }

    /// Whether this packet may be answered, as far as the packet itself can tell.
    ///
    /// In authenticated mode the HMAC is verified before any field is read; only the source port and the
    /// length come earlier, since they cost nothing.
    pub fn admit<'a>(
        &'a self,
        source_port: u16,
        received: &'a [u8],
    ) -> Result<Request<'a>, Refusal> {
        if self.responder_ports.contains(&source_port) {
            return Err(Refusal::ResponderPort);
        }
        if received.len() > MAX_OCTETS {
            return Err(Refusal::TooLong);
        }
        let (packet, signed) = match &self.keys {
            None if received.len() < TWAMP_LIGHT_OCTETS => return Err(Refusal::TooShort),
            None => (SenderPacket::parse_unauthenticated(received)?, None),
            Some(keys) => {
                let (packet, generation) = SenderPacket::parse_authenticated(received, keys)?;
                let signed = keys.key(generation).map(|key| Signed { key, generation });
                (packet, signed)
            }
        };
        if looks_reflected(received, self.packet_format()) {
            return Err(Refusal::Reflected);
        }
        let base = self.packet_format().octets().min(received.len());
        let extensions = Extensions::examine(
            &received[base..],
            packet.sequence,
            signed.as_ref().map(|signed| signed.key),
            self.reflected_control,
        );
        if extensions.wants_no_reply() {
            return Err(Refusal::NoReplyWanted);
        }
        Ok(Request {
            reflector: self,
            packet,
            signed,
            received,
            extensions,
        })
    }

    /// Both steps in one, for a responder that knows all facts beforehand.
    pub fn reflect(
        &self,
        source_port: u16,
        received: &[u8],
        facts: &Facts,
        buffer: &mut [u8],
    ) -> Result<Reply, Refusal> {
        self.admit(source_port, received)?.reply(facts, buffer)
    }

    /// The layout of the packets that are answered.
    pub const fn packet_format(&self) -> PacketFormat {
        match self.keys {
            None => PacketFormat::Unauthenticated,
            Some(_) => PacketFormat::Authenticated,
        }
    }
}

/// The key that a request was signed with; its reply is signed with the same one.
#[derive(Debug, Clone, Copy)]
struct Signed<'a> {
    key: &'a Key,
    generation: KeyGeneration,
}

/// A packet that may be answered.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    reflector: &'a Reflector,
    packet: SenderPacket,
    signed: Option<Signed<'a>>,
    received: &'a [u8],
    extensions: Extensions<'a>,
}

impl Request<'_> {
    /// What the sender told; its SSID says whose session it is.
    pub const fn packet(&self) -> &SenderPacket {
        &self.packet
    }

    /// Which key it was signed with; `None` in unauthenticated mode.
    pub fn key_generation(&self) -> Option<KeyGeneration> {
        self.signed.map(|signed| signed.generation)
    }

    /// Whether it asks what sizes pass rather than whether packets do: it is padded, or wants a reply of another length.
    /// Such probes are lost when all is well, so they are no part of a session's loss.
    pub fn tests_size(&self) -> bool {
        self.extensions.change_size()
    }

    /// Writes the reply to `buffer`, which should be as long as the request.
    ///
    /// The only possible refusal is [`Refusal::TooLong`], for a buffer that is too small.
    pub fn reply(&self, facts: &Facts, buffer: &mut [u8]) -> Result<Reply, Refusal> {
        let buffer = buffer
            .get_mut(..self.received.len())
            .ok_or(Refusal::TooLong)?;
        let reply = ReflectorPacket {
            sequence: facts.sequence.unwrap_or(self.packet.sequence),
            timestamp: facts.sent_at,
            error_estimate: facts.error_estimate,
            ssid: match facts.ssid {
                ReplySsid::Echo => self.packet.ssid,
                ReplySsid::Own(ssid) => Some(ssid),
            },
            receive_timestamp: facts.received_at,
            sender_sequence: self.packet.sequence,
            sender_timestamp: self.packet.timestamp,
            sender_error_estimate: self.packet.error_estimate,
            sender_ttl: facts.ttl.unwrap_or(super::reflector::TTL_UNKNOWN),
        };
        let key = self.signed.map(|signed| signed.key);
        let base = if let Some(key) = key {
            reply
                .encode_authenticated(key, buffer)
                .map_err(|_| Refusal::TooLong)?
        } else {
            let packet = reply.unauthenticated();
            let octets = packet.len().min(buffer.len());
            buffer[..octets].copy_from_slice(&packet[..octets]);
            octets
        };
        let written = self.extensions.answer(
            &extensions::Context {
                base_octets: base,
                sequence: reply.sequence,
                key,
                dscp: self.reflector.dscp,
                traffic_class: facts.traffic_class,
                counters: facts.counters,
            },
            &mut buffer[base..],
        );
        Ok(Reply {
            octets: base + written.octets,
            dscp: written.dscp,
        })
    }
}

// An authenticated base packet is its covered octets and a tag; the parser above relies on it.
const _: () = assert!(COVERED_OCTETS + super::auth::TAG_OCTETS == super::AUTHENTICATED_OCTETS);

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::TooShort { .. } => Self::TooShort,
            ParseError::BadHmac => Self::BadHmac,
        }
    }
}

#[cfg(test)]
mod tests;
