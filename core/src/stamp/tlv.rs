//! Extensions: the TLVs that follow a base packet (RFC 8972 §4).
//!
//! Reading is bounded by [`MAX_TLVS`] and never goes past the octets received; what does not fit the
//! format ends the list as [`Malformed`], with the place, so that a reflector can mark exactly that TLV.
//! Values borrow from the packet, nothing is copied.

mod value;
mod writer;

pub use value::{ClassOfService, DirectMeasurement, ReflectedControl, ReversePath};
pub use writer::{TlvWriter, WriteError};

use super::auth::{TAG_OCTETS, Tag, tags_equal};
use super::{Key, Sequence};

/// Octets before a value: flags, type, length.
pub const HEADER_OCTETS: usize = 4;

/// The most TLVs of one packet that are looked at; what follows counts as malformed.
pub const MAX_TLVS: usize = 16;

/// STAMP TLV Flags (RFC 8972 §4, RFC 10052 §3 for C).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No flag: understood and in order.
    pub const NONE: Self = Self(0);
    /// U: the reflector does not know this type. A sender sets it, a reflector that knows the type clears it.
    pub const UNRECOGNISED: Self = Self(0x80);
    /// M: the length is wrong for the type, or reaches beyond the packet.
    pub const MALFORMED: Self = Self(0x40);
    /// I: the HMAC TLV did not verify.
    pub const INTEGRITY_FAILED: Self = Self(0x20);
    /// C: the reply could not be made as asked (only in [`TlvType::ReflectedControl`]).
    pub const NOT_AS_ASKED: Self = Self(0x10);

    /// Whether all flags of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of flags.
    #[inline]
    #[must_use = "the union is returned"]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The types that are used here; all others are returned unrecognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlvType {
    /// 1: octets that make a packet longer (RFC 8972 §4.1).
    ExtraPadding,
    /// 4: DSCP and ECN there and back (RFC 8972 §4.4).
    ClassOfService,
    /// 5: packet counters of both ends (RFC 8972 §4.5).
    DirectMeasurement,
    /// 8: authenticates the TLVs before it (RFC 8972 §4.8).
    Hmac,
    /// 12: how the reply should differ from the request (RFC 10052 §3, once
    /// draft-ietf-ippm-asymmetrical-pkts).
    ReflectedControl,
    /// Any other type.
    Other(u8),
}

impl TlvType {
    /// The type as received.
    pub const fn from_octet(octet: u8) -> Self {
        match octet {
            1 => Self::ExtraPadding,
            4 => Self::ClassOfService,
            5 => Self::DirectMeasurement,
            8 => Self::Hmac,
            12 => Self::ReflectedControl,
            other => Self::Other(other),
        }
    }

    /// The type as it travels.
    pub const fn as_octet(self) -> u8 {
        match self {
            Self::ExtraPadding => 1,
            Self::ClassOfService => 4,
            Self::DirectMeasurement => 5,
            Self::Hmac => 8,
            Self::ReflectedControl => 12,
            Self::Other(other) => other,
        }
    }

    /// Whether a value of this type may have so many octets.
    const fn admits(self, octets: usize) -> bool {
        match self {
            Self::ExtraPadding | Self::Other(_) => true,
            Self::ClassOfService => octets == ClassOfService::OCTETS,
            Self::DirectMeasurement => octets == DirectMeasurement::OCTETS,
            Self::Hmac => octets == TAG_OCTETS,
            Self::ReflectedControl => octets >= ReflectedControl::MIN_OCTETS,
        }
    }
}

/// One TLV of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// Flags as received.
    pub flags: Flags,
    /// Type.
    pub kind: TlvType,
    /// Value, of a length that the type admits.
    pub value: &'a [u8],
}

impl Tlv<'_> {
    /// Octets of the whole TLV.
    pub const fn octets(&self) -> usize {
        HEADER_OCTETS + self.value.len()
    }

    /// The value as an HMAC.
    pub(super) fn tag(&self) -> Option<Tag> {
        (self.kind == TlvType::Hmac)
            .then(|| self.value.first_chunk().copied())
            .flatten()
    }
}

/// The list is not well formed from here on (RFC 8972 §4: the M flag).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed TLV at octet {offset} of the extensions")]
pub struct Malformed {
    /// Offset of the TLV from the start of the extensions.
    pub offset: usize,
}

/// Iterates over the extensions of a packet; ends after the first malformed one.
#[derive(Debug, Clone)]
pub struct Tlvs<'a> {
    extensions: &'a [u8],
    offset: usize,
    seen: usize,
}

