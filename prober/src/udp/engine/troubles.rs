//! What the engine noticed of its own machine since the book was told last.

use std::time::Duration;

use meshprobe_core::time::Moment;

use crate::health::{LocalHealth, STALL};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Troubles {
    /// Largest lateness of a wake-up or a send.
    pub(super) max_lateness: Duration,
    /// Packets that own sockets had no room for.
    pub(super) dropped: u32,
    /// Probes to oneself that were lost.
    pub(super) loopback_lost: u32,
    /// Probes that the kernel had no room for.
    pub(super) refused_sends: u32,
}

impl Troubles {
    /// Is there anything that the book has to know even if nothing else happened?
    pub(super) fn matter(&self) -> bool {
        self.max_lateness > STALL
            || self.dropped > 0
            || self.loopback_lost > 0
            || self.refused_sends > 0
    }

    /// Tells them, and begins anew.
    pub(super) fn tell(&mut self, health: &mut LocalHealth, now: Moment) {
        let told = std::mem::take(self);
        health.handle_lateness(told.max_lateness, now);
        if told.dropped > 0 {
            health.handle_dropped(told.dropped, now);
        }
        for _ in 0..told.loopback_lost {
            health.handle_loopback_lost(now);
        }
        for _ in 0..told.refused_sends {
            health.handle_send_buffer_full(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noticed_is_told_once() {
        let mut troubles = Troubles {
            dropped: 3,
            loopback_lost: 1,
            refused_sends: 2,
            ..Troubles::default()
        };
        assert!(troubles.matter());
        let (mut health, now) = (LocalHealth::default(), Moment::from_millis(5_000));
        troubles.tell(&mut health, now);
        assert!(!troubles.matter());
        let report = health.take(now);
        assert_eq!(
            (
                report.socket_overflows,
                report.loopback_lost,
                report.send_buffer_full
            ),
            (3, 1, 2)
        );
    }
}
