//! The probes of one path that are under way, or were until a moment ago.
//!
//! Exactly one outcome for each probe: it is pending until it is answered or lost, and once. What arrives after that
//! is told apart (late, duplicate, out of order), so that nothing is counted twice. Bounded in number and in time.

use std::collections::VecDeque;
use std::time::Duration;

use meshprobe_core::stamp::{Sequence, Timestamp};
use meshprobe_core::time::Moment;

use crate::udp::flow::Flow;

/// Most probes of one path that are remembered: 20 a second for longer than any answer is waited for.
const CAPACITY: usize = 64;

/// How long a late or doubled answer can still be told apart.
const MEMORY: Duration = Duration::from_secs(3);

/// A probe that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Its number in the session.
    pub sequence: Sequence,
    /// T1 as it travels: an answer returns it, and somebody off the path cannot guess it.
    pub stamp: Timestamp,
    /// T1, nanoseconds since the Unix epoch.
    pub sent_unix_nanos: i64,
    /// The same on the monotonic clock.
    pub sent_at: Moment,
    /// When to stop waiting.
    pub deadline: Moment,
    /// Epoch of the wall clock (see [`crate::clock::ClockSteps`]).
    pub epoch: u32,
    /// The send call took so long that T1 is not when the packet left.
    pub preempted: bool,
    /// Which of the family's ports it left from.
    pub flow: Flow,
    /// That port.
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Answered,
    Lost,
    /// Lost, and answered after all.
    Late,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The first one for a pending probe.
    Expected(Flight),
    /// For a probe that was given up.
    Late(Flight),
    /// Another one for a probe that was answered.
    Duplicate,
    /// For no probe that is remembered, or with a T1 that was not sent.
    Unknown,
}

/// The probes of one path.
#[derive(Clone, Debug, Default)]
pub struct Flights {
    // In the order of sending.
    flights: VecDeque<(Flight, State)>,
    newest_answered: Option<Sequence>,
}

impl Flights {
    /// A probe was sent. Returns a pending one that had to be forgotten to make room.
    pub fn insert(&mut self, flight: Flight) -> Option<Flight> {
        while let Some((oldest, state)) = self.flights.front() {
            let forgotten = oldest.sent_at + MEMORY <= flight.sent_at;
            if !forgotten || *state == State::Pending {
                break;
            }
            self.flights.pop_front();
        }
        let mut evicted = None;
        if self.flights.len() >= CAPACITY {
            evicted = self
                .flights
                .pop_front()
                .filter(|(_, state)| *state == State::Pending)
                .map(|(flight, _)| flight);
        }
        self.flights.push_back((flight, State::Pending));
        evicted
    }

    /// An answer arrived.
    pub fn handle_answer(&mut self, sequence: Sequence, stamp: Timestamp) -> Answer {
        let found = self.find(sequence);
        let Some((flight, state)) = found.filter(|(flight, _)| flight.stamp == stamp) else {
            return Answer::Unknown;
        };
        let (answer, next) = match state {
            State::Pending => (Answer::Expected(*flight), State::Answered),
            State::Lost => (Answer::Late(*flight), State::Late),
            State::Answered | State::Late => (Answer::Duplicate, *state),
        };
        *state = next;
        answer
    }

    /// Does this answer overtake a newer probe's? Remembers the newest.
    pub fn is_reordered(&mut self, sequence: Sequence) -> bool {
        match self.newest_answered {
            Some(newest) if sequence.distance_from(newest) < 0 => true,
            _ => {
                self.newest_answered = Some(sequence);
                false
            }
        }
    }

    /// Ends a pending probe without an answer; `None` if it is not pending any more.
    pub fn give_up(&mut self, sequence: Sequence) -> Option<Flight> {
        let (flight, state) = self.find_pending(sequence)?;
        *state = State::Lost;
        Some(*flight)
    }

    /// Ends the newest pending probe: for an error that does not say which probe it belongs to.
    pub fn give_up_newest(&mut self) -> Option<Flight> {
        let (flight, state) = self
            .flights
            .iter_mut()
            .rev()
            .find(|(_, state)| *state == State::Pending)?;
        *state = State::Lost;
        Some(*flight)
    }

    /// Gives a pending probe more time; `false` if it is not pending any more.
    pub fn extend(&mut self, sequence: Sequence, deadline: Moment) -> bool {
        match self.find_pending(sequence) {
            Some((flight, _)) => {
                flight.deadline = deadline;
                true
            }
            None => false,
        }
    }

    /// A pending probe.
    pub fn pending(&mut self, sequence: Sequence) -> Option<Flight> {
        self.find_pending(sequence).map(|(flight, _)| *flight)
    }

