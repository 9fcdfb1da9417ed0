//! What every source says of every target, without what lower layers explain.

use std::time::Duration;

use super::recent::RecentLoss;
use crate::detail::Detail;
use crate::diagnosis::{
    CellPicture, Columns, Explained, LayerPicture, Picture, Target, TargetName,
};
use crate::ids::{NodeIndex, NodeName};
use crate::outcome::OutcomeClass;
use crate::path::{Layer, ProbeKind};
use crate::time::{Mark, Moment};
use crate::verdict::{Thresholds, Verdict};

/// Loss that a healthy network has.
const HEALTHY: f64 = 1e-3;
/// A row of losses that chance makes less often than this is a failure.
const CHANCE: f64 = 1e-5;
/// Where lower layers explain this much, nothing more can be told.
const HOPELESS: f64 = 0.9;
/// Losses of one cell that count: more of them say nothing new.
const LOSSES_COUNT: u32 = 4;
/// Replies after an outage, until which it has only just ended: all cells have been asked again by then.
const FRESH: u8 = 4;
/// The probe that follows a loss comes so much later.
const FOLLOWS: Duration = Duration::from_millis(250);
/// Losses in a row that are an outage, and no chance.
pub(super) const OUTAGE: u8 = 3;
/// What is no news waits so long for its report.
const REPORTED: Duration = Duration::from_secs(10);
/// Nothing that was lost before is left in counts that fade.
const LONG_AGO: Duration = Duration::from_secs(240);
/// Losses that make a failure of several cells.
const LEAST_LOSSES: u32 = 6;

/// One path to a target.
#[derive(Clone, Debug)]
pub(super) struct Cell<'a> {
    pub(super) source: NodeIndex,
    /// Place in [`View::targets`].
    pub(super) target: usize,
    pub(super) layer: Layer,
    pub(super) interval: Duration,
    pub(super) seen: &'a CellPicture,
    pub(super) detail: Option<&'a Detail>,
    /// Loss that lower layers, and what was found before, explain.
    pub(super) expected: f64,
    /// Share of what was sent to the target's node lately, by other means, that did not come through: a failure between
    /// nodes that is over still has its losses in the counts here.
    pub(super) recent: f64,
    /// The same for the counts of the longer time.
    pub(super) long_ago: f64,
    /// The share of the slot before the newest one that the fast window still holds.
    pub(super) older: f64,
    /// Seconds of a slot.
    pub(super) slot: f64,
}

/// What a cell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing, or nothing beyond what is explained.
    Unknown,
    /// The newest probe was answered as it should be.
    Alive,
    /// Something was lost; it may be chance.
    Doubt,
    /// More was lost in a row than chance explains.
    Failing,
}

