//! STAMP, the Simple Two-Way Active Measurement Protocol (RFC 8762) with its extensions (RFC 8972).
//!
//! A Session-Sender (a runner of UDP probes) sends a test packet with a sequence number and its transmit
//! time T1. The Session-Reflector (a responder) sends it back with its receive time T2, its own transmit
//! time T3, its own sequence number and copies of what it received. At T4 the sender knows the round trip,
//! (T4 − T1) − (T3 − T2), and from the two sequence numbers in which direction packets were lost.
//!
//! Everything here is a pure function on octets: no socket, no clock, no allocation for a packet, and no
//! input that panics. Who may use the responder at all (provisioned SSIDs and peers, rate limits) is for
//! the daemon to decide; [`reflect`] names those refusals too, so that there is one list to count by.
//!
//! | Module | What |
//! |---|---|
//! | [`timestamp`], [`error_estimate`] | the fields that both packets share |
//! | [`sender`], [`reflector`] | the two packets, unauthenticated (44 octets) and authenticated (112) |
//! | [`auth`] | HMAC-SHA-256 truncated to 16 octets, and the rotation of its keys |
//! | [`tlv`] | the extensions that follow the base packet |
//! | [`reflect`] | received octets in, reply or reason of refusal out |
//!
//! # Telling the two packets apart
//! Both packets have the same size and no type field. A reply that comes back to a responder must never
//! be answered, or two responders could be made to play ping-pong by one forged packet. What prevents it:
//! - ports: a packet whose source port is a responder port is refused, whatever it contains. Different
//!   HMAC keys for each direction would also do in authenticated mode, but no other STAMP implementation
//!   could then take part;
//! - contents: a reply carries T2 where a sender's packet has zeros, and T2 and T3 come from one clock
//!   within a moment. A packet with such a pair of timestamps is refused as a reply
//!   ([`reflector::looks_reflected`]); one with zeros there, or with the random padding of a TWAMP-Light
//!   sender, is not.

pub mod auth;
pub mod error_estimate;
pub mod reflect;
pub mod reflector;
pub mod sender;
pub mod timestamp;
pub mod tlv;
#[cfg(test)]
mod vectors;

use thiserror::Error;

pub use crate::ids::Ssid;
pub use auth::{Key, KeyError, KeyGeneration, Keys};
pub use error_estimate::{ErrorEstimate, Synchronisation, TimestampFormat};
pub use reflector::ReflectorPacket;
pub use sender::SenderPacket;
pub use timestamp::Timestamp;

/// Octets of both base packets in unauthenticated mode (RFC 8762 §4.2.1, §4.3.1).
pub const UNAUTHENTICATED_OCTETS: usize = 44;

/// Octets of both base packets in authenticated mode (RFC 8762 §4.2.2, §4.3.2).
pub const AUTHENTICATED_OCTETS: usize = 112;

/// Octets of a reflected packet as TWAMP-Light knows it: ours without its last three, which are zero
/// (RFC 8762 §4.6, RFC 5357 §4.2.1).
pub const TWAMP_LIGHT_OCTETS: usize = 41;

/// The largest packet that is looked at: a jumbo frame. A longer one is refused, never truncated.
pub const MAX_OCTETS: usize = 9216;

/// Number of a test packet in its session, as its sender counts (RFC 8762 §4.2.1); wraps around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sequence(pub u32);

impl Sequence {
    /// The number after this one.
    #[inline]
    #[must_use = "a sequence number is a value"]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How many numbers lie between: positive when `self` is newer, correct across the wrap as long as
    /// the two are less than 2^31 apart. Δ of two sequence numbers is what the loss formulas need.
    #[inline]
    pub const fn distance_from(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }
}

/// Why octets are no STAMP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Fewer octets than the packet has.
    #[error("packet of {octets} octets, at least {minimum} are needed")]
    TooShort {
        /// Octets received.
        octets: usize,
        /// Octets of the smallest packet of this kind.
        minimum: usize,
    },
    /// The HMAC fits none of the accepted keys (RFC 8762 §4.4).
    #[error("packet fails its HMAC check")]
    BadHmac,
}

/// The caller's buffer cannot hold what should be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("buffer of {octets} octets, {needed} are needed")]
pub struct BufferTooSmall {
    /// Octets of the buffer.
    pub octets: usize,
    /// Octets that are needed.
    pub needed: usize,
}

/// The base packet at the start of a received one.
fn base<const N: usize>(octets: &[u8]) -> Result<&[u8; N], ParseError> {
    octets.first_chunk().ok_or(ParseError::TooShort {
        octets: octets.len(),
        minimum: N,
    })
}

/// The place of the base packet at the start of the caller's buffer.
fn base_mut<const N: usize>(buffer: &mut [u8]) -> Result<&mut [u8; N], BufferTooSmall> {
    let octets = buffer.len();
    buffer
        .first_chunk_mut()
        .ok_or(BufferTooSmall { octets, needed: N })
}

/// Reads a big-endian field. The offsets are constants below N, so the compiler removes every check.
#[inline]
fn field<const N: usize, const W: usize>(packet: &[u8; N], at: usize) -> [u8; W] {
    std::array::from_fn(|i| packet[at + i])
}

/// Writes a big-endian field; offsets as in [`field`].
#[inline]
fn put<const N: usize, const W: usize>(packet: &mut [u8; N], at: usize, value: [u8; W]) {
    packet[at..at + W].copy_from_slice(&value);
}

/// The SSID field as received: zero is no identifier.
#[inline]
fn ssid(octets: [u8; 2]) -> Option<Ssid> {
    let ssid = u16::from_be_bytes(octets);
    (ssid != 0).then_some(Ssid(ssid))
}

/// The SSID field as it travels.
#[inline]
fn ssid_octets(ssid: Option<Ssid>) -> [u8; 2] {
    ssid.map_or(0, |ssid| ssid.0).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_distance_is_right_across_the_wrap() {
        assert_eq!(Sequence(2).distance_from(Sequence(u32::MAX)), 3);
        assert_eq!(Sequence(u32::MAX).distance_from(Sequence(2)), -3);
        assert_eq!(Sequence(u32::MAX).next(), Sequence(0));
    }
}
