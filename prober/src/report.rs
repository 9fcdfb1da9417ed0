//! A closed window: what a report says, before it becomes a message.
//!
//! Windows that were not sent yet can be merged; counts stay exact, only time gets coarser. Of two medians the one of
//! the window with more replies is kept.

use std::time::Duration;

use meshprobe_core::detail::Detail;
use meshprobe_core::ids::{Incarnation, ReportSequence, TargetNumber};
use meshprobe_core::path::Layer;
use meshprobe_core::rtt::RttCode;
use meshprobe_core::time::Moment;
use meshprobe_core::window::{Failing, LostWays, Summary, Window};
use meshprobe_proto::report::BlockBuilder;
use meshprobe_proto::v1;

use crate::health::SelfReport;
use crate::window::{ClassCounts, count_class};

/// One path in a closed window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose row it is.
    pub target: TargetNumber,
    /// Probes whose outcome became known, the invalid ones not counted.
    pub sent: u32,
    /// Of those, answered in time.
    pub replied: u32,
    /// Probes that arrived from the target.
    pub received: u32,
    /// Which way probes were lost, as far as it became known.
    pub lost_ways: LostWays,
    /// Smallest round-trip time.
    pub rtt_min: RttCode,
    /// Median round-trip time.
    pub rtt_median: RttCode,
    /// Largest round-trip time.
    pub rtt_max: RttCode,
    /// Outcomes other than reply and plain timeout.
    pub classes: ClassCounts,
    /// Present when the path fails at the end of the window, or answers again.
    pub failing: Option<Box<Failing>>,
    /// What the newest probe found beside its outcome.
    pub detail: Option<Box<Detail>>,
}

/// What one prober saw in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedWindow {
    /// The time that it covers, on the wall clock.
    pub window: Window,
    /// Its end on the monotonic clock.
    pub ended_at: Moment,
    /// Something changed: it travels by every way at once.
    pub urgent: bool,
    /// The rows of each layer, ascending by target.
    pub layers: Vec<(Layer, Vec<Row>)>,
    /// The prober on itself.
    pub self_report: SelfReport,
    /// How many windows were merged into it.
    pub merged: u32,
}

impl Row {
    /// Adds what another row of the same path counted, and leaves that one empty.
    pub(crate) fn absorb(&mut self, later: &mut Self) {
        let emptied = Self {
            target: later.target,
            sent: 0,
            replied: 0,
            received: 0,
            lost_ways: LostWays::default(),
            rtt_min: RttCode::NONE,
            rtt_median: RttCode::NONE,
            rtt_max: RttCode::NONE,
            classes: ClassCounts::new(),
            failing: None,
            detail: None,
        };
        self.merge(std::mem::replace(later, emptied));
    }

    fn merge(&mut self, later: Self) {
        if later.replied > self.replied || self.rtt_median.is_none() {
            self.rtt_median = later.rtt_median;
        }
        self.sent = self.sent.saturating_add(later.sent);
        self.replied = self.replied.saturating_add(later.replied);
        self.received = self.received.saturating_add(later.received);
        self.lost_ways = self.lost_ways.plus(later.lost_ways);
        self.rtt_min = if self.rtt_min.is_none() || later.rtt_min.is_none() {
            self.rtt_min.max(later.rtt_min)
        } else {
            self.rtt_min.min(later.rtt_min)
        };
        self.rtt_max = self.rtt_max.max(later.rtt_max);
        for (class, count) in later.classes {
            count_class(&mut self.classes, class, count);
        }
        self.failing = later.failing.or_else(|| self.failing.take());
        self.detail = later.detail.or_else(|| self.detail.take());
    }

    fn octets(&self) -> usize {
        let classes = if self.classes.spilled() {
            self.classes.capacity() * size_of::<(u32, u32)>()
        } else {
            0
        };
        let failing = self.failing.as_ref().map_or(0, |_| size_of::<Failing>());
        let detail = self.detail.as_ref().map_or(0, |detail| detail.octets());
        size_of::<Self>() + classes + failing + detail
    }
}

/// Ages count from the end of the window, which moved by `shift`.
fn age(failing: &mut Failing, shift: Duration) {
    failing.first_loss_age += shift;
    failing.last_reply_age = failing.last_reply_age.map(|age| age + shift);
    failing.last_heard_age = failing.last_heard_age.map(|age| age + shift);
}

impl ClosedWindow {
    /// Memory that it takes, about.
    pub fn octets(&self) -> usize {
        let rows = |(_, rows): &(Layer, Vec<Row>)| rows.iter().map(Row::octets).sum::<usize>();
        size_of::<Self>() + self.layers.iter().map(rows).sum::<usize>()
    }

    /// How many windows it stands for.
    pub fn windows(&self) -> u32 {
        self.merged.max(1)
    }

    /// This window and the one after it as one.
    #[must_use]
    pub fn merge(mut self, later: Self) -> Self {
        let shift = later.ended_at.saturating_since(self.ended_at);
        self.merged = self.windows().saturating_add(later.windows());
        self.window = self.window.merge(later.window);
        self.ended_at = self.ended_at.max(later.ended_at);
        self.urgent |= later.urgent;
        self.self_report = self.self_report.merge(later.self_report);
        for row in self.layers.iter_mut().flat_map(|(_, rows)| rows) {
            if let Some(failing) = &mut row.failing {
                age(failing, shift);
            }
        }
        for (layer, rows) in later.layers {
            match self.layers.iter_mut().find(|(known, _)| *known == layer) {
                Some((_, known)) => merge_rows(known, rows),
                None => self.layers.push((layer, rows)),
            }
        }
        self
    }