impl Cell<'_> {
    /// The loss that is usual here.
    pub(super) fn usual(&self) -> f64 {
        self.expected.max(HEALTHY)
    }

    pub(super) fn word(&self) -> Word {
        match self.seen.verdict {
            Verdict::NotSampled | Verdict::NoData => return Word::Unknown,
            _ => {}
        }
        let losses = self.seen.consecutive_losses;
        if losses == 0 {
            return Word::Alive;
        }
        let chance = self.chance_of_loss();
        if self.expected >= HOPELESS || chance >= HOPELESS {
            return Word::Unknown;
        }
        if f64::from(losses) * chance.ln() <= CHANCE.ln() {
            Word::Failing
        } else {
            Word::Doubt
        }
    }

    /// The chance that a probe fails as its last one did, by the loss of packets that is usual here.
    fn chance_of_loss(&self) -> f64 {
        let packets = self.usual();
        match self.layer.kind {
            ProbeKind::Tls | ProbeKind::Http if self.is_timeout() => exchange_fails(packets),
            _ => packets.powi(self.tries() as i32),
        }
    }

    fn is_timeout(&self) -> bool {
        self.seen.failure == Some(OutcomeClass::Timeout)
    }

    /// It fails, and the other side answered something.
    pub(super) fn is_wrong(&self) -> bool {
        self.word() == Word::Failing
            && matches!(
                self.seen.failure,
                Some(OutcomeClass::Rcode | OutcomeClass::WrongAnswer)
            )
    }

    /// It answers again after losses in a row, and has not answered often since then.
    fn is_recovering(&self) -> bool {
        self.has_started_over() || (self.is_fresh() && self.seen.long_lost >= 2.0)
    }

    /// A long outage has just ended: its cell has forgotten it, and knows few answers.
    pub(super) fn has_started_over(&self) -> bool {
        let seen = self.seen;
        // Of a path that is young no more is known than the answers that it has got; none of them counts for more than one.
        let is_old = seen.long_sent > f32::from(seen.consecutive_replies) + 0.5;
        self.is_fresh() && seen.long_lost < 0.5 && is_old
    }

    fn is_fresh(&self) -> bool {
        self.word() == Word::Alive && self.seen.consecutive_replies < FRESH
    }

    /// Longest wait of its probes, as plans have it.
    const fn patience(&self) -> Duration {
        Duration::from_secs(match self.layer.kind {
            ProbeKind::TcpConnect => 4,
            ProbeKind::DnsSearch | ProbeKind::Tls => 5,
            ProbeKind::Http => 10,
            _ => 1,
        })
    }

    /// Packets that have to be lost for one loss: a connection that is waited for asks again after one and after three seconds.
    fn tries(&self) -> u32 {
        let repeats = matches!(
            self.layer.kind,
            ProbeKind::TcpConnect | ProbeKind::Tls | ProbeKind::Http
        );
        if repeats && self.is_timeout() { 3 } else { 1 }
    }

    /// Losses that count.
    fn weight(&self) -> u32 {
        (u32::from(self.seen.consecutive_losses) * self.tries()).min(LOSSES_COUNT)
    }

    /// When the first probe of the losses at its end was sent, about; `None`: there are none.
    pub(super) fn began(&self) -> Option<Moment> {
        Some(self.first_known()? - self.wait())
    }

    /// When the first of the losses at its end was known, about; `None`: there are none.
    pub(super) fn first_known(&self) -> Option<Moment> {
        if self.seen.consecutive_losses == 0 {
            return None;
        }
        // The first window of the row may have begun long before the loss in it, and more may be probed than its turns and the
        // probes that follow a loss. So each of the two is the longest time that it can have been.
        let by_count = self.row_lasts(self.seen.consecutive_losses.into());
        let by_time = self.seen.reported_at?.moment() - self.seen.failing_for;
        Some(by_time.max(self.seen.lost_at?.moment() - by_count))
    }

    /// Nobody has asked here since that moment: what it says is of an earlier time.
    pub(super) fn is_older_than(&self, moment: Moment) -> bool {
        self.probed_at().is_some_and(|probed| probed < moment)
    }

    /// From the first of so many losses in a row to the last: those that follow the first one, then one in each turn.
    fn row_lasts(&self, losses: u32) -> Duration {
        let follows = (self.wait() + FOLLOWS) * losses.min(LOSSES_COUNT).saturating_sub(1);
        match losses.checked_sub(LOSSES_COUNT + 1) {
            None => follows,
            Some(more) => {
                let turns = follows.as_secs_f64() / self.interval.as_secs_f64().max(0.001);
                self.interval * (turns.ceil() as u32 + more)
            }
        }
    }

    /// End of the newest window in which all was answered; also wrongly. `None`: it was not.
    pub(super) fn answered_at(&self) -> Option<Moment> {
        (self.word() == Word::Alive || self.is_wrong())
            .then(|| self.probed_at())
            .flatten()
    }

    /// How probable it is that its newest answer is of a probe since that moment.
    pub(super) fn asked_since(&self, moment: Moment) -> f64 {
        let later = self.probed_at().map(|at| at.saturating_since(moment));
        let window = REPORTED.min(self.interval);
        later.map_or(0.0, |later| {
            (later.as_secs_f64() / window.as_secs_f64().max(0.001)).min(1.0)
        })
    }

    /// How long its last failed probe was waited for.
    fn wait(&self) -> Duration {
        if self.is_timeout() {
            self.patience()
        } else {
            Duration::ZERO
        }
    }

    /// The newest probe of this one was sent no earlier.
    fn asked_after(&self) -> Option<Moment> {
        Some(self.probed_at()? - self.patience() - REPORTED)
    }

    /// Was this one failing when the newest probe of `other` was sent? It may be over since then.
    pub(super) fn failed_with(&self, other: &Cell<'_>) -> bool {
        let is_outage = self.seen.lost_in_row >= OUTAGE;
        match (self.seen.lost_at, other.asked_after()) {
            (Some(lost), Some(asked)) => is_outage && lost.moment() + self.interval >= asked,
            _ => false,
        }
    }

    /// Its newest probe was sent before that moment.
    pub(super) fn was_asked_before(&self, moment: Moment) -> bool {
        self.probed_at()
            .is_some_and(|known| known <= moment + self.patience())
    }

    /// End of the newest window with a probe in it. What fails is reported without one, too.
    fn probed_at(&self) -> Option<Moment> {
        let seen = self.seen;
        let mark = if seen.consecutive_losses > 0 {
            seen.lost_at
        } else {
            seen.reported_at
        };
        mark.map(Mark::moment)
    }

    /// How long it has been failing.
    pub(super) fn failing_for(&self) -> Duration {
        let known = self.seen.reported_at.map(Mark::moment);
        let times = known.zip(self.began());
        times.map_or(Duration::ZERO, |(known, began)| {
            known.saturating_since(began)
        })
    }
}

