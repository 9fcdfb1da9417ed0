//! One node of the mesh: its probers, and what follows from them.

use std::sync::Arc;

use jiff::Timestamp;
use meshprobe_core::ids::{Ssid, ZoneIndex};
use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::path::Plane;

use super::announcement::MAX_ADDRESSES;
use super::record::{NodeAddress, NodeRecord, ProberRecord};
use super::told::{Drain, NodeEvents};
use super::zones::Zones;
use crate::snapshot::NodeProfile;

/// A prober of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The plane that it runs in.
    pub plane: Plane,
    /// Its session identifier.
    pub ssid: Ssid,
    pub(super) version: String,
    pub(super) addresses: Vec<NodeAddress>,
    /// It said goodbye and is expected back until then.
    pub(super) away_until: Option<Timestamp>,
    pub(super) is_gone: bool,
}

/// A node of the mesh.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it says of itself.
    pub profile: Arc<NodeProfile>,
    /// Its zone's number.
    pub zone: ZoneIndex,
    /// What is known of its future.
    pub lifecycle: Lifecycle,
    /// While it is gone: since when.
    pub(super) gone_since: Option<Timestamp>,
    pub(super) seats: Vec<Seat>,
    /// It is cordoned or drained.
    pub(super) drain: Option<Drain>,
    pub(super) events: NodeEvents,
}

impl Member {
    /// Its probers that are not gone.
    pub fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter().filter(|seat| !seat.is_gone)
    }

    /// Its prober in this plane, if that is not gone.
    pub fn seat(&self, plane: Plane) -> Option<&Seat> {
        self.seats().find(|seat| seat.plane == plane)
    }

    /// That it is cordoned or drained, whatever else it does.
    pub fn drain(&self) -> Option<&Drain> {
        self.drain.as_ref()
    }

    /// What the cluster said of it, oldest first.
    pub fn events(&self) -> &NodeEvents {
        &self.events
    }
}

impl Member {
    /// Where a node stands that is not gone: a goodbye is more than a drain.
    pub(super) fn present_lifecycle(&self) -> Lifecycle {
        let is_away = self.seats.iter().any(|seat| seat.away_until.is_some());
        match (is_away, &self.drain) {
            (true, _) => Lifecycle::Leaving,
            (false, Some(_)) => Lifecycle::Draining,
            (false, None) => Lifecycle::Active,
        }
    }

    /// It is drained, or no longer. A node that left is drained when it is back.
    pub(super) fn set_drain(&mut self, drain: Option<Drain>) {
        self.drain = drain;
        if self.lifecycle != Lifecycle::Gone {
            self.lifecycle = self.present_lifecycle();
        }
    }

    /// Rebuilds what follows from the seats.
    pub(super) fn refresh(&mut self, mut profile: NodeProfile, zones: &mut Zones) {
        profile.addresses = merged_addresses(self.seats());
        let versions = self.seats.iter().map(|seat| &seat.version);
        profile.prober_version = versions
            .into_iter()
            .find(|version| !version.is_empty())
            .cloned()
            .unwrap_or_default();
        self.zone = zones.number(&profile.zone);
        if *self.profile != profile {
            self.profile = Arc::new(profile);
        }
    }

    /// Lets probers go that did not come back in time. Says whether any went.
    pub(super) fn expire(&mut self, now: Timestamp) -> bool {
        let mut any = false;
        for seat in &mut self.seats {
            if seat.away_until.is_some_and(|until| until <= now) {
                seat.away_until = None;
                seat.is_gone = true;
                any = true;
            }
        }
        if any {
            let is_gone = self.seats().next().is_none();
            self.lifecycle = if is_gone {
                Lifecycle::Gone
            } else {
                self.present_lifecycle()
            };
            self.gone_since = is_gone.then_some(now);
        }
        any
    }

    pub(super) fn record(&self) -> NodeRecord {
        let away_until = self.seats.iter().filter_map(|seat| seat.away_until).min();
        NodeRecord {
            name: self.profile.name.clone(),
            zone: self.profile.zone.clone(),
            region: self.profile.region.clone(),
            labels: self.profile.labels.clone(),
            lifecycle: self.lifecycle,
            lifecycle_until: self.gone_since.or(away_until),
            drain: self.drain.clone(),
            events: self.events.clone(),
            probers: self
                .seats
                .iter()
                .map(|seat| ProberRecord {
                    plane: seat.plane,
                    ssid: seat.ssid.0,
                    version: seat.version.clone(),
                    addresses: seat.addresses.clone(),
                })
                .collect(),
        }
    }
}

/// The addresses of all probers of a node, each once. What both of its probers name is one address: the one that runs on
/// its plane knows the ports, the other one fills in what that leaves out.
fn merged_addresses<'a>(seats: impl Iterator<Item = &'a Seat>) -> Vec<NodeAddress> {
    let mut named: Vec<(bool, NodeAddress)> = seats
        .flat_map(|seat| {
            let own = |address: &NodeAddress| (address.plane != seat.plane, *address);
            seat.addresses.iter().map(own)
        })
        .collect();
    named.sort_unstable();
    let mut merged: Vec<NodeAddress> = Vec::new();
    for (_, address) in named {
        let same = |known: &&mut NodeAddress| {
            let is_known = (known.plane, known.ip) == (address.plane, address.ip);
            // Two probers of one plane behind one address have different ports.
            let fits = |a: u16, b: u16| a == 0 || b == 0 || a == b;
            is_known && fits(known.udp_port, address.udp_port)
        };
        let Some(known) = merged.iter_mut().find(same) else {
            merged.push(address);
            continue;
        };
        for (port, other) in [
            (&mut known.udp_port, address.udp_port),
            (&mut known.tcp_port, address.tcp_port),
            (&mut known.quic_port, address.quic_port),
        ] {
            if *port == 0 {
                *port = other;
            }
        }
    }
    // A peer with more addresses is refused by probers.
    merged.truncate(MAX_ADDRESSES);
    merged.sort_unstable();
    merged
}

/// Do the probers mean the same to the plan? Their versions and goodbyes do not matter to it.
pub(super) fn same_for_plan(before: &[Seat], after: &[Seat]) -> bool {
    let key = |seat: &Seat| (seat.plane, seat.ssid, seat.is_gone);
    before.iter().map(key).eq(after.iter().map(key))
}
