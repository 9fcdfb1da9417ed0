//! What the mesh task publishes, and when: rosters for the streams, snapshots and layer readings for the API.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::ids::NodeIndex;
use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::path::Layer;
use meshprobe_core::time::Moment;
use tokio::sync::{oneshot, watch};

use super::Mesh;
use crate::matrix::{Census, CensusResult, Listing, Reading, Rhythm};
use crate::membership::{Member, Membership};
use crate::pipeline::Now;
use crate::plan::Roster;
use crate::snapshot::{Judging, LayerSnapshot, NodeRow, Snapshot};

/// Joins inside this time cause one roster.
const ROSTER_GAP: Duration = Duration::from_millis(200);
/// Each of N streams makes an assignment of N targets out of a roster: 0.2 s of one core at 1,000 nodes, 4 s at 5,000.
/// Beyond so many nodes the time between two rosters grows with the square …
const SMALL_MESH: usize = 512;
/// … but not beyond half of a newcomer's warm-up: whoever moved is judged after it, by peers that know where it is.
const LONGEST_ROSTER_GAP: Duration = Duration::from_secs(5);
/// Time between two snapshots.
const SNAPSHOT_GAP: Duration = Duration::from_millis(500);
/// Time between two snapshots when an incident changed.
const HURRIED_GAP: Duration = Duration::from_millis(50);
/// Cells that the census counts in one step, and the time between two steps: five million cells a second.
const CENSUS_STEP: usize = 100_000;
const CENSUS_GAP: Duration = Duration::from_millis(20);
/// Cells that a reading reads in one step: some milliseconds.
const READING_STEP: usize = 100_000;
/// A reading younger than this is given to whoever asks.
const READING_FRESH: Duration = Duration::from_millis(250);

type LayerAnswer = oneshot::Sender<Option<Arc<LayerSnapshot>>>;

/// The newest reading of a layer.
#[derive(Debug)]
struct Read {
    at: Moment,
    version: u64,
    fingerprint: u64,
    /// Kept as long as it may be given to others: it is large.
    snapshot: Option<Arc<LayerSnapshot>>,
}

/// The publishing ends and their deadlines.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) rosters: watch::Sender<Arc<Roster>>,
    pub(super) snapshots: watch::Sender<Arc<Snapshot>>,
    /// The plan's version in the newest roster.
    plan_version: u64,
    /// When the next roster is due.
    roster_at: Option<Moment>,
    /// No roster before this.
    no_roster_before: Moment,
    snapshot_at: Moment,
    census_at: Moment,
    census: CensusResult,
    reading: Option<(Reading, Vec<LayerAnswer>)>,
    waiting: Vec<(Layer, LayerAnswer)>,
    read: HashMap<Layer, Read>,
}

impl Published {
    pub(super) fn new(now: Now) -> Self {
        let snapshot = Snapshot::empty(now.wall, Judging::Active);
        Self {
            rosters: watch::Sender::new(Arc::default()),
            snapshots: watch::Sender::new(Arc::new(snapshot)),
            plan_version: 0,
            roster_at: None,
            no_roster_before: now.moment,
            snapshot_at: now.moment,
            census_at: now.moment,
            census: CensusResult::default(),
            reading: None,
            waiting: Vec::new(),
            read: HashMap::new(),
        }
    }

    /// The plan may have changed: a roster follows, together with what changes until then.
    pub(super) fn plan_changed(&mut self, membership: &Membership, now: Moment) {
        if membership.plan_version() != self.plan_version && self.roster_at.is_none() {
            self.roster_at = Some(self.no_roster_before.max(now + ROSTER_GAP));
        }
    }

    /// Something happened that people should see at once.
    pub(super) fn hurry_snapshot(&mut self, now: Moment) {
        self.snapshot_at = self.snapshot_at.min(now + HURRIED_GAP);
    }

    /// When the next roster is due, if one is.
    pub(super) fn next_roster(&self) -> Option<Moment> {
        self.roster_at
    }

