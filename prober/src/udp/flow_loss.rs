//! Loss by flow: is a path lossy, or are some of its flows dead?
//!
//! A dead member of an ECMP group takes every packet of the flows that hash to it and spares the others; a full queue takes
//! packets of all flows. Seen from one path both are loss. So while a path is lossy its probes are counted by source
//! port. A flow is called dead if each of its probes was lost, three at least, and the others' loss does not explain
//! that.
//!
//! An outage says nothing about flows: a row of losses that goes once through all ports is left out of the counts.
//! Bounded in paths, in flows of a path, and in time.

use std::collections::HashMap;
use std::time::Duration;

use meshprobe_core::detail::{FlowLoss, MAX_ENTRIES};
use meshprobe_core::time::Moment;
use smallvec::SmallVec;

use super::flow::FLOWS;
use crate::path_id::PathId;

/// Paths that are kept. If more lose packets, it is not their flows.
const MAX_PATHS: usize = 256;

/// Flows of one path that are kept, those that were used last.
const MAX_FLOWS: usize = MAX_ENTRIES;

/// A path that lost nothing for so long is not lossy any more. Longer than a port lives.
const LOSSY: Duration = Duration::from_secs(60);

/// A flow with fewer probes is not judged.
const FEWEST: u32 = 3;

/// How probable it may be that chance makes any flow of a path look dead.
const CHANCE: f64 = 0.01;

/// Losses in a row that are no matter of flows: as many as there are ports at a time.
const OUTAGE: usize = FLOWS as usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    port: u16,
    sent: u32,
    lost: u32,
}

impl Count {
    const fn looks_dead(self) -> bool {
        self.sent >= FEWEST && self.lost == self.sent
    }
}

/// The flows of one path.
#[derive(Clone, Debug)]
struct PathFlows {
    last_loss: Moment,
    /// Used last comes last.
    counts: Vec<Count>,
    /// Ports of the losses since the last answer, not counted yet; full: an outage.
    row: SmallVec<[u16; OUTAGE]>,
}

/// The flows of the paths that are lossy.
#[derive(Clone, Debug, Default)]
pub struct FlowTable {
    paths: HashMap<PathId, PathFlows>,
}

impl FlowTable {
    /// A probe was answered. Nothing is kept of a path that is not lossy.
    #[inline]
    pub fn handle_answer(&mut self, path: PathId, port: u16, now: Moment) {
        // Nearly always: nothing is lossy.
        if self.paths.is_empty() {
            return;
        }
        if let Some(flows) = self.paths.get_mut(&path) {
            flows.handle_answer(port);
            if flows.last_loss + LOSSY <= now {
                self.paths.remove(&path);
            }
        }
    }

    /// A probe was lost.
    pub fn handle_loss(&mut self, path: PathId, port: u16, now: Moment) {
        if !self.paths.contains_key(&path) {
            if self.paths.len() >= MAX_PATHS {
                self.paths.retain(|_, flows| flows.last_loss + LOSSY > now);
            }
            if self.paths.len() >= MAX_PATHS {
                return;
            }
        }
        let flows = self.paths.entry(path).or_insert_with(|| PathFlows {
            last_loss: now,
            counts: Vec::new(),
            row: SmallVec::new(),
        });
        flows.last_loss = now;
        if flows.row.len() < OUTAGE {
            flows.row.push(port);
        }
    }

    /// A probe that was called lost was answered after all: its flow is alive.
    pub fn handle_late(&mut self, path: PathId, port: u16) {
        if let Some(flows) = self.paths.get_mut(&path) {
            flows.handle_late(port);
        }
    }

    /// The path is gone.
    pub fn forget(&mut self, path: PathId) {
        self.paths.remove(&path);
    }

    /// What is known of a path's flows; `None` if it is not lossy.
    pub fn summary(&self, path: PathId) -> Option<FlowLoss> {
        Some(self.paths.get(&path)?.summary())
    }

    /// A flow that loses everything: the newest one of an outage, or one of those that are dead while others live.
    pub fn dead_port(&self, path: PathId) -> Option<u16> {
        let flows = self.paths.get(&path)?;
        if let Some(newest) = flows.row.last() {
            return Some(*newest);
        }
        flows.summary().failing_ports.first().copied()
    }

