//! Reports: admitted or refused, taken once, applied to the matrix, shown to the judge.
//!
//! Order of the checks: is the stream still this prober's → is it this start's report → was it taken before → is it well
//! formed → does the dictionary explain every target. Only then does any state change. A report that is refused for its
//! content is acknowledged like a taken one: sent again it would be refused again, for ever.

use std::time::Duration;

use meshprobe_core::ids::NodeIndex;
use meshprobe_core::time::Moment;
use meshprobe_proto::report::{self, AdmittedReport, Rejection};
use meshprobe_proto::v1;
use tracing::info;

use super::{LastReport, Mesh};
use crate::ingest::session::{ProberKey, Session, StreamId};
use crate::matrix::{
    DictionaryError, FAST_WINDOW, Keeping, Matrix, Span, TraceError, WrongTarget, check_route,
};
use crate::membership::WayHome;
use crate::pipeline::Now;

/// Windows that are longer say nothing about the fast window. Three report intervals at the default.
const LONGEST_WINDOW: Duration = Duration::from_secs(30);

/// What became of a report.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// It was applied.
    Applied,
    /// It is about a time that is over, or older than one that was applied: counted, and nothing is judged by it.
    Late,
    /// It had been taken before.
    Duplicate,
    /// Too many reports before it are missing. Not acknowledged: those that fill the gaps are expected first.
    TooFarAhead,
}

impl Mesh {
    pub(super) fn handle_dictionary(
        &mut self,
        prober: ProberKey,
        stream: StreamId,
        dictionary: v1::Dictionary,
        now: Now,
    ) {
        let Some(session) = self.sessions.get_mut(&prober) else {
            return;
        };
        if session.hear(stream, now.moment).is_none() {
            return;
        }
        let expected = session.incarnation.0;
        let extended = if dictionary.incarnation == expected {
            let (membership, strangers) = (&self.membership, &mut self.strangers);
            session.dictionary.extend(
                dictionary.entries,
                |name| membership.index_of(name),
                |number, name| strangers.note(name, prober, expected, number),
                &mut self.matrix.targets,
            )
        } else {
            let sent = dictionary.incarnation;
            Err(DictionaryError::ForeignIncarnation { sent, expected })
        };
        if let Err(error) = extended {
            self.refuse(prober, error.reason(), &error, now.moment);
        }
    }

    pub(super) fn handle_report(
        &mut self,
        prober: ProberKey,
        stream: StreamId,
        report: &v1::Report,
        now: Moment,
    ) {
        let Some(session) = self.sessions.get_mut(&prober) else {
            return;
        };
        // Another start took this prober's place; its stream is being ended.
        let Some(way) = session.hear(stream, now).map(|end| end.way) else {
            return;
        };
        match self.take(prober, report, way, now) {
            Ok(Taken::Applied) => self.metrics.count_report("taken"),
            Ok(Taken::Late) => self.metrics.count_report("late"),
            Ok(Taken::Duplicate) => self.metrics.count_report("duplicate"),
            Ok(Taken::TooFarAhead) => {
                self.metrics.count_report("rejected");
                self.metrics.count_rejected("too_many_gaps");
            }
            Err(rejection) => {
                self.metrics.count_report("rejected");
                self.refuse(prober, rejection.reason(), &rejection, now);
                self.acknowledge_refused(prober, report, &rejection);
            }
        }
    }

    fn take(
        &mut self,
        prober: ProberKey,
        report: &v1::Report,
        way: Option<WayHome>,
        now: Moment,
    ) -> Result<Taken, Rejection> {
        let Some(session) = self.sessions.get_mut(&prober) else {
            return Ok(Taken::Duplicate);
        };
        if report.incarnation != session.incarnation.0 {
            return Err(Rejection::ForeignIncarnation {
                sent: report.incarnation,
                expected: session.incarnation.0,
            });
        }
        if report.sequence != 0 && session.sequence.contains(report.sequence) {
            return Ok(Taken::Duplicate);
        }
        let admitted = report::admit(report)?;
        check_targets(report, session)?;
        let Ok(()) = session.sequence.take(report.sequence) else {
            return Ok(Taken::TooFarAhead);
        };
        session.taken += 1;
        self.storing.mark(prober);
        Ok(self.apply(prober, &admitted, way, now))
    }

