//! Nothing is lost: many probers stream into one aggregator, which is killed again and again.
//!
//! The aggregator is the real program with its store on disk. The probers are simulated: each has the real spool and the
//! real client, and closes a small window ten times a second. `kill -9` ends the aggregator at moments that nobody chose,
//! and it is started again. At the end every prober delivers what it still holds. Then the aggregator's store is asked
//! how many reports of each prober were taken: that is compared with how many were sent, and what was acknowledged with
//! what is there.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use meshprobe_aggregator::membership::Progress;
use meshprobe_core::ids::{Incarnation, ReportSequence, TargetNumber};
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_core::rtt::RttCode;
use meshprobe_core::time::Moment;
use meshprobe_core::window::{LostWays, Window};
use meshprobe_daemon::clock;
use meshprobe_lab::mesh::Binaries;
use meshprobe_prober::health::SelfReport;
use meshprobe_prober::report::{ClosedWindow, Row};
use meshprobe_prober::spool::{OpenWays, Spool, Way};
use meshprobe_prober::window::ClassCounts;
use meshprobe_proto::v1;
use meshprobe_proto::v1::aggregator_message::Message as Down;
use meshprobe_proto::v1::prober_message::Message as Up;
use meshprobe_proto::v1::prober_service_client::ProberServiceClient;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use super::child::{Process, Scratch, free_ports};
use super::{Arguments, Bench, Promise, Report};

/// See the module.
pub const BENCH: Bench = Bench {
    name: "durability",
    summary: "reports that are lost when the aggregator is killed while 200 probers report to it",
    run,
};

/// Time between two windows of a prober.
const WINDOW: Duration = Duration::from_millis(100);
/// Until a prober tries again to connect.
const RECONNECT: Duration = Duration::from_millis(200);
/// Until the last report has to be acknowledged.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);
/// Messages of one stream that wait to be sent.
const STREAM_DEPTH: usize = 64;
const SPOOL_BYTES: usize = 4 << 20;
const INCARNATION: u64 = 1_700_000_000_000_000;
const LAYER: Layer = Layer {
    kind: ProbeKind::Udp,
    plane: Plane::Pod,
    family: Family::V4,
};

#[derive(Debug, Parser)]
struct DurabilityArguments {
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(2..=5_000))]
    probers: u16,
    /// How often the aggregator is killed
    #[arg(long, default_value_t = 5)]
    kills: u16,
    /// Seconds between two kills, at most
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(2..))]
    seconds: u8,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What a simulated prober did.
#[derive(Debug, Default)]
struct Delivered {
    name: String,
    /// Reports that got a number.
    sent: u64,
    /// The highest one that was acknowledged.
    acknowledged: u64,
    /// How often its stream broke.
    reconnects: u64,
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let arguments: DurabilityArguments = arguments.parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(arguments.measure())
}

