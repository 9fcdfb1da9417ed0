//! `Incident` and `ListIncidentsResponse`.

use meshprobe_proto::v1;
use serde::Serialize;

use super::timestamp;

/// All pages of [`v1::ListIncidentsResponse`] in one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentsView<'a> {
    incidents: Vec<IncidentView<'a>>,
    next_page_token: &'static str,
}

impl<'a> From<&'a [v1::Incident]> for IncidentsView<'a> {
    fn from(incidents: &'a [v1::Incident]) -> Self {
        Self {
            incidents: incidents.iter().map(IncidentView::from).collect(),
            next_page_token: "",
        }
    }
}

/// See [`v1::Incident`].
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentView<'a> {
    id: &'a str,
    pattern: &'a str,
    nodes: &'a [String],
    zones: &'a [String],
    plane: &'static str,
    state: &'static str,
    severity: &'static str,
    summary: &'a str,
    evidence: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<String>,
    reopened: u32,
    runbook_url: &'a str,
}

impl<'a> From<&'a v1::Incident> for IncidentView<'a> {
    fn from(incident: &'a v1::Incident) -> Self {
        let v1::Incident {
            id,
            pattern,
            nodes,
            zones,
            plane: _,
            state: _,
            severity: _,
            summary,
            evidence,
            started_at,
            opened_at,
            updated_at,
            resolved_at,
            reopened,
            runbook_url,
        } = incident;
        Self {
            id,
            pattern,
            nodes,
            zones,
            plane: incident.plane().as_str_name(),
            state: incident.state().as_str_name(),
            severity: incident.severity().as_str_name(),
            summary,
            evidence,
            started_at: timestamp(*started_at),
            opened_at: timestamp(*opened_at),
            updated_at: timestamp(*updated_at),
            resolved_at: timestamp(*resolved_at),
            reopened: *reopened,
            runbook_url,
        }
    }
}
