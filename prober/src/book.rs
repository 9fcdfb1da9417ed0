//! The one place where outcomes are folded: every path's open window and its tracker.
//!
//! The runners write into it, each locking it once for a batch; the window task closes it. The book is pure: it is
//! driven with `now` and returns what changed. It also keeps the plan of early reports, because the same outcomes
//! decide about both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meshprobe_core::detail::Detail;
use meshprobe_core::ids::TargetNumber;
use meshprobe_core::outcome::{Outcome, OutcomeClass};
use meshprobe_core::path::{Layer, ProbeKind};
use meshprobe_core::rtt::Rtt;
use meshprobe_core::time::Moment;
use meshprobe_core::window::{LostWays, Window};

use crate::flush::FlushPlan;
use crate::health::LocalHealth;
use crate::path_id::PathId;
use crate::report::{ClosedWindow, Row};
use crate::slowness::Slowness;
use crate::tracker::{PathTracker, Transition};
use crate::window::PathWindow;

/// How one probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Which path it was sent on.
    pub path: PathId,
    /// How it ended.
    pub outcome: Outcome,
    /// When it was sent.
    pub sent_at: Moment,
    /// The target answered, although the outcome is no measurement: proof of life.
    pub alive: bool,
    /// Which way earlier probes of the path were lost, as far as this one tells.
    pub lost_ways: LostWays,
}

impl Sample {
    /// A probe that ended so. A reply or a late answer is a proof of life by itself.
    pub const fn new(path: PathId, outcome: Outcome, sent_at: Moment) -> Self {
        Self {
            path,
            outcome,
            sent_at,
            alive: false,
            lost_ways: LostWays { out: 0, back: 0 },
        }
    }
}

/// What a sample changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// On which path.
    pub path: PathId,
    /// Of which layer and target.
    pub layer: Layer,
    /// Of which target.
    pub target: TargetNumber,
    /// What it changed.
    pub transition: Transition,
    /// Beginning of the row of losses, if there is one.
    pub first_loss_at: Option<Moment>,
}

/// By which kinds a target has to be probed at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// By STAMP over UDP.
    pub udp: bool,
    /// By TCP.
    pub tcp: bool,
}

impl Recorded {
    /// The first loss by one kind of probe asks the others.
    pub fn asks(&self) -> Asks {
        if self.transition != Transition::FirstLoss || !self.layer.kind.is_vital() {
            return Asks::default();
        }
        Asks {
            udp: self.layer.kind != ProbeKind::Udp,
            tcp: true,
        }
    }
}

/// Why a window is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Its time has come: all that is known.
    Regular,
    /// Something changed: what happened in it.
    Urgent,
}

#[derive(Debug)]
struct Entry {
    id: PathId,
    layer: Layer,
    target: TargetNumber,
    window: PathWindow,
    tracker: PathTracker,
    slowness: Slowness,
    /// No longer probed; what it counted is still to be reported.
    retired: bool,
    /// Somebody asked about it and waits for the next outcome.
    asked: bool,
}

/// All paths of this prober.
#[derive(Debug)]
pub struct Book {
    entries: Vec<Option<Entry>>,
    generations: Vec<u32>,
    /// Slots of `entries` that are empty.
    free: Vec<usize>,
    flush: FlushPlan,
    health: LocalHealth,
    started_at: Moment,
}

impl Book {
    /// An empty book whose first window begins now.
    pub fn new(now: Moment) -> Self {
        Self {
            entries: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            flush: FlushPlan::default(),
            health: LocalHealth::default(),
            started_at: now,
        }
    }

