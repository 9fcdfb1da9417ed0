//! How long a packet is on its way inside this host before it passes the interface.
//!
//! T1 and T3 are read right before the send call, and the send path takes its time after that: some twenty microseconds on
//! each side, which are no part of the network. The kernel can stamp a packet where it passes the interface, but such a
//! stamp is one more receive call for each packet, a quarter of what a probe costs. So a few packets are stamped, and what
//! they took is the forecast for all: T1 and T3 are when the packet is going to leave.

/// Stamps that the forecast rests on: the median of so many is not moved by a preempted one.
const SAMPLES: usize = 31;
/// Fewer are no forecast: the first packets of a process find cold caches.
const LEAST: usize = 5;
/// One packet in so many is stamped once there is a forecast.
const RARE: u32 = 32;
/// A packet that took longer was preempted, or waited in a queue, which is the network's time.
const LONGEST_NANOS: i64 = 200_000;

/// See the module.
#[derive(Clone, Debug)]
pub struct SendDelay {
    /// The newest delays in a ring, nanoseconds.
    samples: [u32; SAMPLES],
    recorded: usize,
    until_next: u32,
    /// T1 or T3 of the packet whose stamp has not come yet.
    awaited: Option<i64>,
    median: i64,
}

impl Default for SendDelay {
    fn default() -> Self {
        Self {
            samples: [0; SAMPLES],
            recorded: 0,
            until_next: 0,
            awaited: None,
            median: 0,
        }
    }
}

impl SendDelay {
    /// The forecast, nanoseconds; zero while there is none.
    pub const fn nanos(&self) -> i64 {
        self.median
    }

    /// A packet is about to be sent: is it one to stamp?
    pub const fn wants_stamp(&mut self) -> bool {
        if self.until_next > 0 {
            self.until_next -= 1;
            return false;
        }
        self.until_next = if self.recorded < SAMPLES { 0 } else { RARE - 1 };
        true
    }

    /// A packet to stamp was given to the kernel at `unix_nanos`.
    pub const fn handle_sent(&mut self, unix_nanos: i64) {
        self.awaited = Some(unix_nanos);
    }

    /// Does a stamp have to come yet?
    pub const fn is_awaiting(&self) -> bool {
        self.awaited.is_some()
    }

    /// Its stamp came: it passed the interface at `unix_nanos`.
    pub fn handle_departed(&mut self, unix_nanos: i64) {
        let Some(sent) = self.awaited.take() else {
            return;
        };
        let delay = unix_nanos - sent;
        if !(0..=LONGEST_NANOS).contains(&delay) {
            return;
        }
        self.samples[self.recorded % SAMPLES] = delay as u32;
        // Beyond the first ring only the place in it matters.
        self.recorded = match self.recorded + 1 {
            all if all >= 2 * SAMPLES => SAMPLES,
            more => more,
        };
        let known = self.recorded.min(SAMPLES);
        if known >= LEAST {
            let mut sorted = self.samples;
            let sorted = &mut sorted[..known];
            let (_, median, _) = sorted.select_nth_unstable(known / 2);
            self.median = i64::from(*median);
        }
    }

    /// No stamp came: the device does not make any.
    pub const fn handle_missing(&mut self) {
        self.awaited = None;
        // A device that cannot is asked rarely, and not before every packet.
        self.until_next = RARE - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_and_departed(delay: &mut SendDelay, nanos: i64) {
        delay.handle_sent(1_000);
        delay.handle_departed(1_000 + nanos);
    }

    #[test]
    fn the_forecast_is_the_median_of_what_packets_took() {
        let mut delay = SendDelay::default();
        for nanos in [60_000, 15_000, 14_000, 16_000] {
            sent_and_departed(&mut delay, nanos);
            assert_eq!(delay.nanos(), 0, "too few");
        }
        sent_and_departed(&mut delay, 17_000);
        assert_eq!(delay.nanos(), 16_000);
        for _ in 0..100 {
            sent_and_departed(&mut delay, 9_000);
        }
        assert_eq!(delay.nanos(), 9_000, "it follows");
    }

    #[test]
    fn preempted_packets_and_stamps_that_nobody_waits_for_do_not_count() {
        let mut delay = SendDelay::default();
        for _ in 0..10 {
            sent_and_departed(&mut delay, 10_000);
        }
        for nanos in [-1, 200_001, i64::MAX / 2] {
            sent_and_departed(&mut delay, nanos);
        }
        delay.handle_departed(150_000);
        assert_eq!(delay.nanos(), 10_000);
    }

    #[test]
    fn one_packet_in_thirty_two_is_stamped_once_there_is_a_forecast() {
        let mut delay = SendDelay::default();
        let mut stamped = 0;
        for _ in 0..SAMPLES + 320 {
            if delay.wants_stamp() {
                stamped += 1;
                sent_and_departed(&mut delay, 10_000);
            }
        }
        assert_eq!(stamped, SAMPLES + 10);
    }

    #[test]
    fn a_device_without_stamps_is_asked_rarely() {
        let mut delay = SendDelay::default();
        let asked = (0..320).filter(|_| {
            let wanted = delay.wants_stamp();
            if wanted {
                delay.handle_sent(0);
                delay.handle_missing();
            }
            wanted
        });
        assert_eq!(asked.count(), 10);
        assert_eq!(delay.nanos(), 0);
    }
}
