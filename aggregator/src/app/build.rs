//! From a checked configuration to a process that only has to be started: bound, opened, wired.

use std::{net::TcpListener, sync::Arc};

use anyhow::Context as _;
use meshprobe_daemon::{
    admin::{Admin, AdminServer, Condition, Readiness},
    clock,
    exit::Failure,
    listeners::Inherited,
    logging::LogHandle,
    process_metrics, reload as daemon_reload,
    shutdown::Shutdown,
    tasks::Tasks,
    tls::ServerTls,
};
use meshprobe_proto::json::JsonWriter;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};

use super::{
    Args, BUILD,
    listeners::{Addresses, Listeners},
    ports::Ports,
    reload::Reloader,
    routes, settings,
};
use crate::{
    api::{Api, Watchers},
    config::Config,
    history::{History, HistoryMetrics},
    metrics::{NotificationMetrics, ReloadMetrics, SilenceMetrics, StateCollector},
    notify::{Connections, Notifier, Quiet, Standings},
    outbox::{Built, LeftBehind, Outbox},
    pipeline::{Outputs, Pipeline, StoreBatch},
    silence::Silences,
    store::{Store, StoreHandle, StoreReader, StoreSettings},
    wall,
};

/// Changes of incidents between the judge and the notifier: a mesh-wide failure at once.
const INCIDENT_QUEUE: usize = 1024;
/// Batches between the mesh task and the store. It hands over one at a time.
const STORE_BATCHES: usize = 4;

/// Bound, opened, wired, and not running.
pub struct App {
    pub(super) config: Arc<Config>,
    pub(super) listeners: Ports,
    pub(super) grpc_tls: Option<ServerTls>,
    pub(super) http_tls: Option<ServerTls>,
    pub(super) tasks: Tasks,
    pub(super) pipeline: Pipeline,
    pub(super) store: StoreHandle,
    pub(super) store_rx: mpsc::Receiver<StoreBatch>,
    pub(super) notifier: Notifier,
    pub(super) outbox: Outbox,
    pub(super) history: History,
    pub(super) reloader: Reloader,
    pub(super) reload: daemon_reload::ReloadHandle,
    pub(super) api: Api,
    pub(super) json: JsonWriter,
    pub(super) admin: AdminServer,
    pub(super) ready: Condition,
    pub(super) shutdown: Shutdown,
}

