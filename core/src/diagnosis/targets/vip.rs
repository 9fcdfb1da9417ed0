//! Virtual IPs: on which nodes they fail, and which of them lose a share because a backend is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::cells::{Cell, Tally, View, Word, is_ending, mostly};
use super::found::{self, is_service, listed};
use super::hosts::needs_a_name;
use super::overloaded::inner_questions;
use super::share::{Counts, Shares};
use crate::detail::Detail;
use crate::diagnosis::TargetName;
use crate::finding::{Finding, Pattern, Scope};
use crate::ids::NodeIndex;
use crate::time::Moment;

/// A virtual IP that answers so much later than another one began to fail is none that fails with it. Windows are known to the
/// second.
const SETTLED: Duration = Duration::from_secs(1);
/// A node alone loses a share if it loses at least this much.
const NODE_RATIO: f64 = 0.15;

/// A virtual IP: what is behind it does not matter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Vip {
    name: String,
    address: SocketAddr,
}

/// What was found out about virtual IPs.
#[derive(Debug, Default)]
pub(super) struct Broken {
    pub(super) findings: Vec<Finding>,
    /// Nodes on which some virtual IP fails.
    pub(super) nodes: BTreeSet<NodeIndex>,
    /// Nodes that cannot ask the virtual IP of the DNS.
    pub(super) no_dns: BTreeSet<NodeIndex>,
    /// Some virtual IP fails everywhere.
    pub(super) everywhere: bool,
    /// That of the DNS loses a share.
    pub(super) is_dns_lossy: bool,
}

fn vip_of(view: &View<'_>, cell: &Cell<'_>) -> Option<Vip> {
    match view.name(cell) {
        TargetName::Dns {
            server,
            address,
            plane,
            ..
        } if is_service(*plane) => Some(Vip {
            name: server.clone(),
            address: *address,
        }),
        TargetName::Service { name, address } => Some(Vip {
            name: name.clone(),
            address: *address,
        }),
        _ => None,
    }
}

fn is_dns_vip(view: &View<'_>, cell: &Cell<'_>) -> bool {
    matches!(view.name(cell), TargetName::Dns { plane, .. } if is_service(*plane))
}

/// What virtual IPs fail, and what that explains.
pub(super) fn broken(view: &mut View<'_>) -> Broken {
    let mut broken = Broken::default();
    let mut vips: BTreeSet<Vip> = BTreeSet::new();
    for cell in &view.cells {
        vips.extend(vip_of(view, cell));
    }
    for vip in &vips {
        stale(view, vip, &mut broken);
    }
    dead(view, &vips, &mut broken);
    broken
}

/// What is blamed, in which words, and which cells are about it.
type Blame = (Scope, String, Box<dyn Fn(&View<'_>, &Cell<'_>) -> bool>);

/// One virtual IP as one node sees it.
struct Sight {
    is_silent: bool,
    answers: bool,
    /// When the first of its losses was known.
    since: Option<Moment>,
    /// End of the newest window with an answer in it.
    answered: Option<Moment>,
}

