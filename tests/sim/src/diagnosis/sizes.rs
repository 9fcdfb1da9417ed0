//! The largest packets that pass, as a prober measures them.

use meshprobe_core::detail::{Detail, MtuDetail, MtuLimit};
use meshprobe_core::outcome::OutcomeClass;

use super::wire::{Condition, SizeLimit};

/// MTU of the pods' interface.
pub(super) const POD_MTU: u16 = 1_450;

/// What a measurement finds on a path.
pub(super) fn measure(condition: &Condition) -> (OutcomeClass, Detail) {
    let limit = |size: Option<SizeLimit>| {
        let size = size.filter(|size| size.above < POD_MTU);
        let why = size.map_or(MtuLimit::Interface, |size| {
            if size.signalled_by.is_some() {
                MtuLimit::Signalled
            } else {
                MtuLimit::BlackHole
            }
        });
        (size.map_or(POD_MTU, |size| size.above), why)
    };
    let (forward, forward_limit) = limit(condition.forward_size);
    let (back, back_limit) = limit(condition.back_size);
    // A reply is no longer than its request.
    let (reverse, reverse_limit) = if back < forward {
        (back, back_limit)
    } else if forward < POD_MTU {
        (forward, MtuLimit::Unknown)
    } else {
        (back, back_limit)
    };
    // What a router says of a reply reaches the target, and not us.
    let reverse_limit = if reverse_limit == MtuLimit::Signalled {
        MtuLimit::BlackHole
    } else {
        reverse_limit
    };
    let signalled = condition
        .forward_size
        .filter(|_| forward_limit == MtuLimit::Signalled);
    let class = if signalled.is_some() {
        OutcomeClass::TooBig
    } else if forward < POD_MTU || reverse < POD_MTU {
        OutcomeClass::Timeout
    } else {
        OutcomeClass::Reply
    };
    let detail = MtuDetail {
        forward,
        forward_limit,
        reverse,
        reverse_limit,
        signalled_mtu: signalled.map_or(0, |size| size.above),
        signalled_by: signalled.and_then(|size| size.signalled_by),
        interface_mtu: POD_MTU,
        route_mtu: signalled.map_or(POD_MTU, |size| size.above),
    };
    (class, Detail::Mtu(detail))
}

/// What every healthy path has.
pub(super) fn healthy() -> Detail {
    measure(&Condition::default()).1
}
