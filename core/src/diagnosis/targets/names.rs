//! Names: what the servers answer, where they can be asked.

use std::collections::BTreeSet;
use std::time::Duration;

use super::cells::{Cell, Tally, View, Word, is_ending, mostly};
use super::dns::{Server, asks};
use super::external::{self, Beyond, Outside};
use super::found;
use crate::detail::Detail;
use crate::diagnosis::{Picture, TargetName};
use crate::finding::{Alternative, Confidence, Finding, Pattern, Scope};
use crate::ids::NodeIndex;
use crate::outcome::OutcomeClass;

const NXDOMAIN: u8 = 3;
/// Share of a host's paths that lost everything, if its network was cut.
const CUT: f64 = 0.5;
/// From a question to its answer in the picture.
const SETTLES: Duration = Duration::from_secs(2);

/// A name that is answered wrongly.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    /// As configured.
    pub(super) name: String,
    /// It is none of the cluster's.
    pub(super) is_external: bool,
    /// The servers say that it does not exist, though it should.
    pub(super) is_absent: bool,
    /// Most questions are answered: it is the name, and not the way to the server.
    pub(super) is_answered: bool,
    /// Servers on which it fails; `None`: on all or most.
    pub(super) servers: Option<Vec<usize>>,
}

/// Names that fail on servers that can be asked.
pub(super) fn troubles(view: &View<'_>, servers: &[Server<'_>]) -> Vec<Trouble> {
    let names: BTreeSet<&str> = view.cells.iter().filter_map(|c| name_of(view, c)).collect();
    let mut troubles = Vec::new();
    for name in names {
        let mut failing = Vec::new();
        let mut judged = 0;
        for (place, server) in servers.iter().enumerate() {
            let cells = cells_of(view, name, server);
            let tally = Tally::of(cells.iter().copied());
            if tally.decided() == 0 {
                continue;
            }
            judged += 1;
            let sources = found::sources(&cells).len();
            if tally.is_total() && (tally.failing > 1 || sources == 1) {
                failing.push(place);
            }
        }
        if failing.is_empty() {
            continue;
        }
        let is_everywhere = mostly(failing.len() as u32, judged);
        let (own, others): (Vec<&Cell<'_>>, Vec<&Cell<'_>>) = view
            .cells
            .iter()
            .filter(|cell| name_of(view, cell) == Some(name))
            .partition(|cell| {
                failing
                    .iter()
                    .any(|place| asks(view, cell, &servers[*place]))
            });
        if !is_everywhere && (!is_settled(&own) || is_ending(own, others)) {
            continue;
        }
        let cells: Vec<&Cell<'_>> = failing
            .iter()
            .flat_map(|place| cells_of(view, name, &servers[*place]))
            .filter(|cell| cell.word() == Word::Failing)
            .collect();
        let told = |code: fn(u8) -> bool| {
            let answers = cells.iter().filter(
                |cell| matches!(cell.detail, Some(Detail::Dns(dns)) if dns.rcode.is_some_and(code)),
            );
            2 * answers.count() > cells.len()
        };
        troubles.push(Trouble {
            name: name.to_owned(),
            is_external: !is_inside(name, view.domains),
            is_absent: told(|code| code == NXDOMAIN),
            is_answered: told(|_| true),
            servers: (!is_everywhere).then_some(failing),
        });
    }
    troubles
}

