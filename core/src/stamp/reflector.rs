//! The Session-Reflector's packet (RFC 8762 §4.3, with the SSID of RFC 8972 §3).

use super::auth::{COVERED_OCTETS, TAG_OCTETS};
use super::{
    AUTHENTICATED_OCTETS, BufferTooSmall, ErrorEstimate, Key, KeyGeneration, Keys, ParseError,
    SenderPacket, Sequence, Ssid, TWAMP_LIGHT_OCTETS, Timestamp, UNAUTHENTICATED_OCTETS, base,
    base_mut, field, put, ssid, ssid_octets,
};

/// What [`ReflectorPacket::sender_ttl`] holds when the reflector could not read the TTL (RFC 5357 §4.2.1).
pub const TTL_UNKNOWN: u8 = 255;

/// T2 and T3 of one reply come from one clock and are at most so far apart.
const LONGEST_TURNAROUND_SECONDS: u32 = 64;

/// What a Session-Reflector tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReflectorPacket {
    /// The reflector's own number of the packet in the session; the sender's, if it keeps no state.
    pub sequence: Sequence,
    /// T3: when the reply was sent, on the reflector's clock.
    pub timestamp: Timestamp,
    /// Format and quality of T3 and T2.
    pub error_estimate: ErrorEstimate,
    /// Copied from the request (RFC 8972 §3), or the responder's own where it names itself.
    pub ssid: Option<Ssid>,
    /// T2: when the request was received, on the reflector's clock.
    pub receive_timestamp: Timestamp,
    /// Sequence number of the request.
    pub sender_sequence: Sequence,
    /// T1 of the request.
    pub sender_timestamp: Timestamp,
    /// Error estimate of the request.
    pub sender_error_estimate: ErrorEstimate,
    /// TTL or hop limit that the request arrived with; [`TTL_UNKNOWN`] if it could not be read.
    pub sender_ttl: u8,
}

impl ReflectorPacket {
    /// Writes the unauthenticated base packet (RFC 8762 §4.3.1) to the start of `buffer`.
    #[inline]
    pub fn encode_unauthenticated(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        *base_mut::<UNAUTHENTICATED_OCTETS>(buffer)? = self.unauthenticated();
        Ok(UNAUTHENTICATED_OCTETS)
    }

    /// The unauthenticated base packet. A TWAMP-Light sender knows its first [`TWAMP_LIGHT_OCTETS`].
    #[inline]
    pub(super) fn unauthenticated(&self) -> [u8; UNAUTHENTICATED_OCTETS] {
        let mut packet = [0; UNAUTHENTICATED_OCTETS];
        put(&mut packet, 0, self.sequence.0.to_be_bytes());
        put(&mut packet, 4, self.timestamp.0.to_be_bytes());
        put(&mut packet, 12, self.error_estimate.to_bits().to_be_bytes());
        put(&mut packet, 14, ssid_octets(self.ssid));
        put(&mut packet, 16, self.receive_timestamp.0.to_be_bytes());
        put(&mut packet, 24, self.sender_sequence.0.to_be_bytes());
        put(&mut packet, 28, self.sender_timestamp.0.to_be_bytes());
        put(
            &mut packet,
            36,
            self.sender_error_estimate.to_bits().to_be_bytes(),
        );
        packet[40] = self.sender_ttl;
        packet
    }

    /// Writes the authenticated base packet (RFC 8762 §4.3.2), signed, to the start of `buffer`.
    #[inline]
    pub fn encode_authenticated(
        &self,
        key: &Key,
        buffer: &mut [u8],
    ) -> Result<usize, BufferTooSmall> {
        let packet: &mut [u8; AUTHENTICATED_OCTETS] = base_mut(buffer)?;
        let mut covered = [0; COVERED_OCTETS];
        put(&mut covered, 0, self.sequence.0.to_be_bytes());
        put(&mut covered, 16, self.timestamp.0.to_be_bytes());
        put(
            &mut covered,
            24,
            self.error_estimate.to_bits().to_be_bytes(),
        );
        put(&mut covered, 26, ssid_octets(self.ssid));
        put(&mut covered, 32, self.receive_timestamp.0.to_be_bytes());
        put(&mut covered, 48, self.sender_sequence.0.to_be_bytes());
        put(&mut covered, 64, self.sender_timestamp.0.to_be_bytes());
        put(
            &mut covered,
            72,
            self.sender_error_estimate.to_bits().to_be_bytes(),
        );
        covered[80] = self.sender_ttl;
        put(packet, 0, covered);
        put(packet, COVERED_OCTETS, key.sign(&covered));
        Ok(AUTHENTICATED_OCTETS)
    }

