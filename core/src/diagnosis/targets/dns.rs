//! DNS servers: which of them answer whom.
//!
//! A question that got an answer, even a wrong one, shows that the server is there and can be asked. So reach comes first
//! (blocked nodes, dead servers, shares that are lost), and what the answers say comes after it, in [`super::names`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::cells::{Cell, Tally, View, Word, is_ending, mostly};
use super::found::{self, is_dns, is_service, listed};
use super::hosts::needs_a_name;
use super::overloaded;
use crate::diagnosis::{Columns, TargetName};
use crate::finding::{Alternative, Confidence, Finding, Pattern, Scope};
use crate::ids::NodeIndex;
use crate::outcome::OutcomeClass;
use crate::path::{Plane, ProbeKind};
use crate::time::Mark;
use crate::verdict::Verdict;

/// A DNS server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server<'a> {
    pub(super) name: &'a str,
    pub(super) address: SocketAddr,
    pub(super) plane: Plane,
    pub(super) host: Option<NodeIndex>,
}

impl Server<'_> {
    pub(super) const fn is_vip(&self) -> bool {
        is_service(self.plane)
    }
}

/// Whom a source can ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reach {
    #[default]
    Unknown,
    Answers,
    Silent,
}

/// Whether a node can ask nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    No,
    /// The servers that do not answer it answer nobody else.
    WithOthers,
    /// One at least answers others.
    Alone,
}

/// Over which transports something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Over {
    Both,
    One(ProbeKind),
}

const TRANSPORTS: [ProbeKind; 2] = [ProbeKind::DnsUdp, ProbeKind::DnsTcp];

/// What was found out about DNS servers.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) findings: Vec<Finding>,
    /// Nodes that cannot ask anybody.
    pub(super) blocked: BTreeSet<NodeIndex>,
    /// No node can.
    pub(super) is_blocked_everywhere: bool,
    /// Some servers lose questions.
    pub(super) is_lossy: bool,
}

/// Every DNS server that is asked.
pub(super) fn servers<'a>(
    view: &View<'a>,
    host: &dyn Fn(std::net::IpAddr) -> Option<NodeIndex>,
) -> Vec<Server<'a>> {
    let mut servers: Vec<Server<'a>> = Vec::new();
    for target in &view.targets {
        if let TargetName::Dns {
            server,
            address,
            plane,
            ..
        } = &target.name
        {
            let is_known = servers
                .iter()
                .any(|known| known.address == *address && known.name == server);
            if !is_known {
                servers.push(Server {
                    name: server,
                    address: *address,
                    plane: *plane,
                    host: host(address.ip()),
                });
            }
        }
    }
    servers
}

/// Is this cell a question to this server?
pub(super) fn asks(view: &View<'_>, cell: &Cell<'_>, server: &Server<'_>) -> bool {
    matches!(
        view.name(cell),
        TargetName::Dns { server: name, address, .. } if *address == server.address && name == server.name
    )
}

/// Blocked nodes, dead servers, servers that lose a share; what they explain is explained in the view.
pub(super) fn asked(view: &mut View<'_>, servers: &[Server<'_>]) -> Asked {
    let mut asked = Asked::default();
    if servers.is_empty() {
        return asked;
    }
    let table = Table::new(view, servers);
    overloaded::remember(view, servers);
    blocked(view, servers, &table, &mut asked);
    dead(view, servers, &table, &mut asked);
    overloaded::findings(view, servers, &mut asked);
    asked
}

/// Who reaches whom, by transport.
struct Table {
    sources: BTreeSet<NodeIndex>,
    reach: BTreeMap<(usize, NodeIndex), [Reach; 2]>,
    /// Transports that are measured at all.
    measured: [bool; 2],
}

