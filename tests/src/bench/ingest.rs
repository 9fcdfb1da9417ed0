//! How many path updates one core takes in: decode, dedup, matrix, verdict, judge.
//!
//! The real ingest, in process and in one thread: encoded messages go in, as they come off the wire; acknowledgements come
//! out. What is left out is the kernel's socket work, HTTP/2, and the store's disk. Messages are encoded beforehand and
//! not measured. CPU time of the thread is counted, so a busy machine changes little.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use jiff::Timestamp;
use meshprobe_aggregator::membership::{Announcement, MembershipConfig, NodeAddress};
use meshprobe_aggregator::pipeline::{MeshByHand, PipelineConfig, StreamByHand, now_by_hand};
use meshprobe_core::ids::{Incarnation, NodeName, TargetNumber};
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_core::rtt::Rtt;
use meshprobe_core::time::Moment;
use meshprobe_core::window::Summary;
use meshprobe_proto::report::BlockBuilder;
use meshprobe_proto::v1::{self, prober_message::Message as Up};
use prost::Message as _;

use super::child::{own_resident_bytes, thread_cpu_time};
use super::{Arguments, Bench, Promise, Report};

/// See the module.
pub const BENCH: Bench = Bench {
    name: "ingest",
    summary: "path updates a second on one core, and octets a path in memory and on the wire",
    run,
};

const LAYER: Layer = Layer {
    kind: ProbeKind::Udp,
    plane: Plane::Pod,
    family: Family::V4,
};
/// Reports of so many probers are handled between two looks at what is due, as in the mesh task.
const AT_ONCE: usize = 32;
const INCARNATION: u64 = 1_700_000_000_000_000;

#[derive(Debug, Parser)]
struct IngestArguments {
    /// Nodes of the mesh, each of which reports about all others
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(2..))]
    nodes: u16,
    /// Reports of each node that are measured
    #[arg(long, default_value_t = 20)]
    rounds: u64,
}

/// Everything that comes and goes.
struct Traffic {
    mesh: MeshByHand,
    streams: Vec<StreamByHand>,
    origin: Timestamp,
    now: Moment,
    sequence: u64,
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let arguments: IngestArguments = arguments.parse();
    let nodes = usize::from(arguments.nodes);
    let paths = (nodes * (nodes - 1)) as f64;
    let before = own_resident_bytes()?;
    let mut traffic = Traffic::new(nodes)?;
    // Rows are allocated and baselines are learnt before anything is measured.
    let mut wire_bytes = 0;
    for _ in 0..3 {
        wire_bytes = traffic.round(nodes)?.wire_bytes;
    }
    let resident = own_resident_bytes()?.saturating_sub(before);
    let mut rates = Vec::new();
    for round in 1..=arguments.rounds {
        let measured = traffic.round(nodes)?;
        let rate = paths / measured.cpu.as_secs_f64();
        println!("  round {round:3}  {:.2} M path updates/s", rate / 1e6);
        rates.push(rate);
    }
    let cells = traffic.mesh.cell_bytes() as f64;
    Ok(Report::default()
        .with(
            "path_updates_per_s_per_core",
            super::child::median(rates),
            Promise::AtLeast(5e6),
        )
        .with("bytes_per_path", cells / paths, Promise::AtMost(40.0))
        .with(
            "resident_bytes_per_path",
            resident as f64 / paths,
            Promise::None,
        )
        .with(
            "wire_bytes_per_path_window",
            wire_bytes as f64 / paths,
            Promise::AtMost(8.0),
        )
        .with("nodes", nodes as f64, Promise::None))
}

/// What a round took.
struct Measured {
    cpu: Duration,
    wire_bytes: usize,
}

