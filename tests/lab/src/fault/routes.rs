//! The routes to pods on each node, and what faults have made of them.
//!
//! Several faults change the same routes: one takes them away, one lowers their packet size, one leads them past the overlay. So a
//! route is never saved and put back. What it should be is computed from the wiring and from all changes that are in effect; a
//! change or its end replaces the routes that become different by it.

use std::collections::BTreeMap;

use super::{FaultError, PacketSize};
use crate::addressing as at;
use crate::batch;
use crate::lab::{Shared, lock};
use crate::script::push;
use crate::wiring::{LabNode, Plan, node};

/// Every link with IPv6 carries this; the kernel does not promise less.
const SMALLEST_V6: u16 = 1280;

/// What a fault makes of a node's routes. Nodes are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteChange {
    /// No routes to other nodes' pods.
    AllMissing { node: u8 },
    /// No route to one other node's pods.
    Missing { node: u8, to: u8 },
    /// Routes to all pods, the node's own ones too, carry packets of at most this size.
    Limited { node: u8, bytes: PacketSize },
    /// Routes to other nodes' pods go by their hosts, without the overlay.
    Direct { node: u8 },
}

impl RouteChange {
    fn node(self) -> u8 {
        match self {
            Self::AllMissing { node }
            | Self::Missing { node, .. }
            | Self::Limited { node, .. }
            | Self::Direct { node } => node,
        }
    }
}

/// The changes that are in effect, by the number of their fault.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    changes: BTreeMap<u32, RouteChange>,
}

impl Shared {
    pub(super) fn change_routes(&self, fault: u32, change: RouteChange) -> Result<(), FaultError> {
        let mut routes = lock(&self.routes);
        let mut changed = routes.changes.clone();
        changed.insert(fault, change);
        self.replace_routes(change.node(), &routes.changes, &changed)?;
        routes.changes = changed;
        Ok(())
    }

    pub(super) fn restore_routes(&self, fault: u32) -> Result<(), FaultError> {
        let mut routes = lock(&self.routes);
        let mut restored = routes.changes.clone();
        let Some(change) = restored.remove(&fault) else {
            return Ok(());
        };
        self.replace_routes(change.node(), &routes.changes, &restored)?;
        routes.changes = restored;
        Ok(())
    }

    fn replace_routes(
        &self,
        index: u8,
        before: &BTreeMap<u32, RouteChange>,
        after: &BTreeMap<u32, RouteChange>,
    ) -> Result<(), FaultError> {
        let Some(node) = self.plan.nodes.iter().find(|node| node.index == index) else {
            return Ok(());
        };
        let script = difference(
            &routes_of(&self.plan, node, before),
            &routes_of(&self.plan, node, after),
        );
        Ok(batch::ip(&self.tools.ip, Some(&node.namespace), &script)?)
    }
}

