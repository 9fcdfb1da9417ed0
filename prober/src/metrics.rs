//! What `/metrics` shows: O(kinds × planes × outcomes) series, never one for each pair.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use meshprobe_core::outcome::{Outcome, OutcomeClass};
use meshprobe_core::path::{Layer, ProbeKind};
use meshprobe_core::stamp::reflect::Refusal;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::spool::{Fill, Way};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProbeLabels {
    kind: String,
    plane: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WayLabel {
    way: &'static str,
}

/// Seconds: from a switch between two nodes of a rack to the longest wait.
const RTT_BUCKETS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0,
];

const PLANES: usize = 3;
const KINDS: usize = ProbeKind::ALL.len();
const CLASSES: usize = OutcomeClass::ALL.len();

/// Counters of the prober. Written next to what they count, from any thread.
#[derive(Debug)]
pub struct Metrics {
    probes: Family<ProbeLabels, Counter>,
    /// A family's series are found by hashing strings; these are the same counters by number.
    probe_cells: [OnceLock<Counter>; KINDS * PLANES * CLASSES],
    rtt: Family<KindLabel, Histogram, fn() -> Histogram>,
    rtt_cells: [OnceLock<Histogram>; KINDS],
    refused: [Counter; Refusal::ALL.len()],
    responder_answers: Counter,
    responder_send_errors: Counter,
    /// Probes beyond the schedule, to confirm something.
    pub probes_extra: Counter,
    /// Answers to a probe that was answered already.
    pub replies_duplicate: Counter,
    /// Answers that were overtaken by the answer to a later probe.
    pub replies_reordered: Counter,
    /// Packets at the probing socket that answer nothing that was sent.
    pub replies_unknown: Counter,
    /// Packets at the probing socket that are no STAMP replies.
    pub replies_malformed: Counter,
    /// Packets without a kernel receive stamp: user-space time was used.
    pub stamps_missing: Counter,
    /// Send calls that took so long that their round trip is not used.
    pub sends_preempted: Counter,
    /// Wake-ups of the engine that came more than 20 ms late.
    pub engine_stalls: Counter,
    /// Packets that the kernel dropped because an own socket's buffer was full.
    pub socket_overflows: Counter,
    /// Probes to oneself over loopback that did not come back in time.
    pub self_probes_missed: Counter,
    /// Requests to confirm a peer by TCP that found the queue full.
    pub confirmations_dropped: Counter,
    /// SYN segments that were sent again.
    pub tcp_syn_retransmissions: Counter,
    /// Connections to the echo responder that were answered.
    pub echo_answers: Counter,
    /// Connections to the echo responder that were refused or timed out.
    pub echo_refused: Counter,
    /// QUIC handshakes that were answered.
    pub quic_answers: Counter,
    /// QUIC handshakes that were refused: too many at once.
    pub quic_refused: Counter,
    /// DNS answers with an id or a question that was not asked, or from another address.
    pub dns_wrong_answers: Counter,
    /// DNS answers that were truncated.
    pub dns_truncated: Counter,
    /// Probes that were not sent, because their target outside the mesh is outside the fence.
    pub external_outside: Counter,
    /// MTU measurements without a result: the peer did not answer, or the time was too short.
    pub mtu_undecided: Counter,
    /// ICMP messages about packet sizes that were not believed.
    pub mtu_messages_ignored: Counter,
    /// ICMP echo probes that could not be sent, because unprivileged ICMP sockets are forbidden.
    pub icmp_forbidden: Counter,
    /// Traces that were taken.
    pub traces: Counter,
    /// Traces that were not taken, because others were under way or had been lately.
    pub traces_skipped: Counter,
    /// Traces that nobody was told of, because no stream was open for too long.
    pub traces_dropped: Counter,
    /// Assignments that were refused.
    pub assignments_refused: Counter,
    reports: Family<WayLabel, Counter>,
    reports_repeated: Counter,
    connections: Family<WayLabel, Gauge>,
    spool_octets: Gauge,
    spool_unacked: Gauge,
    spool_drafts: Gauge,
    spool_merged: Gauge<u64, AtomicU64>,
    /// Paths in force.
    pub paths: Gauge,
    /// Paths that lose their probes now.
    pub paths_failing: Gauge,
    /// Lifeguard's multiplier.
    pub local_health: Gauge,
    /// Generation of the assignment in force.
    pub assignment_generation: Gauge<u64, AtomicU64>,
}

