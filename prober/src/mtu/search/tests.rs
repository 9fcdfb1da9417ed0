use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;

/// A path that carries packets of up to `mtu` and loses a share of all.
struct Network {
    mtu: u16,
    loss: f64,
    /// What a router says of larger packets.
    says: Option<u16>,
    rng: StdRng,
    packets: usize,
    rounds: u32,
}

impl Network {
    fn new(mtu: u16, loss: f64) -> Self {
        Self {
            mtu,
            loss,
            says: None,
            rng: StdRng::seed_from_u64(u64::from(mtu)),
            packets: 0,
            rounds: 0,
        }
    }

    fn seeded(self, seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            ..self
        }
    }

    fn answer(&mut self, search: &mut Search, sizes: &[u16]) {
        let mut lost = Vec::new();
        let mut answered = false;
        for size in sizes {
            self.packets += 1;
            if self.rng.random_bool(self.loss) {
                lost.push(*size);
            } else if *size <= self.mtu {
                search.handle_passed(*size);
                answered = true;
            } else if let Some(allowed) = self.says {
                search.handle_refused(*size, Some(allowed));
            } else {
                lost.push(*size);
            }
        }
        self.rounds += 1;
        search.handle_round(&lost, answered);
    }

    /// `None`: not decided after so many rounds.
    fn run(&mut self, mut search: Search, rounds: u32) -> Option<Found> {
        while self.rounds < rounds {
            match search.next_step() {
                Step::Send(sizes) => self.answer(&mut search, &sizes),
                Step::Found(found) => return Some(found),
                Step::Silent => return None,
            }
        }
        None
    }
}

const FLOOR: u16 = 92;

fn search(largest: u16) -> Search {
    Search::new(FLOOR..=largest, None)
}

#[test]
fn a_path_that_carries_the_largest_size_costs_three_packets() {
    let mut network = Network::new(1500, 0.0);
    let found = network.run(search(1500), 9).unwrap();
    assert_eq!((found.size, found.limit), (1500, Limit::None));
    assert_eq!(network.packets, 3);
}

#[test]
fn a_black_hole_of_every_known_size_is_found_to_the_byte_in_four_rounds() {
    for mtu in LADDER {
        let mut network = Network::new(mtu, 0.0);
        let found = network.run(search(9216), 5);
        let expected = Found {
            size: mtu,
            limit: Limit::Losses,
        };
        assert_eq!(found, Some(expected), "{mtu}");
    }
}

#[test]
fn every_limit_of_a_jumbo_interface_is_found_within_ten_rounds() {
    for mtu in (FLOOR..9001).step_by(13) {
        let mut network = Network::new(mtu, 0.0);
        let found = network.run(search(9001), 11);
        assert_eq!(found.map(|found| found.size), Some(mtu), "{mtu}");
    }
}

#[test]
fn a_limit_is_tested_three_times_and_three_times_more_before_it_is_one() {
    let mut search = search(1500);
    let mut at_1401 = Vec::new();
    let found = loop {
        match search.next_step() {
            Step::Found(found) => break found,
            Step::Silent => panic!("the path answers"),
            Step::Send(sizes) => {
                let lost: Vec<u16> = sizes.iter().copied().filter(|size| *size > 1400).collect();
                at_1401.push(lost.iter().filter(|size| **size == 1401).count());
                for size in sizes.iter().filter(|size| **size <= 1400) {
                    search.handle_passed(*size);
                }
                search.handle_round(&lost, true);
            }
        }
    };
    assert_eq!(found.size, 1400);
    assert!(at_1401.last() >= Some(&3), "{at_1401:?}");
    let before: usize = at_1401[..at_1401.len() - 1].iter().sum();
    assert!(before >= 3, "{at_1401:?}");
}

#[test]
fn what_a_router_says_is_taken_when_the_size_that_it_allows_passes() {
    let mut network = Network {
        says: Some(1372),
        ..Network::new(1372, 0.0)
    };
    let found = network.run(search(1500), 4).unwrap();
    assert_eq!((found.size, found.limit), (1372, Limit::Refused));
}

#[test]
fn a_message_that_is_contradicted_by_an_answer_is_forgotten() {
    let mut search = search(1500);
    search.handle_passed(FLOOR);
    search.handle_refused(1500, Some(600));
    search.handle_passed(1400);
    assert_eq!(search.allowed(), None);
    assert_eq!(search.refused, Some(1500));
    search.handle_passed(1500);
    assert_eq!(search.refused, None);
    search.handle_refused(1400, Some(1300));
    assert_eq!(search.refused, None, "what passes cannot be refused");
}

