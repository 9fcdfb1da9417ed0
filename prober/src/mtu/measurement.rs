//! One measurement of a pair: forward, reverse, and what follows from both. Pure: no socket, no clock.
//!
//! A packet of the interface's MTU that asks for a reply of the same length settles a healthy pair at once, beside a small
//! one that shows that the peer answers at all. Only when it is lost is each direction searched, first forward (large
//! requests that ask for small replies), then reverse (requests that pass, with replies as long as they are). From time to
//! time all sizes of the ladder are sent forward as well: a size can vanish although a larger one passes, where somebody on
//! the way fragments.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use meshprobe_core::detail::{MtuDetail, MtuLimit};
use meshprobe_core::path::Family;

use super::route::Egress;
use super::search::{FEWEST_LOSSES, Found, Limit, Search, Step, ladder};

/// Rounds of the opening; a peer that answers none of them is not measured.
const OPENING_ROUNDS: usize = 3;

/// Rounds of the ladder without an answer that are put up with.
const SILENT_LADDERS: u32 = 3;

/// How long the reply should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// As short as it can be.
    Short,
    /// As long as the request.
    Same,
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeProbe {
    /// Octets of the IP packet.
    pub size: u16,
    /// What reply it asks for.
    pub ask: Ask,
}

/// Who says that a packet is too big.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuser {
    /// A router, by ICMP.
    Router(IpAddr),
    /// The own kernel.
    Kernel,
}

/// The sizes that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of the smallest packet that can be asked with.
    pub smallest: u16,
    /// Of the largest packet that leaves this machine.
    pub largest: u16,
}

/// What the last measurement found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Forward, octets of IP packet.
    pub forward: u16,
    /// Reverse.
    pub reverse: u16,
}

/// How a measurement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both directions carry what they should.
    Passes,
    /// The path or the route carries less, and somebody says so.
    TooBig {
        /// What it carries.
        mtu: u16,
    },
    /// Larger packets vanish.
    BlackHole,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// In one word.
    pub ending: Ending,
    /// In full.
    pub detail: MtuDetail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    Forward,
    Reverse,
    Ladder,
    Over,
}

/// How long the replies of this peer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    /// As a request says.
    AsAsked,
    /// Short, whatever is asked: a reflector that does not return padding. Reverse cannot be measured.
    Short,
    /// As long as the request, whatever is asked: the directions cannot be told apart.
    OfTheRequest,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Measurement {
    family: Family,
    bounds: Bounds,
    known: Known,
    thorough: bool,
    stage: Stage,
    opening_rounds: usize,
    forward: Search,
    reverse: Option<Search>,
    found_forward: Option<Found>,
    found_reverse: Option<Found>,
    /// Sizes that passed forward.
    passed: BTreeSet<u16>,
    /// The longest reply to a request of its own length.
    longest_reply: u16,
    lengths: Lengths,
    signalled: Option<(u16, IpAddr)>,
    refused_by_kernel: bool,
    holes: BTreeMap<u16, u32>,
    silent_ladders: u32,
}

impl Measurement {
    /// A measurement between `bounds`. `thorough`: with all sizes of the ladder.
    pub fn new(family: Family, bounds: Bounds, known: Known, thorough: bool) -> Self {
        Self {
            family,
            bounds,
            known,
            thorough,
            stage: Stage::Opening,
            opening_rounds: 0,
            forward: Search::new(bounds.smallest..=bounds.largest, hint(known.forward)),
            reverse: None,
            found_forward: None,
            found_reverse: None,
            passed: BTreeSet::new(),
            longest_reply: 0,
            lengths: Lengths::AsAsked,
            signalled: None,
            refused_by_kernel: false,
            holes: BTreeMap::new(),
            silent_ladders: 0,
        }
    }

    /// A reply came, of an IP packet of `reply` octets. Late ones are as good.
    pub fn handle_reply(&mut self, probe: SizeProbe, reply: u16) {
        self.forward.handle_passed(probe.size);
        self.passed.insert(probe.size);
        if let Some(losses) = self.holes.remove(&probe.size) {
            self.forward.handle_accidents(losses);
        }
        if reply >= probe.size {
            self.longest_reply = self.longest_reply.max(probe.size);
            if let Some(reverse) = &mut self.reverse {
                reverse.handle_passed(probe.size);
            }
            if probe.ask == Ask::Short && probe.size > self.bounds.smallest {
                self.lengths = Lengths::OfTheRequest;
            }
        } else if probe.ask == Ask::Same {
            self.lengths = Lengths::Short;
        }
    }

