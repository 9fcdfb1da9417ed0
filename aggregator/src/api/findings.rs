//! What is wrong now: what the newest run of the diagnosis found, and what the detector and the aggregator declared.
//!
//! A dark node and a cut report path go straight to the incident book, for people must hear of them at once; here they
//! stand beside the causes that the diagnosis names, so that nobody has to look in two places.

use std::collections::BTreeSet;

use jiff::Timestamp;
use meshprobe_core::{
    finding::{Finding, Pattern, Place, Scope},
    ids::NodeName,
};
use meshprobe_proto::v1;

use super::{Api, ApiError, page, views};
use crate::{
    incident::{Incident, IncidentId, IncidentState, Severity, is_found},
    receiver::Links,
    snapshot::Snapshot,
    wall,
};

/// Something that is wrong now.
#[derive(Clone, Debug)]
pub(super) struct Current {
    /// The identity that its incident has or would have.
    pub(super) id: IncidentId,
    /// What was found; of what was declared, what its incident says.
    pub(super) finding: Finding,
    pub(super) since: Option<Timestamp>,
    /// Its incident, if that is open.
    pub(super) incident: Option<Incident>,
}

impl Current {
    pub(super) fn severity(&self) -> Severity {
        let found = || Severity::of(self.finding.pattern, self.finding.loss.as_ref());
        self.incident
            .as_ref()
            .map_or_else(found, |incident| incident.severity)
    }
}

impl Api {
    /// Everything that is wrong now, the most serious first, and when the mesh looked so; `None`: the diagnosis has not run yet.
    pub(super) fn current(&self) -> (Option<Timestamp>, Vec<Current>) {
        let diagnosed = self.mesh.findings();
        let at = diagnosed.as_ref().map(|diagnosed| diagnosed.shot.at);
        let mut all: Vec<Current> = Vec::new();
        if let Some(diagnosed) = &diagnosed {
            for finding in &diagnosed.diagnosis.findings {
                let id = IncidentId::of(finding.pattern, &finding.scope);
                let open = |one: &Incident| one.state == IncidentState::Open;
                all.push(Current {
                    since: finding.since.map(|since| diagnosed.shot.wall_at(since)),
                    incident: self.incidents.one(&id).filter(open),
                    finding: finding.clone(),
                    id,
                });
            }
        }
        let found: BTreeSet<IncidentId> = all.iter().map(|one| one.id.clone()).collect();
        let declared = self.incidents.open().into_iter();
        let declared = declared.filter(|one| !is_found(one.pattern) && !found.contains(&one.id));
        all.extend(declared.map(|incident| Current {
            id: incident.id.clone(),
            finding: as_finding(&incident),
            since: Some(incident.started_at),
            incident: Some(incident),
        }));
        // Inside one severity what was declared stands first, for it lies lowest; then the diagnosis' own order.
        all.sort_by_key(|one| {
            let is_higher = is_found(one.finding.pattern);
            (std::cmp::Reverse(one.severity()), is_higher)
        });
        (at, all)
    }

    /// A page of what is wrong now.
    pub fn list_findings(
        &self,
        request: &v1::ListFindingsRequest,
    ) -> Result<v1::ListFindingsResponse, ApiError> {
        let v1::ListFindingsRequest {
            pattern,
            node,
            zone,
            severity,
            page_size,
            page_token,
        } = request;
        let snapshot = self.mesh.snapshot();
        let pattern = wanted_pattern(pattern)?;
        let node = wanted_node(node, &snapshot)?;
        let least = wanted_severity(*severity)?;
        let (size, skip) = (page::size(*page_size), page::offset(page_token)?);
        let (at, all) = self.current();
        let wanted = |one: &&Current| {
            pattern.is_none_or(|pattern| one.finding.pattern == pattern)
                && node
                    .as_ref()
                    .is_none_or(|node| names_node(&one.finding, node))
                && (zone.is_empty() || zones(&one.finding.scope, &snapshot).contains(zone))
                && least.is_none_or(|least| one.severity() >= least)
        };
        let links = self.audience.borrow().links.clone();
        let mut found: Vec<&Current> = all
            .iter()
            .filter(wanted)
            .skip(skip)
            .take(size + 1)
            .collect();
        let more = found.len() > size;
        found.truncate(size);
        Ok(v1::ListFindingsResponse {
            at: at.map(views::timestamp),
            findings: found
                .iter()
                .map(|one| self.view(one, &snapshot, &links))
                .collect(),
            next_page_token: if more {
                page::offset_token(skip + size)
            } else {
                String::new()
            },
        })
    }

