//! How far a mesh is from a quorum that nobody deserves, told from the votes themselves.
//!
//! Days of a large mesh under heavy loss cannot be simulated: every path is under suspicion all the time. But the votes of
//! minutes say how likely a quorum is. Whenever the judge weighs a case, each voter accuses, is undecided or denies, and
//! what it says follows from its own path, on which packets are lost independently of all others. If a voter accuses with
//! a chance of at most *a* and denies with a chance of at least *d*, **whatever the others say**, a quorum among *v* voters is
//! at most as likely as among *v* independent ones with these chances: when a voter goes from denying to undecided, or from
//! undecided to accusing, a quorum may come of it, but is never lost. Times the number of weighings this is the number
//! of weighings with a quorum that has to be expected; and a declaration takes one in every evaluation of the hold.
//!
//! Voters of one case are not quite independent: the first accuser makes the aggregator ask others, who then probe at
//! once, and a case that is old has another share of accusers than one that has just begun. So the chances are those
//! *given that others accuse*: the share of accusers among the rest of the voters, over all ways to choose one accuser, two
//! of them, and so on for as long as enough was seen. The worst of them counts, widened by what chance may have hidden.
//! That it is no worse given more accusers than were ever seen is what the bound rests on. In small meshes quorums do
//! occur, and the bound is compared with their number.
//!
//! Only what a quorum declares is covered: not what follows from streams that end (`reports-cut`, `aggregator-isolated`).

use std::collections::BTreeMap;
use std::time::Duration;

use meshprobe_core::dark::{ANSWERED_SHARE, Accusation, DarkConfig, SUSPICION_TICK};
use serde::Serialize;

/// How many weighings in a row may tell of one and the same vote: a second of them. Chance is judged by what is left.
const WEIGHINGS_OF_ONE: f64 = 20.0;
/// Weighings with so many accusers must have been seen before a share given them says anything.
const LEAST_WEIGHINGS: u64 = 2_000;
/// How many standard deviations a share is widened by.
const DEVIATIONS: f64 = 3.0;
/// Events that may be missing by chance alone: e^-7 is a thousandth.
const UNSEEN: f64 = 7.0;
/// With so many observers or more, their number makes no difference to how they vote.
const MANY: u32 = 6;
/// With fewer observers than these more losses are needed to accuse.
const FEW: u32 = 3;
/// Votes that must be known of voters that are alike, or they are judged like all others.
const LEAST_VOTES: f64 = 20_000.0;

/// What decides how many accusers make a quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    observers: u32,
    voters: u32,
    asked: u32,
    is_heard: bool,
}

/// The weighings with one number of accusers.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    weighings: u64,
    /// All their undecided voters.
    undecided: u64,
}

/// Classes whose voters are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    observers: u32,
    /// `None`: whatever the number of voters.
    voters_log: Option<u32>,
}

/// The weighings of one class, seen by whoever puts several together.
#[derive(Clone, Copy, Debug)]
struct Alike<'a> {
    voters: u32,
    seen: &'a [Seen],
}

/// The votes of all weighings, counted.
#[derive(Clone, Debug, Default)]
pub struct Ballots {
    /// By number of accusers.
    classes: BTreeMap<Class, Vec<Seen>>,
}

/// Chances of one voter, whatever the others say.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shares {
    /// It accuses: at most.
    accusing: f64,
    /// It denies, which is to say that it could have accused and does not: at least.
    denying: f64,
}

/// What the votes say about quorums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Margin {
    /// Share of the voters that accused, over all weighings that count.
    pub accusing_share: f64,
    /// The worst chance of a voter to accuse, where most of the quorums have to be expected.
    pub accusing_share_at_most: f64,
    /// Fewest voters of a weighing that counts.
    pub fewest_voters: u32,
    /// Weighings with a quorum that were counted, a day.
    pub quorums_a_day: f64,
    /// Weighings with a quorum that have to be expected, a day, among weighings like those that were seen.
    pub quorums_a_day_at_most: f64,
    /// The same among weighings with fewer voters than any that was seen: the price of a short run.
    pub quorums_a_day_unseen: f64,
    /// Declarations that have to be expected, a day.
    pub declared_a_day_at_most: f64,
    /// No more quorums were counted than the bound allows, and chance on top of it.
    pub is_bound_kept: bool,
}

