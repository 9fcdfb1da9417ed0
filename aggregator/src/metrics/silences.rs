//! How often silences were heeded.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::silence::{Mute, MutedBy};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    by: &'static str,
}

/// Counts incidents that nobody was told of. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SilenceMetrics {
    held: Family<By, Counter>,
}

impl SilenceMetrics {
    /// Registers them; `registry` has the prefix `meshprobe_aggregator`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "incidents_held",
            "Incidents that were silenced when people would have been told, by a silence, maintenance or draining",
            metrics.held.clone(),
        );
        for by in ["silence", "maintenance", "draining"] {
            drop(metrics.held.get_or_create(&By { by }));
        }
        metrics
    }

    /// One more, once for each kind of reason.
    pub(crate) fn held(&self, mute: &Mute) {
        let mut kinds: Vec<&'static str> = mute.by.iter().map(MutedBy::as_str).collect();
        kinds.dedup();
        for by in kinds {
            self.held.get_or_create(&By { by }).inc();
        }
    }
}