    fn apply(
        &mut self,
        prober: ProberKey,
        report: &AdmittedReport<'_>,
        way: Option<WayHome>,
        now: Moment,
    ) -> Taken {
        let Self {
            sessions,
            matrix,
            judge,
            metrics,
            last_reports,
            hosts,
            membership,
            ..
        } = self;
        let Some(session) = sessions.get_mut(&prober) else {
            return Taken::Late;
        };
        let end = now - report.age;
        let window = Duration::from_millis(report.window.length_millis.into());
        // What a spool merged over a long time is history too: its losses are not those of the last ten seconds.
        let is_old = report.age > FAST_WINDOW
            || window > LONGEST_WINDOW
            || session.newest_end.is_some_and(|newest| end < newest);
        if let Some(health) = report.self_health
            && let Some(member) = membership.get(prober.node)
        {
            let invalid = health.invalid_probes;
            metrics.count_invalid(member.profile.name.as_str(), prober.plane, invalid);
        }
        let health = report
            .self_health
            .map_or(0, |health| health.local_health.min(7) as u8);
        last_reports.insert(prober.node, LastReport { at: now, way });
        hosts.handle_report(prober, report.self_health, now);
        judge.handle_report(prober.node, health, (!is_old).then_some(window), now);
        if is_old {
            return Taken::Late;
        }
        session.newest_end = Some(end);
        let columns = session.dictionary.columns();
        let span = Span { window, end };
        for (layer, rows) in report.blocks() {
            let on_row = |target: NodeIndex, row: &report::Row| {
                judge.handle_row(prober.node, target, layer, row, end, now);
            };
            let applied = matrix.apply(prober.node, layer, rows, columns, span, on_row);
            metrics.path_updates.inc_by(applied.paths);
            metrics.rows_skipped.inc_by(applied.skipped);
        }
        for (layer, target, detail) in report.details() {
            let column = columns.get(target.0 as usize);
            let kept =
                column.and_then(|c| matrix.keep_detail(prober.node, layer, *c, &detail, end));
            if kept == Some(Keeping::Full) {
                metrics.details_dropped.inc();
            }
        }
        Taken::Applied
    }

    pub(super) fn handle_host_facts(
        &mut self,
        prober: ProberKey,
        stream: StreamId,
        facts: v1::HostFacts,
        now: Now,
    ) {
        if !self.hears(prober, stream, now) {
            return;
        }
        if let Err(error) = self.hosts.handle_facts(prober, facts, now.moment) {
            self.refuse(prober, error.reason(), &error, now.moment);
        }
    }

    pub(super) fn handle_trace(
        &mut self,
        prober: ProberKey,
        stream: StreamId,
        trace: v1::Trace,
        now: Now,
    ) {
        if !self.hears(prober, stream, now) {
            return;
        }
        if let Err(error) = self.take_trace(prober, trace, now.moment) {
            self.refuse(prober, error.reason(), &error, now.moment);
        }
    }

    fn take_trace(
        &mut self,
        prober: ProberKey,
        trace: v1::Trace,
        now: Moment,
    ) -> Result<(), TraceError> {
        let v1::Trace {
            incarnation: sent,
            target,
            age_millis,
            route,
        } = trace;
        let Some(session) = self.sessions.get(&prober) else {
            return Ok(());
        };
        let expected = session.incarnation.0;
        if sent != expected {
            return Err(TraceError::ForeignIncarnation { sent, expected });
        }
        let route = route.ok_or(TraceError::NoRoute)?;
        let layer = check_route(&route)?;
        let columns = session.dictionary.columns();
        let column = columns.get(target as usize);
        let column = *column
            .filter(|column| column.is_of(layer))
            .ok_or(TraceError::Target(target))?;
        let taken_at = now - Duration::from_millis(age_millis.into());
        self.matrix
            .keep_trace(prober.node, layer, column, route, taken_at);
        Ok(())
    }

    /// Is the stream still this prober's? Then it was heard.
    pub(super) fn hears(&mut self, prober: ProberKey, stream: StreamId, now: Now) -> bool {
        let session = self.sessions.get_mut(&prober);
        session.is_some_and(|session| session.hear(stream, now.moment).is_some())
    }

    /// A refused report is done with, if it has a number of this start at all.
    fn acknowledge_refused(&mut self, prober: ProberKey, report: &v1::Report, why: &Rejection) {
        let is_numbered =
            report.sequence != 0 && !matches!(why, Rejection::ForeignIncarnation { .. });
        let session = self.sessions.get_mut(&prober).filter(|_| is_numbered);
        if session.is_some_and(|session| session.sequence.take(report.sequence).is_ok()) {
            self.storing.mark(prober);
        }
    }

    pub(super) fn refuse(
        &mut self,
        prober: ProberKey,
        reason: &'static str,
        error: &dyn std::error::Error,
        now: Moment,
    ) {
        self.metrics.count_rejected(reason);
        let session = self.sessions.get_mut(&prober);
        let Some(count) = session.and_then(|session| session.count_refusal(now)) else {
            return;
        };
        if let Some(name) = self.name_of(prober) {
            info!(prober = %name, plane = %prober.plane, %error, count, "Refused what a prober sent");
        }
    }
}

/// Does the dictionary explain every target of the report, in a layer that it can be in?
fn check_targets(report: &v1::Report, session: &Session) -> Result<(), Rejection> {
    let columns = session.dictionary.columns();
    for block in &report.blocks {
        let layer = meshprobe_proto::convert::layer(block.kind, block.plane, block.family)?;
        Matrix::check(layer, &block.target_delta, columns).map_err(|wrong| match wrong {
            WrongTarget::Unknown(number) => Rejection::UnknownTarget(number),
            WrongTarget::Layer(number) => Rejection::WrongTarget { layer, number },
        })?;
    }
    Ok(())
}