    pub(super) fn next_deadline(&self, census: &Census) -> Option<Moment> {
        if self.reading.is_some() || !self.waiting.is_empty() {
            return Some(Moment::ORIGIN);
        }
        let census_at = census.is_walking().then_some(self.census_at);
        let deadlines = [self.roster_at, Some(self.snapshot_at), census_at];
        deadlines.into_iter().flatten().min()
    }
}

impl Mesh {
    /// Somebody wants to see a layer.
    pub(in crate::pipeline) fn handle_layer_request(
        &mut self,
        layer: Layer,
        answer: LayerAnswer,
        now: Moment,
    ) {
        let fresh = self.published.read.get(&layer);
        let fresh = fresh.filter(|read| now.saturating_since(read.at) < READING_FRESH);
        if let Some(snapshot) = fresh.and_then(|read| read.snapshot.as_ref()) {
            return reply(answer, Some(Arc::clone(snapshot)));
        }
        if self.matrix.layer(layer).is_none() {
            return reply(answer, None);
        }
        self.published.waiting.push((layer, answer));
    }

    /// The roster, if it is due.
    pub(super) fn publish_due_roster(&mut self, now: Now) {
        if self
            .published
            .next_roster()
            .is_some_and(|at| at <= now.moment)
        {
            self.publish_roster(now);
        }
    }

    pub(super) fn publish(&mut self, now: Now) {
        self.publish_due_roster(now);
        self.step_reading(now);
        self.step_picture(now);
        if self.published.snapshot_at <= now.moment {
            if !self.census.is_walking() {
                self.census.start(&self.matrix, &self.membership);
                self.published.census_at = now.moment;
            }
            self.step_census(now);
            self.publish_snapshot(now);
        } else if self.census.is_walking() && self.published.census_at <= now.moment {
            self.step_census(now);
        }
    }

    pub(super) fn publish_roster(&mut self, now: Now) {
        let before = self.published.rosters.borrow().generation;
        // Also larger than any that another process before this one gave out.
        let since_epoch = u64::try_from(now.wall.as_millisecond()).unwrap_or(0);
        let generation = since_epoch.max(before + 1);
        let present = self.membership.present().count();
        let plan = Arc::new(self.plan.in_force(present));
        self.matrix.set_rhythm(Rhythm::of(&plan));
        self.matrix.set_nodes(present);
        let roster = Roster::of(&self.membership, plan, generation);
        self.published.plan_version = self.membership.plan_version();
        self.published.roster_at = None;
        self.published.no_roster_before = now.moment + roster_gap(roster.nodes().len());
        self.published.rosters.send_replace(Arc::new(roster));
        self.judge.sync_nodes(&self.membership, now.moment);
    }

    pub(super) fn publish_snapshot(&mut self, now: Now) {
        let mut nodes: Vec<NodeRow> = self
            .membership
            .present()
            .map(|(node, member)| self.node_row(node, member, now))
            .collect();
        nodes.sort_unstable_by(|a, b| a.profile.name.cmp(&b.profile.name));
        let version = self.published.snapshots.borrow().version + 1;
        let snapshot = Snapshot {
            version,
            at: now.wall,
            nodes: nodes.into(),
            judging: self.judge.judging(now.moment),
            layers: self.published.census.layers.clone(),
            open_incidents: self.judge.open_incidents().count() as u32,
        };
        self.metrics.nodes.set(snapshot.nodes.len() as i64);
        self.metrics
            .nodes_reporting
            .set(snapshot.nodes_reporting() as i64);
        for (verdict, count) in snapshot.paths().iter() {
            self.metrics.set_cells(verdict.as_str(), count);
        }
        self.metrics.cell_bytes.set(self.matrix.cell_bytes() as i64);
        let details = self.matrix.details();
        self.metrics.details.set(details.len() as i64);
        self.metrics.detail_bytes.set(details.octets() as i64);
        self.published.snapshots.send_replace(Arc::new(snapshot));
        for read in self.published.read.values_mut() {
            read.snapshot
                .take_if(|_| now.moment.saturating_since(read.at) >= READING_FRESH);
        }
        self.published.snapshot_at = now.moment + SNAPSHOT_GAP;
    }

