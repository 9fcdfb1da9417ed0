//! Whether the configuration in force is the one in the file.

use std::time::Duration;

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

/// The two figures that alerts on configuration stand on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReloadMetrics {
    successful: Gauge,
    success_timestamp: Gauge,
}

impl ReloadMetrics {
    /// Registers them; `registry` has the prefix `meshprobe_aggregator`. The start counts as a success.
    pub fn register(registry: &mut Registry, since_epoch: Duration) -> Self {
        let metrics = Self {
            successful: Gauge::default(),
            success_timestamp: Gauge::default(),
        };
        let Self {
            successful,
            success_timestamp,
        } = metrics.clone();
        registry.register(
            "config_last_reload_successful",
            "1 when the last attempt to load the configuration worked",
            successful,
        );
        registry.register(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in force was loaded",
            success_timestamp,
        );
        metrics.reloaded(true, since_epoch);
        metrics
    }

    pub(crate) fn reloaded(&self, success: bool, since_epoch: Duration) {
        self.successful.set(i64::from(success));
        if success {
            let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
            self.success_timestamp.set(seconds);
        }
    }
}
