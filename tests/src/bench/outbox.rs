//! A receiver that is down for an hour gets every notification once afterwards.
//!
//! Everything between the judge and the receiver is real: the notifier with its policy, the store on disk, the outbox,
//! HTTP over loopback sockets, and a receiver in threads of its own. The receiver is down by not listening: connections
//! are refused. Time alone is not real: the runtime's clock stands still and is moved by hand, a second at a time during
//! the outage and 20 ms at a time afterwards, and after each step the sockets and the disk get real time to do what is
//! due. So every wait of the schedule is kept to the second, the attempts really fail, and an hour takes a minute. The
//! wall clock in the store is the machine's own. Half way through the outage everything ends in order and is started
//! again from the store.
//!
//! `notifications_per_s` is of real time: from the first delivery after the outage to the last.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use jiff::Timestamp;
use meshprobe_aggregator::config::Config;
use meshprobe_aggregator::incident::{Incident, IncidentChange, IncidentState, Transition};
use meshprobe_aggregator::metrics::{NotificationMetrics, SilenceMetrics};
use meshprobe_aggregator::notify::{Audience, Connections, Notifier, Quiet, Routing, Standings};
use meshprobe_aggregator::outbox::{Built, LeftBehind, Outbox, OutboxHandle, Pending, Route};
use meshprobe_aggregator::receiver::{Links, Receiver};
use meshprobe_aggregator::silence::Silences;
use meshprobe_aggregator::snapshot::{Judging, Snapshot};
use meshprobe_aggregator::store::{Store, StoreHandle, StoreSettings};
use meshprobe_core::finding::{Pattern, Scope};
use meshprobe_core::ids::NodeName;
use meshprobe_daemon::clock;
use meshprobe_daemon::shutdown::Shutdown;
use meshprobe_daemon::tasks::Tasks;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::child::Scratch;
use super::{Arguments, Bench, Promise, Report};

/// See the module.
pub const BENCH: Bench = Bench {
    name: "outbox",
    summary: "notifications to a receiver that is down for an hour, in virtual time",
    run,
};

/// During the outage.
const STEP: Duration = Duration::from_secs(1);
/// Afterwards, where the pace counts.
const FINE_STEP: Duration = Duration::from_millis(20);
/// Real time after each step, for what is due in it.
const SETTLE: Duration = Duration::from_millis(2);
/// Virtual time after the outage by which everything has to be there.
const PATIENCE: Duration = Duration::from_secs(7_200);

#[derive(Debug, Parser)]
struct OutboxArguments {
    /// Notifications; half of them are beginnings, half are ends
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    notifications: u32,
    /// Seconds that the receiver is down
    #[arg(long, default_value_t = 3_600)]
    outage: u32,
    /// Of these, seconds at the end in which nothing happens that would find out that the receiver is back
    #[arg(long, default_value_t = 600)]
    quiet: u32,
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let arguments: OutboxArguments = arguments.parse();
    ensure!(
        arguments.quiet < arguments.outage,
        "--quiet is a part of --outage"
    );
    meshprobe_daemon::tls::install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .context("start a runtime")?;
    runtime.block_on(arguments.measure())
}

impl OutboxArguments {
    async fn measure(&self) -> anyhow::Result<Report> {
        let scratch = Scratch::new("outbox")?;
        let listener = TcpListener::bind("127.0.0.1:0").context("bind a port")?;
        let address = listener.local_addr().context("read the port")?;
        // From here on it is down.
        drop(listener);
        let store = scratch.path("aggregator.db");
        let mut way = Way::start(&store, address)?;
        let busy = u64::from(self.outage - self.quiet);
        let mut told = 0;
        for second in 0..u64::from(self.outage) {
            // Evenly over the busy part: the beginning of each incident, and its end half of the time later.
            let due = (second + 1).min(busy) * u64::from(self.notifications) / busy;
            while told < due {
                way.tell(change(told, u64::from(self.notifications))?)
                    .await?;
                told += 1;
            }
            step(STEP).await;
            if second == busy / 2 {
                let before = way.pending.count();
                way.stop().await?;
                way = Way::start(&store, address)?;
                settled(&way, before)
                    .await
                    .context("what waited before the restart")?;
                println!("  restarted with {before} notifications that wait");
            }
        }
        settled(&way, told).await?;
        println!(
            "  after {} s without the receiver {told} notifications wait",
            self.outage
        );

        let listener = TcpListener::bind(address).context("bind the receiver's port again")?;
        let inbox = Inbox::serve(listener);
        let back_at = clock::now();
        while way.pending.count() > 0 {
            step(FINE_STEP).await;
            let waited = clock::now().saturating_duration_since(back_at);
            ensure!(
                waited < PATIENCE,
                "{} notifications still wait after {waited:?}",
                way.pending.count()
            );
        }
        let catch_up = clock::now().saturating_duration_since(back_at);
        // Anything that would be sent twice by itself has its chance.
        for _ in 0..120 {
            step(STEP).await;
        }
        way.stop().await?;
        report(told, catch_up, &inbox)
    }
}

