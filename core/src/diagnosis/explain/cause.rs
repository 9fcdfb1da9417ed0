//! Which known cause covers a failure between two ends.

use super::{Ends, Rung, Step, Suspect};
use crate::finding::{Pattern, Place, Scope};
use crate::path::{Plane, ProbeKind};
use crate::verdict::Verdict;

/// The cause that covers the step: of several, the one that stands lowest, for it explains what stands on it.
pub(super) fn of_failure(ends: &Ends<'_>, step: &Step, suspects: &[Suspect<'_>]) -> Option<usize> {
    pick(suspects, |suspect| {
        concerns(ends, suspect.scope) && fits(suspect, step) && names(suspect.scope, ends, step)
    })
}

/// The cause of nothing being known of the two ends.
pub(super) fn of_silence(ends: &Ends<'_>, suspects: &[Suspect<'_>]) -> Option<usize> {
    pick(suspects, |suspect| {
        let is_silence = matches!(
            suspect.pattern,
            Pattern::NodeDark
                | Pattern::ZoneDark
                | Pattern::Isolated
                | Pattern::ReportsCut
                | Pattern::ProberDown
                | Pattern::ProberNotRunning
                | Pattern::ObserverUnhealthy
                | Pattern::AggregatorIsolated
        );
        is_silence && concerns(ends, suspect.scope)
    })
}

fn pick(suspects: &[Suspect<'_>], covers: impl Fn(&Suspect<'_>) -> bool) -> Option<usize> {
    suspects
        .iter()
        .enumerate()
        .filter(|(_, suspect)| covers(suspect))
        .min_by_key(|(index, suspect)| (height(suspect.pattern), *index))
        .map(|(index, _)| index)
}

/// How high a cause stands: a dark node lies below its overlay, and that below its DNS.
const fn height(pattern: Pattern) -> u8 {
    match pattern {
        Pattern::NodeDark | Pattern::ZoneDark | Pattern::AddressConflict => 0,
        Pattern::Isolated
        | Pattern::IngressDead
        | Pattern::EgressDead
        | Pattern::ProberDown
        | Pattern::ProberNotRunning
        | Pattern::NodeIngress
        | Pattern::NodeEgress
        | Pattern::NodeLink
        | Pattern::Zone
        | Pattern::ZonePair
        | Pattern::Mesh => 1,
        Pattern::OverlayIngress
        | Pattern::OverlayEgress
        | Pattern::OverlayNode
        | Pattern::Overlay => 2,
        Pattern::Path | Pattern::UnreachableUnconfirmed => 3,
        Pattern::Family | Pattern::Kind | Pattern::Flows | Pattern::Mtu | Pattern::NewFlows => 4,
        Pattern::DnsServer
        | Pattern::DnsOverloaded
        | Pattern::DnsBlocked
        | Pattern::DnsUpstream
        | Pattern::DnsName
        | Pattern::ConfigDrift => 5,
        Pattern::ServiceVip => 6,
        Pattern::External | Pattern::Tls | Pattern::Http => 7,
        Pattern::Slow
        | Pattern::ObserverUnhealthy
        | Pattern::ReportsCut
        | Pattern::AggregatorIsolated
        | Pattern::StoreUnwritable => 8,
    }
}

/// Does the blamed place lie between the two ends? Probes are round trips: what breaks one way breaks both.
fn concerns(ends: &Ends<'_>, scope: &Scope) -> bool {
    let is_end = |name: &str| name == ends.source || (ends.is_between_nodes && name == ends.target);
    let zones = [ends.source_zone, ends.target_zone];
    match &scope.place {
        Place::Everywhere => true,
        Place::Nodes(nodes) => nodes.iter().any(|node| is_end(node.as_str())),
        Place::Path { from, to } => is_end(from.as_str()) && is_end(to.as_str()),
        // Inside of one zone, what keeps it from the others is no hindrance.
        Place::Zone(zone) => zones.contains(&zone.as_str()) && zones[0] != zones[1],
        Place::ZonePair { from, to, .. } => {
            zones == [from.as_str(), to.as_str()] || zones == [to.as_str(), from.as_str()]
        }
    }
}

/// Can this cause make this layer fail?
fn fits(suspect: &Suspect<'_>, step: &Step) -> bool {
    let is_any = |kinds: &[ProbeKind]| step.kind.is_none_or(|kind| kinds.contains(&kind));
    let of_pattern = match suspect.pattern {
        Pattern::OverlayIngress
        | Pattern::OverlayEgress
        | Pattern::OverlayNode
        | Pattern::Overlay => step.plane != Some(Plane::Host),
        Pattern::Flows => is_any(&[ProbeKind::Udp, ProbeKind::Tcp, ProbeKind::Quic]),
        Pattern::Mtu => {
            step.kind.is_some()
                && is_any(&[
                    ProbeKind::Mtu,
                    ProbeKind::Quic,
                    ProbeKind::Tls,
                    ProbeKind::Http,
                ])
        }
        Pattern::Slow => step.verdict == Verdict::Slow,
        Pattern::DnsServer
        | Pattern::DnsOverloaded
        | Pattern::DnsBlocked
        | Pattern::DnsUpstream
        | Pattern::DnsName => is_dns(step),
        Pattern::ConfigDrift => is_dns(step) || step.kind == Some(ProbeKind::Mtu),
        Pattern::ServiceVip => {
            step.kind == Some(ProbeKind::Service) || step.plane == Some(Plane::Service)
        }
        Pattern::External | Pattern::Tls | Pattern::Http => {
            step.kind.is_some() && is_any(&[ProbeKind::TcpConnect, ProbeKind::Tls, ProbeKind::Http])
        }
        // They say that something is not known, and nothing about the network.
        Pattern::ReportsCut
        | Pattern::ObserverUnhealthy
        | Pattern::AggregatorIsolated
        | Pattern::StoreUnwritable => false,
        _ => true,
    };
    let Scope { kind, family, .. } = suspect.scope;
    of_pattern
        && kind.is_none_or(|kind| step.kind == Some(kind))
        && family.is_none_or(|family| step.family == Some(family))
        && suspect.plane.is_none_or(|plane| {
            step.plane.is_none_or(|of_step| {
                of_step == plane || (plane == Plane::Pod && of_step == Plane::Service)
            })
        })
}

fn is_dns(step: &Step) -> bool {
    matches!(
        step.kind,
        Some(ProbeKind::DnsUdp | ProbeKind::DnsTcp | ProbeKind::DnsSearch)
    ) || step.rung == Rung::Name
}

/// Is the target that the cause is about the one that fails? Columns of DNS are headed "server/name".
fn names(scope: &Scope, ends: &Ends<'_>, step: &Step) -> bool {
    let Some(target) = scope.target.as_deref() else {
        return true;
    };
    let is_part = |heading: &str| {
        heading
            .split_once('/')
            .is_some_and(|(server, name)| server == target || name == target)
    };
    !ends.is_between_nodes && (step.target == target || is_part(&step.target))
}
