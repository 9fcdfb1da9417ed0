//! Pictures of the mesh for the diagnosis, one a second at most, made in steps between reports.
//!
//! A walk goes over all rows and builds those with something new in them (see `matrix::picture`); the rest is shared with
//! the picture before. A step builds so many cells that it takes a millisecond or two, so a dark node is judged in time
//! while the picture of a thousand nodes is being made. The rows of one picture may be some hundred milliseconds apart.

use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::dark::Declaration;
use meshprobe_core::diagnosis::{
    ClusterEvent, Columns, LayerPicture, NodePicture, Picture, Target, Topology, TopologyNode,
    TracePicture,
};
use meshprobe_core::ids::NodeIndex;
use meshprobe_core::path::Layer;
use meshprobe_core::time::Moment;
use tokio::sync::watch;

use super::Mesh;
use crate::ingest::session::ProberKey;
use crate::matrix::{BuiltRow, Matrix, PathKey};
use crate::membership::{Member, NodeEvent};
use crate::pipeline::Now;
use crate::pipeline::diagnosis::Shot;
use crate::plan::PlanConfig;

/// Time between two pictures.
const PICTURE_GAP: Duration = Duration::from_secs(1);
/// The same when nobody reports anything: what is known grows old by itself, and every window of the history needs a picture.
const PICTURE_REFRESH: Duration = Duration::from_secs(5);
/// Cells that one step builds, and the time between two steps: four million cells a second at most, at a fifth of a core.
const PICTURE_STEP: usize = 20_000;
const STEP_GAP: Duration = Duration::from_millis(5);
/// Cells of all rows together, some 64 octets each: a full mesh of a thousand nodes by four kinds. A larger one is looked
/// at by a sample of its columns, another one for each row, whether they are healthy or not.
const PICTURE_CELLS: usize = 4_000_000;
/// Traces that are older are no evidence for what fails now.
const TRACES_KEPT: Duration = Duration::from_secs(600);

/// The rows of one layer as they were built last.
#[derive(Debug)]
struct LayerRows {
    layer: Layer,
    /// Place of each target of the layer in the rows of the matrix; `None`: columns are nodes.
    targets: Option<(Vec<usize>, Arc<[Target]>)>,
    rows: Vec<Option<BuiltRow>>,
}

impl LayerRows {
    fn new(layer: Layer) -> Self {
        Self {
            layer,
            targets: None,
            rows: Vec::new(),
        }
    }

    /// The targets may be others than before: then no row is as it was.
    fn follow_targets(&mut self, matrix: &Matrix, plan: &PlanConfig) {
        if self.layer.kind.is_between_nodes() {
            return;
        }
        let (places, targets): (Vec<usize>, Vec<Target>) = matrix
            .targets
            .pictures(self.layer, plan)
            .into_iter()
            .unzip();
        let is_same = self
            .targets
            .as_ref()
            .is_some_and(|(known, list)| *known == places && **list == *targets);
        if !is_same {
            self.targets = Some((places, targets.into()));
            self.rows.clear();
        }
    }
}

/// The pictures and what is kept between two of them.
#[derive(Debug)]
pub(super) struct Pictures {
    pub(super) shots: watch::Sender<Option<Shot>>,
    layers: Vec<LayerRows>,
    topology: Arc<Topology>,
    /// Of the columns that are nodes every so many-th is looked at.
    stride: usize,
    /// The walk under way: the next layer and row.
    walk: Option<(usize, usize)>,
    due: Moment,
    /// When one is made although nothing happened; `None`: not before the first.
    refresh_at: Option<Moment>,
    /// Something happened since the last walk began.
    has_news: bool,
    number: u64,
}

