//! Looks that follow each other: what has not changed is not looked at again.

use std::sync::Arc;

use super::{
    Columns, Diagnosis, DiagnosisConfig, KnownFindings, KnownRows, LayerPicture, NodePicture,
    Picture, ProberPicture, diagnose_again,
};

/// Diagnoses one picture after the other. The answer is that of [`diagnose`](super::diagnose); a picture that shares everything with the one
/// before, and differs in its moment alone, has the answer of that one. What is found again is known better, and since when.
#[derive(Clone, Debug, Default)]
pub struct Diagnoser {
    config: DiagnosisConfig,
    last: Option<(Picture, Arc<Diagnosis>)>,
    known: Arc<KnownFindings>,
    rows: KnownRows,
}

impl Diagnoser {
    /// A diagnoser that has seen nothing yet.
    pub fn new(config: DiagnosisConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// The causes of what is wrong in a picture, lowest layer first. What it keeps of the picture are its shared rows.
    pub fn diagnose(&mut self, picture: &Picture) -> Arc<Diagnosis> {
        if let Some((before, diagnosis)) = &self.last
            && is_same(before, picture)
        {
            return Arc::clone(diagnosis);
        }
        let picture = Picture {
            known: Arc::clone(&self.known),
            ..picture.clone()
        };
        let mut diagnosis = diagnose_again(&picture, &self.config, &mut self.rows);
        Arc::make_mut(&mut self.known).settle(&mut diagnosis.findings, picture.now);
        let diagnosis = Arc::new(diagnosis);
        self.last = Some((picture, Arc::clone(&diagnosis)));
        diagnosis
    }
}

/// Do two pictures share everything?
fn is_same(one: &Picture, other: &Picture) -> bool {
    let Picture {
        now: _,
        known: _,
        topology,
        layers,
        nodes,
        traces,
    } = one;
    Arc::ptr_eq(topology, &other.topology)
        && layers.len() == other.layers.len()
        && nodes.len() == other.nodes.len()
        && traces == &other.traces
        && layers
            .iter()
            .zip(&other.layers)
            .all(|(a, b)| is_same_layer(a, b))
        && nodes
            .iter()
            .zip(&other.nodes)
            .all(|(a, b)| is_same_node(a, b))
}

fn is_same_layer(one: &LayerPicture, other: &LayerPicture) -> bool {
    let LayerPicture {
        layer,
        interval,
        columns,
        rows,
    } = one;
    let same_columns = match (columns, &other.columns) {
        (Columns::Nodes, Columns::Nodes) => true,
        (Columns::Targets(a), Columns::Targets(b)) => Arc::ptr_eq(a, b),
        _ => false,
    };
    same_columns
        && (layer, interval) == (&other.layer, &other.interval)
        && rows.len() == other.rows.len()
        && rows
            .iter()
            .zip(&other.rows)
            .all(|(a, b)| is_same_arc(a.as_ref(), b.as_ref()))
}

fn is_same_node(one: &NodePicture, other: &NodePicture) -> bool {
    let NodePicture {
        state,
        declaration,
        is_reporting,
        probers,
        events,
    } = one;
    (state, is_reporting) == (&other.state, &other.is_reporting)
        && is_same_arc(declaration.as_ref(), other.declaration.as_ref())
        && events == &other.events
        && probers.len() == other.probers.len()
        && probers
            .iter()
            .zip(&other.probers)
            .all(|(a, b)| is_same_prober(a, b))
}

fn is_same_prober(one: &ProberPicture, other: &ProberPicture) -> bool {
    let ProberPicture {
        plane,
        health,
        facts,
        changes,
    } = one;
    (plane, health) == (&other.plane, &other.health)
        && is_same_arc(facts.as_ref(), other.facts.as_ref())
        && changes == &other.changes
}

fn is_same_arc<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::diagnose;
    use super::super::sketch::Sketch;
    use super::*;

    #[test]
    fn what_has_not_changed_has_the_same_answer_and_what_has_is_looked_at_again() {
        let fault = |_, _, to| if to == 1 { 1.0 } else { 0.0 };
        let mut diagnoser = Diagnoser::default();
        let mut picture = Sketch::of(6, 2).fault(14.0, fault).picture();
        let first = diagnoser.diagnose(&picture);
        assert_eq!(*first, diagnose(&picture, &DiagnosisConfig::default()));
        picture.now = picture.now + Duration::from_secs(1);
        let second = diagnoser.diagnose(&picture);
        assert!(Arc::ptr_eq(&first, &second));
        let healed = Sketch::of(6, 2).picture();
        for (layer, healed) in picture.layers.iter_mut().zip(healed.layers) {
            layer.rows = healed.rows;
        }
        assert!(diagnoser.diagnose(&picture).findings.is_empty());
    }
}
