//! From the pictures of ten seconds to what is kept of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use meshprobe_core::{
    diagnosis::{CellPicture, Columns, LayerPicture, Picture, RowPicture, Topology},
    path::Layer,
    rtt::{Rtt, RttCode},
    verdict::Verdict,
};

use super::window::{Axes, Counted, LayerWindow, Line, MOST_COUNTED, Sum, ZoneLine, runs};
use crate::snapshot::PathEnd;

/// Unhealthy paths of one layer that are remembered until the window ends. What is unhealthy then counts in any case.
const MOST_REMEMBERED: usize = 200_000;

/// The worst that was seen of each path since the window began.
#[derive(Debug, Default)]
pub(super) struct Worst {
    layers: HashMap<Layer, WorstOfLayer>,
    topology: Option<Arc<Topology>>,
}

#[derive(Debug, Default)]
struct WorstOfLayer {
    /// By numbers of source and column.
    cells: HashMap<(u32, u32), CellPicture>,
    /// Rows as they were seen last: a row that is the same is not looked at again.
    seen: Vec<Option<Arc<RowPicture>>>,
    columns: Option<Columns>,
}

impl Worst {
    /// Looks at a picture.
    pub(super) fn observe(&mut self, picture: &Picture) {
        let renumbered = self
            .topology
            .as_ref()
            .is_some_and(|known| !is_extended_by(known, &picture.topology));
        if renumbered {
            self.layers.clear();
        }
        self.topology = Some(Arc::clone(&picture.topology));
        for layer in &picture.layers {
            let known = self.layers.entry(layer.layer).or_default();
            known.observe(layer);
        }
    }

    /// A new window begins: only what is seen from now on counts.
    pub(super) fn begin(&mut self) {
        for layer in self.layers.values_mut() {
            layer.cells.clear();
            layer.seen.clear();
        }
    }

    fn of(&self, layer: Layer, source: usize, column: usize) -> Option<&CellPicture> {
        let cells = &self.layers.get(&layer)?.cells;
        cells.get(&(source as u32, column as u32))
    }
}

impl WorstOfLayer {
    fn observe(&mut self, layer: &LayerPicture) {
        if !same_columns(self.columns.as_ref(), &layer.columns) {
            *self = Self {
                columns: Some(layer.columns.clone()),
                ..Self::default()
            };
        }
        for (source, row) in layer.rows.iter().enumerate() {
            let Some(row) = row else { continue };
            let before = self.seen.get(source).and_then(Option::as_ref);
            if before.is_some_and(|before| Arc::ptr_eq(before, row)) {
                continue;
            }
            for (column, cell) in row.iter() {
                if !cell.verdict.is_unhealthy() {
                    continue;
                }
                let key = (source as u32, column as u32);
                let room = self.cells.len() < MOST_REMEMBERED;
                match self.cells.entry(key) {
                    Entry::Occupied(mut worst) if cell.verdict >= worst.get().verdict => {
                        worst.insert(*cell);
                    }
                    Entry::Vacant(place) if room => {
                        place.insert(*cell);
                    }
                    Entry::Occupied(_) | Entry::Vacant(_) => {}
                }
            }
        }
        self.seen.clone_from(&layer.rows);
    }
}

/// Does every number of `known` mean the same in `now`?
fn is_extended_by(known: &Arc<Topology>, now: &Arc<Topology>) -> bool {
    Arc::ptr_eq(known, now)
        || known.nodes.iter().enumerate().all(|(number, node)| {
            let (Some(node), Some(Some(now))) = (node, now.nodes.get(number)) else {
                return true;
            };
            node.name == now.name
        })
}

fn same_columns(known: Option<&Columns>, now: &Columns) -> bool {
    match (known, now) {
        (Some(Columns::Nodes), Columns::Nodes) => true,
        (Some(Columns::Targets(known)), Columns::Targets(now)) => {
            Arc::ptr_eq(known, now) || known == now
        }
        _ => false,
    }
}

/// Numbers of a picture in the order of names.
struct Order {
    axes: Arc<Axes>,
    /// Numbers of the sources, by row.
    sources: Vec<usize>,
    /// Row or column of each number of the picture; `None`: nobody has it.
    column_of: Vec<Option<usize>>,
    is_between_nodes: bool,
}

impl Order {
    fn new(picture: &Picture, layer: &LayerPicture) -> Self {
        let topology = &picture.topology;
        let mut nodes: Vec<(usize, PathEnd)> = topology
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(number, node)| {
                let node = node.as_ref()?;
                let zone = topology.zones.get(usize::from(node.zone.0));
                let end = PathEnd {
                    name: node.name.to_string(),
                    zone: zone.cloned().unwrap_or_default(),
                };
                Some((number, end))
            })
            .collect();
        nodes.sort_unstable_by(|(_, one), (_, other)| one.name.cmp(&other.name));
        let sources: Vec<usize> = nodes.iter().map(|(number, _)| *number).collect();
        let ends: Vec<PathEnd> = nodes.into_iter().map(|(_, end)| end).collect();
        let (targets, column_of) = match &layer.columns {
            Columns::Nodes => {
                let mut column_of = vec![None; topology.nodes.len()];
                for (column, number) in sources.iter().enumerate() {
                    column_of[*number] = Some(column);
                }
                (ends.clone(), column_of)
            }
            Columns::Targets(targets) => {
                let ends = targets.iter().map(|target| PathEnd {
                    name: target.heading.clone(),
                    zone: String::new(),
                });
                (ends.collect(), (0..targets.len()).map(Some).collect())
            }
        };
        Self {
            axes: Arc::new(Axes {
                sources: ends,
                targets,
            }),
            sources,
            column_of,
            is_between_nodes: matches!(layer.columns, Columns::Nodes),
        }
    }
}

