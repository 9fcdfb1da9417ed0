//! Targets outside the mesh: the way out, then the target, then its certificate, then what it answers.
//!
//! Targets of one host belong together, whatever their names: what refuses connections also fails handshakes and requests. A
//! failure is blamed on the lowest phase that fails: name, connect, handshake, answer.

use std::collections::BTreeSet;
use std::time::Duration;

use super::cells::{Cell, Tally, View, Word, is_ending, mostly};
use super::found::{self, is_external, listed};
use super::hosts::{Host, detail_of, hosts, needs_a_name, vips};
use crate::detail::ExternalDetail;
use crate::diagnosis::homes::Homes;
use crate::finding::{Finding, Pattern, Scope};
use crate::ids::NodeIndex;
use crate::outcome::OutcomeClass;
use crate::path::ProbeKind;

/// A connection is tried and waited for once in this time, and what failed for longer is failing still.
const TROUBLED: Duration = Duration::from_secs(20);
/// Answers of others that have to be expected since then; there are more until something is told.
const OTHERS: f64 = 1.0;
/// Ends of windows are known to the second, and there are two to compare.
const SETTLES: Duration = Duration::from_secs(2);

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Name,
    Connect,
    Handshake,
    Answer,
}

/// What was found out about targets outside.
#[derive(Debug, Default)]
pub(super) struct Outside {
    pub(super) findings: Vec<Finding>,
    /// No node gets out.
    pub(super) is_cut_everywhere: bool,
    /// Nodes that do not get out.
    pub(super) cut: BTreeSet<NodeIndex>,
    /// Places of the targets that are outside of the cluster.
    pub(super) targets: BTreeSet<usize>,
    /// Some connections do not come about, and it is not settled yet why.
    pub(super) in_doubt: bool,
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
    // What is behind a virtual IP may be on a node that the source cannot reach.
    let troubled = view.recent.troubled(view.picture.now - TROUBLED);
    for host in hosts
        .iter()
        .filter(|host| host.is_inside && host.is_homeless)
    {
        view.explain(1.0, |_, cell| {
            host.targets.contains(&cell.target) && troubled.contains(&cell.source)
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
    let kinds = [ProbeKind::TcpConnect, ProbeKind::Tls, ProbeKind::Http];
    let simplest = kinds
        .into_iter()
        .find(|kind| all.iter().any(|cell| cell.layer.kind == *kind));
    all.into_iter()
        .filter(|cell| Some(cell.layer.kind) == simplest)
        .collect()
}

fn fails_to_connect(view: &View<'_>, cell: &Cell<'_>) -> bool {
    matches!(cell.word(), Word::Doubt | Word::Failing) && phase(view, cell) == Phase::Connect
}

/// Without those that nobody has asked since the others began to fail: they are asked so seldom that they do not know yet.
fn up_to_date<'v, 'a>(
    cells: Vec<&'v Cell<'a>>,
    fails: impl Fn(&Cell<'_>) -> bool,
) -> Vec<&'v Cell<'a>> {
    let failing = cells.iter().filter(|cell| fails(cell));
    match failing.filter_map(|cell| cell.began()).min() {
        None => cells,
        Some(began) => cells
            .into_iter()
            .filter(|cell| cell.word() != Word::Alive || !cell.is_older_than(began))
            .collect(),
    }
}

/// How one node gets out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Out,
    Cut,
    /// Something fails, and it is not settled yet what.
    Doubt,
    Unknown,
}

fn way_of(view: &View<'_>, hosts: &[&Host], source: NodeIndex, is_alone: bool) -> Way {
    let fails = |cell: &Cell<'_>| fails_to_connect(view, cell);
    let cells: Vec<&Cell<'_>> = hosts
        .iter()
        .flat_map(|host| connecting(view, host, Some(source)))
        .collect();
    let cells = up_to_date(cells, fails);
    let (failing, alive): (Vec<&Cell<'_>>, Vec<_>) = cells.into_iter().partition(|c| fails(c));
    let has = |cells: &[&Cell<'_>], host: &Host| {
        let mut targets = cells.iter().map(|cell| cell.target);
        targets.any(|target| host.targets.contains(&target))
    };
    let reached = hosts.iter().filter(|host| has(&alive, host)).count();
    let mixed = hosts
        .iter()
        .any(|host| has(&alive, host) && has(&failing, host));
    let began = failing.iter().filter_map(|cell| cell.began()).min();
    // A host that nobody else reaches either says nothing about this node. Of an answer it is known in which window it was, and
    // not when: so they are counted by how probable it is that they are younger than the failure.
    let others_reach = |host: &&Host| {
        let cells = connecting(view, host, None).into_iter();
        let others = cells.filter(|cell| cell.source != source && cell.word() == Word::Alive);
        let since = began.unwrap_or(view.picture.now);
        others.map(|cell| cell.asked_since(since)).sum::<f64>() >= OTHERS
    };
    // Whoever refuses has been reached, unless all do.
    let refused = failing.iter().any(|cell| is_refusal(cell));
    let blamed: Vec<&Host> = hosts.iter().copied().filter(|h| has(&failing, h)).collect();
    match (failing.is_empty(), reached) {
        (true, 0) => Way::Unknown,
        (false, 1..) if mixed || !blamed.is_empty() => Way::Doubt,
        (true, _) | (false, 1..) => Way::Out,
        (false, 0) => {
            let is_cut = Tally::of(failing.iter().copied()).is_cut()
                && (!refused || blamed.len() == hosts.len());
            if is_cut && (is_alone || blamed.iter().any(others_reach)) {
                Way::Cut
            } else {
                Way::Doubt
            }
        }
    }
}

/// Did somebody say no?
const fn is_refusal(cell: &Cell<'_>) -> bool {
    matches!(
        cell.seen.failure,
        Some(OutcomeClass::Refused | OutcomeClass::Reset)
    )
}

fn way_out(view: &mut View<'_>, hosts: &[&Host], outside: &mut Outside) {
    let sources: BTreeSet<NodeIndex> = view
        .cells
        .iter()
        .filter(|cell| is_external(cell.layer.kind))
        .map(|cell| cell.source)
        .collect();
    let ways = sources.iter().map(|source| {
        let way = way_of(view, hosts, *source, sources.len() < 2);
        (*source, way)
    });
    let ways: Vec<(NodeIndex, Way)> = ways.collect();
    let are = |wanted: Way| {
        let fitting = ways.iter().filter(move |(_, way)| *way == wanted);
        fitting.map(|(source, _)| *source).collect::<BTreeSet<_>>()
    };
    let (cut, out) = (are(Way::Cut), &are(Way::Out) | &are(Way::Doubt));
    // What all nodes say together counts before each of them has lost enough by itself.
    let fails = |cell: &Cell<'_>| fails_to_connect(view, cell);
    let pooled: Vec<&Cell<'_>> = hosts
        .iter()
        .flat_map(|host| connecting(view, host, None))
        .collect();
    let pooled = up_to_date(pooled, fails);
    let failing: Vec<&Cell<'_>> = pooled.iter().copied().filter(|c| fails(c)).collect();
    let of_hosts = hosts
        .iter()
        .filter(|host| {
            failing
                .iter()
                .any(|cell| host.targets.contains(&cell.target))
        })
        .count();
    let all_fail = mostly(failing.len() as u32, pooled.len() as u32)
        && Tally::of(pooled.iter().copied()).is_cut()
        && found::sources(&pooled).len() > 1;
    outside.in_doubt = !cut.is_empty() || !are(Way::Doubt).is_empty();
    outside.targets = hosts.iter().flat_map(|h| h.targets.clone()).collect();
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
        let targets = outside.targets.clone();
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
        let cells = up_to_date(cells, |cell| fails_to_connect(view, cell));
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
    let (gone, targets) = (outside.cut.clone(), outside.targets.clone());
    view.explain(1.0, |_, cell| {
        targets.contains(&cell.target) && gone.contains(&cell.source)
    });
}

/// What targets outside say while names of others get no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// There are none.
    Nothing,
    /// Somebody gets out: names are a matter of their own.
    Reached,
    /// Those that need no name have not been asked since then.
    Unsettled,
    /// Nobody reaches any, since no name has an address.
    Unreached,
}

/// What the targets outside say since these questions began to fail.
pub(super) fn beyond(view: &View<'_>, outside: &Outside, failing: &[&Cell<'_>]) -> Beyond {
    if outside.targets.is_empty() {
        return Beyond::Nothing;
    }
    let cells: Vec<&Cell<'_>> = view
        .cells
        .iter()
        .filter(|cell| is_external(cell.layer.kind) && outside.targets.contains(&cell.target))
        .collect();
    // Windows of one node follow each other: what is in a later one than a loss has happened after it.
    let is_reached = |cell: &&Cell<'_>| {
        let own = failing.iter().filter(|lost| lost.source == cell.source);
        let known = own.filter_map(|lost| lost.first_known()).min();
        cell.word() == Word::Alive && known.is_some_and(|at| !cell.is_older_than(at + SETTLES))
    };
    if cells.iter().any(is_reached) {
        return Beyond::Reached;
    }
    let since = failing.iter().filter_map(|lost| lost.began()).min();
    let has_failed = cells.iter().any(|cell| {
        let began = cell.began().zip(since);
        began.is_some_and(|(began, since)| began + SETTLES >= since)
    });
    // Whoever needs no name has not been asked yet, or it would have failed or got out.
    let needs_none = |cell: &&Cell<'_>| !needs_a_name(view.name(cell));
    if cells.iter().any(needs_none) || !has_failed {
        Beyond::Unsettled
    } else {
        Beyond::Unreached
    }
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
        if let Some((finding, nodes)) = at_phase(view, host, phase, pattern, outside) {
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

/// Packets to a host outside vanish, and nobody has asked another one since then: it may be the way out as well.
fn is_way_unknown(view: &View<'_>, host: &Host, failing: &[&Cell<'_>], outside: &Outside) -> bool {
    let vanishes = |cell: &&Cell<'_>| cell.seen.failure == Some(OutcomeClass::Timeout);
    let Some(began) = failing.iter().filter_map(|cell| cell.began()).min() else {
        return false;
    };
    let is_away = |cell: &Cell<'_>| {
        is_external(cell.layer.kind)
            && outside.targets.contains(&cell.target)
            && !host.targets.contains(&cell.target)
    };
    let mut others = view.cells.iter().filter(|cell| is_away(cell)).peekable();
    !host.is_inside
        && failing.iter().all(vanishes)
        && others.peek().is_some()
        && !others.any(|cell| cell.word() == Word::Alive && !cell.is_older_than(began))
}

type Blamed = (Finding, Option<BTreeSet<NodeIndex>>);

fn at_phase(
    view: &View<'_>,
    host: &Host,
    at: Phase,
    pattern: Pattern,
    outside: &Outside,
) -> Option<Blamed> {
    let fails = |cell: &&Cell<'_>| {
        matches!(cell.word(), Word::Doubt | Word::Failing) && phase(view, cell) == at
    };
    let mut blamed: Vec<&Cell<'_>> = Vec::new();
    let mut everywhere = false;
    let mut nodes = BTreeSet::new();
    // The host as a whole speaks before each of its targets has lost enough.
    let pooled = up_to_date(connecting(view, host, None), |cell| fails(&cell));
    let failing: Vec<&Cell<'_>> = pooled.iter().copied().filter(fails).collect();
    if at == Phase::Connect && is_way_unknown(view, host, &failing, outside) {
        return None;
    }
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
        let cells = up_to_date(cells, |cell| fails(&cell));
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
