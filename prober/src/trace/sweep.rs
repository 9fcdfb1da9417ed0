//! Which hop limits are sent, and what the answers mean. Pure.
//!
//! First all of them at once. What gets no answer is sent twice more, as far as the path seems to go: routers limit how
//! often they answer. Some routers quote nothing of the packet, so that their answers cannot be told apart; then hop
//! limits are sent one at a time, and whatever comes belongs to the one that is under way.

use std::net::IpAddr;
use std::time::Duration;

/// Hop limits that are tried.
pub const MAX_HOPS: u8 = 30;

/// Packets of one hop limit.
pub const ATTEMPTS: u8 = 3;

/// How far behind the last answer the second and third packets go.
const BEYOND: u8 = 3;

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its address.
    pub address: IpAddr,
    /// From the packet to the answer.
    pub rtt: Duration,
    /// Type and code of the ICMP message; `None`: the target answered the request itself.
    pub icmp: Option<(u8, u8)>,
}

/// One hop limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The hop limit.
    pub ttl: u8,
    /// `None`: nobody answered.
    pub answer: Option<Answer>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Sweep {
    target: IpAddr,
    answers: [Option<Answer>; MAX_HOPS as usize],
    attempts: [u8; MAX_HOPS as usize],
    /// The smallest hop limit whose packet got to the end of the path, be it the target or a refusal.
    end: Option<u8>,
    one_at_a_time: bool,
}

impl Sweep {
    /// A sweep to `target`.
    pub const fn new(target: IpAddr) -> Self {
        Self {
            target,
            answers: [None; MAX_HOPS as usize],
            attempts: [0; MAX_HOPS as usize],
            end: None,
            one_at_a_time: false,
        }
    }

    /// Hop limits to send now; none: the sweep is over.
    pub fn next_round(&mut self) -> Vec<u8> {
        let open = (1..=self.limit()).filter(|ttl| {
            let place = usize::from(*ttl) - 1;
            self.answers[place].is_none() && self.attempts[place] < ATTEMPTS
        });
        let round: Vec<u8> = if self.one_at_a_time {
            open.take(1).collect()
        } else {
            open.collect()
        };
        for ttl in &round {
            self.attempts[usize::from(*ttl) - 1] += 1;
        }
        round
    }

    /// As far as the path seems to go.
    fn limit(&self) -> u8 {
        if self.attempts[0] == 0 {
            return MAX_HOPS;
        }
        let beyond = self.last_answered().saturating_add(BEYOND).min(MAX_HOPS);
        self.end.unwrap_or(beyond)
    }

    fn last_answered(&self) -> u8 {
        let last = self.answers.iter().rposition(Option::is_some);
        last.map_or(0, |place| place as u8 + 1)
    }

    /// Somebody answered the packet with this hop limit.
    pub fn handle_answer(&mut self, ttl: u8, answer: Answer) {
        let place = usize::from(ttl).checked_sub(1);
        let Some(known) = place.and_then(|place| self.answers.get_mut(place)) else {
            return;
        };
        known.get_or_insert(answer);
        // ICMP 11 and ICMPv6 3 say that the hop limit was used up; everything else ends the path there.
        let is_hop = matches!(
            (answer.icmp, self.target),
            (Some((11, _)), IpAddr::V4(_)) | (Some((3, _)), IpAddr::V6(_))
        );
        if !is_hop {
            self.end = Some(self.end.map_or(ttl, |end| end.min(ttl)));
        }
    }

    /// An answer came that cannot be attributed.
    pub fn handle_unattributed(&mut self) {
        self.one_at_a_time = true;
    }

    /// Is only one packet under way at a time?
    pub const fn is_one_at_a_time(&self) -> bool {
        self.one_at_a_time
    }

    /// Is everything answered that was sent up to the end of the path?
    pub fn is_complete(&self) -> bool {
        self.end
            .is_some_and(|end| self.answers[..usize::from(end)].iter().all(Option::is_some))
    }

