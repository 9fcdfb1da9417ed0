//! What the disk did not take yet, in order, within a bound.

use std::collections::{BTreeMap, HashMap};

use super::operation::{Key, Operation};

/// Operations that wait for the disk. Later words on the same thing replace earlier ones.
#[derive(Debug)]
pub(super) struct Backlog {
    most: usize,
    next: u64,
    waiting: BTreeMap<u64, Operation>,
    // Invariant: every number in here is in `waiting`, and that operation has this key.
    latest: HashMap<Key, u64>,
    dropped: u64,
}

impl Backlog {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            next: 0,
            waiting: BTreeMap::new(),
            latest: HashMap::new(),
            dropped: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Operations that were given up because there was no room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Counts operations that will never be written.
    pub(super) fn give_up(&mut self, count: u64) {
        self.dropped += count;
    }

    /// Adds an operation; without room the oldest is given up.
    pub(super) fn push(&mut self, operation: Operation) {
        let number = self.next;
        self.next += 1;
        if let Some(key) = operation.key()
            && let Some(replaced) = self.latest.insert(key, number)
        {
            self.waiting.remove(&replaced);
        }
        self.waiting.insert(number, operation);
        while self.waiting.len() > self.most {
            let Some((number, oldest)) = self.waiting.pop_first() else {
                return;
            };
            if let Some(key) = oldest.key()
                && self.latest.get(&key) == Some(&number)
            {
                self.latest.remove(&key);
            }
            self.dropped += 1;
        }
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Operation> {
        self.waiting.values()
    }

    /// They are on disk now.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.latest.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use meshprobe_core::{ids::NodeName, lifecycle::Lifecycle};

    use super::*;
    use crate::membership::{NodeEvents, NodeRecord, StoreChange};

    fn node(name: &str, zone: &str) -> Operation {
        Operation::Mesh(StoreChange::Node(NodeRecord {
            drain: None,
            events: NodeEvents::default(),
            name: NodeName::try_from(name).unwrap(),
            zone: zone.to_owned(),
            region: String::new(),
            labels: BTreeMap::new(),
            lifecycle: Lifecycle::Active,
            lifecycle_until: None,
            probers: Vec::new(),
        }))
    }

    fn bodies(backlog: &Backlog) -> Vec<String> {
        backlog
            .iter()
            .map(|operation| match operation {
                Operation::Mesh(StoreChange::Node(record)) => {
                    format!("{}={}", record.name, record.zone)
                }
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_last_word_on_a_node_replaces_the_earlier_ones() {
        let mut backlog = Backlog::new(10);
        for (name, body) in [("a", "1"), ("b", "1"), ("a", "2"), ("a", "3")] {
            backlog.push(node(name, body));
        }
        assert_eq!(bodies(&backlog), ["b=1", "a=3"]);
        assert_eq!(backlog.dropped(), 0);
    }

    #[test]
    fn beyond_its_bound_the_oldest_is_given_up_and_counted() {
        let mut backlog = Backlog::new(2);
        for name in ["a", "b", "c"] {
            backlog.push(node(name, "1"));
        }
        assert_eq!(bodies(&backlog), ["b=1", "c=1"]);
        assert_eq!(backlog.dropped(), 1);
        // A name that was given up counts as new again.
        backlog.push(node("a", "2"));
        assert_eq!(bodies(&backlog), ["c=1", "a=2"]);
        backlog.clear();
        backlog.push(node("c", "2"));
        assert_eq!(bodies(&backlog), ["c=2"]);
    }
}