impl App {
    /// Binds every address, opens the store, wires the parts. Needs a running runtime.
    pub fn build(
        args: Args,
        config: Config,
        inherited: Inherited,
        log: LogHandle,
    ) -> Result<Self, Failure> {
        let listeners = Listeners::bind(&config.listen, inherited).map_err(Failure::runtime)?;
        let load_tls = |files: &Option<_>, alpn: &[&str]| {
            files
                .clone()
                .map(|files| ServerTls::load(files, alpn))
                .transpose()
                .map_err(Failure::config)
        };
        let grpc_tls = load_tls(&config.tls.grpc, &["h2"])?;
        let http_tls = load_tls(&config.tls.http, &["h2", "http/1.1"])?;
        let routes = routes::routes(&config).map_err(Failure::config)?;
        let pipeline_settings = settings::pipeline(&config).map_err(Failure::config)?;
        let stamp_keys = pipeline_settings.plan.stamp_keys.clone();
        let json = JsonWriter::new()
            .context("prepare JSON")
            .map_err(Failure::runtime)?;

        let started_at = wall::now();
        let (store, loaded) = Store::open(StoreSettings {
            path: config.store.path.clone(),
            backlog: config.store.backlog.get(),
            keep_resolved: config.store.keep_resolved.duration(),
        })
        .map_err(Failure::config)?;
        let mut tasks = Tasks::new();
        let store = store.spawn(&mut tasks);

        let mut registry = Registry::default();
        BUILD.register(&mut registry);
        process_metrics::register(&mut registry);
        let own = registry.sub_registry_with_prefix("meshprobe_aggregator");
        let reload_metrics = ReloadMetrics::register(own, clock::since_epoch());
        let notification_metrics = NotificationMetrics::register(own, loaded.dead_letters);

        let (store_tx, store_rx) = mpsc::channel(STORE_BATCHES);
        let (incidents_tx, incidents_rx) = mpsc::channel(INCIDENT_QUEUE);
        let outputs = Outputs {
            store: store_tx,
            incidents: incidents_tx,
        };
        let pipeline = Pipeline::build(
            pipeline_settings,
            settings::still_wanted(&config, loaded.remembered(started_at)),
            outputs,
            own,
        )
        .map_err(Failure::config)?;

        let shutdown = Shutdown::new();
        let (audience_tx, audience_rx) = watch::channel(Arc::new(routes::audience(&config)));
        let silences = Silences::new(loaded.silences);
        let quiet = Quiet {
            silences: silences.clone(),
            mesh: pipeline.handle().watch(),
            metrics: SilenceMetrics::register(own),
        };
        let (standings_tx, standings_rx) = watch::channel(Standings::default());
        let left_behind = LeftBehind {
            pending: loaded.outbox,
            finished: loaded.finished,
        };
        let Built {
            outbox,
            handle: outbox_handle,
            pending,
            ledger,
        } = Outbox::build(
            routes,
            left_behind,
            store.clone(),
            standings_rx,
            notification_metrics,
        );
        let connections = Connections {
            changes_rx: incidents_rx,
            audience_rx: audience_rx.clone(),
            quiet,
            store: store.clone(),
            outbox: outbox_handle.clone(),
            standings_tx,
        };
        let (notifier, incidents) = Notifier::new(loaded.incidents, loaded.told, connections);
        let (history, past) = History::new(
            config.history.settings(&config.store.path),
            pipeline.handle().watch_findings(),
            &incidents,
            HistoryMetrics::register(own),
        );
        let api = Api {
            history: past,
            mesh: pipeline.handle(),
            incidents,
            silences,
            writes: store.clone(),
            reader: StoreReader::new(config.store.path.clone()),
            store: store.watch_state(),
            pending,
            outbox: outbox_handle.downgrade(),
            ledger,
            audience: audience_rx,
            watchers: Watchers::new(config.limits.watchers),
            started_at,
            shutdown: shutdown.clone(),
        };
        own.register_collector(Box::new(StateCollector {
            mesh: api.mesh.clone(),
            incidents: api.incidents.clone(),
            silences: api.silences.clone(),
            store: api.store.clone(),
            watchers: api.watchers.clone(),
        }));

        let (reload, requests) = daemon_reload::channel();
        let readiness = Readiness::new();
        let ready = readiness.condition("serving", "starting");
        let admin = Admin {
            build: BUILD,
            registry: Arc::new(registry),
            readiness,
            log,
            reload: Some(reload.clone()),
        };
        let Listeners {
            grpc,
            http,
            admin: admin_listener,
        } = listeners;
        let admin = admin.bind(admin_listener).context("serve the admin port")?;
        let listeners = Ports { grpc, http };
        let reloader = Reloader {
            args,
            config: config.clone(),
            stamp_keys,
            requests,
            tls: grpc_tls.iter().chain(&http_tls).cloned().collect(),
            mesh: api.mesh.clone(),
            outbox: outbox_handle,
            audience_tx,
            metrics: reload_metrics,
        };
        Ok(Self {
            config: Arc::new(config),
            listeners,
            grpc_tls,
            http_tls,
            tasks,
            pipeline,
            store,
            store_rx,
            notifier,
            outbox,
            history,
            reloader,
            reload,
            api,
            json,
            admin,
            ready,
            shutdown,
        })
    }

    /// Where the process can be reached.
    pub fn addresses(&self) -> Addresses {
        let all = |listeners: &[TcpListener]| {
            listeners
                .iter()
                .filter_map(|one| one.local_addr().ok())
                .collect()
        };
        let Ports { grpc, http } = &self.listeners;
        Addresses {
            grpc: all(grpc),
            http: all(http),
            admin: self.admin.local_addr().ok(),
        }
    }

    /// The signal that ends [`Self::run`].
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }
}
