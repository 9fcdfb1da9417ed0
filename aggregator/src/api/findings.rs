//! What is wrong now, and what was at a moment of the past: what the newest run of the diagnosis found, and what the detector and the aggregator declared.
//!
//! A dark node and a cut report path go straight to the incident book, for people must hear of them at once; here they
//! stand beside the causes that the diagnosis names, so that nobody has to look in two places.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use meshprobe_core::{
    finding::{Finding, Pattern, Place, Scope},
    ids::NodeName,
};
use meshprobe_proto::v1;

use super::{Api, ApiError, page, views};
use crate::{
    history::{Layers, MeshWindow, Past, PastFinding},
    incident::{Incident, IncidentId, IncidentState, Severity, actions, is_found},
    receiver::Links,
    wall,
};

/// Something that is wrong, or was.
#[derive(Clone, Debug)]
pub(super) struct Current {
    /// The identity that its incident has or would have.
    pub(super) id: IncidentId,
    /// What was found; of what was declared, what its incident says.
    pub(super) finding: Finding,
    pub(super) since: Option<Timestamp>,
    /// Its incident, if that is open.
    pub(super) incident: Option<Incident>,
    /// Its incident is open; of the past: was.
    pub(super) has_incident: bool,
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
                let incident = self.incidents.one(&id).filter(open);
                all.push(Current {
                    since: finding.since.map(|since| diagnosed.shot.wall_at(since)),
                    has_incident: incident.is_some(),
                    incident,
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
            finding: incident.as_finding(),
            since: Some(incident.started_at),
            incident: Some(incident),
            has_incident: true,
        }));
        sort(&mut all);
        (at, all)
    }

    /// A page of what is wrong now.
    pub fn list_findings(
        &self,
        request: &v1::ListFindingsRequest,
    ) -> Result<v1::ListFindingsResponse, ApiError> {
        let snapshot = self.mesh.snapshot();
        let zone_of = |node: &NodeName| Some(snapshot.node(node)?.profile.zone.clone());
        let wanted = Wanted::parse(request, |name| {
            snapshot
                .node(name)
                .map(|_| ())
                .ok_or_else(|| ApiError::NotFound(format!("no node is called {name:?}")))
        })?;
        let (at, all) = self.current();
        let (found, next_page_token) = wanted.page(all, &zone_of);
        let links = self.audience.borrow().links.clone();
        let view = |current: &Current| v1::Finding {
            mute: current.incident.as_ref().and_then(|incident| {
                let mute = self.silences.mute(incident, &snapshot, wall::now());
                mute.as_ref().map(super::incidents::mute)
            }),
            ..view(current, &zone_of, &links)
        };
        Ok(v1::ListFindingsResponse {
            at: at.map(views::timestamp),
            findings: found.iter().map(view).collect(),
            next_page_token,
            ..v1::ListFindingsResponse::default()
        })
    }

    /// A page of what stood in the window of the history that a moment is in.
    pub async fn findings_at(
        &self,
        request: &v1::ListFindingsRequest,
        at: Timestamp,
    ) -> Result<v1::ListFindingsResponse, ApiError> {
        let Past { span, mesh, .. } = self.history.at(at, Layers::None).await?;
        let MeshWindow {
            nodes,
            findings,
            has_more_findings,
            ..
        } = &mesh.0;
        let zones: BTreeMap<&str, &str> = nodes
            .iter()
            .map(|node| (node.name.as_str(), node.zone.as_str()))
            .collect();
        let zone_of = |node: &NodeName| zones.get(node.as_str()).map(|zone| (*zone).to_owned());
        let wanted = Wanted::parse(request, |name| {
            zone_of(name)
                .map(|_| ())
                .ok_or_else(|| ApiError::NotFound(format!("no node was called {name:?} at {at}")))
        })?;
        let (found, next_page_token) = wanted.page(past(findings), &zone_of);
        let links = self.audience.borrow().links.clone();
        Ok(v1::ListFindingsResponse {
            at: Some(views::timestamp(span.end())),
            findings: found
                .iter()
                .map(|one| view(one, &zone_of, &links))
                .collect(),
            next_page_token,
            window: Some(super::past::window(span, &mesh)),
            incomplete_reason: if *has_more_findings {
                format!(
                    "more findings stood in this window than the {} that are kept of one",
                    MeshWindow::MOST_FINDINGS
                )
            } else {
                String::new()
            },
        })
    }
}

