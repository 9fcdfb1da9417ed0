//! The layers between two ends, in the order in which they stand on each other.

use super::{Ends, Measured, Rung, Step, hindrance};
use crate::detail::{Detail, ExternalDetail};
use crate::path::{Family, Plane, ProbeKind};
use crate::verdict::Verdict;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// In the order in which they are told: the plainest first.
const PROTOCOLS: [ProbeKind; 4] = [
    ProbeKind::Icmp,
    ProbeKind::Udp,
    ProbeKind::Tcp,
    ProbeKind::Quic,
];

pub(super) fn steps(ends: &Ends<'_>, measured: &[Measured<'_>]) -> Vec<Step> {
    let paths: Vec<(usize, &Measured<'_>)> = measured.iter().enumerate().collect();
    if ends.is_between_nodes {
        between_nodes(ends, &paths)
    } else {
        to_target(ends, &paths)
    }
}

fn between_nodes(ends: &Ends<'_>, paths: &[(usize, &Measured<'_>)]) -> Vec<Step> {
    let ways = [(ends.source, ends.target), (ends.target, ends.source)];
    let mut steps = Vec::new();
    for (rung, plane) in [
        (Rung::HostNetwork, Plane::Host),
        (Rung::PodNetwork, Plane::Pod),
    ] {
        for family in FAMILIES {
            let carried: Vec<_> = chosen(paths, |path| {
                let layer = path.layer;
                (layer.plane, layer.family) == (plane, family) && PROTOCOLS.contains(&layer.kind)
            });
            if carried.is_empty() {
                steps.push(unmeasured(rung, ways[0], Some(plane), None, Some(family)));
                continue;
            }
            for way in ways {
                let of_way = chosen(&carried, |path| (path.source, path.target) == way);
                let mut step = match best(&of_way) {
                    Some((index, path)) => shown(rung, index, path),
                    None => unmeasured(rung, way, Some(plane), None, Some(family)),
                };
                step.kind = None;
                step.note = kinds_note(&of_way);
                steps.push(step);
            }
        }
    }
    for kind in PROTOCOLS {
        let of_kind = chosen(paths, |path| path.layer.kind == kind);
        push_all(&mut steps, Rung::Protocol, kind, &of_kind, &ways);
    }
    let sizes = chosen(paths, |path| path.layer.kind == ProbeKind::Mtu);
    push_all(&mut steps, Rung::PacketSize, ProbeKind::Mtu, &sizes, &ways);
    steps
}

/// Every path of one kind, host plane first; one step that says so if there is none.
fn push_all(
    steps: &mut Vec<Step>,
    rung: Rung,
    kind: ProbeKind,
    paths: &[(usize, &Measured<'_>)],
    ways: &[(&str, &str); 2],
) {
    if paths.is_empty() {
        steps.push(unmeasured(rung, ways[0], None, Some(kind), None));
    }
    for plane in [Plane::Host, Plane::Pod] {
        for family in FAMILIES {
            for way in ways {
                let of_way = chosen(paths, |path| {
                    let layer = path.layer;
                    let place = (layer.plane, layer.family, path.source, path.target);
                    place == (plane, family, way.0, way.1)
                });
                steps.extend(of_way.iter().map(|(index, path)| shown(rung, *index, path)));
            }
        }
    }
}

fn to_target(ends: &Ends<'_>, paths: &[(usize, &Measured<'_>)]) -> Vec<Step> {
    let mut steps = Vec::new();
    let is_dns =
        |path: &Measured<'_>| matches!(path.layer.kind, ProbeKind::DnsUdp | ProbeKind::DnsTcp);
    for (rung, is_vip) in [(Rung::Dns, false), (Rung::DnsVip, true)] {
        let servers = chosen(paths, |path| {
            is_dns(path) && (path.layer.plane == Plane::Service) == is_vip
        });
        let own = chosen(&servers, |path| path.target == ends.target);
        if own.is_empty() {
            // Whoever answers proves that names can be asked.
            let way = (ends.source, "");
            let mut step = match best(&servers) {
                Some((index, path)) => shown(rung, index, path),
                None => unmeasured(rung, way, None, None, None),
            };
            step.note = failing_note(&servers);
            steps.push(step);
        } else {
            steps.extend(own.iter().map(|(index, path)| shown(rung, *index, path)));
        }
    }
    for (index, path) in chosen(paths, |path| path.target == ends.target) {
        match path.layer.kind {
            ProbeKind::DnsSearch => steps.push(shown(Rung::Name, index, path)),
            ProbeKind::Service => steps.push(shown(Rung::Service, index, path)),
            ProbeKind::TcpConnect | ProbeKind::Tls | ProbeKind::Http => {
                steps.extend(phases(index, path));
            }
            _ => {}
        }
    }
    steps
}

