//! The body: Alertmanager's webhook format, version 4, and our own words under `meshprobe`.
//!
//! Every receiver that takes Alertmanager's webhooks takes ours. All values of label and annotation maps are strings,
//! `endsAt` is Go's zero time while an alert is firing, and the fingerprint is the incident's identity, so a resolved
//! alert closes the one that was opened.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meshprobe_core::{
    finding::{Alternative, Confidence, Estimate, NamedPath, Pattern, Place},
    ids::NodeName,
    path::{Family, Plane, ProbeKind},
};
use serde::Serialize;
use url::Url;

use crate::incident::{Incident, IncidentChange, IncidentState, Transition};

/// Go's zero time, which Alertmanager writes for "not yet".
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// Where the links of a notification lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The base of everything people open; `None`: links stay empty.
    pub external_url: Option<Url>,
    /// The folder of the pages about patterns; `None`: the ones that this process serves.
    pub runbook_url: Option<Url>,
}

impl Links {
    fn external(&self) -> String {
        self.external_url
            .as_ref()
            .map(|url| url.as_str().trim_end_matches('/').to_owned())
            .unwrap_or_default()
    }

    /// The page about a pattern; empty if nothing is known of how people reach pages.
    pub fn runbook(&self, pattern: Pattern) -> String {
        match (&self.runbook_url, &self.external_url) {
            (Some(folder), _) => format!("{}/{pattern}", folder.as_str().trim_end_matches('/')),
            (None, Some(_)) => format!("{}/runbook/{pattern}", self.external()),
            (None, None) => String::new(),
        }
    }

    fn incident(&self, incident: &Incident) -> String {
        match self.external_url {
            Some(_) => format!("{}/api/v1/incidents/{}", self.external(), incident.id),
            None => String::new(),
        }
    }
}

/// `node-dark` → `NodeDark`.
pub fn alert_name(pattern: Pattern) -> String {
    pattern
        .as_str()
        .split('-')
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_uppercase().chain(letters).collect::<String>())
                .unwrap_or_default()
        })
        .collect()
}

/// Sixteen hexadecimal digits: the incident's identity has that form already.
pub fn fingerprint(incident: &Incident) -> String {
    incident.id.to_string()
}

/// The idempotency key: the same for the same change, whoever makes the message and however often.
pub fn notification_id(change: &IncidentChange) -> String {
    let IncidentChange {
        transition,
        incident,
    } = change;
    format!(
        "{}.{}.{}.{}",
        incident.id,
        incident.reopened,
        transition.as_str(),
        incident.updated_at.as_millisecond()
    )
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    version: &'static str,
    group_key: String,
    truncated_alerts: u64,
    status: &'static str,
    receiver: &'a str,
    group_labels: BTreeMap<&'static str, String>,
    common_labels: BTreeMap<&'static str, String>,
    common_annotations: BTreeMap<&'static str, String>,
    #[serde(rename = "externalURL")]
    external_url: String,
    alerts: [Alert; 1],
    meshprobe: Own<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: &'static str,
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: String,
}

/// What Alertmanager's format has no place for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Own<'a> {
    incident_id: &'a str,
    transition: &'static str,
    pattern: &'static str,
    state: &'static str,
    severity: &'static str,
    scope: OwnScope<'a>,
    summary: &'a str,
    evidence: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<&'a Estimate>,
    confidence: Confidence,
    alternatives: Vec<OwnAlternative>,
    counter_examples: &'a [String],
    first_actions: &'a [String],
    paths: &'a [NamedPath],
    started_at: Timestamp,
    opened_at: Timestamp,
    updated_at: Timestamp,
    resolved_at: Option<Timestamp>,
    reopened: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    suppressed_changes: Option<u32>,
}

/// The scope as one text, and its parts.
#[derive(Serialize)]
struct OwnScope<'a> {
    text: String,
    place: &'a Place,
    nodes: &'a [NodeName],
    zones: &'a [String],
    plane: Option<Plane>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<ProbeKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<Family>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
}

