//! Domain values as messages of the public API.

use std::time::Duration;

use jiff::Timestamp;
use meshprobe_core::{dark::NodeState, finding::Pattern, lifecycle::Lifecycle, rtt::Rtt};
use meshprobe_proto::v1;

use crate::{
    incident::{Incident, IncidentState, Severity},
    membership::{NodeEvent, WayHome},
    receiver::Links,
    snapshot::{
        CellDetail, LayerSnapshot, NodeDetail, NodeRow, PathCells, PathEnd, ProberDetail, Traced,
        VerdictCounts,
    },
    store::NotificationState,
};

pub(super) fn notification_state(state: NotificationState) -> v1::NotificationState {
    match state {
        NotificationState::Pending => v1::NotificationState::Pending,
        NotificationState::Delivered => v1::NotificationState::Delivered,
        NotificationState::Digested => v1::NotificationState::Digested,
        NotificationState::Dead => v1::NotificationState::Dead,
    }
}

pub(super) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    // jiff counts the fraction towards zero, protobuf always upwards.
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    prost_types::Timestamp { seconds, nanos }
}

pub(super) fn node(row: &NodeRow) -> v1::Node {
    let NodeRow {
        profile,
        lifecycle,
        state,
        state_reason,
        last_report_at,
        last_report_way,
        is_reporting: _,
        local_health,
        failing_in,
        failing_out,
    } = row;
    v1::Node {
        name: profile.name.to_string(),
        zone: profile.zone.clone(),
        region: profile.region.clone(),
        labels: profile
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        lifecycle: self::lifecycle(*lifecycle).into(),
        state: node_state(*state).into(),
        state_reason: state_reason.clone(),
        last_report_at: last_report_at.map(timestamp),
        last_report_way: match last_report_way {
            None => v1::WayHome::Unspecified,
            Some(WayHome::Overlay) => v1::WayHome::Overlay,
            Some(WayHome::Underlay) => v1::WayHome::Underlay,
        }
        .into(),
        prober_version: profile.prober_version.clone(),
        addresses: profile
            .addresses
            .iter()
            .map(|address| address.ip.to_string())
            .collect(),
        local_health: u32::from(*local_health),
        failing_in: *failing_in,
        failing_out: *failing_out,
    }
}

pub(super) fn lifecycle(lifecycle: Lifecycle) -> v1::Lifecycle {
    match lifecycle {
        Lifecycle::Active => v1::Lifecycle::Active,
        Lifecycle::Draining => v1::Lifecycle::Draining,
        Lifecycle::Leaving => v1::Lifecycle::Leaving,
        Lifecycle::Gone => v1::Lifecycle::Gone,
    }
}

/// What the truth table says. The shapes that name several nodes at once are darkness for each of them; where nothing
/// is known of the node itself, it stays a suspect.
pub(super) fn node_state(state: NodeState) -> v1::NodeState {
    match state {
        NodeState::Ok => v1::NodeState::Ok,
        NodeState::Suspect => v1::NodeState::Suspect,
        NodeState::Unknown => v1::NodeState::Unknown,
        NodeState::Leaving => v1::NodeState::Leaving,
        NodeState::Failed(pattern) => match pattern {
            Pattern::NodeDark | Pattern::ZoneDark => v1::NodeState::Dark,
            Pattern::Isolated => v1::NodeState::Isolated,
            Pattern::IngressDead => v1::NodeState::IngressDead,
            Pattern::EgressDead => v1::NodeState::EgressDead,
            Pattern::ReportsCut => v1::NodeState::ReportsCut,
            Pattern::ProberDown => v1::NodeState::ProberDown,
            // Patterns of which a node is not the subject.
            _ => v1::NodeState::Suspect,
        },
    }
}

pub(super) fn verdict_counts(counts: VerdictCounts) -> Vec<v1::VerdictCount> {
    counts
        .iter()
        .map(|(verdict, count)| v1::VerdictCount {
            verdict: v1::Verdict::from(verdict).into(),
            count,
        })
        .collect()
}

pub(super) fn matrix(snapshot: &LayerSnapshot) -> v1::Matrix {
    let LayerSnapshot {
        layer,
        at,
        version,
        sources,
        targets,
        verdicts,
        rtt_median,
        loss_percent,
    } = snapshot;
    let names = |ends: &[PathEnd]| ends.iter().map(|end| end.name.clone()).collect();
    let zones = |ends: &[PathEnd]| ends.iter().map(|end| end.zone.clone()).collect();
    v1::Matrix {
        layer: Some((*layer).into()),
        at: Some(timestamp(*at)),
        version: *version,
        sources: names(sources),
        targets: names(targets),
        source_zones: zones(sources),
        target_zones: zones(targets),
        verdicts: verdicts.clone(),
        rtt_median: rtt_median.clone(),
        loss_percent: loss_percent.clone(),
        ..v1::Matrix::default()
    }
}

pub(super) fn path(cells: &PathCells) -> v1::PathDetail {
    v1::PathDetail {
        forward: cells.forward.iter().map(cell).collect(),
        reverse: cells.reverse.iter().map(cell).collect(),
        forward_traces: cells.forward_traces.iter().map(trace).collect(),
        reverse_traces: cells.reverse_traces.iter().map(trace).collect(),
        window: None,
    }
}

