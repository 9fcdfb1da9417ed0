//! A share of equal paths: `1/16`.

use std::fmt;
use std::str::FromStr;

/// Routers do not spread over more.
const MOST: u16 = 1024;

/// So many dead ones of so many equal paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets {
    failing: u16,
    of: u16,
}

/// Not a share of equal paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no share of paths such as 1/16, of 2 to {MOST}")]
pub struct BucketsError;

impl Buckets {
    pub fn new(failing: u16, of: u16) -> Result<Self, BucketsError> {
        // All of them would be a partition.
        if failing > 0 && failing < of && of <= MOST {
            Ok(Self { failing, of })
        } else {
            Err(BucketsError)
        }
    }

    /// How many are dead.
    pub fn failing(self) -> u16 {
        self.failing
    }

    /// How many there are.
    pub fn of(self) -> u16 {
        self.of
    }
}

impl Default for Buckets {
    /// One of sixteen.
    fn default() -> Self {
        Self { failing: 1, of: 16 }
    }
}

impl fmt::Display for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.failing, self.of)
    }
}

impl FromStr for Buckets {
    type Err = BucketsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (failing, of) = text.split_once('/').ok_or(BucketsError)?;
        let number = |text: &str| text.parse().map_err(|_| BucketsError);
        Self::new(number(failing)?, number(of)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_part_of_the_paths_can_be_dead() {
        assert_eq!("3/16".parse(), Buckets::new(3, 16));
        assert_eq!(Buckets::default().to_string(), "1/16");
        for text in ["", "1", "0/16", "16/16", "3/2", "1/2048", "-1/4", "a/b"] {
            assert_eq!(text.parse::<Buckets>(), Err(BucketsError), "{text}");
        }
    }
}
