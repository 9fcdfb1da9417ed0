//! The verdict of a path, and the statistics behind it (DETECTION.md §1).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The judged state of a path. Silence (`NoData`, `NotSampled`) is neither failure nor health.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[repr(u8)]
pub enum Verdict {
    /// The plan does not probe it.
    #[default]
    NotSampled = 1,
    /// Too few fresh samples to say anything.
    NoData = 2,
    /// None of the below.
    Healthy = 3,
    /// Median or tail far above its baseline.
    Slow = 4,
    /// More loss than chance explains.
    Lossy = 5,
    /// Losses in a row; the confirmation is on its way.
    Suspect = 6,
    /// Nothing gets through.
    Down = 7,
}

impl Verdict {
    /// Every verdict, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::NotSampled,
        Self::NoData,
        Self::Healthy,
        Self::Slow,
        Self::Lossy,
        Self::Suspect,
        Self::Down,
    ];

    /// The verdict with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|v| *v as u8 == number)
    }

    /// As label and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSampled => "not-sampled",
            Self::NoData => "no-data",
            Self::Healthy => "healthy",
            Self::Slow => "slow",
            Self::Lossy => "lossy",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }

    /// Does it say that something is wrong with the path?
    pub const fn is_unhealthy(self) -> bool {
        matches!(self, Self::Slow | Self::Lossy | Self::Suspect | Self::Down)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// z of a two-sided 95 % interval.
const Z: f64 = 1.96;

/// Wilson 95 % bounds on the loss ratio when `lost` of `valid` probes were lost. `valid == 0` gives `(0, 1)`.
///
/// Wilson (1927); unlike the normal approximation it is honest at 0 and at `valid`: 4 of 4 gives a lower bound of
/// 0.510, 0 of 10 an upper bound of 0.278.
pub fn wilson_bounds(lost: u32, valid: u32) -> (f64, f64) {
    if valid == 0 {
        return (0.0, 1.0);
    }
    let n = f64::from(valid);
    let p = f64::from(lost.min(valid)) / n;
    let z2 = Z * Z;
    let centre = p + z2 / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    (
        ((centre - spread) / scale).max(0.0),
        ((centre + spread) / scale).min(1.0),
    )
}

/// CUSUM weight of a loss: ln(p1/p0) with p0 = 10⁻³ and p1 = 0.05.
pub const CUSUM_LOSS: f32 = 3.912;
/// CUSUM weight of a success: ln((1−p1)/(1−p0)).
pub const CUSUM_SUCCESS: f32 = -0.0503;

/// The levels at which a path's verdict changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Fewer valid samples in the fast window are no data.
    pub min_samples: u32,
    /// Losses in a row that mean down.
    pub down_after: u8,
    /// CUSUM alarm level.
    pub cusum_alarm: f32,
    /// A last report older than this is no data, seconds: 2.5 report intervals, or probe intervals if those are longer.
    pub stale_after_seconds: f32,
    /// Length of the fast window, seconds: long enough for a few probes of a slow kind.
    pub window_seconds: u16,
}

/// Fast window of a kind that is sent several times in it, seconds.
const WINDOW_SECONDS: u16 = 10;
/// Probes of a slow kind that its fast window holds.
const SLOW_PROBES: f64 = 3.0;
/// Of a kind that is sent no more often than this many seconds, one probe is all that a verdict can wait for.
const SLOW_INTERVAL_SECONDS: f64 = 5.0;

impl Thresholds {
    /// The levels for a mesh of `paths` paths that are probed every `interval_seconds`: about one false `Lossy` alarm
    /// a day over the whole mesh.
    pub fn for_mesh(paths: u64, interval_seconds: f64, report_interval_seconds: f64) -> Self {
        let samples_a_day = paths.max(1) as f64 * 86_400.0 / interval_seconds.max(0.001);
        let is_slow = interval_seconds > SLOW_INTERVAL_SECONDS;
        let window_seconds = if is_slow {
            (SLOW_PROBES * interval_seconds).ceil() as u16
        } else {
            WINDOW_SECONDS
        };
        let in_window = f64::from(window_seconds) / interval_seconds.max(0.001);
        Self {
            min_samples: if is_slow {
                1
            } else {
                (in_window as u32).clamp(1, 4)
            },
            down_after: 4,
            cusum_alarm: samples_a_day.ln() as f32,
            stale_after_seconds: (2.5 * report_interval_seconds.max(interval_seconds)) as f32,
            window_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 0.001
    }

    #[test]
    fn wilson_bounds_are_the_published_ones() {
        assert!(close(wilson_bounds(0, 10).1, 0.278));
        assert!(close(wilson_bounds(3, 3).0, 0.438));
        assert!(close(wilson_bounds(4, 4).0, 0.510));
        assert!(close(wilson_bounds(0, 380).1, 0.010));
        assert_eq!(wilson_bounds(0, 0), (0.0, 1.0));
    }

    #[test]
    fn the_alarm_level_grows_with_the_mesh() {
        let small = Thresholds::for_mesh(9_900, 1.0, 10.0).cusum_alarm;
        let large = Thresholds::for_mesh(999_000, 1.0, 10.0).cusum_alarm;
        assert!((small - 20.6).abs() < 0.1, "{small}");
        assert!((large - 25.2).abs() < 0.1, "{large}");
    }

    #[test]
    fn a_slow_kind_keeps_its_verdict_between_two_probes() {
        for (interval, min_samples, window, stale) in [
            (1.0, 4, 10, 25.0),
            (5.0, 2, 10, 25.0),
            (10.0, 1, 30, 25.0),
            (30.0, 1, 90, 75.0),
            (60.0, 1, 180, 150.0),
        ] {
            let thresholds = Thresholds::for_mesh(9_900, interval, 10.0);
            assert_eq!(thresholds.min_samples, min_samples, "{interval} s");
            assert_eq!(thresholds.window_seconds, window, "{interval} s");
            assert!((thresholds.stale_after_seconds - stale).abs() < 0.01);
        }
    }

    #[test]
    fn verdicts_are_found_by_their_numbers() {
        for verdict in Verdict::ALL {
            assert_eq!(Verdict::from_number(verdict as u8), Some(verdict));
        }
        assert_eq!(Verdict::from_number(0), None);
    }
}
