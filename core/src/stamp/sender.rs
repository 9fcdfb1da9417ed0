//! The Session-Sender's test packet (RFC 8762 §4.2, with the SSID of RFC 8972 §3).

use super::auth::{COVERED_OCTETS, TAG_OCTETS};
use super::{
    AUTHENTICATED_OCTETS, BufferTooSmall, ErrorEstimate, Key, KeyGeneration, Keys, ParseError,
    Sequence, Ssid, Timestamp, UNAUTHENTICATED_OCTETS, base, base_mut, field, put, ssid,
    ssid_octets,
};

/// Octets of a TWAMP-Light sender's packet before its padding (RFC 5357 §4.1.2): no SSID, no zeros.
pub const TWAMP_LIGHT_SENDER_OCTETS: usize = 14;

/// What a Session-Sender tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SenderPacket {
    /// Number of the packet in its session.
    pub sequence: Sequence,
    /// T1: when the packet was sent, on the sender's clock.
    pub timestamp: Timestamp,
    /// Format and quality of T1.
    pub error_estimate: ErrorEstimate,
    /// Whose session it is; `None` (zero on the wire) from a sender that does not use them.
    pub ssid: Option<Ssid>,
}

impl SenderPacket {
    /// Writes the unauthenticated base packet (RFC 8762 §4.2.1) to the start of `buffer`; extensions go
    /// after the octets written.
    #[inline]
    pub fn encode_unauthenticated(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let packet: &mut [u8; UNAUTHENTICATED_OCTETS] = base_mut(buffer)?;
        packet.fill(0);
        put(packet, 0, self.sequence.0.to_be_bytes());
        put(packet, 4, self.timestamp.0.to_be_bytes());
        put(packet, 12, self.error_estimate.to_bits().to_be_bytes());
        put(packet, 14, ssid_octets(self.ssid));
        Ok(UNAUTHENTICATED_OCTETS)
    }

    /// Writes the authenticated base packet (RFC 8762 §4.2.2), signed, to the start of `buffer`.
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
        put(packet, 0, covered);
        put(packet, COVERED_OCTETS, key.sign(&covered));
        Ok(AUTHENTICATED_OCTETS)
    }

    /// Reads an unauthenticated packet, or the packet of a TWAMP-Light sender if it is shorter than
    /// [`UNAUTHENTICATED_OCTETS`]: from octet 14 on such a sender has padding, so there is no SSID.
    #[inline]
    pub fn parse_unauthenticated(octets: &[u8]) -> Result<Self, ParseError> {
        let packet: &[u8; TWAMP_LIGHT_SENDER_OCTETS] = base(octets)?;
        let ssid = match octets.first_chunk::<UNAUTHENTICATED_OCTETS>() {
            Some(packet) => ssid(field(packet, 14)),
            None => None,
        };
        Ok(Self {
            sequence: Sequence(u32::from_be_bytes(field(packet, 0))),
            timestamp: Timestamp(u64::from_be_bytes(field(packet, 4))),
            error_estimate: ErrorEstimate::from_bits(u16::from_be_bytes(field(packet, 12))),
            ssid,
        })
    }

    /// Reads an authenticated packet; its HMAC is verified before anything else is looked at.
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
        };
        Ok((packet, generation))
    }
}
