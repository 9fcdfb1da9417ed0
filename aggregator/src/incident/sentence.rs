//! What an incident says: one sentence that somebody who was just woken up understands.

use std::time::Duration;

use meshprobe_core::finding::{Pattern, Place, Scope};
use meshprobe_core::ids::NodeName;
use meshprobe_core::path::Plane;

use super::statement::Statement;
use super::{Declared, DeclaredNode, Incident};

/// Names in a sentence; the rest is counted. The incident itself lists all.
const NAMED: usize = 5;

/// What is wrong.
pub(super) fn opened(declared: &Declared) -> String {
    let subject = subject(declared);
    let is = if declared.nodes.len() == 1 {
        "is"
    } else {
        "are"
    };
    let (it, its, does) = match declared.nodes.len() {
        1 => ("it", "its", "does"),
        _ => ("them", "their", "do"),
    };
    let peers = peers(declared);
    let mut text = match declared.pattern {
        Pattern::NodeDark => {
            format!("{subject} {is} dark: {peers} cannot reach {it}, none hears {it}, and no report arrives.")
        }
        Pattern::ZoneDark => zone_dark(declared),
        Pattern::Isolated => {
            let plane = plane_words(declared.plane);
            format!("{subject} {is} isolated{plane}: {peers} cannot reach {it} and none hears {it}, but there are signs of life.")
        }
        Pattern::IngressDead => {
            let plane = plane_words(declared.plane);
            format!("{subject} cannot be reached{plane}: probes of {peers} are lost, {its} own probes arrive.")
        }
        Pattern::EgressDead => {
            let plane = plane_words(declared.plane);
            format!("Nothing that {} sends arrives{plane}: probes reach {it}, none of {its} own reaches a peer.", lower_first(&subject))
        }
        Pattern::ReportsCut => {
            format!("{subject} {does} not report: peers reach {it}, the network works, but {its} reports do not arrive here.")
        }
        Pattern::ProberDown => {
            format!("The prober on {} is down: the node answers, nothing listens on the prober's port.", lower_first(&subject))
        }
        Pattern::UnreachableUnconfirmed => {
            format!("{subject} cannot be reached by {peers}; too few observers to tell which side is at fault.")
        }
        Pattern::AggregatorIsolated => {
            "Most probers fell silent together: the aggregator's own network is the likely cause. Dark nodes are not announced until it is over.".to_owned()
        }
        Pattern::StoreUnwritable => {
            "The aggregator cannot write its store: changes are kept in memory, and notifications are still sent.".to_owned()
        }
        pattern => format!("{subject} {is} affected by {pattern}: {peers} say so."),
    };
    if declared.few_observers && declared.pattern == Pattern::NodeDark {
        text.push_str(" Few observers: fewer than three could vote.");
    }
    text
}

/// That it is over.
pub(super) fn resolved(declared_subject: &str, pattern: Pattern, lasted: Duration) -> String {
    let lasted = duration(lasted);
    match pattern {
        Pattern::AggregatorIsolated => format!("The probers report again, after {lasted}."),
        Pattern::StoreUnwritable => format!("The store can be written again, after {lasted}."),
        Pattern::ReportsCut => format!("{declared_subject}: reports arrive again, after {lasted}."),
        Pattern::ProberDown => {
            format!("{declared_subject}: the prober answers again, after {lasted}.")
        }
        Pattern::NodeDark | Pattern::ZoneDark => {
            format!("{declared_subject}: back after {lasted} in the dark.")
        }
        pattern => format!("{declared_subject}: over after {lasted} ({pattern})."),
    }
}

/// That it was found to be part of another failure.
pub(super) fn part_of(subject: &str, pattern: Pattern, other: &Statement) -> String {
    let (whole, scope) = (other.pattern, &other.scope);
    format!("{subject}: the {pattern} is part of {whole} · {scope}, which is told in its place.")
}

/// The nodes by name, with their zones: "Node mesh-3 (zone-b)", "2 nodes (mesh-3 (zone-b), mesh-4 (zone-b))".
pub(super) fn subject(declared: &Declared) -> String {
    let names = declared.nodes.iter().map(DeclaredNode::name_in_zone);
    subject_of_names(&names.collect::<Vec<_>>())
}

