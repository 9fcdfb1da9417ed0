//! Where in the interval each observer probes each target.
//!
//! Two spreads at once: the observers of one target must be even over the interval, so that some observer notices its
//! death after interval ÷ N; and the targets of one observer must be even too, so that it sends no bursts. And a node that
//! joins must not move anybody else, or every join would disturb the whole mesh.
//!
//! Both follow from adding two low-discrepancy sequences: multiples of the golden ratio by the observer, bit reversal (van
//! der Corput) by the target. With one of the two fixed, the other runs through a sequence whose largest gap stays
//! below 2.7 ÷ N for every N, and no element depends on N.

use meshprobe_core::ids::Ssid;

/// 2^32 ÷ golden ratio, odd. With 16 bits the multiples would clump from some hundred observers on.
const GOLDEN: u32 = 2_654_435_769;

/// The phase in 1/65536 of the interval. Session identifiers are dense from 1, which is what the spreads rest on.
pub fn phase(observer: Ssid, target: Ssid) -> u16 {
    let (observer, target) = (observer.0.wrapping_sub(1), target.0.wrapping_sub(1));
    let spread = (u32::from(observer).wrapping_mul(GOLDEN) >> 16) as u16;
    spread.wrapping_add(target.reverse_bits())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The largest distance between neighbours on the circle, as a multiple of 1/N.
    fn largest_gap(mut phases: Vec<u16>) -> f64 {
        let n = phases.len() as f64;
        phases.sort_unstable();
        let wrapped = 65_536 - u32::from(phases[phases.len() - 1]) + u32::from(phases[0]);
        let inner = phases.windows(2).map(|pair| u32::from(pair[1] - pair[0]));
        let largest = inner.chain([wrapped]).max().unwrap_or(wrapped);
        f64::from(largest) / 65_536.0 * n
    }

    proptest! {
        #[test]
        fn the_observers_of_a_target_are_spread_over_the_interval(n in 2_u16..2_000, target in 1_u16..2_000) {
            let phases = (1..=n).map(|o| phase(Ssid(o), Ssid(target))).collect();
            prop_assert!(largest_gap(phases) < 2.7);
        }

        #[test]
        fn the_targets_of_an_observer_are_spread_over_the_interval(n in 2_u16..2_000, observer in 1_u16..2_000) {
            let phases = (1..=n).map(|t| phase(Ssid(observer), Ssid(t))).collect();
            prop_assert!(largest_gap(phases) < 2.7);
        }
    }
}
