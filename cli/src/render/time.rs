//! Times and durations as people read them. Times are UTC: the nodes of a mesh are in several zones.

use jiff::Timestamp;

/// A time from the wire; `None` if it is missing or outside of the calendar.
pub fn timestamp(wire: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let wire = wire?;
    Timestamp::new(wire.seconds, wire.nanos).ok()
}

/// A time for the wire.
pub fn wire(at: Timestamp) -> prost_types::Timestamp {
    const NANOS: i128 = 1_000_000_000;
    let nanos = at.as_nanosecond();
    prost_types::Timestamp {
        seconds: i64::try_from(nanos.div_euclid(NANOS)).unwrap_or(i64::MAX),
        nanos: i32::try_from(nanos.rem_euclid(NANOS)).unwrap_or(0),
    }
}

/// `03:12:45Z` on the same day, `2026-11-20 03:12:45Z` on another.
pub fn clock(time: Timestamp, now: Timestamp) -> String {
    const DAY: i64 = 86_400;
    if time.as_second().div_euclid(DAY) == now.as_second().div_euclid(DAY) {
        time.strftime("%H:%M:%SZ").to_string()
    } else {
        time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
    }
}

/// `12s ago`, `now`; a time in the future is `now` as well: clocks differ by a little.
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    match now.as_second().saturating_sub(time.as_second()) {
        ..=0 => "now".to_owned(),
        seconds => format!("{} ago", span(seconds)),
    }
}

/// The two largest units: `45s`, `3m12s`, `2h5m`, `3d4h`.
pub fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

/// A round-trip time to two digits: `45µs`, `0.31ms`, `3.1ms`, `31ms`, `1.2s`.
pub fn rtt(seconds: f64) -> String {
    if seconds < 100e-6 {
        format!("{:.0}µs", seconds * 1e6)
    } else if seconds < 995e-6 {
        format!("{:.2}ms", seconds * 1e3)
    } else if seconds < 9.95e-3 {
        format!("{:.1}ms", seconds * 1e3)
    } else if seconds < 0.9995 {
        format!("{:.0}ms", seconds * 1e3)
    } else {
        format!("{seconds:.1}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_span_has_its_two_largest_units() {
        for (seconds, expected) in [
            (-5, "0s"),
            (59, "59s"),
            (60, "1m0s"),
            (3599, "59m59s"),
            (7500, "2h5m"),
            (273_600, "3d4h"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn a_time_goes_to_the_wire_and_back() {
        for text in ["2026-01-01T00:00:00.5Z", "1969-12-31T23:59:59.25Z"] {
            let at: Timestamp = text.parse().unwrap();
            assert_eq!(timestamp(Some(wire(at))), Some(at));
        }
    }

    #[test]
    fn a_clock_that_is_a_little_ahead_gives_no_negative_age() {
        assert_eq!(ago(at(101), at(100)), "now");
        assert_eq!(ago(at(40), at(100)), "1m0s ago");
    }

    #[test]
    fn the_date_is_shown_on_other_days_only() {
        assert_eq!(clock(at(86_400 + 61), at(86_400 + 90)), "00:01:01Z");
        assert_eq!(clock(at(61), at(86_400)), "1970-01-01 00:01:01Z");
    }

    #[test]
    fn a_round_trip_time_never_needs_more_than_six_columns() {
        for (seconds, expected) in [
            (4.5e-5, "45µs"),
            (0.000_31, "0.31ms"),
            (0.000_999, "1.0ms"),
            (0.0031, "3.1ms"),
            (0.009_99, "10ms"),
            (0.31, "310ms"),
            (0.999_9, "1.0s"),
            (12.34, "12.3s"),
        ] {
            assert_eq!(rtt(seconds), expected);
        }
    }
}
