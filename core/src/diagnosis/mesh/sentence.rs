//! What people read.

use std::time::Duration;

use super::cause::{Cause, What, Word};
use super::flows::FlowCount;
use super::ground::Ground;
use super::measure::Paths;
use super::naming::Extent;
use super::new_flows::NewFlows;
use super::shape::Shape;
use crate::finding::Estimate;
use crate::outcome::OutcomeClass;
use crate::path::{Plane, ProbeKind};

/// A node as people find it: with its zone, if it has one.
pub(super) fn node(ground: &Ground<'_>, place: u32) -> String {
    let place = place as usize;
    let name = ground.name(place);
    match ground.zone_name(ground.zone(place)) {
        "" => name.to_string(),
        _ if ground.zone_count() < 2 => name.to_string(),
        zone => format!("{name} ({zone})"),
    }
}

/// "12 s", "3 min".
pub(super) fn lasting(age: Duration) -> String {
    let seconds = age.as_secs();
    if seconds < 120 {
        format!("{seconds} s")
    } else {
        format!("{} min", seconds / 60)
    }
}

/// Which packets.
fn packets(extent: Extent, plane: Plane) -> String {
    match extent {
        Extent::Kind(kind) => format!("{} packets", protocol(kind)),
        Extent::Family(family) => format!("IP{family} packets"),
        Extent::Plane(plane) => format!("{plane} packets"),
        Extent::All if plane == Plane::Host => "host packets".to_owned(),
        Extent::All => "packets".to_owned(),
    }
}

/// A kind as a firewall's rule has it.
pub(super) const fn protocol(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Udp => "UDP",
        ProbeKind::Tcp => "TCP",
        ProbeKind::Quic => "QUIC",
        ProbeKind::Icmp => "ICMP",
        _ => "probe",
    }
}

/// What is broken, where, how much of it, for how long.
pub(super) fn summary(
    cause: &Cause,
    extent: Extent,
    loss: &Estimate,
    ground: &Ground<'_>,
) -> String {
    match cause.what {
        What::Loss => {}
        What::Flows(count) => return of_flows(cause.shape, count, ground),
        What::NewFlows(found) => return of_new_flows(cause.shape, found, ground),
    }
    let what = packets(extent, cause.layer.plane);
    let share = loss.to_string();
    let zone = |zone: u16| ground.zone_name(usize::from(zone)).to_owned();
    let name = |place: u32| node(ground, place);
    let total = cause.is_total;
    let mut text = match cause.shape {
        Shape::Everywhere if total => format!("No {what} arrive between any two nodes"),
        Shape::Everywhere => format!("{share} of all {what} between the nodes are lost"),
        Shape::Zone(z) if total => {
            format!(
                "{} is cut off: no {what} arrive between it and the other zones",
                zone(z)
            )
        }
        Shape::Zone(z) => {
            format!(
                "{share} of the {what} between {} and the other zones are lost",
                zone(z)
            )
        }
        Shape::Zones(x, y) if total => {
            format!(
                "{} and {} cannot reach each other: no {what} arrive, either way",
                zone(x),
                zone(y)
            )
        }
        Shape::Zones(x, y) => {
            format!(
                "{share} of the {what} between {} and {} are lost, both ways",
                zone(x),
                zone(y)
            )
        }
        Shape::ZonePair(x, y) if total => {
            format!(
                "No {what} from {} arrive in {}; the way back works",
                zone(x),
                zone(y)
            )
        }
        Shape::ZonePair(x, y) => {
            format!(
                "{share} of the {what} from {} to {} are lost; the way back works",
                zone(x),
                zone(y)
            )
        }
        Shape::Node(n) if total => {
            format!("{} is cut off: no {what} to it or from it arrive", name(n))
        }
        Shape::Node(n) => format!("{share} of the {what} to and from {} are lost", name(n)),
        Shape::Ingress(n) if total => {
            format!("No {what} arrive at {}; what it sends arrives", name(n))
        }
        Shape::Ingress(n) => {
            format!(
                "{share} of the {what} to {} are lost; what it sends arrives",
                name(n)
            )
        }
        Shape::Egress(n) if total => {
            format!(
                "No {what} from {} arrive anywhere; what is sent to it arrives",
                name(n)
            )
        }
        Shape::Egress(n) => {
            format!(
                "{share} of the {what} from {} are lost; what is sent to it arrives",
                name(n)
            )
        }
        Shape::Pair(a, b) if total => {
            format!(
                "No {what} arrive between {} and {}, either way",
                name(a),
                name(b)
            )
        }
        Shape::Pair(a, b) => {
            format!(
                "{share} of the {what} between {} and {} are lost, both ways",
                name(a),
                name(b)
            )
        }
        Shape::Path(a, b) if total => {
            format!("No {what} from {} arrive at {}", name(a), name(b))
        }
        Shape::Path(a, b) => {
            format!(
                "{share} of the {what} from {} to {} are lost",
                name(a),
                name(b)
            )
        }
    };
    text.push_str(match extent {
        Extent::Plane(Plane::Pod) => "; the host network is clean",
        Extent::Plane(_) => "; the pod network is clean",
        Extent::Kind(ProbeKind::Udp) => "; TCP passes",
        Extent::Kind(_) => "; UDP passes",
        Extent::Family(crate::path::Family::V4) => "; IPv6 works",
        Extent::Family(crate::path::Family::V6) => "; IPv4 works",
        Extent::All => "",
    });
    // Only the detector knows since when: a row of losses says little of time, for what is under suspicion is probed much more often.
    if let Some(declaration) = cause.declaration.as_ref().filter(|_| total) {
        let lasts = ground.picture.now.saturating_since(declaration.since);
        text = format!("{text}, for {}", lasting(lasts));
    }
    text
}

