//! Alertmanager's webhook format, version 4, and our own words under `meshprobe`.
//!
//! Every receiver that takes Alertmanager's webhooks takes ours. All values of label and annotation maps are strings,
//! `endsAt` is Go's zero time while an alert is firing, and the fingerprint is the incident's identity, so a resolved
//! alert closes the one that was opened. Messages that were put together have an alert for each incident.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meshprobe_core::{
    finding::{Alternative, Confidence, Estimate, NamedPath, Pattern, Place},
    ids::NodeName,
    path::{Family, Plane, ProbeKind},
};
use serde::Serialize;

use super::{Annotations, Labels, Links, Message, News, annotations};
use crate::incident::Incident;

/// Go's zero time, which Alertmanager writes for "not yet".
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    version: &'static str,
    group_key: String,
    truncated_alerts: u64,
    status: &'static str,
    receiver: &'a str,
    group_labels: BTreeMap<&'static str, String>,
    common_labels: Labels,
    common_annotations: Annotations,
    #[serde(rename = "externalURL")]
    external_url: String,
    alerts: Vec<Alert>,
    meshprobe: Own<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: &'static str,
    labels: Labels,
    annotations: Annotations,
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
    transition: &'static str,
    severity: &'static str,
    summary: String,
    /// Only somebody who wants to know whether messages arrive.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    test: bool,
    #[serde(flatten)]
    incident: Option<AboutIncident<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suppressed_changes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Counts>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AboutIncident<'a> {
    incident_id: &'a str,
    pattern: &'static str,
    state: &'static str,
    scope: OwnScope<'a>,
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

/// How many messages were put together, by what they said.
#[derive(Serialize)]
struct Counts {
    messages: u32,
    opened: u32,
    updated: u32,
    resolved: u32,
}

/// The bytes for one receiver.
pub(super) fn render(message: &Message, receiver: &str, links: &Links) -> Vec<u8> {
    let labels = message.labels();
    let name = labels.get("alertname").cloned().unwrap_or_default();
    let (alerts, truncated) = alerts(message, links);
    let body = Body {
        version: "4",
        group_key: format!("{{}}:{{alertname=\"{name}\"}}"),
        truncated_alerts: truncated,
        status: message.status(),
        receiver,
        group_labels: BTreeMap::from([("alertname", name)]),
        common_labels: labels,
        common_annotations: annotations(message, links),
        external_url: links.external(),
        alerts,
        meshprobe: own(message),
    };
    serde_json::to_vec(&body)
        .expect("maps with string keys, strings and numbers: every one has a JSON form")
}

fn alerts(message: &Message, links: &Links) -> (Vec<Alert>, u64) {
    match message {
        Message::Change(news) => (vec![alert(news, links)], 0),
        Message::Digest(digest) => {
            let alerts: Vec<Alert> = digest.news.iter().map(|news| alert(news, links)).collect();
            let truncated = digest.incidents.len().saturating_sub(alerts.len());
            (alerts, truncated as u64)
        }
        Message::Test(test) => {
            let alert = Alert {
                status: message.status(),
                labels: message.labels(),
                annotations: annotations(message, links),
                starts_at: test.at.to_string(),
                ends_at: ZERO_TIME.to_owned(),
                generator_url: links.external(),
                fingerprint: "0000000000000000".to_owned(),
            };
            (vec![alert], 0)
        }
    }
}

fn alert(news: &News, links: &Links) -> Alert {
    let incident = &news.change.incident;
    Alert {
        status: news.status(),
        labels: news.labels.clone(),
        annotations: annotations(&Message::Change(news.clone()), links),
        starts_at: incident.started_at.to_string(),
        ends_at: incident
            .resolved_at
            .map_or_else(|| ZERO_TIME.to_owned(), |at| at.to_string()),
        generator_url: links.incident(incident),
        fingerprint: fingerprint(incident),
    }
}

/// Sixteen hexadecimal digits: the incident's identity has that form already.
fn fingerprint(incident: &Incident) -> String {
    incident.id.to_string()
}

impl<'a> From<&'a Incident> for AboutIncident<'a> {
    fn from(incident: &'a Incident) -> Self {
        Self {
            incident_id: incident.id.as_str(),
            pattern: incident.pattern.as_str(),
            state: incident.state.as_str(),
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
        }
    }
}

fn own(message: &Message) -> Own<'_> {
    let (suppressed_changes, digest) = match message {
        Message::Change(news) => (news.flapping, None),
        Message::Digest(digest) => {
            let counts = Counts {
                messages: digest.messages,
                opened: digest.opened,
                updated: digest.updated,
                resolved: digest.resolved,
            };
            (None, Some(counts))
        }
        Message::Test(_) => (None, None),
    };
    Own {
        transition: message.kind(),
        severity: message.severity().as_str(),
        summary: message
            .incident()
            .map_or_else(|| message.summary(), |incident| incident.summary.clone()),
        test: matches!(message, Message::Test(_)),
        incident: message.incident().map(AboutIncident::from),
        suppressed_changes,
        digest,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use meshprobe_core::finding::Scope;

    use super::*;
    use crate::{
        incident::{IncidentChange, IncidentState, Transition},
        receiver::{alert_name, labels, notification_id, samples},
    };

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
        let message = Message::Change(News {
            labels: labels(&incident),
            change: IncidentChange {
                transition,
                incident,
            },
            flapping: None,
        });
        serde_json::from_slice(&render(&message, "pager", &links)).unwrap()
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

    #[test]
    fn a_digest_has_an_alert_for_each_incident_and_a_test_says_that_it_is_one() {
        let json = |message: &Message| -> Value {
            serde_json::from_slice(&render(message, "pager", &samples::links())).unwrap()
        };
        let digest = json(&samples::digest());
        assert_eq!(digest["alerts"].as_array().unwrap().len(), 3);
        assert_eq!(digest["status"], "firing");
        assert_eq!(digest["meshprobe"]["transition"], "digest");
        assert_eq!(digest["meshprobe"]["digest"]["messages"], 3);
        let summary = digest["commonAnnotations"]["summary"].as_str().unwrap();
        assert!(summary.starts_with("and 3 more"), "{summary}");
        let test = json(&samples::test());
        assert_eq!(test["meshprobe"]["test"], true);
        assert_eq!(test["commonLabels"]["alertname"], "MeshprobeTest");
        assert_eq!(test["alerts"][0]["labels"]["test"], "true");
        assert_eq!(test["meshprobe"].get("incidentId"), None);
    }
}
