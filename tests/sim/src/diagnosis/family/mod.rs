//! The families of faults: each draws a random fault of its kind, with a random place and size.

mod targets;

use meshprobe_core::finding::{Pattern, Place, Scope};
use meshprobe_core::path::{Family as IpFamily, ProbeKind};

use super::fault::{Fault, Name};
use super::rule::{Drop, Ends, Protocol, Rule};
use super::world::{World, host_ip};
use crate::chance::Chance;

/// A family by its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    /// Can a mesh have such a fault?
    pub(super) fits: fn(&World) -> bool,
    draw: fn(&mut Draw<'_>) -> Fault,
}

impl Family {
    /// A random fault of this family in a mesh that it fits.
    pub(super) fn draw(&self, world: &World, chance: &mut Chance) -> Fault {
        let mut draw = Draw {
            world,
            chance,
            family: self.name,
        };
        (self.draw)(&mut draw)
    }
}

/// What a family draws from.
struct Draw<'a> {
    world: &'a World,
    chance: &'a mut Chance,
    family: &'static str,
}

const fn always(_: &World) -> bool {
    true
}

/// Two zones with two nodes each, at least: fewer are nodes and paths.
fn has_zones(world: &World) -> bool {
    let zones = world.spec.zones;
    zones >= 2 && (0..zones).all(|zone| world.nodes_in(zone) >= 2)
}

fn has_three_zones(world: &World) -> bool {
    has_zones(world) && world.spec.zones >= 3
}

const fn is_v4(world: &World) -> bool {
    !world.spec.dual
}

const fn is_dual(world: &World) -> bool {
    world.spec.dual
}

macro_rules! families {
    ($($name:literal, $fits:ident, $draw:ident;)+) => {
        /// Every family.
        pub(super) const ALL: &[Family] = &[
            $(Family { name: $name, fits: $fits, draw: |draw| draw.$draw() },)+
        ];
    };
}

families! {
    "node-ingress", always, node_ingress;
    "node-egress", always, node_egress;
    "node-link", always, node_link;
    "overlay-ingress", always, overlay_ingress;
    "overlay-egress", always, overlay_egress;
    "overlay-node", always, overlay_node;
    "overlay", always, overlay;
    "path", always, path;
    "one-route", always, one_route;
    "zone-pair", has_zones, zone_pair;
    "zone-pair-one-way", has_zones, zone_pair_one_way;
    "zone", has_three_zones, zone;
    "mesh", always, mesh;
    "flows", has_zones, flows;
    "kind-node", always, kind_node;
    "kind-everywhere", always, kind_everywhere;
    "mtu-node", always, mtu_node;
    "mtu-signalled", always, mtu_signalled;
    "mtu-everywhere", always, mtu_everywhere;
    "dns-server", always, dns_server;
    "dns-overloaded", always, dns_overloaded;
    "dns-blocked", always, dns_blocked;
    "dns-upstream", always, dns_upstream;
    "dns-name", always, dns_name;
    "dns-vip", always, dns_vip;
    "vip-broken", always, vip_broken;
    "vip-stale-endpoint", always, vip_stale;
    "external-node", always, external_node;
    "external-all", always, external_all;
    "external-target", always, external_target;
    "tls", always, tls;
    "http", always, http;
    "slow-node", always, slow_node;
    "new-flows", always, new_flows;
    "family-node", is_dual, family_node;
    "family-everywhere", is_dual, family_everywhere;
    "address-conflict", is_v4, address_conflict;
    "observer-unhealthy", always, observer_unhealthy;
    "config-drift", always, config_drift;
}

/// The family with this name.
pub(super) fn find(name: &str) -> Option<&'static Family> {
    ALL.iter().find(|family| family.name == name)
}

