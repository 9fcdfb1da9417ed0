//! What the tests of this folder share: a receiver of webhooks that remembers, the way from an incident to it, and the
//! whole process.

#![expect(dead_code, reason = "each test program uses its part of it")]

pub(crate) mod process;

use std::{
    collections::VecDeque,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use jiff::Timestamp;
use meshprobe_aggregator::{
    config::{Config, ReceiverConfig},
    incident::{Incident, IncidentChange, IncidentState, Transition},
    metrics::{NotificationMetrics, SilenceMetrics},
    notify::{Audience, Connections, Incidents, Notifier, Quiet, Routing, Standings},
    outbox::{Built, Ledger, LeftBehind, Outbox, OutboxHandle, Pending, Route},
    receiver::{Links, Receiver},
    silence::Silences,
    snapshot::{Judging, Snapshot},
    store::{Loaded, Store, StoreError, StoreHandle, StoreSettings},
};
use meshprobe_core::{
    finding::{Pattern, Scope},
    ids::NodeName,
};
use meshprobe_daemon::{shutdown::Shutdown, tasks::Tasks};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};

/// Far longer than anything here takes on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that is removed at the end.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!(
            "meshprobe-aggregator-{}-{number}",
            std::process::id()
        ));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// The node and whether it is firing: `mesh-1 firing`.
    pub(crate) fn gist(&self) -> String {
        let json = self.json();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        format!(
            "{} {}",
            text(&json["commonLabels"]["node"]),
            text(&json["status"])
        )
    }
}

/// A status, and for how many seconds not to come back.
pub(crate) type Answer = (StatusCode, Option<&'static str>);

/// A receiver of webhooks. It answers 200 unless told otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbox {
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Inbox {
    /// What the next requests are answered with, and for how long not to come back.
    pub(crate) fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().extend(answers);
    }

    pub(crate) fn all(&self) -> Vec<Received> {
        self.received.lock().clone()
    }

    pub(crate) fn gists(&self) -> Vec<String> {
        self.all().iter().map(Received::gist).collect()
    }

    /// Serves on `listener` for as long as the returned set lives.
    pub(crate) fn serve(&self, listener: TcpListener) -> JoinSet<()> {
        let router = self.router();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        serving
    }

    pub(crate) fn router(&self) -> Router {
        async fn take(
            State(inbox): State<Inbox>,
            headers: HeaderMap,
            body: Bytes,
        ) -> (StatusCode, HeaderMap, &'static str) {
            inbox.received.lock().push(Received { headers, body });
            let (status, retry_after) = inbox
                .answers
                .lock()
                .pop_front()
                .unwrap_or((StatusCode::OK, None));
            let mut headers = HeaderMap::new();
            if let Some(seconds) = retry_after {
                headers.insert("retry-after", seconds.parse().unwrap());
            }
            (status, headers, "thank you")
        }
        Router::new().fallback(take).with_state(self.clone())
    }

    /// Waits until `count` requests have arrived.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} requests"), || self.all().len() >= count).await;
        self.all()
    }
}

pub(crate) async fn any_port() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(
        waited.await.is_ok(),
        "{what} did not happen within {PATIENCE:?}"
    );
}

/// A webhook as the configuration file has it.
pub(crate) fn webhook(name: &str, address: SocketAddr, more: &str) -> ReceiverConfig {
    receiver(&format!(
        "{{name: {name}, webhook: {{url: \"http://{address}/hook\"}}{more}}}"
    ))
}

/// A receiver as the configuration file has it.
pub(crate) fn receiver(text: &str) -> ReceiverConfig {
    meshprobe_daemon::config::parse(text, Path::new("test")).unwrap()
}

pub(crate) fn settings(path: PathBuf) -> StoreSettings {
    StoreSettings {
        path,
        backlog: 1000,
        keep_resolved: Duration::from_secs(86_400),
    }
}

/// The way from the judge to the receivers.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) changes_tx: mpsc::Sender<IncidentChange>,
    pub(crate) store: StoreHandle,
    pub(crate) incidents: Incidents,
    pub(crate) pending: Pending,
    pub(crate) silences: Silences,
    pub(crate) ledger: Ledger,
    pub(crate) outbox: OutboxHandle,
    running: JoinSet<()>,
    _others: (watch::Sender<Arc<Audience>>, watch::Sender<Arc<Snapshot>>),
}