    /// Begins to keep a path.
    pub fn open_path(&mut self, layer: Layer, target: TargetNumber) -> PathId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.generations.push(0);
            self.entries.len() - 1
        });
        let id = PathId::new(slot as u32, self.generations[slot]);
        self.entries[slot] = Some(Entry {
            id,
            layer,
            target,
            window: PathWindow::default(),
            tracker: PathTracker::default(),
            slowness: Slowness::default(),
            retired: false,
            asked: false,
        });
        id
    }

    /// Stops keeping a path, once what it counted is reported.
    pub fn retire_path(&mut self, path: PathId) {
        if let Some(entry) = self.entry_mut(path) {
            entry.retired = true;
        }
    }

    /// A probe was not sent, because this prober's own rules or files do not let it: invalid, and no sign of ill health.
    /// Its layer; `None` if its path is gone.
    pub fn record_withheld(&mut self, path: PathId) -> Option<Layer> {
        let entry = self.entry_mut(path)?;
        entry.window.record(OutcomeClass::Invalid, None);
        Some(entry.layer)
    }

    /// The layer of a path; `None` if it is gone.
    pub fn layer(&self, path: PathId) -> Option<Layer> {
        let entry = self.entries.get(path.slot())?.as_ref()?;
        (entry.id == path).then_some(entry.layer)
    }

    /// A probe ended. `None` if its path is gone.
    pub fn record(&mut self, sample: &Sample, now: Moment) -> Option<Recorded> {
        let sample = &self.trusted(sample, now);
        let class = sample.outcome.class();
        if class == OutcomeClass::Invalid {
            self.health.handle_invalid(1, now);
        }
        let entry = self.entry_mut(sample.path)?;
        let rtt = match sample.outcome {
            Outcome::Reply { rtt } => Some(Rtt::from_duration(rtt).code()),
            _ => None,
        };
        entry.window.record(class, rtt);
        entry.window.lost_ways = entry.window.lost_ways.plus(sample.lost_ways);
        let transition = if sample.alive {
            if class == OutcomeClass::Timeout {
                // The answer came too late and before anybody had judged: the same two facts as in two steps.
                entry.window.record(OutcomeClass::Late, None);
            }
            entry.tracker.handle_alive(sample.sent_at, now)
        } else {
            entry.tracker.handle_outcome(class, sample.sent_at, now)
        };
        let recorded = Recorded {
            path: sample.path,
            layer: entry.layer,
            target: entry.target,
            transition,
            first_loss_at: entry.tracker.first_loss_at(),
        };
        let has_slowed = entry.layer.kind == ProbeKind::Udp
            && rtt.is_some_and(|rtt| entry.slowness.handle_reply(rtt));
        let answers = class != OutcomeClass::Invalid && std::mem::take(&mut entry.asked);
        self.flush
            .handle_transition(transition, recorded.first_loss_at, now);
        if answers {
            self.flush.request(now);
        }
        if has_slowed {
            self.flush.handle_slowed(now);
        }
        Some(recorded)
    }

    /// A sample of a task that was taken while this process did not run measures this process. STAMP's engine judges
    /// that for itself, packet by packet; what a peer or a router said (refused, too big) holds whenever it is read.
    fn trusted(&self, sample: &Sample, now: Moment) -> Sample {
        let is_timed = matches!(
            sample.outcome,
            Outcome::Reply { .. } | Outcome::Timeout | Outcome::Late
        );
        let kind = self.entry(sample.path).map(|entry| entry.layer.kind);
        let by_task = kind.is_some_and(|kind| kind != ProbeKind::Udp);
        if is_timed && by_task && self.health.was_stalled(sample.sent_at, now) {
            return Sample {
                outcome: Outcome::Invalid,
                alive: matches!(sample.outcome, Outcome::Reply { .. } | Outcome::Late),
                ..*sample
            };
        }
        *sample
    }

    /// What a probe of this path found beside its outcome. The newest one is reported.
    pub fn record_detail(&mut self, path: PathId, detail: Box<Detail>) {
        if let Some(entry) = self.entry_mut(path) {
            entry.window.detail = Some(detail);
        }
    }

    /// When the open window began.
    pub const fn window_began(&self) -> Moment {
        self.started_at
    }

    /// Somebody asked about this target: the next outcome on each of its paths is told at once.
    pub fn expect_confirmation(&mut self, target: TargetNumber) {
        for entry in self.entries.iter_mut().flatten() {
            if entry.target == target && entry.layer.kind.is_vital() {
                entry.asked = true;
            }
        }
    }

    /// Turns of a path were skipped because the prober was late.
    pub fn record_missed(&mut self, path: PathId, turns: u32, now: Moment) {
        if turns == 0 {
            return;
        }
        self.health.handle_invalid(turns, now);
        if let Some(entry) = self.entry_mut(path) {
            entry.window.record_invalid(turns);
        }
    }

    /// A probe of the path's target arrived here.
    pub fn record_received(&mut self, path: PathId, at: Moment) {
        if let Some(entry) = self.entry_mut(path) {
            entry.window.record_received();
            entry.tracker.handle_heard(at);
        }
    }

    /// A probe of the path's target arrived here in a window that is closed by now: for a driver that does not look at
    /// each of them at once, the simulator.
    pub fn record_received_before(&mut self, path: PathId, at: Moment) {
        if let Some(entry) = self.entry_mut(path) {
            entry.tracker.handle_heard(at);
        }
    }

    /// The own health.
    pub fn health_mut(&mut self) -> &mut LocalHealth {
        &mut self.health
    }

    /// Somebody wants a report now.
    pub fn request_flush(&mut self, now: Moment) {
        self.flush.request(now);
    }

    /// When the window is to be closed early, if at all.
    pub fn next_flush(&self) -> Option<Moment> {
        self.flush.next_deadline()
    }

    /// How many paths lose their probes now.
    pub fn failing_paths(&self) -> usize {
        self.entries
            .iter()
            .flatten()
            .filter(|entry| entry.tracker.is_failing())
            .count()
    }

    /// Ends the open window and begins the next one. `unix_millis` is the wall clock at `now`.
    pub fn close(&mut self, close: Close, now: Moment, unix_millis: u64) -> ClosedWindow {
        let mut layers: BTreeMap<Layer, Vec<Row>> = BTreeMap::new();
        let mut failing = false;
        let accused = self.failing_nodes();
        for (slot, place) in self.entries.iter_mut().enumerate() {
            let Some(entry) = place else { continue };
            failing |= entry.tracker.is_failing() && !entry.retired;
            let is_witness = entry.layer.kind.is_vital() && accused.contains(&entry.target);
            if let Some(row) = entry.close(close, is_witness, now) {
                layers.entry(entry.layer).or_default().push(row);
            }
            if entry.retired {
                *place = None;
                self.free.push(slot);
                self.generations[slot] = self.generations[slot].wrapping_add(1);
            }
        }
        for rows in layers.values_mut() {
            rows.sort_unstable_by_key(|row| row.target);
            // A path that was retired and opened again inside one window has two rows.
            rows.dedup_by(|later, kept| {
                let same = later.target == kept.target;
                if same {
                    kept.absorb(later);
                }
                same
            });
        }
        // The monotonic clock measures the window, the wall clock only places it: a step must not stretch it.
        let length = now
            .saturating_since(self.started_at)
            .max(Duration::from_millis(1));
        let length_millis = u32::try_from(length.as_millis()).unwrap_or(u32::MAX);
        let window = Window {
            start_unix_millis: unix_millis.saturating_sub(length_millis.into()),
            length_millis,
        };
        self.started_at = now;
        self.flush.handle_flushed(now, failing);
        ClosedWindow {
            window,
            ended_at: now,
            urgent: close == Close::Urgent,
            layers: layers.into_iter().collect(),
            self_report: self.health.take(now),
            merged: 0,
        }
    }

    /// Nodes that lose probes on at least one path.
    fn failing_nodes(&self) -> BTreeSet<TargetNumber> {
        self.entries
            .iter()
            .flatten()
            .filter(|entry| entry.layer.kind.is_vital() && entry.tracker.is_failing())
            .map(|entry| entry.target)
            .collect()
    }

    fn entry(&self, path: PathId) -> Option<&Entry> {
        self.entries
            .get(path.slot())?
            .as_ref()
            .filter(|entry| entry.id == path)
    }

    fn entry_mut(&mut self, path: PathId) -> Option<&mut Entry> {
        self.entries
            .get_mut(path.slot())?
            .as_mut()
            .filter(|entry| entry.id == path)
    }
}