    /// Is the path lossy?
    pub fn is_lossy(&self, path: PathId) -> bool {
        !self.paths.is_empty() && self.paths.contains_key(&path)
    }
}

impl PathFlows {
    fn handle_answer(&mut self, port: u16) {
        let row = std::mem::take(&mut self.row);
        if row.len() < OUTAGE {
            for lost in row {
                let count = self.count(lost);
                count.sent = count.sent.saturating_add(1);
                count.lost = count.lost.saturating_add(1);
            }
        }
        let count = self.count(port);
        count.sent = count.sent.saturating_add(1);
    }

    fn handle_late(&mut self, port: u16) {
        let in_row = self.row.iter().position(|lost| *lost == port);
        if let Some(place) = in_row {
            // Of an outage nothing is counted, so nothing has to be taken back.
            if self.row.len() < OUTAGE {
                self.row.remove(place);
                let count = self.count(port);
                count.sent = count.sent.saturating_add(1);
            }
        } else {
            let count = self.count(port);
            count.lost = count.lost.saturating_sub(1);
            count.sent = count.sent.max(1);
        }
    }

    /// The count of a flow, moved to the end; the flow that was unused for longest makes room.
    fn count(&mut self, port: u16) -> &mut Count {
        let place = self.counts.iter().position(|count| count.port == port);
        let count = match place {
            Some(place) => self.counts.remove(place),
            None => Count {
                port,
                sent: 0,
                lost: 0,
            },
        };
        if self.counts.len() >= MAX_FLOWS {
            self.counts.remove(0);
        }
        let last = self.counts.len();
        self.counts.push(count);
        &mut self.counts[last]
    }