/// `ip -batch` that makes the second of the first.
fn difference(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> String {
    let mut script = String::new();
    for cidr in before.keys().filter(|cidr| !after.contains_key(*cidr)) {
        push(&mut script, format_args!("route delete {cidr}"));
    }
    for (cidr, way) in after {
        let was = before.get(cidr);
        if was == Some(way) {
            continue;
        }
        // The kernel refuses an IPv6 next hop that the route to be replaced leads past its device.
        if was.is_some() && cidr.contains(':') {
            push(&mut script, format_args!("route delete {cidr}"));
        }
        push(&mut script, format_args!("route replace {cidr} {way}"));
    }
    script
}

/// Where a node's packets to each node's pods go, by subnet.
fn routes_of(
    plan: &Plan,
    node: &LabNode,
    changes: &BTreeMap<u32, RouteChange>,
) -> BTreeMap<String, String> {
    let own: Vec<RouteChange> = changes
        .values()
        .copied()
        .filter(|change| change.node() == node.index)
        .collect();
    let limit = own.iter().filter_map(|change| match change {
        RouteChange::Limited { bytes, .. } => Some(*bytes),
        _ => None,
    });
    let limit = limit.min();
    let is_direct = own
        .iter()
        .any(|change| matches!(change, RouteChange::Direct { .. }));
    let mut routes = BTreeMap::new();
    for route in node::pod_routes(plan, node) {
        let is_missing = own.iter().any(|change| match change {
            RouteChange::AllMissing { .. } => route.to.is_some(),
            RouteChange::Missing { to, .. } => route.to == Some(*to),
            RouteChange::Limited { .. } | RouteChange::Direct { .. } => false,
        });
        if is_missing {
            continue;
        }
        let peer = plan.nodes.iter().find(|peer| Some(peer.index) == route.to);
        let mut way = match peer {
            Some(peer) if is_direct => direct(node, peer, route.is_v6),
            _ => route.way,
        };
        if let Some(limit) = limit {
            let bytes = if route.is_v6 {
                limit.bytes().max(SMALLEST_V6)
            } else {
                limit.bytes()
            };
            way = format!("{way} mtu {bytes}");
        }
        routes.insert(route.cidr, way);
    }
    routes
}

/// Flannel's host-gw backend: the other host itself is the next hop. Hosts of other zones are behind the router.
fn direct(node: &LabNode, peer: &LabNode, is_v6: bool) -> String {
    let is_near = node.zone_index == peer.zone_index;
    let (zone, host) = (node.zone_index, peer.index);
    match (is_v6, is_near) {
        (false, true) => format!("via {} dev eth0", peer.host_ip),
        (false, false) => format!("via {} dev eth0", at::zone_gateway(zone)),
        (true, true) => format!("via {} dev eth0", at::host_ip_v6(zone, host)),
        (true, false) => format!("via {} dev eth0", at::zone_gateway_v6(zone)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::LabSpec;

    fn size(bytes: u16) -> PacketSize {
        PacketSize::new(bytes).expect("a packet's size")
    }

    #[test]
    fn changes_of_the_same_routes_end_in_any_order() {
        let plan = Plan::new(&LabSpec::default());
        let node = &plan.nodes[3];
        let all = [
            (1, RouteChange::AllMissing { node: 4 }),
            (2, RouteChange::Missing { node: 4, to: 6 }),
            (
                3,
                RouteChange::Limited {
                    node: 4,
                    bytes: size(1300),
                },
            ),
            (4, RouteChange::Direct { node: 4 }),
            (5, RouteChange::AllMissing { node: 2 }),
        ];
        let mut changes = BTreeMap::from(all);
        let shown = |changes: &BTreeMap<u32, RouteChange>| routes_of(&plan, node, changes);
        assert_eq!(
            shown(&changes),
            BTreeMap::from([(
                "10.244.4.0/24".to_owned(),
                "dev cni0 proto kernel scope link src 10.244.4.1 mtu 1300".to_owned()
            )])
        );
        changes.remove(&1);
        let routes = shown(&changes);
        assert_eq!(routes.len(), 5);
        assert_eq!(routes["10.244.2.0/24"], "via 172.30.2.12 dev eth0 mtu 1300");
        assert_eq!(routes["10.244.1.0/24"], "via 172.30.2.1 dev eth0 mtu 1300");
        changes.remove(&4);
        assert_eq!(
            shown(&changes)["10.244.1.0/24"],
            "via 10.244.1.0 dev flannel.1 onlink mtu 1300"
        );
        changes.retain(|_, change| change.node() != 4);
        assert_eq!(shown(&changes), shown(&BTreeMap::new()));
    }

    #[test]
    fn only_what_differs_is_touched() {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(cidr, way)| ((*cidr).to_owned(), (*way).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let before = map(&[("a", "1"), ("b", "2"), ("c", "3"), ("e::", "6")]);
        let after = map(&[("b", "2"), ("c", "4"), ("d", "5"), ("e::", "7")]);
        assert_eq!(
            difference(&before, &after),
            "route delete a\nroute replace c 4\nroute replace d 5\nroute delete e::\nroute replace e:: 7\n"
        );
    }
}