/// Moves the clock, and gives the world real time. The store's thread keeps the clock from moving by itself.
async fn step(by: Duration) {
    tokio::time::advance(by).await;
    let world = tokio::task::spawn_blocking(|| std::thread::sleep(SETTLE));
    // It cannot be cancelled.
    world.await.unwrap_or_default();
}

/// Waits in real time until everything that was told is in the outbox.
async fn settled(way: &Way, told: u64) -> anyhow::Result<()> {
    for _ in 0..5_000 {
        if way.pending.count() == told {
            return Ok(());
        }
        step(Duration::from_millis(1)).await;
    }
    anyhow::bail!(
        "{told} notifications were made, {} wait",
        way.pending.count()
    )
}

fn report(told: u64, catch_up: Duration, inbox: &Inbox) -> anyhow::Result<Report> {
    let received = inbox.received();
    let mut times: BTreeMap<&str, u64> = BTreeMap::new();
    for one in &received {
        *times.entry(&one.id).or_default() += 1;
    }
    let once = times.values().filter(|count| **count == 1).count() as u64;
    let duplicates: u64 = times.values().map(|count| count - 1).sum();
    let missing = told.saturating_sub(times.len() as u64);
    let overtaken = overtaken(&received);
    let (Some(first), Some(last)) = (received.first(), received.last()) else {
        anyhow::bail!("nothing arrived");
    };
    let seconds = last.at.saturating_duration_since(first.at).as_secs_f64();
    Ok(Report::default()
        .with("sent", told as f64, Promise::AtLeast(1.0))
        .with("received_once", once as f64, Promise::AtLeast(told as f64))
        .with("duplicates", duplicates as f64, Promise::AtMost(0.0))
        .with("lost", missing as f64, Promise::AtMost(0.0))
        .with(
            "ends_before_beginnings",
            overtaken as f64,
            Promise::AtMost(0.0),
        )
        .with("catch_up_s", catch_up.as_secs_f64(), Promise::AtMost(120.0))
        .with(
            "notifications_per_s",
            received.len() as f64 / seconds.max(1e-3),
            Promise::None,
        ))
}

/// Incidents whose end arrived before their beginning.
fn overtaken(received: &[Received]) -> usize {
    let mut begun = BTreeSet::new();
    let mut overtaken = 0;
    for Received { id, .. } in received {
        let incident = id.split('.').next().unwrap_or_default();
        if id.contains(".opened.") {
            begun.insert(incident);
        } else if !begun.contains(incident) {
            overtaken += 1;
        }
    }
    overtaken
}

/// Change number `number` of `all`: beginnings come first, each end as long after its beginning.
fn change(number: u64, all: u64) -> anyhow::Result<IncidentChange> {
    let half = all.div_ceil(2);
    let node = NodeName::try_from(format!("node-{}", number % half)).context("name a node")?;
    let now = Timestamp::try_from(clock::wall()).context("read the wall clock")?;
    let mut incident = Incident {
        summary: "A node is dark.".to_owned(),
        ..Incident::new(Pattern::NodeDark, Scope::node(node), now)
    };
    let transition = if number < half {
        Transition::Opened
    } else {
        incident.state = IncidentState::Resolved;
        incident.resolved_at = Some(now);
        Transition::Resolved
    };
    Ok(IncidentChange {
        transition,
        incident,
    })
}

/// The way from the judge to the receiver.
struct Way {
    changes_tx: mpsc::Sender<IncidentChange>,
    pending: Pending,
    store: StoreHandle,
    outbox: OutboxHandle,
    running: JoinSet<()>,
    tasks: Tasks,
    _audience_tx: watch::Sender<Arc<Audience>>,
    _snapshots_tx: watch::Sender<Arc<Snapshot>>,
}