/// What is kept of a layer: the counts of its last picture, and of each path the worst that was seen.
pub(super) fn layer_window(picture: &Picture, layer: &LayerPicture, worst: &Worst) -> LayerWindow {
    let order = Order::new(picture, layer);
    let axes = Arc::clone(&order.axes);
    let mut plane = vec![Verdict::NotSampled as u8; axes.paths() as usize];
    let mut rows = Vec::with_capacity(axes.sources.len());
    let mut columns = vec![Sum::EMPTY; axes.targets.len()];
    let zones = Zones::new(&axes, order.is_between_nodes);
    let mut pairs = vec![Sum::EMPTY; zones.names.len() * zones.names.len()];
    let mut counted = Vec::new();
    for (row, source) in order.sources.iter().enumerate() {
        let mut sum = Sum::EMPTY;
        let first_pair = zones
            .of_source
            .get(row)
            .map(|zone| zone * zones.names.len());
        let cells = layer.rows.get(*source).and_then(Option::as_ref);
        let cells = cells.into_iter().flat_map(|row| row.iter());
        for (number, cell) in cells {
            let Some(Some(column)) = order.column_of.get(number).copied() else {
                continue;
            };
            if cell.verdict > Verdict::NoData && cell.sent > 0 {
                let (sent, lost, received) = (cell.sent, cell.lost, cell.received);
                let rtt = code(cell);
                sum.add(sent, lost, received, rtt);
                columns[column].add(sent, lost, received, rtt);
                if let Some(first) = first_pair {
                    pairs[first + zones.of_target[column]].add(sent, lost, received, rtt);
                }
            }
            let worst = worst.of(layer.layer, *source, number);
            let told = match worst {
                Some(worst) if worst.verdict >= cell.verdict => worst,
                _ => cell,
            };
            let path = axes.number(row, column);
            plane[path as usize] = told.verdict as u8;
            if told.verdict.is_unhealthy() && counted.len() < MOST_COUNTED {
                counted.push(Counted {
                    path,
                    sent: told.sent.into(),
                    lost: told.lost.into(),
                    received: told.received.map(u32::from),
                    failure: told.failure,
                    rtt: code(told),
                });
            }
        }
        rows.push(sum.line());
    }
    // Rows may list their columns in another order than that of names.
    counted.sort_unstable_by_key(|one| one.path);
    let (sampled, odd) = runs(&plane);
    LayerWindow {
        sampled: sampled.into(),
        rows,
        columns: columns.iter().map(Sum::line).collect::<Vec<Line>>(),
        zones: zones.lines(&pairs),
        odd,
        counted,
        axes,
    }
}

/// The zones of the ends of a layer, numbered.
struct Zones<'a> {
    names: Vec<&'a str>,
    /// By row; empty where the targets are no nodes.
    of_source: Vec<usize>,
    /// By column.
    of_target: Vec<usize>,
}

impl<'a> Zones<'a> {
    fn new(axes: &'a Axes, is_between_nodes: bool) -> Self {
        if !is_between_nodes {
            return Self {
                names: Vec::new(),
                of_source: Vec::new(),
                of_target: Vec::new(),
            };
        }
        let ends = axes.sources.iter().chain(&axes.targets);
        let number: BTreeMap<&str, usize> = ends
            .map(|end| end.zone.as_str())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .zip(0..)
            .collect();
        let of = |ends: &[PathEnd]| ends.iter().map(|end| number[end.zone.as_str()]).collect();
        Self {
            of_source: of(&axes.sources),
            of_target: of(&axes.targets),
            names: number.into_keys().collect(),
        }
    }

    /// Pairs that have paths with data.
    fn lines(&self, pairs: &[Sum]) -> Vec<ZoneLine> {
        let line = |(place, sum): (usize, &Sum)| {
            let line = sum.line();
            let (from, to) = (place / self.names.len(), place % self.names.len());
            (line.paths > 0).then(|| ZoneLine {
                from: self.names[from].to_owned(),
                to: self.names[to].to_owned(),
                line,
            })
        };
        pairs.iter().enumerate().filter_map(line).collect()
    }
}

fn code(cell: &CellPicture) -> RttCode {
    cell.rtt
        .map_or(RttCode::NONE, |rtt| Rtt::from_duration(rtt).code())
}
