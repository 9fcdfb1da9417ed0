//! What is broken, as rules about packets, servers and probers.

use std::net::IpAddr;

use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::path::{Family, Plane, ProbeKind};

use super::world::World;

/// What travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Udp,
    Tcp,
    Icmp,
}

impl Protocol {
    /// What a kind sends.
    pub(super) const fn of(kind: ProbeKind) -> Self {
        match kind {
            ProbeKind::Udp
            | ProbeKind::Mtu
            | ProbeKind::Quic
            | ProbeKind::DnsUdp
            | ProbeKind::DnsSearch => Self::Udp,
            ProbeKind::Icmp => Self::Icmp,
            _ => Self::Tcp,
        }
    }
}

/// One end of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Node(usize),
    /// Everything outside of the mesh.
    Internet,
}

/// Which ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    Any,
    AnyNode,
    Node(usize),
    Zone(usize),
    /// Nodes of all other zones.
    NotZone(usize),
    Internet,
}

impl Ends {
    pub(super) fn contains(self, end: End, world: &World) -> bool {
        match (self, end) {
            (Self::Any, _) | (Self::AnyNode, End::Node(_)) | (Self::Internet, End::Internet) => {
                true
            }
            (Self::Node(this), End::Node(node)) => this == node,
            (Self::Zone(zone), End::Node(node)) => world.zone_of(node) == zone,
            (Self::NotZone(zone), End::Node(node)) => world.zone_of(node) != zone,
            _ => false,
        }
    }
}

/// Where a packet runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) from: End,
    pub(super) to: End,
    /// Inside the overlay. Outer packets pass everything that is in the way of the underlay too.
    pub(super) overlay: bool,
    pub(super) protocol: Protocol,
    pub(super) family: Family,
    /// A question to a DNS server.
    pub(super) dns: bool,
}

/// Packets of which a share vanishes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drop {
    pub(super) from: Ends,
    pub(super) to: Ends,
    /// Only inside the overlay.
    pub(super) overlay: bool,
    pub(super) protocol: Option<Protocol>,
    pub(super) family: Option<Family>,
    /// Only questions to DNS servers.
    pub(super) dns: bool,
    pub(super) loss: f64,
}

impl Drop {
    /// Everything on this way.
    pub(super) const fn all(from: Ends, to: Ends, loss: f64) -> Self {
        Self {
            from,
            to,
            overlay: false,
            protocol: None,
            family: None,
            dns: false,
            loss,
        }
    }

    /// The overlay alone.
    pub(super) const fn overlay(from: Ends, to: Ends, loss: f64) -> Self {
        Self {
            overlay: true,
            ..Self::all(from, to, loss)
        }
    }

    /// One protocol.
    pub(super) const fn protocol(self, protocol: Protocol) -> Self {
        Self {
            protocol: Some(protocol),
            ..self
        }
    }

    /// Share of these packets that vanishes.
    pub(super) fn loss_on(&self, way: &Way, world: &World) -> f64 {
        let hit = self.from.contains(way.from, world)
            && self.to.contains(way.to, world)
            && (!self.overlay || way.overlay)
            && self.protocol.is_none_or(|p| p == way.protocol)
            && self.family.is_none_or(|f| f == way.family)
            && (!self.dns || way.dns);
        if hit { self.loss } else { 0.0 }
    }
}

/// What a target outside does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Refused,
    Silent,
    Expired,
    Handshake,
    Status(u16),
}

/// What a DNS server does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum DnsWrong {
    /// Its process is gone, its pod still answers: refused.
    Killed,
    /// Its pod is gone.
    Gone,
    /// This share of the questions gets lost.
    Starved(f64),
    /// This name is answered with this code; `None`: those that it forwards.
    Rcode { name: Option<usize>, rcode: u8 },
}

/// A virtual IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vip {
    All,
    Dns,
    Responders,
}

/// One thing that is broken.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    Drop(Drop),
    /// Of the flows between two zones, these buckets of so many lose everything.
    Flows {
        from: Ends,
        to: Ends,
        failing: u32,
        of: u32,
    },
    /// Overlay packets above a size vanish, or are answered by this router.
    Size {
        from: Ends,
        to: Ends,
        above: u16,
        signalled_by: Option<IpAddr>,
    },
    /// What these nodes send waits.
    Queue {
        from: Ends,
        to: Ends,
        micros: u64,
    },
    /// The connection table of a node is full.
    TableFull(usize),
    /// A DNS server, or all of them.
    Dns {
        instance: Option<usize>,
        wrong: DnsWrong,
    },
    /// A virtual IP is not known on a node, or nowhere.
    NoVip {
        node: Option<usize>,
        vip: Vip,
    },
    /// One of the responders' backends is the address of a pod that is gone.
    StaleBackend,
    /// A target outside.
    Server {
        server: usize,
        wrong: Wrong,
    },
    /// The node has no power.
    Dark(usize),
    /// The prober is gone; the node is fine.
    ProberGone(usize),
    /// Reports do not arrive.
    ReportsCut(usize),
    /// The prober gets too little of a processor.
    Starved(usize),
    /// The second node has the first one's pod address too; these nodes' routes lead there.
    SameAddress {
        node: usize,
        other: usize,
    },
    /// The resolver's search list differs.
    Drift(usize),
    /// The routes to these nodes' pods are gone on a node.
    NoRoutes {
        node: usize,
        to: Vec<usize>,
    },
    /// The cluster said something about a node.
    Event {
        node: usize,
        reason: &'static str,
        message: String,
    },
    /// A node stands elsewhere in its life.
    Life {
        node: usize,
        stage: Lifecycle,
    },
}

/// How often the prober's own plane matters.
pub(super) const fn is_overlay(plane: Plane) -> bool {
    !matches!(plane, Plane::Host)
}