impl Ballots {
    /// The judge looked.
    pub(crate) fn count(&mut self, accusations: &[Accusation]) {
        for accusation in accusations {
            let class = Class {
                observers: accusation.observers,
                voters: accusation.voters,
                asked: accusation.asked,
                is_heard: accusation.is_heard,
            };
            let seen = self.classes.entry(class).or_default();
            let accusers = accusation.accusers as usize;
            if seen.len() <= accusers {
                seen.resize(accusers + 1, Seen::default());
            }
            seen[accusers].weighings += 1;
            seen[accusers].undecided += u64::from(accusation.undecided);
        }
    }

    /// What follows for a day, if `quorums` were counted in `hours` and a quorum has to stand for `hold`.
    pub fn margin(&self, quorums: u64, hours: f64, hold: Duration) -> Margin {
        let config = DarkConfig::default();
        let heard = || self.classes.iter().filter(|(class, _)| class.is_heard);
        let mut groups: BTreeMap<Group, Vec<Alike<'_>>> = BTreeMap::new();
        for (class, seen) in heard() {
            for group in [class.group(), class.all()] {
                let group = groups.entry(group).or_default();
                group.push(Alike {
                    voters: class.voters,
                    seen,
                });
            }
        }
        let shares: BTreeMap<Group, Shares> = groups
            .iter()
            .filter(|(group, seen)| group.voters_log.is_none() || votes(seen) >= LEAST_VOTES)
            .map(|(group, seen)| (*group, shares(seen)))
            .collect();
        let mut margin = Margin {
            fewest_voters: heard().map(|(class, _)| class.voters).min().unwrap_or(0),
            accusing_share: mean_share(heard()),
            ..Margin::default()
        };
        let (mut expected, mut heaviest, mut worst) = (0.0, 0.0, 0.0_f64);
        for (class, seen) in heard() {
            let alike = shares.get(&class.group());
            let shares = *alike.unwrap_or_else(|| &shares[&class.all()]);
            let weighings: u64 = seen.iter().map(|seen| seen.weighings).sum();
            let chance = class.quorum_chance(shares, &config);
            let quorums = weighings as f64 * chance;
            if quorums > heaviest {
                (heaviest, margin.accusing_share_at_most) = (quorums, shares.accusing);
            }
            worst = worst.max(shares.accusing);
            expected += quorums;
        }
        // Cases with fewer voters than any that was seen: there may be some, and with as few as make a quorum.
        let mut unseen = 0.0;
        if margin.fewest_voters > config.min_accusers {
            let all = power(worst, config.min_accusers);
            unseen = UNSEEN * WEIGHINGS_OF_ONE * all;
        }
        // A quorum that stands is seen at its beginning and then in every evaluation.
        let looks = 1 + hold.min(config.pattern_hold).as_nanos() / SUSPICION_TICK.as_nanos();
        let days = hours / 24.0;
        margin.quorums_a_day = quorums as f64 / days;
        margin.quorums_a_day_at_most = expected / days;
        margin.quorums_a_day_unseen = unseen / days;
        margin.declared_a_day_at_most = (expected + unseen) / days / looks as f64;
        let chance = DEVIATIONS * (expected * WEIGHINGS_OF_ONE).sqrt() + UNSEEN * WEIGHINGS_OF_ONE;
        margin.is_bound_kept = quorums as f64 <= expected + chance;
        margin
    }
}

impl Class {
    /// Classes whose voters are alike: few observers each on their own, and numbers of voters by powers of two.
    fn group(self) -> Group {
        Group {
            observers: self.observers.min(MANY),
            voters_log: Some(self.voters.checked_ilog2().map_or(0, |log| log + 1)),
        }
    }

    /// All that accuse after as many losses.
    fn all(self) -> Group {
        Group {
            observers: u32::from(self.observers >= FEW),
            voters_log: None,
        }
    }

