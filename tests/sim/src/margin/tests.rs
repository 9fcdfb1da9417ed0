use meshprobe_core::dark::{Action, Detector, NodeFacts, Sighting};
use meshprobe_core::ids::{NodeIndex, ZoneIndex};
use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::{Plane, ProbeKind};
use meshprobe_core::time::Moment;

use super::*;

/// What an observer may say of the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Nothing,
    Denies,
    Undecided,
    Accuses,
}

const WORDS: [Word; 4] = [Word::Nothing, Word::Denies, Word::Undecided, Word::Accuses];

/// What the real detector makes of these words about node 0, half a second after the first loss.
fn accusation(words: &[Word]) -> Option<Accusation> {
    let mut detector = Detector::new(DarkConfig::default());
    let nodes = words.len() as u32 + 1;
    for node in (0..nodes).map(NodeIndex) {
        let facts = NodeFacts {
            zone: ZoneIndex(1),
            lifecycle: Lifecycle::Active,
            targets: nodes - 1,
        };
        detector.upsert_node(node, facts, Moment::ORIGIN);
        detector.handle_stream_opened(node);
    }
    detector.start_judging();
    let opened = Moment::from_millis(60_000);
    for node in (0..nodes).map(NodeIndex) {
        detector.handle_report(node, 0, opened);
    }
    let now = opened + Duration::from_millis(600);
    let said = |number: usize, losses: u32, age: u64, at: Moment| Sighting {
        observer: NodeIndex(number as u32 + 1),
        subject: NodeIndex(0),
        kind: ProbeKind::Udp,
        plane: Plane::Pod,
        consecutive_losses: losses,
        first_loss_at: at - Duration::from_millis(age),
        last_reply_at: None,
        last_heard_at: None,
        last_outcome: OutcomeClass::Timeout,
        observed_at: at,
    };
    let suspects = |word: &Word| matches!(word, Word::Undecided | Word::Accuses);
    let first = words.iter().position(suspects)?;
    detector.handle_sighting(said(first, 1, 10, opened), opened);
    let asked = detector.evaluate(opened);
    let others = asked.iter().find_map(|action| match action {
        Action::Confirm { observers, .. } => Some(observers.len()),
        _ => None,
    });
    assert_eq!(others, Some(words.len() - 1), "everybody else is asked");
    for (number, word) in words.iter().enumerate() {
        let sighting = match word {
            Word::Nothing => continue,
            Word::Denies => said(number, 0, 0, now),
            Word::Undecided => said(number, 1, 10, now),
            Word::Accuses => said(number, 5, 550, now),
        };
        detector.handle_sighting(sighting, now);
    }
    detector.evaluate(now);
    detector.accusations().first().copied()
}

fn class_of(accusation: &Accusation) -> Class {
    Class {
        observers: accusation.observers,
        voters: accusation.voters,
        asked: accusation.asked,
        is_heard: accusation.is_heard,
    }
}

/// All words that so many observers can say.
fn all_words(observers: u32) -> impl Iterator<Item = Vec<Word>> {
    (0..4_usize.pow(observers)).map(move |number| {
        (0..observers)
            .map(|o| WORDS[number / 4_usize.pow(o) % 4])
            .collect()
    })
}

#[test]
fn the_chance_of_a_quorum_is_that_of_all_words_that_the_detector_may_hear() {
    let shares = Shares {
        accusing: 0.35,
        denying: 0.25,
    };
    let config = DarkConfig::default();
    for observers in [4, 5, 6] {
        // By class: the chance of a quorum given the number of voters, word by word and by the formula.
        let mut counted: BTreeMap<Class, f64> = BTreeMap::new();
        for words in all_words(observers) {
            let Some(accusation) = accusation(&words) else {
                continue;
            };
            let silent = words.iter().filter(|word| **word == Word::Nothing).count();
            let chance: f64 = words
                .iter()
                .map(|word| match word {
                    Word::Nothing => 1.0,
                    Word::Denies => shares.denying,
                    Word::Undecided => 1.0 - shares.accusing - shares.denying,
                    Word::Accuses => shares.accusing,
                })
                .product();
            let class = class_of(&accusation);
            // Whichever of them are silent: the class says only how many.
            let which = ways(observers, silent as u32, 0);
            *counted.entry(class).or_default() += if accusation.is_quorum {
                chance / which
            } else {
                0.0
            };
            assert_eq!(
                accusation.is_quorum,
                class.is_quorum(accusation.accusers, accusation.undecided, &config),
                "{words:?}: {accusation:?}"
            );
        }
        assert!(counted.values().any(|chance| *chance > 0.0));
        for (class, counted) in counted {
            let bound = class.quorum_chance(shares, &config);
            assert!(
                (bound - counted).abs() < 1e-12,
                "{class:?}: {bound} instead of {counted}"
            );
        }
    }
}

#[test]
fn a_share_given_others_that_accuse_is_not_hidden_by_the_mean() {
    // One voter of four accuses in a hundredth of all weighings, but then all do.
    let mut ballots = Ballots::default();
    let class = Class {
        observers: 9,
        voters: 4,
        asked: 4,
        is_heard: true,
    };
    let mut seen = vec![Seen::default(); 5];
    seen[0].weighings = 990_000;
    seen[4].weighings = 10_000;
    ballots.classes.insert(class, seen);
    let margin = ballots.margin(10_000, 24.0, Duration::from_secs(1));
    assert!((margin.accusing_share - 0.01).abs() < 1e-12);
    assert!(margin.accusing_share_at_most > 0.99);
    assert!(margin.quorums_a_day_at_most >= 10_000.0);
    assert!((margin.quorums_a_day - 10_000.0).abs() < 1e-9);
}

#[test]
fn what_was_never_seen_has_a_chance_that_shrinks_with_what_was_seen() {
    let seen_for = |weighings: u64| {
        let class = Class {
            observers: 49,
            voters: 8,
            asked: 10,
            is_heard: true,
        };
        let seen = vec![Seen {
            weighings,
            undecided: 0,
        }];
        let ballots = Ballots {
            classes: BTreeMap::from([(class, seen)]),
        };
        ballots.margin(0, 24.0, Duration::from_secs(1))
    };
    let (short, long) = (seen_for(10_000), seen_for(1_000_000));
    assert!(short.quorums_a_day_at_most > 1_000.0 * long.quorums_a_day_at_most);
    assert!(short.quorums_a_day_unseen > 1_000.0 * long.quorums_a_day_unseen);
    let quorums = long.quorums_a_day_at_most + long.quorums_a_day_unseen;
    assert!(long.quorums_a_day_at_most > 0.0);
    // At its beginning and in twenty evaluations.
    let share = long.declared_a_day_at_most / quorums;
    assert!((share - 1.0 / 21.0).abs() < 1e-12);
}
