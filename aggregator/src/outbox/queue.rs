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
mod tests;
