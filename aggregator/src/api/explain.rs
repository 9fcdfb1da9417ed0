//! Why one end cannot talk to another: the measurements between them, brought to `meshprobe_core::diagnosis::explain`.

use std::collections::BTreeSet;

use meshprobe_core::{
    detail::Detail,
    diagnosis::explain::{Conclusion, Ends, Explanation, Measured, Rung, Suspect, explain},
    ids::NodeName,
    path::ProbeKind,
};
use meshprobe_proto::v1;

use super::{Api, ApiError, findings::Current, views};
use crate::snapshot::{CellDetail, PathCells, Snapshot, Traced};

/// DNS targets that are looked at beside the target itself: servers × names.
const MAX_DNS: usize = 64;

/// A cell with its two ends, and where the packets of its path ended.
struct Path {
    source: String,
    target: String,
    cell: CellDetail,
    trace: Option<Traced>,
    detail: Option<Detail>,
}

impl Api {
    /// Why `source` cannot talk to `target`.
    pub async fn explain(&self, source: &str, target: &str) -> Result<v1::Explanation, ApiError> {
        for (field, value) in [("source", source), ("target", target)] {
            if value.is_empty() {
                return Err(ApiError::Invalid(format!(
                    "{field} is missing: write the name of a node{}",
                    {
                        if field == "target" {
                            ", or of a target as the matrix heads its column"
                        } else {
                            ""
                        }
                    }
                )));
            }
        }
        if source == target {
            return Err(ApiError::Invalid(
                "source and target are the same node; a node is not probed by itself".to_owned(),
            ));
        }
        let between = self.mesh.path(source, target).await?;
        let snapshot = self.mesh.snapshot();
        let zone = |name: &str| zone_of(&snapshot, name);
        let target_zone = zone(target);
        let ends = Ends {
            source,
            source_zone: &zone(source).unwrap_or_default(),
            target,
            target_zone: target_zone.as_deref().unwrap_or_default(),
            is_between_nodes: target_zone.is_some(),
        };
        let mut paths = Vec::new();
        take(&mut paths, source, target, between);
        if !ends.is_between_nodes {
            for heading in self.dns_headings(&snapshot, target).await? {
                // A target that was dropped meanwhile is none.
                if let Ok(cells) = self.mesh.path(source, &heading).await {
                    take(&mut paths, source, &heading, cells);
                }
            }
        }
        let (_, current) = self.current();
        let measured: Vec<Measured<'_>> = paths.iter().map(measured).collect();
        let suspects: Vec<Suspect<'_>> = current.iter().map(suspect).collect();
        let explanation = explain(&ends, &measured, &suspects);
        Ok(self.explanation_view(&ends, explanation, &paths, &current))
    }

    /// The columns of DNS but for the target's own.
    async fn dns_headings(
        &self,
        snapshot: &Snapshot,
        target: &str,
    ) -> Result<BTreeSet<String>, ApiError> {
        let mut headings = BTreeSet::new();
        let layers = snapshot.layers.iter().map(|census| census.layer);
        for layer in
            layers.filter(|layer| matches!(layer.kind, ProbeKind::DnsUdp | ProbeKind::DnsTcp))
        {
            let Some(read) = self.mesh.layer(layer).await? else {
                continue;
            };
            let columns = read.targets.iter().filter(|column| column.name != target);
            headings.extend(columns.map(|column| column.name.clone()));
        }
        Ok(headings.into_iter().take(MAX_DNS).collect())
    }

