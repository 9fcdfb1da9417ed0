//! A cause between nodes, with what every layer says of it.

use std::sync::Arc;
use std::time::Duration;

use super::flows::FlowCount;
use super::leg::Sum;
use super::loss::is_one_way;
use super::new_flows::NewFlows;
use super::shape::Shape;
use crate::dark::Declaration;
use crate::path::Layer;

/// What one layer says of a cause that another one shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It fails there as well.
    Affected,
    /// It works there.
    Clean,
    /// It will be known when this layer's probes have had their turn.
    Pending,
    /// There is too little to say.
    Unknown,
}

/// How a cause takes packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum What {
    /// All of them, or each with the same chance.
    Loss,
    /// Those of some flows.
    Flows(FlowCount),
    /// Those of new flows; not known for sure until `is_sure`.
    NewFlows(NewFlows),
}

/// One cause.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    /// The layer that shows it best.
    pub(super) layer: Layer,
    /// The legs that it breaks; of a layer that knows only round trips, the paths.
    pub(super) shape: Shape,
    /// How it takes packets.
    pub(super) what: What,
    /// The share of packets that it takes.
    pub(super) ratio: f64,
    /// Nothing gets through.
    pub(super) is_total: bool,
    /// Everything on its legs in its layer.
    pub(super) sum: Sum,
    /// Shapes that the same counts allow.
    pub(super) alternatives: Vec<Shape>,
    /// The detector says so.
    pub(super) declaration: Option<Arc<Declaration>>,
    /// How long it has been total, at least.
    pub(super) age: Duration,
    /// What each layer between nodes says.
    pub(super) words: Vec<(Layer, Word)>,
}

impl Cause {
    /// The share of round trips that it takes.
    pub(super) fn of_round_trips(&self) -> f64 {
        let both = self.shape == self.shape.both_ways();
        if both && is_one_way(self.layer.kind) {
            1.0 - (1.0 - self.ratio).powi(2)
        } else {
            self.ratio
        }
    }

    /// The words of the layers for which `wanted` holds.
    fn words_of(&self, wanted: impl Fn(Layer) -> bool) -> Vec<Word> {
        let words = self.words.iter().filter(|(layer, _)| wanted(*layer));
        words.map(|(_, word)| *word).collect()
    }

    /// What the layers for which `wanted` holds say together.
    pub(super) fn verdict(&self, wanted: impl Fn(Layer) -> bool) -> Word {
        let words = self.words_of(wanted);
        for word in [Word::Affected, Word::Pending, Word::Clean] {
            if words.contains(&word) {
                return word;
            }
        }
        Word::Unknown
    }
}