#[derive(Serialize)]
struct OwnAlternative {
    pattern: Pattern,
    scope: String,
}

impl From<&Alternative> for OwnAlternative {
    fn from(alternative: &Alternative) -> Self {
        Self {
            pattern: alternative.pattern,
            scope: alternative.scope.to_string(),
        }
    }
}

/// The bytes for one receiver. `flapping` is the number of changes that are not told one by one.
pub fn render(
    change: &IncidentChange,
    receiver: &str,
    links: &Links,
    flapping: Option<u32>,
) -> Vec<u8> {
    let IncidentChange {
        transition,
        incident,
    } = change;
    let status = status(incident, *transition);
    let name = alert_name(incident.pattern);
    let labels = labels(incident, &name);
    let annotations = annotations(incident, links, flapping);
    let body = Body {
        version: "4",
        group_key: format!("{{}}:{{alertname=\"{name}\"}}"),
        truncated_alerts: 0,
        status,
        receiver,
        group_labels: BTreeMap::from([("alertname", name)]),
        common_labels: labels.clone(),
        common_annotations: annotations.clone(),
        external_url: links.external(),
        alerts: [Alert {
            status,
            labels,
            annotations,
            starts_at: incident.started_at.to_string(),
            ends_at: incident
                .resolved_at
                .map_or_else(|| ZERO_TIME.to_owned(), |at| at.to_string()),
            generator_url: links.incident(incident),
            fingerprint: fingerprint(incident),
        }],
        meshprobe: Own {
            incident_id: incident.id.as_str(),
            transition: transition.as_str(),
            pattern: incident.pattern.as_str(),
            state: incident.state.as_str(),
            severity: incident.severity.as_str(),
            scope: OwnScope {
                text: incident.scope.to_string(),
                place: &incident.scope.place,
                nodes: &incident.nodes,
                zones: &incident.zones,
                plane: incident.plane,
                kind: incident.scope.kind,
                family: incident.scope.family,
                target: incident.scope.target.as_deref(),
            },
            summary: &incident.summary,
            evidence: &incident.evidence,
            loss: incident.loss.as_ref(),
            confidence: incident.confidence,
            alternatives: incident.alternatives.iter().map(Into::into).collect(),
            counter_examples: &incident.counter_examples,
            first_actions: &incident.first_actions,
            paths: &incident.paths,
            started_at: incident.started_at,
            opened_at: incident.opened_at,
            updated_at: incident.updated_at,
            resolved_at: incident.resolved_at,
            reopened: incident.reopened,
            suppressed_changes: flapping,
        },
    };
    serde_json::to_vec(&body)
        .expect("maps with string keys, strings and numbers: every one has a JSON form")
}

fn status(incident: &Incident, transition: Transition) -> &'static str {
    match (incident.state, transition) {
        (IncidentState::Resolved, _) | (_, Transition::Resolved) => "resolved",
        (IncidentState::Open, _) => "firing",
    }
}

/// Labels identify an alert, so nothing that changes while it fires may be among them.
fn labels(incident: &Incident, name: &str) -> BTreeMap<&'static str, String> {
    let mut labels = BTreeMap::from([
        ("alertname", name.to_owned()),
        ("severity", incident.severity.as_str().to_owned()),
        ("pattern", incident.pattern.as_str().to_owned()),
        ("scope", incident.scope.to_string()),
    ]);
    if !incident.nodes.is_empty() {
        let names: Vec<&str> = incident.nodes.iter().map(NodeName::as_str).collect();
        labels.insert("node", names.join(","));
    }
    if !incident.zones.is_empty() {
        labels.insert("zone", incident.zones.join(","));
    }
    if let Some(plane) = incident.plane {
        labels.insert("plane", plane.to_string());
    }
    if let Some(kind) = incident.scope.kind {
        labels.insert("kind", kind.to_string());
    }
    if let Some(family) = incident.scope.family {
        labels.insert("family", family.to_string());
    }
    if let Some(target) = &incident.scope.target {
        labels.insert("target", target.clone());
    }
    labels
}