    fn explanation_view(
        &self,
        ends: &Ends<'_>,
        explanation: Explanation,
        paths: &[Path],
        current: &[Current],
    ) -> v1::Explanation {
        let Explanation {
            conclusion,
            sentence,
            steps,
            first_failing,
            cause,
        } = explanation;
        let links = self.audience.borrow().links.clone();
        let cause = cause
            .and_then(|index| current.get(index))
            .map(|one| v1::ExplainCause {
                pattern: one.finding.pattern.as_str().to_owned(),
                scope: one.finding.scope.to_string(),
                summary: one.finding.summary.clone(),
                confidence: v1::Confidence::from(one.finding.confidence).into(),
                incident_id: one.id.to_string(),
                has_incident: one.incident.is_some(),
                runbook_url: links.runbook(one.finding.pattern),
                first_actions: one
                    .incident
                    .as_ref()
                    .map_or_else(Vec::new, |incident| incident.first_actions.clone()),
            });
        let step = |step: meshprobe_core::diagnosis::explain::Step| {
            let shown = step.measured.and_then(|index| paths.get(index));
            v1::ExplainStep {
                rung: rung(step.rung).into(),
                source: step.source,
                target: step.target,
                plane: step.plane.map_or(0, |plane| v1::Plane::from(plane).into()),
                kind: step.kind.map_or(0, |kind| v1::ProbeKind::from(kind).into()),
                family: step
                    .family
                    .map_or(0, |family| v1::Family::from(family).into()),
                verdict: v1::Verdict::from(step.verdict).into(),
                note: step.note,
                cell: shown.map(|path| views::cell(&path.cell)),
                trace: shown.and_then(|path| path.trace.as_ref()).map(views::trace),
            }
        };
        v1::Explanation {
            source: ends.source.to_owned(),
            target: ends.target.to_owned(),
            conclusion: match conclusion {
                Conclusion::Works => v1::Conclusion::Works,
                Conclusion::Degraded => v1::Conclusion::Degraded,
                Conclusion::Partly => v1::Conclusion::Partly,
                Conclusion::Fails => v1::Conclusion::Fails,
                Conclusion::Unknown => v1::Conclusion::Unknown,
            }
            .into(),
            sentence,
            steps: steps.into_iter().map(step).collect(),
            first_failing: first_failing.and_then(|index| u32::try_from(index).ok()),
            cause,
        }
    }
}

/// The zone of a node; `None`: it is no node.
fn zone_of(snapshot: &Snapshot, name: &str) -> Option<String> {
    let row = snapshot.node(&NodeName::try_from(name).ok()?)?;
    Some(row.profile.zone.clone())
}

/// Both ways, each cell with the trace of its layer.
fn take(paths: &mut Vec<Path>, source: &str, target: &str, cells: PathCells) {
    let PathCells {
        forward,
        reverse,
        forward_traces,
        reverse_traces,
    } = cells;
    for (source, target, cells, traces) in [
        (source, target, forward, forward_traces),
        (target, source, reverse, reverse_traces),
    ] {
        for cell in cells {
            let wire = v1::Layer::from(cell.layer);
            let is_of_layer = |traced: &&Traced| {
                let route = &traced.route;
                (route.kind, route.plane, route.family) == (wire.kind, wire.plane, wire.family)
            };
            paths.push(Path {
                source: source.to_owned(),
                target: target.to_owned(),
                trace: traces.iter().find(is_of_layer).cloned(),
                detail: cell
                    .found
                    .as_ref()
                    .and_then(|found| Detail::try_from(&found.detail).ok()),
                cell,
            });
        }
    }
}

fn measured(path: &Path) -> Measured<'_> {
    let cell = &path.cell;
    Measured {
        source: &path.source,
        target: &path.target,
        layer: cell.layer,
        verdict: cell.verdict,
        sent: cell.sent,
        replied: cell.replied,
        received: cell.received,
        failure: cell.last_failure,
        detail: path.detail.as_ref(),
    }
}

fn suspect(current: &Current) -> Suspect<'_> {
    Suspect {
        pattern: current.finding.pattern,
        scope: &current.finding.scope,
        plane: current.finding.plane,
    }
}

const fn rung(rung: Rung) -> v1::Rung {
    match rung {
        Rung::HostNetwork => v1::Rung::HostNetwork,
        Rung::PodNetwork => v1::Rung::PodNetwork,
        Rung::Protocol => v1::Rung::Protocol,
        Rung::PacketSize => v1::Rung::PacketSize,
        Rung::Dns => v1::Rung::Dns,
        Rung::DnsVip => v1::Rung::DnsVip,
        Rung::Name => v1::Rung::Name,
        Rung::Service => v1::Rung::Service,
        Rung::Connect => v1::Rung::Connect,
        Rung::Tls => v1::Rung::Tls,
        Rung::Http => v1::Rung::Http,
    }
}
