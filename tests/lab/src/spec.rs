//! What cluster to build.

use serde::{Deserialize, Serialize};

use crate::addressing::MAX_NODES;

/// The size and shape of a virtual cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LabSpec {
    /// Nodes `mesh-1` to `mesh-N`, 1 to 200.
    pub nodes: u8,
    /// Zones `zone-a` …, 1 to 26 and no more than nodes.
    pub zones: u8,
    /// DNS servers behind the virtual IP, at most one on a node; the aggregator's node gets one last.
    pub dns_instances: u8,
    /// How nodes are dealt to zones.
    pub placement: Placement,
    /// Which families the cluster's addresses are of.
    pub families: Families,
    /// A second prober on every node, in the node's own namespace: the host plane.
    pub host_probers: bool,
}

impl Default for LabSpec {
    fn default() -> Self {
        Self {
            nodes: 6,
            zones: 2,
            dns_instances: 2,
            placement: Placement::default(),
            families: Families::default(),
            host_probers: false,
        }
    }
}

/// How nodes are dealt to zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// `mesh-1` in zone-a, `mesh-2` in zone-b, and so on around.
    #[default]
    RoundRobin,
    /// The first nodes in zone-a, the next ones in zone-b; sizes differ by one at most.
    Blocks,
}

/// Which families the cluster's addresses are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Families {
    /// IPv4.
    #[default]
    V4,
    /// IPv4 and IPv6: underlay, pods, virtual IPs and the internet.
    Dual,
}

impl Families {
    pub fn has_v6(self) -> bool {
        self == Self::Dual
    }
}

/// A cluster that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("a lab has 1 to {MAX_NODES} nodes, not {0}")]
    Nodes(u8),
    #[error("{nodes} nodes can be in 1 to {most} zones, not {zones}", most = nodes.min(&26))]
    Zones { zones: u8, nodes: u8 },
    #[error("{nodes} nodes can run 1 to {nodes} DNS instances, not {instances}")]
    DnsInstances { instances: u8, nodes: u8 },
}

impl LabSpec {
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        if self.nodes == 0 || self.nodes > MAX_NODES {
            return Err(SpecError::Nodes(self.nodes));
        }
        if self.zones == 0 || self.zones > self.nodes.min(26) {
            return Err(SpecError::Zones {
                zones: self.zones,
                nodes: self.nodes,
            });
        }
        if self.dns_instances == 0 || self.dns_instances > self.nodes {
            return Err(SpecError::DnsInstances {
                instances: self.dns_instances,
                nodes: self.nodes,
            });
        }
        Ok(())
    }

    /// The zone of a node, both numbered from 1.
    pub(crate) fn zone_of(&self, node: u8) -> u8 {
        let place = u16::from(node - 1);
        let (nodes, zones) = (u16::from(self.nodes), u16::from(self.zones));
        let zone = match self.placement {
            Placement::RoundRobin => place % zones,
            Placement::Blocks => place * zones / nodes,
        };
        zone as u8 + 1
    }

    /// The nodes that run a DNS server: zones in turn, so that no zone's loss takes all of them; the aggregator's node last.
    pub(crate) fn dns_nodes(&self) -> Vec<u8> {
        let mut by_zone: Vec<Vec<u8>> = (1..=self.zones)
            .map(|zone| {
                (2..=self.nodes)
                    .filter(|node| self.zone_of(*node) == zone)
                    .collect()
            })
            .collect();
        // The aggregator's zone is the poorer one: start with the last.
        by_zone.reverse();
        let mut order = Vec::new();
        let longest = by_zone.iter().map(Vec::len).max().unwrap_or(0);
        for turn in 0..longest {
            order.extend(by_zone.iter().filter_map(|nodes| nodes.get(turn).copied()));
        }
        order.push(1);
        order.truncate(usize::from(self.dns_instances));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(nodes: u8, zones: u8, dns_instances: u8, placement: Placement) -> LabSpec {
        LabSpec {
            nodes,
            zones,
            dns_instances,
            placement,
            ..LabSpec::default()
        }
    }

    #[test]
    fn every_zone_gets_its_share_of_nodes_in_both_placements() {
        for placement in [Placement::RoundRobin, Placement::Blocks] {
            for nodes in 1..=MAX_NODES {
                for zones in 1..=nodes.min(5) {
                    let spec = spec(nodes, zones, 1, placement);
                    spec.check().expect("a valid spec");
                    let mut sizes = vec![0_u8; usize::from(zones)];
                    for node in 1..=nodes {
                        sizes[usize::from(spec.zone_of(node)) - 1] += 1;
                    }
                    let least = *sizes.iter().min().expect("a zone");
                    let most = *sizes.iter().max().expect("a zone");
                    assert!(
                        most - least <= 1,
                        "{nodes} nodes in {zones} zones: {sizes:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn dns_instances_are_spread_over_zones_and_avoid_the_aggregator() {
        for placement in [Placement::RoundRobin, Placement::Blocks] {
            let spec = spec(6, 2, 2, placement);
            let nodes = spec.dns_nodes();
            assert!(!nodes.contains(&1));
            assert_ne!(spec.zone_of(nodes[0]), spec.zone_of(nodes[1]));
        }
        assert_eq!(spec(1, 1, 1, Placement::RoundRobin).dns_nodes(), [1]);
        let mut all = spec(5, 3, 5, Placement::Blocks).dns_nodes();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn impossible_clusters_are_refused_with_the_possible_range() {
        let error = |nodes, zones, dns| {
            spec(nodes, zones, dns, Placement::RoundRobin)
                .check()
                .expect_err("refused")
                .to_string()
        };
        assert_eq!(error(0, 1, 1), "a lab has 1 to 200 nodes, not 0");
        assert_eq!(error(3, 4, 1), "3 nodes can be in 1 to 3 zones, not 4");
        assert_eq!(
            error(3, 1, 4),
            "3 nodes can run 1 to 3 DNS instances, not 4"
        );
    }
}
