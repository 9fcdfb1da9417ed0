//! Pictures in few octets: what is kept of the last minutes, and what a bundle carries.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use meshprobe_core::{
    diagnosis::{
        Columns, HostFacts, LayerPicture, NodePicture, Picture, RowPicture, Topology, TracePicture,
    },
    finding::Finding,
    path::Layer,
    time::Moment,
};

use super::row;
use crate::pack::{self, Damaged};

/// Expanded octets of what is known of the nodes of a picture, and of its traces.
const MOST_KNOWN_OCTETS: usize = 64 << 20;
/// Cells of a picture, all layers together: 5,000 nodes in two layers, and what bounds the memory of a forged file.
const MOST_CELLS: usize = 50_000_000;

/// A picture, packed, with what was found in it. Parts that did not change are shared with its neighbours.
#[derive(Clone, Debug)]
pub struct PackedPicture {
    /// The time of day that `now` was.
    pub at: Timestamp,
    /// The moment on the clock of the aggregator.
    pub now: Moment,
    /// Who was there.
    pub topology: Arc<Topology>,
    /// By layer, in order.
    pub layers: Vec<PackedLayer>,
    /// What the diagnosis found in it.
    pub findings: Arc<[Finding]>,
    /// The nodes without the facts about their hosts, and the traces, as compressed JSON.
    pub(super) known: Arc<[u8]>,
    /// Those facts, which change rarely and may be long.
    pub(super) facts: Vec<PackedFacts>,
}

/// What a prober said of its host.
#[derive(Clone, Debug)]
pub(super) struct PackedFacts {
    /// The node, a place in the nodes of the picture.
    pub(super) node: usize,
    /// The prober, a place in the probers of that node.
    pub(super) prober: usize,
    /// What it said.
    pub(super) facts: Arc<HostFacts>,
}

/// The paths of one layer, packed.
#[derive(Clone, Debug)]
pub struct PackedLayer {
    /// Which layer.
    pub layer: Layer,
    /// Time between two probes of one path.
    pub interval: Duration,
    /// What its columns are.
    pub columns: Arc<Columns>,
    /// By source.
    pub rows: Vec<Option<Arc<[u8]>>>,
}

impl PackedPicture {
    /// The picture.
    pub fn unpack(&self) -> Result<Picture, Damaged> {
        let Self {
            at: _,
            now,
            topology,
            layers,
            findings: _,
            known: _,
            facts,
        } = self;
        let mut room = MOST_CELLS;
        let layers = layers.iter().map(|layer| {
            let width = match &*layer.columns {
                Columns::Nodes => topology.nodes.len(),
                Columns::Targets(targets) => targets.len(),
            };
            let row = |row: &Option<Arc<[u8]>>| {
                row.as_deref()
                    .map(|row| {
                        let row = row::unpack(row)?;
                        let beyond = match &row.columns {
                            None => row.cells.len() > width,
                            Some(columns) => {
                                columns.last().is_some_and(|last| *last as usize >= width)
                            }
                        };
                        if beyond {
                            return Err(Damaged("a row has a cell beyond its columns"));
                        }
                        room = room
                            .checked_sub(row.cells.len())
                            .ok_or(Damaged("a picture has too many paths"))?;
                        Ok(Arc::new(row))
                    })
                    .transpose()
            };
            Ok(LayerPicture {
                layer: layer.layer,
                interval: layer.interval,
                columns: Columns::clone(&layer.columns),
                rows: layer.rows.iter().map(row).collect::<Result<_, _>>()?,
            })
        });
        let layers = layers.collect::<Result<_, _>>()?;
        let (mut nodes, traces) = self.known()?;
        for facts in facts {
            let prober = nodes
                .get_mut(facts.node)
                .and_then(|node| node.probers.get_mut(facts.prober))
                .ok_or(Damaged("there are facts of a prober that is not there"))?;
            prober.facts = Some(Arc::clone(&facts.facts));
        }
        check_numbers(topology, &nodes, &traces)?;
        Ok(Picture {
            known: Arc::default(),
            now: *now,
            topology: Arc::clone(topology),
            layers,
            nodes,
            traces,
        })
    }

    /// The nodes, without facts, and the traces.
    pub(super) fn known(&self) -> Result<(Vec<NodePicture>, Vec<TracePicture>), Damaged> {
        serde_json::from_slice(&pack::expand(&self.known, MOST_KNOWN_OCTETS)?)
            .map_err(|_| Damaged("the nodes of a picture cannot be read"))
    }

    /// What is never shared.
    pub(super) fn frame_octets(&self) -> usize {
        let pointers: usize = self.layers.iter().map(|layer| 16 * layer.rows.len()).sum();
        // A finding is its texts, and a few hundred octets of lists.
        pointers + self.known.len() + 32 * self.facts.len() + 1024 * self.findings.len() + 256
    }
}