impl Table {
    fn new(view: &View<'_>, servers: &[Server<'_>]) -> Self {
        let mut groups: BTreeMap<(usize, NodeIndex, usize), Vec<&Cell<'_>>> = BTreeMap::new();
        for cell in view.cells.iter().filter(|cell| is_dns(cell.layer.kind)) {
            let Some(server) = servers.iter().position(|s| asks(view, cell, s)) else {
                continue;
            };
            let transport = usize::from(cell.layer.kind == ProbeKind::DnsTcp);
            groups
                .entry((server, cell.source, transport))
                .or_default()
                .push(cell);
        }
        let mut table = Self {
            sources: BTreeSet::new(),
            reach: BTreeMap::new(),
            measured: [false; 2],
        };
        for ((server, source, transport), cells) in groups {
            let answers = |cell: &&Cell<'_>| cell.word() == Word::Alive || cell.is_wrong();
            let reach = if cells.iter().any(answers) {
                Reach::Answers
            } else if Tally::of(cells.iter().copied()).is_total() {
                Reach::Silent
            } else {
                Reach::Unknown
            };
            table.sources.insert(source);
            table.measured[transport] = true;
            table.reach.entry((server, source)).or_default()[transport] = reach;
        }
        table
    }

    fn of(&self, server: usize, source: NodeIndex, transport: usize) -> Reach {
        let known = self.reach.get(&(server, source));
        known.map_or(Reach::Unknown, |reach| reach[transport])
    }

    /// Sources that have this to say of a server.
    fn saying(&self, server: usize, transport: usize, reach: Reach) -> BTreeSet<NodeIndex> {
        let sources = self.sources.iter().copied();
        sources
            .filter(|source| self.of(server, *source, transport) == reach)
            .collect()
    }

    /// From transports that say so to what is to be said: both, or the one if the other is seen to work.
    fn over(&self, says: [bool; 2], other_works: impl Fn(usize) -> bool) -> Option<Over> {
        match says {
            [true, true] => Some(Over::Both),
            [false, false] => None,
            [udp, _] => {
                let (this, other) = if udp { (0, 1) } else { (1, 0) };
                if self.measured[other] {
                    other_works(other).then_some(Over::One(TRANSPORTS[this]))
                } else {
                    Some(Over::Both)
                }
            }
        }
    }
}

fn scoped(scope: Scope, over: Over) -> Scope {
    match over {
        Over::Both => scope,
        Over::One(kind) => scope.with_kind(kind),
    }
}

fn over_text(over: Over) -> &'static str {
    match over {
        Over::Both => "",
        Over::One(ProbeKind::DnsTcp) => " over TCP",
        Over::One(_) => " over UDP",
    }
}

fn is_over(over: Over, kind: ProbeKind) -> bool {
    match over {
        Over::Both => is_dns(kind),
        Over::One(only) => only == kind,
    }
}

