//! What there is in the cluster to name cells by.

use std::collections::BTreeMap;
use std::net::IpAddr;

use meshprobe_lab::Lab;

/// The cluster, as far as claims name its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ground {
    /// `zone-a` …
    pub zones: Vec<String>,
    /// Each node's place.
    pub nodes: BTreeMap<String, Site>,
    /// Each DNS server's node, by the server's name.
    pub dns: BTreeMap<String, String>,
}

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    pub zone: String,
    /// What the addresses of its pods, and of the node among them, begin with.
    pub pod_prefix: String,
}

impl Ground {
    /// Of a real cluster.
    pub fn of(lab: &Lab) -> Self {
        let site = |zone: &str, cidr: &str| Site {
            zone: zone.to_owned(),
            // `10.244.3.0/24` → `10.244.3.`
            pod_prefix: cidr
                .rsplit_once('.')
                .map_or_else(String::new, |(net, _)| format!("{net}.")),
        };
        let zones = lab.zones().iter().map(|zone| zone.name.clone());
        let nodes = lab
            .nodes()
            .iter()
            .map(|node| (node.name.clone(), site(&node.zone, &node.pod_cidr)));
        let dns = lab
            .dns_instances()
            .iter()
            .map(|dns| (dns.name.clone(), dns.node.clone()));
        Self {
            zones: zones.collect(),
            nodes: nodes.collect(),
            dns: dns.collect(),
        }
    }

    /// Of a cluster that is only written down: its zones.
    pub fn on_paper(zones: u8) -> Self {
        Self {
            zones: (1..=zones)
                .map(meshprobe_lab::addressing::zone_name)
                .collect(),
            ..Self::default()
        }
    }

    /// The zone of a node; empty: it is not in the cluster.
    pub fn zone_of(&self, node: &str) -> &str {
        self.nodes.get(node).map_or("", |site| &site.zone)
    }

    /// Whether an address is one of a node's pods, or the node's own among them.
    pub fn is_of_pods(&self, address: &str, node: &str) -> bool {
        let is_address = address.parse::<IpAddr>().is_ok();
        let site = self.nodes.get(node);
        is_address && site.is_some_and(|site| address.starts_with(&site.pod_prefix))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `a` and `b` in zone-a, `c` in zone-b, with the server `dns-1` on `c`.
    pub(in crate::scenario::claim) fn three() -> Ground {
        let site = |zone: &str, n: u8| Site {
            zone: zone.to_owned(),
            pod_prefix: format!("10.244.{n}."),
        };
        Ground {
            zones: vec!["zone-a".to_owned(), "zone-b".to_owned()],
            nodes: BTreeMap::from([
                ("a".to_owned(), site("zone-a", 1)),
                ("b".to_owned(), site("zone-a", 2)),
                ("c".to_owned(), site("zone-b", 20)),
            ]),
            dns: BTreeMap::from([("dns-1".to_owned(), "c".to_owned())]),
        }
    }

    #[test]
    fn a_pods_address_tells_its_node() {
        let ground = three();
        assert!(ground.is_of_pods("10.244.2.1", "b"));
        assert!(!ground.is_of_pods("10.244.20.1", "b"));
        assert!(!ground.is_of_pods("10.244.2.", "b"));
        assert!(!ground.is_of_pods("10.244.2.1", "nobody"));
    }
}
