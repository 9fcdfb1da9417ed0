//! Writing extensions behind a base packet.

use thiserror::Error;

use super::{
    ClassOfService, DirectMeasurement, Flags, HEADER_OCTETS, MAX_TLVS, ReflectedControl, TlvType,
};
use crate::stamp::{Key, Sequence};

/// Why a TLV could not be written; the buffer holds what was written before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The buffer has no room for it.
    #[error("TLV of {needed} octets, {left} are left in the buffer")]
    NoRoom {
        /// Octets of the TLV.
        needed: usize,
        /// Octets left.
        left: usize,
    },
    /// The receiver would not look at it any more.
    #[error("more than {MAX_TLVS} TLVs")]
    TooMany,
    /// The value cannot have this length.
    #[error("TLV value of {octets} octets, not allowed for its type")]
    WrongLength {
        /// Octets of the value.
        octets: usize,
    },
}

/// Appends the TLVs of a test packet (U=1, all other flags 0) to the octets after its base packet.
#[derive(Debug)]
pub struct TlvWriter<'a> {
    buffer: &'a mut [u8],
    written: usize,
    count: usize,
}

impl<'a> TlvWriter<'a> {
    /// Writes to `buffer`, which starts right after the base packet.
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            written: 0,
            count: 0,
        }
    }

    /// Octets written.
    pub const fn octets(&self) -> usize {
        self.written
    }

    /// Appends a TLV of any type.
    pub fn put(&mut self, kind: TlvType, value: &[u8]) -> Result<(), WriteError> {
        self.reserve(kind, value.len())?.copy_from_slice(value);
        Ok(())
    }

    /// Asks for the reply's DSCP and for the one that arrives (RFC 8972 §4.4).
    pub fn class_of_service(&mut self, value: &ClassOfService) -> Result<(), WriteError> {
        self.put(TlvType::ClassOfService, &value.encode())
    }

    /// Tells and asks for packet counters (RFC 8972 §4.5).
    pub fn direct_measurement(&mut self, value: &DirectMeasurement) -> Result<(), WriteError> {
        self.put(TlvType::DirectMeasurement, &value.encode())
    }

    /// Asks for a reply that differs from the request (RFC 10052 §3).
    pub fn reflected_control(&mut self, value: &ReflectedControl) -> Result<(), WriteError> {
        self.put(TlvType::ReflectedControl, &value.encode())
    }

    /// Appends padding that makes the packet longer by exactly `octets`, its header included
    /// (RFC 8972 §4.1). The content is pseudo-random by `seed`, so that no link compresses it away.
    pub fn padding(&mut self, octets: usize, seed: u64) -> Result<(), WriteError> {
        let value = octets
            .checked_sub(HEADER_OCTETS)
            .ok_or(WriteError::WrongLength { octets: 0 })?;
        let value = self.reserve(TlvType::ExtraPadding, value)?;
        // SplitMix64: a few instructions for eight octets, and any seed will do.
        let mut state = seed;
        for chunk in value.chunks_mut(8) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            let octets = (mixed ^ mixed >> 31).to_le_bytes();
            chunk.copy_from_slice(&octets[..chunk.len()]);
        }
        Ok(())
    }

    /// Authenticates all TLVs so far (RFC 8972 §4.8); after it only padding may follow.
    /// `sequence` is the one in the base packet.
    pub fn hmac(&mut self, key: &Key, sequence: Sequence) -> Result<(), WriteError> {
        let tag = key.sign_tlvs(sequence, &self.buffer[..self.written]);
        self.put(TlvType::Hmac, &tag)
    }

    /// Writes a header and returns the place of the value.
    fn reserve(&mut self, kind: TlvType, octets: usize) -> Result<&mut [u8], WriteError> {
        let length = u16::try_from(octets)
            .ok()
            .filter(|_| kind.admits(octets))
            .ok_or(WriteError::WrongLength { octets })?;
        if self.count == MAX_TLVS {
            return Err(WriteError::TooMany);
        }
        let needed = HEADER_OCTETS + octets;
        let free = &mut self.buffer[self.written..];
        let left = free.len();
        let Some((header, value)) = free
            .get_mut(..needed)
            .and_then(<[u8]>::split_first_chunk_mut::<HEADER_OCTETS>)
        else {
            return Err(WriteError::NoRoom { needed, left });
        };
        let [high, low] = length.to_be_bytes();
        *header = [Flags::UNRECOGNISED.0, kind.as_octet(), high, low];
        self.written += needed;
        self.count += 1;
        Ok(value)
    }
}