/// The phases of a connection: those that were completed work, the first that was not is what the verdict is about.
fn phases(index: usize, path: &Measured<'_>) -> Vec<Step> {
    let unknown = ExternalDetail::default();
    let found = match path.detail {
        Some(Detail::External(found)) => found,
        _ => &unknown,
    };
    let done = &found.phases;
    let has_tls = path.layer.kind == ProbeKind::Tls || done.tls.is_some();
    let mut rungs = vec![
        (
            Rung::Name,
            found.address.is_some() || done.dns.is_some() || done.connect.is_some(),
        ),
        (Rung::Connect, done.connect.is_some()),
    ];
    if has_tls {
        rungs.push((Rung::Tls, done.tls.is_some()));
    }
    if path.layer.kind == ProbeKind::Http {
        rungs.push((Rung::Http, done.first_byte.is_some()));
    }
    let last = rungs.len() - 1;
    let is_bad = hindrance(path.verdict).is_some();
    // Without a detail nothing tells the phases apart: all of it is one step.
    let blamed = if path.detail.is_none() {
        last
    } else {
        rungs
            .iter()
            .position(|(_, is_done)| !is_done)
            .unwrap_or(last)
    };
    let mut steps = Vec::new();
    for (place, (rung, _)) in rungs.into_iter().enumerate() {
        // A target that has an address needs no name.
        if rung == Rung::Name && done.dns.is_none() && blamed != place {
            continue;
        }
        let mut step = shown(rung, index, path);
        if is_bad && path.detail.is_some() && place != blamed {
            step.verdict = if place < blamed {
                Verdict::Healthy
            } else {
                Verdict::NoData
            };
        } else if is_bad {
            step.note.clone_from(&found.failure);
        }
        if place > blamed && is_bad {
            "not reached".clone_into(&mut step.note);
        }
        if path.detail.is_some() || place == last {
            steps.push(step);
        }
    }
    steps
}

fn chosen<'a, 'b>(
    paths: &[(usize, &'a Measured<'b>)],
    wanted: impl Fn(&Measured<'_>) -> bool,
) -> Vec<(usize, &'a Measured<'b>)> {
    paths
        .iter()
        .filter(|(_, path)| wanted(path))
        .copied()
        .collect()
}

/// The one that gets through best; without a judgement, any.
fn best<'a, 'b>(paths: &[(usize, &'a Measured<'b>)]) -> Option<(usize, &'a Measured<'b>)> {
    let rank = |verdict: Verdict| match verdict {
        Verdict::NotSampled => u8::MAX,
        Verdict::NoData => u8::MAX - 1,
        judged => hindrance(judged).unwrap_or(0),
    };
    paths
        .iter()
        .min_by_key(|(index, path)| (rank(path.verdict), *index))
        .copied()
}

fn shown(rung: Rung, index: usize, path: &Measured<'_>) -> Step {
    Step {
        rung,
        source: path.source.to_owned(),
        target: path.target.to_owned(),
        plane: Some(path.layer.plane),
        kind: Some(path.layer.kind),
        family: Some(path.layer.family),
        verdict: path.verdict,
        measured: Some(index),
        note: String::new(),
    }
}

fn unmeasured(
    rung: Rung,
    (source, target): (&str, &str),
    plane: Option<Plane>,
    kind: Option<ProbeKind>,
    family: Option<Family>,
) -> Step {
    Step {
        rung,
        source: source.to_owned(),
        target: target.to_owned(),
        plane,
        kind,
        family,
        verdict: Verdict::NotSampled,
        measured: None,
        note: "not measured".to_owned(),
    }
}

/// "tcp gets through, udp does not"
fn kinds_note(paths: &[(usize, &Measured<'_>)]) -> String {
    let named = |is_bad: bool| {
        let kinds = paths.iter().filter(|(_, path)| match path.verdict {
            Verdict::NotSampled | Verdict::NoData => false,
            Verdict::Down | Verdict::Suspect => is_bad,
            _ => !is_bad,
        });
        let kinds: Vec<String> = kinds.map(|(_, path)| path.layer.kind.to_string()).collect();
        kinds.join(", ")
    };
    match (named(false), named(true)) {
        (good, bad) if good.is_empty() && bad.is_empty() => "no fresh data".to_owned(),
        (good, bad) if bad.is_empty() => format!("by {good}"),
        (good, bad) if good.is_empty() => format!("none of {bad} gets through"),
        (good, bad) => format!("{good} gets through, {bad} does not"),
    }
}

/// "1 of 3 servers fails: coredns-1/kubernetes.default."
fn failing_note(paths: &[(usize, &Measured<'_>)]) -> String {
    /// More are in the matrix.
    const NAMED: usize = 3;
    let failing: Vec<&str> = paths
        .iter()
        .filter(|(_, path)| hindrance(path.verdict).is_some())
        .map(|(_, path)| path.target)
        .collect();
    match (paths.len(), failing.as_slice()) {
        (0, _) => "not measured".to_owned(),
        (all, []) => format!("best of {all}"),
        (all, some) => {
            let named = some[..some.len().min(NAMED)].join(", ");
            format!("{} of {all} fail: {named}", some.len())
        }
    }
}
