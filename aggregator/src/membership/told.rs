//! What others say of a node: that it is drained, and what the cluster reported about it.
//!
//! Nobody here watches a cluster. A controller beside the aggregator, or a person, says it over the API; both are bounded
//! in number, size and age, and remembered with the node.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::wall::later;

/// Who drains a node restarts it within this time, or forgot it.
pub const USUAL_DRAIN: Duration = Duration::from_secs(15 * 60);
/// Longest time that a node can be drained for at once. A node that nobody judges is a hole in the watch.
const LONGEST_DRAIN: Duration = Duration::from_secs(7 * 86_400);
/// Events of one node that are kept, the newest.
const MOST_EVENTS: usize = 8;
/// Events are forgotten after this time.
const EVENT_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Longest reason of an event, octets.
const MAX_REASON: usize = 128;
/// Longest text of an event or a comment, octets; what is longer is cut.
const MAX_TEXT: usize = 1_024;

/// A node is cordoned or drained: expected to go, and not judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Until then; afterwards it is judged again, whether or not it came back.
    pub until: Timestamp,
    /// Who said so.
    pub author: String,
    /// Why, may be empty.
    pub comment: String,
}

/// Something that the cluster said about a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEvent {
    /// When it happened.
    pub at: Timestamp,
    /// Its reason as Kubernetes has it: `FailedCreatePodSandBox`.
    pub reason: String,
    /// Its message, for people.
    pub message: String,
}

/// Why a word on a node is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToldError {
    /// Who says it is not said.
    #[error("the author is missing: write who drains the node")]
    NoAuthor,
    /// It would not be judged for too long.
    #[error(
        "a node can be drained for 1 second to {} days at once; say it again when that is over",
        LONGEST_DRAIN.as_secs() / 86_400
    )]
    Duration,
    /// The event has no reason, or none as Kubernetes writes them.
    #[error(
        "the reason has to be one word of 1 to {MAX_REASON} letters and digits, as FailedCreatePodSandBox"
    )]
    Reason,
    /// The event is too old.
    #[error("the event is older than {} hours and says nothing about now", EVENT_KEPT.as_hours())]
    Old,
}

impl Drain {
    /// From `now` on for `lasts`.
    pub fn new(
        lasts: Duration,
        author: &str,
        comment: &str,
        now: Timestamp,
    ) -> Result<Self, ToldError> {
        if author.trim().is_empty() {
            return Err(ToldError::NoAuthor);
        }
        if !(Duration::from_secs(1)..=LONGEST_DRAIN).contains(&lasts) {
            return Err(ToldError::Duration);
        }
        Ok(Self {
            until: later(now, lasts),
            author: text(author),
            comment: text(comment),
        })
    }

    /// "Drained until 2026-11-29T03:25:00Z by ana: new disk"
    pub fn sentence(&self) -> String {
        let Self {
            until,
            author,
            comment,
        } = self;
        let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
        let why = if comment.is_empty() {
            String::new()
        } else {
            format!(": {comment}")
        };
        format!("Drained until {until} by {author}{why}")
    }
}

impl NodeEvent {
    /// One that happened at `at`; `None`, or later than now: now.
    pub fn new(
        reason: &str,
        message: &str,
        at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, ToldError> {
        let is_word = reason.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_word || reason.is_empty() || reason.len() > MAX_REASON {
            return Err(ToldError::Reason);
        }
        let at = at.map_or(now, |at| at.min(now));
        if now.duration_since(at) > EVENT_KEPT {
            return Err(ToldError::Old);
        }
        Ok(Self {
            at,
            reason: reason.to_owned(),
            message: text(message),
        })
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) <= EVENT_KEPT
    }
}

/// The newest events of a node, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeEvents(Vec<NodeEvent>);

impl NodeEvents {
    /// One more. What a cluster repeats is one event, at its newest time; beyond the limit the oldest goes.
    pub(super) fn add(&mut self, event: NodeEvent, now: Timestamp) {
        self.0.retain(|one| {
            one.is_fresh(now) && (&one.reason, &one.message) != (&event.reason, &event.message)
        });
        let place = self.0.partition_point(|one| one.at <= event.at);
        self.0.insert(place, event);
        let surplus = self.0.len().saturating_sub(MOST_EVENTS);
        self.0.drain(..surplus);
    }

    /// A prober was started: that none could be started is over. Says whether anything was.
    pub(super) fn prober_started(&mut self) -> bool {
        let before = self.0.len();
        self.0
            .retain(|one| !meshprobe_core::diagnosis::keeps_prober_from_running(&one.reason));
        self.0.len() != before
    }

    /// Those that are not too old, oldest first.
    pub fn fresh(&self, now: Timestamp) -> impl Iterator<Item = &NodeEvent> {
        self.0.iter().filter(move |one| one.is_fresh(now))
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One line, cut at a character boundary.
fn text(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let line = text[..end].chars();
    line.map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn event(reason: &str, second: i64) -> NodeEvent {
        NodeEvent::new(reason, "said", Some(at(second)), at(second)).unwrap()
    }

    fn reasons(events: &NodeEvents, now: Timestamp) -> Vec<&str> {
        events.fresh(now).map(|one| one.reason.as_str()).collect()
    }

    #[test]
    fn events_are_bounded_in_number_and_age_and_what_is_repeated_is_one() {
        let mut events = NodeEvents::default();
        for number in 0..20 {
            events.add(event(&format!("Reason{number}"), number), at(number));
        }
        assert_eq!(reasons(&events, at(20)).len(), MOST_EVENTS);
        assert_eq!(reasons(&events, at(20))[0], "Reason12");
        events.add(event("Reason12", 30), at(30));
        assert_eq!(reasons(&events, at(30))[7], "Reason12");
        assert_eq!(reasons(&events, at(30)).len(), MOST_EVENTS);
        let late = at(24 * 3600 + 25);
        assert_eq!(reasons(&events, late), ["Reason12"]);
        events.add(event("Late", 24 * 3600 + 25), late);
        assert_eq!(events.0.len(), 2, "what is too old is not kept");
    }

    #[test]
    fn a_prober_that_runs_refutes_that_it_cannot_and_nothing_else() {
        let mut events = NodeEvents::default();
        events.add(event("FailedCreatePodSandBox", 1), at(1));
        events.add(event("NodeNotReady", 2), at(2));
        assert!(events.prober_started());
        assert_eq!(reasons(&events, at(3)), ["NodeNotReady"]);
        assert!(!events.prober_started());
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_what_is_long_is_cut() {
        let drain = |seconds, author| Drain::new(Duration::from_secs(seconds), author, "", at(0));
        assert_eq!(drain(60, " "), Err(ToldError::NoAuthor));
        assert_eq!(drain(0, "ana"), Err(ToldError::Duration));
        assert_eq!(drain(8 * 86_400, "ana"), Err(ToldError::Duration));
        let drained = Drain::new(USUAL_DRAIN, "ana", "new\ndisk", at(0)).unwrap();
        assert_eq!(drained.until, at(900));
        assert_eq!(
            drained.sentence(),
            "Drained until 1970-01-12T14:01:40Z by ana: new disk"
        );
        let event = |reason: &str, then| NodeEvent::new(reason, &"é".repeat(600), then, at(0));
        for reason in ["", "two words", "<b>", &"x".repeat(129)] {
            assert_eq!(event(reason, None), Err(ToldError::Reason), "{reason}");
        }
        assert_eq!(event("Old", Some(at(-86_401))), Err(ToldError::Old));
        let future = event("Future", Some(at(60))).unwrap();
        assert_eq!((future.at, future.message.len()), (at(0), MAX_TEXT));
    }
}
