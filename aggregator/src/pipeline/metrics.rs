//! What the pipeline counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Why something happened, or how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByVerdict {
    verdict: &'static str,
}

/// Counters and gauges of ingest, matrix and judge. Cheap to clone; all clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct PipelineMetrics {
    reports: Family<Outcome, Counter>,
    rejected: Family<Reason, Counter>,
    streams_ended: Family<Reason, Counter>,
    confirms: Family<Outcome, Counter>,
    store_batches: Family<Outcome, Counter>,
    pub(crate) path_updates: Counter,
    pub(crate) rows_skipped: Counter,
    pub(crate) streams: Gauge,
    pub(crate) nodes: Gauge,
    pub(crate) nodes_reporting: Gauge,
    pub(crate) cell_bytes: Gauge,
    cells: Family<ByVerdict, Gauge>,
}

impl PipelineMetrics {
    /// Registers everything under `meshprobe_aggregator_`, which the registry has as its prefix.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        let Self {
            reports,
            rejected,
            streams_ended,
            confirms,
            store_batches,
            path_updates,
            rows_skipped,
            streams,
            nodes,
            nodes_reporting,
            cell_bytes,
            cells,
        } = this.clone();
        registry.register(
            "reports",
            "Reports by what became of them: taken, duplicate, late, rejected",
            reports,
        );
        registry.register(
            "reports_rejected",
            "Rejected reports and dictionaries by reason",
            rejected,
        );
        registry.register(
            "prober_streams_ended",
            "Prober streams that the aggregator ended or refused, by reason",
            streams_ended,
        );
        registry.register("confirms", "Confirmations that probers were asked for: sent, dropped because the stream's queue was full", confirms);
        registry.register(
            "store_batches",
            "Batches of node and progress records: stored, failed",
            store_batches,
        );
        registry.register(
            "path_updates",
            "Paths in reports that were applied to the matrix",
            path_updates,
        );
        registry.register(
            "report_rows_skipped",
            "Rows of reports about nodes that are not in the mesh",
            rows_skipped,
        );
        registry.register("prober_streams", "Prober streams that are open", streams);
        registry.register(
            "nodes",
            "Nodes of the mesh, those that are gone not counted",
            nodes,
        );
        registry.register(
            "nodes_reporting",
            "Nodes whose reports are fresh",
            nodes_reporting,
        );
        registry.register(
            "matrix_cell_bytes",
            "Memory of the matrix cells",
            cell_bytes,
        );
        registry.register("cells", "Paths by verdict, over all layers", cells);
        this
    }

    pub(crate) fn count_report(&self, result: &'static str) {
        self.reports.get_or_create(&Outcome { result }).inc();
    }

    pub(crate) fn count_rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn count_stream_ended(&self, reason: &'static str) {
        self.streams_ended.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn count_confirm(&self, result: &'static str) {
        self.confirms.get_or_create(&Outcome { result }).inc();
    }

    pub(crate) fn count_store_batch(&self, result: &'static str) {
        self.store_batches.get_or_create(&Outcome { result }).inc();
    }

    pub(crate) fn set_cells(&self, verdict: &'static str, count: u64) {
        let gauge = self.cells.get_or_create(&ByVerdict { verdict });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn reports(&self, result: &'static str) -> u64 {
        self.reports.get_or_create(&Outcome { result }).get()
    }

    #[cfg(test)]
    pub(crate) fn rejected(&self, reason: &'static str) -> u64 {
        self.rejected.get_or_create(&Reason { reason }).get()
    }

    #[cfg(test)]
    pub(crate) fn streams_ended(&self, reason: &'static str) -> u64 {
        self.streams_ended.get_or_create(&Reason { reason }).get()
    }
}