    /// Reads an unauthenticated reply of at least [`TWAMP_LIGHT_OCTETS`].
    #[inline]
    pub fn parse_unauthenticated(octets: &[u8]) -> Result<Self, ParseError> {
        let packet: &[u8; TWAMP_LIGHT_OCTETS] = base(octets)?;
        Ok(Self {
            sequence: Sequence(u32::from_be_bytes(field(packet, 0))),
            timestamp: Timestamp(u64::from_be_bytes(field(packet, 4))),
            error_estimate: ErrorEstimate::from_bits(u16::from_be_bytes(field(packet, 12))),
            ssid: ssid(field(packet, 14)),
            receive_timestamp: Timestamp(u64::from_be_bytes(field(packet, 16))),
            sender_sequence: Sequence(u32::from_be_bytes(field(packet, 24))),
            sender_timestamp: Timestamp(u64::from_be_bytes(field(packet, 28))),
            sender_error_estimate: ErrorEstimate::from_bits(u16::from_be_bytes(field(packet, 36))),
            sender_ttl: packet[40],
        })
    }

    /// Reads an authenticated reply; its HMAC is verified before anything else is looked at.
    #[inline]
    pub fn parse_authenticated(
        octets: &[u8],
        keys: &Keys,
    ) -> Result<(Self, KeyGeneration), ParseError> {
        let packet: &[u8; AUTHENTICATED_OCTETS] = base(octets)?;
        let covered: [u8; COVERED_OCTETS] = field(packet, 0);
        let tag: [u8; TAG_OCTETS] = field(packet, COVERED_OCTETS);
        let generation = keys.verify(&covered, tag).ok_or(ParseError::BadHmac)?;
        let packet = Self {
            sequence: Sequence(u32::from_be_bytes(field(packet, 0))),
            timestamp: Timestamp(u64::from_be_bytes(field(packet, 16))),
            error_estimate: ErrorEstimate::from_bits(u16::from_be_bytes(field(packet, 24))),
            ssid: ssid(field(packet, 26)),
            receive_timestamp: Timestamp(u64::from_be_bytes(field(packet, 32))),
            sender_sequence: Sequence(u32::from_be_bytes(field(packet, 48))),
            sender_timestamp: Timestamp(u64::from_be_bytes(field(packet, 64))),
            sender_error_estimate: ErrorEstimate::from_bits(u16::from_be_bytes(field(packet, 72))),
            sender_ttl: packet[80],
        };
        Ok((packet, generation))
    }

    /// T3 − T2 in nanoseconds, the responder's own delay; `None` if the stamps make no sense.
    #[inline]
    pub fn turnaround_nanos(&self) -> Option<i64> {
        self.timestamp
            .nanos_since(self.receive_timestamp, self.error_estimate.format)
    }

    /// Whether this answers exactly that request: sequence number and T1 are both returned. Somebody off
    /// the path would have to guess T1, so a forged reply does not pass even without authentication.
    #[inline]
    pub fn answers(&self, request: &SenderPacket) -> bool {
        self.sender_sequence == request.sequence && self.sender_timestamp == request.timestamp
    }
}

/// Whether a packet that came as a request is a reply in truth (see [`crate::stamp`]).
///
/// At the place of T2 a Session-Sender has zeros and a TWAMP-Light sender may have random padding; in a
/// reply T2 and T3 differ by seconds at most. Random padding is mistaken once in 30 million packets.
#[inline]
pub fn looks_reflected(octets: &[u8], authentication: PacketFormat) -> bool {
    let (t3, t2) = match authentication {
        PacketFormat::Unauthenticated => match octets.first_chunk::<24>() {
            Some(start) => (field(start, 4), field(start, 16)),
            None => return false,
        },
        PacketFormat::Authenticated => match octets.first_chunk::<40>() {
            Some(start) => (field(start, 16), field(start, 32)),
            None => return false,
        },
    };
    let t3 = Timestamp(u64::from_be_bytes(t3));
    let t2 = Timestamp(u64::from_be_bytes(t2));
    let apart = t3.seconds().wrapping_sub(t2.seconds()) as i32;
    !t2.is_unset() && apart.unsigned_abs() <= LONGEST_TURNAROUND_SECONDS
}

/// Which of the two layouts packets have (RFC 8762 §4.2): agreed on, not seen in the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketFormat {
    /// 44 octets, no HMAC.
    Unauthenticated,
    /// 112 octets, the last 16 are an HMAC.
    Authenticated,
}

impl PacketFormat {
    /// Octets of the base packet.
    pub const fn octets(self) -> usize {
        match self {
            Self::Unauthenticated => UNAUTHENTICATED_OCTETS,
            Self::Authenticated => AUTHENTICATED_OCTETS,
        }
    }
}
