//! Messages at the aggregator's gRPC port: from callers that are nobody, from callers that claim to be somebody else, and
//! from one that knows a prober's incarnation and speaks for it.
//!
//! The calls come from a pod, through the aggregator's service address, as any program in the cluster could make them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use meshprobe_lab::Lab;
use meshprobe_lab::mesh::Mesh;
use meshprobe_proto::v1::prober_message::Message;
use meshprobe_proto::v1::prober_service_client::ProberServiceClient;
use meshprobe_proto::v1::{self, Address, Block, Dictionary, Hello, ProberMessage, Report};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::{Counter, wait_for_counts};
use crate::metrics_page::MetricsPage;
use crate::scenario::reports::{Progress, stored_addresses, stored_progress};
use crate::scenario::stage::Failed;

/// A stream that is not ended by then goes on.
const STREAM_PATIENCE: Duration = Duration::from_secs(2);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// More than the aggregator accepts in one message.
const OVERSIZED: usize = 5 << 20;
/// Far beyond what a prober has reached, so that no real report is taken for one of these.
const FIRST_SEQUENCE: u64 = 1 << 40;

/// Gauge of the prober streams that are open.
const STREAMS: &str = "meshprobe_aggregator_prober_streams";

const fn stream_ended(reason: &'static str) -> Counter {
    Counter {
        name: "meshprobe_aggregator_prober_streams_ended_total",
        label: Some(("reason", reason)),
    }
}

const fn rejected(reason: &'static str) -> Counter {
    Counter {
        name: "meshprobe_aggregator_reports_rejected_total",
        label: Some(("reason", reason)),
    }
}

/// One call: what is sent, and what has to count it.
struct Call {
    name: &'static str,
    messages: Vec<ProberMessage>,
    counts: Vec<Counter>,
}

