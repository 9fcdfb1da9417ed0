//! Targets outside the mesh: the way out, then the target, then its certificate, then what it answers.
//!
//! Targets of one host belong together, whatever their names: what refuses connections also fails handshakes and requests. A
//! failure is blamed on the lowest phase that fails: name, connect, handshake, answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::cells::{Cell, Tally, View, Word, is_ending, mostly};
use super::found::{self, is_external, is_service, listed};
use crate::detail::{Detail, ExternalDetail};
use crate::diagnosis::TargetName;
use crate::diagnosis::homes::Homes;
use crate::finding::{Finding, Pattern, Scope};
use crate::ids::NodeIndex;
use crate::outcome::OutcomeClass;
use crate::path::ProbeKind;

/// Virtual IPs of one cluster share so many bits, at least.
const SERVICE_BITS_V4: u32 = 20;
const SERVICE_BITS_V6: u32 = 108;

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Name,
    Connect,
    Handshake,
    Answer,
}

/// Targets of one host.
#[derive(Debug)]
struct Host {
    /// As findings call it: the target's own name if there is one alone, the host's if there are several.
    label: String,
    /// Places in [`View::targets`].
    targets: Vec<usize>,
    /// It is one of the cluster's own addresses.
    is_inside: bool,
}

/// What was found out about targets outside.
#[derive(Debug, Default)]
pub(super) struct Outside {
    pub(super) findings: Vec<Finding>,
    /// No node gets out.
    pub(super) is_cut_everywhere: bool,
    /// Nodes that do not get out.
    pub(super) cut: BTreeSet<NodeIndex>,
    /// Somebody's connections get out.
    pub(super) somebody_gets_out: bool,
    /// Some connections do not come about, and it is not settled yet why.
    pub(super) in_doubt: bool,
}

/// Does a target's host have to be resolved first?
pub(super) fn needs_a_name(name: &TargetName) -> bool {
    match name {
        TargetName::External { endpoint, .. } => literal(endpoint).is_none(),
        TargetName::Search { .. } => true,
        TargetName::Dns { .. } | TargetName::Service { .. } => false,
    }
}

fn host_of(endpoint: &str) -> &str {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn literal(endpoint: &str) -> Option<IpAddr> {
    host_of(endpoint).parse().ok()
}

fn detail_of<'a>(cell: &Cell<'a>) -> Option<&'a ExternalDetail> {
    match cell.detail {
        Some(Detail::External(detail)) => Some(detail),
        _ => None,
    }
}

/// Where a failing attempt ended.
fn phase(view: &View<'_>, cell: &Cell<'_>) -> Phase {
    let kind = cell.layer.kind;
    match cell.seen.failure {
        Some(OutcomeClass::TlsFailed) => return Phase::Handshake,
        Some(OutcomeClass::HttpStatus) => return Phase::Answer,
        Some(OutcomeClass::Rcode) => return Phase::Name,
        _ => {}
    }
    let Some(detail) = detail_of(cell) else {
        return Phase::Connect;
    };
    let is_resolved = detail.address.is_some() || !needs_a_name(view.name(cell));
    if !is_resolved {
        Phase::Name
    } else if detail.phases.connect.is_none() {
        Phase::Connect
    } else if kind == ProbeKind::Tls || (kind == ProbeKind::Http && is_in_handshake(detail)) {
        Phase::Handshake
    } else if kind == ProbeKind::Http {
        Phase::Answer
    } else {
        Phase::Connect
    }
}

fn is_in_handshake(detail: &ExternalDetail) -> bool {
    detail.phases.tls.is_none() && detail.failure.contains("TLS handshake")
}

/// Cells that say something about whether connections to a host come about.
fn is_about_connecting(view: &View<'_>, cell: &Cell<'_>) -> bool {
    match cell.word() {
        Word::Unknown => false,
        Word::Alive => true,
        Word::Doubt | Word::Failing => phase(view, cell) != Phase::Name,
    }
}

