//! The size of an IP packet, its headers included.

use std::fmt;
use std::str::FromStr;

/// What every IPv4 host must take.
const SMALLEST: u16 = 576;
/// The largest that people configure: jumbo frames.
const LARGEST: u16 = 9000;

/// An IP packet's length in bytes: 576 to 9000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PacketSize(u16);

/// Not the size of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a packet size is between {SMALLEST} and {LARGEST} bytes")]
pub struct PacketSizeError;

impl PacketSize {
    pub fn new(bytes: u16) -> Result<Self, PacketSizeError> {
        if (SMALLEST..=LARGEST).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(PacketSizeError)
        }
    }

    pub fn bytes(self) -> u16 {
        self.0
    }
}

impl fmt::Display for PacketSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PacketSize {
    type Err = PacketSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map_err(|_| PacketSizeError)
            .and_then(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sizes_that_packets_have_are_taken() {
        assert_eq!("1400".parse().map(PacketSize::bytes), Ok(1400));
        for text in ["", "575", "9001", "-1400", "1400B", "99999"] {
            assert_eq!(text.parse::<PacketSize>(), Err(PacketSizeError), "{text}");
        }
    }
}
