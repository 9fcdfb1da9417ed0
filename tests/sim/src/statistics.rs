//! How a set of times is told: percentiles and a histogram of bars.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Width of the longest bar.
const BAR: usize = 48;
/// Width of a step of the histogram.
const STEP: Duration = Duration::from_millis(100);

/// Times, to be told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

/// The telling numbers of a set of times, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    /// How many times there are.
    pub count: usize,
    /// Half of them are not longer.
    pub p50_s: f64,
    /// 99 % of them are not longer.
    pub p99_s: f64,
    /// None of them is longer.
    pub max_s: f64,
}

impl Times {
    /// Adds one.
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The telling numbers.
    pub(crate) fn quantiles(&self) -> Quantiles {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |quantile: f64| {
            let rank = (quantile * sorted.len() as f64).ceil() as usize;
            let time = sorted
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default();
            (time.as_secs_f64() * 1_000.0).round() / 1_000.0
        };
        Quantiles {
            count: sorted.len(),
            p50_s: at(0.5),
            p99_s: at(0.99),
            max_s: at(1.0),
        }
    }
}

impl fmt::Display for Times {
    /// A histogram: one line for each tenth of a second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = |time: &Duration| (time.as_millis() / STEP.as_millis()) as usize;
        let (Some(first), Some(last)) =
            (self.0.iter().map(step).min(), self.0.iter().map(step).max())
        else {
            return writeln!(f, "  (none)");
        };
        let mut counts = vec![0_usize; last - first + 1];
        for time in &self.0 {
            counts[step(time) - first] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(1).max(1);
        for (i, count) in counts.iter().enumerate() {
            let from = (STEP * (first + i) as u32).as_secs_f64();
            let bar = "#".repeat((count * BAR).div_ceil(most));
            writeln!(f, "  {from:>4.1} s  {count:>5}  {bar}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(millis: impl IntoIterator<Item = u64>) -> Times {
        Times(millis.into_iter().map(Duration::from_millis).collect())
    }

    #[test]
    fn quantiles_are_times_that_occurred() {
        let quantiles = times((1..=100).rev().map(|n| n * 10)).quantiles();
        assert_eq!(
            (quantiles.p50_s, quantiles.p99_s, quantiles.max_s),
            (0.5, 0.99, 1.0)
        );
        assert_eq!(Times::default().quantiles(), Quantiles::default());
    }

    #[test]
    fn the_histogram_has_a_line_for_each_step_also_for_empty_ones() {
        let text = times([310, 320, 590]).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("   0.3 s      2  ###"), "{text}");
        assert!(lines[1].trim_end().ends_with('0'), "{text}");
    }
}