/// Words of several cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) alive: u32,
    pub(super) doubt: u32,
    pub(super) failing: u32,
    losses: u32,
    /// Losses of cells in doubt.
    doubts: u32,
}

impl Tally {
    pub(super) fn of<'a>(cells: impl IntoIterator<Item = &'a Cell<'a>>) -> Self {
        let mut tally = Self::default();
        for cell in cells {
            match cell.word() {
                Word::Unknown => {}
                Word::Alive => tally.alive += 1,
                Word::Doubt => {
                    tally.doubt += 1;
                    tally.doubts += cell.weight();
                }
                Word::Failing => {
                    tally.failing += 1;
                    tally.losses += cell.weight();
                }
            }
        }
        tally
    }

    /// Who says something that counts.
    pub(super) const fn decided(&self) -> u32 {
        self.alive + self.failing
    }

    /// Nothing gets through, by what all of them say together: where a probe waits for seconds, each has lost one or two.
    pub(super) fn is_cut(&self) -> bool {
        let silent = self.failing + self.doubt;
        let losses = self.losses + self.doubts;
        mostly(silent, silent + self.alive)
            && (losses >= LEAST_LOSSES || (self.alive == 0 && losses >= LOSSES_COUNT))
    }

    /// Nothing gets through: four of five say so, few are in doubt, and there are losses enough.
    pub(super) fn is_total(&self) -> bool {
        self.failing > 0
            && mostly(self.failing, self.decided())
            && self.doubt <= self.failing
            && self.losses >= LEAST_LOSSES.min(LOSSES_COUNT * self.failing)
    }
}

/// Is a failure that these cells still show just ending at the others? Then it is no failure of these alone: nobody has asked
/// them again yet. Outages of another length are other ones.
pub(super) fn is_ending<'a>(
    failing: impl IntoIterator<Item = &'a Cell<'a>>,
    others: impl IntoIterator<Item = &'a Cell<'a>>,
) -> bool {
    let failing = failing
        .into_iter()
        .filter(|cell| cell.word() == Word::Failing);
    let row = failing.map(|cell| cell.seen.consecutive_losses).min();
    let Some(row) = row else {
        return false;
    };
    let least = 0.4 * f32::from(row.min(16));
    others.into_iter().any(|cell| {
        cell.has_started_over() || (cell.is_recovering() && cell.seen.long_lost >= least)
    })
}

/// Four of five.
pub(super) const fn mostly(some: u32, all: u32) -> bool {
    some > 0 && 5 * some >= 4 * all
}

/// Where the packets for a target end.
#[derive(Clone, Debug, Default)]
pub(super) struct Homes {
    /// One of these each time; `None` among them: outside the mesh, or nobody knows.
    pub(super) any: Vec<Option<NodeIndex>>,
    /// Those are only asked for its name; the target itself is outside.
    pub(super) is_named: bool,
    /// Whoever is asked there has to ask on, outside.
    pub(super) is_forwarded: bool,
}

/// The way from a node to a target.
struct Way<'a> {
    explained: &'a Explained,
    source: NodeIndex,
    layer: Layer,
}