/// Has it failed for so long that every other server has been asked since? Before, a failure of all looks like one of those that
/// were asked first.
fn is_settled(failing: &[&Cell<'_>]) -> bool {
    let mut failing = failing.iter().filter(|cell| cell.word() == Word::Failing);
    failing.any(|cell| cell.seen.failing_for >= cell.interval + SETTLES)
}

fn name_of<'a>(view: &View<'a>, cell: &Cell<'_>) -> Option<&'a str> {
    match view.name(cell) {
        TargetName::Dns { name, .. } => Some(name),
        _ => None,
    }
}

fn cells_of<'v, 'a>(view: &'v View<'a>, name: &str, server: &Server<'_>) -> Vec<&'v Cell<'a>> {
    let cells = view.cells.iter();
    cells
        .filter(|cell| name_of(view, cell) == Some(name) && asks(view, cell, server))
        .collect()
}

/// The cells of a trouble.
fn cells_in_trouble<'v, 'a>(
    view: &'v View<'a>,
    trouble: &Trouble,
    servers: &[Server<'_>],
) -> Vec<&'v Cell<'a>> {
    let is_named = |place: &usize| trouble.servers.as_ref().is_none_or(|s| s.contains(place));
    let blamed = servers
        .iter()
        .enumerate()
        .filter(|(place, _)| is_named(place));
    blamed
        .flat_map(|(_, server)| cells_of(view, &trouble.name, server))
        .collect()
}

/// Is the failure of a name one of what the servers forward to, and not of the name alone?
pub(super) fn is_upstream(trouble: &Trouble, all: &[Trouble], view: &View<'_>) -> bool {
    if !trouble.is_external || trouble.is_absent {
        return false;
    }
    // Another external name that is fine shows that they can forward.
    let others = view.cells.iter().filter_map(|cell| {
        let name = name_of(view, cell)?;
        let is_other = name != trouble.name && !is_inside(name, view.domains);
        (is_other && cell.word() == Word::Alive).then_some(name)
    });
    let fine: BTreeSet<&str> = others
        .filter(|name| !all.iter().any(|known| known.name == *name))
        .collect();
    fine.is_empty()
}

/// One finding for what the servers forward to.
fn upstream(view: &View<'_>, troubles: &[&Trouble], servers: &[Server<'_>]) -> Finding {
    let cells: Vec<&Cell<'_>> = troubles
        .iter()
        .flat_map(|trouble| cells_in_trouble(view, trouble, servers))
        .collect();
    let names = found::listed(troubles.iter().map(|trouble| &trouble.name));
    let place = troubles.iter().find_map(|trouble| trouble.servers.as_ref());
    let is_everywhere = troubles.iter().any(|trouble| trouble.servers.is_none());
    let (scope, on) = match place.filter(|_| !is_everywhere) {
        Some(places) => {
            let told = found::listed(places.iter().map(|place| servers[*place].name));
            (Scope::target(told.clone()), told)
        }
        None => (Scope::everywhere(), "all DNS servers".to_owned()),
    };
    let how = if has_rcode(&cells) {
        "they answer with failures"
    } else {
        "they do not answer in time"
    };
    let summary = format!(
        "External names ({names}) fail on {on}, cluster names work: what they forward to is broken; {how}"
    );
    found::total(view, Pattern::DnsUpstream, scope, summary, &cells)
}

/// What the servers forward to, or the way out: without any name that has an address nobody gets out either way. An answer
/// that says that it failed comes from somebody; where nobody answers, the way is the simpler cause of both.
pub(super) fn or_way_out(
    view: &View<'_>,
    troubles: &[&Trouble],
    servers: &[Server<'_>],
    outside: &mut Outside,
) -> Option<Finding> {
    let cells: Vec<&Cell<'_>> = troubles
        .iter()
        .flat_map(|trouble| cells_in_trouble(view, trouble, servers))
        .filter(|cell| cell.word() == Word::Failing)
        .collect();
    if has_rcode(&cells) && is_remembered(&cells) {
        return None;
    }
    let beyond = external::beyond(view, outside, &cells);
    let is_everywhere = troubles.iter().all(|trouble| trouble.servers.is_none());
    let mut finding = upstream(view, troubles, servers);
    match beyond {
        Beyond::Nothing | Beyond::Reached => {}
        Beyond::Unsettled => return None,
        Beyond::Unreached if !is_everywhere => {}
        Beyond::Unreached if is_silence(&cells) => {
            let summary = "No node reaches any target outside the mesh, and no DNS server gets an answer to external \
                           names; inside, all is well"
                .to_owned();
            let other = Alternative {
                pattern: Pattern::DnsUpstream,
                scope: finding.scope.clone(),
            };
            finding = found::total(
                view,
                Pattern::External,
                Scope::everywhere(),
                summary,
                &cells,
            );
            finding.confidence = Confidence::Likely;
            finding.alternatives.push(other);
            outside.is_cut_everywhere = true;
        }
        Beyond::Unreached => finding.alternatives.push(Alternative {
            pattern: Pattern::External,
            scope: Scope::everywhere(),
        }),
    }
    Some(finding)
}

/// Questions end without an answer. A server that waits for nobody says so in the end, to the few who ask just then.
fn is_silence(cells: &[&Cell<'_>]) -> bool {
    let silent = cells
        .iter()
        .filter(|cell| cell.seen.failure == Some(OutcomeClass::Timeout));
    4 * silent.count() >= cells.len()
}

/// Most of these ways were cut until just now. A server whose own questions were lost goes on to answer with that failure for a
/// while (RFC 9520 §3.2).
fn is_remembered(cells: &[&Cell<'_>]) -> bool {
    let cut = cells.iter().filter(|cell| cell.recent >= CUT);
    2 * cut.count() > cells.len()
}

fn has_rcode(cells: &[&Cell<'_>]) -> bool {
    let rcodes = cells
        .iter()
        .filter(|cell| cell.seen.failure == Some(OutcomeClass::Rcode));
    2 * rcodes.count() > cells.len()
}

/// A finding for one name.
pub(super) fn wrong_name(view: &View<'_>, trouble: &Trouble, servers: &[Server<'_>]) -> Finding {
    let cells = cells_in_trouble(view, trouble, servers);
    let rcode = cells.iter().find_map(|cell| match cell.detail {
        Some(Detail::Dns(dns)) if cell.word() == Word::Failing => dns.rcode,
        _ => None,
    });
    let answer = match rcode {
        Some(0) => "the records are there, though they should not be".to_owned(),
        Some(code) => format!("the answer is {}", rcode_name(code)),
        None => "the answer is not the expected one".to_owned(),
    };
    let on = match &trouble.servers {
        None => "every DNS server".to_owned(),
        Some(places) => found::listed(places.iter().map(|place| servers[*place].name)),
    };
    let summary = format!(
        "The name {} is answered wrongly by {on}: {answer}",
        trouble.name
    );
    let scope = Scope::target(trouble.name.clone());
    found::total(view, Pattern::DnsName, scope, summary, &cells)
}

fn rcode_name(code: u8) -> String {
    match code {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        NXDOMAIN => "NXDOMAIN".to_owned(),
        5 => "REFUSED".to_owned(),
        other => format!("response code {other}"),
    }
}

/// Does a name as an application asks it stand for this full name?
pub(super) fn may_stand_for(asked: &str, full: &str) -> bool {
    let (asked, full) = (asked.trim_end_matches('.'), full.trim_end_matches('.'));
    let rest = full.strip_prefix(asked);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Domains whose names the cluster's own servers know: those of the search lists that most nodes have.
pub(super) fn inner_domains(picture: &Picture) -> Vec<String> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    let mut nodes = 0;
    for prober in picture.nodes.iter().flat_map(|node| &node.probers) {
        let Some(facts) = prober.facts.as_deref().filter(|f| !f.search.is_empty()) else {
            continue;
        };
        nodes += 1;
        for domain in &facts.search {
            match counts.iter_mut().find(|(known, _)| known == domain) {
                Some((_, count)) => *count += 1,
                None => counts.push((domain, 1)),
            }
        }
    }
    let usual = counts.into_iter().filter(|(_, count)| 2 * count > nodes);
    let mut domains: Vec<String> = usual
        .map(|(domain, _)| {
            let domain = domain.trim_end_matches('.').to_ascii_lowercase();
            let cluster = domain
                .split_once("svc.")
                .map(|(_, cluster)| cluster.to_owned());
            cluster.unwrap_or(domain)
        })
        .collect();
    domains.push("cluster.local".to_owned());
    domains.sort_unstable();
    domains.dedup();
    domains
}

/// Is a name one of these domains'?
pub(super) fn is_inside(name: &str, domains: &[String]) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    // A name of one word is completed by the search list.
    let is_short = !name.contains('.');
    is_short
        || name.contains(".svc.")
        || domains.iter().any(|domain| {
            let rest = name.strip_suffix(domain.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
}

/// Did the failure that a name as applications ask it shows, or may show still, have its cause below? Names are asked seldom
/// in this way, so what they say is old: it is about the time in which they were asked.
fn had_a_cause(view: &View<'_>, cell: &Cell<'_>, name: &str) -> bool {
    let is_external = !is_inside(name, view.domains);
    let concerns = |lower: &Cell<'_>| {
        let Some(full) = name_of(view, lower) else {
            return false;
        };
        // A server that answers wrongly has a word on some names alone.
        let is_answer = matches!(
            lower.seen.failure,
            Some(OutcomeClass::Rcode | OutcomeClass::WrongAnswer)
        );
        !is_answer || may_stand_for(name, full) || (is_external && !is_inside(full, view.domains))
    };
    let fails_below = view
        .cells
        .iter()
        .any(|lower| lower.source == cell.source && concerns(lower) && lower.failed_with(cell));
    fails_below || has_other_settings(view, cell)
}

/// The settings of the node's resolver have changed since it was asked.
fn has_other_settings(view: &View<'_>, cell: &Cell<'_>) -> bool {
    let node = view.picture.nodes.get(cell.source.index());
    let changes = node.into_iter().flat_map(|node| &node.probers);
    changes
        .flat_map(|prober| &prober.changes)
        .any(|change| cell.was_asked_before(change.at))
}

/// Losses in a row that go on after the probes that follow a first one: its turn has come again since then, and so has the
/// turn of the facts that would explain it.
const STAYS: u8 = 5;

/// A name as applications ask it fails on these nodes, and nothing else explains it.
pub(super) fn search(
    view: &View<'_>,
    explained_at: &dyn Fn(NodeIndex, &str) -> bool,
) -> Vec<Finding> {
    let asked: BTreeSet<&str> = view
        .cells
        .iter()
        .filter_map(|cell| match view.name(cell) {
            TargetName::Search { name } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let mut findings = Vec::new();
    for name in asked {
        let cells: Vec<&Cell<'_>> = view
            .cells
            .iter()
            .filter(|cell| matches!(view.name(cell), TargetName::Search { name: n } if n == name))
            .filter(|cell| !explained_at(cell.source, name))
            .filter(|cell| cell.word() == Word::Alive || !had_a_cause(view, cell, name))
            .collect();
        let failing: Vec<&Cell<'_>> = cells
            .iter()
            .copied()
            .filter(|cell| cell.word() == Word::Failing && cell.seen.consecutive_losses >= 4)
            .collect();
        let tally = Tally::of(cells.iter().copied());
        if failing.is_empty() {
            continue;
        }
        let (scope, where_) = if tally.is_total() && tally.failing > 1 {
            (Scope::target(name), "on every node".to_owned())
        } else {
            let stays = |cell: &&&Cell<'_>| cell.seen.consecutive_losses >= STAYS;
            let staying: Vec<&Cell<'_>> = failing.iter().filter(stays).copied().collect();
            let sources = found::sources(&staying);
            if sources.is_empty() {
                continue;
            }
            let nodes: Vec<_> = sources
                .iter()
                .filter_map(|n| view.node(*n))
                .cloned()
                .collect();
            let text = format!("on {}", found::listed(&nodes));
            (Scope::nodes(nodes).with_target(name), text)
        };
        let reason = failing.iter().find_map(|cell| match cell.detail {
            Some(Detail::Search(search)) if !search.failure.is_empty() => Some(&search.failure),
            _ => None,
        });
        let reason = reason
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        let summary =
            format!("The name {name}, as applications ask it, is not resolved {where_}{reason}");
        findings.push(found::total(view, Pattern::DnsName, scope, summary, &cells));
    }
    findings
}