/// Nodes that can ask no server at all, while others can.
fn blocked(view: &mut View<'_>, servers: &[Server<'_>], table: &Table, asked: &mut Asked) {
    let answers_others = |server: usize, source: NodeIndex, transport: usize| {
        let others = table.sources.iter().filter(|other| **other != source);
        others
            .copied()
            .any(|other| table.of(server, other, transport) == Reach::Answers)
    };
    let cut = |source: NodeIndex, transport: usize| {
        // A server on the node itself is asked without leaving it.
        let away = servers
            .iter()
            .enumerate()
            .filter(|(_, server)| server.host != Some(source) || server.is_vip());
        let (mut silent, mut unknown, mut alone) = (0, 0, 0);
        for (place, server) in away {
            match table.of(place, source, transport) {
                Reach::Answers => return Cut::No,
                _ if server.is_vip() => {}
                Reach::Silent => {
                    silent += 1;
                    alone += u32::from(answers_others(place, source, transport));
                }
                Reach::Unknown => unknown += 1,
            }
        }
        match (silent > 0 && silent >= unknown, alone > 0) {
            (false, _) => Cut::No,
            (true, false) => Cut::WithOthers,
            (true, true) => Cut::Alone,
        }
    };
    let works = |source: NodeIndex, transport: usize| {
        (0..servers.len()).any(|server| table.of(server, source, transport) == Reach::Answers)
    };
    let mut nodes: BTreeMap<Over, BTreeSet<NodeIndex>> = BTreeMap::new();
    let mut known = 0;
    let mut alone = BTreeSet::new();
    let mut with_others = false;
    for source in &table.sources {
        let cuts = [0, 1].map(|transport| cut(*source, transport));
        with_others |= cuts.contains(&Cut::WithOthers);
        alone.extend(cuts.contains(&Cut::Alone).then_some(*source));
        let says = cuts.map(|cut| cut != Cut::No);
        known += u32::from(says != [false, false] || works(*source, 0) || works(*source, 1));
        if let Some(over) = table.over(says, |other| works(*source, other)) {
            nodes.entry(over).or_default().insert(*source);
        }
    }
    for (over, nodes) in nodes {
        let is_everywhere = mostly(nodes.len() as u32, known) && known > 1;
        let of = |view: &View<'_>, cell: &Cell<'_>| {
            is_over(over, cell.layer.kind)
                && nodes.contains(&cell.source)
                && is_dns_name(view, cell)
        };
        if is_everywhere && with_others {
            let instances = servers.iter().filter(|server| !server.is_vip()).count();
            let cells: Vec<&Cell<'_>> = view.cells.iter().filter(|c| of(view, c)).collect();
            if instances < 2 || !is_silence(&cells) {
                // The servers are down, and not the way to them.
                continue;
            }
            let summary = format!("No node can ask any DNS server{}", over_text(over));
            let scope = scoped(Scope::everywhere(), over);
            let mut finding = found::total(view, Pattern::DnsBlocked, scope, summary, &cells);
            finding.confidence = Confidence::Likely;
            finding.alternatives.push(Alternative {
                pattern: Pattern::DnsServer,
                scope: Scope::everywhere(),
            });
            asked.findings.push(finding);
            asked.is_blocked_everywhere = true;
            view.explain(1.0, |view, cell| of(view, cell));
            continue;
        }
        for source in nodes.intersection(&alone) {
            let Some(name) = view.node(*source).cloned() else {
                continue;
            };
            let of_others = view
                .cells
                .iter()
                .filter(|c| c.source != *source && is_dns(c.layer.kind));
            let failing = view
                .cells
                .iter()
                .filter(|c| c.source == *source && of(view, c));
            if is_ending(failing, of_others) {
                continue;
            }
            let own = |view: &View<'_>, cell: &Cell<'_>| cell.source == *source && of(view, cell);
            let cells: Vec<&Cell<'_>> = view.cells.iter().filter(|c| own(view, c)).collect();
            if !connects(view, *source, &cells) {
                continue;
            }
            let summary = format!(
                "Node {name} cannot ask any DNS server{} (port 53); other nodes can",
                over_text(over)
            );
            let scope = scoped(Scope::node(name), over);
            let finding = found::total(view, Pattern::DnsBlocked, scope, summary, &cells);
            asked.findings.push(finding);
            asked.blocked.insert(*source);
            view.explain(1.0, |view, cell| own(view, cell));
        }
    }
}

fn is_dns_name(view: &View<'_>, cell: &Cell<'_>) -> bool {
    matches!(view.name(cell), TargetName::Dns { .. })
}

