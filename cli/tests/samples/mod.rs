//! Answers of an aggregator for tests: a healthy mesh, and what a dark node looks like.

use meshprobe_core::rtt::RttCode;
use meshprobe_core::verdict::Verdict;
use meshprobe_proto::v1;
use prost_types::Timestamp;

/// 2026-11-21 03:12:45 UTC, the time at which everything here was asked.
pub const NOW: i64 = 1_795_230_765;

fn at(seconds_ago: i64) -> Timestamp {
    Timestamp {
        seconds: NOW - seconds_ago,
        nanos: 0,
    }
}

/// UDP between the pods of `mesh-1` … `mesh-N`, dealt to `zones` zones in blocks.
pub struct MeshBuilder {
    matrix: v1::Matrix,
    verdicts: Vec<u8>,
    rtts: Vec<u8>,
    losses: Vec<u8>,
}

/// A healthy mesh.
pub fn mesh(nodes: usize, zones: usize) -> MeshBuilder {
    let names: Vec<String> = (1..=nodes).map(|number| format!("mesh-{number}")).collect();
    let zone_of =
        |index: usize| format!("zone-{}", char::from(b'a' + (index * zones / nodes) as u8));
    let zone_names: Vec<String> = (0..nodes).map(zone_of).collect();
    let mut builder = MeshBuilder {
        matrix: v1::Matrix {
            layer: Some(layer(v1::ProbeKind::Udp, v1::Plane::Pod)),
            at: Some(at(0)),
            version: 7,
            sources: names.clone(),
            targets: names,
            source_zones: zone_names.clone(),
            target_zones: zone_names.clone(),
            ..v1::Matrix::default()
        },
        verdicts: vec![Verdict::NotSampled as u8; nodes * nodes],
        rtts: vec![0; nodes * nodes],
        losses: vec![255; nodes * nodes],
    };
    for row in 0..nodes {
        for column in (0..nodes).filter(|column| *column != row) {
            // Farther in the table is slower, and so is another zone: the numbers differ from each other.
            let zone_cost = if zone_names[row] == zone_names[column] {
                0
            } else {
                600
            };
            let micros = 180 + 13 * row.abs_diff(column) as u64 + zone_cost;
            builder.set_cell(row, column, Verdict::Healthy, Some(micros), Some(0));
        }
    }
    builder
}

impl MeshBuilder {
    /// Sets one cell; rows and columns are counted from 0.
    pub fn set_cell(
        &mut self,
        row: usize,
        column: usize,
        verdict: Verdict,
        rtt_micros: Option<u64>,
        loss: Option<u8>,
    ) -> &mut Self {
        let cell = row * self.matrix.targets.len() + column;
        self.verdicts[cell] = verdict as u8;
        self.rtts[cell] =
            rtt_micros.map_or(0, |micros| RttCode::from_nanos(micros * 1000).as_octet());
        self.losses[cell] = loss.unwrap_or(255);
        self
    }

    /// Nobody reaches the node, and it reports nothing.
    pub fn dark(&mut self, node: usize) -> &mut Self {
        for other in (0..self.matrix.sources.len()).filter(|other| *other != node) {
            self.set_cell(other, node, Verdict::Down, None, Some(100));
            self.set_cell(node, other, Verdict::NoData, None, None);
        }
        self
    }

    /// The message.
    pub fn build(&self) -> v1::Matrix {
        v1::Matrix {
            verdicts: self.verdicts.clone().into(),
            rtt_median: self.rtts.clone().into(),
            loss_percent: self.losses.clone().into(),
            ..self.matrix.clone()
        }
    }
}

/// An IPv4 layer.
pub fn layer(kind: v1::ProbeKind, plane: v1::Plane) -> v1::Layer {
    v1::Layer {
        kind: kind.into(),
        plane: plane.into(),
        family: v1::Family::V4.into(),
    }
}

/// A mesh of three where all is well.
pub fn status() -> v1::Status {
    let count = |verdict: v1::Verdict, count| v1::VerdictCount {
        verdict: verdict.into(),
        count,
    };
    v1::Status {
        version: "0.1.0".to_owned(),
        started_at: Some(at(3725)),
        judging: true,
        nodes: 3,
        nodes_reporting: 3,
        paths: vec![count(v1::Verdict::Healthy, 12), count(v1::Verdict::Down, 0)],
        layers: vec![
            layer(v1::ProbeKind::Udp, v1::Plane::Pod),
            layer(v1::ProbeKind::Tcp, v1::Plane::Host),
        ],
        store_writable: true,
        ..v1::Status::default()
    }
}

