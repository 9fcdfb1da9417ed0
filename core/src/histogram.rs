//! Base-2 exponential histograms of round-trip times: mergeable, bounded, 1:1 with Prometheus and OpenTelemetry.
//!
//! Schema 3: bucket `i` counts the values in (2^((i−1)/8) s, 2^(i/8) s], so a quantile read from it is at
//! most 4.43 % away from the true sample. These are the buckets of a Prometheus native histogram with
//! `schema: 3`; OpenTelemetry's exponential histogram with `scale: 3` numbers the same buckets one lower.
//!
//! Two histograms of disjoint samples are added bucket by bucket, in any order and grouping, and the
//! result is the histogram of all samples; an older state can be subtracted from a newer one.
//!
//! Memory is bounded without ever losing resolution: values up to 2^−20 s (0.95 µs, below what a round
//! trip over any wire takes) are counted in the zero bucket, values above 2^(95/8) s (63 minutes) in the
//! last one. The 255 buckets between are stored as one contiguous run from the first to the last that is
//! in use: a path with RTTs of 0.2 to 2 ms needs 27 counters, and none can need more than 2 KiB.

use thiserror::Error;

use crate::rtt::{INDEX_OFFSET, Rtt, RttCode, UPPER_NANOS};

/// Buckets per doubling is 2^SCHEMA; Prometheus' `schema` and OpenTelemetry's `scale`.
pub const SCHEMA: i8 = 3;

/// Values up to here, in seconds, are counted in the zero bucket: 2^−20 s.
pub const ZERO_THRESHOLD_SECONDS: f64 = 1.0 / 1_048_576.0;

/// Index of the first bucket, in Prometheus' numbering.
pub const MIN_INDEX: i32 = 1 - INDEX_OFFSET;

/// Index of the last bucket; it also counts everything longer.
pub const MAX_INDEX: i32 = 255 - INDEX_OFFSET;

/// The most buckets that a histogram can have.
pub const MAX_BUCKETS: usize = 255;

/// The bucket of a value, in Prometheus' numbering; `None` is the zero bucket.
#[inline]
pub fn bucket_index(rtt: Rtt) -> Option<i32> {
    (rtt.as_nanos() > UPPER_NANOS[0]).then(|| i32::from(rtt.code().as_octet()) - INDEX_OFFSET)
}

/// The inclusive upper edge of a bucket, in seconds: 2^(index/8).
pub fn upper_bound_seconds(index: i32) -> f64 {
    (f64::from(index) / 8.0).exp2()
}

/// Why parts that came from elsewhere are no histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HistogramError {
    /// A bucket lies outside [`MIN_INDEX`]`..=`[`MAX_INDEX`].
    #[error("histogram buckets {first}..{end} lie outside {MIN_INDEX}..={MAX_INDEX}")]
    OutOfRange {
        /// Index of the first bucket.
        first: i32,
        /// Index after the last bucket.
        end: i64,
    },
}

/// A histogram of round-trip times.
///
/// Counters saturate instead of wrapping. Equal contents compare equal, whatever way they came about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    zero: u64,
    /// Code of `counts[0]`; meaningless (and 0) while `counts` is empty.
    first: u8,
    /// Neither the first nor the last counter is 0.
    counts: Vec<u64>,
    sum_nanos: u128,
}

impl Histogram {
    /// An empty histogram; allocates nothing.
    pub const fn new() -> Self {
        Self {
            zero: 0,
            first: 0,
            counts: Vec::new(),
            sum_nanos: 0,
        }
    }

    /// A histogram from what [`Histogram::zero_count`], [`Histogram::dense`] and
    /// [`Histogram::sum_nanos`] gave, for instance on another machine.
    pub fn from_parts(
        zero: u64,
        first_index: i32,
        counts: &[u64],
        sum_nanos: u128,
    ) -> Result<Self, HistogramError> {
        let end = i64::from(first_index) + counts.len() as i64;
        let outside = first_index < MIN_INDEX || end > i64::from(MAX_INDEX) + 1;
        if outside && !counts.is_empty() {
            return Err(HistogramError::OutOfRange {
                first: first_index,
                end,
            });
        }
        let mut histogram = Self {
            zero,
            first: 0,
            counts: counts.to_vec(),
            sum_nanos,
        };
        if !counts.is_empty() {
            histogram.first = (first_index + INDEX_OFFSET) as u8;
        }
        histogram.trim();
        Ok(histogram)
    }

    /// Counts one value.
    #[inline]
    pub fn record(&mut self, rtt: Rtt) {
        self.record_n(rtt, 1);
    }

    /// Counts one value `n` times.
    pub fn record_n(&mut self, rtt: Rtt, n: u64) {
        if n == 0 {
            return;
        }
        self.sum_nanos = self
            .sum_nanos
            .saturating_add(u128::from(rtt.as_nanos()) * u128::from(n));
        if rtt.as_nanos() <= UPPER_NANOS[0] {
            self.zero = self.zero.saturating_add(n);
            return;
        }
        let code = rtt.code().as_octet();
        self.cover(code, code);
        let counter = &mut self.counts[usize::from(code - self.first)];
        *counter = counter.saturating_add(n);
    }

