//! `--at`: a moment of the past.

use clap::Args;
use jiff::{SignedDuration, Timestamp};

/// When.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct AtArgs {
    /// As it was then: a time (2026-11-29T03:10:00Z) or how long ago (-2h, -90s, -1d12h). The answer says which window of
    /// the history it is of.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = parse)]
    pub at: Option<Timestamp>,
}

fn parse(text: &str) -> Result<Timestamp, String> {
    moment(text, Timestamp::now())
}

fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let advice = || {
        format!(
            "write a time such as 2026-11-29T03:10:00Z or how long ago, such as -2h or -90s, not {text:?}"
        )
    };
    let Some(ago) = text.strip_prefix('-') else {
        return text.parse().map_err(|_| advice());
    };
    let seconds = seconds(ago).ok_or_else(advice)?;
    now.checked_sub(SignedDuration::from_secs(seconds))
        .map_err(|_| advice())
}

/// `1d12h`, `90s`.
fn seconds(text: &str) -> Option<i64> {
    let (mut rest, mut sum) = (text, None);
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..unit_at].parse().ok()?;
        let unit = match rest[unit_at..].chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        rest = &rest[unit_at + 1..];
        sum = Some(number.checked_mul(unit)?.checked_add(sum.unwrap_or(0))?);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_and_how_long_ago_are_understood() {
        let now: Timestamp = "2026-11-29T05:10:00Z".parse().unwrap();
        let then: Timestamp = "2026-11-29T03:10:00Z".parse().unwrap();
        for text in [
            "2026-11-29T03:10:00Z",
            "2026-11-29T04:10:00+01:00",
            "-2h",
            "-1h60m",
            "-7200s",
        ] {
            assert_eq!(moment(text, now), Ok(then), "{text}");
        }
        for text in [
            "2h",
            "-",
            "-2",
            "-2w",
            "yesterday",
            "",
            "-99999999999999999d",
            "-é",
        ] {
            assert!(moment(text, now).is_err(), "{text}");
        }
    }
}
