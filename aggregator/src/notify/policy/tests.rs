use jiff::Timestamp;
use meshprobe_core::ids::NodeName;
use proptest::prelude::*;

use super::*;
use crate::notify::tests::incident;

const SECOND: Duration = Duration::from_secs(1);
const HOLD: Duration = Duration::from_secs(30);

/// An incident, the policy, and a clock that the test moves.
struct Story {
    policy: Policy,
    incident: Incident,
    now: Instant,
    start: Instant,
    said: Vec<(Duration, Say)>,
}

impl Story {
    fn new(hold: Duration) -> Self {
        let mut incident = incident("mesh-1", Timestamp::UNIX_EPOCH);
        incident.state = IncidentState::Resolved;
        // Far from the start of the machine's clock, so that ages can be subtracted.
        let start = meshprobe_daemon::clock::now() + 1_000_000 * SECOND;
        Self {
            policy: Policy::new(hold),
            incident,
            now: start,
            start,
            said: Vec::new(),
        }
    }

    fn routed() -> Routed {
        Routed::from([("pager".to_owned(), true), ("deaf".to_owned(), false)])
    }

    /// Lets time pass; what comes due is said at its time.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.policy.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            for id in self.policy.due(self.now) {
                assert_eq!(id, self.incident.id);
                let say = self.policy.settle(&self.incident, &Self::routed(), false);
                self.note(say);
            }
        }
        self.now = until;
    }

    fn note(&mut self, say: Option<Say>) {
        if let Some(say) = say {
            self.said.push((self.now - self.start, say));
        }
    }

    fn change(&mut self, transition: Transition) {
        self.incident.state = match transition {
            Transition::Resolved => IncidentState::Resolved,
            _ => IncidentState::Open,
        };
        if transition == Transition::Reopened {
            self.incident.reopened += 1;
        }
        let change = IncidentChange {
            transition,
            incident: self.incident.clone(),
        };
        let say = self
            .policy
            .on_change(&change, &Self::routed(), false, self.now);
        self.note(say);
    }

    fn fails(&mut self) {
        let transition = if self.incident.reopened == 0 && self.said.is_empty() {
            Transition::Opened
        } else {
            Transition::Reopened
        };
        self.change(transition);
    }

    fn recovers(&mut self) {
        self.change(Transition::Resolved);
    }

    fn joins(&mut self, node: &str) {
        self.incident.nodes.push(NodeName::try_from(node).unwrap());
        self.change(Transition::Updated);
    }

    /// Kills the process and starts it again.
    fn restart(&mut self) {
        let mut touched: BTreeSet<IncidentId> = self.policy.told.keys().cloned().collect();
        touched.insert(self.incident.id.clone());
        self.policy.touched = touched;
        let records = self.policy.take_records(self.now, 1_000_000_000);
        let ended = (self.incident.state == IncidentState::Resolved).then_some(Duration::ZERO);
        let mut policy = Policy::new(self.policy.hold);
        policy.restore(
            records.into_iter().filter_map(|(_, record)| record),
            |_| ended,
            self.now,
            1_000_000_000,
        );
        self.policy = policy;
    }

    fn gists(&self) -> Vec<String> {
        self.said
            .iter()
            .map(|(_, say)| {
                let flapping = if say.news.flapping.is_some() {
                    "flapping "
                } else {
                    ""
                };
                format!("{flapping}{}", say.news.change.transition.as_str())
            })
            .collect()
    }

    fn said_within(&self, window: Duration) -> usize {
        self.said
            .iter()
            .map(|(from, _)| {
                let in_window = |at: &Duration| *at >= *from && *at < *from + window;
                self.said.iter().filter(|(at, _)| in_window(at)).count()
            })
            .max()
            .unwrap_or(0)
    }
}

