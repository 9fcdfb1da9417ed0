//! Keys with a due time: the next one first, any of them movable or removable.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use meshprobe_core::time::Moment;

/// What is due when. Each key is there at most once.
#[derive(Clone, Debug)]
pub struct Agenda<K> {
    // Invariant: (due, key) is in `order` exactly if `due_by_key[key] == due`.
    order: BTreeSet<(Moment, K)>,
    due_by_key: HashMap<K, Moment>,
}

impl<K: Copy + Ord + Hash> Agenda<K> {
    /// Nothing is due.
    pub fn new() -> Self {
        Self {
            order: BTreeSet::new(),
            due_by_key: HashMap::new(),
        }
    }

    /// Puts `key` at `due`, wherever it was before.
    pub fn set(&mut self, key: K, due: Moment) {
        if let Some(previous) = self.due_by_key.insert(key, due) {
            self.order.remove(&(previous, key));
        }
        self.order.insert((due, key));
    }

    /// Takes `key` out; `None` if it was not there.
    pub fn remove(&mut self, key: K) -> Option<Moment> {
        let due = self.due_by_key.remove(&key)?;
        self.order.remove(&(due, key));
        Some(due)
    }

    /// Takes out the first key that is due at `now`.
    pub fn pop_due(&mut self, now: Moment) -> Option<(Moment, K)> {
        let (due, key) = *self.order.first().filter(|(due, _)| *due <= now)?;
        self.remove(key);
        Some((due, key))
    }

    /// When the first key is due.
    pub fn next_due(&self) -> Option<Moment> {
        self.order.first().map(|(due, _)| *due)
    }

    /// When `key` is due.
    pub fn due(&self, key: K) -> Option<Moment> {
        self.due_by_key.get(&key).copied()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.due_by_key.len()
    }

    /// Is nothing due, ever?
    pub fn is_empty(&self) -> bool {
        self.due_by_key.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.order.clear();
        self.due_by_key.clear();
    }
}

impl<K: Copy + Ord + Hash> Default for Agenda<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_key_is_due_once_and_at_its_new_time() {
        let mut agenda = Agenda::new();
        agenda.set('a', Moment::from_millis(10));
        agenda.set('b', Moment::from_millis(20));
        agenda.set('a', Moment::from_millis(30));
        assert_eq!(agenda.next_due(), Some(Moment::from_millis(20)));
        let now = Moment::from_millis(40);
        assert_eq!(agenda.pop_due(now).map(|(_, key)| key), Some('b'));
        assert_eq!(agenda.pop_due(now).map(|(_, key)| key), Some('a'));
        assert_eq!(agenda.pop_due(now), None);
        assert!(agenda.is_empty());
    }

    #[test]
    fn what_is_not_due_stays() {
        let mut agenda = Agenda::new();
        agenda.set(1, Moment::from_millis(10));
        assert_eq!(agenda.pop_due(Moment::from_millis(9)), None);
        assert_eq!(agenda.remove(1), Some(Moment::from_millis(10)));
        assert_eq!(agenda.remove(1), None);
    }
}
