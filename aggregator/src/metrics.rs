//! The aggregator's metrics. Their number grows with nodes' states, verdicts, patterns and zones, never with paths.
//!
//! What changes by events is counted where it happens ([`NotificationMetrics`], the ingest's own); what is a state is
//! read when somebody scrapes ([`StateCollector`]), so it cannot disagree with the API.

mod notifications;
mod reload;
mod silences;
mod state;

pub use notifications::NotificationMetrics;
pub use reload::ReloadMetrics;
pub use silences::SilenceMetrics;
pub use state::StateCollector;