#[test]
fn a_black_hole_below_a_signalled_limit_is_found() {
    let mut network = Network {
        says: Some(1450),
        ..Network::new(1380, 0.0)
    };
    // The router speaks of what is larger than 1450 only.
    let mut search = search(1500);
    let found = loop {
        match search.next_step() {
            Step::Found(found) => break found,
            Step::Silent => panic!("the path answers"),
            Step::Send(sizes) => {
                let (large, small): (Vec<u16>, Vec<u16>) =
                    sizes.iter().partition(|size| **size > 1450);
                for size in large {
                    search.handle_refused(size, Some(1450));
                }
                network.says = None;
                network.answer(&mut search, &small);
            }
        }
        assert!(network.rounds < 9);
    };
    assert_eq!((found.size, found.limit), (1380, Limit::Losses));
}

#[test]
fn a_peer_that_answers_nothing_has_no_limit() {
    assert_eq!(Network::new(0, 0.0).run(search(1500), 20), None);
    let mut dead = search(1500);
    let mut rounds = 0;
    while let Step::Send(sizes) = dead.next_step() {
        dead.handle_round(&sizes, false);
        rounds += 1;
    }
    assert_eq!(dead.next_step(), Step::Silent);
    assert_eq!(rounds, SILENT_ROUNDS);
}

#[test]
fn an_outage_in_the_middle_of_a_search_is_no_limit() {
    let mut search = search(1500);
    search.handle_passed(FLOOR);
    search.handle_round(&[1500], true);
    for _ in 0..SILENT_ROUNDS - 1 {
        let Step::Send(sizes) = search.next_step() else {
            panic!("it has to go on");
        };
        search.handle_round(&sizes, false);
    }
    let found = Network::new(1500, 0.0).run(search, 9).unwrap();
    assert_eq!((found.size, found.limit), (1500, Limit::None));
}

#[test]
fn what_passed_the_last_time_is_confirmed_sooner() {
    let hinted = Search::new(FLOOR..=1500, Some(1433));
    let mut network = Network::new(1433, 0.0);
    let found = network.run(hinted, 5).unwrap();
    assert_eq!(found.size, 1433);
}

#[test]
fn the_loss_of_one_in_three_does_not_look_like_a_limit() {
    let mut undecided = 0;
    for seed in 0..2_000 {
        let mut network = Network::new(1500, 0.51).seeded(seed);
        match network.run(search(1500), 40) {
            Some(found) => assert_eq!((found.size, found.limit), (1500, Limit::None), "{seed}"),
            None => undecided += 1,
        }
    }
    assert!(undecided < 300, "{undecided} of 2000");
}

proptest! {
    /// 10 to 30 % in each direction, so up to half of the exchanges.
    #[test]
    fn a_limit_under_random_loss_is_the_right_one_or_none(
        mtu in FLOOR..1500_u16,
        loss in 0.1..0.51_f64,
        seed: u64,
    ) {
        let mut network = Network::new(mtu, loss).seeded(seed);
        if let Some(found) = network.run(search(1500), 40) {
            prop_assert_eq!(found.size, mtu);
            prop_assert_eq!(found.limit, Limit::Losses);
        }
    }

    #[test]
    fn no_round_is_larger_than_ninety_packets_nor_has_a_size_outside(
        mtu in 0..10_000_u16,
        largest in 1280..9216_u16,
        hint: Option<u16>,
        messages in proptest::collection::vec((any::<u16>(), any::<Option<u16>>()), 0..4),
        seed: u64,
    ) {
        let mut search = Search::new(FLOOR..=largest, hint);
        let mut network = Network::new(mtu, 0.2).seeded(seed);
        for (size, allowed) in messages {
            search.handle_refused(size, allowed);
        }
        for _ in 0..60 {
            let Step::Send(sizes) = search.next_step() else { break };
            prop_assert!(!sizes.is_empty() && sizes.len() <= 90, "{}", sizes.len());
            prop_assert!(sizes.iter().all(|size| (FLOOR..=largest).contains(size)), "{sizes:?}");
            network.answer(&mut search, &sizes);
        }
    }
}