#[test]
fn a_link_that_is_down_and_up_for_20_seconds_each_is_told_twice_in_ten_minutes() {
    let mut story = Story::new(HOLD);
    // A dark node is declared 1.5 s after the cut, and seen to be back 3 s after the link is.
    for _ in 0..15 {
        story.pass(Duration::from_millis(1_500));
        story.fails();
        story.pass(Duration::from_millis(21_500));
        story.recovers();
        story.pass(17 * SECOND);
    }
    assert_eq!(story.gists(), ["opened", "flapping reopened"]);
    let (at, flapping) = &story.said[1];
    assert_eq!(flapping.news.flapping, Some(7));
    assert_eq!(at.as_secs(), 281);
    // It stays up: its end is told when it has calmed down.
    story.pass(3_600 * SECOND);
    assert_eq!(story.gists(), ["opened", "flapping reopened", "resolved"]);
}

#[test]
fn an_incident_that_never_closes_in_between_is_told_once() {
    // Shorter than what the book needs to close it: no change of the incident at all.
    let mut story = Story::new(HOLD);
    story.fails();
    story.pass(600 * SECOND);
    assert_eq!(story.gists(), ["opened"]);
}

#[test]
fn an_end_is_kept_back_and_then_told_to_who_wants_it() {
    let mut story = Story::new(HOLD);
    story.fails();
    story.pass(60 * SECOND);
    story.recovers();
    story.pass(HOLD.saturating_sub(SECOND));
    assert_eq!(story.gists(), ["opened"]);
    story.pass(SECOND);
    assert_eq!(story.gists(), ["opened", "resolved"]);
    assert_eq!(story.said[0].1.receivers, ["deaf", "pager"]);
    assert_eq!(story.said[1].1.receivers, ["pager"]);
    // It is over: the next failure is told at once.
    story.fails();
    assert_eq!(story.gists(), ["opened", "resolved", "reopened"]);
}

#[test]
fn without_a_hold_every_end_is_told_at_once() {
    let mut story = Story::new(Duration::ZERO);
    story.fails();
    story.recovers();
    story.fails();
    assert_eq!(story.gists(), ["opened", "resolved", "reopened"]);
}

#[test]
fn a_node_that_joins_is_told_whatever_flaps_and_one_that_leaves_is_not() {
    let mut story = Story::new(HOLD);
    for _ in 0..8 {
        story.fails();
        story.pass(10 * SECOND);
        story.recovers();
        story.pass(10 * SECOND);
    }
    assert_eq!(story.gists(), ["opened", "flapping reopened"]);
    story.fails();
    story.joins("mesh-2");
    let (_, last) = story.said.last().unwrap();
    assert_eq!(last.news.change.transition, Transition::Updated);
    assert_eq!(
        last.news.labels["node"], "mesh-1",
        "labels stay as they are"
    );
    let before = story.said.len();
    story.incident.nodes.truncate(1);
    story.change(Transition::Updated);
    assert_eq!(story.said.len(), before);
}

#[test]
fn evidence_alone_is_no_news_and_another_severity_gives_new_labels() {
    let mut story = Story::new(HOLD);
    story.incident.severity = Severity::Warning;
    story.fails();
    story.incident.evidence.push("more of it".to_owned());
    story.change(Transition::Updated);
    assert_eq!(story.gists(), ["opened"]);
    story.incident.severity = Severity::Critical;
    story.change(Transition::Updated);
    assert_eq!(story.said[1].1.news.labels["severity"], "critical");
}

#[test]
fn who_was_told_of_the_beginning_is_told_of_the_end_wherever_routes_lead() {
    let mut story = Story::new(Duration::ZERO);
    story.fails();
    story.incident.state = IncidentState::Resolved;
    let change = IncidentChange {
        transition: Transition::Resolved,
        incident: story.incident.clone(),
    };
    let nobody = Routed::new();
    let say = story.policy.on_change(&change, &nobody, false, story.now);
    assert_eq!(say.unwrap().receivers, ["pager"]);
}

