//! `meshprobe nodes NAME`: one node, its probers and what they say of their host.

use jiff::Timestamp;
use meshprobe_core::path::Plane;
use meshprobe_proto::v1;

use super::style::{BAD, counted, of_node, paint};
use super::table::facts;
use super::time;
use crate::exit::Health;

/// Routes that are shown; all of them are in the JSON.
const SHOWN_ROUTES: usize = 20;

/// Healthy: the node is fine or leaves on purpose.
pub fn health(detail: &v1::NodeDetail) -> Health {
    let state = detail.node.as_ref().map(v1::Node::state);
    Health::unless(!matches!(
        state,
        Some(v1::NodeState::Ok | v1::NodeState::Leaving)
    ))
}

/// The node, then each of its probers.
pub fn render(detail: &v1::NodeDetail, now: Timestamp) -> String {
    let mut text = String::new();
    if let Some(node) = &detail.node {
        text.push_str(&about_node(node, now));
    }
    for prober in &detail.probers {
        text.push('\n');
        text.push_str(&about_prober(prober, now));
    }
    if !detail.events.is_empty() {
        text.push_str("\nWhat the cluster said\n");
        let said = |event: &v1::ClusterEvent| {
            let at = time::timestamp(event.at).map_or(String::new(), |at| time::ago(at, now));
            format!("  {at}: {}: {}\n", event.reason, event.message)
        };
        text.extend(detail.events.iter().rev().map(said));
    }
    text
}

/// "mesh-3 is leaving: Drained until 2026-11-29T03:25:00Z by ana", "mesh-3 is ok."
pub fn drained(node: &v1::Node) -> String {
    let (state, style) = of_node(node.state());
    let reason = match node.state_reason.as_str() {
        "" => ".".to_owned(),
        reason => format!(": {reason}"),
    };
    let judged = if node.lifecycle() == v1::Lifecycle::Draining {
        "It is probed as ever and not judged.\n"
    } else {
        ""
    };
    format!("{} is {}{reason}\n{judged}", node.name, paint(style, state))
}

fn about_node(node: &v1::Node, now: Timestamp) -> String {
    let (state, style) = of_node(node.state());
    let mut conclusion = format!("{} is {}", node.name, paint(style, state));
    if !node.state_reason.is_empty() {
        conclusion.extend([": ", &node.state_reason]);
    }
    let last =
        time::timestamp(node.last_report_at).map_or("never".to_owned(), |at| time::ago(at, now));
    let told = [
        ("zone", node.zone.clone()),
        ("region", node.region.clone()),
        ("addresses", node.addresses.join(", ")),
        ("last report", last),
        (
            "failing paths",
            format!("{} in, {} out", node.failing_in, node.failing_out),
        ),
    ];
    let told: Vec<(&str, String)> = told
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    format!("{conclusion}\n{}", facts(&told))
}

fn about_prober(prober: &v1::ProberDetail, now: Timestamp) -> String {
    let plane = Plane::try_from(prober.plane()).map_or("?".to_owned(), |plane| plane.to_string());
    let mut text = format!("Prober on the {plane} plane\n");
    let mut told: Vec<(&str, String)> = Vec::new();
    if let Some(health) = &prober.self_health {
        told.push(("own health", own_health(health)));
    }
    if let Some(host) = &prober.facts {
        let since = time::timestamp(prober.facts_at).map_or(String::new(), |at| {
            format!(" (told {})", time::ago(at, now))
        });
        told.push(("kernel", format!("{}{since}", host.kernel)));
        let mut links: Vec<String> = host
            .link_mtu
            .iter()
            .map(|(link, mtu)| format!("{link} {mtu}"))
            .collect();
        links.sort();
        told.push(("link MTUs", links.join(", ")));
        told.push(("name servers", host.nameservers.join(", ")));
        told.push(("search list", host.search.join(", ")));
        told.push(("resolver options", host.resolver_options.join(", ")));
        told.push((
            "connection table",
            fill(host.conntrack_entries, host.conntrack_max),
        ));
        told.push((
            "neighbour table",
            fill(host.neighbours, host.neighbours_max),
        ));
        let quota = host.cpu_quota_percent;
        told.push((
            "CPU quota",
            quota.map_or(String::new(), |percent| format!("{percent} %")),
        ));
        let mut drops: Vec<String> = host
            .kernel_drops
            .iter()
            .map(|(place, count)| format!("{place} {count}"))
            .collect();
        drops.sort();
        told.push(("kernel drops", drops.join(", ")));
        let mut routes = host.routes.clone();
        let more = routes.len().saturating_sub(SHOWN_ROUTES);
        routes.truncate(SHOWN_ROUTES);
        if more > 0 {
            routes.push(format!("and {more} more"));
        }
        told.push(("routes", routes.join("\n")));
    }
    told.retain(|(_, value)| !value.is_empty());
    if told.is_empty() {
        told.push(("", "has told nothing yet".to_owned()));
    }
    text.push_str(&facts(&told));
    text
}

