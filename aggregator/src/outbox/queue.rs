//! What waits for one receiver. Pure: `now` is an argument.
//!
//! Messages about one incident form a lane; only the first of a lane is ever sent, so a resolve cannot overtake its
//! open. Lanes do not wait for each other, with one exception: what is said about an incident after a digest that has it
//! waits for the digest.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use meshprobe_core::finding::Pattern;

use crate::{
    incident::IncidentId,
    receiver::{Message, News},
    store::Notification,
};

/// Attempts of a class to one receiver at the same time: a mass failure is told in seconds and still does not look like an
/// attack.
const MAX_IN_FLIGHT: usize = 8;
/// Beyond this many waiting messages a receiver has been gone for days; newer ones are given up at once.
const MAX_WAITING: usize = 10_000;

/// What limits hold for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Class {
    /// A node or a zone went dark, or is back: never held up by anything else.
    Urgent,
    /// Asked for by a person, or what a limit has let through already.
    Exempt,
    /// Everything else.
    Ordinary,
}

impl Class {
    /// Every class, the urgent one first.
    pub(super) const ALL: [Self; 3] = [Self::Urgent, Self::Exempt, Self::Ordinary];

    fn of(message: &Message) -> Self {
        match message.incident().map(|incident| incident.pattern) {
            Some(Pattern::NodeDark | Pattern::ZoneDark) => Self::Urgent,
            Some(_) => Self::Ordinary,
            None => Self::Exempt,
        }
    }
}

/// Whose lane it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LaneKey {
    Incident(IncidentId),
    /// A message about no single incident, by its own key.
    Alone(String),
}

impl LaneKey {
    fn of(notification: &Notification) -> Self {
        match notification.message.incident() {
            Some(incident) => Self::Incident(incident.id.clone()),
            None => Self::Alone(notification.id.clone()),
        }
    }
}

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

#[derive(Debug)]
struct Lane {
    class: Class,
    waiting: VecDeque<Waiting>,
    in_flight: bool,
}

impl Lane {
    fn is_due(&self, now: Instant) -> bool {
        !self.in_flight && self.waiting.front().is_some_and(|first| first.due <= now)
    }
}

/// The messages of one receiver.
#[derive(Debug, Default)]
pub(super) struct Queue {
    // Invariant: no lane is empty unless its message is in flight.
    lanes: BTreeMap<LaneKey, Lane>,
    /// Incidents with a digest on its way, and how many.
    digested: BTreeMap<IncidentId, u32>,
    waiting: usize,
    in_flight: BTreeMap<Class, usize>,
}