fn sight(cells: &[&Cell<'_>]) -> Sight {
    let tally = Tally::of(cells.iter().copied());
    let answers = |cell: &&&Cell<'_>| cell.word() == Word::Alive || cell.is_wrong();
    let answers = cells.iter().any(|cell| answers(&cell));
    Sight {
        is_silent: !answers && tally.is_total(),
        answers,
        since: cells.iter().filter_map(|c| c.first_known()).min(),
        answered: cells.iter().filter_map(|c| c.answered_at()).max(),
    }
}

fn dead(view: &mut View<'_>, vips: &BTreeSet<Vip>, broken: &mut Broken) {
    let mut groups: BTreeMap<(NodeIndex, Vip), Vec<&Cell<'_>>> = BTreeMap::new();
    for cell in &view.cells {
        if let Some(vip) = vip_of(view, cell) {
            groups.entry((cell.source, vip)).or_default().push(cell);
        }
    }
    let mut seen: BTreeMap<NodeIndex, BTreeMap<Vip, Sight>> = BTreeMap::new();
    for ((source, vip), cells) in groups {
        seen.entry(source).or_default().insert(vip, sight(&cells));
    }
    let says = |vip: &Vip, says: &dyn Fn(&Sight) -> bool| {
        let count = seen.values().filter(|of| of.get(vip).is_some_and(says));
        count.count() as u32
    };
    let gone: BTreeSet<Vip> = vips
        .iter()
        .filter(|vip| {
            let silent = says(vip, &|sight| sight.is_silent);
            silent > 1 && mostly(silent, silent + says(vip, &|sight| sight.answers))
        })
        .cloned()
        .collect();
    let mut blamed: Vec<Blame> = Vec::new();
    if gone.len() > 1 && gone.len() == vips.len() {
        let summary = "No virtual IP works, on any node; the addresses behind them do".to_owned();
        let which = |view: &View<'_>, cell: &Cell<'_>| vip_of(view, cell).is_some();
        blamed.push((Scope::everywhere(), summary, Box::new(which)));
    } else {
        for vip in &gone {
            let summary = format!(
                "The virtual IP {} ({}) fails on every node",
                vip.name, vip.address
            );
            let scope = Scope::target(vip.name.clone());
            let vip = vip.clone();
            let which =
                move |view: &View<'_>, cell: &Cell<'_>| vip_of(view, cell).as_ref() == Some(&vip);
            blamed.push((scope, summary, Box::new(which)));
        }
    }
    for (source, sights) in &seen {
        let Some(name) = view.node(*source).cloned() else {
            continue;
        };
        let silent: Vec<(&Vip, &Sight)> = sights
            .iter()
            .filter(|(vip, sight)| sight.is_silent && !gone.contains(*vip))
            .collect();
        let Some(since) = silent.iter().filter_map(|(_, sight)| sight.since).min() else {
            continue;
        };
        broken.nodes.insert(*source);
        let others: Vec<&Sight> = sights
            .iter()
            .filter(|(vip, sight)| !sight.is_silent && !gone.contains(*vip))
            .map(|(_, sight)| sight)
            .collect();
        // One that was not tried since these fail says nothing yet: windows of one node follow each other.
        let works = |other: &&&Sight| other.answered.is_some_and(|at| at > since + SETTLED);
        let others_work = !others.is_empty();
        if others.iter().filter(works).count() < others.len() {
            continue;
        }
        let source = *source;
        if others_work {
            for (vip, _) in silent {
                let summary = format!(
                    "The virtual IP {} ({}) fails on node {name}; other virtual IPs work there",
                    vip.name, vip.address
                );
                let scope = Scope::node(name.clone()).with_target(vip.name.clone());
                let vip = vip.clone();
                let which = move |view: &View<'_>, cell: &Cell<'_>| {
                    cell.source == source && vip_of(view, cell).as_ref() == Some(&vip)
                };
                blamed.push((scope, summary, Box::new(which)));
            }
        } else {
            let names = listed(silent.iter().map(|(vip, _)| &vip.name));
            let summary = format!(
                "Virtual IPs fail on node {name} ({names}); the addresses behind them answer"
            );
            let gone = gone.clone();
            let which = move |view: &View<'_>, cell: &Cell<'_>| {
                cell.source == source && vip_of(view, cell).is_some_and(|vip| !gone.contains(&vip))
            };
            blamed.push((Scope::node(name), summary, Box::new(which)));
        }
    }
    broken.everywhere |= !gone.is_empty();
    for (scope, summary, which) in blamed {
        let cells: Vec<&Cell<'_>> = view.cells.iter().filter(|c| which(view, c)).collect();
        let others = view
            .cells
            .iter()
            .filter(|c| !which(view, c) && vip_of(view, c).is_some());
        if is_ending(cells.iter().copied(), others) {
            continue;
        }
        let finding = found::total(view, Pattern::ServiceVip, scope, summary, &cells);
        for cell in cells.iter().filter(|cell| is_dns_vip(view, cell)) {
            broken.no_dns.insert(cell.source);
        }
        broken.findings.push(finding);
        view.explain(1.0, |view, cell| which(view, cell));
    }
}

/// How losses are spread over the nodes that send.
#[derive(Debug, Default)]
pub(super) struct Lossy {
    by_source: Vec<(NodeIndex, Counts)>,
    /// Losses over the longer time, by source as above.
    lost: Vec<f64>,
    /// Probes over the longer time.
    sent: Vec<f64>,
}

pub(super) fn lossy_sources(_view: &View<'_>, cells: &[&Cell<'_>]) -> Lossy {
    let mut groups: BTreeMap<NodeIndex, Vec<&Cell<'_>>> = BTreeMap::new();
    for cell in cells {
        groups.entry(cell.source).or_default().push(cell);
    }
    let mut lossy = Lossy::default();
    for (source, cells) in groups {
        let sum = |part: &dyn Fn(&Cell<'_>) -> f32| {
            cells.iter().map(|cell| f64::from(part(cell))).sum::<f64>()
        };
        lossy.lost.push(sum(&|cell| cell.seen.long_lost));
        lossy.sent.push(sum(&|cell| cell.seen.long_sent));
        lossy
            .by_source
            .push((source, Counts::of(cells.iter().copied())));
    }
    lossy
}

impl Lossy {
    /// The smallest share that one of these nodes loses; none without nodes.
    fn least_of(&self, nodes: &BTreeSet<NodeIndex>) -> Option<Shares> {
        let own = self
            .by_source
            .iter()
            .filter(|(source, _)| nodes.contains(source));
        own.map(|(_, counts)| counts.shares()).reduce(Shares::min)
    }

    /// Most sources lose something, and none of several loses most of it.
    pub(super) fn is_everywhere(&self) -> bool {
        let all: f64 = self.lost.iter().sum();
        let sources = self.lost.len();
        if all < 1.0 || sources == 0 {
            return false;
        }
        let sent: f64 = self.sent.iter().sum();
        // Those of which three losses or more are to be expected have one.
        let telling = self
            .sent
            .iter()
            .zip(&self.lost)
            .filter(|(own, _)| **own * all / sent.max(1.0) >= 3.0);
        let (mut speak, mut agree) = (0_u32, 0_u32);
        for (_, lost) in telling {
            speak += 1;
            agree += u32::from(*lost >= 0.5);
        }
        let most = self.lost.iter().copied().fold(0.0, f64::max);
        let bound = match sources {
            1 => 1.0,
            2 => 0.85,
            _ => 0.7,
        };
        (speak == 0 || mostly(agree, speak)) && most <= bound * all
    }
}

