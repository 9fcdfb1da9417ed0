//! What became of notifications, for the API: everything that waits, and the newest of what is done with. Memory is asked
//! and not the store, so the list is there also while the disk is full.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::RwLock;

use crate::store::{Finished, Notification, NotificationState};

/// Given up notifications that are kept: each can be tried again by hand.
const MAX_DEAD: usize = 1_000;
/// Others that are done with.
const MAX_DONE: usize = 200;

/// A notification with its fate.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its place in the list: newer ones are higher.
    pub number: u64,
    /// What is sent, to whom, how often it was tried.
    pub notification: Notification,
    /// How far it got.
    pub state: NotificationState,
    /// When it was done with, milliseconds since the Unix epoch.
    pub finished_at_millis: Option<i64>,
}

/// Reads the list from anywhere. Cheap to clone; only the outbox writes.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<RwLock<Records>>);

#[derive(Debug, Default)]
struct Records {
    next: u64,
    by_number: BTreeMap<u64, Record>,
    // Invariant: the number of each record in `by_number`.
    by_key: HashMap<(String, String), u64>,
    /// Numbers of those that were given up.
    dead: BTreeSet<u64>,
    /// Numbers of the others that are done with.
    done: BTreeSet<u64>,
}

impl Ledger {
    /// The list as a former process left it; what still waits is put in by the outbox.
    pub(super) fn new(finished: Vec<Finished>) -> Self {
        let ledger = Self::default();
        for Finished {
            notification,
            state,
            at_millis,
        } in finished
        {
            ledger.put(&notification, state, Some(at_millis));
        }
        ledger
    }

    /// The last word on a notification.
    pub(super) fn put(
        &self,
        notification: &Notification,
        state: NotificationState,
        finished_at_millis: Option<i64>,
    ) {
        let mut records = self.0.write();
        let key = (notification.receiver.clone(), notification.id.clone());
        let known = records.by_key.get(&key).copied();
        let number = known.unwrap_or_else(|| {
            records.next += 1;
            let number = records.next;
            records.by_key.insert(key, number);
            number
        });
        let record = Record {
            number,
            notification: notification.clone(),
            state,
            finished_at_millis,
        };
        records.by_number.insert(number, record);
        records.dead.remove(&number);
        records.done.remove(&number);
        match state {
            NotificationState::Pending => {}
            NotificationState::Dead => {
                records.dead.insert(number);
            }
            NotificationState::Delivered | NotificationState::Digested => {
                records.done.insert(number);
            }
        }
        records.forget_oldest();
    }

    /// The notification with this key.
    pub fn one(&self, receiver: &str, id: &str) -> Option<Record> {
        let records = self.0.read();
        let number = records.by_key.get(&(receiver.to_owned(), id.to_owned()))?;
        records.by_number.get(number).cloned()
    }

    /// At most `most` that are `wanted`, newest first, from below `before` on.
    pub fn page(
        &self,
        before: Option<u64>,
        wanted: impl Fn(&Record) -> bool,
        most: usize,
    ) -> Vec<Record> {
        let records = self.0.read();
        records
            .by_number
            .range(..before.unwrap_or(u64::MAX))
            .rev()
            .map(|(_, record)| record)
            .filter(|record| wanted(record))
            .take(most)
            .cloned()
            .collect()
    }
}

impl Records {
    fn forget_oldest(&mut self) {
        let mut surplus = Vec::new();
        while self.dead.len() > MAX_DEAD {
            surplus.extend(self.dead.pop_first());
        }
        while self.done.len() > MAX_DONE {
            surplus.extend(self.done.pop_first());
        }
        for number in surplus {
            if let Some(record) = self.by_number.remove(&number) {
                let Notification { receiver, id, .. } = record.notification;
                self.by_key.remove(&(receiver, id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::receiver::{Message, Test};

    fn notification(number: usize) -> Notification {
        Notification {
            id: format!("n{number}"),
            receiver: "pager".to_owned(),
            message: Message::Test(Test {
                at: Timestamp::UNIX_EPOCH,
            }),
            created_at_millis: 0,
            queued_at_millis: 0,
            attempts: 0,
            next_attempt_millis: 0,
            last_answer: None,
        }
    }

    #[test]
    fn what_waits_is_never_forgotten_and_of_the_rest_the_oldest_is() {
        let ledger = Ledger::default();
        ledger.put(&notification(0), NotificationState::Pending, None);
        for number in 1..=MAX_DEAD + 5 {
            ledger.put(&notification(number), NotificationState::Dead, Some(1));
        }
        for number in 2_000..2_000 + MAX_DONE + 5 {
            ledger.put(&notification(number), NotificationState::Delivered, Some(1));
        }
        assert!(ledger.one("pager", "n0").is_some());
        assert!(ledger.one("pager", "n5").is_none());
        assert!(ledger.one("pager", "n6").is_some());
        assert!(ledger.one("pager", "n2004").is_none());
        assert_eq!(
            ledger.page(None, |_| true, usize::MAX).len(),
            1 + MAX_DEAD + MAX_DONE
        );
    }

    #[test]
    fn pages_meet_and_a_new_state_keeps_the_place() {
        let ledger = Ledger::default();
        for number in 0..5 {
            ledger.put(&notification(number), NotificationState::Pending, None);
        }
        ledger.put(&notification(1), NotificationState::Dead, Some(1));
        let ids = |page: &[Record]| -> Vec<String> {
            page.iter()
                .map(|record| record.notification.id.clone())
                .collect()
        };
        let first = ledger.page(None, |_| true, 3);
        assert_eq!(ids(&first), ["n4", "n3", "n2"]);
        let rest = ledger.page(first.last().map(|last| last.number), |_| true, 3);
        assert_eq!(ids(&rest), ["n1", "n0"]);
        let dead = ledger.page(None, |record| record.state == NotificationState::Dead, 3);
        assert_eq!(ids(&dead), ["n1"]);
    }
}
