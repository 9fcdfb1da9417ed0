//! What the pipeline counts.

use std::time::Duration;

use meshprobe_core::finding::{Finding, Pattern};
use meshprobe_core::path::Plane;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByPattern {
    pattern: &'static str,
}

/// From a lab of three nodes to five thousand sampled ones under a broken network.
const DIAGNOSIS_SECONDS: [f64; 12] = [
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];

/// Counters and gauges of ingest, matrix, judge and diagnosis. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
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
    pub(crate) diagnosis_skipped: Counter,
    diagnosis_seconds: Histogram,
    findings: Family<ByPattern, Gauge>,
}

impl Default for PipelineMetrics {
    fn default() -> Self {
        Self {
            reports: Family::default(),
            rejected: Family::default(),
            streams_ended: Family::default(),
            confirms: Family::default(),
            store_batches: Family::default(),
            path_updates: Counter::default(),
            rows_skipped: Counter::default(),
            details_dropped: Counter::default(),
            details: Gauge::default(),
            detail_bytes: Gauge::default(),
            invalid_probes: Family::default(),
            on_demand: Family::default(),
            streams: Gauge::default(),
            nodes: Gauge::default(),
            nodes_reporting: Gauge::default(),
            cell_bytes: Gauge::default(),
            cells: Family::default(),
            diagnosis_skipped: Counter::default(),
            diagnosis_seconds: Histogram::new(DIAGNOSIS_SECONDS),
            findings: Family::default(),
        }
    }
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
            diagnosis_skipped,
            diagnosis_seconds,
            findings,
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
        registry.register(
            "diagnosis_skipped",
            "Pictures of the mesh that were replaced by newer ones before they were diagnosed",
            diagnosis_skipped,
        );
        registry.register(
            "diagnosis_seconds",
            "Time that one run of the diagnosis takes",
            diagnosis_seconds,
        );
        registry.register(
            "findings",
            "Causes that the newest run of the diagnosis found, by pattern",
            findings,
        );
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

    /// A run of the diagnosis ended.
    pub(crate) fn count_diagnosis(&self, findings: &[Finding], took: Duration) {
        self.diagnosis_seconds.observe(took.as_secs_f64());
        for pattern in Pattern::ALL {
            let count = findings.iter().filter(|f| f.pattern == *pattern).count();
            let label = ByPattern {
                pattern: pattern.as_str(),
            };
            // A pattern that was never found has no series.
            if count > 0 || self.findings.get(&label).is_some() {
                self.findings.get_or_create(&label).set(count as i64);
            }
        }
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
