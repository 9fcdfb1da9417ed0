//! What is counted of one path between two reports.

use meshprobe_core::detail::Detail;
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::rtt::RttCode;
use meshprobe_core::window::LostWays;
use smallvec::SmallVec;

/// Losses other than plain timeouts and whatever else is counted by class; a path rarely has more than one.
pub type ClassCounts = SmallVec<[(OutcomeClass, u32); 2]>;

/// Adds to a class's counter.
pub fn count_class(counts: &mut ClassCounts, class: OutcomeClass, count: u32) {
    match counts.iter_mut().find(|(known, _)| *known == class) {
        Some((_, total)) => *total = total.saturating_add(count),
        None => counts.push((class, count)),
    }
}

/// Counters of one path in the open window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathWindow {
    /// Probes whose outcome became known, the invalid ones not counted.
    pub sent: u32,
    /// Of those, answered in time.
    pub replied: u32,
    /// Probes that arrived from the target.
    pub received: u32,
    /// Which way probes were lost, as far as it became known.
    pub lost_ways: LostWays,
    /// Round-trip times of the replies.
    pub rtt: RttSummary,
    /// Outcomes other than reply and plain timeout.
    pub classes: ClassCounts,
    /// What the newest probe found.
    pub detail: Option<Box<Detail>>,
}

impl PathWindow {
    /// A probe ended.
    pub fn record(&mut self, class: OutcomeClass, rtt: Option<RttCode>) {
        match class {
            OutcomeClass::Invalid => {
                self.record_invalid(1);
                return;
            }
            // The probe was counted when it timed out; that it was answered after all is told beside it.
            OutcomeClass::Late => {
                count_class(&mut self.classes, class, 1);
                return;
            }
            OutcomeClass::Reply => self.replied = self.replied.saturating_add(1),
            OutcomeClass::Timeout => {}
            _ => count_class(&mut self.classes, class, 1),
        }
        self.sent = self.sent.saturating_add(1);
        if let Some(rtt) = rtt {
            self.rtt.record(rtt);
        }
    }

    /// Probes that were thrown away.
    pub fn record_invalid(&mut self, count: u32) {
        if count > 0 {
            count_class(&mut self.classes, OutcomeClass::Invalid, count);
        }
    }

    /// A probe of the target arrived here.
    pub fn record_received(&mut self) {
        self.received = self.received.saturating_add(1);
    }

    /// Did nothing happen?
    pub fn is_empty(&self) -> bool {
        self.sent == 0 && self.received == 0 && self.classes.is_empty() && self.detail.is_none()
    }
}

/// Codes that are kept for the median: more than a path has in a report interval when all is well.
const KEPT: usize = 16;

/// Smallest, median and largest round-trip time.
///
/// The median is exact up to 16 samples; beyond that every second, fourth, … sample stands for its neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RttSummary {
    min: RttCode,
    max: RttCode,
    codes: [u8; KEPT],
    kept: u8,
    /// Each kept code stands for 2^stride samples.
    stride: u8,
    since_kept: u16,
}

impl RttSummary {
    /// Adds a sample.
    pub fn record(&mut self, code: RttCode) {
        self.min = if self.min.is_none() {
            code
        } else {
            self.min.min(code)
        };
        self.max = self.max.max(code);
        self.since_kept += 1;
        if self.since_kept < 1 << self.stride {
            return;
        }
        self.since_kept = 0;
        if usize::from(self.kept) == KEPT {
            self.thin();
        }
        self.codes[usize::from(self.kept)] = code.as_octet();
        self.kept += 1;
    }

    /// Samples, about: those that fell between two kept ones are left out.
    pub const fn samples(&self) -> u32 {
        (self.kept as u32) << self.stride
    }

    /// The smallest sample.
    pub const fn min(&self) -> RttCode {
        self.min
    }

    /// The largest sample.
    pub const fn max(&self) -> RttCode {
        self.max
    }

    /// The median; of an even number of samples the lower one of the two in the middle.
    pub fn median(&self) -> RttCode {
        let mut codes = self.codes;
        let kept = &mut codes[..usize::from(self.kept)];
        kept.sort_unstable();
        match kept.len() {
            // Samples that fell between two kept ones: the smallest is one of them.
            0 => self.min,
            length => RttCode::from_octet(kept[(length - 1) / 2]),
        }
    }

    /// Keeps every second code.
    fn thin(&mut self) {
        for i in 0..KEPT / 2 {
            self.codes[i] = self.codes[2 * i];
        }
        self.kept = (KEPT / 2) as u8;
        // 2^15 · 16 samples of one path in one window are 14 hours at 10 a second.
        self.stride = (self.stride + 1).min(15);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_late_answer_is_told_beside_the_timeout_and_is_no_second_probe() {
        let mut window = PathWindow::default();
        window.record(OutcomeClass::Timeout, None);
        window.record(OutcomeClass::Late, None);
        assert_eq!((window.sent, window.replied), (1, 0));
        assert_eq!(window.classes.as_slice(), [(OutcomeClass::Late, 1)]);
    }

    #[test]
    fn invalid_probes_are_not_counted_as_sent() {
        let mut window = PathWindow::default();
        window.record(OutcomeClass::Invalid, None);
        window.record_invalid(3);
        assert_eq!(window.sent, 0);
        assert_eq!(window.classes.as_slice(), [(OutcomeClass::Invalid, 4)]);
        assert!(!window.is_empty());
    }

    #[test]
    fn an_empty_window_has_no_round_trip_time() {
        let rtt = RttSummary::default();
        assert!(rtt.min().is_none() && rtt.median().is_none() && rtt.max().is_none());
    }

    proptest! {
        #[test]
        fn the_median_of_few_samples_is_exact(octets in prop::collection::vec(1_u8..=255, 1..=KEPT)) {
            let mut rtt = RttSummary::default();
            for octet in &octets {
                rtt.record(RttCode::from_octet(*octet));
            }
            let mut sorted = octets;
            sorted.sort_unstable();
            prop_assert_eq!(rtt.median().as_octet(), sorted[(sorted.len() - 1) / 2]);
            prop_assert_eq!(rtt.min().as_octet(), sorted[0]);
            prop_assert_eq!(rtt.max().as_octet(), sorted[sorted.len() - 1]);
        }

        #[test]
        fn the_median_of_many_samples_lies_between_them(octets in prop::collection::vec(1_u8..=255, 1..2_000)) {
            let mut rtt = RttSummary::default();
            for octet in &octets {
                rtt.record(RttCode::from_octet(*octet));
            }
            prop_assert!(rtt.min() <= rtt.median() && rtt.median() <= rtt.max());
        }
    }
}