/// Nobody said no: packets vanish.
fn is_silence(cells: &[&Cell<'_>]) -> bool {
    let failing = cells.iter().filter(|cell| cell.word() == Word::Failing);
    let (mut all, mut refused) = (0_u32, 0_u32);
    for cell in failing {
        all += 1;
        refused += u32::from(matches!(
            cell.seen.failure,
            Some(OutcomeClass::Refused | OutcomeClass::Reset)
        ));
    }
    2 * refused < all
}

/// Servers that answer nobody, or not some.
fn dead(view: &mut View<'_>, servers: &[Server<'_>], table: &Table, asked: &mut Asked) {
    let mut gone = 0;
    for (place, server) in servers.iter().enumerate().filter(|(_, s)| !s.is_vip()) {
        let silent = [0, 1].map(|transport| table.saying(place, transport, Reach::Silent));
        let answers = [0, 1].map(|transport| table.saying(place, transport, Reach::Answers));
        let open = |nodes: &BTreeSet<NodeIndex>| {
            let open = nodes.iter().filter(|node| !asked.blocked.contains(node));
            open.copied().collect::<BTreeSet<_>>()
        };
        let (silent, answers) = (silent.map(|s| open(&s)), answers.map(|s| open(&s)));
        if asked.is_blocked_everywhere {
            continue;
        }
        let of_server = |view: &View<'_>, cell: &Cell<'_>, over| {
            is_over(over, cell.layer.kind) && asks(view, cell, server)
        };
        let alone = table.sources.len() < 2;
        let is_dead = [0, 1].map(|t| {
            let (no, yes) = (silent[t].len() as u32, answers[t].len() as u32);
            mostly(no, no + yes) && (no > 1 || alone)
        });
        let says = table.over(is_dead, |other| !answers[other].is_empty());
        if let Some(over) = says.filter(|over| is_way_broken(view, server, *over)) {
            // Whatever it is that is told in the end: it is nothing of the server's.
            view.explain(1.0, |view, cell| of_server(view, cell, over));
            gone += 1;
            continue;
        }
        if let Some(over) = says {
            let cells: Vec<&Cell<'_>> = view
                .cells
                .iter()
                .filter(|c| of_server(view, c, over))
                .collect();
            let summary = format!(
                "DNS server {} ({}) does not answer{}, from any node",
                server.name,
                server.address,
                over_text(over)
            );
            let scope = scoped(Scope::target(server.name), over);
            let mut finding = found::total(view, Pattern::DnsServer, scope, summary, &cells);
            if let Some(host) = server.host.and_then(|host| view.node(host)) {
                finding
                    .evidence
                    .push(format!("it lives on node {host}, whose network is clean"));
            }
            asked.findings.push(finding);
            view.explain(1.0, |view, cell| of_server(view, cell, over));
            gone += 1;
            continue;
        }
        if let Some(reason) = answers_wrongly(view, server) {
            let cells: Vec<&Cell<'_>> = view
                .cells
                .iter()
                .filter(|c| asks(view, c, server))
                .collect();
            let summary = format!(
                "DNS server {} ({}) answers every question wrongly: {reason}",
                server.name, server.address
            );
            let scope = Scope::target(server.name);
            let finding = found::total(view, Pattern::DnsServer, scope, summary, &cells);
            asked.findings.push(finding);
            view.explain(1.0, |view, cell| asks(view, cell, server));
            gone += 1;
            continue;
        }
        let only = [0, 1].map(|t| !silent[t].is_empty() && !answers[t].is_empty());
        let Some(over) = table.over(only, |_| true) else {
            continue;
        };
        if is_way_broken(view, server, over) {
            continue;
        }
        let nodes: BTreeSet<NodeIndex> = match over {
            Over::Both => &silent[0] | &silent[1],
            Over::One(kind) => silent[usize::from(kind == ProbeKind::DnsTcp)].clone(),
        };
        let names: Vec<_> = nodes
            .iter()
            .filter_map(|n| view.node(*n))
            .cloned()
            .collect();
        let own = |view: &View<'_>, cell: &Cell<'_>| {
            of_server(view, cell, over) && nodes.contains(&cell.source)
        };
        let cells: Vec<&Cell<'_>> = view.cells.iter().filter(|c| own(view, c)).collect();
        let others = view
            .cells
            .iter()
            .filter(|c| asks(view, c, server) && !own(view, c));
        if is_ending(cells.iter().copied(), others) {
            continue;
        }
        let summary = format!(
            "DNS server {} ({}) does not answer{} on {}; other nodes get answers from it",
            server.name,
            server.address,
            over_text(over),
            listed(&names)
        );
        let scope = scoped(Scope::nodes(names).with_target(server.name), over);
        let mut finding = found::total(view, Pattern::DnsServer, scope, summary, &cells);
        finding.confidence = Confidence::Suspected;
        asked.findings.push(finding);
        view.explain(1.0, |view, cell| own(view, cell));
    }
    let instances = servers.iter().filter(|server| !server.is_vip()).count();
    if gone > 0 {
        asked.is_lossy = true;
        explain_vip(view, f64::from(gone) / instances as f64);
    }
}