impl Way<'_> {
    fn expected_loss(&self, homes: &Homes) -> f64 {
        if !homes.is_named {
            return self.to_any(homes, self.layer);
        }
        let names = Layer {
            kind: ProbeKind::DnsSearch,
            ..self.layer
        };
        let outside = self.explained.expected_loss(self.source, None, self.layer);
        1.0 - (1.0 - outside) * (1.0 - self.to_any(homes, names))
    }

    /// A server asks on by UDP, or the way it was asked.
    fn asked_on(&self, host: NodeIndex, layer: Layer) -> f64 {
        let by_udp = Layer {
            kind: ProbeKind::DnsUdp,
            ..layer
        };
        let outside = |layer| self.explained.expected_loss(host, None, layer);
        outside(layer).max(outside(by_udp))
    }

    /// A virtual IP leads to each of its backends in turn.
    fn to_any(&self, homes: &Homes, layer: Layer) -> f64 {
        let each = homes.any.iter().map(|host| {
            let there = self.explained.expected_loss(self.source, *host, layer);
            let host = host.filter(|_| homes.is_forwarded);
            let on = host.map_or(0.0, |host| self.asked_on(host, layer));
            1.0 - (1.0 - there) * (1.0 - on)
        });
        each.sum::<f64>() / homes.any.len().max(1) as f64
    }
}

/// Everything that is said of targets.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) picture: &'a Picture,
    /// Whose names the cluster's own servers know by themselves.
    pub(super) domains: &'a [String],
    pub(super) targets: Vec<&'a Target>,
    pub(super) cells: Vec<Cell<'a>>,
    pub(super) recent: RecentLoss,
}

impl<'a> View<'a> {
    /// `counts`: whose word counts. `hosts`: where the packets for a target end.
    pub(super) fn new(
        picture: &'a Picture,
        domains: &'a [String],
        explained: &Explained,
        counts: &dyn Fn(NodeIndex) -> bool,
        hosts: &dyn Fn(&TargetName, ProbeKind) -> Homes,
    ) -> Self {
        let mut view = Self {
            picture,
            domains,
            targets: Vec::new(),
            cells: Vec::new(),
            recent: RecentLoss::new(picture),
        };
        for layer in &picture.layers {
            if let Columns::Targets(targets) = &layer.columns {
                view.add(layer, targets, explained, counts, hosts);
            }
        }
        view
    }

    fn add(
        &mut self,
        layer: &'a LayerPicture,
        targets: &'a [Target],
        explained: &Explained,
        counts: &dyn Fn(NodeIndex) -> bool,
        hosts: &dyn Fn(&TargetName, ProbeKind) -> Homes,
    ) {
        let kind = layer.layer.kind;
        let recent = &self.recent;
        let now = self.picture.now;
        let (older, slot) = older(now, layer.interval);
        let window = Duration::from_secs_f64(2.0 * slot);
        let (lately, long_ago) = (recent.outages(now - window), recent.outages(now - LONG_AGO));
        let first = self.targets.len();
        let homes: Vec<Homes> = targets.iter().map(|t| hosts(&t.name, kind)).collect();
        self.targets.extend(targets);
        for (source, row) in layer.rows.iter().enumerate() {
            let source = NodeIndex(source as u32);
            let Some(row) = row.as_deref().filter(|_| counts(source)) else {
                continue;
            };
            for (column, seen) in row.iter() {
                let Some(homes) = homes.get(column) else {
                    continue;
                };
                if matches!(seen.verdict, Verdict::NotSampled | Verdict::NoData) {
                    continue;
                }
                let way = Way {
                    explained,
                    source,
                    layer: layer.layer,
                };
                let expected = way.expected_loss(homes);
                self.cells.push(Cell {
                    source,
                    target: first + column,
                    layer: layer.layer,
                    interval: layer.interval,
                    seen,
                    detail: row.detail(column),
                    expected,
                    older,
                    slot,
                    recent: recent.of_way(source, &homes.any, &lately, kind),
                    long_ago: recent.of_way(source, &homes.any, &long_ago, kind),
                });
            }
        }
    }

