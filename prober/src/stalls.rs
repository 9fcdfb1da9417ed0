//! When this process did not run: the newest times of it.

use std::collections::VecDeque;
use std::time::Duration;

use meshprobe_core::time::Moment;

/// Stalls that are remembered. A process that is throttled all the time stalls ten times a second; older ones do not
/// matter to probes that end now.
const KEPT: usize = 64;

/// The newest stalls, in the order of their ends.
#[derive(Clone, Debug, Default)]
pub struct Stalls {
    recent: VecDeque<(Moment, Moment)>,
}

impl Stalls {
    /// The process did not run from `from` to `to`. Stalls that two threads saw are one.
    pub fn record(&mut self, from: Moment, to: Moment) {
        let mut from = from;
        let mut to = to;
        while let Some((begun, ended)) = self.recent.back().copied()
            && ended >= from
        {
            from = from.min(begun);
            to = to.max(ended);
            self.recent.pop_back();
        }
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back((from, to));
    }

    /// How much of the time between `from` and `to` it did not run.
    pub fn overlap(&self, from: Moment, to: Moment) -> Duration {
        self.recent
            .iter()
            .rev()
            .take_while(|(_, ended)| *ended > from)
            .map(|(begun, ended)| to.min(*ended).saturating_since(from.max(*begun)))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn a_stall_that_two_threads_saw_counts_once() {
        let mut stalls = Stalls::default();
        stalls.record(ms(100), ms(200));
        stalls.record(ms(120), ms(210));
        assert_eq!(stalls.overlap(ms(0), ms(1_000)), Duration::from_millis(110));
    }

    #[test]
    fn only_the_part_inside_counts_and_memory_is_bounded() {
        let mut stalls = Stalls::default();
        for n in 0..1_000_u64 {
            stalls.record(ms(n * 100), ms(n * 100 + 90));
        }
        assert_eq!(stalls.recent.len(), KEPT);
        assert_eq!(
            stalls.overlap(ms(99_850), ms(99_920)),
            Duration::from_millis(60)
        );
        assert_eq!(stalls.overlap(ms(0), ms(90)), Duration::ZERO, "forgotten");
    }
}