impl Way {
    fn start(path: &Path, receiver: SocketAddr) -> anyhow::Result<Self> {
        let text = format!(
            "receivers: [{{name: pager, webhook: {{url: 'http://{receiver}/'}}}}]\nnotifications: {{resolve_hold: 0s}}\n"
        );
        let config: Config = meshprobe_daemon::config::parse(&text, Path::new("bench"))
            .context("make a configuration")?;
        let settings = StoreSettings {
            path: path.to_owned(),
            backlog: 100_000,
            keep_resolved: Duration::from_secs(90 * 86_400),
        };
        let (store, loaded) = Store::open(settings).context("open the store")?;
        let mut tasks = Tasks::new();
        let store = store.spawn(&mut tasks);
        let links = Links::default();
        let routes = config.receivers.iter().map(|receiver| {
            Ok(Route {
                receiver: Receiver::new(receiver, &links)?,
                give_up_after: receiver.give_up_after.duration(),
                rate_limit: None,
            })
        });
        let routes = routes.collect::<anyhow::Result<Vec<_>>>()?;
        let (standings_tx, standings_rx) = watch::channel(Standings::default());
        let left_behind = LeftBehind {
            pending: loaded.outbox,
            finished: loaded.finished,
        };
        let metrics = NotificationMetrics::register(&mut Registry::default(), 0);
        let Built {
            outbox,
            handle,
            pending,
            ..
        } = Outbox::build(routes, left_behind, store.clone(), standings_rx, metrics);
        let (audience_tx, audience_rx) = watch::channel(Arc::new(Audience {
            receivers: Vec::new(),
            routing: Routing::of(&config),
            resolve_hold: Duration::ZERO,
            links,
        }));
        let at = Timestamp::try_from(clock::wall()).context("read the wall clock")?;
        let snapshot = Snapshot::empty(at, Judging::Active);
        let (snapshots_tx, snapshots_rx) = watch::channel(Arc::new(snapshot));
        let (changes_tx, changes_rx) = mpsc::channel(64);
        let connections = Connections {
            changes_rx,
            audience_rx,
            quiet: Quiet {
                silences: Silences::new([]),
                mesh: snapshots_rx,
                metrics: SilenceMetrics::default(),
            },
            store: store.clone(),
            outbox: handle.clone(),
            standings_tx,
        };
        let (notifier, _) = Notifier::new(loaded.incidents, loaded.told, connections);
        let mut running = JoinSet::new();
        running.spawn(notifier.run());
        running.spawn(outbox.run());
        Ok(Self {
            changes_tx,
            pending,
            store,
            outbox: handle,
            running,
            tasks,
            _audience_tx: audience_tx,
            _snapshots_tx: snapshots_tx,
        })
    }

    async fn tell(&self, change: IncidentChange) -> anyhow::Result<()> {
        let told = self.changes_tx.send(change).await;
        told.context("the notifier has ended")
    }

    /// Ends everything in order.
    async fn stop(self) -> anyhow::Result<()> {
        let Self {
            changes_tx,
            store,
            outbox,
            mut running,
            tasks,
            ..
        } = self;
        drop((changes_tx, store, outbox));
        while let Some(ended) = running.join_next().await {
            ended.context("a task panicked")?;
        }
        let shutdown = Shutdown::new();
        shutdown.trigger();
        let ended = tasks.run(&shutdown, Duration::from_secs(86_400)).await;
        ended.context("end the store")
    }
}

/// One request.
#[derive(Clone, Debug)]
struct Received {
    id: String,
    at: Instant,
}

/// A receiver that writes down whatever comes, in threads of its own and in real time.
struct Inbox(Arc<Mutex<Vec<Received>>>);

impl Inbox {
    /// Serves until the process ends.
    fn serve(listener: TcpListener) -> Self {
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let shared = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A connection that breaks is the sender's to notice.
                std::thread::spawn(move || answer(&stream, &shared).unwrap_or_default());
            }
        });
        Self(received)
    }

    fn received(&self) -> Vec<Received> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Answers every request on a connection with 200.
fn answer(stream: &TcpStream, received: &Mutex<Vec<Received>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let (mut id, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "webhook-id" => value.clone_into(&mut id),
                "content-length" => length = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the runtime's clock stands still; this is a pace of the real world"
        )]
        let at = Instant::now();
        let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
        received.push(Received { id, at });
        drop(received);
        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}
