//! Authentication: HMAC-SHA-256 truncated to 16 octets (RFC 8762 §4.4), with keys that rotate.
//!
//! A key is prepared once (its two padded blocks are hashed in advance) and then used for each packet.
//! During a rotation a second, previous key is accepted; what is sent is signed with the current one,
//! except that a reply is signed with the key of its request, which its sender is sure to have.
//!
//! The HMAC proves who made a packet, not when: a replayed packet passes. A replayed request only earns its
//! true sender one more reply, and a replayed reply fails to match any probe in flight.

use std::fmt;
use std::hint::black_box;

use ring::hmac;
use thiserror::Error;

use super::Sequence;

/// Octets of the truncated HMAC.
pub const TAG_OCTETS: usize = 16;

/// Octets of an authenticated packet that its HMAC covers (RFC 8762 §4.4).
pub const COVERED_OCTETS: usize = 96;

/// Shortest secret that is taken: no shorter than the tag that it protects.
pub const MIN_SECRET_OCTETS: usize = 16;

/// A truncated HMAC.
pub type Tag = [u8; TAG_OCTETS];

/// Why a secret is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The secret is too short to protect anything.
    #[error("STAMP key of {octets} octets, at least {MIN_SECRET_OCTETS} are needed")]
    TooShort {
        /// Octets of the secret.
        octets: usize,
    },
}

/// A prepared key. Neither the key nor the secret that it was made from can be read back or printed.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl Key {
    /// Prepares a shared secret of at least [`MIN_SECRET_OCTETS`].
    pub fn new(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < MIN_SECRET_OCTETS {
            return Err(KeyError::TooShort {
                octets: secret.len(),
            });
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// The tag of a base packet's covered octets.
    #[inline]
    pub fn sign(&self, covered: &[u8; COVERED_OCTETS]) -> Tag {
        truncate(hmac::sign(&self.0, covered))
    }

    /// The tag of an HMAC TLV: over the base packet's sequence number and all TLVs before it (RFC 8972 §4.8).
    pub fn sign_tlvs(&self, sequence: Sequence, preceding: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&sequence.0.to_be_bytes());
        context.update(preceding);
        truncate(context.sign())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

/// Which of the accepted keys a packet was signed with: shows how far a rotation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyGeneration {
    /// The key that we sign with.
    Current,
    /// The key before it.
    Previous,
}

/// The keys that are accepted now.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Signs what we send, accepted in what we receive.
    pub current: Key,
    /// Still accepted during a rotation.
    pub previous: Option<Key>,
}

impl Keys {
    /// One key, no rotation under way.
    pub const fn new(current: Key) -> Self {
        Self {
            current,
            previous: None,
        }
    }

    /// Starts a rotation: `next` signs from now on, the key until now is accepted for a while.
    #[must_use = "the rotated keys are returned"]
    pub fn rotate(self, next: Key) -> Self {
        Self {
            current: next,
            previous: Some(self.current),
        }
    }

    /// The key of a generation.
    pub fn key(&self, generation: KeyGeneration) -> Option<&Key> {
        match generation {
            KeyGeneration::Current => Some(&self.current),
            KeyGeneration::Previous => self.previous.as_ref(),
        }
    }

    /// Which key signed these octets; `None` if none of the accepted ones did.
    ///
    /// Tags are compared in constant time. That the previous key takes a second computation tells an
    /// observer only that a rotation is under way.
    #[inline]
    pub fn verify(&self, covered: &[u8; COVERED_OCTETS], tag: Tag) -> Option<KeyGeneration> {
        if tags_equal(self.current.sign(covered), tag) {
            return Some(KeyGeneration::Current);
        }
        let previous = self.previous.as_ref()?;
        tags_equal(previous.sign(covered), tag).then_some(KeyGeneration::Previous)
    }
}

/// Compares without a branch that depends on how many octets agree.
#[inline]
pub(super) fn tags_equal(a: Tag, b: Tag) -> bool {
    black_box(u128::from_ne_bytes(a) ^ u128::from_ne_bytes(b)) == 0
}

#[inline]
fn truncate(tag: hmac::Tag) -> Tag {
    // SHA-256 gives 32 octets, so the chunk is always there.
    tag.as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fill: u8) -> Key {
        Key::new(&[fill; 32]).unwrap()
    }

    #[test]
    fn tags_are_the_first_half_of_hmac_sha_256() {
        // RFC 4231, test case 1, key padded nowhere: 20 octets of 0x0b, data "Hi There".
        let key = Key::new(&[0x0b; 20]).unwrap();
        let sequence = Sequence(u32::from_be_bytes(*b"Hi T"));
        assert_eq!(
            key.sign_tlvs(sequence, b"here"),
            [
                0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53, 0x5c, 0xa8, 0xaf, 0xce, 0xaf, 0x0b,
                0xf1, 0x2b
            ]
        );
    }

    #[test]
    fn two_keys_are_accepted_during_a_rotation_and_one_after_it() {
        let covered = [7; COVERED_OCTETS];
        let (old_tag, new_tag) = (key(1).sign(&covered), key(2).sign(&covered));
        let before = Keys::new(key(1));
        assert_eq!(
            before.verify(&covered, old_tag),
            Some(KeyGeneration::Current)
        );
        assert_eq!(before.verify(&covered, new_tag), None);
        let during = before.rotate(key(2));
        assert_eq!(
            during.verify(&covered, new_tag),
            Some(KeyGeneration::Current)
        );
        assert_eq!(
            during.verify(&covered, old_tag),
            Some(KeyGeneration::Previous)
        );
        let after = Keys::new(key(2));
        assert_eq!(after.verify(&covered, old_tag), None);
    }

    #[test]
    fn one_wrong_bit_anywhere_fails() {
        let keys = Keys::new(key(1));
        let covered = [7; COVERED_OCTETS];
        let tag = keys.current.sign(&covered);
        for bit in 0..COVERED_OCTETS * 8 {
            let mut forged = covered;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.verify(&forged, tag), None);
        }
        for bit in 0..TAG_OCTETS * 8 {
            let mut forged = tag;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.verify(&covered, forged), None);
        }
    }

    #[test]
    fn a_short_secret_is_refused_and_no_key_is_printed() {
        assert_eq!(
            Key::new(&[1; 15]).unwrap_err(),
            KeyError::TooShort { octets: 15 }
        );
        assert_eq!(format!("{:?}", key(0x41)), "Key(hidden)");
    }
}