impl Pictures {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            shots: watch::Sender::new(None),
            layers: Vec::new(),
            topology: Arc::default(),
            stride: 1,
            walk: None,
            due: now,
            refresh_at: None,
            has_news: false,
            number: 0,
        }
    }

    /// Something happened that a picture would show.
    pub(super) fn note_news(&mut self) {
        self.has_news = true;
    }

    /// A node's number is free again: what was built of the mesh with it is over.
    pub(super) fn forget_rows(&mut self) {
        for layer in &mut self.layers {
            layer.rows.clear();
        }
    }

    /// When [`Mesh::step_picture`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        if self.walk.is_some() || self.has_news {
            Some(self.due)
        } else {
            self.refresh_at
        }
    }
}

impl Mesh {
    /// Goes on with the picture under way, or begins one if it is time. Nothing is made during the warm-up.
    pub(super) fn step_picture(&mut self, now: Now) {
        if self.pictures.due > now.moment || !self.judge.judging(now.moment).is_active() {
            return;
        }
        if self.pictures.walk.is_none() {
            let is_old = |at: Moment| at <= now.moment;
            if !self.pictures.has_news && !self.pictures.refresh_at.is_some_and(is_old) {
                return;
            }
            self.begin_picture(now.moment);
        }
        if self.build_rows(now.moment, PICTURE_STEP) {
            self.finish_picture(now);
        } else {
            self.pictures.due = now.moment + STEP_GAP;
        }
    }

    fn begin_picture(&mut self, now: Moment) {
        let Self {
            pictures,
            matrix,
            membership,
            plan,
            ..
        } = self;
        pictures.has_news = false;
        let present = membership.present().count();
        let between_nodes = matrix.layers().iter();
        let between_nodes = between_nodes.filter(|cells| cells.layer.kind.is_between_nodes());
        let cells = present * present * between_nodes.count();
        let stride = cells.div_ceil(PICTURE_CELLS).max(1);
        if pictures.stride != stride {
            pictures.stride = stride;
            pictures.forget_rows();
        }
        pictures.walk = Some((0, 0));
        pictures.due = now;
        for cells in matrix.layers() {
            let found = pictures
                .layers
                .binary_search_by_key(&cells.layer, |rows| rows.layer);
            let place = found.unwrap_or_else(|place| {
                pictures.layers.insert(place, LayerRows::new(cells.layer));
                place
            });
            pictures.layers[place].follow_targets(matrix, plan);
        }
    }

    /// Builds rows until about `budget` cells are built. True: that was the last one.
    fn build_rows(&mut self, now: Moment, budget: usize) -> bool {
        let Self {
            pictures,
            matrix,
            membership,
            ..
        } = self;
        let Some((layer, row)) = &mut pictures.walk else {
            return true;
        };
        let nodes = membership.index_bound();
        let stride = pictures.stride;
        let mut left = budget;
        while let Some(rows) = pictures.layers.get_mut(*layer) {
            let Some(cells) = matrix.layer(rows.layer) else {
                *layer += 1;
                continue;
            };
            rows.rows.resize(cells.sources(), None);
            while *row < cells.sources() {
                if left == 0 {
                    return false;
                }
                let source = NodeIndex(*row as u32);
                let built = &mut rows.rows[*row];
                *row += 1;
                left -= 1;
                if !cells.has_news(source, built.as_ref(), now) {
                    continue;
                }
                let targets = rows.targets.as_ref();
                let width = targets.map_or(nodes.div_ceil(stride), |(places, _)| places.len());
                left = left.saturating_sub(width);
                *built = match &rows.targets {
                    None => {
                        let first = source.index() % stride;
                        let columns = (first..nodes).step_by(stride).map(|c| (c, c));
                        matrix.build_row(cells, source, columns, nodes, now)
                    }
                    Some((places, _)) => {
                        let columns = places.iter().copied().enumerate();
                        matrix.build_row(cells, source, columns, places.len(), now)
                    }
                };
            }
            *layer += 1;
            *row = 0;
        }
        true
    }