impl Entry {
    /// A witness is a path to a node that fails by another path: that it still answers, and when it last did, is
    /// what tells a dead node from a dead prober or overlay.
    fn close(&mut self, close: Close, is_witness: bool, now: Moment) -> Option<Row> {
        let untold = self.tracker.is_recovery_unreported();
        let told = match close {
            Close::Regular => !self.window.is_empty() || self.tracker.is_failing() || untold,
            Close::Urgent => !self.window.is_empty() || untold,
        };
        if !told {
            return None;
        }
        let PathWindow {
            sent,
            replied,
            received,
            lost_ways,
            rtt,
            classes,
            detail,
        } = std::mem::take(&mut self.window);
        let testimony = is_witness.then(|| self.tracker.testimony(now));
        let failing = self.tracker.failing(now).or(testimony).map(Box::new);
        self.tracker.mark_reported();
        self.slowness.handle_closed(&rtt, close == Close::Regular);
        Some(Row {
            target: self.target,
            sent,
            replied,
            received,
            lost_ways,
            rtt_min: rtt.min(),
            rtt_median: rtt.median(),
            rtt_max: rtt.max(),
            classes,
            failing,
            detail,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::LAYER;

    const fn ms(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn reply(path: PathId, at: Moment) -> Sample {
        let rtt = Duration::from_micros(300);
        Sample::new(path, Outcome::Reply { rtt }, at)
    }

    #[test]
    fn a_healthy_window_holds_what_happened_and_nothing_more() {
        let mut book = Book::new(ms(0));
        let a = book.open_path(LAYER, TargetNumber(1));
        book.open_path(LAYER, TargetNumber(0));
        book.record(&reply(a, ms(10)), ms(11));
        book.record_received(a, ms(12));
        let closed = book.close(Close::Regular, ms(1_000), 6_000);
        assert_eq!(
            (closed.window.start_unix_millis, closed.window.length_millis),
            (5_000, 1_000)
        );
        let rows = &closed.layers[0].1;
        assert_eq!(rows.len(), 1, "a path without samples has no row");
        assert_eq!((rows[0].sent, rows[0].replied, rows[0].received), (1, 1, 1));
        assert!(
            book.close(Close::Regular, ms(2_000), 7_000)
                .layers
                .is_empty()
        );
    }

    #[test]
    fn a_path_to_a_failing_node_that_answers_says_when_it_last_did() {
        let host = Layer {
            plane: meshprobe_core::path::Plane::Host,
            kind: ProbeKind::Tcp,
            ..LAYER
        };
        let mut book = Book::new(ms(0));
        let pod = book.open_path(LAYER, TargetNumber(1));
        let node = book.open_path(host, TargetNumber(1));
        book.record(&reply(node, ms(9_050)), ms(9_051));
        book.record(&Sample::new(pod, Outcome::Timeout, ms(9_000)), ms(9_060));
        let told = book.close(Close::Urgent, ms(9_061), 9_061);
        let row = told.layers.iter().find(|(layer, _)| *layer == host);
        let testimony = row.and_then(|(_, rows)| rows[0].failing.clone()).unwrap();
        assert_eq!(testimony.consecutive_losses, 0);
        assert_eq!(testimony.last_reply_age, Some(Duration::from_millis(10)));
    }

    #[test]
    fn a_loss_wants_a_report_and_its_recovery_another() {
        let mut book = Book::new(ms(0));
        let path = book.open_path(LAYER, TargetNumber(1));
        let recorded = book
            .record(&Sample::new(path, Outcome::Timeout, ms(10)), ms(60))
            .unwrap();
        assert_eq!(recorded.transition, Transition::FirstLoss);
        assert_eq!(book.next_flush(), Some(ms(60)));
        let told = book.close(Close::Urgent, ms(60), 60);
        assert_eq!(
            told.layers[0].1[0]
                .failing
                .as_ref()
                .unwrap()
                .consecutive_losses,
            1
        );

        book.record(&reply(path, ms(110)), ms(111));
        assert_eq!(book.next_flush(), Some(ms(111)));
        let told = book.close(Close::Urgent, ms(111), 111);
        assert_eq!(
            told.layers[0].1[0]
                .failing
                .as_ref()
                .unwrap()
                .consecutive_losses,
            0
        );
        assert_eq!(book.next_flush(), None);
    }

    #[test]
    fn an_answer_to_an_invalid_probe_is_a_proof_of_life() {
        let mut book = Book::new(ms(0));
        let path = book.open_path(LAYER, TargetNumber(1));
        book.record(&Sample::new(path, Outcome::Timeout, ms(10)), ms(60));
        let sample = Sample {
            alive: true,
            ..Sample::new(path, Outcome::Invalid, ms(70))
        };
        let recorded = book.record(&sample, ms(71)).unwrap();
        assert_eq!(recorded.transition, Transition::Recovered { after: 1 });
    }

    #[test]
    fn a_retired_path_is_reported_once_more_and_its_slot_is_not_mistaken() {
        let mut book = Book::new(ms(0));
        let old = book.open_path(LAYER, TargetNumber(1));
        book.record(&reply(old, ms(1)), ms(2));
        book.retire_path(old);
        assert_eq!(book.close(Close::Regular, ms(10), 10).layers.len(), 1);
        let new = book.open_path(LAYER, TargetNumber(2));
        assert_eq!(old.slot(), new.slot());
        assert_eq!(book.record(&reply(old, ms(11)), ms(12)), None);
        assert!(book.close(Close::Regular, ms(20), 20).layers.is_empty());
    }

    #[test]
    fn a_path_opened_again_inside_a_window_has_one_row() {
        let mut book = Book::new(ms(0));
        let old = book.open_path(LAYER, TargetNumber(1));
        book.record(&reply(old, ms(1)), ms(2));
        book.retire_path(old);
        let new = book.open_path(LAYER, TargetNumber(1));
        book.record(&reply(new, ms(3)), ms(4));
        let closed = book.close(Close::Regular, ms(10), 10);
        assert_eq!(closed.layers[0].1.len(), 1);
        assert_eq!(closed.layers[0].1[0].sent, 2);
    }

    #[test]
    fn a_probe_that_is_withheld_is_invalid_and_no_ill_health() {
        let mut book = Book::new(ms(0));
        let path = book.open_path(LAYER, TargetNumber(1));
        for second in 1..20 {
            assert_eq!(book.record_withheld(path), Some(LAYER));
            assert_eq!(book.health_mut().score(ms(second * 1_000)), 0);
        }
        assert_eq!(book.record_withheld(PathId::new(9, 9)), None);
    }

    #[test]
    fn whoever_asks_about_a_target_is_told_with_its_next_outcome() {
        let mut book = Book::new(ms(0));
        let path = book.open_path(LAYER, TargetNumber(1));
        book.expect_confirmation(TargetNumber(1));
        book.record(&Sample::new(path, Outcome::Invalid, ms(1)), ms(2));
        assert_eq!(book.next_flush(), None);
        book.record(&reply(path, ms(3)), ms(4));
        assert_eq!(book.next_flush(), Some(ms(4)));
        book.close(Close::Urgent, ms(4), 4);
        book.record(&reply(path, ms(5)), ms(6));
        assert_eq!(book.next_flush(), None, "once");
    }

    #[test]
    fn a_step_of_the_wall_clock_does_not_stretch_a_window() {
        let mut book = Book::new(ms(0));
        let closed = book.close(Close::Regular, ms(1_000), 5_000_000);
        assert_eq!(closed.window.length_millis, 1_000);
    }
}
