//! Does this machine hear itself? One packet a second over loopback.
//!
//! What is lost or delayed between two processes of one machine was not lost in the network. While the probe to oneself goes
//! missing, losses of others are not believed; while it is slow, neither are round-trip times. A machine on which it never
//! comes back (a packet filter on the loopback interface) can be judged by other signs only, and goes on without.

use std::time::Duration;

use meshprobe_core::time::Moment;

/// Time between two of them.
const INTERVAL: Duration = Duration::from_secs(1);

/// It is missed after this time: before the loss of any other probe that was sent with it is declared.
const PATIENCE: Duration = Duration::from_millis(40);

/// Loopback that takes longer says that packets wait inside this machine.
const SLOW: Duration = Duration::from_millis(10);

/// So many in a row are no hiccup. Whatever it is, it must not make the prober blind for good.
const GIVE_UP: u32 = 10;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct SelfProbe {
    next_at: Moment,
    /// Number and time of the one that is under way.
    under_way: Option<(u32, Moment)>,
    number: u32,
    /// When the last one was sent that came back.
    heard: Option<Moment>,
    missed: u32,
    is_slow: bool,
}

impl SelfProbe {
    /// The number to send, if it is time to.
    pub fn poll(&mut self, now: Moment) -> Option<u32> {
        if now < self.next_at || self.under_way.is_some() {
            return None;
        }
        self.next_at = now + INTERVAL;
        self.number = self.number.wrapping_add(1);
        self.under_way = Some((self.number, now));
        Some(self.number)
    }

    /// The system refused to send it: no statement.
    pub fn handle_unsent(&mut self) {
        self.under_way = None;
    }

    /// It came back after `delay` by the kernel's stamp.
    pub fn handle_heard(&mut self, number: u32, delay: Duration) {
        let Some((_, sent_at)) = self.under_way.take_if(|(n, _)| *n == number) else {
            return;
        };
        self.heard = Some(sent_at);
        self.missed = 0;
        self.is_slow = delay > SLOW;
    }

    /// Is one missed now? To be asked after everything that has arrived was handled.
    pub fn poll_missed(&mut self, now: Moment) -> bool {
        let overdue = self
            .under_way
            .take_if(|(_, sent_at)| *sent_at + PATIENCE <= now);
        if overdue.is_some() {
            self.missed = self.missed.saturating_add(1);
        }
        overdue.is_some()
    }

    /// Since when losses cannot be believed, if so now.
    pub fn blind_since(&self) -> Option<Moment> {
        self.heard.filter(|_| (1..=GIVE_UP).contains(&self.missed))
    }

    /// Do packets wait inside this machine?
    pub const fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// Is one under way?
    pub const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// When there is something to do without an arrival.
    pub fn next_deadline(&self) -> Moment {
        match self.under_way {
            Some((_, sent_at)) => sent_at + PATIENCE,
            None => self.next_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    const QUICK: Duration = Duration::from_micros(50);

    #[test]
    fn a_machine_that_hears_itself_believes_what_it_sees() {
        let mut own = SelfProbe::default();
        for second in 1..20 {
            let number = own.poll(ms(second * 1_000)).unwrap();
            assert_eq!(own.poll(ms(second * 1_000 + 10)), None);
            own.handle_heard(number, QUICK);
            assert!(!own.poll_missed(ms(second * 1_000 + 100)));
            assert_eq!(own.blind_since(), None);
        }
    }

    #[test]
    fn from_the_last_time_that_it_heard_itself_a_deaf_machine_believes_no_loss() {
        let mut own = SelfProbe::default();
        let number = own.poll(ms(1_000)).unwrap();
        own.handle_heard(number, QUICK);
        let lost = own.poll(ms(2_000)).unwrap();
        assert!(!own.poll_missed(ms(2_039)));
        assert!(own.poll_missed(ms(2_040)));
        assert_eq!(own.blind_since(), Some(ms(1_000)));
        own.handle_heard(lost, QUICK);
        assert_eq!(own.blind_since(), Some(ms(1_000)), "too late");
        let number = own.poll(ms(3_000)).unwrap();
        own.handle_heard(number, QUICK);
        assert_eq!(own.blind_since(), None);
    }

    #[test]
    fn a_loopback_that_never_works_makes_nobody_blind() {
        let mut own = SelfProbe::default();
        let miss = |own: &mut SelfProbe, second: u64| {
            own.poll(ms(second * 1_000)).unwrap();
            assert!(own.poll_missed(ms(second * 1_000 + 50)));
        };
        miss(&mut own, 1);
        assert_eq!(own.blind_since(), None, "it has never worked");
        let number = own.poll(ms(2_000)).unwrap();
        own.handle_heard(number, QUICK);
        for second in 3..30 {
            miss(&mut own, second);
        }
        assert_eq!(own.blind_since(), None, "it does not work any more");
    }

    #[test]
    fn slow_is_told_from_lost_and_ends_with_the_next_quick_one() {
        let mut own = SelfProbe::default();
        let number = own.poll(ms(1_000)).unwrap();
        own.handle_heard(number, Duration::from_millis(30));
        assert!(own.is_slow() && own.blind_since().is_none());
        let number = own.poll(ms(2_000)).unwrap();
        own.handle_heard(number, QUICK);
        assert!(!own.is_slow());
    }
}
