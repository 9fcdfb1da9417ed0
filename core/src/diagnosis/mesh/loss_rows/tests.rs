use std::time::Duration;

use super::*;
use crate::diagnosis::mesh::ground::Ground;
use crate::diagnosis::mesh::leg::{Spells, Worst};
use crate::diagnosis::mesh::look::Look;
use crate::diagnosis::mesh::loss::{LossOf, dead_row};
use crate::diagnosis::mesh::outdated::is_outdated;
use crate::diagnosis::mesh::shape::Shape;
use crate::diagnosis::mesh::tally::{Evidence, Visitor};
use crate::diagnosis::sketch::Sketch;
use crate::diagnosis::{CellPicture, Columns, Picture};
use crate::ids::ZoneIndex;

/// The same evidence, shown cell by cell.
struct CellByCell<'a>(LossOf<'a>);

impl CellByCell<'_> {
    /// Every path that is evidence, with its cell.
    fn each(&self, mut take: impl FnMut(usize, usize, &CellPicture)) {
        let Self(of) = self;
        for from in 0..of.ground.len() {
            for to in 0..of.ground.len() {
                let cell = |from: usize, to: usize| {
                    let row = of.layer.rows[of.ground.node(from).index()].as_deref();
                    let row = row.expect("all report");
                    row.cell(of.ground.node(to).index())
                };
                let (cell, back) = (cell(from, to), cell(to, from));
                let touches = |shape: &Shape| shape.touches(of.ground, from, to);
                let is_left_out = of.left_out.iter().any(touches) && dead_row(cell) == 0;
                let is_outdated = of.is_close
                    && is_told(back)
                    && back.lost_at.is_some_and(|lost| is_outdated(cell, lost));
                if from != to && is_told(cell) && !is_left_out && !is_outdated {
                    take(from, to, cell);
                }
            }
        }
    }

    fn each_leg(&self, mut take: impl FnMut(usize, usize, &Sum, Leg)) {
        let one_way = is_one_way(self.0.layer.layer.kind);
        self.each(|from, to, cell| {
            let path = legs_of(to, cell, one_way);
            let told = clean(cell).map_or(Told::Lossy(&path), Told::Clean);
            let [out, back] = told.legs(one_way);
            let [out_sum, back_sum] = told.sums(one_way);
            for (leg, sum, from, to) in [(out, out_sum, from, to), (back, back_sum, to, from)] {
                if let (Some(leg), Some(sum)) = (leg, sum) {
                    take(from, to, &sum, leg);
                }
            }
        });
    }
}

impl Evidence for CellByCell<'_> {
    fn visit(&self, visitor: &mut impl Visitor) {
        self.each_leg(|from, to, sum, _| visitor.leg(from, to, sum));
    }

    fn visit_lossy(
        &self,
        _: impl FnMut(usize, usize, &Worst) -> bool,
        mut take: impl FnMut(usize, usize, Leg),
    ) {
        self.each_leg(|from, to, _, leg| take(from, to, leg));
    }

    fn visit_in(&self, shape: Shape, mut take: impl FnMut(usize, usize, Leg)) {
        self.visit_lossy(
            |_, _, _| true,
            |from, to, leg| {
                if shape.covers(self.0.ground, from, to) {
                    take(from, to, leg);
                }
            },
        );
    }

    fn sum(&self, shape: Shape) -> Sum {
        let mut all = Sum::EMPTY;
        self.each_leg(|from, to, sum, _| {
            if shape.covers(self.0.ground, from, to) {
                all.merge(sum);
            }
        });
        all
    }

    fn words(&self, from: usize, to: usize) -> [Option<Leg>; 2] {
        self.0.words(from, to)
    }

    fn healthy(&self) -> f64 {
        self.0.healthy()
    }
}

/// Twelve nodes in three zones, one of which warms up; one loses what it sends. Their probers report at different times.
fn picture(seed: u64, is_sampled: bool) -> Picture {
    let fault = |_, from, to| if from == 2 && to != 9 { 0.3 } else { 0.0 };
    let sketch = Sketch::of(12, 3).seed(seed).noise(0.003);
    let mut picture = sketch.fault(40.0, fault).picture();
    let mut topology = (*picture.topology).clone();
    let warm = topology.nodes[4].as_mut().expect("all nodes are known");
    warm.is_warming_up = true;
    picture.topology = Arc::new(topology);
    for layer in &mut picture.layers {
        assert!(matches!(layer.columns, Columns::Nodes));
        for (source, row) in layer.rows.iter_mut().enumerate() {
            let mut own = (**row.as_ref().expect("all nodes report")).clone();
            for cell in &mut own.cells {
                let ago = Duration::from_secs((source as u64 * 7 + seed) % 20);
                cell.reported_at = Some(Mark::new(picture.now - ago));
            }
            if is_sampled {
                let columns = (0..12).filter(|column| (column + source) % 3 != 0);
                let columns: Vec<u32> = columns.map(|column| column as u32).collect();
                own.cells = columns.iter().map(|c| own.cells[*c as usize]).collect();
                own.columns = Some(columns.into());
            }
            *row = Some(Arc::new(own));
        }
    }
    picture
}

/// What a look sees.
#[derive(Debug, PartialEq)]
struct Seen {
    /// The sums of every shape, apart by the causes that cover them.
    sums: Vec<(u64, Shape, Sum)>,
    /// What may be a cause of its own.
    notable: Vec<(u32, u32)>,
    most_of_a_path: f64,
}