/// Has a node connected to most others since these cells of its own began to fail? If not, it may be connections of all kinds that
/// are blocked, and not questions.
fn connects(view: &View<'_>, source: NodeIndex, failing: &[&Cell<'_>]) -> bool {
    let Some(since) = failing.iter().filter_map(|cell| cell.first_known()).min() else {
        return true;
    };
    view.picture.layers.iter().all(|layer| {
        let is_tcp = layer.layer.kind == ProbeKind::Tcp
            && layer.layer.plane == Plane::Pod
            && matches!(layer.columns, Columns::Nodes);
        let row = layer.rows.get(source.index()).and_then(Option::as_ref);
        let Some(row) = row.filter(|_| is_tcp) else {
            return true;
        };
        let (mut all, mut fine) = (0, 0);
        for (_, cell) in row.iter() {
            if !matches!(cell.verdict, Verdict::NotSampled | Verdict::NoData) {
                let is_asked = cell.reported_at.is_none_or(|at| at.moment() >= since);
                all += 1;
                fine += usize::from(is_asked && cell.consecutive_losses == 0);
            }
        }
        2 * fine >= all
    })
}

/// Do connections or packets of other probes to the server's node vanish as well, from those who cannot ask it? Then the way is
/// to blame, whether or not it is told yet. A connection to the node that nobody has tried since then says nothing.
fn is_way_broken(view: &View<'_>, server: &Server<'_>, over: Over) -> bool {
    let Some(host) = server.host else {
        return false;
    };
    let silent: Vec<&Cell<'_>> = view
        .cells
        .iter()
        .filter(|cell| {
            is_over(over, cell.layer.kind)
                && cell.source != host
                && asks(view, cell, server)
                && matches!(cell.word(), Word::Doubt | Word::Failing)
        })
        .collect();
    let sources = found::sources(&silent);
    view.picture.layers.iter().any(|layer| {
        let is_way = layer.layer.plane == Plane::Pod
            && matches!(layer.columns, Columns::Nodes)
            && match layer.layer.kind {
                ProbeKind::Udp => is_over(over, ProbeKind::DnsUdp),
                ProbeKind::Tcp => is_over(over, ProbeKind::DnsTcp),
                _ => false,
            };
        let (mut all, mut fine) = (0, 0);
        for source in sources.iter().filter(|_| is_way) {
            let row = layer.rows.get(source.index()).and_then(Option::as_ref);
            let Some(cell) = row.map(|row| row.cell(host.index())) else {
                continue;
            };
            if matches!(cell.verdict, Verdict::NotSampled | Verdict::NoData) {
                continue;
            }
            let own = silent.iter().filter(|lost| lost.source == *source);
            let since = own.filter_map(|lost| lost.first_known()).min();
            let answered = cell.reported_at.map(Mark::moment).zip(since);
            let is_asked = answered.is_none_or(|(answered, since)| answered >= since);
            all += 1;
            fine += usize::from(is_asked && cell.consecutive_losses == 0);
        }
        2 * fine < all
    })
}

/// Every question to it, of whatever name, gets a wrong answer.
fn answers_wrongly(view: &View<'_>, server: &Server<'_>) -> Option<&'static str> {
    let cells: Vec<&Cell<'_>> = view
        .cells
        .iter()
        .filter(|c| asks(view, c, server))
        .collect();
    let names: BTreeSet<&str> = cells
        .iter()
        .filter_map(|cell| match view.name(cell) {
            TargetName::Dns { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let wrong = cells.iter().filter(|cell| cell.is_wrong()).count() as u32;
    let tally = Tally::of(cells.iter().copied());
    let is_so = names.len() > 1 && tally.is_total() && mostly(wrong, tally.failing);
    is_so.then_some("its response codes are not the expected ones")
}

/// Questions to the virtual IP go to each of the servers in turn, and so does whoever resolves a name.
pub(super) fn explain_vip(view: &mut View<'_>, share: f64) {
    view.explain(share, |view, cell| match view.name(cell) {
        TargetName::Dns { plane, .. } => is_service(*plane),
        name => needs_a_name(name),
    });
}
