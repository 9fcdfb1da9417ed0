//! The matrix of one layer, as the API tells it.

use meshprobe_core::path::Layer;
use meshprobe_core::verdict::Verdict;
use meshprobe_proto::v1;

use super::ground::Ground;

/// One layer, source by target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    pub layer: Layer,
    pub sources: Vec<Heading>,
    pub targets: Vec<Heading>,
    verdicts: Vec<u8>,
}

/// The name of a row or of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// As the API tells it.
    pub name: String,
    /// The node that it is, or runs on; empty: neither.
    pub node: String,
    pub zone: String,
}

impl Grid {
    /// Reads an answer of the API.
    pub fn read(layer: Layer, matrix: &v1::Matrix, ground: &Ground) -> Self {
        let heading = |name: &String| {
            let node = if layer.kind.is_between_nodes() {
                name.clone()
            } else {
                let server = name.split('/').next().unwrap_or_default();
                ground.dns.get(server).cloned().unwrap_or_default()
            };
            Heading {
                zone: ground.zone_of(&node).to_owned(),
                name: name.clone(),
                node,
            }
        };
        let source = |name: &String| Heading {
            zone: ground.zone_of(name).to_owned(),
            node: name.clone(),
            name: name.clone(),
        };
        Self {
            layer,
            sources: matrix.sources.iter().map(source).collect(),
            targets: matrix.targets.iter().map(heading).collect(),
            verdicts: matrix.verdicts.to_vec(),
        }
    }

    /// Every cell but those of a node with itself, as row and column.
    pub fn cells(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let all = (0..self.sources.len())
            .flat_map(|row| (0..self.targets.len()).map(move |column| (row, column)));
        all.filter(|(row, column)| {
            !(self.layer.kind.is_between_nodes()
                && self.sources[*row].name == self.targets[*column].name)
        })
    }

    /// `None`: the answer has no such cell, or a number that is no verdict.
    pub fn verdict(&self, row: usize, column: usize) -> Option<Verdict> {
        let number = self.verdicts.get(row * self.targets.len() + column)?;
        Verdict::from_number(*number)
    }

    /// `mesh-2 -> mesh-3`
    pub fn path(&self, row: usize, column: usize) -> String {
        format!(
            "{} -> {}",
            self.sources[row].name, self.targets[column].name
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use meshprobe_core::path::{Family, Plane, ProbeKind};

    use super::super::ground;
    use super::*;

    pub(in crate::scenario::claim) fn layer(kind: ProbeKind) -> Layer {
        Layer {
            kind,
            plane: Plane::Pod,
            family: Family::V4,
        }
    }

    /// The nodes of [`ground::tests::three`], all healthy but the cells that are named.
    pub(in crate::scenario::claim) fn between_three(
        kind: ProbeKind,
        others: &[(usize, usize, Verdict)],
    ) -> Grid {
        let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let mut verdicts = [Verdict::Healthy as u8; 9];
        for (row, column, verdict) in others {
            verdicts[row * 3 + column] = *verdict as u8;
        }
        let matrix = v1::Matrix {
            sources: names.clone(),
            targets: names,
            verdicts: verdicts.to_vec().into(),
            ..v1::Matrix::default()
        };
        Grid::read(layer(kind), &matrix, &ground::tests::three())
    }

    #[test]
    fn a_node_has_no_cell_with_itself_and_a_server_is_where_it_runs() {
        let grid = between_three(ProbeKind::Udp, &[]);
        assert_eq!(grid.cells().count(), 6);
        let matrix = v1::Matrix {
            sources: vec!["a".to_owned()],
            targets: vec!["dns-1/www.example.com.".to_owned(), "vip/x.".to_owned()],
            verdicts: vec![3, 9].into(),
            ..v1::Matrix::default()
        };
        let grid = Grid::read(layer(ProbeKind::DnsUdp), &matrix, &ground::tests::three());
        let nodes: Vec<&str> = grid.targets.iter().map(|t| t.node.as_str()).collect();
        assert_eq!(nodes, ["c", ""]);
        assert_eq!(grid.targets[0].zone, "zone-b");
        assert_eq!(grid.cells().count(), 2);
        assert_eq!(grid.verdict(0, 0), Some(Verdict::Healthy));
        assert_eq!(grid.verdict(0, 1), None);
    }
}
