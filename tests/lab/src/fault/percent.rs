//! A share of packets.

use std::fmt;
use std::str::FromStr;

/// More than 0 and at most 100 per cent, in steps of a hundredth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent {
    hundredths: u16,
}

/// Not a share of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a loss is between 0.01% and 100%")]
pub struct PercentError;

impl Percent {
    /// The denominator of [`Percent::hundredths`].
    pub(crate) const WHOLE: u16 = 10_000;

    pub fn new(percent: f64) -> Result<Self, PercentError> {
        let hundredths = (percent * 100.0).round();
        // Also refuses what is not a number.
        if (1.0..=f64::from(Self::WHOLE)).contains(&hundredths) {
            Ok(Self {
                hundredths: hundredths as u16,
            })
        } else {
            Err(PercentError)
        }
    }

    pub fn as_f64(self) -> f64 {
        f64::from(self.hundredths) / 100.0
    }

    pub(crate) fn hundredths(self) -> u16 {
        self.hundredths
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.as_f64())
    }
}

impl FromStr for Percent {
    type Err = PercentError;

    /// `30` or `0.5%`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').unwrap_or(text);
        number.parse().map_err(|_| PercentError).and_then(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_share_of_packets_is_a_percent() {
        assert_eq!("30".parse::<Percent>().map(Percent::as_f64), Ok(30.0));
        assert_eq!(
            "0.5%".parse::<Percent>().map(|percent| percent.to_string()),
            Ok("0.5%".to_owned())
        );
        for text in ["0", "0.001", "100.1", "-3", "NaN", "inf", "", "%", "x"] {
            assert_eq!(text.parse::<Percent>(), Err(PercentError), "{text}");
        }
    }
}
