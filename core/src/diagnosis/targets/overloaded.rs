//! DNS servers that lose a share of what they are asked.

use std::collections::{BTreeMap, BTreeSet};

use super::cells::{Cell, View, Word};
use super::dns::{Asked, Server, asks, explain_vip};
use super::found::{self, is_service, listed};
use super::names::is_inside;
use super::share::{Counts, Shares};
use super::vip;
use crate::diagnosis::TargetName;
use crate::finding::{Pattern, Scope};
use crate::ids::NodeIndex;
use crate::outcome::OutcomeClass;

/// Servers that lose a share of what they are asked, whoever asks.
pub(super) fn findings(view: &mut View<'_>, servers: &[Server<'_>], asked: &mut Asked) {
    let instances: Vec<&Server<'_>> = servers.iter().filter(|s| !s.is_vip()).collect();
    let judged: Vec<&Server<'_>> = if instances.is_empty() {
        servers.iter().collect()
    } else {
        instances.clone()
    };
    let counted: Vec<(&Server<'_>, Counts)> = judged
        .into_iter()
        .map(|server| {
            let cells = questions(view, server);
            (server, Counts::of(cells))
        })
        .collect();
    let lossy: Vec<&(&Server<'_>, Counts)> = counted
        .iter()
        .filter(|(server, counts)| {
            let cells = questions(view, server);
            counts.is_partial() && is_spread(view, &cells)
        })
        .collect();
    let Some(worst) = lossy
        .iter()
        .map(|(_, counts)| counts.shares())
        .reduce(Shares::max)
    else {
        return;
    };
    let undecided = counted
        .iter()
        .filter(|(server, counts)| {
            !lossy.iter().any(|(known, _)| known == server)
                && !counts.refutes(worst)
                && counts.is_measured()
        })
        .count();
    let measured = counted
        .iter()
        .filter(|(_, counts)| counts.is_measured())
        .count();
    asked.is_lossy = true;
    if lossy.len() > 1 && lossy.len() + undecided >= measured {
        let cells: Vec<&Cell<'_>> = lossy
            .iter()
            .flat_map(|(server, _)| questions(view, server))
            .collect();
        let names = listed(lossy.iter().map(|(server, _)| server.name));
        let summary =
            format!("The DNS servers ({names}) lose a share of the questions of every node");
        let scope = Scope::everywhere();
        let finding = found::partial(view, Pattern::DnsOverloaded, scope, &summary, &cells);
        asked.findings.push(finding);
    } else if undecided == 0 || lossy.len() == measured {
        for (server, _) in &lossy {
            let cells = questions(view, server);
            let summary = format!(
                "DNS server {} ({}) loses a share of the questions of every node",
                server.name, server.address
            );
            let scope = Scope::target(server.name);
            let finding = found::partial(view, Pattern::DnsOverloaded, scope, &summary, &cells);
            asked.findings.push(finding);
        }
    }
    let lost: f64 = lossy.iter().map(|(_, counts)| counts.ratio()).sum();
    let share = (lost / counted.len() as f64).min(1.0);
    let shares: Vec<(Server<'_>, f64)> = lossy
        .iter()
        .map(|(server, counts)| (**server, counts.ratio()))
        .collect();
    for (server, ratio) in shares {
        view.explain(ratio, |view, cell| asks(view, cell, &server));
    }
    explain_vip(view, share);
}

/// What the servers lost lately shows in the counts of their virtual IP for longer than in their own: of what all nodes asked, and
/// of what one of them did, which may have been cut off alone.
pub(super) fn remember(view: &mut View<'_>, servers: &[Server<'_>]) {
    let instances = servers.iter().filter(|server| !server.is_vip());
    let questions: Vec<Vec<&Cell<'_>>> = instances.map(|server| questions(view, server)).collect();
    if questions.is_empty() {
        return;
    }
    let of_all = lost_lately(&questions, |_| true);
    let sources: BTreeSet<NodeIndex> = view.cells.iter().map(|cell| cell.source).collect();
    let shares: BTreeMap<NodeIndex, f64> = sources
        .into_iter()
        .map(|source| {
            let own = lost_lately(&questions, |cell| cell.source == source);
            (source, own.max(of_all))
        })
        .collect();
    view.remember(|view, cell| match view.name(cell) {
        TargetName::Dns { plane, .. } if is_service(*plane) => shares.get(&cell.source).copied(),
        _ => None,
    });
}

/// The share of questions that were lost lately, on average of the servers. A cell that has started over has forgotten what was
/// lost, and that was all.
fn lost_lately(questions: &[Vec<&Cell<'_>>], counts: impl Fn(&Cell<'_>) -> bool) -> f64 {
    let shares = questions.iter().map(|cells| {
        let (mut all, mut over, mut sent, mut lost) = (0.0, 0.0, 0.0, 0.0);
        for cell in cells.iter().filter(|cell| counts(cell)) {
            all += 1.0;
            over += f64::from(u8::from(cell.has_started_over()));
            sent += f64::from(cell.seen.long_sent);
            lost += f64::from(cell.seen.long_lost);
        }
        f64::max(lost / f64::max(sent, 1.0), over / f64::max(all, 1.0))
    });
    shares.sum::<f64>() / questions.len() as f64
}

/// The questions to a server that tell whether it gets and answers them: names of others hang on what it forwards to, and
/// wrong answers are answers.
pub(super) fn questions<'v, 'a>(view: &'v View<'a>, server: &Server<'_>) -> Vec<&'v Cell<'a>> {
    let cells: Vec<&Cell<'_>> = view
        .cells
        .iter()
        .filter(|cell| asks(view, cell, server) && cell.word() != Word::Unknown)
        .collect();
    inner_questions(view, cells)
}

/// Of questions to a server those that it can answer by itself; all of them, if there are no such.
pub(super) fn inner_questions<'v, 'a>(
    view: &View<'_>,
    cells: Vec<&'v Cell<'a>>,
) -> Vec<&'v Cell<'a>> {
    let is_inner = |cell: &Cell<'_>| match view.name(cell) {
        TargetName::Dns { name, .. } => is_inside(name, view.domains),
        _ => true,
    };
    let is_reply = |cell: &&Cell<'_>| {
        let wrong = Some(OutcomeClass::Rcode) == cell.seen.failure
            || Some(OutcomeClass::WrongAnswer) == cell.seen.failure;
        !wrong || cell.seen.lost == 0
    };
    let has_inner = cells.iter().any(|cell| is_inner(cell));
    cells
        .into_iter()
        .filter(|cell| !has_inner || is_inner(cell))
        .filter(is_reply)
        .collect()
}

/// Several nodes lose about as much as one would expect of a share; a single one with all of the losses is its own problem.
pub(super) fn is_spread(view: &View<'_>, cells: &[&Cell<'_>]) -> bool {
    vip::lossy_sources(view, cells).is_everywhere()
}
