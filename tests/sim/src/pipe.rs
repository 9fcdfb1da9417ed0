//! One direction of a TCP connection: everything arrives, in order, or nothing after it does.
//!
//! A segment that is lost is sent again after 200 ms, then 400, 800, … (Linux's smallest retransmission timeout and
//! its backoff). Faster repair (RACK, tail loss probes) is left out on purpose: reports that are late are what makes a
//! living node look silent.

use std::collections::VecDeque;
use std::time::Duration;

/// Linux's `TCP_RTO_MIN`.
const RETRANSMIT: Duration = Duration::from_millis(200);
/// Longest wait between two attempts.
const RETRANSMIT_MAX: Duration = Duration::from_secs(10);

/// Messages under way in one direction.
#[derive(Debug)]
pub(crate) struct Pipe<M> {
    /// Number of the first message that was not read.
    first: u64,
    /// From that one on; and which of them have arrived.
    messages: VecDeque<(M, bool)>,
}

impl<M> Pipe<M> {
    /// An idle pipe.
    pub(crate) fn new() -> Self {
        Self {
            first: 0,
            messages: VecDeque::new(),
        }
    }

    /// Takes a message and gives its number; the driver attempts its transmission.
    pub(crate) fn push(&mut self, message: M) -> u64 {
        self.messages.push_back((message, false));
        self.first + self.messages.len() as u64 - 1
    }

    /// A message arrived.
    pub(crate) fn handle_arrival(&mut self, number: u64) {
        let index = number.checked_sub(self.first).map(|index| index as usize);
        if let Some((_, arrived)) = index.and_then(|index| self.messages.get_mut(index)) {
            *arrived = true;
        }
    }

    /// The next message that can be read.
    pub(crate) fn poll_message(&mut self) -> Option<M> {
        let has_arrived = self.messages.front().is_some_and(|(_, arrived)| *arrived);
        let (message, _) = has_arrived.then(|| self.messages.pop_front())??;
        self.first += 1;
        Some(message)
    }

    /// How long to wait after attempt number `attempt` (from 0) before the next one.
    pub(crate) fn patience(attempt: u8) -> Duration {
        (RETRANSMIT * (1 << u32::from(attempt.min(10)))).min(RETRANSMIT_MAX)
    }
}

impl<M> Default for Pipe<M> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overtakes_waits_for_what_was_sent_before() {
        let mut pipe = Pipe::new();
        let (a, b) = (pipe.push('a'), pipe.push('b'));
        pipe.handle_arrival(b);
        assert_eq!(pipe.poll_message(), None);
        pipe.handle_arrival(a);
        assert_eq!(pipe.poll_message(), Some('a'));
        assert_eq!(pipe.poll_message(), Some('b'));
        assert_eq!(pipe.poll_message(), None);
    }

    #[test]
    fn a_segment_that_arrives_twice_is_read_once() {
        let mut pipe = Pipe::new();
        let a = pipe.push('a');
        pipe.handle_arrival(a);
        pipe.handle_arrival(a);
        assert_eq!(pipe.poll_message(), Some('a'));
        assert_eq!(pipe.poll_message(), None);
    }

    #[test]
    fn retransmissions_back_off_and_never_give_up() {
        let waits: Vec<u128> = [0, 1, 2, 5, 30]
            .map(|n| Pipe::<()>::patience(n).as_millis())
            .into();
        assert_eq!(waits, [200, 400, 800, 6_400, 10_000]);
    }
}