    /// Is this a quorum, but for the zones that the accusers come from? As the detector decides it.
    fn is_quorum(self, accusers: u32, undecided: u32, config: &DarkConfig) -> bool {
        let needed = self.observers.min(config.min_accusers).max(1);
        let asked = ANSWERED_SHARE * f64::from(self.asked);
        let mut counted = self.voters;
        if f64::from(accusers) >= asked {
            counted -= undecided;
        }
        self.is_heard
            && accusers >= needed
            && f64::from(accusers) >= config.high_share * f64::from(counted)
    }

    /// How likely a quorum is among independent voters.
    fn quorum_chance(self, shares: Shares, config: &DarkConfig) -> f64 {
        let voters = self.voters;
        let undecided_share = (1.0 - shares.accusing - shares.denying).max(0.0);
        let mut chance = 0.0;
        for accusers in 0..=voters {
            for undecided in 0..=voters - accusers {
                if self.is_quorum(accusers, undecided, config) {
                    let denying = voters - accusers - undecided;
                    chance += ways(voters, accusers, undecided)
                        * power(shares.accusing, accusers)
                        * power(undecided_share, undecided)
                        * power(shares.denying, denying);
                }
            }
        }
        chance
    }
}

fn power(share: f64, number: u32) -> f64 {
    share.powi(number as i32)
}

/// Ways to choose so many accusers, and so many undecided ones among the rest.
fn ways(voters: u32, accusers: u32, undecided: u32) -> f64 {
    let choose = |from: u32, take: u32| {
        (0..take).fold(1.0, |ways, i| ways * f64::from(from - i) / f64::from(i + 1))
    };
    choose(voters, accusers) * choose(voters - accusers, undecided)
}

fn votes(group: &[Alike<'_>]) -> f64 {
    let weighings = |seen: &[Seen]| seen.iter().map(|seen| seen.weighings).sum::<u64>() as f64;
    let votes = group
        .iter()
        .map(|alike| f64::from(alike.voters) * weighings(alike.seen));
    votes.sum()
}

fn mean_share<'a>(classes: impl Iterator<Item = (&'a Class, &'a Vec<Seen>)>) -> f64 {
    let (mut voters, mut accusing) = (0.0, 0.0);
    for (class, seen) in classes {
        for (accusers, seen) in seen.iter().enumerate() {
            voters += seen.weighings as f64 * f64::from(class.voters);
            accusing += seen.weighings as f64 * accusers as f64;
        }
    }
    if voters > 0.0 { accusing / voters } else { 0.0 }
}

/// The worst chances of a voter given any number of accusers, of weighings with these numbers of voters.
fn shares(group: &[Alike<'_>]) -> Shares {
    let mut worst = Shares {
        accusing: 0.0,
        denying: 1.0,
    };
    for given in 0.. {
        // Sums over all ways to choose `given` of the accusers; `trials` are the weighings' other voters, uncounted ways.
        let (mut weighings, mut trials) = (0, 0.0);
        let (mut others, mut accusing, mut denying) = (0.0, 0.0, 0.0);
        for Alike { voters, seen } in group {
            for (accusers, seen) in seen.iter().enumerate().skip(given) {
                let rest = f64::from(*voters) - given as f64;
                let ways = (0..given).fold(1.0, |ways, i| ways * (accusers - i) as f64);
                let number = seen.weighings as f64;
                weighings += seen.weighings;
                trials += number * rest;
                others += ways * number * rest;
                accusing += ways * number * (accusers - given) as f64;
                let decided = number * (f64::from(*voters) - accusers as f64);
                denying += ways * (decided - seen.undecided as f64);
            }
        }
        let is_enough = given == 0 || weighings >= LEAST_WEIGHINGS;
        if !is_enough || others <= 0.0 {
            return worst;
        }
        let spread = |share: f64| DEVIATIONS * (share * trials * WEIGHINGS_OF_ONE).sqrt();
        let accuses = accusing / others;
        let more = (spread(accuses) + UNSEEN * WEIGHINGS_OF_ONE) / trials;
        worst.accusing = worst.accusing.max((accuses + more).min(1.0));
        let denies = denying / others;
        worst.denying = worst
            .denying
            .min((denies - spread(denies) / trials).max(0.0));
        worst.denying = worst.denying.min(1.0 - worst.accusing);
    }
    worst
}

#[cfg(test)]
mod tests;
