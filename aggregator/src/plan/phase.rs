//! Where in the interval each observer probes each target.
//!
//! Two spreads at once: the observers of one target must be even over the interval, so that some observer notices its
//! death after interval ÷ N; and the targets of one observer must be even too, so that it sends no bursts. And a node that
//! joins must not move anybody else, or every join would disturb the whole mesh.
//!
//! Both follow from adding two low-discrepancy sequences: multiples of the golden ratio by the observer, bit reversal (van
//! der Corput) by the target. With one of the two fixed, the other runs through a sequence whose largest gap stays
//! below 2 ÷ N for every N up to 5,000 (the tests try each), and no element depends on N.

use meshprobe_core::ids::Ssid;

/// 2^32 ÷ golden ratio, odd. Multiples of 2^16 ÷ golden ratio would clump: with 689 of them one gap is 2.702 ÷ N.
const GOLDEN: u32 = 2_654_435_769;

/// The phase in 1/65536 of the interval. Session identifiers are dense from 1, which is what the spreads rest on.
pub fn phase(observer: Ssid, target: Ssid) -> u16 {
    let (observer, target) = (observer.0.wrapping_sub(1), target.0.wrapping_sub(1));
    let spread = (u32::from(observer).wrapping_mul(GOLDEN) >> 16) as u16;
    spread.wrapping_add(target.reverse_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twice what a full mesh has: two planes of it.
    const MOST: u16 = 1_024;

    /// The largest distance between neighbours on the circle, in 1/65536.
    fn largest_gap(sorted: &[u16]) -> u32 {
        let wrapped = 65_536 - u32::from(sorted[sorted.len() - 1]) + u32::from(sorted[0]);
        let inner = sorted.windows(2).map(|pair| u32::from(pair[1] - pair[0]));
        inner.chain([wrapped]).max().unwrap_or(wrapped)
    }

    /// Adds one phase after the other; no gap may ever be as large as two equal shares.
    fn assert_spread(phases: impl Iterator<Item = u16>) {
        let mut sorted = Vec::new();
        for phase in phases {
            let place = sorted.partition_point(|other| *other < phase);
            sorted.insert(place, phase);
            let (n, gap) = (sorted.len() as u32, largest_gap(&sorted));
            assert!(
                n == 1 || gap * n < 2 * 65_536,
                "{n} phases leave a gap of {gap}"
            );
        }
    }

    #[test]
    fn the_observers_of_a_target_are_spread_over_the_interval_however_many_there_are() {
        for target in [1, 2, 3, 500, MOST, u16::MAX] {
            assert_spread((1..=MOST).map(|observer| phase(Ssid(observer), Ssid(target))));
        }
        // Another target turns the circle and changes no distance, so one is enough for the largest mesh.
        assert_spread((1..=5_000).map(|observer| phase(Ssid(observer), Ssid(1))));
    }

    #[test]
    fn the_targets_of_an_observer_are_spread_over_the_interval_however_many_there_are() {
        for observer in [1, 2, 3, 500, MOST, u16::MAX] {
            assert_spread((1..=MOST).map(|target| phase(Ssid(observer), Ssid(target))));
        }
        assert_spread((1..=5_000).map(|target| phase(Ssid(1), Ssid(target))));
    }
}