    /// Somebody refused a probe. `false`: the message is not to be believed (RFC 8899 §4.6.2).
    pub fn handle_refusal(&mut self, probe: SizeProbe, mtu: u32, by: Refuser) -> bool {
        let Ok(mtu) = u16::try_from(mtu) else {
            return false;
        };
        // A message can lower the size, never raise it, and not below what the protocol guarantees.
        if mtu >= probe.size || self.passed.range(probe.size..).next().is_some() {
            return false;
        }
        let allowed = match by {
            Refuser::Kernel => {
                self.refused_by_kernel = true;
                Some(mtu)
            }
            Refuser::Router(router) => {
                let least = match self.family {
                    Family::V4 => 68,
                    Family::V6 => 1280,
                };
                // Routers older than RFC 1191 do not say what would fit.
                let untold = mtu == 0 && self.family == Family::V4;
                if mtu < least && !untold {
                    return false;
                }
                if self.signalled.is_none_or(|(known, _)| mtu < known) {
                    self.signalled = Some((mtu, router));
                }
                (!untold).then_some(mtu)
            }
        };
        self.forward.handle_refused(probe.size, allowed);
        true
    }

    /// A round is over: what got neither reply nor refusal, and whether anything of it was answered.
    pub fn handle_round(&mut self, lost: &[SizeProbe], answered: bool) {
        let sizes: Vec<u16> = lost.iter().map(|probe| probe.size).collect();
        match self.stage {
            Stage::Opening => self.opening_rounds += 1,
            Stage::Forward => self.forward.handle_round(&sizes, answered),
            Stage::Reverse => {
                if let Some(reverse) = &mut self.reverse {
                    reverse.handle_round(&sizes, answered);
                }
            }
            Stage::Ladder if answered => {
                for size in sizes {
                    match self.holes.get_mut(&size) {
                        Some(losses) => *losses += 1,
                        None => self.forward.handle_accidents(1),
                    }
                }
            }
            Stage::Ladder => self.silent_ladders += 1,
            Stage::Over => {}
        }
    }

    /// The next round; `None`: the measurement is over.
    pub fn next_round(&mut self) -> Option<Vec<SizeProbe>> {
        loop {
            let round = match self.stage {
                Stage::Opening => self.opening(),
                Stage::Forward => self.search_forward(),
                Stage::Reverse => self.search_reverse(),
                Stage::Ladder => self.climb(),
                Stage::Over => return None,
            };
            if round.is_some() {
                return round;
            }
        }
    }

    fn opening(&mut self) -> Option<Vec<SizeProbe>> {
        let Bounds { smallest, largest } = self.bounds;
        if self.longest_reply == largest
            || (self.lengths == Lengths::Short && self.forward.passed() == largest)
        {
            self.found_forward = Some(unlimited(largest));
            self.stage = Stage::Reverse;
            return None;
        }
        if self.forward.passed() > 0 {
            self.stage = Stage::Forward;
            return None;
        }
        if self.opening_rounds == OPENING_ROUNDS {
            self.stage = Stage::Over;
            return None;
        }
        let mut round = vec![probe(smallest, Ask::Short); self.opening_rounds + 1];
        round.push(probe(largest, Ask::Same));
        Some(round)
    }

    fn search_forward(&mut self) -> Option<Vec<SizeProbe>> {
        match self.forward.next_step() {
            Step::Send(sizes) => Some(probes(&sizes, Ask::Short)),
            Step::Found(found) => {
                self.found_forward = Some(found);
                self.stage = Stage::Reverse;
                None
            }
            Step::Silent => {
                self.stage = Stage::Over;
                None
            }
        }
    }

    fn search_reverse(&mut self) -> Option<Vec<SizeProbe>> {
        let largest = self.found_forward.map_or(self.bounds.smallest, |f| f.size);
        if self.lengths == Lengths::OfTheRequest || self.longest_reply >= largest {
            // Where replies are always as long as requests, what passed forward passed in both directions.
            self.found_reverse = Some(unlimited(largest));
        } else if self.lengths != Lengths::Short {
            let search = self.reverse.get_or_insert_with(|| {
                let hint = hint(self.known.reverse);
                let mut search = Search::new(self.bounds.smallest..=largest, hint);
                if self.longest_reply > 0 {
                    search.handle_passed(self.longest_reply);
                }
                search
            });
            match search.next_step() {
                Step::Send(sizes) => return Some(probes(&sizes, Ask::Same)),
                Step::Found(found) => self.found_reverse = Some(found),
                Step::Silent => {}
            }
        }
        self.stage = if self.thorough {
            let untried = ladder()
                .filter(|size| (self.bounds.smallest..largest).contains(size))
                .filter(|size| !self.passed.contains(size));
            self.holes = untried.map(|size| (size, 0)).collect();
            Stage::Ladder
        } else {
            Stage::Over
        };
        None
    }

