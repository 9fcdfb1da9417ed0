//! Nodes without a prober, about which the cluster says why.

use crate::dark::NodeState;
use crate::diagnosis::{ClusterEvent, Picture, TopologyNode};
use crate::finding::{Confidence, Finding, Pattern, Scope};
use crate::ids::NodeIndex;
use crate::lifecycle::Lifecycle;

/// Reasons of events that say that a pod cannot start, and what they mean.
const REASONS: [(&str, &str); 12] = [
    (
        "FailedCreatePodSandBox",
        "the network of its pod cannot be set up",
    ),
    ("FailedPodSandBoxStatus", "the network of its pod is broken"),
    ("NetworkNotReady", "the node's network plugin is not ready"),
    ("ImagePullBackOff", "its image cannot be pulled"),
    ("ErrImagePull", "its image cannot be pulled"),
    (
        "ErrImageNeverPull",
        "its image is not there, and may not be pulled",
    ),
    ("InvalidImageName", "its image has no valid name"),
    (
        "BackOff",
        "it ends again and again, or its image cannot be pulled",
    ),
    ("CrashLoopBackOff", "it ends again and again"),
    ("FailedScheduling", "no node takes its pod"),
    ("FailedMount", "a volume of its pod cannot be mounted"),
    (
        "CreateContainerConfigError",
        "its configuration is not there",
    ),
];

fn meaning(event: &ClusterEvent) -> Option<&'static str> {
    let known = REASONS.iter().find(|(reason, _)| *reason == event.reason);
    known.map(|(_, meaning)| *meaning)
}

/// Does an event with this reason say that a pod cannot start?
pub fn keeps_prober_from_running(reason: &str) -> bool {
    REASONS.iter().any(|(known, _)| *known == reason)
}

/// Nodes that are meant to have a prober. One that said goodbye is meant to be back: that its successor cannot start is the
/// usual case.
fn expected(picture: &Picture) -> impl Iterator<Item = (NodeIndex, &TopologyNode)> {
    let nodes = picture.topology.nodes.iter().enumerate();
    nodes.filter_map(|(index, node)| {
        let node = node.as_ref()?;
        let is_expected = matches!(node.lifecycle, Lifecycle::Active | Lifecycle::Leaving);
        (is_expected && !node.is_warming_up).then_some((NodeIndex(index as u32), node))
    })
}

pub(super) fn findings(picture: &Picture) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (node, known) in expected(picture) {
        let Some(state) = picture.nodes.get(node.index()) else {
            continue;
        };
        // What was declared of the node says more than an event about a pod on it.
        let is_declared =
            matches!(state.state, NodeState::Failed(pattern) if pattern != Pattern::ProberDown);
        if state.is_reporting || is_declared {
            continue;
        }
        let telling = state
            .events
            .iter()
            .rev()
            .find_map(|event| Some((event, meaning(event)?)));
        let Some((event, meaning)) = telling else {
            continue;
        };
        let name = &known.name;
        let mut finding = Finding::new(
            Pattern::ProberNotRunning,
            Scope::node(name.clone()),
            format!(
                "The prober of {name} cannot start: {meaning} ({})",
                event.reason
            ),
        );
        finding.confidence = Confidence::Certain;
        finding.since = Some(event.at);
        finding.evidence = vec![
            format!("{}: {}", event.reason, event.message),
            "the node does not report".to_owned(),
        ];
        findings.push(finding);
    }
    findings
}