/// An incident that opened 12 s ago.
pub fn node_dark(node: &str) -> v1::Incident {
    v1::Incident {
        id: "7c1f0a94e2b86d35".to_owned(),
        pattern: "node-dark".to_owned(),
        nodes: vec![node.to_owned()],
        zones: vec!["zone-a".to_owned()],
        state: v1::IncidentState::Open.into(),
        severity: v1::Severity::Critical.into(),
        summary: format!("{node} is dark: no peer reaches it, none hears it, it does not report"),
        evidence: vec![
            "5 of 5 peers in 2 zones lost every probe to it since 03:12:32".to_owned(),
            "its last report arrived 13 s ago".to_owned(),
        ],
        started_at: Some(at(13)),
        opened_at: Some(at(12)),
        updated_at: Some(at(2)),
        runbook_url: "https://docs.example/runbook/node-dark".to_owned(),
        ..v1::Incident::default()
    }
}

/// An incident that lasted 35 s and is over.
pub fn resolved(node: &str) -> v1::Incident {
    v1::Incident {
        id: "11aa22bb33cc44dd".to_owned(),
        pattern: "reports-cut".to_owned(),
        severity: v1::Severity::Warning.into(),
        state: v1::IncidentState::Resolved.into(),
        summary: format!("{node} reports nothing; its network is fine"),
        opened_at: Some(at(7000)),
        resolved_at: Some(at(6965)),
        ..node_dark(node)
    }
}

/// A healthy one, a dark one and one that leaves.
pub fn nodes() -> Vec<v1::Node> {
    let node = |name: &str, zone: &str| v1::Node {
        name: name.to_owned(),
        zone: zone.to_owned(),
        region: "here".to_owned(),
        lifecycle: v1::Lifecycle::Active.into(),
        state: v1::NodeState::Ok.into(),
        last_report_at: Some(at(3)),
        last_report_way: v1::WayHome::Overlay.into(),
        prober_version: "0.1.0".to_owned(),
        addresses: vec!["10.244.1.2".to_owned(), "172.30.1.11".to_owned()],
        labels: [("kubernetes.io/arch", "amd64"), ("a", "b")]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        ..v1::Node::default()
    };
    vec![
        v1::Node {
            state: v1::NodeState::Leaving.into(),
            lifecycle: v1::Lifecycle::Leaving.into(),
            state_reason: "its prober said goodbye".to_owned(),
            ..node("mesh-10", "zone-b")
        },
        v1::Node {
            state: v1::NodeState::Dark.into(),
            state_reason: "no peer reaches it, none hears it, it does not report".to_owned(),
            last_report_at: Some(at(13)),
            last_report_way: v1::WayHome::Underlay.into(),
            failing_in: 2,
            ..node("mesh-3", "zone-b")
        },
        node("mesh-1", "zone-a"),
    ]
}

/// One layer that fails one way only, and one without data.
pub fn path() -> v1::PathDetail {
    let cell = |kind, verdict: v1::Verdict| v1::Cell {
        layer: Some(layer(kind, v1::Plane::Pod)),
        verdict: verdict.into(),
        sent: 10,
        replied: 10,
        received: Some(10),
        rtt_min_seconds: 0.000_21,
        rtt_median_seconds: 0.000_31,
        rtt_max_seconds: 0.0042,
        rtt_baseline_seconds: 0.0003,
        updated_at: Some(at(2)),
        loss_upper: 0.278,
        ..v1::Cell::default()
    };
    v1::PathDetail {
        forward: vec![
            v1::Cell {
                replied: 0,
                received: Some(0),
                consecutive_losses: 10,
                rtt_min_seconds: 0.0,
                rtt_median_seconds: 0.0,
                rtt_max_seconds: 0.0,
                last_failure: v1::OutcomeClass::Timeout.into(),
                loss_lower: 0.722,
                loss_upper: 1.0,
                ..cell(v1::ProbeKind::Udp, v1::Verdict::Down)
            },
            cell(v1::ProbeKind::Tcp, v1::Verdict::Healthy),
        ],
        reverse: vec![v1::Cell {
            sent: 0,
            replied: 0,
            received: None,
            rtt_min_seconds: 0.0,
            rtt_median_seconds: 0.0,
            rtt_max_seconds: 0.0,
            updated_at: None,
            ..cell(v1::ProbeKind::Udp, v1::Verdict::NoData)
        }],
        ..v1::PathDetail::default()
    }
}