    /// What was seen: the hops, and whether the target answered.
    pub fn finish(self) -> (Vec<Hop>, bool) {
        let last = self.end.unwrap_or_else(|| self.last_answered());
        let hops: Vec<Hop> = (1..=last)
            .zip(self.answers)
            .map(|(ttl, answer)| Hop { ttl, answer })
            .collect();
        let reached = hops
            .last()
            .and_then(|hop| hop.answer)
            .is_some_and(|answer| answer.address == self.target);
        (hops, reached)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    fn answer(address: &str, icmp: Option<(u8, u8)>) -> Answer {
        Answer {
            address: address.parse().unwrap(),
            rtt: Duration::from_micros(300),
            icmp,
        }
    }

    fn hop(last: u8) -> Answer {
        answer(&format!("10.0.1.{last}"), Some((11, 0)))
    }

    #[test]
    fn a_path_that_answers_is_known_after_one_round() {
        let mut sweep = Sweep::new(TARGET);
        assert_eq!(sweep.next_round(), (1..=MAX_HOPS).collect::<Vec<_>>());
        sweep.handle_answer(1, hop(1));
        sweep.handle_answer(2, hop(2));
        assert!(!sweep.is_complete());
        for ttl in (3..=MAX_HOPS).rev() {
            sweep.handle_answer(ttl, answer("10.0.0.9", None));
        }
        assert!(sweep.is_complete());
        assert_eq!(sweep.next_round(), [0; 0]);
        let (hops, reached) = sweep.finish();
        assert!(reached);
        assert_eq!(hops.len(), 3);
        assert_eq!(hops[2].answer, Some(answer("10.0.0.9", None)));
    }

    #[test]
    fn a_path_that_ends_in_nothing_is_tried_three_times_a_little_further() {
        let mut sweep = Sweep::new(TARGET);
        sweep.next_round();
        sweep.handle_answer(1, hop(1));
        sweep.handle_answer(3, hop(3));
        assert_eq!(sweep.next_round(), [2, 4, 5, 6]);
        assert_eq!(sweep.next_round(), [2, 4, 5, 6]);
        assert_eq!(sweep.next_round(), [0; 0]);
        let (hops, reached) = sweep.finish();
        assert!(!reached);
        assert_eq!(hops.len(), 3);
        assert_eq!(hops[1].answer, None);
    }

    #[test]
    fn a_router_that_refuses_ends_the_path_and_is_not_the_target() {
        let mut sweep = Sweep::new(TARGET);
        sweep.next_round();
        sweep.handle_answer(1, hop(1));
        for ttl in 2..9 {
            sweep.handle_answer(ttl, answer("10.0.1.2", Some((3, 1))));
        }
        let (hops, reached) = sweep.finish();
        assert!(!reached);
        assert_eq!(hops.len(), 2);
        assert_eq!(hops[1].answer.unwrap().icmp, Some((3, 1)));
    }

    #[test]
    fn a_closed_port_of_the_target_is_the_target() {
        let mut sweep = Sweep::new(TARGET);
        sweep.next_round();
        sweep.handle_answer(1, answer("10.0.0.9", Some((3, 3))));
        let (hops, reached) = sweep.finish();
        assert!(reached);
        assert_eq!(hops.len(), 1);
    }

    #[test]
    fn answers_that_quote_nothing_are_asked_for_one_at_a_time() {
        let mut sweep = Sweep::new(TARGET);
        sweep.next_round();
        sweep.handle_unattributed();
        assert_eq!(sweep.next_round(), [1]);
        sweep.handle_answer(1, hop(1));
        assert_eq!(sweep.next_round(), [2]);
        assert_eq!(sweep.next_round(), [2]);
        assert_eq!(sweep.next_round(), [3]);
    }

    proptest! {
        #[test]
        fn every_sweep_ends_after_at_most_three_packets_for_each_hop_limit(
            events in proptest::collection::vec(
                (any::<u8>(), any::<Option<(u8, u8)>>(), any::<bool>()),
                0..100,
            ),
        ) {
            let mut sweep = Sweep::new(TARGET);
            let mut packets = 0;
            let mut events = events.into_iter();
            loop {
                let round = sweep.next_round();
                if round.is_empty() {
                    break;
                }
                packets += round.len();
                for (ttl, icmp, attributed) in events.by_ref().take(3) {
                    if attributed {
                        sweep.handle_answer(ttl, answer("10.0.1.1", icmp));
                    } else {
                        sweep.handle_unattributed();
                    }
                }
            }
            prop_assert!(packets <= usize::from(MAX_HOPS * ATTEMPTS));
            prop_assert!(sweep.finish().0.len() <= usize::from(MAX_HOPS));
        }
    }
}
