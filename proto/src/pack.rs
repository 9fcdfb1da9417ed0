//! Small columns of numbers in octets, and their compression.
//!
//! What is kept (history, bundles) is kept by column: all numbers of one kind one after the other, small ones in one
//! octet, so that the compressor finds what repeats. Reading never trusts a length: a count is checked against what is
//! left before anything is allocated, and a compressed text says how large it may become.

use std::io::Read as _;

/// What was read is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(pub &'static str);

/// Writes numbers.
#[derive(Clone, Debug, Default)]
pub struct Packer(Vec<u8>);

impl Packer {
    /// Nothing written yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// One octet.
    pub fn octet(&mut self, value: u8) {
        self.0.push(value);
    }

    /// A number; small ones are short (LEB128).
    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A column of numbers, without its length.
    pub fn numbers(&mut self, values: impl IntoIterator<Item = u64>) {
        for value in values {
            self.number(value);
        }
    }

    /// A column of octets, without its length.
    pub fn octets(&mut self, values: impl IntoIterator<Item = u8>) {
        self.0.extend(values);
    }

    /// A column of floating-point numbers, exact to the bit: first octets, then second ones, and so on, because the first
    /// ones are alike.
    pub fn floats(&mut self, values: &[f32]) {
        for place in 0..4 {
            self.0
                .extend(values.iter().map(|value| value.to_be_bytes()[place]));
        }
    }

    /// Octets with their length.
    pub fn block(&mut self, octets: &[u8]) {
        self.number(octets.len() as u64);
        self.0.extend_from_slice(octets);
    }
}

/// Reads what a [`Packer`] wrote.
#[derive(Clone, Copy, Debug)]
pub struct Unpacker<'a>(&'a [u8]);

impl<'a> Unpacker<'a> {
    /// From the start.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// Everything must have been read.
    pub const fn finish(self) -> Result<(), Damaged> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Damaged("there is more than there should be"))
        }
    }

    /// One octet.
    pub fn octet(&mut self) -> Result<u8, Damaged> {
        let (first, rest) = self.0.split_first().ok_or(Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(*first)
    }

    /// A number.
    pub fn number(&mut self) -> Result<u64, Damaged> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let octet = self.octet()?;
            let bits = u64::from(octet & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged("a number is too long"))
    }

    /// A number that fits.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Damaged> {
        T::try_from(self.number()?).map_err(|_| Damaged("a number is too large"))
    }

    /// How many entries follow, each of which takes at least one octet: more than there are octets left is damage.
    pub fn count(&mut self) -> Result<usize, Damaged> {
        let count = self.small::<usize>()?;
        if count > self.0.len() {
            return Err(Damaged("it says to have more entries than octets"));
        }
        Ok(count)
    }

    /// A column of `count` numbers that fit.
    pub fn numbers<T: TryFrom<u64>>(&mut self, count: usize) -> Result<Vec<T>, Damaged> {
        if count > self.0.len() {
            return Err(Damaged("it ends too early"));
        }
        (0..count).map(|_| self.small()).collect()
    }

    /// A column of `count` octets.
    pub fn octets(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// A column of `count` floating-point numbers.
    pub fn floats(&mut self, count: usize) -> Result<Vec<f32>, Damaged> {
        let planes = self.octets(count.checked_mul(4).ok_or(Damaged("it ends too early"))?)?;
        let float = |i: usize| {
            f32::from_be_bytes([0, 1, 2, 3].map(|place: usize| planes[place * count + i]))
        };
        Ok((0..count).map(float).collect())
    }

    /// Octets with their length.
    pub fn block(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.count()?;
        self.octets(length)
    }
}

/// Compresses. Level 1 is the fastest, 3 the usual one.
pub fn compress(octets: &[u8], level: i32) -> Vec<u8> {
    // It fails only where memory does not suffice, and then everything does.
    zstd::bulk::compress(octets, level).unwrap_or_default()
}

/// The reverse, never longer than `most` octets.
pub fn expand(octets: &[u8], most: usize) -> Result<Vec<u8>, Damaged> {
    let mut expanded = Vec::new();
    let mut decoder = zstd::stream::read::Decoder::with_buffer(octets)
        .map_err(|_| Damaged("it cannot be decompressed"))?;
    decoder
        .window_log_max(24)
        .map_err(|_| Damaged("it cannot be decompressed"))?;
    decoder
        .take(most as u64 + 1)
        .read_to_end(&mut expanded)
        .map_err(|_| Damaged("it cannot be decompressed"))?;
    if expanded.len() > most {
        return Err(Damaged("it is larger than allowed"));
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_count_beyond_what_is_there_is_refused_before_anything_is_allocated() {
        let mut packer = Packer::new();
        packer.number(u64::MAX);
        let octets = packer.finish();
        assert_eq!(
            Unpacker::new(&octets).count(),
            Err(Damaged("it says to have more entries than octets"))
        );
        assert!(Unpacker::new(&octets).floats(usize::MAX).is_err());
        assert!(Unpacker::new(&octets).numbers::<u8>(1).is_err());
    }

    #[test]
    fn what_expands_beyond_its_bound_is_refused() {
        let packed = compress(&vec![0; 1_000_000], 3);
        assert!(packed.len() < 1000);
        assert_eq!(expand(&packed, 1_000_000).map(|e| e.len()), Ok(1_000_000));
        assert_eq!(
            expand(&packed, 999_999),
            Err(Damaged("it is larger than allowed"))
        );
    }

    proptest! {
        #[test]
        fn numbers_come_back(values: Vec<u64>, floats: Vec<f32>, octets: Vec<u8>) {
            let mut packer = Packer::new();
            packer.number(values.len() as u64);
            packer.numbers(values.iter().copied());
            packer.floats(&floats);
            packer.block(&octets);
            let packed = packer.finish();
            let mut unpacker = Unpacker::new(&packed);
            let count = unpacker.count()?;
            prop_assert_eq!(unpacker.numbers::<u64>(count)?, values);
            let back = unpacker.floats(floats.len())?;
            prop_assert!(back.iter().zip(&floats).all(|(a, b)| a.to_bits() == b.to_bits()));
            prop_assert_eq!(unpacker.block()?, &octets[..]);
            unpacker.finish()?;
            prop_assert_eq!(expand(&compress(&packed, 1), packed.len())?, packed);
        }

        #[test]
        fn any_octets_are_read_or_refused(octets: Vec<u8>) {
            let mut unpacker = Unpacker::new(&octets);
            while unpacker.number().is_ok() {}
            expand(&octets, 1 << 20).ok();
        }
    }
}
