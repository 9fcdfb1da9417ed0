//! A short time as people write it: `800ms`, `2s`.

use std::time::Duration;

/// A freeze that lasts longer is no freeze.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) fn parse(text: &str) -> Option<Duration> {
    let split = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        _ => return None,
    };
    (duration > Duration::ZERO && duration <= LONGEST).then_some(duration)
}

pub(super) fn format(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_times_with_a_unit_are_taken() {
        assert_eq!(parse("800ms"), Some(Duration::from_millis(800)));
        assert_eq!(parse("2s"), Some(Duration::from_secs(2)));
        for text in [
            "",
            "800",
            "ms",
            "0ms",
            "-1s",
            "1.5s",
            "61s",
            "1h",
            "99999999999999999999s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