    /// One node as it is now.
    pub(super) fn node_row(&self, node: NodeIndex, member: &Member, now: Now) -> NodeRow {
        let last = self.last_reports.get(&node);
        let (state, mut state_reason) = self.judge.state(node, &member.profile.name);
        let is_draining = member.lifecycle == Lifecycle::Draining;
        if let Some(drain) = member.drain().filter(|_| is_draining) {
            state_reason = drain.sentence();
        }
        NodeRow {
            profile: Arc::clone(&member.profile),
            lifecycle: member.lifecycle,
            state,
            state_reason,
            last_report_at: last.map(|last| now.wall_at(last.at)),
            last_report_way: last.and_then(|last| last.way),
            is_reporting: self.is_reporting(node, now.moment),
            local_health: self.hosts.local_health(node),
            failing_in: self.published.census.failing_in(node),
            failing_out: self.published.census.failing_out(node),
        }
    }

    /// Is the newest report of the node's probers younger than 2.5 report intervals?
    pub(super) fn is_reporting(&self, node: NodeIndex, now: Moment) -> bool {
        let fresh = self.plan.report_interval * 5 / 2;
        let last = self.last_reports.get(&node);
        last.is_some_and(|last| now.saturating_since(last.at) <= fresh)
    }

    fn step_census(&mut self, now: Now) {
        if let Some(result) = self.census.step(&self.matrix, now.moment, CENSUS_STEP) {
            self.published.census = result;
        }
        self.published.census_at = now.moment + CENSUS_GAP;
    }

    fn step_reading(&mut self, now: Now) {
        if self.published.reading.is_none() {
            let Some((layer, _)) = self.published.waiting.first() else {
                return;
            };
            let layer = *layer;
            let waiting = std::mem::take(&mut self.published.waiting);
            let (these, others): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(l, _)| *l == layer);
            self.published.waiting = others;
            let answers = these.into_iter().map(|(_, answer)| answer).collect();
            let listing = Listing::new(layer, &self.membership, &self.matrix);
            self.published.reading = Some((Reading::new(listing), answers));
        }
        let Some((reading, _)) = &mut self.published.reading else {
            return;
        };
        let cells = self.matrix.layer(reading.layer());
        if !reading.step(cells, now.moment, READING_STEP) {
            return;
        }
        if let Some((reading, answers)) = self.published.reading.take() {
            let snapshot = self.finish_reading(reading, now);
            for answer in answers {
                reply(answer, Some(Arc::clone(&snapshot)));
            }
        }
    }

    fn finish_reading(&mut self, reading: Reading, now: Now) -> Arc<LayerSnapshot> {
        let (layer, fingerprint) = (reading.layer(), reading.fingerprint());
        let before = self.published.read.get(&layer);
        let version = before.map_or(1, |read| {
            read.version + u64::from(read.fingerprint != fingerprint)
        });
        let snapshot = Arc::new(reading.finish(now.wall, version));
        let read = Read {
            at: now.moment,
            version,
            fingerprint,
            snapshot: Some(Arc::clone(&snapshot)),
        };
        self.published.read.insert(layer, read);
        snapshot
    }
}

/// Whoever asked may have gone; that is no error.
fn reply(answer: LayerAnswer, snapshot: Option<Arc<LayerSnapshot>>) {
    if answer.send(snapshot).is_err() {
        tracing::debug!("Nobody waits for this layer any more");
    }
}

/// Shortest time between two rosters of so many nodes.
fn roster_gap(nodes: usize) -> Duration {
    let times = nodes.div_ceil(SMALL_MESH).max(1);
    let gap = ROSTER_GAP.saturating_mul(u32::try_from(times * times).unwrap_or(u32::MAX));
    gap.min(LONGEST_ROSTER_GAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rosters_of_a_large_mesh_are_rarer_but_not_so_rare_that_a_moved_node_looks_dead() {
        let millis = |nodes| roster_gap(nodes).as_millis();
        assert_eq!([0, 1, 512].map(millis), [200; 3]);
        assert_eq!(millis(1_000), 800);
        let warm_up = meshprobe_core::dark::DarkConfig::default().warm_up;
        assert!(2 * roster_gap(5_000) <= warm_up);
    }
}