fn annotations(
    incident: &Incident,
    links: &Links,
    flapping: Option<u32>,
) -> BTreeMap<&'static str, String> {
    let mut summary = incident.summary.clone();
    if let Some(changes) = flapping {
        summary = format!("Flapping: {summary} ({changes} changes are not told one by one)");
    }
    let mut annotations = BTreeMap::from([("summary", summary)]);
    let runbook = links.runbook(incident.pattern);
    if !runbook.is_empty() {
        annotations.insert("runbook_url", runbook);
    }
    let mut description = incident.evidence.clone();
    if !incident.first_actions.is_empty() {
        description.push("First actions:".to_owned());
        description.extend(incident.first_actions.iter().cloned());
    }
    if !description.is_empty() {
        annotations.insert("description", description.join("\n"));
    }
    annotations
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use meshprobe_core::finding::Scope;

    use super::*;

    fn incident() -> Incident {
        let scope = Scope::node(NodeName::try_from("mesh-3").unwrap());
        let opened_at = "2026-01-01T00:00:01.5Z".parse().unwrap();
        Incident {
            zones: vec!["z1".to_owned()],
            summary: "mesh-3 is dark".to_owned(),
            evidence: vec![
                "5 of 5 peers cannot reach it".to_owned(),
                "its reports stopped".to_owned(),
            ],
            started_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            ..Incident::new(Pattern::NodeDark, scope, opened_at)
        }
    }

    fn rendered(transition: Transition, incident: Incident) -> Value {
        let links = Links {
            external_url: Some("https://ui.example/mesh/".parse().unwrap()),
            runbook_url: Some("https://docs.example/runbook".parse().unwrap()),
        };
        let change = IncidentChange {
            transition,
            incident,
        };
        serde_json::from_slice(&render(&change, "pager", &links, None)).unwrap()
    }

    #[test]
    fn a_firing_alert_has_exactly_the_fields_of_alertmanager_version_4() {
        let incident = incident();
        let id = incident.id.to_string();
        let labels = json!({
            "alertname": "NodeDark", "severity": "critical", "pattern": "node-dark", "scope": "mesh-3", "node": "mesh-3", "zone": "z1",
        });
        let annotations = json!({
            "summary": "mesh-3 is dark",
            "description": "5 of 5 peers cannot reach it\nits reports stopped",
            "runbook_url": "https://docs.example/runbook/node-dark",
        });
        let mut body = rendered(Transition::Opened, incident);
        let own = body.as_object_mut().unwrap().remove("meshprobe").unwrap();
        assert_eq!(
            body,
            json!({
                "version": "4",
                "groupKey": "{}:{alertname=\"NodeDark\"}",
                "truncatedAlerts": 0,
                "status": "firing",
                "receiver": "pager",
                "groupLabels": {"alertname": "NodeDark"},
                "commonLabels": labels,
                "commonAnnotations": annotations,
                "externalURL": "https://ui.example/mesh",
                "alerts": [{
                    "status": "firing",
                    "labels": labels,
                    "annotations": annotations,
                    "startsAt": "2026-01-01T00:00:00Z",
                    "endsAt": "0001-01-01T00:00:00Z",
                    "generatorURL": format!("https://ui.example/mesh/api/v1/incidents/{id}"),
                    "fingerprint": id,
                }],
            })
        );
        assert_eq!(own["incidentId"], id);
        assert_eq!(own["transition"], "opened");
        assert_eq!(
            own["scope"],
            json!({
                "text": "mesh-3", "place": {"nodes": ["mesh-3"]}, "nodes": ["mesh-3"], "zones": ["z1"], "plane": null,
            })
        );
        assert_eq!(own["startedAt"], "2026-01-01T00:00:00Z");
        assert_eq!(own["resolvedAt"], Value::Null);
    }

    #[test]
    fn a_resolved_alert_ends_and_keeps_labels_and_fingerprint() {
        let firing = rendered(Transition::Opened, incident());
        let mut ended = incident();
        ended.state = IncidentState::Resolved;
        ended.resolved_at = Some("2026-01-01T00:05:00Z".parse().unwrap());
        let resolved = rendered(Transition::Resolved, ended);
        assert_eq!(resolved["status"], "resolved");
        assert_eq!(resolved["alerts"][0]["status"], "resolved");
        assert_eq!(resolved["alerts"][0]["endsAt"], "2026-01-01T00:05:00Z");
        for field in ["labels", "fingerprint", "startsAt"] {
            assert_eq!(
                resolved["alerts"][0][field], firing["alerts"][0][field],
                "{field}"
            );
        }
        assert_eq!(resolved["groupKey"], firing["groupKey"]);
    }

    #[test]
    fn a_fingerprint_has_sixteen_hexadecimal_digits() {
        let print = fingerprint(&incident());
        assert_eq!(print.len(), 16);
        assert!(print.bytes().all(|b| b.is_ascii_hexdigit()));
    }

    #[test]
    fn every_pattern_has_an_alert_name_in_camel_case() {
        assert_eq!(alert_name(Pattern::NodeDark), "NodeDark");
        assert_eq!(
            alert_name(Pattern::AggregatorIsolated),
            "AggregatorIsolated"
        );
        for pattern in Pattern::ALL {
            assert!(
                alert_name(*pattern)
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric()),
                "{pattern}"
            );
        }
    }

    #[test]
    fn what_a_finding_blames_beside_nodes_is_in_the_labels_and_its_first_actions_in_the_description()
     {
        let incident = Incident {
            plane: Some(Plane::Service),
            loss: Some(Estimate {
                ratio: 0.25,
                lower: 0.125,
                upper: 0.5,
                sent: 40,
                lost: 10,
            }),
            evidence: vec!["10 of 40 questions were not answered.".to_owned()],
            first_actions: vec!["kubectl -n kube-system get pods -l k8s-app=kube-dns".to_owned()],
            ..Incident::new(
                Pattern::DnsServer,
                Scope::target("coredns-1")
                    .with_kind(ProbeKind::DnsUdp)
                    .with_family(Family::V4),
                Timestamp::UNIX_EPOCH,
            )
        };
        let body = rendered(Transition::Opened, incident);
        assert_eq!(
            body["commonLabels"],
            json!({
                "alertname": "DnsServer", "severity": "warning", "pattern": "dns-server", "scope": "coredns-1 dns-udp v4",
                "plane": "service", "kind": "dns-udp", "family": "v4", "target": "coredns-1",
            })
        );
        assert_eq!(
            body["commonAnnotations"]["description"],
            "10 of 40 questions were not answered.\nFirst actions:\nkubectl -n kube-system get pods -l k8s-app=kube-dns"
        );
        assert_eq!(body["meshprobe"]["loss"]["ratio"], 0.25);
        assert_eq!(body["meshprobe"]["scope"]["target"], "coredns-1");
    }

    #[test]
    fn several_nodes_are_one_label() {
        let mut incident = incident();
        incident.nodes.push(NodeName::try_from("mesh-4").unwrap());
        let body = rendered(Transition::Opened, incident);
        assert_eq!(body["commonLabels"]["node"], "mesh-3,mesh-4");
    }

    #[test]
    fn the_idempotency_key_tells_changes_apart_and_is_the_same_for_one() {
        let opened = IncidentChange {
            transition: Transition::Opened,
            incident: incident(),
        };
        let resolved = IncidentChange {
            transition: Transition::Resolved,
            incident: incident(),
        };
        assert_eq!(notification_id(&opened), notification_id(&opened.clone()));
        assert_ne!(notification_id(&opened), notification_id(&resolved));
    }
}