    /// Every size of the ladder once, those that are lost again until it is no accident.
    fn climb(&mut self) -> Option<Vec<SizeProbe>> {
        let enough = self.enough_for_a_hole();
        let open = self.holes.iter().filter(|(_, losses)| **losses < enough);
        let mut sizes: Vec<u16> = open
            .flat_map(|(size, losses)| {
                let copies = if *losses == 0 { 1 } else { FEWEST_LOSSES };
                std::iter::repeat_n(*size, copies as usize)
            })
            .collect();
        if sizes.is_empty() || self.silent_ladders > SILENT_LADDERS {
            self.stage = Stage::Over;
            return None;
        }
        sizes.extend([self.forward.passed(); 2]);
        Some(probes(&sizes, Ask::Short))
    }

    fn enough_for_a_hole(&self) -> u32 {
        // As for a limit: what chance does not explain, and as many again.
        2 * self.forward.needed_losses()
    }

    /// What was found, if it was: neither is there a conclusion without an answer, nor from a search that was cut off.
    pub fn conclude(&self, egress: Egress) -> Option<Conclusion> {
        let mut forward = self.found_forward?;
        let enough = self.enough_for_a_hole();
        let hole = self.holes.iter().find(|(_, losses)| **losses >= enough);
        if let Some((hole, _)) = hole {
            let below = self.passed.range(..hole).next_back();
            forward = Found {
                size: below.copied().unwrap_or(0),
                limit: Limit::Losses,
            };
        }
        // Not measurable with such a reflector, as opposed to not found in time.
        let reverse = match self.found_reverse {
            Some(reverse) => Some(reverse),
            None if self.lengths == Lengths::Short => None,
            None => return None,
        };
        let reverse_size = reverse.map_or(0, |reverse| reverse.size.min(forward.size));
        let signalled = self
            .signalled
            .filter(|(mtu, _)| *mtu == 0 || *mtu >= forward.size);
        let forward_limit = self.forward_limit(forward, egress, signalled.map(|(mtu, _)| mtu));
        let detail = MtuDetail {
            forward: forward.size,
            forward_limit,
            reverse: reverse_size,
            reverse_limit: match reverse {
                Some(found) if found.limit != Limit::None => MtuLimit::BlackHole,
                Some(_) if reverse_size == self.bounds.largest => MtuLimit::Interface,
                _ => MtuLimit::Unknown,
            },
            signalled_mtu: signalled.map_or(0, |(mtu, _)| mtu),
            signalled_by: signalled.map(|(_, router)| router),
            interface_mtu: egress.interface_mtu,
            route_mtu: egress.route_mtu,
        };
        let expected = self.bounds.largest.min(egress.configured_mtu());
        let ending = if detail.forward < expected {
            match forward_limit {
                MtuLimit::Signalled => Ending::TooBig {
                    mtu: match detail.signalled_mtu {
                        0 => detail.forward,
                        mtu => mtu,
                    },
                },
                MtuLimit::Local => Ending::TooBig {
                    mtu: detail.forward,
                },
                _ => Ending::BlackHole,
            }
        } else if reverse.is_some() && detail.reverse < expected {
            Ending::BlackHole
        } else {
            Ending::Passes
        };
        Some(Conclusion { ending, detail })
    }

    fn forward_limit(&self, forward: Found, egress: Egress, signalled: Option<u16>) -> MtuLimit {
        if forward.limit == Limit::None {
            return MtuLimit::Interface;
        }
        // What an application sends ends at the route's MTU, so nothing that it sends is lost.
        if egress.configured_mtu() <= forward.size {
            return MtuLimit::Local;
        }
        match signalled {
            Some(0) => MtuLimit::Signalled,
            Some(mtu) if mtu == forward.size => MtuLimit::Signalled,
            _ if forward.limit == Limit::Refused && self.refused_by_kernel => MtuLimit::Local,
            _ if forward.limit == Limit::Refused => MtuLimit::Signalled,
            _ => MtuLimit::BlackHole,
        }
    }
}

const fn probe(size: u16, ask: Ask) -> SizeProbe {
    SizeProbe { size, ask }
}

fn probes(sizes: &[u16], ask: Ask) -> Vec<SizeProbe> {
    sizes.iter().map(|size| probe(*size, ask)).collect()
}

const fn unlimited(size: u16) -> Found {
    Found {
        size,
        limit: Limit::None,
    }
}

fn hint(size: u16) -> Option<u16> {
    (size > 0).then_some(size)
}

#[cfg(test)]
mod tests;