/// What stood in a window of the past, the most serious first.
fn past(findings: &[PastFinding]) -> Vec<Current> {
    let finding = |past: &PastFinding| {
        let since = past.since_millis;
        Current {
            id: IncidentId::of(past.finding.pattern, &past.finding.scope),
            finding: past.finding.clone(),
            since: since.and_then(|since| Timestamp::from_millisecond(since).ok()),
            incident: None,
            has_incident: past.has_incident,
        }
    };
    let mut all: Vec<Current> = findings.iter().map(finding).collect();
    sort(&mut all);
    all
}

/// The most serious first. Inside one severity what was declared stands first, for it lies lowest; then the diagnosis' own order.
fn sort(all: &mut [Current]) {
    all.sort_by_key(|one| {
        let is_higher = is_found(one.finding.pattern);
        (std::cmp::Reverse(one.severity()), is_higher)
    });
}

/// Which findings somebody asks for, and which page of them.
struct Wanted {
    pattern: Option<Pattern>,
    node: Option<NodeName>,
    zone: String,
    least: Option<Severity>,
    size: usize,
    skip: usize,
}

/// The zone of a node, empty if it is unknown; `None`: nobody has this name.
type ZoneOf<'a> = &'a dyn Fn(&NodeName) -> Option<String>;

impl Wanted {
    /// `check` refuses names that no node has.
    fn parse(
        request: &v1::ListFindingsRequest,
        check: impl Fn(&NodeName) -> Result<(), ApiError>,
    ) -> Result<Self, ApiError> {
        let v1::ListFindingsRequest {
            pattern,
            node,
            zone,
            severity,
            page_size,
            page_token,
            at: _,
        } = request;
        let wanted = Self {
            pattern: wanted_pattern(pattern)?,
            node: wanted_node(node)?,
            zone: zone.clone(),
            least: wanted_severity(*severity)?,
            size: page::size(*page_size),
            skip: page::offset(page_token)?,
        };
        wanted.node.as_ref().map_or(Ok(()), check)?;
        Ok(wanted)
    }

    fn takes(&self, one: &Current, zone_of: ZoneOf<'_>) -> bool {
        self.pattern
            .is_none_or(|pattern| one.finding.pattern == pattern)
            && self
                .node
                .as_ref()
                .is_none_or(|node| names_node(&one.finding, node))
            && (self.zone.is_empty() || zones(&one.finding.scope, zone_of).contains(&self.zone))
            && self.least.is_none_or(|least| one.severity() >= least)
    }

    /// The page, and the token of the next one; empty: there is none.
    fn page(&self, all: Vec<Current>, zone_of: ZoneOf<'_>) -> (Vec<Current>, String) {
        let mut found: Vec<Current> = all
            .into_iter()
            .filter(|one| self.takes(one, zone_of))
            .skip(self.skip)
            .take(self.size + 1)
            .collect();
        let has_more = found.len() > self.size;
        found.truncate(self.size);
        let token = has_more.then(|| page::offset_token(self.skip + self.size));
        (found, token.unwrap_or_default())
    }
}

/// A finding as the API shows it; nobody is silent about it.
fn view(current: &Current, zone_of: ZoneOf<'_>, links: &Links) -> v1::Finding {
    let Current {
        id,
        finding,
        since,
        incident: _,
        has_incident,
    } = current;
    let Scope {
        place: _,
        kind,
        family,
        target,
    } = &finding.scope;
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
        zones: zones(&finding.scope, zone_of),
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
        first_actions: actions(finding),
        runbook_url: links.runbook(finding.pattern),
        has_incident: *has_incident,
        mute: None,
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

fn wanted_node(name: &str) -> Result<Option<NodeName>, ApiError> {
    if name.is_empty() {
        return Ok(None);
    }
    NodeName::try_from(name)
        .map(Some)
        .map_err(|_| ApiError::NotFound(format!("no node is called {name:?}")))
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
fn zones(scope: &Scope, zone_of: ZoneOf<'_>) -> Vec<String> {
    let mut zones: Vec<String> = match &scope.place {
        Place::Zone(zone) => vec![zone.clone()],
        Place::ZonePair { from, to, .. } => vec![from.clone(), to.clone()],
        Place::Everywhere | Place::Nodes(_) | Place::Path { .. } => scope
            .named_nodes()
            .iter()
            .filter_map(zone_of)
            .filter(|zone| !zone.is_empty())
            .collect(),
    };
    zones.sort_unstable();
    zones.dedup();
    zones
}
