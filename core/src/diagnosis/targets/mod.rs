//! Causes at and on the way to what is no node: DNS servers, names, virtual IPs, targets outside.
//!
//! In the order in which they carry each other: whom can be asked (DNS), virtual IPs, the way out and what is there, names.
//! Each step takes what it explains out of what the later ones look at: a cell knows which loss is expected of it, and speaks
//! only of losses beyond that.
//!
//! | file | what it decides |
//! |---|---|
//! | [`cells`] | what one cell says, and several together |
//! | [`recent`] | what was lost between nodes shortly before |
//! | [`share`] | whether a share is lost and goes on |
//! | [`dns`], [`overloaded`] | blocked nodes, dead servers, servers that lose a share |
//! | [`vip`] | virtual IPs on a node, everywhere, and a share of them |
//! | [`hosts`] | which targets outside belong together |
//! | [`external`] | the way out, targets, certificates, answers |
//! | [`names`] | what servers forward to, single names, names as applications ask them |

mod cells;
mod dns;
mod external;
mod found;
mod hosts;
mod names;
mod overloaded;
mod recent;
mod share;
#[cfg(test)]
mod tests;
mod vip;

use std::net::IpAddr;

use self::cells::{View, is_worth_a_look};

use self::found::{is_dns, is_service};
use self::hosts::needs_a_name;
use super::homes::Homes;
use super::{DiagnosisConfig, Explained, Picture, TargetName, TopologyNode, nodes};
use crate::dark::NodeState;
use crate::detail::Detail;
use crate::finding::{Finding, Pattern};
use crate::ids::{NodeIndex, NodeName};
use crate::path::ProbeKind;

/// Causes that the ways between nodes do not explain. `earlier`: what was found so far.
pub(super) fn findings(
    picture: &Picture,
    explained: &Explained,
    earlier: &[Finding],
    _config: &DiagnosisConfig,
) -> Vec<Finding> {
    if !is_worth_a_look(picture) {
        return Vec::new();
    }
    let homes = Homes::new(picture);
    let domains = names::inner_domains(picture);
    let known = Known::new(picture, &homes, &domains);
    // What somebody else asked for may be answered to a node whose address another one has, and the other way round.
    let mistaken: Vec<NodeName> = earlier
        .iter()
        .filter(|finding| finding.pattern == Pattern::AddressConflict)
        .flat_map(|finding| finding.scope.named_nodes())
        .collect();
    let counts = |node: NodeIndex| {
        let is_mistaken = |known: &TopologyNode| mistaken.contains(&known.name);
        is_heard(picture, node) && !picture.node(node).is_some_and(is_mistaken)
    };
    let hosts = |name: &TargetName, kind: ProbeKind| known.hosts(name, kind);
    let mut view = View::new(picture, &domains, explained, &counts, &hosts);

    let host = |ip: IpAddr| homes.of(ip);
    let servers = dns::servers(&view, &host);
    let asked = dns::asked(&mut view, &servers);
    let vips = vip::broken(&mut view);
    let mut outside = external::outside(&mut view, &homes, &|node| {
        vips.everywhere || vips.nodes.contains(&node)
    });

    let troubles = names::troubles(&view, &servers);
    let (upstream, wrong): (Vec<_>, Vec<_>) = troubles
        .iter()
        .partition(|trouble| names::is_upstream(trouble, &troubles, &view));
    let mut findings = asked.findings;
    findings.extend(vips.findings);
    // A server whose own node does not get out cannot forward.
    let is_cut_off = |trouble: &&names::Trouble| {
        let hosts = trouble.servers.iter().flatten();
        let mut hosts = hosts.map(|place| servers[*place].host).peekable();
        hosts.peek().is_some() && hosts.all(|h| h.is_some_and(|h| outside.cut.contains(&h)))
    };
    let blamed: Vec<&names::Trouble> = upstream
        .iter()
        .copied()
        .filter(|t| !is_cut_off(t))
        .collect();
    if !blamed.is_empty() && !outside.is_cut_everywhere && !outside.in_doubt {
        findings.extend(names::or_way_out(&view, &blamed, &servers, &mut outside));
    }
    for trouble in wrong.iter().filter(|trouble| trouble.is_answered) {
        findings.push(names::wrong_name(&view, trouble, &servers));
    }
    findings.extend(outside.findings);

    let drifting: Vec<_> = earlier
        .iter()
        .filter(|finding| finding.pattern == Pattern::ConfigDrift)
        .flat_map(|finding| finding.scope.named_nodes())
        .collect();
    let is_explained = |source: NodeIndex, name: &str| {
        let is_drifting = || {
            view.node(source)
                .is_some_and(|name| drifting.contains(name))
        };
        let is_external = !names::is_inside(name, &domains);
        asked.is_blocked_everywhere
            || asked.is_lossy
            || asked.blocked.contains(&source)
            || vips.everywhere
            || vips.is_dns_lossy
            || vips.no_dns.contains(&source)
            || vips.nodes.contains(&source)
            || (is_external
                && (!upstream.is_empty() || outside.is_cut_everywhere || outside.in_doubt))
            || troubles.iter().any(|t| names::may_stand_for(name, &t.name))
            || is_drifting()
    };
    findings.extend(names::search(&view, &is_explained));
    findings
}

