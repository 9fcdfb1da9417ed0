//! Numbers of the history.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// What happens to the history. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct HistoryMetrics {
    pub(super) octets: Gauge,
    pub(super) windows: Counter,
    pub(super) deleted: Counter,
    pub(super) gaps: Counter,
    pub(super) dropped: Counter,
    pub(super) pending: Gauge,
    pub(super) writable: Gauge,
    pub(super) oldest: Gauge<f64, AtomicU64>,
    pub(super) pictures: Gauge,
    pub(super) picture_octets: Gauge,
}

impl HistoryMetrics {
    /// Registers them; `registry` has the prefix `meshprobe_aggregator`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self {
            octets,
            windows,
            deleted,
            gaps,
            dropped,
            pending,
            writable,
            oldest,
            pictures,
            picture_octets,
        } = metrics.clone();
        let registry = registry.sub_registry_with_prefix("history");
        registry.register("bytes", "Size of the history that is in use", octets);
        registry.register("windows_written", "Windows that were written", windows);
        registry.register(
            "rows_deleted",
            "Windows and pictures that were deleted, by age or for want of room",
            deleted,
        );
        registry.register(
            "gaps",
            "Times that were marked as unknown: the disk refused for too long, the aggregator did not run, the file was damaged",
            gaps,
        );
        registry.register(
            "records_dropped",
            "Windows and pictures that neither the disk nor memory had room for",
            dropped,
        );
        registry.register(
            "pending_bytes",
            "What waits in memory for a disk that refuses",
            pending,
        );
        registry.register("writable", "1 while the history can be written", writable);
        registry.register(
            "oldest_timestamp_seconds",
            "Start of the oldest window; 0 without one",
            oldest,
        );
        registry.register(
            "pictures",
            "Pictures of the last minutes that are kept in memory",
            pictures,
        );
        registry.register(
            "pictures_bytes",
            "Memory of the pictures of the last minutes",
            picture_octets,
        );
        metrics
    }
}