    fn summary(&self) -> FlowLoss {
        if self.row.len() == OUTAGE {
            // Nothing passes, whichever port it comes from.
            let mut ports = self.row.to_vec();
            ports.sort_unstable();
            ports.dedup();
            let tested = ports.len() as u32;
            return FlowLoss {
                tested,
                failing: tested,
                failing_ports: ports,
                ..FlowLoss::default()
            };
        }
        let judged = || self.counts.iter().filter(|count| count.sent >= FEWEST);
        let tested = judged().count() as u32;
        let (mut sent, mut lost) = (0_u32, 0_u32);
        for other in self.counts.iter().filter(|count| !count.looks_dead()) {
            sent = sent.saturating_add(other.sent);
            lost = lost.saturating_add(other.lost);
        }
        // Laplace's rule: nobody who saw few probes can say that nothing is ever lost.
        let probability = f64::from(lost + 1) / f64::from(sent + 2);
        // Those that may be dead, and it is too early to say, are neither.
        let (dead, living): (Vec<&Count>, Vec<&Count>) =
            judged().partition(|count| count.looks_dead());
        let failing = dead
            .iter()
            .filter(|count| probability.powf(f64::from(count.sent)) * f64::from(tested) <= CHANCE);
        let mut failing_ports: Vec<u16> = failing.map(|count| count.port).collect();
        failing_ports.sort_unstable();
        FlowLoss {
            tested,
            failing: failing_ports.len() as u32,
            failing_ports,
            living_sent: living.iter().map(|count| count.sent).sum(),
            living_lost: living.iter().map(|count| count.lost).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path() -> PathId {
        PathId::for_test(1)
    }

    const fn second(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1_000)
    }

    /// Probes a path once a second, by turns from eight ports; `lost` says which are lost.
    fn probe(
        table: &mut FlowTable,
        seconds: std::ops::Range<u64>,
        mut lost: impl FnMut(u16) -> bool,
    ) {
        for at in seconds {
            let port = 40_000 + (at % 8) as u16;
            if lost(port) {
                table.handle_loss(path(), port, second(at));
            } else {
                table.handle_answer(path(), port, second(at));
            }
        }
    }

    #[test]
    fn a_path_without_loss_costs_nothing() {
        let mut table = FlowTable::default();
        probe(&mut table, 0..100, |_| false);
        assert_eq!(table.summary(path()), None);
        assert!(table.paths.is_empty());
    }

    #[test]
    fn flows_that_lose_everything_while_others_pass_are_dead() {
        let mut table = FlowTable::default();
        probe(&mut table, 0..26, |port| port == 40_001 || port == 40_006);
        let told = table.summary(path()).unwrap();
        assert_eq!((told.tested, told.failing), (8, 2));
        assert_eq!(told.failing_ports, [40_001, 40_006]);
    }

    #[test]
    fn half_of_the_flows_can_be_dead() {
        let mut table = FlowTable::default();
        probe(&mut table, 0..100, |port| port < 40_004);
        assert_eq!(table.summary(path()).unwrap().failing, 4);
    }

    #[test]
    fn an_outage_kills_no_flow_and_while_it_lasts_all_of_them() {
        let mut table = FlowTable::default();
        probe(&mut table, 0..40, |_| true);
        let told = table.summary(path()).unwrap();
        assert_eq!((told.tested, told.failing), (8, 8));
        probe(&mut table, 40..80, |_| false);
        assert_eq!(table.summary(path()).unwrap().failing, 0);
    }

    #[test]
    fn a_path_that_has_recovered_is_forgotten() {
        let mut table = FlowTable::default();
        probe(&mut table, 0..10, |port| port == 40_003);
        assert!(table.is_lossy(path()));
        probe(&mut table, 10..80, |_| false);
        assert!(!table.is_lossy(path()));
    }

    #[test]
    fn a_late_answer_shows_that_the_flow_is_alive() {
        let mut table = FlowTable::default();
        for at in 0..80 {
            let port = 40_000 + (at % 8) as u16;
            table.handle_loss(path(), port, second(at));
            table.handle_late(path(), port);
        }
        assert_eq!(table.summary(path()).unwrap().failing, 0);
    }

    #[test]
    fn paths_and_flows_are_bounded() {
        let mut table = FlowTable::default();
        for number in 0..1_000 {
            table.handle_loss(PathId::for_test(number), 1, second(1));
        }
        assert_eq!(table.paths.len(), MAX_PATHS);
        let lossy = PathId::for_test(0);
        for port in 0..1_000 {
            table.handle_loss(lossy, port, second(2));
            table.handle_answer(lossy, port + 1, second(2));
        }
        assert!(table.paths[&lossy].counts.len() <= MAX_FLOWS);
        // Room again when the others have settled.
        let late = second(100);
        table.handle_loss(PathId::for_test(2_000), 1, late);
        assert!(table.is_lossy(PathId::for_test(2_000)));
    }

    /// `SplitMix64`, as a number from 0 to 1.
    fn chance(state: &mut u64) -> f64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[test]
    fn random_loss_is_hardly_ever_taken_for_dead_flows() {
        for loss in [0.01, 0.1, 0.3, 0.5] {
            let mut judgements = 0;
            let mut wrong = 0;
            for seed in 0..200 {
                let mut state = seed;
                let mut table = FlowTable::default();
                for block in 0..10 {
                    probe(&mut table, block * 16..(block + 1) * 16, |_| {
                        chance(&mut state) < loss
                    });
                    if let Some(told) = table.summary(path()) {
                        judgements += 1;
                        // Eight losses in a row are an outage, and not what is asked here.
                        wrong += usize::from(told.failing > 0 && told.failing < told.tested);
                    }
                }
            }
            let share = f64::from(wrong as u32) / f64::from(judgements.max(1));
            assert!(share < 0.02, "{share} of {judgements} at {loss}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_happens_breaks_the_counts(events in prop::collection::vec((0_u8..3, 0_u16..20), 0..500)) {
            let mut table = FlowTable::default();
            for (i, (event, port)) in events.into_iter().enumerate() {
                match event {
                    0 => table.handle_loss(path(), port, second(i as u64)),
                    1 => table.handle_answer(path(), port, second(i as u64)),
                    _ => table.handle_late(path(), port),
                }
                if let Some(told) = table.summary(path()) {
                    prop_assert!(told.failing <= told.tested);
                    prop_assert_eq!(told.failing as usize, told.failing_ports.len());
                }
                let sound = |flows: &PathFlows| flows.counts.iter().all(|count| count.lost <= count.sent);
                prop_assert!(table.paths.values().all(sound));
            }
        }
    }
}