#[test]
fn what_nobody_is_told_of_has_no_end_either() {
    let mut story = Story::new(Duration::ZERO);
    let mut change = IncidentChange {
        transition: Transition::Opened,
        incident: story.incident.clone(),
    };
    change.incident.state = IncidentState::Open;
    let nobody = Routed::new();
    assert_eq!(
        story.policy.on_change(&change, &nobody, false, story.now),
        None
    );
    story.recovers();
    assert!(story.said.is_empty());
}

#[test]
fn a_silence_holds_back_the_beginning_and_its_end_lets_it_through() {
    let mut story = Story::new(Duration::ZERO);
    story.incident.state = IncidentState::Open;
    let change = IncidentChange {
        transition: Transition::Opened,
        incident: story.incident.clone(),
    };
    let routed = Story::routed();
    assert_eq!(
        story.policy.on_change(&change, &routed, true, story.now),
        None
    );
    assert_eq!(story.policy.silenced(), [story.incident.id.clone()]);
    let say = story
        .policy
        .settle(&story.incident, &routed, false)
        .unwrap();
    assert_eq!(say.news.change.transition, Transition::Opened);
    assert!(story.policy.silenced().is_empty());
    // A silence that begins while it is open does not keep back its end.
    story.incident.state = IncidentState::Resolved;
    let change = IncidentChange {
        transition: Transition::Resolved,
        incident: story.incident.clone(),
    };
    assert!(
        story
            .policy
            .on_change(&change, &routed, true, story.now)
            .is_some()
    );
}

#[test]
fn after_a_restart_an_end_that_was_kept_back_is_told_and_an_opening_is_not_repeated() {
    let mut story = Story::new(HOLD);
    story.fails();
    story.restart();
    story.change(Transition::Updated);
    assert_eq!(story.gists(), ["opened"]);
    story.recovers();
    story.restart();
    story.pass(HOLD);
    assert_eq!(story.gists(), ["opened", "resolved"]);
}

proptest! {
    /// Whatever comes and goes: an end follows a beginning and never another end; when all is quiet for long, people know
    /// the truth; and no window of ten minutes has more messages than a person bears.
    #[test]
    fn people_know_the_truth_in_the_end_and_are_not_flooded(
        phases in prop::collection::vec((1_u32..400, 1_u32..400), 1..60),
        restarts in prop::collection::vec(any::<bool>(), 60),
        ends_open in any::<bool>(),
    ) {
        let mut story = Story::new(HOLD);
        for ((down, up), restart) in phases.into_iter().zip(restarts) {
            story.fails();
            story.pass(down * SECOND);
            story.recovers();
            if restart {
                story.restart();
            }
            story.pass(up * SECOND);
        }
        if ends_open {
            story.fails();
        }
        story.pass(3 * 3_600 * SECOND);
        let mut open = false;
        for (_, say) in &story.said {
            match say.news.change.transition {
                Transition::Resolved => {
                    prop_assert!(open, "an end without a beginning: {:?}", story.gists());
                    open = false;
                }
                Transition::Reopened if say.news.flapping.is_some() => open = true,
                _ => {
                    prop_assert!(!open, "a beginning twice: {:?}", story.gists());
                    open = true;
                }
            }
        }
        prop_assert_eq!(open, ends_open);
        prop_assert!(story.said_within(600 * SECOND) <= 8, "{:?}", story.gists());
    }

    /// The fast toggles, of any period up to the hold: at most three messages in ten minutes.
    #[test]
    fn toggles_faster_than_the_hold_are_at_most_three_messages_in_ten_minutes(
        down in 1_u32..60, up in 1_u32..30, times in 2_usize..60,
    ) {
        let mut story = Story::new(HOLD);
        for _ in 0..times {
            story.fails();
            story.pass(down * SECOND);
            story.recovers();
            story.pass(up * SECOND);
        }
        story.pass(3 * 3_600 * SECOND);
        prop_assert!(story.said_within(600 * SECOND) <= 3, "{:?}", story.gists());
    }
}