/// Does a node's word count? Not if it is starved, leaving, new, silent or declared dark.
fn is_heard(picture: &Picture, node: NodeIndex) -> bool {
    let Some(known) = picture.node(node) else {
        return false;
    };
    let Some(state) = picture.nodes.get(node.index()) else {
        return false;
    };
    let is_gone = matches!(
        state.state,
        NodeState::Leaving
            | NodeState::Failed(
                Pattern::NodeDark | Pattern::ZoneDark | Pattern::ProberDown | Pattern::Isolated
            )
    );
    known.lifecycle.is_judged()
        && !known.is_warming_up
        && state.is_reporting
        && !is_gone
        && !state.probers.iter().any(nodes::is_doubtful)
}

/// Where the packets for each target end.
struct Known<'a> {
    homes: &'a Homes,
    /// Where the DNS servers themselves live.
    servers: Vec<Option<NodeIndex>>,
    /// Backends that were seen behind each service, by its name.
    backends: Vec<(String, Vec<Option<NodeIndex>>)>,
    /// Domains whose names those servers know by themselves.
    domains: &'a [String],
    /// The address of each target outside, if it is one of the mesh's own.
    outside: Vec<(String, ProbeKind, NodeIndex)>,
}

impl<'a> Known<'a> {
    fn new(picture: &Picture, homes: &'a Homes, domains: &'a [String]) -> Self {
        let mut known = Self {
            homes,
            servers: Vec::new(),
            backends: Vec::new(),
            domains,
            outside: Vec::new(),
        };
        let mut addresses: Vec<IpAddr> = Vec::new();
        for layer in &picture.layers {
            let super::Columns::Targets(targets) = &layer.columns else {
                continue;
            };
            for (column, target) in targets.iter().enumerate() {
                match &target.name {
                    TargetName::Dns { address, plane, .. } if is_dns(layer.layer.kind) => {
                        if !is_service(*plane) && !addresses.contains(&address.ip()) {
                            addresses.push(address.ip());
                        }
                    }
                    TargetName::Service { name, .. } => {
                        let hosts = backends(picture, layer, column);
                        known.backends.push((name.clone(), hosts));
                    }
                    TargetName::External {
                        name,
                        kind,
                        endpoint,
                        ..
                    } => {
                        let host = endpoint.rsplit_once(':').map_or("", |(host, _)| host);
                        let ip = host.trim_matches(['[', ']']).parse().ok();
                        let home = ip.and_then(|ip| homes.of(ip));
                        known
                            .outside
                            .extend(home.map(|home| (name.clone(), *kind, home)));
                    }
                    TargetName::Dns { .. } | TargetName::Search { .. } => {}
                }
            }
        }
        known.servers = addresses.into_iter().map(|ip| homes.of(ip)).collect();
        known
    }

    fn hosts(&self, name: &TargetName, kind: ProbeKind) -> cells::Homes {
        let or_nobody = |hosts: Vec<Option<NodeIndex>>| {
            if hosts.is_empty() { vec![None] } else { hosts }
        };
        let mut is_named = false;
        let is_forwarded = match name {
            TargetName::Dns { name, .. } | TargetName::Search { name } => {
                !names::is_inside(name, self.domains)
            }
            TargetName::Service { .. } | TargetName::External { .. } => false,
        };
        let any = match name {
            TargetName::Dns { plane, .. } if is_service(*plane) => or_nobody(self.servers.clone()),
            TargetName::Dns { address, .. } => vec![self.homes.of(address.ip())],
            TargetName::Service { name, .. } => {
                let known = self.backends.iter().find(|(known, _)| known == name);
                or_nobody(known.map(|(_, hosts)| hosts.clone()).unwrap_or_default())
            }
            TargetName::Search { .. } => or_nobody(self.servers.clone()),
            TargetName::External { name: own, .. } => {
                let is_it =
                    |known: &&(String, ProbeKind, NodeIndex)| known.0 == *own && known.1 == kind;
                match self.outside.iter().find(is_it) {
                    Some((_, _, home)) => vec![Some(*home)],
                    None if needs_a_name(name) => {
                        is_named = true;
                        or_nobody(self.servers.clone())
                    }
                    None => vec![None],
                }
            }
        };
        cells::Homes {
            any,
            is_named,
            is_forwarded,
        }
    }
}

/// The nodes of the backends that anybody saw answer behind a virtual IP.
fn backends(
    picture: &Picture,
    layer: &super::LayerPicture,
    column: usize,
) -> Vec<Option<NodeIndex>> {
    let mut names: Vec<&str> = Vec::new();
    for row in layer.rows.iter().flatten() {
        if let Some(Detail::Service(service)) = row.detail(column) {
            for backend in &service.backends {
                if !names.contains(&backend.backend.as_str()) {
                    names.push(&backend.backend);
                }
            }
        }
    }
    let node = |name: &str| {
        let nodes = picture.topology.nodes.iter();
        let place = nodes
            .enumerate()
            .find(|(_, node)| node.as_ref().is_some_and(|node| node.name.as_str() == name));
        place.map(|(index, _)| NodeIndex(index as u32))
    };
    names.into_iter().map(node).collect()
}
