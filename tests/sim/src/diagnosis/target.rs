//! The targets of one source in one layer: few, each with a cell of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::cell::PathCell;
use meshprobe_core::coverage::Coverage;
use meshprobe_core::detail::{Detail, DnsDetail, ExternalDetail, Phases, SearchDetail};
use meshprobe_core::diagnosis::{CellPicture, RowPicture};
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::ProbeKind;
use meshprobe_core::window::Summary;
use meshprobe_prober::service::history::History;

use super::cell::{self, cover, moment};
use super::path::{is_due, rtt};
use super::wire::{Answer, NO_ADDRESS, Wire};
use super::world::{Goal, LayerSpec, World};
use crate::chance::Chance;

/// Extra probes after a first loss.
const FOLLOW_UPS: u8 = 3;
/// Rows of losses that are reported at once.
const TELLING: [u32; 2] = [4, 5];

/// One target.
#[derive(Clone, Debug)]
struct Column {
    cell: PathCell,
    sent: u32,
    lost: u32,
    streak: u32,
    failure: Option<OutcomeClass>,
    follow_ups: u8,
    detail: Option<Detail>,
    history: History,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct TargetRow {
    columns: Vec<Column>,
    coverage: Coverage,
    /// Probes that nobody has answered yet, by the second in which they are given up.
    waiting: BTreeMap<u32, Vec<(usize, Answer)>>,
    has_news: bool,
    pub(super) shown: Option<Arc<RowPicture>>,
    pub(super) is_changed: bool,
}

impl TargetRow {
    pub(super) fn new(spec: &LayerSpec) -> Self {
        let column = Column {
            cell: PathCell::EMPTY,
            sent: 0,
            lost: 0,
            streak: 0,
            failure: None,
            follow_ups: 0,
            detail: None,
            history: History::default(),
        };
        Self {
            columns: vec![column; spec.targets.len()],
            coverage: Coverage::default(),
            waiting: BTreeMap::new(),
            has_news: false,
            shown: None,
            is_changed: false,
        }
    }

    /// One second of probes.
    pub(super) fn tick(
        &mut self,
        spec: &LayerSpec,
        source: usize,
        wire: &Wire<'_>,
        now: u32,
        starved: f64,
        chance: &mut Chance,
    ) {
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() > now {
                break;
            }
            for (column, answer) in entry.remove() {
                self.take(spec, source, column, &answer, wire, (now, chance));
            }
        }
        for column in 0..self.columns.len() {
            if is_due(spec, (column * 3 + 7 * source) % spec.every as usize, now)
                && !(starved > 0.0 && chance.happens(starved))
            {
                let answer = wire.probe(spec, source, spec.targets[column], chance);
                self.take_or_wait(spec, source, column, answer, wire, (now, chance));
            }
        }
    }

    /// Is there something that cannot wait for the end of the window?
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    fn take_or_wait(
        &mut self,
        spec: &LayerSpec,
        source: usize,
        column: usize,
        answer: Answer,
        wire: &Wire<'_>,
        (now, chance): (u32, &mut Chance),
    ) {
        let patience = match spec.layer.kind {
            ProbeKind::TcpConnect => 4,
            ProbeKind::Tls | ProbeKind::DnsSearch => 5,
            ProbeKind::Http => 10,
            _ => 1,
        };
        if answer.class == OutcomeClass::Timeout {
            let waiting = self.waiting.entry(now + patience).or_default();
            waiting.push((column, answer));
        } else {
            self.take(spec, source, column, &answer, wire, (now, chance));
        }
    }