impl Metrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("meshprobe_prober");
        let probes = Family::default();
        registry.register("probes", "Probes by how they ended", probes.clone());
        let histogram: fn() -> Histogram = || Histogram::new(RTT_BUCKETS);
        let rtt = Family::new_with_constructor(histogram);
        registry.register_with_unit(
            "rtt",
            "Round-trip times of answered probes",
            Unit::Seconds,
            rtt.clone(),
        );
        let refused_family = Family::<ReasonLabel, Counter>::default();
        registry.register(
            "responder_refused",
            "Packets that the STAMP responder did not answer",
            refused_family.clone(),
        );
        let refused = Refusal::ALL.map(|refusal| {
            let reason = refusal.as_str();
            refused_family
                .get_or_create(&ReasonLabel { reason })
                .clone()
        });
        let reports = Family::<WayLabel, Counter>::default();
        registry.register("reports_sent", "Reports sent, by way home", reports.clone());
        let connections = Family::<WayLabel, Gauge>::default();
        registry.register(
            "aggregator_streams",
            "Open streams to the aggregator",
            connections.clone(),
        );
        for way in Way::ALL {
            let label = WayLabel { way: way.as_str() };
            drop(reports.get_or_create(&label));
            drop(connections.get_or_create(&label));
        }
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let responder_answers = counter("responder_answers", "Probes that were answered");
        let responder_send_errors = counter(
            "responder_send_errors",
            "Answers that the kernel refused to send",
        );
        let probes_extra = counter(
            "probes_extra",
            "Probes beyond the schedule, to confirm something",
        );
        let replies_duplicate = counter(
            "replies_duplicate",
            "Answers to a probe that was answered already",
        );
        let replies_reordered = counter("replies_reordered", "Answers overtaken by a later one");
        let replies_unknown = counter(
            "replies_unknown",
            "Packets that answer nothing that was sent",
        );
        let replies_malformed = counter("replies_malformed", "Packets that are no STAMP replies");
        let stamps_missing = counter(
            "receive_stamps_missing",
            "Packets without a kernel receive stamp",
        );
        let sends_preempted = counter(
            "sends_preempted",
            "Send calls that took longer than 200 microseconds",
        );
        let engine_stalls = counter("engine_stalls", "Wake-ups more than 20 ms late");
        let socket_overflows = counter("socket_overflows", "Packets dropped at full own sockets");
        let self_probes_missed = counter(
            "self_probes_missed",
            "Probes to oneself over loopback that did not come back in time",
        );
        let confirmations_dropped = counter(
            "confirmations_dropped",
            "Confirmations that found a full queue",
        );
        let tcp_syn_retransmissions = counter("tcp_syn_retransmissions", "SYN segments sent again");
        let echo_answers = counter("echo_answers", "TCP echo connections that were answered");
        let echo_refused = counter("echo_refused", "TCP echo connections that were cut off");
        let quic_answers = counter("quic_answers", "QUIC handshakes that were answered");
        let quic_refused = counter("quic_refused", "QUIC handshakes that were refused");
        let dns_wrong_answers = counter(
            "dns_wrong_answers",
            "DNS answers with an id, a question or a source that was not asked",
        );
        let dns_truncated = counter("dns_truncated", "Truncated DNS answers");
        let external_outside = counter(
            "external_outside",
            "Probes that were not sent, because their target is outside the fence",
        );
        let mtu_undecided = counter("mtu_undecided", "MTU measurements without a result");
        let mtu_messages_ignored = counter(
            "mtu_messages_ignored",
            "ICMP messages about packet sizes that were not believed",
        );
        let icmp_forbidden = counter(
            "icmp_forbidden",
            "Echo probes not sent because net.ipv4.ping_group_range forbids them",
        );
        let traces = counter("traces", "Traces of failing paths");
        let traces_skipped = counter("traces_skipped", "Traces beyond the limits");
        let traces_dropped = counter("traces_dropped", "Traces that nobody was told of");
        let assignments_refused = counter("assignments_refused", "Assignments that were refused");
        let reports_repeated = counter("reports_repeated", "Reports sent once more");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let spool_octets = gauge("spool_bytes", "Memory of reports that are not acknowledged");
        let spool_unacked = gauge("reports_unacked", "Reports sent and not acknowledged");
        let spool_drafts = gauge("reports_unsent", "Reports not sent yet");
        let paths = gauge("paths", "Paths in force");
        let paths_failing = gauge("paths_failing", "Paths that lose their probes now");
        let local_health = gauge("local_health", "Lifeguard's multiplier, 0 (well) to 7");
        let spool_merged = Gauge::default();
        registry.register(
            "spool_merged_windows",
            "Windows merged since the start because the spool was full",
            spool_merged.clone(),
        );
        let assignment_generation = Gauge::default();
        registry.register(
            "assignment_generation",
            "Generation of the assignment in force",
            assignment_generation.clone(),
        );
        Self {
            probes,
            probe_cells: std::array::from_fn(|_| OnceLock::new()),
            rtt,
            rtt_cells: std::array::from_fn(|_| OnceLock::new()),
            refused,
            responder_answers,
            responder_send_errors,
            probes_extra,
            replies_duplicate,
            replies_reordered,
            replies_unknown,
            replies_malformed,
            stamps_missing,
            sends_preempted,
            engine_stalls,
            socket_overflows,
            self_probes_missed,
            confirmations_dropped,
            tcp_syn_retransmissions,
            echo_answers,
            echo_refused,
            quic_answers,
            quic_refused,
            dns_wrong_answers,
            dns_truncated,
            external_outside,
            mtu_undecided,
            mtu_messages_ignored,
            icmp_forbidden,
            traces,
            traces_skipped,
            traces_dropped,
            assignments_refused,
            reports,
            reports_repeated,
            connections,
            spool_octets,
            spool_unacked,
            spool_drafts,
            spool_merged,
            paths,
            paths_failing,
            local_health,
            assignment_generation,
        }
    }

    /// A probe ended.
    pub fn count(&self, layer: Layer, outcome: &Outcome) {
        let class = outcome.class();
        let kind = layer.kind as usize;
        let cell = (kind * PLANES + layer.plane as usize) * CLASSES + (class as usize - 1);
        self.probe_cells[cell]
            .get_or_init(|| {
                let labels = ProbeLabels {
                    kind: layer.kind.to_string(),
                    plane: layer.plane.to_string(),
                    outcome: class.as_str(),
                };
                self.probes.get_or_create(&labels).clone()
            })
            .inc();
        if let Outcome::Reply { rtt } = outcome {
            self.rtt_cells[kind]
                .get_or_init(|| {
                    let kind = layer.kind.to_string();
                    self.rtt.get_or_create(&KindLabel { kind }).clone()
                })
                .observe(rtt.as_secs_f64());
        }
    }

    /// The responder refused a packet.
    pub fn refuse(&self, refusal: Refusal) {
        if let Some(i) = Refusal::ALL.iter().position(|known| *known == refusal) {
            self.refused[i].inc();
        }
    }

    /// How often the responder refused for this reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        let position = Refusal::ALL.iter().position(|known| *known == refusal);
        position.map_or(0, |i| self.refused[i].get())
    }

    /// The responder answered, or tried to.
    pub fn count_answer(&self, sent: bool) {
        if sent {
            self.responder_answers.inc();
        } else {
            self.responder_send_errors.inc();
        }
    }

    /// How many probes the responder answered.
    pub fn answers(&self) -> u64 {
        self.responder_answers.get()
    }

    /// A report was handed to a stream.
    pub fn count_report(&self, way: Way, repeated: bool) {
        self.reports
            .get_or_create(&WayLabel { way: way.as_str() })
            .inc();
        if repeated {
            self.reports_repeated.inc();
        }
    }

    /// A stream to the aggregator opened or closed.
    pub fn set_connected(&self, way: Way, connected: bool) {
        self.connections
            .get_or_create(&WayLabel { way: way.as_str() })
            .set(connected.into());
    }

    /// How full the spool is.
    pub fn set_fill(&self, fill: Fill) {
        self.spool_octets.set(fill.octets as i64);
        self.spool_unacked.set(fill.sent as i64);
        self.spool_drafts.set(fill.drafts as i64);
        self.spool_merged.set(fill.merged);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshprobe_core::path::{Family as AddressFamily, Plane};
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn probes_are_counted_by_kind_plane_and_outcome() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let layer = Layer {
            kind: ProbeKind::DnsTcp,
            plane: Plane::Service,
            family: AddressFamily::V4,
        };
        let rtt = Duration::from_millis(3);
        metrics.count(layer, &Outcome::Reply { rtt });
        metrics.count(layer, &Outcome::Reset);
        metrics.refuse(Refusal::BadHmac);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "meshprobe_prober_probes_total{kind=\"dns-tcp\",plane=\"service\",outcome=\"reset\"} 1",
            "meshprobe_prober_rtt_seconds_count{kind=\"dns-tcp\"} 1",
            "meshprobe_prober_responder_refused_total{reason=\"bad-hmac\"} 1",
            "meshprobe_prober_responder_refused_total{reason=\"responder-port\"} 0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