/// An incident with a timeline of two lines; one receiver took the message, one did not yet.
pub fn incident_detail(incident: &v1::Incident) -> v1::IncidentDetail {
    let event =
        |seconds_ago, transition: v1::IncidentTransition, summary: &str| v1::IncidentEvent {
            at: Some(at(seconds_ago)),
            transition: transition.into(),
            summary: summary.to_owned(),
            evidence: incident.evidence.clone(),
        };
    let told = |receiver: &str, state: v1::NotificationState| v1::IncidentNotification {
        receiver: receiver.to_owned(),
        transition: v1::IncidentTransition::Opened.into(),
        state: state.into(),
        created_at: Some(at(12)),
        attempts: 1,
        ..v1::IncidentNotification::default()
    };
    v1::IncidentDetail {
        incident: Some(incident.clone()),
        timeline: vec![
            event(12, v1::IncidentTransition::Opened, &incident.summary),
            event(2, v1::IncidentTransition::Updated, &incident.summary),
        ],
        notifications: vec![
            v1::IncidentNotification {
                finished_at: Some(at(12)),
                ..told("pager", v1::NotificationState::Delivered)
            },
            v1::IncidentNotification {
                attempts: 3,
                last_error: "connection refused".to_owned(),
                ..told("chat", v1::NotificationState::Pending)
            },
        ],
        incomplete_reason: String::new(),
    }
}

/// One that silences a node and its open incident for two hours.
pub fn silence() -> v1::Silence {
    let matcher = |name: &str, operator: v1::MatchOperator, value: &str| v1::Matcher {
        name: name.to_owned(),
        operator: operator.into(),
        value: value.to_owned(),
    };
    v1::Silence {
        id: "00c0ffee00c0ffee".to_owned(),
        kind: v1::SilenceKind::Silence.into(),
        matchers: vec![
            matcher("node", v1::MatchOperator::Equal, "mesh-3"),
            matcher("pattern", v1::MatchOperator::Matches, "node-.*"),
        ],
        starts_at: Some(at(600)),
        ends_at: Some(at(600 - 7200)),
        author: "ana".to_owned(),
        comment: "new disk".to_owned(),
        state: v1::SilenceState::Active.into(),
        created_at: Some(at(600)),
        incidents: vec!["7c1f0a94e2b86d35".to_owned()],
    }
}

/// A maintenance window that is over.
pub fn expired() -> v1::Silence {
    v1::Silence {
        id: "0ddba11000000000".to_owned(),
        kind: v1::SilenceKind::Maintenance.into(),
        matchers: vec![v1::Matcher {
            name: "label.rack".to_owned(),
            operator: v1::MatchOperator::NotEqual.into(),
            value: "row 7".to_owned(),
        }],
        starts_at: Some(at(90_000)),
        ends_at: Some(at(86_000)),
        comment: String::new(),
        state: v1::SilenceState::Expired.into(),
        created_at: Some(at(90_000)),
        incidents: Vec::new(),
        ..silence()
    }
}

/// One that was given up and one that waits.
pub fn notifications() -> Vec<v1::Notification> {
    let notification = |id: &str, state: v1::NotificationState, answer: &str| v1::Notification {
        id: id.to_owned(),
        receiver: "pager".to_owned(),
        incident_id: "43c21ae5ddbb8461".to_owned(),
        kind: "opened".to_owned(),
        title: "node-dark mesh-3".to_owned(),
        state: state.into(),
        attempts: 5,
        last_answer: answer.to_owned(),
        ..v1::Notification::default()
    };
    vec![
        notification("n.2", v1::NotificationState::Pending, "503: later"),
        notification("n.1", v1::NotificationState::Dead, "401: who are you"),
    ]
}

/// The finding that an incident is about.
pub fn finding_of(incident: &v1::Incident) -> v1::Finding {
    v1::Finding {
        id: incident.id.clone(),
        pattern: incident.pattern.clone(),
        scope: incident.nodes.join(","),
        nodes: incident.nodes.clone(),
        zones: incident.zones.clone(),
        severity: incident.severity,
        summary: incident.summary.clone(),
        since: incident.started_at,
        confidence: v1::Confidence::Certain.into(),
        evidence: incident.evidence.clone(),
        runbook_url: incident.runbook_url.clone(),
        has_incident: true,
        ..v1::Finding::default()
    }
}