    /// The pending probes.
    pub fn pending_flights(&self) -> impl Iterator<Item = &Flight> + '_ {
        self.flights
            .iter()
            .filter(|(_, state)| *state == State::Pending)
            .map(|(flight, _)| flight)
    }

    /// How many probes are pending.
    pub fn pending_count(&self) -> usize {
        self.pending_flights().count()
    }

    fn find_pending(&mut self, sequence: Sequence) -> Option<&mut (Flight, State)> {
        self.find(sequence)
            .filter(|(_, state)| *state == State::Pending)
    }

    /// Numbers ascend, and only those of probes that could not be sent are missing: the place is at most the distance
    /// from the first one.
    fn find(&mut self, sequence: Sequence) -> Option<&mut (Flight, State)> {
        let first = self.flights.front()?.0.sequence;
        let distance = usize::try_from(sequence.distance_from(first)).ok()?;
        let last = distance.min(self.flights.len() - 1);
        let place = (0..=last)
            .rev()
            .take_while(|place| self.flights[*place].0.sequence.distance_from(sequence) >= 0)
            .find(|place| self.flights[*place].0.sequence == sequence)?;
        self.flights.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flight(number: u32, millis: u64) -> Flight {
        let sent_at = Moment::from_millis(millis);
        Flight {
            sequence: Sequence(number),
            stamp: Timestamp(u64::from(number) << 8 | 7),
            sent_unix_nanos: 0,
            sent_at,
            deadline: sent_at + Duration::from_millis(50),
            epoch: 0,
            preempted: false,
            flow: Flow::default(),
            port: 0,
        }
    }

    #[test]
    fn a_probe_is_answered_once_then_doubled() {
        let mut flights = Flights::default();
        let probe = flight(1, 0);
        flights.insert(probe);
        assert_eq!(
            flights.handle_answer(probe.sequence, probe.stamp),
            Answer::Expected(probe)
        );
        assert_eq!(
            flights.handle_answer(probe.sequence, probe.stamp),
            Answer::Duplicate
        );
        assert_eq!(
            flights.give_up(probe.sequence),
            None,
            "an answered probe cannot time out"
        );
    }

    #[test]
    fn an_answer_after_the_timeout_is_late_once() {
        let mut flights = Flights::default();
        let probe = flight(1, 0);
        flights.insert(probe);
        assert_eq!(flights.give_up(probe.sequence), Some(probe));
        assert_eq!(flights.give_up(probe.sequence), None);
        assert_eq!(
            flights.handle_answer(probe.sequence, probe.stamp),
            Answer::Late(probe)
        );
        assert_eq!(
            flights.handle_answer(probe.sequence, probe.stamp),
            Answer::Duplicate
        );
    }

    #[test]
    fn an_answer_with_a_guessed_stamp_is_unknown() {
        let mut flights = Flights::default();
        let probe = flight(1, 0);
        flights.insert(probe);
        assert_eq!(
            flights.handle_answer(probe.sequence, Timestamp(1)),
            Answer::Unknown
        );
        assert_eq!(flights.pending_count(), 1);
    }

    #[test]
    fn an_answer_that_was_overtaken_is_reordered() {
        let mut flights = Flights::default();
        assert!(!flights.is_reordered(Sequence(u32::MAX)));
        assert!(!flights.is_reordered(Sequence(1)), "across the wrap");
        assert!(flights.is_reordered(Sequence(0)));
    }

    proptest! {
        #[test]
        fn every_probe_has_exactly_one_outcome(events in prop::collection::vec((0_u32..40, 0_u8..3), 1..400)) {
            let mut flights = Flights::default();
            let mut sent = std::collections::HashMap::new();
            let mut outcomes = std::collections::HashMap::<u32, u32>::new();
            for (i, (number, event)) in events.into_iter().enumerate() {
                match event {
                    0 => {
                        if let std::collections::hash_map::Entry::Vacant(entry) = sent.entry(number) {
                            let probe = *entry.insert(flight(number, i as u64));
                            if let Some(evicted) = flights.insert(probe) {
                                *outcomes.entry(evicted.sequence.0).or_default() += 1;
                            }
                        }
                    }
                    1 => {
                        if let Some(probe) = sent.get(&number)
                            && let Answer::Expected(_) = flights.handle_answer(probe.sequence, probe.stamp)
                        {
                            *outcomes.entry(number).or_default() += 1;
                        }
                    }
                    _ => {
                        if flights.give_up(Sequence(number)).is_some() {
                            *outcomes.entry(number).or_default() += 1;
                        }
                    }
                }
            }
            prop_assert!(outcomes.values().all(|count| *count == 1));
            prop_assert_eq!(outcomes.len() + flights.pending_count(), sent.len());
        }
    }
}