impl<'a> Tlvs<'a> {
    /// The TLVs in the octets that follow the base packet.
    pub const fn new(extensions: &'a [u8]) -> Self {
        Self {
            extensions,
            offset: 0,
            seen: 0,
        }
    }

    fn parse_next(&self) -> Option<Tlv<'a>> {
        if self.seen == MAX_TLVS {
            return None;
        }
        let (header, rest) = self
            .extensions
            .get(self.offset..)?
            .split_first_chunk::<HEADER_OCTETS>()?;
        let [flags, kind, high, low] = *header;
        let octets = usize::from(u16::from_be_bytes([high, low]));
        let kind = TlvType::from_octet(kind);
        let value = rest.get(..octets).filter(|_| kind.admits(octets))?;
        Some(Tlv {
            flags: Flags(flags),
            kind,
            value,
        })
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.extensions.len() {
            return None;
        }
        let Some(tlv) = self.parse_next() else {
            let malformed = Malformed {
                offset: self.offset,
            };
            self.offset = self.extensions.len();
            return Some(Err(malformed));
        };
        self.offset += tlv.octets();
        self.seen += 1;
        Some(Ok(tlv))
    }
}

impl std::iter::FusedIterator for Tlvs<'_> {}

/// The extensions of a reply may not be believed (RFC 8972 §4, §4.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// The reflector found our HMAC TLV wrong: something on the way changes packets.
    #[error("the reflector reports that the extensions failed their HMAC check")]
    RejectedByReflector,
    /// The reflector's HMAC TLV is missing, misplaced or wrong.
    #[error("the extensions of the reply fail their HMAC check")]
    BadHmac,
}

/// The TLVs of a reply that its sender may use (RFC 8972 §4): those without the U flag, up to the first
/// malformed one; none at all if their integrity failed.
///
/// `authentication` is the key of the reply and the reply's sequence number in authenticated mode. There
/// an HMAC TLV must follow all others but padding; padding alone needs none.
pub fn usable<'a>(
    extensions: &'a [u8],
    authentication: Option<(&Key, Sequence)>,
) -> Result<impl Iterator<Item = Tlv<'a>> + use<'a>, Untrusted> {
    let mut list = Tlvs::new(extensions).flatten();
    if list.any(|tlv| tlv.flags.contains(Flags::INTEGRITY_FAILED)) {
        return Err(Untrusted::RejectedByReflector);
    }
    if let Some((key, sequence)) = authentication
        && Integrity::check(extensions, sequence, Some(key)) == Integrity::Failed
    {
        return Err(Untrusted::BadHmac);
    }
    Ok(Tlvs::new(extensions)
        .map_while(Result::ok)
        .take_while(|tlv| !tlv.flags.contains(Flags::MALFORMED))
        .filter(|tlv| !tlv.flags.contains(Flags::UNRECOGNISED)))
}

/// What the HMAC TLV says of the TLVs before it (RFC 8972 §4.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integrity {
    /// Nothing needs an HMAC: unauthenticated, or nothing but padding.
    NotNeeded,
    /// The HMAC is right and at its place.
    Intact,
    /// The HMAC is wrong, missing or misplaced, or there is no key to verify it with.
    Failed,
}

impl Integrity {
    /// Verifies the HMAC TLV of a list. `key` is `None` in unauthenticated mode.
    pub(super) fn check(extensions: &[u8], sequence: Sequence, key: Option<&Key>) -> Self {
        let mut offset = 0;
        let mut needs_hmac = false;
        let mut found: Option<(usize, Tag)> = None;
        for tlv in Tlvs::new(extensions) {
            let Ok(tlv) = tlv else {
                needs_hmac = true;
                break;
            };
            match (tlv.kind, tlv.tag()) {
                (TlvType::ExtraPadding, _) => {}
                // Only padding may follow an HMAC TLV.
                _ if found.is_some() => return Self::Failed,
                (_, Some(tag)) => found = Some((offset, tag)),
                _ => needs_hmac = true,
            }
            offset += tlv.octets();
        }
        match (key, found) {
            (Some(key), Some((at, tag))) => {
                if tags_equal(key.sign_tlvs(sequence, &extensions[..at]), tag) {
                    Self::Intact
                } else {
                    Self::Failed
                }
            }
            (None, Some(_)) => Self::Failed,
            (Some(_), None) if needs_hmac => Self::Failed,
            (_, None) => Self::NotNeeded,
        }
    }
}

#[cfg(test)]
mod tests;