fn of_flows(shape: Shape, count: FlowCount, ground: &Ground<'_>) -> String {
    let FlowCount {
        tested, failing, ..
    } = count;
    format!(
        "{failing} of {tested} flows {} lose everything, the others nothing: one of several equal paths is dead",
        between(shape, ground)
    )
}

fn of_new_flows(shape: Shape, found: NewFlows, ground: &Ground<'_>) -> String {
    let at = shape.node().map_or_else(String::new, |n| node(ground, n));
    let why = match (found.is_full, found.table) {
        (true, Some((used, size))) => {
            format!("its connection table is full ({used} of {size})")
        }
        _ => "a full connection table does that".to_owned(),
    };
    format!("New connections to and from {at} fail, those that exist live: {why}")
}

fn of_table(found: NewFlows) -> Vec<String> {
    let mut sentences = vec![format!(
        "{} of {} paths fail by TCP, of which every probe is a new connection",
        found.failing, found.judged
    )];
    if let Some((used, size)) = found.table {
        sentences.push(format!(
            "its connection table holds {used} of {size} connections"
        ));
    }
    if found.dead_flows > 0 {
        sentences.push(format!(
            "on {} of its UDP paths the newest source ports lose everything, older ones work",
            found.dead_flows
        ));
    }
    if found.old_connections > 0 {
        sentences.push(format!(
            "on {} of its paths QUIC handshakes fail and the connection from before lives",
            found.old_connections
        ));
    }
    sentences
}

/// "from a to b", "between x and y".
pub(super) fn between(shape: Shape, ground: &Ground<'_>) -> String {
    let name = |place: u32| node(ground, place);
    let zone = |zone: u16| ground.zone_name(usize::from(zone)).to_owned();
    match shape {
        Shape::Everywhere => "between all nodes".to_owned(),
        Shape::Zone(z) => format!("between {} and the other zones", zone(z)),
        Shape::Zones(x, y) => format!("between {} and {}", zone(x), zone(y)),
        Shape::ZonePair(x, y) => format!("from {} to {}", zone(x), zone(y)),
        Shape::Node(n) => format!("to and from {}", name(n)),
        Shape::Ingress(n) => format!("to {}", name(n)),
        Shape::Egress(n) => format!("from {}", name(n)),
        Shape::Pair(a, b) => format!("between {} and {}", name(a), name(b)),
        Shape::Path(a, b) => format!("from {} to {}", name(a), name(b)),
    }
}

/// What backs it, the strongest first.
pub(super) fn evidence(cause: &Cause, loss: &Estimate, paths: &Paths) -> Vec<String> {
    let layer = cause.layer;
    let mut sentences = vec![format!(
        "{} of {} probed paths fail ({layer})",
        paths.failing, paths.judged
    )];
    if let What::NewFlows(found) = cause.what {
        sentences.extend(of_table(found));
    } else if let What::Flows(count) = cause.what {
        sentences.push(format!(
            "{} of {} flows (source ports) lose every packet, the others none",
            count.failing, count.tested
        ));
    } else if cause.is_total {
        sentences.push(format!("all of their last {} packets were lost", loss.lost));
    } else {
        sentences.push(format!(
            "{} of {} packets on the ways that it names were lost: {}",
            loss.lost, loss.sent, loss
        ));
    }
    if let Some(how) = paths.failure.and_then(how) {
        sentences.push(how.to_owned());
    }
    let saying = |word: Word| {
        let said = cause.words.iter().filter(move |(_, said)| *said == word);
        said.map(|(layer, _)| layer.to_string()).collect::<Vec<_>>()
    };
    let affected = saying(Word::Affected);
    if !affected.is_empty() {
        sentences.push(format!("the same paths fail in {}", affected.join(", ")));
    }
    let clean = saying(Word::Clean);
    if !clean.is_empty() {
        sentences.push(format!("the same paths work in {}", clean.join(", ")));
    }
    if let Some(declaration) = &cause.declaration {
        sentences.extend(declaration.evidence.iter().cloned());
    }
    if cause.sum.ambiguous > 0 {
        sentences.push(
            "the far end does not say what it received, so the direction is inferred".to_owned(),
        );
    }
    sentences
}

/// How probes end, where that tells more than that they are lost.
const fn how(failure: OutcomeClass) -> Option<&'static str> {
    Some(match failure {
        OutcomeClass::Refused => "the address answers that nobody listens there",
        OutcomeClass::Unreachable => {
            "the network, or the sender's own kernel, says that there is no way to the address"
        }
        OutcomeClass::SendFailed => "the sender's own kernel refuses to send them",
        OutcomeClass::TooBig => "somebody says that the packets are too big",
        OutcomeClass::Reset => "connections are reset after they were accepted",
        OutcomeClass::AnsweredByOther => "somebody else answers under the address",
        _ => return None,
    })
}