impl Draw<'_> {
    fn node(&mut self) -> usize {
        self.chance.index(self.world.nodes())
    }

    fn two_nodes(&mut self) -> (usize, usize) {
        let node = self.node();
        let step = 1 + self.chance.index(self.world.nodes() - 1);
        (node, (node + step) % self.world.nodes())
    }

    fn two_zones(&mut self) -> (usize, usize) {
        let zones = self.world.spec.zones;
        let zone = self.chance.index(zones);
        let step = 1 + self.chance.index(zones - 1);
        (zone, (zone + step) % zones)
    }

    /// 5 % to 100 %; one in three is everything.
    fn share(&mut self) -> f64 {
        self.share_below(1.0)
    }

    fn share_below(&mut self, most: f64) -> f64 {
        if most >= 1.0 && self.chance.index(3) == 0 {
            return 1.0;
        }
        let percent = 5 + self.chance.index((most * 100.0) as usize - 5);
        percent as f64 / 100.0
    }

    fn fault(&self, title: &str, rules: Vec<Rule>, expected: Name, is_total: bool) -> Fault {
        Fault {
            family: self.family,
            title: format!("{} {title}", self.family),
            rules,
            expected: vec![expected],
            is_total,
            period: 0,
            lasts: 0,
        }
    }

    fn at_node(&self, node: usize, loss: f64, pattern: Pattern, drops: &[Drop]) -> Fault {
        let name = World::name(node);
        let title = format!("{name} {:.0} %", loss * 100.0);
        let rules = drops.iter().copied().map(Rule::Drop).collect();
        self.fault(&title, rules, (pattern, Scope::node(name)), loss >= 1.0)
    }

    fn node_ingress(&mut self) -> Fault {
        let (node, loss) = (self.node(), self.share());
        let drop = Drop::all(Ends::Any, Ends::Node(node), loss);
        self.at_node(node, loss, Pattern::NodeIngress, &[drop])
    }

    fn node_egress(&mut self) -> Fault {
        let (node, loss) = (self.node(), self.share());
        let drop = Drop::all(Ends::Node(node), Ends::Any, loss);
        self.at_node(node, loss, Pattern::NodeEgress, &[drop])
    }

    fn node_link(&mut self) -> Fault {
        let (node, loss) = (self.node(), self.share());
        let pattern = if loss >= 1.0 {
            Pattern::Isolated
        } else {
            Pattern::NodeLink
        };
        let drops = [
            Drop::all(Ends::Any, Ends::Node(node), loss),
            Drop::all(Ends::Node(node), Ends::Any, loss),
        ];
        self.at_node(node, loss, pattern, &drops)
    }

    fn overlay_ingress(&mut self) -> Fault {
        let (node, loss) = (self.node(), self.share());
        let drop = Drop::overlay(Ends::AnyNode, Ends::Node(node), loss);
        self.at_node(node, loss, Pattern::OverlayIngress, &[drop])
    }

    fn overlay_egress(&mut self) -> Fault {
        let (node, loss) = (self.node(), self.share());
        let drop = Drop::overlay(Ends::Node(node), Ends::AnyNode, loss);
        let mut fault = self.at_node(node, loss, Pattern::OverlayEgress, &[drop]);
        if loss >= 1.0 {
            let to = (0..self.world.nodes()).filter(|to| *to != node).collect();
            fault.rules.push(Rule::NoRoutes { node, to });
        }
        fault
    }

    fn overlay_node(&mut self) -> Fault {
        let (node, loss) = (self.node(), self.share());
        let drops = [
            Drop::overlay(Ends::AnyNode, Ends::Node(node), loss),
            Drop::overlay(Ends::Node(node), Ends::AnyNode, loss),
        ];
        self.at_node(node, loss, Pattern::OverlayNode, &drops)
    }

    fn everywhere(&self, loss: f64, name: Name, drop: Drop) -> Fault {
        let title = format!("{:.0} %", loss * 100.0);
        self.fault(&title, vec![Rule::Drop(drop)], name, loss >= 1.0)
    }

    fn overlay(&mut self) -> Fault {
        let loss = self.share();
        let drop = Drop::overlay(Ends::AnyNode, Ends::AnyNode, loss);
        self.everywhere(loss, (Pattern::Overlay, Scope::everywhere()), drop)
    }

    /// Heavier loss takes the reports with it, and is another failure.
    fn mesh(&mut self) -> Fault {
        let loss = self.share_below(0.4);
        let drop = Drop::all(Ends::AnyNode, Ends::AnyNode, loss);
        self.everywhere(loss, (Pattern::Mesh, Scope::everywhere()), drop)
    }

    fn path(&mut self) -> Fault {
        let ((from, to), loss) = (self.two_nodes(), self.share());
        let names = (World::name(from), World::name(to));
        let drop = Drop::all(Ends::Node(from), Ends::Node(to), loss);
        let title = format!("{}→{} {:.0} %", names.0, names.1, loss * 100.0);
        let name = (Pattern::Path, Scope::path(names.0, names.1));
        self.fault(&title, vec![Rule::Drop(drop)], name, loss >= 1.0)
    }

    fn one_route(&mut self) -> Fault {
        let (from, to) = self.two_nodes();
        let names = (World::name(from), World::name(to));
        let rules = vec![
            Rule::Drop(Drop::overlay(Ends::Node(from), Ends::Node(to), 1.0)),
            Rule::NoRoutes {
                node: from,
                to: vec![to],
            },
        ];
        let title = format!("{}→{}", names.0, names.1);
        let name = (Pattern::Path, Scope::path(names.0, names.1));
        self.fault(&title, rules, name, true)
    }

    fn between_zones(&mut self, both_ways: bool) -> Fault {
        let ((a, b), loss) = (self.two_zones(), self.share());
        let names = (World::zone_name(a), World::zone_name(b));
        let mut rules = vec![Rule::Drop(Drop::all(Ends::Zone(a), Ends::Zone(b), loss))];
        let scope = if both_ways {
            rules.push(Rule::Drop(Drop::all(Ends::Zone(b), Ends::Zone(a), loss)));
            Scope::zones(names.0, names.1)
        } else {
            Scope::zone_pair(names.0, names.1)
        };
        let title = format!("{scope} {:.0} %", loss * 100.0);
        self.fault(&title, rules, (Pattern::ZonePair, scope), loss >= 1.0)
    }

    fn zone_pair(&mut self) -> Fault {
        self.between_zones(true)
    }

    fn zone_pair_one_way(&mut self) -> Fault {
        self.between_zones(false)
    }

    fn zone(&mut self) -> Fault {
        let (zone, loss) = (self.chance.index(self.world.spec.zones), self.share());
        let drops = [
            Drop::all(Ends::Zone(zone), Ends::NotZone(zone), loss),
            Drop::all(Ends::NotZone(zone), Ends::Zone(zone), loss),
        ];
        let name = World::zone_name(zone);
        let title = format!("{name} {:.0} %", loss * 100.0);
        let scope = Scope::of(Place::Zone(name));
        let rules = drops.map(Rule::Drop).to_vec();
        self.fault(&title, rules, (Pattern::Zone, scope), loss >= 1.0)
    }

    fn flows(&mut self) -> Fault {
        let (a, b) = self.two_zones();
        let (failing, of) = (1 + self.chance.index(4) as u32, 16);
        let both_ways = self.chance.index(2) == 0;
        let names = (World::zone_name(a), World::zone_name(b));
        let rule = |from, to| Rule::Flows {
            from: Ends::Zone(from),
            to: Ends::Zone(to),
            failing,
            of,
        };
        let mut rules = vec![rule(a, b)];
        let scope = if both_ways {
            rules.push(rule(b, a));
            Scope::zones(names.0, names.1)
        } else {
            Scope::zone_pair(names.0, names.1)
        };
        let title = format!("{scope} {failing}/{of}");
        self.fault(&title, rules, (Pattern::Flows, scope), false)
    }

    fn protocol(&mut self) -> (Protocol, ProbeKind) {
        if self.chance.index(2) == 0 {
            (Protocol::Udp, ProbeKind::Udp)
        } else {
            (Protocol::Tcp, ProbeKind::Tcp)
        }
    }

    fn kind_node(&mut self) -> Fault {
        let (node, (protocol, kind)) = (self.node(), self.protocol());
        let name = World::name(node);
        let rules = [
            Drop::all(Ends::Any, Ends::Node(node), 1.0).protocol(protocol),
            Drop::all(Ends::Node(node), Ends::Any, 1.0).protocol(protocol),
        ];
        let title = format!("{name} {kind}");
        let scope = Scope::node(name).with_kind(kind);
        let rules = rules.map(Rule::Drop).to_vec();
        self.fault(&title, rules, (Pattern::Kind, scope), true)
    }

    fn kind_everywhere(&mut self) -> Fault {
        let (protocol, kind) = self.protocol();
        // A policy of every node, or something between them: the DNS servers' own questions get out or not.
        let ends = [Ends::AnyNode, Ends::Any][self.chance.index(2)];
        let drop = Drop::all(ends, ends, 1.0).protocol(protocol);
        let scope = Scope::everywhere().with_kind(kind);
        let rules = vec![Rule::Drop(drop)];
        self.fault(&kind.to_string(), rules, (Pattern::Kind, scope), true)
    }

    fn packet_size(&mut self) -> u16 {
        1_300 + self.chance.index(140) as u16
    }

    fn mtu_node(&mut self) -> Fault {
        let (node, above) = (self.node(), self.packet_size());
        let name = World::name(node);
        let rule = |from, to| Rule::Size {
            from,
            to,
            above,
            signalled_by: None,
        };
        let (inwards, outwards) = (
            rule(Ends::AnyNode, Ends::Node(node)),
            rule(Ends::Node(node), Ends::AnyNode),
        );
        let (way, rules) = match self.chance.index(3) {
            0 => ("in", vec![inwards]),
            1 => ("out", vec![outwards]),
            _ => ("both", vec![inwards, outwards]),
        };
        let title = format!("{name} {above} {way}");
        self.fault(&title, rules, (Pattern::Mtu, Scope::node(name)), false)
    }

    fn mtu_signalled(&mut self) -> Fault {
        let (node, above) = (self.node(), self.packet_size());
        let name = World::name(node);
        let rule = Rule::Size {
            from: Ends::Node(node),
            to: Ends::AnyNode,
            above,
            signalled_by: Some(host_ip(node)),
        };
        let title = format!("{name} {above}");
        self.fault(&title, vec![rule], (Pattern::Mtu, Scope::node(name)), false)
    }

    fn mtu_everywhere(&mut self) -> Fault {
        let above = self.packet_size();
        let rule = Rule::Size {
            from: Ends::AnyNode,
            to: Ends::AnyNode,
            above,
            signalled_by: None,
        };
        let name = (Pattern::Mtu, Scope::everywhere());
        self.fault(&above.to_string(), vec![rule], name, false)
    }

    fn slow_node(&mut self) -> Fault {
        let node = self.node();
        let micros = 20_000 + self.chance.index(80_000) as u64;
        let rule = Rule::Queue {
            from: Ends::Node(node),
            to: Ends::Any,
            micros,
        };
        let name = World::name(node);
        let title = format!("{name} {} ms", micros / 1_000);
        let expected = (Pattern::Slow, Scope::node(name));
        self.fault(&title, vec![rule], expected, false)
    }

    fn new_flows(&mut self) -> Fault {
        let node = self.node();
        let name = World::name(node);
        let title = name.to_string();
        let expected = (Pattern::NewFlows, Scope::node(name));
        self.fault(&title, vec![Rule::TableFull(node)], expected, true)
    }

    fn v6(from: Ends, to: Ends) -> Drop {
        Drop {
            family: Some(IpFamily::V6),
            ..Drop::all(from, to, 1.0)
        }
    }

    fn family_node(&mut self) -> Fault {
        let node = self.node();
        let rules = [
            Self::v6(Ends::Any, Ends::Node(node)),
            Self::v6(Ends::Node(node), Ends::Any),
        ];
        let name = World::name(node);
        let title = format!("{name} v6");
        let scope = Scope::node(name).with_family(IpFamily::V6);
        let rules = rules.map(Rule::Drop).to_vec();
        self.fault(&title, rules, (Pattern::Family, scope), true)
    }

    fn family_everywhere(&mut self) -> Fault {
        let scope = Scope::everywhere().with_family(IpFamily::V6);
        let drop = Self::v6(Ends::AnyNode, Ends::AnyNode);
        self.fault("v6", vec![Rule::Drop(drop)], (Pattern::Family, scope), true)
    }

    fn address_conflict(&mut self) -> Fault {
        let (node, other) = self.two_nodes();
        let names = (World::name(node), World::name(other));
        let title = format!("{} {}", names.0, names.1);
        let scope = Scope::nodes(vec![names.0, names.1]);
        let rule = Rule::SameAddress { node, other };
        self.fault(&title, vec![rule], (Pattern::AddressConflict, scope), true)
    }

    fn observer_unhealthy(&mut self) -> Fault {
        let node = self.node();
        let name = World::name(node);
        let title = name.to_string();
        let expected = (Pattern::ObserverUnhealthy, Scope::node(name));
        self.fault(&title, vec![Rule::Starved(node)], expected, false)
    }

    fn config_drift(&mut self) -> Fault {
        let node = self.node();
        let name = World::name(node);
        let title = name.to_string();
        let expected = (Pattern::ConfigDrift, Scope::node(name));
        self.fault(&title, vec![Rule::Drift(node)], expected, false)
    }
}