    fn take(
        &mut self,
        spec: &LayerSpec,
        source: usize,
        number: usize,
        answer: &Answer,
        wire: &Wire<'_>,
        (now, chance): (u32, &mut Chance),
    ) {
        let goal = spec.targets[number];
        let column = &mut self.columns[number];
        column.sent += 1;
        let before = column.streak;
        if answer.class.is_loss() {
            column.lost += 1;
            column.streak += 1;
            column.failure = Some(answer.class);
        } else {
            column.streak = 0;
        }
        self.has_news |= (before == 0) != (column.streak == 0) || TELLING.contains(&column.streak);
        column.detail = Some(detail(goal, answer, &mut column.history));
        if before == 0 && column.streak == 1 {
            column.follow_ups = FOLLOW_UPS;
        } else if column.streak == 0 {
            column.follow_ups = 0;
        }
        if column.follow_ups > 0 {
            column.follow_ups -= 1;
            let answer = wire.probe(spec, source, goal, chance);
            self.take_or_wait(spec, source, number, answer, wire, (now, chance));
        }
    }

    /// Closes the window that began after second `start` and ends with `now`.
    pub(super) fn report(&mut self, spec: &LayerSpec, start: u32, now: u32) {
        cover(&mut self.coverage, start, now, &spec.thresholds);
        for column in &mut self.columns {
            if column.sent == 0 {
                continue;
            }
            let replied = column.sent - column.lost;
            let times = if replied > 0 {
                rtt(spec, 0)
            } else {
                Summary::default()
            };
            let summary = Summary {
                window_millis: (now - start) * 1_000,
                sent: column.sent,
                replied,
                consecutive_losses: column.streak.min(255) as u8,
                last_failure: column.failure,
                ..times
            };
            cell::apply(&mut column.cell, &summary, now, &spec.thresholds);
            (column.sent, column.lost, column.failure) = (0, 0, None);
        }
        self.is_changed = true;
    }

    /// What a picture shows.
    pub(super) fn picture(&self, spec: &LayerSpec, now: u32) -> RowPicture {
        let cells = self.columns.iter().map(|column| {
            CellPicture::of(
                &column.cell,
                &self.coverage,
                None,
                moment(now),
                &spec.thresholds,
            )
        });
        let details = self
            .columns
            .iter()
            .enumerate()
            .filter_map(|(number, column)| {
                let detail = column.detail.clone()?;
                Some((number as u32, detail))
            });
        RowPicture::dense(cells.collect(), details.collect())
    }
}

/// What a probe found beside its outcome.
fn detail(goal: Goal, answer: &Answer, history: &mut History) -> Detail {
    match goal {
        Goal::Dns { .. } => Detail::Dns(DnsDetail {
            rcode: answer.code.map(|code| code as u8),
            answers: u16::from(answer.code == Some(0)),
            ..DnsDetail::default()
        }),
        Goal::Search { name } => Detail::Search(SearchDetail {
            queries: 1,
            answered_name: if answer.class.is_loss() {
                String::new()
            } else {
                super::world::SEARCH[name].to_owned()
            },
            server: None,
            failure: answer.failure.to_owned(),
        }),
        Goal::Service => {
            let backend = answer.backend.map(|node| World::name(node).to_string());
            history.record(backend.as_deref());
            Detail::Service(history.detail())
        }
        Goal::Server { server, tls, http } => {
            let port = if http && !tls { 80 } else { 443 };
            let address = SocketAddr::from(([203, 0, 113, 10 + server as u8], port));
            outside(answer, address, tls)
        }
        Goal::Api => outside(answer, SocketAddr::from(([10, 96, 0, 1], 443)), false),
    }
}

/// What a probe of a target outside found: phases as far as it came.
fn outside(answer: &Answer, address: SocketAddr, tls: bool) -> Detail {
    let is_resolved = answer.failure != NO_ADDRESS;
    let is_connected = matches!(
        answer.class,
        OutcomeClass::Reply | OutcomeClass::TlsFailed | OutcomeClass::HttpStatus
    );
    let has_handshake = tls && is_connected && answer.class != OutcomeClass::TlsFailed;
    let took = |done: bool, micros| done.then(|| Duration::from_micros(micros));
    Detail::External(ExternalDetail {
        address: is_resolved.then_some(address),
        phases: Phases {
            dns: took(is_resolved, 800),
            connect: took(is_connected, 1_500),
            tls: took(has_handshake, 3_000),
            first_byte: None,
            total: None,
        },
        status: answer.code,
        failure: answer.failure.to_owned(),
        ..ExternalDetail::default()
    })
}
