//! Causes on the ways between nodes.
//!
//! Each layer is searched by itself (`search`), the one that knows the two ways apart first. Then every other layer is asked
//! what it says of each cause (`across`): what only the pod network shows is the overlay's, what only one kind shows is a
//! firewall's, what only one family shows is that family's. What is not known yet, because the other layers' probes have
//! not had their turn, is not told yet; it explains its paths all the same.
//!
//! | file | what is in it |
//! |---|---|
//! | `ground` | who is judged |
//! | `shape` | the shapes of causes, and what they cover |
//! | `leg`, `tally`, `look`, `loss`, `loss_rows`, `loss_sums`, `kept`, `outdated` | counts of legs, and how a layer's paths become legs |
//! | `search`, `localiser` | the fewest shapes that explain the counts; layer after layer |
//! | `flows`, `new_flows` | what takes some flows and spares others |
//! | `across`, `cell_sums`, `cause` | what every layer says of a cause |
//! | `naming`, `telling`, `sentence`, `measure` | its name, its sentences, its numbers |
//! | `marks`, `mtu`, `slow` | what is no loss: sizes and times |
//! | `explained` | what the stages after this one have to know |

mod across;
mod cause;
mod cell_sums;
mod explained;
mod flows;
mod ground;
mod kept;
mod leg;
mod localiser;
mod look;
mod loss;
mod loss_rows;
mod loss_sums;
mod marks;
mod measure;
mod mtu;
mod naming;
mod new_flows;
mod outdated;
mod search;
mod sentence;
mod shape;
mod slow;
mod tally;
mod telling;

pub use explained::{Explained, ExplainedCause};

pub(super) use self::loss_rows::LossRows;

use self::ground::Ground;
use self::localiser::Localiser;
use self::naming::Extent;
use super::{Columns, DiagnosisConfig, LayerPicture, Picture};
use crate::finding::Finding;
use crate::path::{Layer, ProbeKind};

/// Causes between nodes, and what they explain. `earlier`: what was found so far; `rows`: what is known of the rows of the
/// picture before.
pub(super) fn findings(
    picture: &Picture,
    earlier: &[Finding],
    config: &DiagnosisConfig,
    rows: &mut LossRows,
) -> (Vec<Finding>, Explained) {
    let ground = Ground::of(picture, earlier);
    let mut explained = Explained::of(&ground);
    if ground.len() < 2 {
        return (Vec::new(), explained);
    }
    let layers = layers(picture);
    rows.update(&layers, &ground);
    let localiser = Localiser {
        ground: &ground,
        layers: &layers,
        rows,
        config,
    };
    let mut findings = Vec::new();
    let mut broken = Vec::new();
    let looks = localiser.survey();
    let slow: Vec<Layer> = layers
        .iter()
        .zip(&looks)
        .filter(|(_, look)| look.is_slow)
        .map(|(layer, _)| layer.layer)
        .collect();
    for cause in localiser.causes(looks) {
        let extent = naming::extent(&cause);
        let shown = extent.unwrap_or(Extent::All);
        let pattern = naming::pattern_of(&cause, shown);
        let scope = naming::scope(cause.shape, shown, &ground);
        explained.add(&cause, shown, pattern, scope.clone());
        if cause.is_total {
            broken.push(cause.shape);
        }
        if extent.is_some() && localiser.is_ripe(&cause) {
            findings.push(telling::finding(&localiser, &cause, shown, pattern, scope));
        }
    }
    findings.extend(mtu::findings(picture, &ground, config));
    findings.extend(slow::findings(picture, &ground, &slow, &broken, config));
    (findings, explained)
}

/// The layers between nodes whose loss tells where a fault is, in the order in which they are searched: those that know the
/// two ways apart first.
fn layers(picture: &Picture) -> Vec<&LayerPicture> {
    let is_ours = |layer: &&LayerPicture| {
        matches!(layer.columns, Columns::Nodes)
            && matches!(
                layer.layer.kind,
                ProbeKind::Udp | ProbeKind::Tcp | ProbeKind::Quic | ProbeKind::Icmp
            )
    };
    let mut layers: Vec<&LayerPicture> = picture.layers.iter().filter(is_ours).collect();
    let rank = |kind: ProbeKind| match kind {
        ProbeKind::Udp => 0,
        ProbeKind::Tcp => 1,
        ProbeKind::Icmp => 2,
        _ => 3,
    };
    layers.sort_by_key(|layer| {
        let Layer {
            kind,
            plane,
            family,
        } = layer.layer;
        (rank(kind), plane, family)
    });
    layers
}

#[cfg(test)]
mod tests;