    pub(super) fn name(&self, cell: &Cell<'_>) -> &'a TargetName {
        &self.targets[cell.target].name
    }

    pub(super) fn heading(&self, cell: &Cell<'_>) -> &'a str {
        &self.targets[cell.target].heading
    }

    pub(super) fn node(&self, node: NodeIndex) -> Option<&'a NodeName> {
        self.picture.node(node).map(|known| &known.name)
    }

    /// Cells may still have the losses of something that is over in their counts: such a share of what was sent.
    pub(super) fn remember(&mut self, share: impl Fn(&Self, &Cell<'_>) -> Option<f64>) {
        for place in 0..self.cells.len() {
            if let Some(share) = share(self, &self.cells[place]) {
                let cell = &mut self.cells[place];
                cell.recent = cell.recent.max(share);
                cell.long_ago = cell.long_ago.max(share);
            }
        }
    }

    /// What was found explains a share of what these cells lose.
    pub(super) fn explain(&mut self, share: f64, which: impl Fn(&Self, &Cell<'_>) -> bool) {
        for place in 0..self.cells.len() {
            if which(self, &self.cells[place]) {
                let cell = &mut self.cells[place];
                cell.expected = 1.0 - (1.0 - cell.expected) * (1.0 - share);
            }
        }
    }
}

/// The chance that an exchange of four round trips does not come to its end in the five to ten seconds that it is waited for, in
/// which there is time for three retransmissions: four of seven packets are lost, each with this chance.
fn exchange_fails(packets: f64) -> f64 {
    let passes = 1.0 - packets;
    let exactly = |lost: i32, ways: f64| ways * packets.powi(lost) * passes.powi(7 - lost);
    exactly(4, 35.0) + exactly(5, 21.0) + exactly(6, 7.0) + exactly(7, 1.0)
}

/// How much of the slot before the newest one counts still, and the seconds of a slot.
fn older(now: Moment, interval: Duration) -> (f64, f64) {
    let window = Thresholds::for_mesh(1, interval.as_secs_f64(), 0.0).window_seconds;
    let slot = u64::from(window.max(1)) * 1_000;
    let slot = slot as f64;
    (1.0 - now.as_millis() as f64 % slot / slot, slot / 1_000.0)
}

/// Does any cell say something that a healthy target does not? Cheap, for the many looks at which all is well.
pub(super) fn is_worth_a_look(picture: &Picture) -> bool {
    picture
        .layers
        .iter()
        .filter(|layer| matches!(layer.columns, Columns::Targets(_)))
        .flat_map(|layer| layer.rows.iter().flatten())
        .flat_map(|row| &row.cells)
        .any(|cell| cell.consecutive_losses > 0 || cell.lost > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::sketch::layer;
    use crate::path::{Family, Plane};

    #[test]
    fn a_cell_that_knows_of_more_than_its_newest_answers_has_forgotten_an_outage() {
        let has_started_over = |replies: u8, sent: f32, lost: f32| {
            let seen = CellPicture {
                verdict: Verdict::Healthy,
                consecutive_replies: replies,
                long_sent: sent,
                long_lost: lost,
                ..CellPicture::NOT_SAMPLED
            };
            let cell = Cell {
                source: NodeIndex(0),
                target: 0,
                layer: layer(ProbeKind::DnsUdp, Plane::Pod, Family::V4),
                interval: Duration::from_secs(5),
                seen: &seen,
                detail: None,
                expected: 0.0,
                recent: 0.0,
                long_ago: 0.0,
                older: 0.5,
                slot: 10.0,
            };
            cell.has_started_over()
        };
        assert!(has_started_over(1, 60.0, 0.0));
        // Two answers from before the outage, faded, and one since: a young cluster.
        assert!(has_started_over(1, 2.4, 0.0));
        assert!(!has_started_over(2, 1.95, 0.0), "it is new");
        assert!(!has_started_over(1, 9.0, 6.0), "it remembers");
        assert!(!has_started_over(20, 60.0, 0.0), "that is long ago");
    }

    #[test]
    fn an_exchange_survives_a_few_lost_packets_and_not_many() {
        let near = |packets: f64, chance: f64| (exchange_fails(packets) - chance).abs() < 0.01;
        assert!(near(0.0, 0.0) && near(1.0, 1.0));
        assert!(near(0.5, 0.5) && near(0.1, 0.003) && near(0.78, 0.96));
        assert!(exchange_fails(HEALTHY) < 1e-9);
    }
}