impl Traffic {
    fn new(nodes: usize) -> anyhow::Result<Self> {
        let config = PipelineConfig {
            membership: MembershipConfig {
                max_nodes: nodes,
                ..MembershipConfig::default()
            },
            ..PipelineConfig::default()
        };
        let origin =
            Timestamp::from_microsecond(INCARNATION as i64).context("the incarnation is a time")?;
        let now = Moment::from_millis(1_000_000);
        let mut mesh = MeshByHand::new(config, now_by_hand(now, origin))?;
        let names: Vec<NodeName> = (0..nodes)
            .map(|node| NodeName::try_from(format!("node-{node}")))
            .collect::<Result<_, _>>()?;
        let mut streams = Vec::new();
        for (node, name) in names.iter().enumerate() {
            let stream = mesh.open(&hello(node, name), now_by_hand(now, origin))?;
            streams.push(stream);
        }
        for (node, stream) in streams.iter().enumerate() {
            let others = names.iter().enumerate().filter(|(other, _)| *other != node);
            let entries = others
                .zip(0..)
                .map(|((_, name), number)| v1::DictionaryEntry {
                    number,
                    target: Some(v1::dictionary_entry::Target::Node(name.to_string())),
                });
            let dictionary = v1::Dictionary {
                incarnation: INCARNATION,
                entries: entries.collect(),
            };
            mesh.handle_dictionary(stream, dictionary, now_by_hand(now, origin));
        }
        Ok(Self {
            mesh,
            streams,
            origin,
            now,
            sequence: 0,
        })
    }

    /// One report of each node.
    fn round(&mut self, nodes: usize) -> anyhow::Result<Measured> {
        self.sequence += 1;
        self.now = self.now + Duration::from_secs(10);
        let messages: Vec<Vec<u8>> = (0..nodes).map(|node| self.message(node, nodes)).collect();
        let wire_bytes = messages.iter().map(Vec::len).sum();
        let started = thread_cpu_time()?;
        for (batch, streams) in messages.chunks(AT_ONCE).zip(self.streams.chunks(AT_ONCE)) {
            for (message, stream) in batch.iter().zip(streams) {
                let message = v1::ProberMessage::decode(message.as_slice())?;
                let Some(Up::Report(report)) = message.message else {
                    anyhow::bail!("a report became something else");
                };
                self.mesh.handle_report(stream, &report, self.now);
            }
            self.mesh.poll(now_by_hand(self.now, self.origin));
        }
        self.mesh.store();
        let cpu = thread_cpu_time()?.saturating_sub(started);
        for stream in &mut self.streams {
            let acknowledged = stream.take_ack().map(|ack| ack.sequence);
            anyhow::ensure!(
                acknowledged == Some(self.sequence),
                "report {} was not taken: acknowledged is {acknowledged:?}",
                self.sequence
            );
        }
        Ok(Measured { cpu, wire_bytes })
    }

    /// A healthy window of ten seconds.
    fn message(&self, node: usize, nodes: usize) -> Vec<u8> {
        let mut block = BlockBuilder::new(LAYER);
        for number in 0..nodes as u32 - 1 {
            let micros = 200 + u64::from(number % 300) + node as u64 % 50;
            let code = |factor| Rtt::from_nanos(micros * 1_000 * factor).code();
            let summary = Summary {
                sent: 10,
                replied: 10,
                received: 10,
                rtt_min: code(1),
                rtt_median: code(2),
                rtt_max: code(3),
                ..Summary::default()
            };
            block.push(TargetNumber(number), &summary, &[], None);
        }
        let report = v1::Report {
            incarnation: INCARNATION,
            sequence: self.sequence,
            window_start_unix_millis: INCARNATION / 1_000 + self.sequence * 10_000,
            window_millis: 10_000,
            age_millis: 3,
            blocks: vec![block.finish()],
            self_health: Some(v1::SelfHealth {
                max_lateness_micros: 400,
                ..v1::SelfHealth::default()
            }),
            merged_windows: 0,
        };
        let message = v1::ProberMessage {
            message: Some(Up::Report(report)),
        };
        message.encode_to_vec()
    }
}

fn hello(node: usize, name: &NodeName) -> Announcement {
    let [high, low] = (node as u16).to_be_bytes();
    Announcement {
        node: name.clone(),
        plane: Plane::Pod,
        incarnation: Incarnation(INCARNATION),
        version: "bench".to_owned(),
        zone: format!("zone-{}", node % 4),
        region: String::new(),
        labels: BTreeMap::new(),
        addresses: vec![NodeAddress {
            plane: Plane::Pod,
            ip: [10, 244, high, low].into(),
            udp_port: 4862,
            tcp_port: 4862,
            quic_port: 4863,
        }],
        way: None,
    }
}