fn hosts(view: &View<'_>, homes: &Homes, vips: &[IpAddr]) -> Vec<Host> {
    let mut addresses: BTreeMap<usize, BTreeSet<IpAddr>> = BTreeMap::new();
    for cell in view.cells.iter().filter(|c| is_external(c.layer.kind)) {
        let known = addresses.entry(cell.target).or_default();
        let detail = detail_of(cell).filter(|detail| detail.proxy.is_empty());
        known.extend(
            detail
                .and_then(|detail| detail.address)
                .map(|at: SocketAddr| at.ip()),
        );
    }
    let mut by_host: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut literals: Vec<(IpAddr, usize)> = Vec::new();
    for (place, target) in view.targets.iter().enumerate() {
        let TargetName::External { name, endpoint, .. } = &target.name else {
            continue;
        };
        match literal(endpoint) {
            Some(ip) => {
                addresses.entry(place).or_default().insert(ip);
                literals.push((ip, place));
            }
            None if endpoint.is_empty() => by_host.entry(name.clone()).or_default().push(place),
            None => by_host
                .entry(host_of(endpoint).to_owned())
                .or_default()
                .push(place),
        }
    }
    for (ip, place) in literals {
        // A target by address belongs to the host that has the address, if there is one alone.
        let owners: Vec<String> = by_host
            .iter()
            .filter(|(_, targets)| {
                let has = |t: &usize| addresses.get(t).is_some_and(|known| known.contains(&ip));
                targets.iter().any(has)
            })
            .map(|(host, _)| host.clone())
            .collect();
        let named: Vec<&String> = owners
            .iter()
            .filter(|h| h.parse::<IpAddr>().is_err())
            .collect();
        let host = match (named.as_slice(), owners.as_slice()) {
            ([host], _) => (*host).clone(),
            _ => ip.to_string(),
        };
        by_host.entry(host).or_default().push(place);
    }
    by_host
        .into_iter()
        .map(|(host, targets)| {
            let name = |place: &usize| match &view.targets[*place].name {
                TargetName::External { name, .. } => name.clone(),
                _ => String::new(),
            };
            let names: BTreeSet<String> = targets.iter().map(name).collect();
            let label = match names.len() {
                1 => names.into_iter().next().unwrap_or_default(),
                _ => host,
            };
            let ips: BTreeSet<IpAddr> = targets
                .iter()
                .filter_map(|place| addresses.get(place))
                .flatten()
                .copied()
                .collect();
            let is_own =
                |ip: &IpAddr| homes.of(*ip).is_some() || vips.iter().any(|vip| is_near(*vip, *ip));
            Host {
                label,
                targets,
                is_inside: !ips.is_empty() && ips.iter().all(is_own),
            }
        })
        .collect()
}

fn is_near(vip: IpAddr, ip: IpAddr) -> bool {
    match (vip, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (u32::from(a) ^ u32::from(b)).leading_zeros() >= SERVICE_BITS_V4
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (u128::from(a) ^ u128::from(b)).leading_zeros() >= SERVICE_BITS_V6
        }
        _ => false,
    }
}