impl DurabilityArguments {
    async fn measure(&self) -> anyhow::Result<Report> {
        let binaries = Binaries::find()?;
        let scratch = Scratch::new("durability")?;
        let [grpc, http, admin] = free_ports()?;
        let store = scratch.path("aggregator.db");
        let config = format!(
            "listen: {{grpc: ['127.0.0.1:{grpc}'], http: ['127.0.0.1:{http}'], admin: '127.0.0.1:{admin}'}}\nstore: {{path: {}}}\n",
            store.display()
        );
        let config = scratch.write("aggregator.yaml", &config)?;
        let start = |run: u16| {
            let mut command = Command::new(&binaries.aggregator);
            command.arg("--config").arg(&config);
            Process::start(
                "aggregator",
                &mut command,
                &scratch.path(&format!("aggregator-{run}.log")),
            )
        };
        let mut aggregator = start(0)?;
        let (stop_tx, stop) = watch::channel(false);
        let mut probers = JoinSet::new();
        for number in 0..self.probers {
            let prober = SimulatedProber::new(number, self.probers, grpc);
            probers.spawn(prober.run(stop.clone()));
        }
        let mut chance = StdRng::seed_from_u64(self.seed);
        for kill in 1..=self.kills {
            let wait = Duration::from_secs(self.seconds.into())
                .mul_f64(0.4 + 0.6 * chance.random::<f64>());
            tokio::time::sleep(wait).await;
            // Dropping it kills it by SIGKILL.
            drop(aggregator);
            println!("  kill {kill} after {:.1} s", wait.as_secs_f64());
            tokio::time::sleep(Duration::from_secs(1).mul_f64(chance.random())).await;
            aggregator = start(kill)?;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        stop_tx.send(true).context("tell the probers to finish")?;
        let mut delivered = Vec::new();
        while let Some(prober) = probers.join_next().await {
            delivered.push(prober.context("a prober panicked")??);
        }
        drop(aggregator);
        count(&store, &delivered)
    }
}

/// Compares what was sent with what the store says was taken.
fn count(store: &Path, delivered: &[Delivered]) -> anyhow::Result<Report> {
    let store = rusqlite::Connection::open(store).context("open the aggregator's store")?;
    let mut taken = store
        .prepare("SELECT body FROM progress WHERE node = ?1")
        .context("read the store")?;
    let (mut sent, mut lost, mut unkept) = (0, 0, 0);
    for prober in delivered {
        let body: String = taken
            .query_row([&prober.name], |row| row.get(0))
            .with_context(|| format!("{} is not in the store", prober.name))?;
        let progress: Progress = serde_json::from_str(&body).context("read the store")?;
        sent += prober.sent;
        lost += prober.sent.saturating_sub(progress.taken);
        // An acknowledged report that the store does not have is a broken promise, even if it was sent again later.
        unkept += prober.acknowledged.saturating_sub(progress.through);
    }
    let reconnects: u64 = delivered.iter().map(|prober| prober.reconnects).sum();
    let acknowledged: u64 = delivered.iter().map(|prober| prober.acknowledged).sum();
    Ok(Report::default()
        .with("reports_sent", sent as f64, Promise::AtLeast(1.0))
        .with("reports_lost", lost as f64, Promise::AtMost(0.0))
        .with(
            "reports_acknowledged",
            acknowledged as f64,
            Promise::AtLeast(sent as f64),
        )
        .with(
            "acknowledged_and_not_stored",
            unkept as f64,
            Promise::AtMost(0.0),
        )
        .with("probers", delivered.len() as f64, Promise::None)
        .with("reconnects", reconnects as f64, Promise::None))
}

/// The real spool behind the real client.
struct SimulatedProber {
    number: u16,
    of: u16,
    port: u16,
    incarnation: Incarnation,
    spool: Spool,
    ways: OpenWays,
    started: std::time::Instant,
    delivered: Delivered,
}

impl SimulatedProber {
    fn new(number: u16, of: u16, port: u16) -> Self {
        let incarnation = Incarnation(INCARNATION + u64::from(number));
        Self {
            number,
            of,
            port,
            incarnation,
            spool: Spool::new(incarnation, SPOOL_BYTES),
            ways: OpenWays::default(),
            started: clock::now(),
            delivered: Delivered {
                name: name(number),
                ..Delivered::default()
            },
        }
    }

    fn now(&self) -> Moment {
        let since = clock::now().saturating_duration_since(self.started);
        Moment::ORIGIN + since
    }

