//! From cells to a finding about them.

use std::collections::BTreeSet;

use super::cells::{Cell, Tally, View, Word};
use super::share::Counts;
use crate::finding::{Confidence, Finding, NamedPath, Pattern, Scope};
use crate::ids::NodeIndex;
use crate::outcome::OutcomeClass;
use crate::path::{Family, Plane, ProbeKind};

/// Most names that a sentence lists.
const NAMES: usize = 4;

/// A finding that says that these cells fail, all of them.
pub(super) fn total(
    view: &View<'_>,
    pattern: Pattern,
    scope: Scope,
    summary: String,
    cells: &[&Cell<'_>],
) -> Finding {
    let failing: Vec<&Cell<'_>> = cells
        .iter()
        .copied()
        .filter(|cell| cell.word() == Word::Failing)
        .collect();
    let tally = Tally::of(cells.iter().copied());
    let mut finding = Finding::new(pattern, scope, summary);
    finding.failing = tally.failing;
    finding.judged = tally.decided();
    finding.confidence = if sources(&failing).len() > 1 || tally.failing > 4 {
        Confidence::Certain
    } else {
        Confidence::Likely
    };
    finding.since = failing
        .iter()
        .map(|cell| view.picture.now - cell.failing_for())
        .min();
    finding.paths = paths(view, &failing);
    if let Some(sentence) = failures(&failing) {
        finding.evidence.push(sentence);
    }
    finding.counter_examples = counter_examples(view, cells);
    finding
}

/// A finding that says that a share of what these cells send is lost.
pub(super) fn partial(
    view: &View<'_>,
    pattern: Pattern,
    scope: Scope,
    summary: &str,
    cells: &[&Cell<'_>],
) -> Finding {
    let counts = Counts::of(cells.iter().copied());
    let (lately, counted) = (counts.estimate(), counts.counted());
    let estimate = view.picture.known.share(
        (pattern, &scope),
        counted,
        (lately, lately),
        view.picture.now,
    );
    let mut finding = Finding::new(pattern, scope, format!("{summary}: {estimate}"));
    let lossy: Vec<&Cell<'_>> = cells.iter().copied().filter(|c| c.seen.lost > 0).collect();
    finding.failing = lossy.len() as u32;
    finding.judged = cells.len() as u32;
    finding.confidence = Confidence::Likely;
    finding.evidence.push(format!(
        "{} of the last {} probes failed, on {} of {} paths",
        estimate.lost,
        estimate.sent,
        lossy.len(),
        cells.len()
    ));
    finding.paths = paths(view, &lossy);
    finding.loss = Some(estimate);
    finding.counted = Some(counted);
    finding
}

/// The nodes that send them.
pub(super) fn sources(cells: &[&Cell<'_>]) -> BTreeSet<NodeIndex> {
    cells.iter().map(|cell| cell.source).collect()
}

fn paths(view: &View<'_>, cells: &[&Cell<'_>]) -> Vec<NamedPath> {
    let named = cells.iter().filter_map(|cell| {
        Some(NamedPath {
            source: view.node(cell.source)?.to_string(),
            target: view.heading(cell).to_owned(),
            layer: cell.layer,
        })
    });
    named.take(Finding::MAX_PATHS).collect()
}

/// "24 of 24 probes in a row got no answer in time; …"
fn failures(cells: &[&Cell<'_>]) -> Option<String> {
    let mut classes: Vec<(OutcomeClass, u32)> = Vec::new();
    for class in cells.iter().filter_map(|cell| cell.seen.failure) {
        match classes.iter_mut().find(|(known, _)| *known == class) {
            Some((_, count)) => *count += 1,
            None => classes.push((class, 1)),
        }
    }
    classes.sort_unstable_by_key(|(class, count)| (std::cmp::Reverse(*count), *class));
    let (most, _) = classes.first()?;
    let rest: Vec<String> = classes
        .iter()
        .map(|(class, count)| format!("{count} × {}", in_words(*class)))
        .collect();
    Some(if classes.len() == 1 {
        format!("all {} failing paths: {}", cells.len(), in_words(*most))
    } else {
        format!("{} failing paths: {}", cells.len(), rest.join(", "))
    })
}

/// What happened to a probe, for people.
pub(super) const fn in_words(class: OutcomeClass) -> &'static str {
    match class {
        OutcomeClass::Reply => "answered",
        OutcomeClass::Late => "answered too late",
        OutcomeClass::Timeout => "no answer in time",
        OutcomeClass::Refused => "connection refused, nobody listens there",
        OutcomeClass::Unreachable => "destination unreachable",
        OutcomeClass::TooBig => "packet too big",
        OutcomeClass::SendFailed => "the own kernel refused to send",
        OutcomeClass::Invalid => "not measured",
        OutcomeClass::WrongAnswer => "an answer that is not the expected one",
        OutcomeClass::Rcode => "an answer with a wrong response code",
        OutcomeClass::Reset => "connection reset",
        OutcomeClass::AnsweredByOther => "answered by another node",
        OutcomeClass::TlsFailed => "the TLS handshake failed",
        OutcomeClass::HttpStatus => "another HTTP status than the expected ones",
    }
}

fn counter_examples(view: &View<'_>, cells: &[&Cell<'_>]) -> Vec<String> {
    let alive = cells.iter().filter(|cell| cell.word() == Word::Alive);
    let sentence = |cell: &&&Cell<'_>| {
        let source = view.node(cell.source)?;
        Some(format!(
            "{source} → {} ({}) answers",
            view.heading(cell),
            cell.layer
        ))
    };
    alive
        .take(NAMES)
        .filter_map(|cell| sentence(&cell))
        .collect()
}

/// "mesh-1, mesh-2 and 3 more"
pub(super) fn listed<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    if names.len() <= NAMES {
        return names.join(", ");
    }
    let more = names.len() - (NAMES - 1);
    format!("{} and {more} more", names[..NAMES - 1].join(", "))
}

/// As a scope has it: the families that fail, if the other one is seen to work.
pub(super) fn only_family(cells: &[&Cell<'_>]) -> Option<Family> {
    let has = |family: Family, word: Word| {
        cells
            .iter()
            .any(|cell| cell.layer.family == family && cell.word() == word)
    };
    let only = |family: Family, other: Family| {
        has(family, Word::Failing) && !has(family, Word::Alive) && has(other, Word::Alive)
    };
    if only(Family::V6, Family::V4) {
        return Some(Family::V6);
    }
    only(Family::V4, Family::V6).then_some(Family::V4)
}

/// Is this a question to a DNS server?
pub(super) const fn is_dns(kind: ProbeKind) -> bool {
    matches!(kind, ProbeKind::DnsUdp | ProbeKind::DnsTcp)
}

/// Is this a target outside the mesh?
pub(super) const fn is_external(kind: ProbeKind) -> bool {
    matches!(
        kind,
        ProbeKind::TcpConnect | ProbeKind::Tls | ProbeKind::Http
    )
}

/// Does a layer end at a virtual IP?
pub(super) const fn is_service(plane: Plane) -> bool {
    matches!(plane, Plane::Service)
}