fn vips(view: &View<'_>) -> Vec<IpAddr> {
    let of = |name: &TargetName| match name {
        TargetName::Service { address, .. } => Some(address.ip()),
        TargetName::Dns { address, plane, .. } if is_service(*plane) => Some(address.ip()),
        _ => None,
    };
    let ips = view.targets.iter().filter_map(|target| of(&target.name));
    ips.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The way out, targets, certificates, answers. `vip_broken`: nodes on which virtual IPs fail.
pub(super) fn outside(
    view: &mut View<'_>,
    homes: &Homes,
    vip_broken: &dyn Fn(NodeIndex) -> bool,
) -> Outside {
    let mut outside = Outside::default();
    let vips = vips(view);
    let hosts = hosts(view, homes, &vips);
    for host in hosts.iter().filter(|host| host.is_inside) {
        view.explain(1.0, |_, cell| {
            host.targets.contains(&cell.target) && vip_broken(cell.source)
        });
    }
    let away: Vec<&Host> = hosts.iter().filter(|host| !host.is_inside).collect();
    way_out(view, &away, &mut outside);
    for host in &hosts {
        one_host(view, host, &mut outside);
    }
    outside
}

/// The cells that show whether a node gets out to a host: those of the simplest kinds that there are.
fn connecting<'v, 'a>(
    view: &'v View<'a>,
    host: &Host,
    source: Option<NodeIndex>,
) -> Vec<&'v Cell<'a>> {
    let all: Vec<&Cell<'_>> = view
        .cells
        .iter()
        .filter(|cell| host.targets.contains(&cell.target) && is_external(cell.layer.kind))
        .filter(|cell| source.is_none_or(|source| cell.source == source))
        .filter(|cell| is_about_connecting(view, cell))
        .collect();
    let simple: Vec<&Cell<'_>> = all
        .iter()
        .copied()
        .filter(|cell| cell.layer.kind != ProbeKind::Http)
        .collect();
    if simple.is_empty() { all } else { simple }
}

fn fails_to_connect(view: &View<'_>, cell: &Cell<'_>) -> bool {
    matches!(cell.word(), Word::Doubt | Word::Failing) && phase(view, cell) == Phase::Connect
}

fn way_out(view: &mut View<'_>, hosts: &[&Host], outside: &mut Outside) {
    let sources: BTreeSet<NodeIndex> = view
        .cells
        .iter()
        .filter(|cell| is_external(cell.layer.kind))
        .map(|cell| cell.source)
        .collect();
    let mut cut = BTreeSet::new();
    let mut out = BTreeSet::new();
    let mut doubts = 0_u32;
    for source in &sources {
        let mut reached = 0;
        let mut failing: Vec<&Cell<'_>> = Vec::new();
        for host in hosts {
            let cells = connecting(view, host, Some(*source));
            let (no, yes): (Vec<&Cell<'_>>, Vec<_>) = cells
                .into_iter()
                .partition(|cell| fails_to_connect(view, cell));
            if yes.is_empty() {
                failing.extend(no);
            } else {
                doubts += u32::from(!no.is_empty());
                reached += 1;
            }
        }
        if reached > 0 {
            out.insert(*source);
            doubts += u32::from(!failing.is_empty());
        } else if Tally::of(failing.iter().copied()).is_cut() {
            cut.insert(*source);
        } else if !failing.is_empty() {
            doubts += 1;
        }
    }
    // What all nodes say together counts before each of them has lost enough by itself.
    let pooled: Vec<&Cell<'_>> = hosts
        .iter()
        .flat_map(|host| connecting(view, host, None))
        .collect();
    let failing = pooled.iter().filter(|c| fails_to_connect(view, c)).count() as u32;
    let of_hosts = hosts
        .iter()
        .filter(|host| {
            let cells = connecting(view, host, None);
            cells.iter().any(|cell| fails_to_connect(view, cell))
        })
        .count();
    let all_fail = mostly(failing, pooled.len() as u32)
        && Tally::of(pooled.iter().copied()).is_cut()
        && found::sources(&pooled).len() > 1;
    outside.in_doubt = doubts > 0 || !cut.is_empty();
    outside.somebody_gets_out = !out.is_empty();
    let family = found::only_family(&pooled);
    if all_fail && (of_hosts > 1 || hosts.len() == 1 && names_fail(view)) {
        let scope = Scope {
            family,
            ..Scope::everywhere()
        };
        let summary = "No node reaches any target outside the mesh; inside, all is well".to_owned();
        let finding = found::total(view, Pattern::External, scope, summary, &pooled);
        outside.findings.push(finding);
        outside.is_cut_everywhere = true;
        let targets: BTreeSet<usize> = hosts.iter().flat_map(|h| h.targets.clone()).collect();
        view.explain(1.0, |_, cell| targets.contains(&cell.target));
        return;
    }
    let known = (cut.len() + out.len()) as u32;
    for source in cut.iter().filter(|_| !mostly(cut.len() as u32, known)) {
        let Some(name) = view.node(*source).cloned() else {
            continue;
        };
        let cells: Vec<&Cell<'_>> = hosts
            .iter()
            .flat_map(|host| connecting(view, host, Some(*source)))
            .collect();
        let others = pooled.iter().copied().filter(|cell| cell.source != *source);
        if is_ending(cells.iter().copied(), others) {
            continue;
        }
        let summary = format!(
            "Node {name} reaches no target outside the mesh; other nodes do, and inside all is well"
        );
        let finding = found::total(view, Pattern::External, Scope::node(name), summary, &cells);
        outside.findings.push(finding);
        outside.cut.insert(*source);
    }
    let gone = outside.cut.clone();
    let targets: BTreeSet<usize> = hosts.iter().flat_map(|h| h.targets.clone()).collect();
    view.explain(1.0, |_, cell| {
        targets.contains(&cell.target) && gone.contains(&cell.source)
    });
}

/// Names of others fail as well, on every server that answers.
fn names_fail(view: &View<'_>) -> bool {
    let cells: Vec<&Cell<'_>> = view
        .cells
        .iter()
        .filter(|cell| is_external(cell.layer.kind) && cell.word() == Word::Failing)
        .collect();
    cells.iter().any(|cell| phase(view, cell) == Phase::Name)
}

fn one_host(view: &mut View<'_>, host: &Host, outside: &mut Outside) {
    let phases = [
        (Phase::Connect, Pattern::External),
        (Phase::Handshake, Pattern::Tls),
        (Phase::Answer, Pattern::Http),
    ];
    for (phase, pattern) in phases {
        if let Some((finding, nodes)) = at_phase(view, host, phase, pattern) {
            outside.findings.push(finding);
            // What fails earlier cannot be judged later.
            let targets = host.targets.clone();
            view.explain(1.0, |_, cell| {
                targets.contains(&cell.target)
                    && nodes
                        .as_ref()
                        .is_none_or(|nodes| nodes.contains(&cell.source))
            });
        }
    }
}

type Blamed = (Finding, Option<BTreeSet<NodeIndex>>);

fn at_phase(view: &View<'_>, host: &Host, at: Phase, pattern: Pattern) -> Option<Blamed> {
    let fails = |cell: &&Cell<'_>| {
        matches!(cell.word(), Word::Doubt | Word::Failing) && phase(view, cell) == at
    };
    let mut blamed: Vec<&Cell<'_>> = Vec::new();
    let mut everywhere = false;
    let mut nodes = BTreeSet::new();
    // The host as a whole speaks before each of its targets has lost enough.
    let pooled = connecting(view, host, None);
    let failing: Vec<&Cell<'_>> = pooled.iter().copied().filter(fails).collect();
    let is_host = at == Phase::Connect
        && mostly(failing.len() as u32, pooled.len() as u32)
        && Tally::of(failing.iter().copied()).is_cut()
        && found::sources(&failing).len() > 1;
    if is_host {
        everywhere = true;
        nodes.extend(found::sources(&failing));
        blamed.extend(pooled);
    }
    // Each target by itself: another port of the same host may work.
    for target in host.targets.iter().filter(|_| !is_host) {
        let cells: Vec<&Cell<'_>> = view
            .cells
            .iter()
            .filter(|cell| cell.target == *target && is_about_connecting(view, cell))
            .collect();
        let (failing, others): (Vec<&Cell<'_>>, Vec<_>) =
            cells.iter().copied().partition(|c| fails(c));
        let tally = Tally::of(failing.iter().copied());
        if tally.is_cut() && mostly(failing.len() as u32, cells.len() as u32) {
            everywhere |= found::sources(&cells).len() > 1;
            nodes.extend(found::sources(&failing));
            blamed.extend(cells);
            continue;
        }
        let sure: Vec<&Cell<'_>> = failing
            .into_iter()
            .filter(|cell| cell.word() == Word::Failing && cell.seen.consecutive_losses >= 4)
            .collect();
        if !sure.is_empty() && !is_ending(sure.iter().copied(), others) {
            nodes.extend(found::sources(&sure));
            blamed.extend(sure);
        }
    }
    let own = &host.targets;
    let others = view.cells.iter().filter(|cell| {
        is_external(cell.layer.kind)
            && !own.contains(&cell.target)
            && is_about_connecting(view, cell)
    });
    if blamed.is_empty() || (at == Phase::Connect && is_ending(blamed.iter().copied(), others)) {
        return None;
    }
    let names: Vec<_> = nodes
        .iter()
        .filter_map(|n| view.node(*n))
        .cloned()
        .collect();
    let (scope, from) = if everywhere {
        (
            Scope::target(host.label.clone()),
            "from every node".to_owned(),
        )
    } else {
        let text = format!("from {}", listed(&names));
        (Scope::nodes(names).with_target(host.label.clone()), text)
    };
    let reasons = reasons(view, &blamed, at);
    let reason = reasons
        .first()
        .map(|r| format!(": {r}"))
        .unwrap_or_default();
    let label = &host.label;
    let summary = match at {
        Phase::Name | Phase::Connect => format!("{label} cannot be reached {from}{reason}"),
        Phase::Handshake => {
            format!("{label} accepts connections, TLS with it fails {from}{reason}")
        }
        Phase::Answer => format!("{label} is reached and answers wrongly {from}{reason}"),
    };
    let mut finding = found::total(view, pattern, scope, summary, &blamed);
    finding.evidence.splice(0..0, reasons);
    if let Some(family) = found::only_family(&blamed).filter(|_| everywhere) {
        finding.scope.family = Some(family);
    }
    Some((finding, (!everywhere).then_some(nodes)))
}

/// Why, as the probers say; the most frequent first.
fn reasons(view: &View<'_>, cells: &[&Cell<'_>], at: Phase) -> Vec<String> {
    let mut counts: Vec<(String, u32)> = Vec::new();
    let failing = cells.iter().filter(|cell| {
        matches!(cell.word(), Word::Doubt | Word::Failing) && phase(view, cell) == at
    });
    for detail in failing.filter_map(|cell| detail_of(cell)) {
        if detail.failure.is_empty() {
            continue;
        }
        match counts
            .iter_mut()
            .find(|(known, _)| *known == detail.failure)
        {
            Some((_, count)) => *count += 1,
            None => counts.push((detail.failure.clone(), 1)),
        }
    }
    counts.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
    counts
        .into_iter()
        .map(|(reason, _)| reason)
        .take(2)
        .collect()
}