    fn view(&self, current: &Current, snapshot: &Snapshot, links: &Links) -> v1::Finding {
        let Current {
            id,
            finding,
            since,
            incident,
        } = current;
        let Scope {
            place: _,
            kind,
            family,
            target,
        } = &finding.scope;
        let mute = incident.as_ref().and_then(|incident| {
            let mute = self.silences.mute(incident, snapshot, wall::now());
            mute.as_ref().map(super::incidents::mute)
        });
        v1::Finding {
            id: id.to_string(),
            pattern: finding.pattern.as_str().to_owned(),
            scope: finding.scope.to_string(),
            nodes: finding
                .scope
                .named_nodes()
                .iter()
                .map(ToString::to_string)
                .collect(),
            zones: zones(&finding.scope, snapshot),
            target: target.clone().unwrap_or_default(),
            kind: kind.map_or(0, |kind| v1::ProbeKind::from(kind).into()),
            family: family.map_or(0, |family| v1::Family::from(family).into()),
            plane: finding
                .plane
                .map_or(0, |plane| v1::Plane::from(plane).into()),
            severity: views::severity(current.severity()).into(),
            summary: finding.summary.clone(),
            loss: finding.loss.map(Into::into),
            since: since.map(views::timestamp),
            confidence: v1::Confidence::from(finding.confidence).into(),
            alternatives: finding.alternatives.iter().map(Into::into).collect(),
            evidence: finding.evidence.clone(),
            counter_examples: finding.counter_examples.clone(),
            failing: finding.failing,
            judged: finding.judged,
            paths: finding.paths.iter().map(Into::into).collect(),
            first_actions: incident
                .as_ref()
                .map_or_else(Vec::new, |incident| incident.first_actions.clone()),
            runbook_url: links.runbook(finding.pattern),
            has_incident: incident.is_some(),
            mute,
        }
    }
}

fn as_finding(incident: &Incident) -> Finding {
    Finding {
        plane: incident.plane,
        loss: incident.loss,
        confidence: incident.confidence,
        alternatives: incident.alternatives.clone(),
        evidence: incident.evidence.clone(),
        counter_examples: incident.counter_examples.clone(),
        paths: incident.paths.clone(),
        ..Finding::new(
            incident.pattern,
            incident.scope.clone(),
            incident.summary.clone(),
        )
    }
}

fn wanted_pattern(name: &str) -> Result<Option<Pattern>, ApiError> {
    if name.is_empty() {
        return Ok(None);
    }
    let unknown = || {
        let known: Vec<&str> = Pattern::ALL
            .iter()
            .map(|pattern| pattern.as_str())
            .collect();
        ApiError::Invalid(format!(
            "no pattern is called {name:?}; there are: {}",
            known.join(", ")
        ))
    };
    Pattern::from_name(name).map(Some).ok_or_else(unknown)
}

fn wanted_node(name: &str, snapshot: &Snapshot) -> Result<Option<NodeName>, ApiError> {
    if name.is_empty() {
        return Ok(None);
    }
    let known = NodeName::try_from(name).ok();
    let known = known.filter(|name| snapshot.node(name).is_some());
    known
        .map(Some)
        .ok_or_else(|| ApiError::NotFound(format!("no node is called {name:?}")))
}

fn wanted_severity(number: i32) -> Result<Option<Severity>, ApiError> {
    match v1::Severity::try_from(number) {
        Ok(v1::Severity::Unspecified) => Ok(None),
        Ok(v1::Severity::Info) => Ok(Some(Severity::Info)),
        Ok(v1::Severity::Warning) => Ok(Some(Severity::Warning)),
        Ok(v1::Severity::Critical) => Ok(Some(Severity::Critical)),
        Err(_) => Err(ApiError::Invalid(format!(
            "unknown severity number {number}"
        ))),
    }
}

fn names_node(finding: &Finding, node: &NodeName) -> bool {
    let fails = |path: &meshprobe_core::finding::NamedPath| {
        path.source == node.as_str() || path.target == node.as_str()
    };
    finding.scope.named_nodes().contains(node) || finding.paths.iter().any(fails)
}

/// The zones that a scope names, and those of its nodes.
fn zones(scope: &Scope, snapshot: &Snapshot) -> Vec<String> {
    let mut zones: Vec<String> = match &scope.place {
        Place::Zone(zone) => vec![zone.clone()],
        Place::ZonePair { from, to, .. } => vec![from.clone(), to.clone()],
        Place::Everywhere | Place::Nodes(_) | Place::Path { .. } => scope
            .named_nodes()
            .iter()
            .filter_map(|node| Some(snapshot.node(node)?.profile.zone.clone()))
            .filter(|zone| !zone.is_empty())
            .collect(),
    };
    zones.sort_unstable();
    zones.dedup();
    zones
}