    /// The message. The age is set when it is sent.
    pub fn encode(
        &self,
        incarnation: Incarnation,
        sequence: ReportSequence,
        spool_merged: u64,
    ) -> v1::Report {
        v1::Report {
            incarnation: incarnation.0,
            sequence: sequence.0,
            window_start_unix_millis: self.window.start_unix_millis,
            window_millis: self.window.length_millis.max(1),
            age_millis: 0,
            blocks: self
                .layers
                .iter()
                .map(|(layer, rows)| block(*layer, rows))
                .collect(),
            self_health: Some(v1::SelfHealth {
                local_health: self.self_report.local_health.into(),
                invalid_probes: self.self_report.invalid_probes,
                dropped_samples: self.self_report.dropped_samples,
                max_lateness_micros: u32::try_from(self.self_report.max_lateness.as_micros())
                    .unwrap_or(u32::MAX),
                spool_merged,
                throttled_millis: millis(self.self_report.throttled),
                longest_stall_millis: millis(self.self_report.longest_stall),
                socket_overflows: self.self_report.socket_overflows,
                send_buffer_full: self.self_report.send_buffer_full,
                loopback_lost: self.self_report.loopback_lost,
            }),
            merged_windows: self.merged,
        }
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn merge_rows(rows: &mut Vec<Row>, later: Vec<Row>) {
    for row in later {
        match rows.binary_search_by_key(&row.target, |known| known.target) {
            Ok(i) => rows[i].merge(row),
            Err(i) => rows.insert(i, row),
        }
    }
}

fn block(layer: Layer, rows: &[Row]) -> v1::Block {
    let mut block = BlockBuilder::new(layer);
    for row in rows {
        let summary = Summary {
            sent: row.sent,
            replied: row.replied,
            received: row.received,
            lost_ways: row.lost_ways,
            rtt_min: row.rtt_min,
            rtt_median: row.rtt_median,
            rtt_max: row.rtt_max,
            ..Summary::default()
        };
        block.push(
            row.target,
            &summary,
            &row.classes,
            row.failing.as_deref().copied(),
        );
        if let Some(detail) = &row.detail {
            block.attach(detail);
        }
    }
    block.finish()
}

#[cfg(test)]
pub(crate) mod tests {
    use meshprobe_core::outcome::OutcomeClass;
    use meshprobe_core::path::{Family, Plane, ProbeKind};

    use super::*;

    pub(crate) const LAYER: Layer = Layer {
        kind: ProbeKind::Udp,
        plane: Plane::Pod,
        family: Family::V4,
    };

    pub(crate) fn row(target: u32, sent: u32, replied: u32) -> Row {
        Row {
            target: TargetNumber(target),
            sent,
            replied,
            received: sent,
            lost_ways: LostWays::default(),
            rtt_min: RttCode::from_octet(10),
            rtt_median: RttCode::from_octet(20),
            rtt_max: RttCode::from_octet(30),
            classes: ClassCounts::new(),
            failing: None,
            detail: None,
        }
    }

    pub(crate) fn closed(second: u64, rows: Vec<Row>) -> ClosedWindow {
        ClosedWindow {
            window: Window {
                start_unix_millis: second * 1_000,
                length_millis: 1_000,
            },
            ended_at: Moment::from_millis((second + 1) * 1_000),
            urgent: false,
            layers: vec![(LAYER, rows)],
            self_report: SelfReport::default(),
            merged: 0,
        }
    }

    #[test]
    fn merged_windows_add_up_and_cover_both() {
        let mut lossy = row(2, 4, 1);
        lossy.classes.push((OutcomeClass::Refused, 3));
        let merged = closed(1, vec![row(1, 10, 10), lossy])
            .merge(closed(5, vec![row(2, 6, 6), row(3, 1, 1)]));
        assert_eq!(merged.merged, 2);
        assert_eq!(merged.window.length_millis, 5_000);
        let rows = &merged.layers[0].1;
        let counts: Vec<_> = rows
            .iter()
            .map(|row| (row.target.0, row.sent, row.replied))
            .collect();
        assert_eq!(counts, [(1, 10, 10), (2, 10, 7), (3, 1, 1)]);
        assert_eq!(rows[1].classes.as_slice(), [(OutcomeClass::Refused, 3)]);
    }

    #[test]
    fn an_older_failure_ages_with_the_window() {
        let mut failing = row(1, 1, 0);
        failing.failing = Some(Box::new(Failing {
            consecutive_losses: 1,
            first_loss_age: Duration::from_millis(200),
            last_reply_age: None,
            last_heard_age: Some(Duration::ZERO),
            last_outcome: OutcomeClass::Timeout,
        }));
        let merged = closed(1, vec![failing]).merge(closed(4, vec![row(2, 1, 1)]));
        let failing = merged.layers[0].1[0].failing.as_ref().unwrap();
        assert_eq!(failing.first_loss_age, Duration::from_millis(3_200));
        assert_eq!(failing.last_heard_age, Some(Duration::from_secs(3)));
    }

    #[test]
    fn the_message_is_admitted_by_the_contract() {
        let mut lossy = row(7, 5, 2);
        lossy.classes.push((OutcomeClass::Invalid, 2));
        let report =
            closed(1, vec![row(1, 10, 10), lossy]).encode(Incarnation(9), ReportSequence(3), 0);
        let admitted = meshprobe_proto::report::admit(&report).unwrap();
        let (layer, rows) = admitted.blocks().next().unwrap();
        assert_eq!(layer, LAYER);
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows[1].target, TargetNumber(7));
        assert_eq!((rows[1].summary.sent, rows[1].summary.invalid), (5, 2));
    }
}