    /// Reports until told to stop, then until everything is acknowledged.
    async fn run(mut self, mut stop: watch::Receiver<bool>) -> anyhow::Result<Delivered> {
        let mut windows = tokio::time::interval(WINDOW);
        let mut deadline = None;
        loop {
            let mut stream = None;
            if let Ok(opened) = self.connect().await {
                self.ways.set(Way::Overlay, true);
                stream = Some(opened);
            } else {
                tokio::time::sleep(RECONNECT).await;
            }
            while let Some((up, down)) = &mut stream {
                while let Some(transmission) = self.spool.poll_transmit(self.ways, self.now()) {
                    self.delivered.sent = self.delivered.sent.max(transmission.report.sequence);
                    if up
                        .send(message(Up::Report(transmission.report)))
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
                if deadline.is_some() && self.spool.is_empty() {
                    return Ok(self.delivered);
                }
                tokio::select! {
                    _ = windows.tick(), if deadline.is_none() => self.close_window(),
                    () = tokio::time::sleep(RECONNECT), if deadline.is_some() => {}
                    Ok(()) = stop.changed(), if deadline.is_none() => {
                        deadline = Some(clock::now() + DELIVERED_WITHIN);
                    }
                    answer = down.message() => match answer {
                        Ok(Some(answer)) => self.handle(&answer),
                        _ => stream = None,
                    },
                }
                self.check(deadline)?;
            }
            self.ways.set(Way::Overlay, false);
            self.spool.handle_way_closed(Way::Overlay);
            self.delivered.reconnects += 1;
            // Windows go on while nobody listens.
            while deadline.is_none()
                && tokio::time::timeout(Duration::ZERO, windows.tick())
                    .await
                    .is_ok()
            {
                self.close_window();
            }
            if deadline.is_none() && *stop.borrow_and_update() {
                deadline = Some(clock::now() + DELIVERED_WITHIN);
            }
            self.check(deadline)?;
        }
    }

    fn check(&self, deadline: Option<std::time::Instant>) -> anyhow::Result<()> {
        let is_over = deadline.is_some_and(|deadline| clock::now() >= deadline);
        anyhow::ensure!(
            !is_over,
            "{} still holds {:?} after {DELIVERED_WITHIN:?}",
            self.delivered.name,
            self.spool.fill()
        );
        Ok(())
    }

    async fn connect(
        &self,
    ) -> anyhow::Result<(
        mpsc::Sender<v1::ProberMessage>,
        tonic::Streaming<v1::AggregatorMessage>,
    )> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port))?
            .connect_timeout(Duration::from_secs(2));
        let channel = endpoint.connect().await?;
        let (up, messages) = mpsc::channel(STREAM_DEPTH);
        up.send(message(Up::Hello(self.hello()))).await?;
        up.send(message(Up::Dictionary(self.dictionary()))).await?;
        let call = ProberServiceClient::new(channel)
            .connect(ReceiverStream::new(messages))
            .await?;
        Ok((up, call.into_inner()))
    }

    fn handle(&mut self, answer: &v1::AggregatorMessage) {
        if let Some(Down::Ack(ack)) = &answer.message {
            self.delivered.acknowledged = self.delivered.acknowledged.max(ack.sequence);
            self.spool
                .handle_ack(Incarnation(ack.incarnation), ReportSequence(ack.sequence));
        }
    }

    /// A healthy window about every other prober.
    fn close_window(&mut self) {
        let ended_at = self.now();
        let row = |target: u16| Row {
            target: TargetNumber(target.into()),
            sent: 1,
            replied: 1,
            received: 1,
            lost_ways: LostWays::default(),
            rtt_min: RttCode::from_octet(60),
            rtt_median: RttCode::from_octet(62),
            rtt_max: RttCode::from_octet(70),
            classes: ClassCounts::new(),
            failing: None,
            detail: None,
        };
        let since = clock::now()
            .saturating_duration_since(self.started)
            .as_millis() as u64;
        self.spool.push(ClosedWindow {
            window: Window {
                start_unix_millis: INCARNATION / 1_000 + since,
                length_millis: WINDOW.as_millis() as u32,
            },
            ended_at,
            urgent: false,
            layers: vec![(LAYER, (0..self.of - 1).map(row).collect())],
            self_report: SelfReport::default(),
            merged: 0,
        });
    }

    fn hello(&self) -> v1::Hello {
        let [high, low] = self.number.to_be_bytes();
        v1::Hello {
            node: name(self.number),
            plane: v1::Plane::Pod.into(),
            incarnation: self.incarnation.0,
            version: "bench".to_owned(),
            addresses: vec![v1::Address {
                plane: v1::Plane::Pod.into(),
                ip: format!("10.244.{high}.{low}"),
                udp_port: 4862,
                tcp_port: 4862,
                quic_port: 0,
            }],
            way: v1::WayHome::Overlay.into(),
            ..v1::Hello::default()
        }
    }

    fn dictionary(&self) -> v1::Dictionary {
        let others = (0..self.of).filter(|other| *other != self.number);
        let entries = others.zip(0..).map(|(other, number)| v1::DictionaryEntry {
            number,
            target: Some(v1::dictionary_entry::Target::Node(name(other))),
        });
        v1::Dictionary {
            incarnation: self.incarnation.0,
            entries: entries.collect(),
        }
    }
}

fn name(number: u16) -> String {
    format!("prober-{number}")
}

fn message(message: Up) -> v1::ProberMessage {
    v1::ProberMessage {
        message: Some(message),
    }
}