pub(super) fn run(mesh: &Mesh, tell: impl Fn(&str)) -> anyhow::Result<()> {
    let lab = mesh.lab();
    let scrape = || -> anyhow::Result<MetricsPage> {
        Ok(MetricsPage::parse(&mesh.aggregator_admin("/metrics")?))
    };
    let before = scrape()?;
    let victim = lab.nodes().last().context("a cluster without nodes")?;
    let store = lab.state_directory().join("aggregator.db");
    let progress = stored_progress(&store)?;
    let known = progress
        .iter()
        .find(|progress| progress.node == victim.name)
        .with_context(|| format!("no reports of {} are stored", victim.name))?;
    let honest = Hello {
        node: victim.name.clone(),
        plane: v1::Plane::Pod.into(),
        incarnation: known.incarnation,
        version: "forged".to_owned(),
        zone: victim.zone.clone(),
        addresses: stored_addresses(&store, &victim.name)?,
        way: v1::WayHome::Overlay.into(),
        ..Hello::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let channel = channel(lab, &runtime);
    let calls = calls(&honest, known);
    for call in &calls {
        let end = runtime.block_on(send(channel.clone(), call.messages.clone()));
        tell(&format!("  {}: {end}", call.name));
    }
    let mut expected: Vec<(Counter, f64)> = Vec::new();
    for counter in calls.iter().flat_map(|call| &call.counts) {
        match expected
            .iter_mut()
            .find(|(known, _)| known.name == counter.name && known.label == counter.label)
        {
            Some((_, sent)) => *sent += 1.0,
            None => expected.push((*counter, 1.0)),
        }
    }
    wait_for_counts(&expected, &before, scrape, &tell)?;
    // The connection's own work goes on only while something is waited for.
    runtime.block_on(async { tokio::time::sleep(STREAM_PATIENCE).await });
    let streams = |page: &MetricsPage| page.sum(STREAMS, &[]).unwrap_or(f64::NAN);
    let (then, now) = (streams(&before), streams(&scrape()?));
    tell(&format!("  {now} streams are open, {then} were before"));
    if (then - now).abs() > 0.5 || then.is_nan() || now.is_nan() {
        return Err(
            Failed::one(format!("{now} prober streams are open, {then} were before")).into(),
        );
    }
    Ok(())
}

fn address(plane: v1::Plane, ip: &str) -> Address {
    Address {
        plane: plane.into(),
        ip: ip.to_owned(),
        udp_port: 4862,
        tcp_port: 4862,
        quic_port: 0,
    }
}

fn channel(lab: &Lab, runtime: &Runtime) -> Channel {
    let (lab, namespace) = (lab.clone(), lab.nodes()[0].pod_namespace.clone());
    let service = lab.aggregator().service;
    let connector = tower::service_fn(move |_: Uri| {
        let connected = connect(&lab, &namespace, service);
        async move { connected.map(hyper_util::rt::TokioIo::new) }
    });
    // A lazy channel wants to know the runtime that it will live in.
    let _context = runtime.enter();
    Endpoint::from_static("http://aggregator").connect_with_connector_lazy(connector)
}

fn connect(
    lab: &Lab,
    namespace: &str,
    service: SocketAddr,
) -> std::io::Result<tokio::net::TcpStream> {
    let stream = lab
        .connect_in(namespace, service, CONNECT_PATIENCE)
        .map_err(std::io::Error::other)?;
    stream.set_nonblocking(true)?;
    tokio::net::TcpStream::from_std(stream)
}

/// Opens a stream, sends everything, and says how it ended.
async fn send(channel: Channel, messages: Vec<ProberMessage>) -> String {
    let mut client = ProberServiceClient::new(channel);
    let (sender, receiver) = mpsc::channel(messages.len().max(1));
    for message in messages {
        // There is room for all of them.
        drop(sender.try_send(message));
    }
    let listen = async {
        let mut answers = client
            .connect(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        while answers.message().await?.is_some() {}
        Ok::<(), tonic::Status>(())
    };
    let end = match tokio::time::timeout(STREAM_PATIENCE, listen).await {
        Err(_) => "the stream goes on".to_owned(),
        Ok(Ok(())) => "the stream was ended".to_owned(),
        Ok(Err(status)) => format!("{:?}: {}", status.code(), status.message()),
    };
    // The sending half was open until here: a stream that ended was ended by the aggregator.
    drop(sender);
    end
}

fn message(message: Message) -> ProberMessage {
    ProberMessage {
        message: Some(message),
    }
}

fn calls(honest: &Hello, known: &Progress) -> Vec<Call> {
    let hello = |hello: Hello| message(Message::Hello(hello));
    let nobody = Hello {
        node: "Not A Name!".to_owned(),
        ..honest.clone()
    };
    let older = Hello {
        incarnation: 1,
        ..honest.clone()
    };
    let impostor = Hello {
        incarnation: known.incarnation + 1,
        addresses: vec![address(v1::Plane::Pod, "10.244.1.5")],
        ..honest.clone()
    };
    let one = |name, first: ProberMessage, reason| Call {
        name,
        messages: vec![first],
        counts: vec![stream_ended(reason)],
    };
    let mut calls = vec![
        one(
            "a report before any hello",
            report(&good_report(known, 0)),
            "no_hello",
        ),
        one("a hello of no name", hello(nobody), "malformed_hello"),
        one(
            "a hello of an older start",
            hello(older),
            "older_incarnation",
        ),
        one("a hello from another address", hello(impostor), "impostor"),
        Call {
            name: "two hellos",
            messages: vec![hello(honest.clone()), hello(honest.clone())],
            counts: vec![stream_ended("second_hello")],
        },
        Call {
            name: "a message of a kind that nobody knows",
            messages: vec![hello(honest.clone()), ProberMessage { message: None }],
            counts: vec![rejected("unknown_message")],
        },
        Call {
            name: "a message that is too long",
            messages: vec![hello(honest.clone()), report(&oversized(known))],
            counts: vec![stream_ended("oversized")],
        },
        Call {
            name: "a report that was taken before",
            messages: vec![hello(honest.clone()), report(&replayed(known))],
            counts: vec![Counter {
                name: "meshprobe_aggregator_reports_total",
                label: Some(("result", "duplicate")),
            }],
        },
    ];
    for (index, (name, reason, spoil)) in (0..).zip(SPOILED) {
        let mut spoiled = good_report(known, index);
        spoil(&mut spoiled);
        calls.push(Call {
            name,
            messages: vec![hello(honest.clone()), dictionary(known), report(&spoiled)],
            counts: vec![rejected(reason)],
        });
    }
    calls
}

type Spoil = fn(&mut Report);

/// Ways to spoil a report, and the reason that it has to be rejected for.
const SPOILED: [(&str, &str, Spoil); 9] = [
    ("report number 0", "sequence_zero", |report| {
        report.sequence = 0;
    }),
    ("a window of no length", "window_length", |report| {
        report.window_millis = 0;
    }),
    ("65 blocks", "too_many_blocks", |report| {
        report.blocks = vec![block(); 65];
    }),
    ("a layer twice", "duplicate_layer", |report| {
        report.blocks = vec![block(), block()];
    }),
    ("an unknown kind of probe", "unknown_number", |report| {
        report.blocks[0].kind = 99;
    }),
    ("columns of different lengths", "column_length", |report| {
        report.blocks[0].sent.push(1);
    }),
    ("more replies than probes", "count", |report| {
        report.blocks[0].replied = vec![11];
    }),
    (
        "a target that nobody explained",
        "unknown_target",
        |report| report.blocks[0].target_delta = vec![60_000],
    ),
    (
        "the report of another start",
        "foreign_incarnation",
        |report| report.incarnation += 1,
    ),
];

fn report(report: &Report) -> ProberMessage {
    message(Message::Report(report.clone()))
}

fn dictionary(known: &Progress) -> ProberMessage {
    message(Message::Dictionary(Dictionary {
        incarnation: known.incarnation,
        entries: Vec::new(),
    }))
}

fn block() -> Block {
    Block {
        kind: v1::ProbeKind::Udp.into(),
        plane: v1::Plane::Pod.into(),
        family: v1::Family::V4.into(),
        target_delta: vec![0],
        sent: vec![10],
        replied: vec![10],
        received: vec![10],
        rtt_min: vec![1].into(),
        rtt_median: vec![1].into(),
        rtt_max: vec![1].into(),
        ..Block::default()
    }
}

fn good_report(known: &Progress, index: u64) -> Report {
    Report {
        incarnation: known.incarnation,
        sequence: FIRST_SEQUENCE + index,
        window_start_unix_millis: 1_000,
        window_millis: 10_000,
        blocks: vec![block()],
        ..Report::default()
    }
}

fn replayed(known: &Progress) -> Report {
    Report {
        sequence: 1,
        ..good_report(known, 0)
    }
}

fn oversized(known: &Progress) -> Report {
    let mut report = good_report(known, 0);
    report.blocks[0].rtt_min = vec![1; OVERSIZED].into();
    report
}

#[cfg(test)]
mod tests {
    use meshprobe_proto::report::admit;

    use super::*;

    fn known() -> Progress {
        Progress {
            node: "mesh-3".to_owned(),
            plane: "pod".to_owned(),
            incarnation: 5,
            through: 9,
            taken: 9,
        }
    }

    #[test]
    fn what_is_spoiled_was_good_before() {
        assert!(admit(&good_report(&known(), 0)).is_ok());
        for (name, reason, spoil) in SPOILED {
            let mut spoiled = good_report(&known(), 0);
            spoil(&mut spoiled);
            // What depends on the stream is no fault of the report alone.
            let depends_on_stream = ["unknown_target", "foreign_incarnation"].contains(&reason);
            let rejected = admit(&spoiled).err().map(|rejection| rejection.reason());
            assert_eq!(rejected, (!depends_on_stream).then_some(reason), "{name}");
        }
    }
}
