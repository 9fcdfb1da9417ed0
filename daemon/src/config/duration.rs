//! Durations as people write them: `500ms`, `10s`, `1m30s`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The units, longest first, in nanoseconds.
const UNITS: [(&str, u128); 8] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// A duration with its unit written out, in configuration files and flags.
///
/// A number without a unit is refused (`10` of what?); `0` is the exception.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(Duration);

impl HumanDuration {
    /// Wraps a duration.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// Wraps a number of seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Wraps a number of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// The duration itself.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<HumanDuration> for Duration {
    fn from(human: HumanDuration) -> Self {
        human.0
    }
}

impl From<Duration> for HumanDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

/// What is wrong with a duration, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "bad duration {text:?}: {reason}; write for example 500ms, 10s, 2m, 1h30m (units d, h, m, s, ms, us, ns)"
)]
pub struct ParseDurationError {
    text: String,
    reason: &'static str,
}

impl FromStr for HumanDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_nanos(text)
            .map(Self)
            .map_err(|reason| ParseDurationError {
                text: text.to_owned(),
                reason,
            })
    }
}

fn parse_nanos(text: &str) -> Result<Duration, &'static str> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err("it is empty");
    }
    let mut total: u128 = 0;
    let mut previous_unit = u128::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let number_len = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_len);
        let unit_len = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let nanos = match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, nanos)) => *nanos,
            None if unit.is_empty() => return Err("the unit is missing"),
            None => return Err("it has an unknown unit, a sign or a space"),
        };
        if nanos >= previous_unit {
            return Err("the units go from long to short, each once");
        }
        total = total
            .checked_add(scaled(number, nanos)?)
            .ok_or("it is too long")?;
        previous_unit = nanos;
        rest = next;
    }
    u64::try_from(total)
        .map(Duration::from_nanos)
        .map_err(|_| "it is too long")
}

/// `number` (digits with at most one decimal point) times `unit`, exactly.
fn scaled(number: &str, unit: u128) -> Result<u128, &'static str> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return Err("a number is missing or malformed");
    }
    let mut nanos = whole
        .parse::<u128>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .ok_or("it is too long")?;
    let mut digit_value = unit;
    for digit in fraction.bytes() {
        if !digit_value.is_multiple_of(10) {
            return Err("it is finer than a nanosecond");
        }
        digit_value /= 10;
        nanos = nanos
            .checked_add(u128::from(digit - b'0') * digit_value)
            .ok_or("it is too long")?;
    }
    Ok(nanos)
}

impl fmt::Display for HumanDuration {
    /// Writes the shortest form that parses to the same duration: `1m30s`, `500ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_nanos();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, nanos) in UNITS {
            let count = rest / nanos;
            if count > 0 {
                write!(f, "{count}{name}")?;
                rest %= nanos;
            }
        }
        Ok(())
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = HumanDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 500ms, 10s or 2m")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(E::custom)
            }
        }

        // As a string: YAML would hand over an unquoted `10` as a number, and the missing unit is
        // the thing to say about it.
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Duration {
        text.parse::<HumanDuration>().unwrap().duration()
    }

    #[test]
    fn every_unit_and_their_combinations_are_exact() {
        assert_eq!(parsed("500ms"), Duration::from_millis(500));
        assert_eq!(parsed("10s"), Duration::from_secs(10));
        assert_eq!(parsed("2m"), Duration::from_secs(120));
        assert_eq!(parsed("1h30m"), Duration::from_secs(5400));
        assert_eq!(parsed("1d"), Duration::from_secs(86_400));
        assert_eq!(parsed("250us"), Duration::from_micros(250));
        assert_eq!(parsed("250µs"), Duration::from_micros(250));
        assert_eq!(parsed("7ns"), Duration::from_nanos(7));
        assert_eq!(parsed("1.5s"), Duration::from_millis(1500));
        assert_eq!(parsed("0.1s"), Duration::from_millis(100));
        assert_eq!(parsed("0"), Duration::ZERO);
        assert_eq!(parsed("0s"), Duration::ZERO);
    }

    #[test]
    fn what_is_ambiguous_or_malformed_is_refused_with_an_example() {
        let bad = [
            "",
            "10",
            "s",
            "-1s",
            "1 s",
            "10 ",
            "1x",
            "1s1m",
            "1s2s",
            "1..5s",
            "1.s",
            ".5s",
            "0.5ns",
            "99999999999999d",
            "999999999999999999999999999999999999999999s",
            "inf",
            "1e3s",
        ];
        for text in bad {
            let error = text.parse::<HumanDuration>().unwrap_err().to_string();
            assert!(
                error.contains("write for example 500ms"),
                "{text:?}: {error}"
            );
        }
    }

    #[test]
    fn the_printed_form_parses_to_the_same_duration() {
        for nanos in [
            0,
            1,
            999,
            1_000,
            1_500_000,
            60_000_000_000,
            5_400_000_000_000,
            90_061_001_001_001,
        ] {
            let human = HumanDuration::new(Duration::from_nanos(nanos));
            assert_eq!(
                human.to_string().parse::<HumanDuration>().unwrap(),
                human,
                "{human}"
            );
        }
        assert_eq!(HumanDuration::from_secs(90).to_string(), "1m30s");
        assert_eq!(HumanDuration::from_millis(500).to_string(), "500ms");
        assert_eq!(HumanDuration::default().to_string(), "0s");
    }

    #[test]
    fn a_duration_is_read_from_yaml_quoted_or_not() {
        let read = |yaml: &str| serde_saphyr::from_str::<HumanDuration>(yaml);
        assert_eq!(read("10s").unwrap(), HumanDuration::from_secs(10));
        assert_eq!(read("\"10s\"").unwrap(), HumanDuration::from_secs(10));
        assert!(
            read("10")
                .unwrap_err()
                .to_string()
                .contains("the unit is missing")
        );
    }
}