/// A backend is gone, and its share of the connections fails.
fn stale(view: &mut View<'_>, vip: &Vip, broken: &mut Broken) {
    let is_vips = |view: &View<'_>, cell: &Cell<'_>| vip_of(view, cell).as_ref() == Some(vip);
    // Where nothing gets through, no share does.
    let mut silent = BTreeSet::new();
    for source in view
        .cells
        .iter()
        .map(|cell| cell.source)
        .collect::<BTreeSet<_>>()
    {
        let own = view
            .cells
            .iter()
            .filter(|c| c.source == source && is_vips(view, c));
        let tally = Tally::of(own);
        if tally.alive == 0 && tally.is_total() {
            silent.insert(source);
        }
    }
    let cells: Vec<&Cell<'_>> = view
        .cells
        .iter()
        .filter(|cell| {
            is_vips(view, cell) && cell.word() != Word::Unknown && !silent.contains(&cell.source)
        })
        .collect();
    let cells = inner_questions(view, cells);
    let lossy = lossy_sources(view, &cells);
    let counts = Counts::of(cells.iter().copied());
    let (scope, summary, nodes): (Scope, String, Option<BTreeSet<NodeIndex>>) =
        if counts.is_partial() && lossy.is_everywhere() {
            let summary = format!(
                "A share of the connections to the virtual IP {} ({}) fails on every node",
                vip.name, vip.address
            );
            (Scope::target(vip.name.clone()), summary, None)
        } else {
            let own: BTreeSet<NodeIndex> = lossy
                .by_source
                .iter()
                .filter(|(source, counts)| {
                    let own = cells.iter().copied().filter(|c| c.source == *source);
                    let tally = Tally::of(own);
                    let is_mixed = 2 * tally.alive >= tally.failing + tally.doubt;
                    is_mixed && counts.is_partial() && counts.ratio() >= NODE_RATIO
                })
                .map(|(source, _)| *source)
                .collect();
            let names: Vec<_> = own.iter().filter_map(|n| view.node(*n)).cloned().collect();
            // Others that have not lost anything yet may do so as well: only those that refute the share are spared.
            let Some(least) = lossy.least_of(&own) else {
                return;
            };
            let is_spared = |(source, counts): &(NodeIndex, Counts)| {
                own.contains(source) || !counts.is_measured() || counts.refutes(least)
            };
            if !lossy.by_source.iter().all(is_spared) {
                return;
            }
            let summary = format!(
                "A share of the connections to the virtual IP {} ({}) fails on {}",
                vip.name,
                vip.address,
                listed(&names)
            );
            let scope = Scope::nodes(names).with_target(vip.name.clone());
            (scope, summary, Some(own))
        };
    let blamed: Vec<&Cell<'_>> = cells
        .into_iter()
        .filter(|cell| nodes.as_ref().is_none_or(|own| own.contains(&cell.source)))
        .collect();
    let mut finding = found::partial(view, Pattern::ServiceVip, scope, &summary, &blamed);
    finding.evidence.extend(backends(&blamed));
    let is_dns = blamed.iter().any(|cell| is_dns_vip(view, cell));
    broken.is_dns_lossy |= is_dns;
    broken.findings.push(finding);
    let ratio = Counts::of(blamed.iter().copied()).ratio();
    view.explain(ratio, |view, cell| {
        let here = nodes.as_ref().is_none_or(|own| own.contains(&cell.source));
        let by_name = needs_a_name(view.name(cell));
        here && (is_vips(view, cell) || (is_dns && by_name))
    });
}

/// Who answered behind a virtual IP, and who no longer does.
fn backends(cells: &[&Cell<'_>]) -> Vec<String> {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut tried, mut failed) = (0, 0);
    for cell in cells {
        if let Some(Detail::Service(service)) = cell.detail {
            tried += service.tried;
            failed += service.failed;
            for count in &service.backends {
                *seen.entry(&count.backend).or_default() += count.connections;
            }
        }
    }
    if tried == 0 {
        return Vec::new();
    }
    let told = listed(
        seen.iter()
            .map(|(backend, count)| format!("{backend} ({count})")),
    );
    let mut sentences = vec![format!(
        "of the last {tried} connections {failed} failed; the others were answered by {told}"
    )];
    let fewest = seen.iter().min_by_key(|(_, count)| **count);
    if let Some((backend, count)) = fewest.filter(|_| seen.len() > 1 && failed > 0) {
        let others = seen.values().sum::<u32>() - count;
        let usual = f64::from(others) / (seen.len() - 1) as f64;
        if f64::from(*count) < 0.6 * usual {
            sentences.push(format!(
                "backend {backend} answers fewer and fewer of them: it is the likeliest to be gone"
            ));
        }
    }
    sentences
}
