//! STAMP session identifiers: 16 bits that name a prober in the packets that it sends.

use std::collections::BTreeSet;

use meshprobe_core::ids::Ssid;

/// Gives out the lowest free identifier, so that they stay dense: the plan spreads phases by them.
#[derive(Clone, Debug, Default)]
pub(super) struct SsidPool {
    taken: BTreeSet<u16>,
    /// Everything below is taken.
    dense_below: u16,
}

impl SsidPool {
    /// Takes a remembered identifier back into use. False: zero, or another prober's.
    pub(super) fn reserve(&mut self, ssid: u16) -> bool {
        ssid != 0 && self.taken.insert(ssid)
    }

    /// A free identifier; `None`: 65,535 probers have one.
    pub(super) fn allot(&mut self) -> Option<Ssid> {
        let mut candidate = self.dense_below.max(1);
        while self.taken.contains(&candidate) {
            candidate = candidate.checked_add(1)?;
        }
        self.taken.insert(candidate);
        self.dense_below = candidate;
        Some(Ssid(candidate))
    }

    /// Gives an identifier back.
    pub(super) fn release(&mut self, ssid: Ssid) {
        self.taken.remove(&ssid.0);
        self.dense_below = self.dense_below.min(ssid.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_dense_from_one_and_never_zero() {
        let mut pool = SsidPool::default();
        assert!(!pool.reserve(0));
        assert!(pool.reserve(2));
        assert!(!pool.reserve(2));
        let given: Vec<u16> = (0..4).filter_map(|_| pool.allot()).map(|s| s.0).collect();
        assert_eq!(given, [1, 3, 4, 5]);
        pool.release(Ssid(3));
        assert_eq!(pool.allot(), Some(Ssid(3)));
        assert_eq!(pool.allot(), Some(Ssid(6)));
    }

    #[test]
    fn the_last_identifier_is_given_and_then_no_more() {
        let mut pool = SsidPool::default();
        for ssid in 1..=u16::MAX {
            assert!(pool.reserve(ssid));
        }
        assert_eq!(pool.allot(), None);
        pool.release(Ssid(u16::MAX));
        assert_eq!(pool.allot(), Some(Ssid(u16::MAX)));
    }
}