/// The same of a scope: "Node mesh-3 (zone-b)", "mesh-1→mesh-2", "mesh-3 udp".
pub(super) fn subject_of_scope(
    scope: &Scope,
    zone_of: impl Fn(&NodeName) -> Option<String>,
) -> String {
    let is_plain = scope.kind.is_none() && scope.family.is_none() && scope.target.is_none();
    match &scope.place {
        Place::Nodes(nodes) if is_plain => {
            let name_in_zone = |name: &NodeName| {
                DeclaredNode {
                    name: name.clone(),
                    zone: zone_of(name).unwrap_or_default(),
                }
                .name_in_zone()
            };
            subject_of_names(&nodes.iter().map(name_in_zone).collect::<Vec<_>>())
        }
        Place::Everywhere if is_plain => "The mesh".to_owned(),
        _ => upper_first(&scope.to_string()),
    }
}

/// The same of an incident that was remembered.
pub(super) fn subject_of(incident: &Incident) -> String {
    let zone = match incident.zones.as_slice() {
        [zone] => Some(zone.clone()),
        _ => None,
    };
    let scope = match incident.pattern {
        // Its sentence names the nodes.
        Pattern::ZoneDark => &Scope::nodes(incident.nodes.clone()),
        _ => &incident.scope,
    };
    subject_of_scope(scope, |_| zone.clone())
}

fn subject_of_names(names: &[String]) -> String {
    match names {
        [] => "The mesh".to_owned(),
        [name] => format!("Node {name}"),
        names => {
            let count = names.len();
            let list = names[..count.min(NAMED)].join(", ");
            match count.saturating_sub(NAMED) {
                0 => format!("{count} nodes ({list})"),
                rest => format!("{count} nodes ({list} and {rest} more)"),
            }
        }
    }
}

fn zone_dark(declared: &Declared) -> String {
    let zone = declared.zone.as_deref().unwrap_or("unknown");
    let count = declared.nodes.len();
    format!(
        "Zone {zone} is dark: {count} of its nodes went dark together, nobody outside reaches or hears them."
    )
}

fn peers(declared: &Declared) -> String {
    format!("{} of {} peers", declared.accusers, declared.observers)
}

fn plane_words(plane: Option<Plane>) -> &'static str {
    match plane {
        Some(Plane::Pod) => " on the pod network",
        Some(Plane::Host) => " on the host network",
        Some(Plane::Service) => " through virtual addresses",
        None => "",
    }
}

/// Names of nodes and targets keep their small letters: only words are made large.
fn upper_first(text: &str) -> String {
    match text.strip_prefix("everywhere") {
        Some(rest) => format!("Everywhere{rest}"),
        None => match text.strip_prefix("zone ") {
            Some(rest) => format!("Zone {rest}"),
            None => text.to_owned(),
        },
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

/// "0.6 s", "42 s", "12 min", "3 h 5 min".
pub(crate) fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", length.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::declared;
    use super::*;

    #[test]
    fn a_dark_node_is_told_with_its_zone_and_the_vote() {
        let text = opened(&declared(Pattern::NodeDark, &["mesh-3"]));
        assert_eq!(
            text,
            "Node mesh-3 (zone-b) is dark: 9 of 9 peers cannot reach it, none hears it, and no report arrives."
        );
    }

    #[test]
    fn many_nodes_are_counted_after_the_first_five() {
        let names: Vec<String> = (0..8).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let text = opened(&declared(Pattern::NodeDark, &names));
        assert!(text.starts_with("8 nodes (n0 (zone-b), n1 (zone-b), n2 (zone-b), n3 (zone-b), n4 (zone-b) and 3 more) are dark"), "{text}");
    }

    #[test]
    fn every_pattern_has_a_sentence() {
        for pattern in Pattern::ALL {
            let text = opened(&declared(*pattern, &["a"]));
            assert!(text.ends_with('.') && text.len() > 30, "{pattern}: {text}");
        }
    }

    #[test]
    fn durations_read_as_people_say_them() {
        let of = |ms| duration(Duration::from_millis(ms));
        assert_eq!(
            [of(640), of(42_000), of(720_000), of(11_100_000)],
            ["0.6 s", "42 s", "12 min", "3 h 5 min"]
        );
    }
}
