//! The ways between the nodes of the small cluster.

use std::sync::Arc;
use std::time::Duration;

use super::columns::layer;
use super::faults::Faults;
use crate::diagnosis::{Arrived, CellPicture, Columns, LayerPicture, RowPicture};
use crate::outcome::OutcomeClass;
use crate::path::{Plane, ProbeKind};
use crate::time::{Mark, Moment};
use crate::verdict::Verdict;

/// Clean, but for nodes that are dark or of which nothing leaves, and what is over.
pub(super) fn mesh(nodes: usize, faults: &Faults, now: Moment) -> LayerPicture {
    let good = CellPicture {
        verdict: Verdict::Healthy,
        consecutive_replies: 255,
        sent: 15,
        received: Some(15),
        long_sent: 80.0,
        long_received: Some(80.0),
        lost_at: faults
            .cut_lately
            .then(|| Mark::new(now - Duration::from_secs(3))),
        lost_in_row: if faults.cut_lately { 30 } else { 0 },
        ..CellPicture::NOT_SAMPLED
    };
    let bad = CellPicture {
        verdict: Verdict::Down,
        consecutive_losses: 100,
        failing_for: Duration::from_secs(100),
        arrived_in_row: Some(Arrived::Nothing),
        consecutive_replies: 0,
        lost: 15,
        slot_sent: [5, 10],
        slot_lost: [5, 10],
        received: Some(0),
        long_lost: 40.0,
        failure: Some(OutcomeClass::Timeout),
        ..good
    };
    let no_reply = CellPicture {
        arrived_in_row: Some(Arrived::Most),
        received: Some(15),
        ..bad
    };
    let cell = |source: usize, target: usize| {
        if source == target {
            CellPicture::NOT_SAMPLED
        } else if faults.dark.contains(&source)
            || faults.dark.contains(&target)
            || faults.mute.contains(&source)
        {
            bad
        } else if faults.mute.contains(&target) {
            no_reply
        } else {
            good
        }
    };
    let row = |source: usize| {
        let cells = (0..nodes).map(|target| cell(source, target)).collect();
        Some(Arc::new(RowPicture::dense(cells, Vec::new())))
    };
    LayerPicture {
        layer: layer(ProbeKind::Udp, Plane::Pod),
        interval: Duration::from_secs(1),
        columns: Columns::Nodes,
        rows: (0..nodes).map(row).collect(),
    }
}