/// Packs pictures one after the other; what did not change since the one before is not packed again.
#[derive(Debug, Default)]
pub struct PicturePacker {
    layers: Vec<Last>,
}

/// A layer of the picture before.
#[derive(Debug)]
struct Last {
    layer: Layer,
    columns: Arc<Columns>,
    rows: Vec<Option<LastRow>>,
}

/// A row of the picture before, and as it was packed.
#[derive(Clone, Debug)]
struct LastRow {
    row: Arc<RowPicture>,
    packed: Arc<[u8]>,
}

impl PicturePacker {
    /// Packs the picture that was taken at this time of day, with what was found in it.
    pub fn pack(
        &mut self,
        at: Timestamp,
        picture: &Picture,
        findings: Arc<[Finding]>,
    ) -> PackedPicture {
        let Picture {
            known: _,
            now,
            topology,
            layers,
            nodes,
            traces,
        } = picture;
        let before = std::mem::take(&mut self.layers);
        let packed = layers.iter().map(|layer| {
            let last = before.iter().find(|last| last.layer == layer.layer);
            let (kept, packed) = pack_layer(layer, last);
            self.layers.push(kept);
            packed
        });
        let layers = packed.collect();
        let (nodes, facts) = without_facts(nodes);
        // What is known of nodes is text and numbers, which JSON has.
        let known = serde_json::to_vec(&(nodes, traces)).unwrap_or_default();
        PackedPicture {
            at,
            now: *now,
            topology: Arc::clone(topology),
            layers,
            findings,
            known: pack::compress(&known, 1).into(),
            facts,
        }
    }
}

fn pack_layer(layer: &LayerPicture, last: Option<&Last>) -> (Last, PackedLayer) {
    let columns = match last {
        Some(last) if same_columns(&last.columns, &layer.columns) => Arc::clone(&last.columns),
        _ => Arc::new(layer.columns.clone()),
    };
    let row = |(number, row): (usize, &Option<Arc<RowPicture>>)| {
        let row = row.as_ref()?;
        let known = last.and_then(|last| last.rows.get(number)?.as_ref());
        let packed = match known {
            Some(last) if Arc::ptr_eq(&last.row, row) => Arc::clone(&last.packed),
            _ => row::pack(row).into(),
        };
        let row = Arc::clone(row);
        Some(LastRow { row, packed })
    };
    let rows: Vec<_> = layer.rows.iter().enumerate().map(row).collect();
    let packed = PackedLayer {
        layer: layer.layer,
        interval: layer.interval,
        columns: Arc::clone(&columns),
        rows: rows
            .iter()
            .map(|row| row.as_ref().map(|row| Arc::clone(&row.packed)))
            .collect(),
    };
    let kept = Last {
        layer: layer.layer,
        columns,
        rows,
    };
    (kept, packed)
}

fn same_columns(one: &Columns, other: &Columns) -> bool {
    match (one, other) {
        (Columns::Nodes, Columns::Nodes) => true,
        (Columns::Targets(one), Columns::Targets(other)) => Arc::ptr_eq(one, other) || one == other,
        (Columns::Nodes, Columns::Targets(_)) | (Columns::Targets(_), Columns::Nodes) => false,
    }
}

fn without_facts(nodes: &[NodePicture]) -> (Vec<NodePicture>, Vec<PackedFacts>) {
    let mut nodes = nodes.to_vec();
    let mut all = Vec::new();
    for (node, picture) in nodes.iter_mut().enumerate() {
        for (prober, picture) in picture.probers.iter_mut().enumerate() {
            if let Some(facts) = picture.facts.take() {
                all.push(PackedFacts {
                    node,
                    prober,
                    facts,
                });
            }
        }
    }
    (nodes, all)
}

/// Numbers must be places in their lists: the diagnosis looks them up.
fn check_numbers(
    topology: &Topology,
    nodes: &[NodePicture],
    traces: &[TracePicture],
) -> Result<(), Damaged> {
    let zones = topology.nodes.iter().flatten().map(|node| node.zone);
    let declared = || nodes.iter().filter_map(|node| node.declaration.as_deref());
    let declared_zones = declared().filter_map(|declaration| declaration.zone);
    if zones
        .chain(declared_zones)
        .any(|zone| usize::from(zone.0) >= topology.zones.len().max(1))
    {
        return Err(Damaged("there is a zone that has no name"));
    }
    if declared()
        .flat_map(|declaration| &declaration.nodes)
        .any(|node| node.index() >= topology.nodes.len())
    {
        return Err(Damaged(
            "something was declared of a node that is not there",
        ));
    }
    if traces
        .iter()
        .any(|trace| trace.source.index() >= topology.nodes.len())
    {
        return Err(Damaged("there is a trace of a node that is not there"));
    }
    if nodes.len() != topology.nodes.len() {
        return Err(Damaged("a picture has not as many nodes as its topology"));
    }
    Ok(())
}
