//! Wall clocks that are stepped, and what the aggregator is told afterwards.

use std::time::Duration;

use meshprobe_core::path::ProbeKind;
use meshprobe_core::rtt::Rtt;
use meshprobe_core::time::Moment;
use meshprobe_proto::{report, v1};

use super::Mesh;
use crate::prober::Means;
use crate::trace::Happening;

/// A report as it was sent by one of its ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenReport {
    /// Whose it is.
    pub node: usize,
    /// When it arrived.
    pub at: Moment,
    /// Its number.
    pub sequence: u64,
    /// How old it says that it was when it was sent.
    pub age: Duration,
    /// How long its window was.
    pub window: Duration,
    /// Largest round-trip time of a STAMP probe in it.
    pub max_rtt: Duration,
    /// Probes in it that got no answer.
    pub lost: u64,
    /// Probes in it that say nothing.
    pub invalid: u64,
}

impl Mesh {
    /// Steps the wall clock of a node. Its monotonic clock goes on as before.
    pub fn step_clock(&mut self, node: usize, nanos: i64) {
        self.note(Happening::ClockStep { node, nanos });
        // What is under way carries stamps of both sides of the step.
        self.wake_node(node);
        let now = self.now;
        let prober = &mut self.probers[node];
        let slot_end = prober.slot_of(now + Duration::from_nanos(1));
        prober.wall.step(nanos, now, slot_end);
    }

    /// Steps the wall clock of the aggregator.
    pub fn step_aggregators_clock(&mut self, nanos: i64) {
        self.aggregator.step_clock(nanos);
        self.plan_evaluation();
    }

    /// When next a STAMP probe from `node` to `peer`, or its answer, is on its way.
    pub fn next_under_way(&self, node: usize, peer: usize) -> Option<Moment> {
        let prober = &self.probers[node];
        let slots = self.slots(node, peer);
        let slot = slots
            .iter()
            .find(|slot| prober.paths[*slot].means == Means::Udp)?;
        let turn = prober.next_turn(slot, self.now);
        // A probe takes 0.2 ms at least, and waits for the end of the responder's slot.
        Some(prober.slot_of(turn) + Duration::from_millis(1))
    }

    /// From now on reports are kept for [`Self::take_reports`].
    pub fn watch_reports(&mut self) {
        self.reports = Some(Vec::new());
    }

    /// The reports that arrived since the last call.
    pub fn take_reports(&mut self) -> Vec<SeenReport> {
        self.reports
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Reports that the aggregator took as news, as late, twice, or refused.
    pub fn count_reports(&self, result: &'static str) -> u64 {
        self.aggregator.mesh.count_reports(result)
    }

    pub(super) fn see(&mut self, node: usize, report: &v1::Report) {
        let Some(reports) = &mut self.reports else {
            return;
        };
        let Ok(admitted) = report::admit(report) else {
            return;
        };
        let rows = || {
            admitted
                .blocks()
                .flat_map(|(layer, rows)| rows.map(move |row| (layer, row)))
        };
        let udp = rows().filter(|(layer, _)| layer.kind == ProbeKind::Udp);
        let rtts = udp.filter_map(|(_, row)| row.summary.rtt_max.rtt());
        reports.push(SeenReport {
            node,
            at: self.now,
            sequence: admitted.sequence.0,
            age: admitted.age,
            window: Duration::from_millis(admitted.window.length_millis.into()),
            max_rtt: rtts.map(Rtt::as_duration).max().unwrap_or_default(),
            lost: rows()
                .map(|(_, row)| u64::from(row.summary.sent - row.summary.replied))
                .sum(),
            invalid: admitted
                .self_health
                .map_or(0, |health| health.invalid_probes.into()),
        });
    }
}