/// "1000 of 65536"; empty: the kernel did not say.
fn fill(entries: Option<u32>, limit: Option<u32>) -> String {
    match (entries, limit) {
        (Some(entries), Some(limit)) => format!("about {entries} of {limit}"),
        _ => String::new(),
    }
}

/// "well", or what takes away from its trustworthiness.
fn own_health(health: &v1::SelfHealth) -> String {
    let mut faults = Vec::new();
    if health.local_health > 0 {
        faults.push(format!("local health {} of 7", health.local_health));
    }
    if health.invalid_probes > 0 {
        faults.push(counted(health.invalid_probes.into(), "invalid probe"));
    }
    if health.dropped_samples > 0 {
        faults.push(counted(health.dropped_samples.into(), "dropped sample"));
    }
    if health.throttled_millis > 0 {
        faults.push(format!(
            "throttled by its CPU quota for {} ms",
            health.throttled_millis
        ));
    }
    for (count, what) in [
        (health.socket_overflows, "packet dropped at its own socket"),
        (health.send_buffer_full, "send refused for want of buffers"),
        (health.loopback_lost, "probe to itself lost"),
    ] {
        if count > 0 {
            faults.push(format!("{count} × {what}"));
        }
    }
    if faults.is_empty() {
        "well".to_owned()
    } else {
        paint(BAD, &faults.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{self, NOW};

    #[test]
    fn a_node_and_its_prober_are_told_in_words() {
        let detail = v1::NodeDetail {
            node: samples::nodes()
                .into_iter()
                .find(|node| node.name == "mesh-1"),
            probers: vec![v1::ProberDetail {
                plane: v1::Plane::Pod.into(),
                self_health: Some(v1::SelfHealth {
                    invalid_probes: 3,
                    ..v1::SelfHealth::default()
                }),
                facts: Some(v1::HostFacts {
                    kernel: "6.1.0".into(),
                    link_mtu: [("eth0".to_owned(), 1450)].into(),
                    routes: (0..25).map(|n| format!("10.0.{n}.0/24 dev eth0")).collect(),
                    ..v1::HostFacts::default()
                }),
                ..v1::ProberDetail::default()
            }],
            events: vec![v1::ClusterEvent {
                at: Some(prost_types::Timestamp {
                    seconds: NOW - 90,
                    nanos: 0,
                }),
                reason: "FailedMount".to_owned(),
                message: "no such volume".to_owned(),
            }],
        };
        let text = render(&detail, Timestamp::from_second(NOW).unwrap());
        let text = anstream::adapter::strip_str(&text).to_string();
        for expected in [
            "mesh-1 is ok",
            "pod plane",
            "3 invalid probes",
            "eth0 1450",
            "and 5 more",
            "What the cluster said\n  1m30s ago: FailedMount: no such volume",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert_eq!(health(&detail), Health::Healthy);
        assert_eq!(health(&v1::NodeDetail::default()), Health::Unhealthy);
    }
}