/// Five percent of what goes between two zones is lost; the ingress of one of them would look the same.
pub fn lossy_zones() -> v1::Finding {
    v1::Finding {
        id: "5ca1ab1e5ca1ab1e".to_owned(),
        pattern: "zone-pair".to_owned(),
        scope: "zone-a→zone-b".to_owned(),
        zones: vec!["zone-a".to_owned(), "zone-b".to_owned()],
        severity: v1::Severity::Warning.into(),
        summary: "5.1 % of the packets from zone-a to zone-b are lost; inside of each zone and in the other direction nothing is lost.".to_owned(),
        loss: Some(v1::Estimate {
            ratio: 0.051,
            lower: 0.042,
            upper: 0.061,
            sent: 2_000,
            lost: 102,
        }),
        since: Some(at(190)),
        confidence: v1::Confidence::Suspected.into(),
        alternatives: vec![v1::Alternative {
            pattern: "node-ingress".to_owned(),
            scope: "mesh-4".to_owned(),
        }],
        evidence: vec!["9 of 9 paths from zone-a to zone-b lose".to_owned()],
        counter_examples: vec!["mesh-2 → mesh-5 lost nothing of 40".to_owned()],
        failing: 8,
        judged: 9,
        paths: vec![v1::NamedPath {
            source: "mesh-1".to_owned(),
            target: "mesh-4".to_owned(),
            layer: Some(layer(v1::ProbeKind::Udp, v1::Plane::Pod)),
        }],
        first_actions: vec!["mtr -u -n -c 100 10.244.4.2".to_owned()],
        runbook_url: "https://docs.example/runbook/zone-pair".to_owned(),
        mute: Some(v1::Mute {
            silences: vec!["00c0ffee00c0ffee".to_owned()],
            draining: Vec::new(),
            until: Some(at(-6_600)),
        }),
        ..v1::Finding::default()
    }
}

/// The overlay of a node fails, the host network works.
pub fn explanation() -> v1::Explanation {
    let paths = path();
    let step = |rung: v1::Rung, plane: v1::Plane, verdict: v1::Verdict| v1::ExplainStep {
        rung: rung.into(),
        source: "mesh-1".to_owned(),
        target: "mesh-3".to_owned(),
        plane: plane.into(),
        family: v1::Family::V4.into(),
        verdict: verdict.into(),
        ..v1::ExplainStep::default()
    };
    let (down, healthy) = (paths.forward[0].clone(), paths.forward[1].clone());
    v1::Explanation {
        source: "mesh-1".to_owned(),
        target: "mesh-3".to_owned(),
        conclusion: v1::Conclusion::Fails.into(),
        sentence: "mesh-1 cannot talk to mesh-3: the pod network over IPv4 fails first, mesh-1 → mesh-3 (10 of 10 probes lost). Below it, the host network works. The probes do not arrive.".to_owned(),
        steps: vec![
            v1::ExplainStep {
                note: "by tcp".to_owned(),
                cell: Some(healthy),
                ..step(v1::Rung::HostNetwork, v1::Plane::Host, v1::Verdict::Healthy)
            },
            v1::ExplainStep {
                note: "none of udp, tcp gets through".to_owned(),
                cell: Some(down.clone()),
                trace: Some(v1::PathTrace {
                    at: Some(at(5)),
                    route: Some(v1::TraceRoute {
                        kind: v1::ProbeKind::Udp.into(),
                        plane: v1::Plane::Pod.into(),
                        family: v1::Family::V4.into(),
                        hops: vec![v1::Hop {
                            ttl: 1,
                            address: "10.244.1.1".to_owned(),
                            rtt_micros: 40,
                            icmp_type: Some(11),
                            icmp_code: Some(0),
                        }],
                        ..v1::TraceRoute::default()
                    }),
                }),
                ..step(v1::Rung::PodNetwork, v1::Plane::Pod, v1::Verdict::Down)
            },
            v1::ExplainStep {
                kind: v1::ProbeKind::Udp.into(),
                cell: Some(down),
                ..step(v1::Rung::Protocol, v1::Plane::Pod, v1::Verdict::Down)
            },
            v1::ExplainStep {
                note: "not measured".to_owned(),
                kind: v1::ProbeKind::Mtu.into(),
                plane: 0,
                family: 0,
                ..step(v1::Rung::PacketSize, v1::Plane::Pod, v1::Verdict::NotSampled)
            },
        ],
        first_failing: Some(1),
        cause: Some(v1::ExplainCause {
            pattern: "overlay-egress".to_owned(),
            scope: "mesh-3".to_owned(),
            summary: "Nothing that the pods of mesh-3 send reaches another node; the host network works.".to_owned(),
            confidence: v1::Confidence::Certain.into(),
            incident_id: "7c1f0a94e2b86d35".to_owned(),
            has_incident: true,
            runbook_url: "https://docs.example/runbook/overlay-egress".to_owned(),
            first_actions: vec!["ip route show | grep flannel".to_owned()],
        }),
    }
}