impl Way {
    /// Every end is told at once.
    pub(crate) fn start(path: PathBuf, receivers: &[ReceiverConfig]) -> Result<Self, StoreError> {
        Self::start_with(path, receivers, "{resolve_hold: 0s}")
    }

    /// `notifications` is that section of the configuration file.
    pub(crate) fn start_with(
        path: PathBuf,
        receivers: &[ReceiverConfig],
        notifications: &str,
    ) -> Result<Self, StoreError> {
        meshprobe_daemon::tls::install_crypto_provider();
        let config = Config {
            receivers: receivers.to_vec(),
            notifications: meshprobe_daemon::config::parse(notifications, Path::new("test"))
                .unwrap(),
            ..Config::default()
        };
        let (store, loaded) = Store::open(settings(path))?;
        let mut running = JoinSet::new();
        let mut tasks = Tasks::new();
        let store = store.spawn(&mut tasks);
        // The store's thread ends by itself when its last handle is dropped; this waits for it.
        let ending = Shutdown::new();
        ending.trigger();
        running.spawn(async move { tasks.run(&ending, Duration::from_secs(3600)).await.unwrap() });
        let routes = receivers
            .iter()
            .map(|receiver| Route {
                receiver: Receiver::new(receiver, &Links::default()).unwrap(),
                give_up_after: receiver.give_up_after.duration(),
                rate_limit: receiver.rate_limit,
            })
            .collect();
        let Loaded {
            incidents,
            told,
            outbox,
            finished,
            dead_letters,
            silences,
            ..
        } = loaded;
        let metrics = NotificationMetrics::register(&mut Registry::default(), dead_letters);
        let (standings_tx, standings_rx) = watch::channel(Standings::default());
        let left_behind = LeftBehind {
            pending: outbox,
            finished,
        };
        let Built {
            outbox,
            handle,
            pending,
            ledger,
        } = Outbox::build(routes, left_behind, store.clone(), standings_rx, metrics);
        let (audience_tx, audience_rx) = watch::channel(Arc::new(Audience {
            receivers: Vec::new(),
            routing: Routing::of(&config),
            resolve_hold: config.notifications.resolve_hold.duration(),
            links: Links::default(),
        }));
        let (snapshots_tx, snapshots_rx) =
            watch::channel(Arc::new(Snapshot::empty(now(), Judging::Active)));
        let (changes_tx, changes_rx) = mpsc::channel(64);
        let silences = Silences::new(silences);
        let quiet = Quiet {
            silences: silences.clone(),
            mesh: snapshots_rx,
            metrics: SilenceMetrics::default(),
        };
        let connections = Connections {
            changes_rx,
            audience_rx,
            quiet,
            store: store.clone(),
            outbox: handle.clone(),
            standings_tx,
        };
        let (notifier, incidents) = Notifier::new(incidents, told, connections);
        running.spawn(notifier.run());
        running.spawn(outbox.run());
        Ok(Self {
            changes_tx,
            store,
            incidents,
            pending,
            silences,
            ledger,
            outbox: handle,
            running,
            _others: (audience_tx, snapshots_tx),
        })
    }

    pub(crate) async fn tell(&self, transition: Transition, incident: Incident) {
        self.changes_tx
            .send(IncidentChange {
                transition,
                incident,
            })
            .await
            .unwrap();
    }

    /// Ends everything in order, as a shutdown does: no attempt is cut off, the store is closed.
    pub(crate) async fn stop(self) {
        let Self {
            changes_tx,
            store,
            outbox,
            mut running,
            ..
        } = self;
        drop((changes_tx, store, outbox));
        let end = async {
            while let Some(ended) = running.join_next().await {
                ended.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, end).await.unwrap();
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::try_from(meshprobe_daemon::clock::wall()).unwrap()
}

/// An open node-dark incident.
pub(crate) fn dark(node: &str) -> Incident {
    let scope = Scope::node(NodeName::try_from(node).unwrap());
    Incident {
        zones: vec!["z1".to_owned()],
        summary: format!("{node} is dark"),
        evidence: vec!["no peer reaches it".to_owned()],
        ..Incident::new(Pattern::NodeDark, scope, now())
    }
}

/// The same incident at its end.
pub(crate) fn resolved(mut incident: Incident) -> Incident {
    let at = now();
    incident.state = IncidentState::Resolved;
    incident.updated_at = at;
    incident.resolved_at = Some(at);
    incident
}
