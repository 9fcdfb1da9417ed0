//! A handful of measured times: exact quantiles, and a picture for people.

use std::fmt;
use std::time::Duration;

/// Rows of the picture.
const ROWS: usize = 12;
/// Letters of the longest bar.
const BAR: usize = 40;

/// Measured values in seconds, sorted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Distribution {
    sorted: Vec<f64>,
}

impl FromIterator<Duration> for Distribution {
    fn from_iter<I: IntoIterator<Item = Duration>>(values: I) -> Self {
        let mut sorted: Vec<f64> = values
            .into_iter()
            .map(|value| value.as_secs_f64())
            .collect();
        sorted.sort_by(f64::total_cmp);
        Self { sorted }
    }
}

impl Distribution {
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The smallest value that at least the share `p` of all values does not exceed (nearest rank: always one that was
    /// measured); `None` without values.
    pub fn quantile(&self, p: f64) -> Option<f64> {
        let rank = (p * self.sorted.len() as f64).ceil() as usize;
        self.sorted.get(rank.max(1) - 1).copied()
    }

    pub fn max(&self) -> Option<f64> {
        self.sorted.last().copied()
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(min), Some(max)) = (self.sorted.first(), self.max()) else {
            return writeln!(f, "  nothing was measured");
        };
        let width = ((max - min) / ROWS as f64).max(0.001);
        let mut counts = [0_usize; ROWS];
        for value in &self.sorted {
            let row = ((value - min) / width) as usize;
            counts[row.min(ROWS - 1)] += 1;
        }
        let most = counts.iter().max().copied().unwrap_or(1);
        for (row, count) in counts.iter().enumerate() {
            let from = min + width * row as f64;
            let bar = "█".repeat((count * BAR).div_ceil(most));
            writeln!(f, "  {from:7.3} s {bar} {count}")?;
        }
        let show = |p: f64| self.quantile(p).unwrap_or(f64::NAN);
        writeln!(
            f,
            "  min {min:.3}  p50 {:.3}  p90 {:.3}  p99 {:.3}  max {max:.3} s, {} measured",
            show(0.5),
            show(0.9),
            show(0.99),
            self.sorted.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_millis(values: impl IntoIterator<Item = u64>) -> Distribution {
        values.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn a_quantile_is_a_measured_value_and_not_below_its_share() {
        let hundred = of_millis((1..=100).rev());
        assert_eq!(hundred.quantile(0.5), Some(0.050));
        assert_eq!(hundred.quantile(0.99), Some(0.099));
        assert_eq!(hundred.quantile(1.0), Some(0.100));
        // Fewer than a hundred values: nothing but the largest one covers 99 % of them.
        assert_eq!(of_millis(1..=50).quantile(0.99), Some(0.050));
        assert_eq!(of_millis([7]).quantile(0.0), Some(0.007));
    }

    #[test]
    fn nothing_measured_has_no_quantile() {
        assert_eq!(Distribution::default().quantile(0.5), None);
        assert!(Distribution::default().to_string().contains("nothing"));
    }

    #[test]
    fn the_picture_counts_every_value_once() {
        let picture = of_millis([100, 100, 100, 900]).to_string();
        assert!(picture.contains("█ 3\n"), "{picture}");
        assert!(picture.contains("█ 1\n"), "{picture}");
        assert!(picture.contains("4 measured"), "{picture}");
    }
}