    fn finish_picture(&mut self, now: Now) {
        let topology = self.topology(now.moment);
        let nodes = self.node_pictures(now);
        let traces = self.trace_pictures(now.moment);
        let Self {
            pictures, matrix, ..
        } = self;
        pictures.walk = None;
        pictures.due = now.moment + PICTURE_GAP;
        pictures.refresh_at = Some(now.moment + PICTURE_REFRESH);
        pictures.number += 1;
        if *pictures.topology != topology {
            pictures.topology = Arc::new(topology);
        }
        let layers = pictures.layers.iter().map(|rows| LayerPicture {
            layer: rows.layer,
            interval: matrix.interval(rows.layer),
            columns: match &rows.targets {
                None => Columns::Nodes,
                Some((_, targets)) => Columns::Targets(Arc::clone(targets)),
            },
            rows: rows
                .rows
                .iter()
                .map(|built| built.as_ref().map(|built| Arc::clone(&built.row)))
                .collect(),
        });
        let picture = Picture {
            known: Arc::default(),
            now: now.moment,
            topology: Arc::clone(&pictures.topology),
            layers: layers.collect(),
            nodes,
            traces,
        };
        pictures.shots.send_replace(Some(Shot {
            number: pictures.number,
            picture: Arc::new(picture),
            at: now.wall,
        }));
    }

    fn topology(&self, now: Moment) -> Topology {
        let mut nodes = vec![None; self.membership.index_bound()];
        for (node, member) in self.membership.present() {
            let addresses = member.profile.addresses.iter();
            nodes[node.index()] = Some(TopologyNode {
                name: member.profile.name.clone(),
                zone: member.zone,
                lifecycle: member.lifecycle,
                is_warming_up: self.judge.is_warming_up(node, now),
                addresses: addresses.map(|a| (a.plane, a.ip)).collect(),
            });
        }
        Topology {
            nodes,
            zones: self.membership.zones().names().to_vec(),
        }
    }

    fn node_pictures(&self, now: Now) -> Vec<NodePicture> {
        let mut nodes = vec![NodePicture::UNKNOWN; self.membership.index_bound()];
        for (node, member) in self.membership.present() {
            nodes[node.index()] = self.node_picture(node, member, now);
        }
        for declaration in self.judge.declarations() {
            let declaration: Arc<Declaration> = Arc::new(declaration.clone());
            for node in &declaration.nodes {
                if let Some(picture) = nodes.get_mut(node.index()) {
                    picture.declaration = Some(Arc::clone(&declaration));
                }
            }
        }
        nodes
    }

    fn node_picture(&self, node: NodeIndex, member: &Member, now: Now) -> NodePicture {
        let probers = member.seats().filter_map(|seat| {
            let plane = seat.plane;
            let host = self.hosts.get(ProberKey { node, plane })?;
            Some(host.picture(plane))
        });
        NodePicture {
            state: self.judge.node_state(node),
            is_reporting: self.is_reporting(node, now.moment),
            probers: probers.collect(),
            events: member
                .events()
                .fresh(now.wall)
                .map(|event| cluster_event(event, now))
                .collect(),
            declaration: None,
        }
    }

    fn trace_pictures(&self, now: Moment) -> Vec<TracePicture> {
        let place = |path: &PathKey| {
            let layers = &self.pictures.layers;
            let found = layers.binary_search_by_key(&path.layer, |rows| rows.layer);
            match &layers[found.ok()?].targets {
                None => Some(path.column),
                Some((places, _)) => {
                    let place = places.binary_search(&(path.column as usize)).ok()?;
                    u32::try_from(place).ok()
                }
            }
        };
        self.matrix.trace_pictures(now - TRACES_KEPT, place)
    }
}

/// An event at the moment of this process that it happened at.
fn cluster_event(event: &NodeEvent, now: Now) -> ClusterEvent {
    ClusterEvent {
        at: now.moment_at(event.at),
        reason: event.reason.clone(),
        message: event.message.clone(),
    }
}