    /// Adds the samples of another histogram.
    pub fn merge(&mut self, other: &Self) {
        self.zero = self.zero.saturating_add(other.zero);
        self.sum_nanos = self.sum_nanos.saturating_add(other.sum_nanos);
        if other.counts.is_empty() {
            return;
        }
        self.cover(other.first, other.last());
        let start = usize::from(other.first - self.first);
        for (mine, theirs) in self.counts[start..].iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// What was recorded since `earlier`, an older state of this histogram.
    ///
    /// `None` when some counter is smaller now than it was: then `earlier` is not an older state.
    #[must_use = "the difference is returned, the histogram is not changed"]
    pub fn checked_sub(&self, earlier: &Self) -> Option<Self> {
        let mut difference = self.clone();
        difference.zero = self.zero.checked_sub(earlier.zero)?;
        difference.sum_nanos = self.sum_nanos.checked_sub(earlier.sum_nanos)?;
        if !earlier.counts.is_empty() {
            let start = usize::from(earlier.first.checked_sub(self.first)?);
            let mine = difference
                .counts
                .get_mut(start..start + earlier.counts.len())?;
            for (mine, theirs) in mine.iter_mut().zip(&earlier.counts) {
                *mine = mine.checked_sub(*theirs)?;
            }
        }
        difference.trim();
        Some(difference)
    }

    /// Forgets all samples and keeps the memory.
    pub fn clear(&mut self) {
        self.zero = 0;
        self.first = 0;
        self.counts.clear();
        self.sum_nanos = 0;
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.counts
            .iter()
            .fold(self.zero, |sum, count| sum.saturating_add(*count))
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.zero == 0 && self.counts.is_empty()
    }

    /// Samples of at most [`ZERO_THRESHOLD_SECONDS`].
    pub fn zero_count(&self) -> u64 {
        self.zero
    }

    /// Exact sum of all samples in nanoseconds.
    pub fn sum_nanos(&self) -> u128 {
        self.sum_nanos
    }

    /// Sum of all samples in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_nanos as f64 / 1e9
    }

    /// The buckets that are not empty, ascending: (index in Prometheus' numbering, count).
    pub fn buckets(&self) -> impl Iterator<Item = (i32, u64)> + '_ {
        let first = i32::from(self.first) - INDEX_OFFSET;
        (first..)
            .zip(self.counts.iter().copied())
            .filter(|(_, count)| *count != 0)
    }

    /// The run of buckets as stored: index of the first one and all counts up to the last one.
    ///
    /// This is OpenTelemetry's `bucket_counts`, whose `offset` is the index minus 1.
    pub fn dense(&self) -> (i32, &[u64]) {
        if self.counts.is_empty() {
            return (0, &[]);
        }
        (i32::from(self.first) - INDEX_OFFSET, &self.counts)
    }

    /// The sample below which a share `q` (0 to 1) of all samples lies.
    ///
    /// The answer is the geometric middle of the bucket that holds the sample of rank ⌈q·count⌉, so it is
    /// within 4.43 % of that sample ([`Rtt::ZERO`] for a sample of the zero bucket). `None` when there is
    /// no sample or `q` is not a number; a `q` outside 0 to 1 is taken as the nearer end.
    pub fn quantile(&self, q: f64) -> Option<Rtt> {
        let count = self.count();
        if count == 0 || q.is_nan() {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count);
        let mut seen = self.zero;
        if rank <= seen {
            return Some(Rtt::ZERO);
        }
        for (code, count) in (self.first..=u8::MAX).zip(&self.counts) {
            seen = seen.saturating_add(*count);
            if rank <= seen {
                return RttCode::from_octet(code).rtt();
            }
        }
        None
    }

    /// Memory on the heap in octets.
    pub fn heap_octets(&self) -> usize {
        self.counts.capacity() * size_of::<u64>()
    }

    /// Code of the last counter; only for a histogram with counters.
    fn last(&self) -> u8 {
        self.first + (self.counts.len() - 1) as u8
    }

    /// Extends the run so that it covers the codes from `first` to `last`.
    fn cover(&mut self, first: u8, last: u8) {
        if self.counts.is_empty() {
            self.first = first;
            self.counts.resize(usize::from(last - first) + 1, 0);
            return;
        }
        if first < self.first {
            let missing = usize::from(self.first - first);
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = first;
        }
        if last > self.last() {
            self.counts.resize(usize::from(last - self.first) + 1, 0);
        }
    }

    /// Removes empty counters from both ends.
    fn trim(&mut self) {
        while self.counts.last() == Some(&0) {
            self.counts.pop();
        }
        let leading = self.counts.iter().take_while(|count| **count == 0).count();
        self.counts.drain(..leading);
        self.first = if self.counts.is_empty() {
            0
        } else {
            self.first + leading as u8
        };
    }
}

#[cfg(test)]
mod tests;
