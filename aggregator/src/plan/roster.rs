//! The members as the plan sees them: immutable, shared by every stream.

use std::sync::Arc;

use meshprobe_core::ids::{NodeIndex, NodeName, Ssid};
use meshprobe_core::path::Plane;
use meshprobe_proto::v1;

use super::{PlanConfig, Ring};
use crate::membership::{Membership, NodeAddress};

/// A node that probes and is probed.
#[derive(Clone, Debug, PartialEq)]
pub struct RosterNode {
    /// Its number.
    pub index: NodeIndex,
    /// Its name.
    pub name: NodeName,
    /// Its addresses, as they are sent.
    pub addresses: Vec<v1::Address>,
    seats: Vec<(Plane, Ssid)>,
}

impl RosterNode {
    /// Identifier of its prober in this plane.
    pub fn ssid(&self, plane: Plane) -> Option<Ssid> {
        let seat = self.seats.iter().find(|(p, _)| *p == plane);
        seat.map(|(_, ssid)| *ssid)
    }

    /// Identifier of its first prober.
    pub fn any_ssid(&self) -> Option<Ssid> {
        self.seats.first().map(|(_, ssid)| *ssid)
    }
}

/// Every node that is not gone, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roster {
    /// What is the same for every prober.
    pub plan: Arc<PlanConfig>,
    /// Grows from roster to roster, also over restarts: what is sent as the assignments' generation.
    pub generation: u64,
    nodes: Vec<RosterNode>,
    /// Who can be probed by QUIC, in the pod and in the host plane.
    quic: [Ring; 2],
}

impl Roster {
    /// The members that are present now.
    pub fn of(membership: &Membership, plan: Arc<PlanConfig>, generation: u64) -> Self {
        let mut nodes: Vec<RosterNode> = membership
            .present()
            .map(|(index, member)| RosterNode {
                index,
                name: member.profile.name.clone(),
                addresses: member.profile.addresses.iter().map(address).collect(),
                seats: member.seats().map(|seat| (seat.plane, seat.ssid)).collect(),
            })
            .collect();
        nodes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let quic =
            [Plane::Pod, Plane::Host].map(|plane| Ring::of_quic(membership.present(), plane));
        Self {
            plan,
            generation,
            nodes,
            quic,
        }
    }

    /// The nodes, by name.
    pub fn nodes(&self) -> &[RosterNode] {
        &self.nodes
    }

    /// Whom the prober of `own` in this plane probes by QUIC.
    pub fn quic_sample(&self, own: &RosterNode, plane: Plane, size: usize) -> Vec<NodeIndex> {
        let [pod, host] = &self.quic;
        let ring = if plane == Plane::Host { host } else { pod };
        ring.after(&own.name, size).collect()
    }

    /// The node with this name.
    pub fn node(&self, name: &NodeName) -> Option<&RosterNode> {
        let found = self.nodes.binary_search_by(|node| node.name.cmp(name));
        found.ok().map(|i| &self.nodes[i])
    }
}

fn address(address: &NodeAddress) -> v1::Address {
    v1::Address {
        plane: v1::Plane::from(address.plane).into(),
        ip: address.ip.to_string(),
        udp_port: address.udp_port.into(),
        tcp_port: address.tcp_port.into(),
        quic_port: address.quic_port.into(),
    }
}