/// The queue took no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Queue {
    /// Messages that are not finished, the ones in flight included.
    pub(super) fn len(&self) -> usize {
        self.waiting + self.in_flight.values().sum::<usize>()
    }

    /// Adds a message behind those of the same incident.
    pub(super) fn push(&mut self, notification: Notification, due: Instant) -> Result<(), Full> {
        let class = Class::of(&notification.message);
        let most = match class {
            Class::Urgent | Class::Exempt => 2 * MAX_WAITING,
            Class::Ordinary => MAX_WAITING,
        };
        if self.waiting >= most {
            return Err(Full);
        }
        if let Message::Digest(digest) = &notification.message {
            for id in &digest.incidents {
                *self.digested.entry(id.clone()).or_default() += 1;
            }
        }
        let lane = self
            .lanes
            .entry(LaneKey::of(&notification))
            .or_insert_with(|| Lane {
                class,
                waiting: VecDeque::new(),
                in_flight: false,
            });
        lane.waiting.push_back(Waiting {
            notification,
            due,
            refusals: 0,
            hopeful: true,
        });
        self.waiting += 1;
        Ok(())
    }

    /// Lanes that could send.
    fn free(&self, class: Class) -> impl Iterator<Item = (&LaneKey, &Lane)> {
        self.lanes.iter().filter(move |(key, lane)| {
            let waits_for_digest = match key {
                LaneKey::Incident(id) => self.digested.contains_key(id),
                LaneKey::Alone(_) => false,
            };
            lane.class == class && !lane.in_flight && !waits_for_digest
        })
    }

    /// How many messages of a class could leave now, one of each incident.
    pub(super) fn due_count(&self, class: Class, now: Instant) -> usize {
        if self.is_busy(class) {
            return 0;
        }
        self.free(class)
            .filter(|(_, lane)| lane.is_due(now))
            .count()
    }

    fn is_busy(&self, class: Class) -> bool {
        self.in_flight.get(&class).copied().unwrap_or(0) >= MAX_IN_FLIGHT
    }

    /// Takes a message whose time has come. It is in flight until [`Self::finished`] or [`Self::again`].
    pub(super) fn take_due(&mut self, class: Class, now: Instant) -> Option<Waiting> {
        if self.is_busy(class) {
            return None;
        }
        let due = self.free(class).filter(|(_, lane)| lane.is_due(now));
        let (key, _) = due.min_by_key(|(_, lane)| lane.waiting.front().map(|first| first.due))?;
        let key = key.clone();
        let lane = self.lanes.get_mut(&key)?;
        let first = lane.waiting.pop_front()?;
        lane.in_flight = true;
        self.waiting -= 1;
        *self.in_flight.entry(class).or_default() += 1;
        Some(first)
    }

    /// Takes everything that could leave now, and what waits behind it, to be put together. Oldest first.
    pub(super) fn take_all_due(&mut self, class: Class, now: Instant) -> Vec<(Notification, News)> {
        let due = self.free(class).filter(|(_, lane)| lane.is_due(now));
        let keys: Vec<LaneKey> = due.map(|(key, _)| key.clone()).collect();
        let mut taken = Vec::new();
        for key in keys {
            for Waiting { notification, .. } in self
                .lanes
                .remove(&key)
                .into_iter()
                .flat_map(|lane| lane.waiting)
            {
                self.waiting -= 1;
                if let Message::Change(news) = &notification.message {
                    let news = news.clone();
                    taken.push((notification, news));
                }
            }
        }
        taken.sort_by_key(|(notification, _)| notification.created_at_millis);
        taken
    }

    /// The message in flight is done with, one way or the other.
    pub(super) fn finished(&mut self, notification: &Notification) {
        let key = LaneKey::of(notification);
        self.landed(&key);
        if self
            .lanes
            .get(&key)
            .is_some_and(|lane| lane.waiting.is_empty())
        {
            self.lanes.remove(&key);
        }
        self.let_go(notification);
    }

    /// What waited for a digest goes on.
    fn let_go(&mut self, notification: &Notification) {
        let Message::Digest(digest) = &notification.message else {
            return;
        };
        for id in &digest.incidents {
            if let Some(count) = self.digested.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    self.digested.remove(id);
                }
            }
        }
    }

    /// The message in flight goes back to the head of its lane. Unless it is `hopeful`, it waits whatever happens to others.
    pub(super) fn again(&mut self, mut message: Waiting, due: Instant, hopeful: bool) {
        let key = LaneKey::of(&message.notification);
        self.landed(&key);
        message.due = due;
        message.hopeful = hopeful;
        let class = Class::of(&message.notification.message);
        let lane = self.lanes.entry(key).or_insert_with(|| Lane {
            class,
            waiting: VecDeque::new(),
            in_flight: false,
        });
        lane.waiting.push_front(message);
        self.waiting += 1;
    }

    fn landed(&mut self, key: &LaneKey) {
        if let Some(lane) = self.lanes.get_mut(key)
            && lane.in_flight
        {
            lane.in_flight = false;
            if let Some(count) = self.in_flight.get_mut(&lane.class) {
                *count -= 1;
            }
        }
    }

    /// A waiting message is to be tried now; `false`: it does not wait here (it may be in flight).
    pub(super) fn hurry(&mut self, id: &str, now: Instant) -> bool {
        let mut waiting = self.lanes.values_mut().flat_map(|lane| &mut lane.waiting);
        match waiting.find(|one| one.notification.id == id) {
            Some(found) => {
                found.due = found.due.min(now);
                true
            }
            None => false,
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

    /// Is there a message that only waits for the receiver to come back?
    pub(super) fn has_hopeful(&self) -> bool {
        self.firsts().any(|first| first.hopeful)
    }

    /// The message that only waits for the receiver, and would be tried first, is due now: it finds out whether the
    /// receiver is back.
    pub(super) fn try_one(&mut self, now: Instant) {
        let mut firsts: Vec<&mut Waiting> = self
            .lanes
            .values_mut()
            .filter(|lane| !lane.in_flight)
            .filter_map(|lane| lane.waiting.front_mut())
            .filter(|first| first.hopeful)
            .collect();
        firsts.sort_by_key(|first| first.due);
        if let Some(first) = firsts.first_mut() {
            first.due = first.due.min(now);
        }
    }

    fn firsts(&self) -> impl Iterator<Item = &Waiting> {
        self.lanes
            .values()
            .filter(|lane| !lane.in_flight)
            .filter_map(|lane| lane.waiting.front())
    }

    /// When [`Self::take_due`] has something of this class next; `None`: not before something lands.
    pub(super) fn next_deadline(&self, class: Class) -> Option<Instant> {
        if self.is_busy(class) {
            return None;
        }
        self.free(class)
            .filter_map(|(_, lane)| lane.waiting.front())
            .map(|first| first.due)
            .min()
    }

    /// Is there a message that was never tried, and could be now?
    pub(super) fn has_untried(&self, class: Class, now: Instant) -> bool {
        self.free(class)
            .filter_map(|(_, lane)| lane.waiting.front())
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
    use jiff::Timestamp;
    use meshprobe_core::{finding::Scope, ids::NodeName};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        incident::{Incident, IncidentChange, Transition},
        receiver::{Digest, labels},
    };

    fn message(message: Message, id: String, number: u32) -> Notification {
        Notification {
            id,
            receiver: "pager".to_owned(),
            message,
            created_at_millis: number.into(),
            queued_at_millis: number.into(),
            attempts: 0,
            next_attempt_millis: 0,
            last_answer: None,
        }
    }

    fn of(pattern: Pattern, node: u8, number: u32) -> Notification {
        let scope = Scope::node(NodeName::try_from(format!("n{node}")).unwrap());
        let incident = Incident::new(pattern, scope, Timestamp::UNIX_EPOCH);
        let news = News {
            labels: labels(&incident),
            change: IncidentChange {
                transition: Transition::Opened,
                incident,
            },
            flapping: None,
        };
        message(Message::Change(news), format!("{node}.{number}"), number)
    }

    fn about(node: u8, number: u32) -> Notification {
        of(Pattern::Path, node, number)
    }

    fn take(queue: &mut Queue, now: Instant) -> Option<Waiting> {
        queue.take_due(Class::Ordinary, now)
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
        let first = take(&mut queue, now).unwrap();
        let second = take(&mut queue, now).unwrap();
        let mut taken = [
            first.notification.id.clone(),
            second.notification.id.clone(),
        ];
        taken.sort();
        assert_eq!(taken, ["1.1", "2.1"]);
        assert!(take(&mut queue, now).is_none());
        let open = if first.notification.id == "1.1" {
            first
        } else {
            second
        };
        let later = now + Duration::from_secs(5);
        queue.again(open, later, true);
        assert!(
            take(&mut queue, now).is_none(),
            "the resolve must not overtake the open"
        );
        assert_eq!(queue.next_deadline(Class::Ordinary), Some(later));
        let open = take(&mut queue, later).unwrap();
        assert_eq!(open.notification.id, "1.1");
        queue.finished(&open.notification);
        assert_eq!(take(&mut queue, later).unwrap().notification.id, "1.2");
    }

    #[test]
    fn a_success_shortens_the_wait_of_those_that_only_wait_for_the_receiver() {
        let (mut queue, now) = (Queue::default(), start());
        let hour = now + Duration::from_secs(3600);
        for node in 0..3 {
            queue.push(about(node, 1), now).unwrap();
        }
        for hopeful in [true, false] {
            let message = take(&mut queue, now).unwrap();
            queue.again(message, hour, hopeful);
        }
        let delivered = take(&mut queue, now).unwrap();
        queue.finished(&delivered.notification);
        queue.receiver_is_back(now, Duration::from_secs(1));
        assert!(take(&mut queue, now + Duration::from_secs(1)).is_some());
        assert!(
            take(&mut queue, now + Duration::from_secs(1)).is_none(),
            "the refused one keeps its time"
        );
    }

    #[test]
    fn one_message_finds_out_whether_the_receiver_is_back() {
        let (mut queue, now) = (Queue::default(), start());
        assert!(!queue.has_hopeful());
        for (node, minutes) in [(1, 50), (2, 40), (3, 60)] {
            queue.push(about(node, 1), now).unwrap();
            let message = take(&mut queue, now).unwrap();
            queue.again(message, now + Duration::from_secs(60 * minutes), node != 2);
        }
        assert!(queue.has_hopeful());
        queue.try_one(now);
        assert_eq!(take(&mut queue, now).unwrap().notification.id, "1.1");
        assert!(take(&mut queue, now).is_none(), "only one");
    }

    #[test]
    fn a_full_queue_says_so() {
        let (mut queue, now) = (Queue::default(), start());
        for number in 0..MAX_WAITING {
            queue.push(about(1, number as u32), now).unwrap();
        }
        assert_eq!(queue.push(about(1, 0), now), Err(Full));
    }

    #[test]
    fn a_dark_node_is_held_up_neither_by_a_full_queue_nor_by_slow_attempts() {
        let (mut queue, now) = (Queue::default(), start());
        for number in 0..MAX_WAITING {
            queue
                .push(about((number % 200) as u8, number as u32), now)
                .unwrap();
        }
        while take(&mut queue, now).is_some() {}
        queue.push(about(201, 0), now).unwrap();
        queue.push(about(202, 0), now).unwrap();
        assert_eq!(
            queue.due_count(Class::Ordinary, now),
            0,
            "all slots are taken"
        );
        queue.push(of(Pattern::NodeDark, 1, 1), now).unwrap();
        assert_eq!(queue.due_count(Class::Urgent, now), 1);
        assert!(queue.take_due(Class::Urgent, now).is_some());
    }

    #[test]
    fn what_is_said_after_a_digest_waits_for_it() {
        let (mut queue, now) = (Queue::default(), start());
        for (node, number) in [(1, 1), (1, 2), (2, 3)] {
            queue.push(about(node, number), now).unwrap();
        }
        let taken = queue.take_all_due(Class::Ordinary, now);
        let ids: Vec<&str> = taken.iter().map(|(one, _)| one.id.as_str()).collect();
        assert_eq!(ids, ["1.1", "1.2", "2.3"]);
        assert_eq!(queue.len(), 0);
        let news: Vec<News> = taken.into_iter().map(|(_, news)| news).collect();
        let digest = Digest::of(&news);
        assert_eq!((digest.messages, digest.incidents.len()), (3, 2));
        queue
            .push(
                message(Message::Digest(digest), "digest".to_owned(), 4),
                now,
            )
            .unwrap();
        queue.push(about(1, 5), now).unwrap();
        queue.push(about(3, 6), now).unwrap();
        assert_eq!(take(&mut queue, now).unwrap().notification.id, "3.6");
        assert!(take(&mut queue, now).is_none());
        let digest = queue.take_due(Class::Exempt, now).unwrap();
        assert!(take(&mut queue, now).is_none(), "not before it has arrived");
        queue.finished(&digest.notification);
        assert_eq!(take(&mut queue, now).unwrap().notification.id, "1.5");
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
                while let Some(message) = take(&mut queue, now) {
                    flying.push(message);
                }
                prop_assert!(flying.len() <= MAX_IN_FLIGHT);
                for message in flying {
                    if fates.next() == Some(true) {
                        queue.finished(&message.notification);
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
