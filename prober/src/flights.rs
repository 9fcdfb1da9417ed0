//! The probes of one path that are under way, or were until a moment ago.
//!
//! Exactly one outcome for each probe: it is pending until it is answered or lost, and once. What arrives after that
//! is told apart (late, duplicate, out of order), so that nothing is counted twice. Bounded in number and in time.

use std::collections::VecDeque;
use std::time::Duration;

use meshprobe_core::stamp::{Sequence, Timestamp};
use meshprobe_core::time::Moment;
use meshprobe_core::window::LostWays;

use crate::udp::flow::Flow;
use crate::udp::lost_ways::LostWaysCount;

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
    /// With the responder's own number of the reply, if it counts.
    Answered(Option<Sequence>),
    Lost,
    /// Lost, and answered after all.
    Late,
    /// Given up for a reason that is not the network's.
    Void,
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
    remembered: VecDeque<(Flight, State)>,
    newest_answered: Option<Sequence>,
    lost_ways: LostWaysCount,
    /// Of the remembered ones, those that `lost_ways` knows: all before the first one that is pending.
    counted: usize,
}

impl Flights {
    /// A probe was sent. Returns a pending one that had to be forgotten to make room.
    pub fn insert(&mut self, flight: Flight) -> Option<Flight> {
        while let Some((oldest, state)) = self.remembered.front() {
            let forgotten = oldest.sent_at + MEMORY <= flight.sent_at;
            if !forgotten || *state == State::Pending {
                break;
            }
            self.forget_oldest();
        }
        let mut evicted = None;
        if self.remembered.len() >= CAPACITY {
            evicted = self
                .forget_oldest()
                .filter(|(_, state)| *state == State::Pending)
                .map(|(flight, _)| flight);
        }
        self.remembered.push_back((flight, State::Pending));
        evicted
    }

    fn forget_oldest(&mut self) -> Option<(Flight, State)> {
        if self.counted == 0 {
            self.lost_ways.handle_unclear();
        }
        self.counted = self.counted.saturating_sub(1);
        self.remembered.pop_front()
    }

    /// An answer arrived. `number`: the responder's own number of it; `None`: it does not count.
    pub fn handle_answer(
        &mut self,
        sequence: Sequence,
        stamp: Timestamp,
        number: Option<Sequence>,
    ) -> Answer {
        let Some(place) = self.place(sequence) else {
            return Answer::Unknown;
        };
        let is_counted = place < self.counted;
        let (flight, state) = &mut self.remembered[place];
        if flight.stamp != stamp {
            return Answer::Unknown;
        }
        let was_lost = *state == State::Lost;
        let (answer, next) = match state {
            State::Pending => (Answer::Expected(*flight), State::Answered(number)),
            State::Lost | State::Void => (Answer::Late(*flight), State::Late),
            State::Answered(_) | State::Late => (Answer::Duplicate, *state),
        };
        *state = next;
        if let Answer::Late(_) = answer
            && was_lost
            && is_counted
        {
            self.lost_ways.handle_late();
        }
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
            .remembered
            .iter_mut()
            .rev()
            .find(|(_, state)| *state == State::Pending)?;
        *state = State::Lost;
        Some(*flight)
    }

    /// Ends a pending probe of which nobody can say what became of it; `None` if it is not pending any more.
    pub fn give_up_void(&mut self, sequence: Sequence) -> Option<Flight> {
        let (flight, state) = self.find_pending(sequence)?;
        *state = State::Void;
        Some(*flight)
    }

    /// Which way probes were lost of which it has become known since the last call.
    pub fn take_lost_ways(&mut self) -> LostWays {
        let mut ways = LostWays::default();
        while let Some((_, state)) = self.remembered.get(self.counted) {
            match *state {
                State::Pending => break,
                State::Answered(number) => ways = ways.plus(self.lost_ways.handle_answered(number)),
                State::Lost => self.lost_ways.handle_lost(),
                State::Late | State::Void => self.lost_ways.handle_unclear(),
            }
            self.counted += 1;
        }
        ways
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
        self.remembered
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

    fn find(&mut self, sequence: Sequence) -> Option<&mut (Flight, State)> {
        let place = self.place(sequence)?;
        self.remembered.get_mut(place)
    }

    /// Numbers ascend, and only those of probes that could not be sent are missing: the place is at most the distance
    /// from the first one.
    fn place(&self, sequence: Sequence) -> Option<usize> {
        let first = self.remembered.front()?.0.sequence;
        let distance = usize::try_from(sequence.distance_from(first)).ok()?;
        let last = distance.min(self.remembered.len() - 1);
        (0..=last)
            .rev()
            .take_while(|place| self.remembered[*place].0.sequence.distance_from(sequence) >= 0)
            .find(|place| self.remembered[*place].0.sequence == sequence)
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
            flights.handle_answer(probe.sequence, probe.stamp, None),
            Answer::Expected(probe)
        );
        assert_eq!(
            flights.handle_answer(probe.sequence, probe.stamp, None),
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
            flights.handle_answer(probe.sequence, probe.stamp, None),
            Answer::Late(probe)
        );
        assert_eq!(
            flights.handle_answer(probe.sequence, probe.stamp, None),
            Answer::Duplicate
        );
    }

    #[test]
    fn an_answer_with_a_guessed_stamp_is_unknown() {
        let mut flights = Flights::default();
        let probe = flight(1, 0);
        flights.insert(probe);
        assert_eq!(
            flights.handle_answer(probe.sequence, Timestamp(1), None),
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
                            && let Answer::Expected(_) = flights.handle_answer(probe.sequence, probe.stamp, None)
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
