//! What the pipeline counts.

use meshprobe_core::path::Plane;
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByProber {
    source_node: String,
    plane: String,
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
    pub(crate) details_dropped: Counter,
    pub(crate) details: Gauge,
    pub(crate) detail_bytes: Gauge,
    invalid_probes: Family<ByProber, Counter>,
    on_demand: Family<Outcome, Counter>,
    pub(crate) streams: Gauge,
    pub(crate) nodes: Gauge,
    pub(crate) nodes_reporting: Gauge,
    pub(crate) cell_bytes: Gauge,
    cells: Family<ByVerdict, Gauge>,
}

impl ByProber {
    fn new(node: &str, plane: Plane) -> Self {
        Self {
            source_node: node.to_owned(),
            plane: plane.to_string(),
        }
    }
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
            details_dropped,
            details,
            detail_bytes,
            invalid_probes,
            on_demand,
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
            "Rejected reports, dictionaries, host facts, traces and probe results by reason",
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
        registry.register(
            "details_dropped",
            "What probes found beside their outcomes and was not kept because there was no room",
            details_dropped,
        );
        registry.register(
            "details",
            "Paths with a finding beside the outcome",
            details,
        );
        registry.register(
            "detail_bytes",
            "Memory of what probes found beside their outcomes",
            detail_bytes,
        );
        registry.register(
            "invalid_probes",
            "Probes that a prober threw away because it was itself late, throttled or out of buffers",
            invalid_probes,
        );
        registry.register(
            "probes_on_demand",
            "Probes that somebody asked for: answered, refused, timeout, gone",
            on_demand,
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

    /// One series for each prober that ever had one.
    pub(crate) fn count_invalid(&self, node: &str, plane: Plane, count: u32) {
        if count > 0 {
            self.invalid_probes
                .get_or_create(&ByProber::new(node, plane))
                .inc_by(count.into());
        }
    }

    /// A node's number is free again; so are its series.
    pub(crate) fn forget_node(&self, node: &str) {
        for plane in [Plane::Pod, Plane::Host] {
            self.invalid_probes.remove(&ByProber::new(node, plane));
        }
    }

    pub(crate) fn count_on_demand(&self, result: &'static str) {
        self.on_demand.get_or_create(&Outcome { result }).inc();
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