pub(super) fn trace(traced: &Traced) -> v1::PathTrace {
    v1::PathTrace {
        at: Some(timestamp(traced.at)),
        route: Some(traced.route.clone()),
    }
}

pub(super) fn node_detail(detail: &NodeDetail) -> v1::NodeDetail {
    let prober = |prober: &ProberDetail| {
        let facts = prober.facts.as_ref();
        v1::ProberDetail {
            plane: v1::Plane::from(prober.plane).into(),
            last_report_at: prober.last_report_at.map(timestamp),
            self_health: prober.self_health,
            facts_at: facts.map(|(_, at)| timestamp(*at)),
            facts: facts.map(|(facts, _)| v1::HostFacts::clone(facts)),
        }
    };
    let event = |event: &NodeEvent| v1::ClusterEvent {
        at: Some(timestamp(event.at)),
        reason: event.reason.clone(),
        message: event.message.clone(),
    };
    v1::NodeDetail {
        events: detail.events.iter().map(event).collect(),
        node: Some(node(&detail.row)),
        probers: detail.probers.iter().map(prober).collect(),
    }
}

pub(super) fn probe_result(result: v1::ProbeResult) -> v1::RunProbeResponse {
    v1::RunProbeResponse {
        outcome: result.outcome,
        rtt_seconds: result
            .rtt_micros
            .map(|micros| Duration::from_micros(micros).as_secs_f64()),
        outcome_number: result.outcome_number,
        detail: result.detail,
        trace: result.trace,
    }
}

pub(super) fn cell(cell: &CellDetail) -> v1::Cell {
    let seconds = |rtt: Option<Rtt>| rtt.map_or(0.0, |rtt| rtt.as_duration().as_secs_f64());
    v1::Cell {
        layer: Some(cell.layer.into()),
        verdict: v1::Verdict::from(cell.verdict).into(),
        sent: cell.sent,
        replied: cell.replied,
        received: cell.received,
        consecutive_losses: cell.consecutive_losses,
        rtt_min_seconds: seconds(cell.rtt_min),
        rtt_median_seconds: seconds(cell.rtt_median),
        rtt_max_seconds: seconds(cell.rtt_max),
        rtt_baseline_seconds: seconds(cell.rtt_baseline),
        last_failure: cell
            .last_failure
            .map_or(0, |class| v1::OutcomeClass::from(class).into()),
        updated_at: cell.updated_at.map(timestamp),
        loss_lower: cell.loss_lower,
        loss_upper: cell.loss_upper,
        detail: cell.found.as_ref().map(|found| found.detail.clone()),
        detail_at: cell.found.as_ref().map(|found| timestamp(found.at)),
    }
}

pub(super) const fn severity(severity: Severity) -> v1::Severity {
    match severity {
        Severity::Info => v1::Severity::Info,
        Severity::Warning => v1::Severity::Warning,
        Severity::Critical => v1::Severity::Critical,
    }
}

pub(super) fn incident(incident: &Incident, links: &Links) -> v1::Incident {
    v1::Incident {
        id: incident.id.to_string(),
        pattern: incident.pattern.as_str().to_owned(),
        nodes: incident.nodes.iter().map(ToString::to_string).collect(),
        zones: incident.zones.clone(),
        plane: incident
            .plane
            .map_or(0, |plane| v1::Plane::from(plane).into()),
        state: match incident.state {
            IncidentState::Open => v1::IncidentState::Open,
            IncidentState::Resolved => v1::IncidentState::Resolved,
        }
        .into(),
        severity: severity(incident.severity).into(),
        summary: incident.summary.clone(),
        evidence: incident.evidence.clone(),
        started_at: Some(timestamp(incident.started_at)),
        opened_at: Some(timestamp(incident.opened_at)),
        updated_at: Some(timestamp(incident.updated_at)),
        resolved_at: incident.resolved_at.map(timestamp),
        reopened: incident.reopened,
        runbook_url: links.runbook(incident.pattern),
        scope: incident.scope.to_string(),
        target: incident.scope.target.clone().unwrap_or_default(),
        kind: incident
            .scope
            .kind
            .map_or(0, |kind| v1::ProbeKind::from(kind).into()),
        family: incident
            .scope
            .family
            .map_or(0, |family| v1::Family::from(family).into()),
        loss: incident.loss.map(Into::into),
        confidence: v1::Confidence::from(incident.confidence).into(),
        alternatives: incident.alternatives.iter().map(Into::into).collect(),
        counter_examples: incident.counter_examples.clone(),
        first_actions: incident.first_actions.clone(),
        paths: incident.paths.iter().map(Into::into).collect(),
        mute: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_before_the_epoch_have_a_positive_fraction() {
        let at = timestamp("1969-12-31T23:59:59.25Z".parse().unwrap());
        assert_eq!((at.seconds, at.nanos), (-1, 250_000_000));
        let at = timestamp("2026-01-01T00:00:00.5Z".parse().unwrap());
        assert_eq!((at.seconds, at.nanos), (1_767_225_600, 500_000_000));
    }
}
