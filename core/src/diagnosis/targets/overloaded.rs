//! DNS servers that lose a share of what they are asked.

use super::cells::{Cell, View, Word};
use super::dns::{Asked, Server, asks, explain_vip};
use super::found::{self, listed};
use super::names::{inner_domains, is_inside};
use super::share::Counts;
use super::vip;
use crate::diagnosis::TargetName;
use crate::finding::{Pattern, Scope};
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
        .filter(|(server, counts)| counts.is_partial() && is_spread(view, &questions(view, server)))
        .collect();
    let Some(worst) = lossy
        .iter()
        .map(|(_, counts)| counts.ratio())
        .reduce(f64::max)
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
    let domains = inner_domains(view.picture);
    let is_inner = |cell: &Cell<'_>| match view.name(cell) {
        TargetName::Dns { name, .. } => is_inside(name, &domains),
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
