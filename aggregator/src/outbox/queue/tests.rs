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
