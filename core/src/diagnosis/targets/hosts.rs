//! Targets outside by their hosts: which belong together, and which are the cluster's own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::cells::{Cell, View};
use super::found::{is_external, is_service};
use crate::detail::{Detail, ExternalDetail};
use crate::diagnosis::TargetName;
use crate::diagnosis::homes::Homes;

/// Virtual IPs of one cluster share so many bits, at least.
const SERVICE_BITS_V4: u32 = 20;
const SERVICE_BITS_V6: u32 = 108;

/// Targets of one host.
#[derive(Debug)]
pub(super) struct Host {
    /// As findings call it: the target's own name if there is one alone, the host's if there are several.
    pub(super) label: String,
    /// Places in [`View::targets`].
    pub(super) targets: Vec<usize>,
    /// It is one of the cluster's own addresses.
    pub(super) is_inside: bool,
    /// Nobody knows on which nodes it is.
    pub(super) is_homeless: bool,
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

pub(super) fn detail_of<'a>(cell: &Cell<'a>) -> Option<&'a ExternalDetail> {
    match cell.detail {
        Some(Detail::External(detail)) => Some(detail),
        _ => None,
    }
}

/// The hosts of all targets outside.
pub(super) fn hosts(view: &View<'_>, homes: &Homes, vips: &[IpAddr]) -> Vec<Host> {
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
                is_homeless: ips.iter().all(|ip| homes.of(*ip).is_none()),
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

/// Virtual IPs that are known as such.
pub(super) fn vips(view: &View<'_>) -> Vec<IpAddr> {
    let of = |name: &TargetName| match name {
        TargetName::Service { address, .. } => Some(address.ip()),
        TargetName::Dns { address, plane, .. } if is_service(*plane) => Some(address.ip()),
        _ => None,
    };
    let ips = view.targets.iter().filter_map(|target| of(&target.name));
    ips.collect::<BTreeSet<_>>().into_iter().collect()
}
