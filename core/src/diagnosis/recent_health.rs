//! What a prober said of itself lately.
//!
//! Its reports are about a second when there is news and about ten when there is none, and what it looks at once in a second
//! or so is in one of them and not in the next. So what it counted is added up over ten to twenty seconds.

use std::time::Duration;

use super::SelfHealth;
use crate::time::Moment;

/// Less than the ten seconds of a report, each of which then has its own.
const SLOT: Duration = Duration::from_secs(9);

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecentHealth {
    began: Moment,
    slots: [SelfHealth; 2],
}

impl RecentHealth {
    /// A report says this.
    pub fn add(&mut self, said: SelfHealth, now: Moment) {
        let age = now.saturating_since(self.began);
        if age >= SLOT {
            let before = if age < SLOT * 2 {
                self.slots[0]
            } else {
                SelfHealth::default()
            };
            self.slots = [SelfHealth::default(), before];
            self.began = now;
        }
        self.slots[0] = sum(self.slots[0], said);
    }

    /// The counts of all that time, and the newest multiplier.
    pub fn get(&self) -> SelfHealth {
        SelfHealth {
            local_health: self.slots[0].local_health,
            throttled_always: self.slots[0].throttled.min(self.slots[1].throttled),
            ..sum(self.slots[1], self.slots[0])
        }
    }
}

fn sum(one: SelfHealth, later: SelfHealth) -> SelfHealth {
    let SelfHealth {
        local_health,
        worst_local_health,
        invalid_probes,
        throttled,
        throttled_always: _,
        longest_stall,
        socket_overflows,
        send_buffer_full,
        loopback_lost,
    } = later;
    SelfHealth {
        local_health,
        worst_local_health: local_health
            .max(worst_local_health)
            .max(one.worst_local_health),
        invalid_probes: one.invalid_probes.saturating_add(invalid_probes),
        throttled: one.throttled.saturating_add(throttled),
        throttled_always: Duration::ZERO,
        longest_stall: one.longest_stall.max(longest_stall),
        socket_overflows: one.socket_overflows.saturating_add(socket_overflows),
        send_buffer_full: one.send_buffer_full.saturating_add(send_buffer_full),
        loopback_lost: one.loopback_lost.saturating_add(loopback_lost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_reports_add_up_and_are_forgotten() {
        let mut recent = RecentHealth::default();
        let said = |local_health, invalid_probes| SelfHealth {
            local_health,
            invalid_probes,
            throttled: Duration::from_millis(300),
            ..SelfHealth::default()
        };
        for second in 100..109 {
            recent.add(said(7, 2), Moment::from_millis(second * 1_000));
        }
        let got = recent.get();
        assert_eq!((got.local_health, got.invalid_probes), (7, 18));
        assert_eq!(got.throttled, Duration::from_millis(2_700));
        assert_eq!(got.throttled_always, Duration::ZERO, "one span only");
        recent.add(said(7, 0), Moment::from_millis(111_000));
        assert_eq!(recent.get().throttled_always, Duration::from_millis(300));
        recent.add(SelfHealth::default(), Moment::from_millis(112_000));
        let got = recent.get();
        assert_eq!((got.local_health, got.worst_local_health), (0, 7));
        assert_eq!(got.invalid_probes, 18);
        recent.add(SelfHealth::default(), Moment::from_millis(140_000));
        assert_eq!(recent.get(), SelfHealth::default());
    }
}
