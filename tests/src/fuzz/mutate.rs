//! Inputs: genuine ones, changed; and noise.

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};
use rand::{Rng as _, RngExt as _};

/// Longest input: a jumbo frame.
const MAX_OCTETS: usize = 9_216;

/// Longest noise: what is long is refused for its length by most.
const MAX_NOISE: usize = 512;

/// Most changes of one input.
const MAX_CHANGES: u32 = 6;

/// Numbers at the edges of what a field can hold.
const ODD: [u32; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
];

/// Makes inputs out of samples.
#[derive(Debug)]
pub(super) struct Mutator {
    samples: Vec<Vec<u8>>,
}

impl Mutator {
    pub(super) fn new(samples: Vec<Vec<u8>>) -> Self {
        Self { samples }
    }

    /// The next input.
    pub(super) fn next(&self, random: &mut SmallRng, input: &mut Vec<u8>) {
        input.clear();
        let noise = random.random_ratio(1, 16);
        match self.samples.choose(random) {
            Some(sample) if !noise => input.extend_from_slice(sample),
            _ => {
                input.resize(random.random_range(0..=MAX_NOISE), 0);
                random.fill_bytes(input);
                return;
            }
        }
        // A genuine one now and then shows that the target takes what is right.
        for _ in 0..random.random_range(0..=MAX_CHANGES) {
            self.change(random, input);
        }
        input.truncate(MAX_OCTETS);
    }

    fn change(&self, random: &mut SmallRng, input: &mut Vec<u8>) {
        let length = input.len();
        let at = random.random_range(0..=length);
        match random.random_range(0..8) {
            0 | 1 if at < length => input[at] ^= 1 << random.random_range(0..8),
            2 if at < length => input[at] = random.random(),
            3 => {
                let odd = ODD.choose(random).copied().unwrap_or(0).to_be_bytes();
                let width = [1, 2, 4].choose(random).copied().unwrap_or(1);
                let octets = &odd[4 - width..];
                let end = (at + width).min(length);
                input[at..end].copy_from_slice(&octets[..end - at]);
            }
            4 => input.truncate(at),
            5 => {
                let more = random.random_range(1..=64);
                input.resize(length + more, 0);
                random.fill_bytes(&mut input[length..]);
            }
            6 => {
                let end = random.random_range(at..=length);
                let part = input[at..end].to_vec();
                let to = (0..=length).choose(random).unwrap_or(0);
                input.splice(to..to, part);
            }
            _ => {
                if let Some(other) = self.samples.choose(random) {
                    let from = random.random_range(0..=other.len());
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
            }
        }
    }
}