fn seen(evidence: &impl Evidence, ground: &Ground<'_>, causes: &[(Shape, f64)]) -> Seen {
    let look = Look::at(evidence, ground, causes, 5.0);
    let mut sums = Vec::new();
    for tally in &look.tallies {
        for shape in Shape::candidates(ground) {
            let sum = tally.sum(shape);
            if sum != Sum::EMPTY {
                sums.push((tally.causes, shape, sum));
            }
        }
    }
    sums.sort_by_key(|(mask, shape, _)| (*mask, *shape));
    Seen {
        sums,
        notable: look.notable(evidence),
        most_of_a_path: look.most_of_a_path(evidence),
    }
}

/// What is known of a shape, whatever else covers its legs.
fn known(evidence: &impl Evidence, shape: Shape) -> (Sum, Spells) {
    let mut spells = Spells::NONE;
    evidence.visit_in(shape, |_, _, leg| spells.add(leg.into()));
    (evidence.sum(shape), spells)
}

/// Do the rows of a picture say the same in whole as cell by cell? How many cells of them are outdated?
fn compare(picture: &Picture, rows: &mut LossRows) -> usize {
    let some: [(Shape, f64); 3] = [
        (Shape::Egress(2), 0.3),
        (Shape::ZonePair(0, 1), 0.1),
        (Shape::Path(3, 7), 0.2),
    ];
    let all: [&[(Shape, f64)]; 5] = [
        &[],
        &some,
        &[(Shape::Ingress(5), 0.5), (Shape::Node(1), 0.2)],
        &[(Shape::Zone(2), 0.2)],
        &[(Shape::Everywhere, 0.1)],
    ];
    let mut outdated = 0;
    let ground = Ground::of(picture, &[]);
    let layers: Vec<&LayerPicture> = picture.layers.iter().collect();
    rows.update(&layers, &ground);
    for layer in layers {
        let rows = rows.of(layer.layer);
        outdated += (0..12).map(|row| rows.outdated(row).len()).sum::<usize>();
        let places: [&[Shape]; 2] = [&[], &[Shape::Node(6)]];
        for (left_out, is_close) in places.iter().flat_map(|p| [(*p, false), (*p, true)]) {
            let of = || LossOf {
                layer,
                rows,
                ground: &ground,
                healthy: 1e-3,
                left_out,
                is_close,
            };
            for shape in Shape::candidates(&ground) {
                let by_cell = known(&CellByCell(of()), shape);
                assert_eq!(known(&of(), shape), by_cell, "{shape:?} {left_out:?}");
            }
            for causes in all {
                let by_row = seen(&of(), &ground, causes);
                let by_cell = seen(&CellByCell(of()), &ground, causes);
                assert_eq!(by_row, by_cell, "{causes:?} {left_out:?}");
            }
        }
    }
    outdated
}

#[test]
fn whole_rows_have_the_sums_that_their_cells_have() {
    let mut outdated = 0;
    for (seed, is_sampled) in (0..6).flat_map(|seed| [(seed, false), (seed, true)]) {
        outdated += compare(&picture(seed, is_sampled), &mut LossRows::default());
    }
    assert!(outdated > 10, "{outdated}");
}

#[test]
fn sums_that_are_kept_are_those_of_the_rows_that_stand_now() {
    let mut rows = LossRows::default();
    let mut now = picture(0, false);
    compare(&now, &mut rows);
    for step in 1..12_usize {
        let new = picture(step as u64, step % 3 == 0);
        for (layer, new) in now.layers.iter_mut().zip(new.layers) {
            for source in [step, (step * 5) % 12, (step * 7) % 12] {
                layer.rows[source] = new.rows[source].clone();
            }
        }
        // Now and then somebody else warms up, or is in another zone.
        if step % 4 == 0 {
            let mut topology = (*now.topology).clone();
            let node = topology.nodes[step % 12].as_mut().expect("all are known");
            node.is_warming_up ^= true;
            node.zone = ZoneIndex(1);
            now.topology = Arc::new(topology);
        }
        compare(&now, &mut rows);
    }
}

#[test]
fn columns_that_are_no_nodes_are_in_no_sum() {
    for is_sampled in [false, true] {
        let picture = picture(2, is_sampled);
        let mut fewer = picture.clone();
        let mut topology = (*picture.topology).clone();
        topology.nodes.truncate(9);
        fewer.topology = Arc::new(topology);
        let mut rows = LossRows::default();
        for picture in [&fewer, &picture, &fewer] {
            compare(picture, &mut rows);
        }
    }
}

#[test]
fn a_row_that_stays_is_worked_out_once() {
    let picture = picture(1, false);
    let layers: Vec<&LayerPicture> = picture.layers.iter().collect();
    let mut rows = LossRows::default();
    let ground = Ground::of(&picture, &[]);
    rows.update(&layers, &ground);
    let of = layers[0].layer;
    let first = std::ptr::from_ref(rows.of(of).row(3).expect("it reports"));
    let mut changed = picture.clone();
    changed.layers[0].rows[5] = Some(Arc::new(RowPicture::dense(Vec::new(), Vec::new())));
    rows.update(&changed.layers.iter().collect::<Vec<_>>(), &ground);
    assert_eq!(
        first,
        std::ptr::from_ref(rows.of(of).row(3).expect("it reports"))
    );
    assert!(rows.of(of).row(5).expect("it reports").lossy.is_empty());
    // What is no longer shown is forgotten.
    rows.update(&[], &ground);
    assert!(rows.of(of).row(3).is_none());
}
