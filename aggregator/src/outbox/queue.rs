//! What waits for one receiver. Pure: `now` is an argument.
//!
//! Messages about one incident form a lane; only the first of a lane is ever sent, so a resolve cannot overtake its
//! open. Lanes do not wait for each other.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{incident::IncidentId, store::Notification};

/// Attempts to one receiver at the same time: a mass failure is told in seconds and still does not look like an attack.
const MAX_IN_FLIGHT: usize = 8;
/// Beyond this many waiting messages a receiver has been gone for days; newer ones are given up at once.
const MAX_WAITING: usize = 10_000;

/// A message with its place in time.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) notification: Notification,
    /// Not before.
    due: Instant,
    /// How many attempts were refusals.
    pub(super) refusals: u32,
    /// A success of another message is reason to try this one at once.
    hopeful: bool,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    in_flight: bool,
}

/// The messages of one receiver.
#[derive(Debug, Default)]
pub(super) struct Queue {
    // Invariant: no lane is empty unless its message is in flight.
    lanes: BTreeMap<IncidentId, Lane>,
    waiting: usize,
    in_flight: usize,
}

/// The queue took no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Queue {
    /// Messages that are not finished, the ones in flight included.
    pub(super) fn len(&self) -> usize {
        self.waiting + self.in_flight
    }

    /// Adds a message behind those of the same incident.
    pub(super) fn push(&mut self, notification: Notification, due: Instant) -> Result<(), Full> {
        if self.waiting >= MAX_WAITING {
            return Err(Full);
        }
        let lane = self.lanes.entry(notification.incident.clone()).or_default();
        lane.waiting.push_back(Waiting {
            notification,
            due,
            refusals: 0,
            hopeful: true,
        });
        self.waiting += 1;
        Ok(())
    }

    /// Takes a message whose time has come. It is in flight until [`Self::finished`] or [`Self::again`].
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Waiting> {
        if self.in_flight >= MAX_IN_FLIGHT {
            return None;
        }
        let lane = self
            .lanes
            .values_mut()
            .filter(|lane| {
                !lane.in_flight && lane.waiting.front().is_some_and(|first| first.due <= now)
            })
            .min_by_key(|lane| lane.waiting.front().map(|first| first.due))?;
        let first = lane.waiting.pop_front()?;
        lane.in_flight = true;
        self.waiting -= 1;
        self.in_flight += 1;
        Some(first)
    }

    /// The message in flight is done with, one way or the other.
    pub(super) fn finished(&mut self, incident: &IncidentId) {
        self.landed(incident);
        if self
            .lanes
            .get(incident)
            .is_some_and(|lane| lane.waiting.is_empty())
        {
            self.lanes.remove(incident);
        }
    }

    /// The message in flight goes back to the head of its lane. Unless it is `hopeful`, it waits whatever happens to others.
    pub(super) fn again(&mut self, mut message: Waiting, due: Instant, hopeful: bool) {
        let incident = message.notification.incident.clone();
        self.landed(&incident);
        message.due = due;
        message.hopeful = hopeful;
        self.lanes
            .entry(incident)
            .or_default()
            .waiting
            .push_front(message);
        self.waiting += 1;
    }

    fn landed(&mut self, incident: &IncidentId) {
        if let Some(lane) = self.lanes.get_mut(incident)
            && lane.in_flight
        {
            lane.in_flight = false;
            self.in_flight -= 1;
        }
    }

    /// The receiver is back: what only waited for that is due within `spread`.
    pub(super) fn receiver_is_back(&mut self, now: Instant, spread: Duration) {
        let mut at = now;
        for lane in self.lanes.values_mut() {
            if let Some(first) = lane.waiting.front_mut()
                && first.hopeful
                && first.due > at
            {
                first.due = at;
                at = (at + spread / 64).min(now + spread);
            }
        }
    }

    /// When [`Self::take_due`] has something next; `None`: not before something lands.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if self.in_flight >= MAX_IN_FLIGHT {
            return None;
        }
        self.lanes
            .values()
            .filter(|lane| !lane.in_flight)
            .filter_map(|lane| lane.waiting.front())
            .map(|first| first.due)
            .min()
    }

    /// Is there a message that was never tried, and could be now?
    pub(super) fn has_untried(&self, now: Instant) -> bool {
        self.lanes
            .values()
            .filter_map(|lane| lane.waiting.front())
            .any(|first| first.notification.attempts == 0 && first.due <= now)
    }

    /// Everything that waits, for a receiver that is no longer configured.
    pub(super) fn drain(&mut self) -> Vec<Waiting> {
        let mut all = Vec::new();
        for lane in self.lanes.values_mut() {
            all.extend(lane.waiting.drain(..));
        }
        self.lanes.retain(|_, lane| lane.in_flight);
        self.waiting = 0;
        all
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::{finding::Pattern, ids::NodeName};
    use proptest::prelude::*;

    use super::*;
    use crate::incident::Transition;

    fn about(node: u8, number: u32) -> Notification {
        Notification {
            id: format!("{node}.{number}"),
            receiver: "pager".to_owned(),
            incident: IncidentId::of_nodes(
                Pattern::NodeDark,
                [&NodeName::try_from(format!("n{node}")).unwrap()],
            ),
            transition: Transition::Opened,
            body: Vec::new(),
            created_at_millis: 0,
            attempts: 0,
            next_attempt_millis: 0,
            last_error: None,
        }
    }

    fn start() -> Instant {
        meshprobe_daemon::clock::now()
    }

    #[test]
    fn a_resolve_waits_for_its_open_and_other_incidents_do_not() {
        let (mut queue, now) = (Queue::default(), start());
        for (node, number) in [(1, 1), (1, 2), (2, 1)] {
            queue.push(about(node, number), now).unwrap();
        }
        let first = queue.take_due(now).unwrap();
        let second = queue.take_due(now).unwrap();
        let mut taken = [
            first.notification.id.clone(),
            second.notification.id.clone(),
        ];
        taken.sort();
        assert_eq!(taken, ["1.1", "2.1"]);
        assert!(queue.take_due(now).is_none());
        let open = if first.notification.id == "1.1" {
            first
        } else {
            second
        };
        let later = now + Duration::from_secs(5);
        queue.again(open, later, true);
        assert!(
            queue.take_due(now).is_none(),
            "the resolve must not overtake the open"
        );
        assert_eq!(queue.next_deadline(), Some(later));
        let open = queue.take_due(later).unwrap();
        assert_eq!(open.notification.id, "1.1");
        queue.finished(&open.notification.incident);
        assert_eq!(queue.take_due(later).unwrap().notification.id, "1.2");
    }

    #[test]
    fn a_success_shortens_the_wait_of_those_that_only_wait_for_the_receiver() {
        let (mut queue, now) = (Queue::default(), start());
        let hour = now + Duration::from_secs(3600);
        for node in 0..3 {
            queue.push(about(node, 1), now).unwrap();
        }
        for hopeful in [true, false] {
            let message = queue.take_due(now).unwrap();
            queue.again(message, hour, hopeful);
        }
        let delivered = queue.take_due(now).unwrap();
        queue.finished(&delivered.notification.incident);
        queue.receiver_is_back(now, Duration::from_secs(1));
        assert!(queue.take_due(now + Duration::from_secs(1)).is_some());
        assert!(
            queue.take_due(now + Duration::from_secs(1)).is_none(),
            "the refused one keeps its time"
        );
    }

    #[test]
    fn a_full_queue_says_so() {
        let (mut queue, now) = (Queue::default(), start());
        for number in 0..MAX_WAITING {
            queue.push(about(1, number as u32), now).unwrap();
        }
        assert_eq!(queue.push(about(1, 0), now), Err(Full));
    }

    proptest! {
        /// Whatever fails and succeeds, each incident's messages are finished in the order in which they came.
        #[test]
        fn order_of_an_incident_is_kept(nodes in prop::collection::vec(0_u8..4, 1..60), fates in prop::collection::vec(any::<bool>(), 400)) {
            let (mut queue, mut now) = (Queue::default(), start());
            for (number, node) in nodes.iter().enumerate() {
                queue.push(about(*node, number as u32), now).unwrap();
            }
            let mut fates = fates.into_iter().chain(std::iter::repeat(true));
            let mut finished: Vec<String> = Vec::new();
            while queue.len() > 0 {
                let mut flying = Vec::new();
                while let Some(message) = queue.take_due(now) {
                    flying.push(message);
                }
                prop_assert!(flying.len() <= MAX_IN_FLIGHT);
                for message in flying {
                    if fates.next() == Some(true) {
                        queue.finished(&message.notification.incident);
                        finished.push(message.notification.id);
                    } else {
                        queue.again(message, now + Duration::from_secs(5), true);
                    }
                }
                now += Duration::from_secs(1);
            }
            let number = |id: &String| id.split_once('.').and_then(|(_, n)| n.parse::<u32>().ok()).unwrap();
            for node in 0..4 {
                let of_node: Vec<u32> = finished.iter().filter(|id| id.starts_with(&format!("{node}."))).map(number).collect();
                prop_assert!(of_node.is_sorted());
            }
            prop_assert_eq!(finished.len(), nodes.len());
        }
    }
}
