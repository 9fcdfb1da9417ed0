//! When a path has become slow: worth an early report.
//!
//! A path is judged by the median of a window, and the window in which it becomes slow holds what it was before as well.
//! So three slow replies in a row end the window. If its median is not slow yet, three more end the next one, which holds
//! nothing else: a cause of slowness is told some seconds after it began, and not after up to two report intervals.

use meshprobe_core::rtt::RttCode;

use crate::window::RttSummary;

/// Slow replies in a row, and replies that make a window's median the normal one.
const ENOUGH: u8 = 3;

/// What is normal on a path, and how many replies in a row were slower.
///
/// Only about when to report. The judgement is the aggregator's, which knows the path for longer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slowness {
    /// Median of the newest regular window that was not slow.
    normal: RttCode,
    slow_in_a_row: u8,
    /// A report said so.
    told: bool,
}

impl Slowness {
    /// A reply came. Has the path become slow with it, and does nobody know yet?
    pub fn handle_reply(&mut self, rtt: RttCode) -> bool {
        if !rtt.is_slow(self.normal) {
            self.slow_in_a_row = 0;
            self.told = false;
            return false;
        }
        self.slow_in_a_row = self.slow_in_a_row.saturating_add(1);
        self.slow_in_a_row == ENOUGH && !self.told
    }

    /// A window with these replies is reported; `regular`: in its time.
    pub fn handle_closed(&mut self, rtt: &RttSummary, regular: bool) {
        let median = rtt.median();
        if median.is_slow(self.normal) {
            self.told |= self.slow_in_a_row >= ENOUGH;
            if regular {
                // What lasts becomes normal, at 9 % a window.
                self.normal = RttCode::from_octet(self.normal.as_octet() + 1);
            }
            return;
        }
        self.slow_in_a_row = 0;
        if regular && rtt.samples() >= ENOUGH.into() {
            self.normal = median;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshprobe_core::rtt::Rtt;

    use super::*;

    fn code(micros: u64) -> RttCode {
        Rtt::from_duration(Duration::from_micros(micros)).code()
    }

    /// Replies of a window, and with which of them it is worth a report.
    fn window(path: &mut Slowness, micros: &[u64], regular: bool) -> Vec<usize> {
        let mut replies = RttSummary::default();
        let mut worth = Vec::new();
        for (i, micros) in micros.iter().enumerate() {
            replies.record(code(*micros));
            if path.handle_reply(code(*micros)) {
                worth.push(i);
            }
        }
        path.handle_closed(&replies, regular);
        worth
    }

    #[test]
    fn three_slow_replies_end_the_window_and_three_more_the_one_that_is_slow() {
        let mut path = Slowness::default();
        assert_eq!(window(&mut path, &[200; 10], true), [0; 0]);
        let turning = [200, 210, 190, 200, 9_000, 9_000, 9_000];
        assert_eq!(window(&mut path, &turning, false), [6]);
        assert_eq!(window(&mut path, &[9_000; 3], false), [2]);
        assert_eq!(window(&mut path, &[9_000; 10], true), [0; 0], "it is told");
        assert_eq!(window(&mut path, &[200; 10], true), [0; 0]);
        assert_eq!(window(&mut path, &[9_000; 3], false), [2], "anew");
    }

    #[test]
    fn a_window_that_is_slow_already_is_told_once() {
        let mut path = Slowness::default();
        window(&mut path, &[200; 10], true);
        assert_eq!(window(&mut path, &[200, 9_000, 9_000, 9_000], false), [3]);
        assert_eq!(window(&mut path, &[9_000; 6], true), [0; 0]);
    }

    #[test]
    fn single_slow_replies_small_differences_and_a_path_without_a_past_are_nothing() {
        let mut path = Slowness::default();
        assert_eq!(window(&mut path, &[9_000; 10], true), [0; 0]);
        let mut path = Slowness::default();
        window(&mut path, &[200; 10], true);
        assert_eq!(
            window(&mut path, &[9_000, 9_000, 200, 9_000, 9_000, 200], true),
            [0; 0]
        );
        assert_eq!(window(&mut path, &[1_100; 10], true), [0; 0], "below 1 ms");
    }

    #[test]
    fn what_lasts_becomes_normal() {
        let mut path = Slowness::default();
        window(&mut path, &[2_000; 10], true);
        for _ in 0..30 {
            window(&mut path, &[20_000; 10], true);
        }
        assert_eq!(
            window(&mut path, &[90_000, 90_000, 90_000], false),
            [2],
            "slower than what is normal by now"
        );
    }
}
