//! The process: `configuration → build → App → run`. Building binds and opens everything and starts nothing; a half-built
//! process cannot be run.
//!
//! | Task | Ends when |
//! |---|---|
//! | `grpc`, `http` (one for each listener) | the shutdown is signaled; then connections drain |
//! | `mesh`, `prober-streams` | see [`crate::pipeline`]: streams get their last acknowledgement |
//! | `pipeline-store` | the mesh task has dropped its end |
//! | `notifier` | the mesh task has dropped its end, and everything is told |
//! | `outbox` | the notifier has ended, and what was never tried is tried once |
//! | `store` (a thread) | all of the above have ended, and everything is written |
//! | `admin`, `reload`, `tls` | the shutdown is signaled |
//!
//! So the order of an orderly end follows from who holds whose handle, not from a list. Every task is critical: one that
//! ends early or panics ends the process.

mod args;
mod listeners;
mod reload;
mod routes;
mod settings;

use std::{net::TcpListener, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use jiff::Timestamp;
use meshprobe_daemon::{
    admin::{Admin, AdminServer, Condition, Readiness},
    build_info::BuildInfo,
    clock,
    exit::Failure,
    http::{HttpServer, Limits},
    listeners::Inherited,
    logging::{self, LogHandle},
    process_metrics, reload as daemon_reload,
    shutdown::{Shutdown, Signals},
    tasks::Tasks,
    tls::{self, ServerTls},
};
use meshprobe_proto::v1::{
    self, mesh_service_server::MeshServiceServer, prober_service_server::ProberServiceServer,
};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tonic::service::Routes;
use tonic_health::server::{HealthReporter, health_reporter};
use tracing::info;

pub use args::Args;
pub use listeners::Addresses;

use self::{listeners::Listeners, reload::Reloader};
use crate::{
    api::{Api, MeshApiService, Watchers},
    config::Config,
    ingest::ProberStreams,
    json::JsonWriter,
    metrics::{NotificationMetrics, ReloadMetrics, StateCollector},
    notify::Notifier,
    outbox::Outbox,
    pipeline::{Outputs, Pipeline, StoreBatch},
    store::{Store, StoreHandle, StoreSettings},
};

/// Requests of the public API are small; reports go through a service with its own limit.
const MAX_REQUEST_BYTES: usize = 64 << 10;
/// How often the TLS files are looked at.
const TLS_POLL: Duration = Duration::from_secs(10);
/// What the open requests of a port have to end in, inside the deadline of the whole drain.
const CONNECTION_GRACE: Duration = Duration::from_secs(5);
/// Changes of incidents between the judge and the notifier: a mesh-wide failure at once.
const INCIDENT_QUEUE: usize = 1024;
/// Batches between the mesh task and the store. It hands over one at a time.
const STORE_BATCHES: usize = 4;
/// After the last task nothing is left to wait for but threads of the runtime.
const RUNTIME_END: Duration = Duration::from_secs(1);

/// `main`: everything between the flags and the exit code.
pub fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let inherited = Inherited::from_env().map_err(Failure::config)?;
    tls::install_crypto_provider();
    let config = args.load().map_err(Failure::config)?;
    if args.check_config {
        settings::pipeline(&config).map_err(Failure::config)?;
        routes::routes(&config).map_err(Failure::config)?;
        return print(&format!("{} is good\n", args.path().display()));
    }
    if args.dump_config {
        return print(&config.dump().map_err(Failure::runtime)?);
    }
    let log = logging::init(&config.log).map_err(Failure::config)?;
    info!(config = %args.path().display(), "{}", BUILD);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::runtime)?;
    let result = runtime.block_on(async {
        let signals = Signals::install().map_err(Failure::runtime)?;
        App::build(args, config, inherited, log)?
            .run(Some(signals))
            .await
    });
    runtime.shutdown_timeout(RUNTIME_END);
    result
}

const BUILD: BuildInfo = BuildInfo::new("meshprobe-aggregator");

/// Standard output is the answer to `--check-config` and `--dump-config`, not a log.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::runtime)
}

/// The listeners that many share, bound.
struct Ports {
    grpc: Vec<TcpListener>,
    http: Vec<TcpListener>,
}

/// Bound, opened, wired, and not running.
pub struct App {
    config: Arc<Config>,
    listeners: Ports,
    grpc_tls: Option<ServerTls>,
    http_tls: Option<ServerTls>,
    tasks: Tasks,
    pipeline: Pipeline,
    store: StoreHandle,
    store_rx: mpsc::Receiver<StoreBatch>,
    notifier: Notifier,
    outbox: Outbox,
    reloader: Reloader,
    reload: daemon_reload::ReloadHandle,
    api: Api,
    json: JsonWriter,
    admin: AdminServer,
    ready: Condition,
    shutdown: Shutdown,
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
        let json = JsonWriter::new(v1::FILE_DESCRIPTOR_SET)
            .context("prepare JSON")
            .map_err(Failure::runtime)?;

        let started_at = Timestamp::try_from(clock::wall()).context("read the wall clock")?;
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
        let (outbox, outbox_handle, pending) =
            Outbox::new(routes, loaded.outbox, store.clone(), notification_metrics);
        let (notifier, incidents) = Notifier::new(
            loaded.incidents,
            incidents_rx,
            audience_rx.clone(),
            store.clone(),
            outbox_handle.clone(),
        );
        let api = Api {
            mesh: pipeline.handle(),
            incidents,
            store: store.watch_state(),
            pending,
            audience: audience_rx,
            watchers: Watchers::new(config.limits.watchers),
            started_at,
            shutdown: shutdown.clone(),
        };
        own.register_collector(Box::new(StateCollector {
            mesh: api.mesh.clone(),
            incidents: api.incidents.clone(),
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

    /// Runs until a signal or a failure, then drains.
    pub async fn run(self, signals: Option<Signals>) -> Result<(), Failure> {
        self.addresses().log();
        let Self {
            config,
            listeners,
            grpc_tls,
            http_tls,
            mut tasks,
            pipeline,
            store,
            store_rx,
            notifier,
            outbox,
            reloader,
            reload,
            api,
            json,
            admin,
            ready,
            shutdown,
        } = self;
        if let Some(signals) = signals {
            tasks.spawn_helper("signals", signals.watch(shutdown.clone()));
        }
        let hangup = reload.on_hangup(shutdown.clone()).context("catch SIGHUP")?;
        tasks.spawn_helper("hangup", hangup);
        for (name, tls) in [
            ("grpc-tls", grpc_tls.clone()),
            ("http-tls", http_tls.clone()),
        ] {
            if let Some(tls) = tls {
                tasks.spawn(name, tls.watch(TLS_POLL, shutdown.clone()));
            }
        }

        let (health, health_service) = health_reporter();
        health
            .set_serving::<MeshServiceServer<MeshApiService>>()
            .await;
        health
            .set_serving::<ProberServiceServer<ProberStreams>>()
            .await;
        let grpc = grpc_router(&api, &pipeline, health_service)?;
        serve(
            &mut tasks,
            "grpc",
            listeners.grpc,
            grpc_limits(&config),
            grpc_tls.as_ref(),
            &grpc,
            &shutdown,
        )?;
        let http = crate::http::router(api, json);
        serve(
            &mut tasks,
            "http",
            listeners.http,
            http_limits(&config),
            http_tls.as_ref(),
            &http,
            &shutdown,
        )?;

        tasks.spawn("pipeline-store", store.serve_pipeline(store_rx));
        tasks.spawn("notifier", notifier.run());
        tasks.spawn("outbox", outbox.run());
        tasks.spawn("reload", reloader.run(shutdown.clone()));
        pipeline.spawn(&mut tasks, &shutdown);
        tasks.spawn("admin", admin.serve(shutdown.clone()));
        tasks.spawn("ready", announce(ready, health, shutdown.clone()));
        tasks
            .run(&shutdown, config.drain.deadline.duration())
            .await
            .map_err(Failure::runtime)
    }
}

/// Says that the process is of use, and when it no longer is.
async fn announce(ready: Condition, health: HealthReporter, shutdown: Shutdown) {
    ready.met();
    shutdown.signaled().await;
    ready.unmet("shutting down");
    health
        .set_not_serving::<MeshServiceServer<MeshApiService>>()
        .await;
    health
        .set_not_serving::<ProberServiceServer<ProberStreams>>()
        .await;
}

/// Everything that the gRPC port answers: probers, the public API, health, reflection.
fn grpc_router(
    api: &Api,
    pipeline: &Pipeline,
    health: impl tonic::codegen::Service<
        http::Request<tonic::body::Body>,
        Response = http::Response<tonic::body::Body>,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + tonic::server::NamedService
    + Clone
    + Send
    + Sync
    + 'static,
) -> Result<axum::Router, Failure> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("prepare reflection")?;
    let mesh = MeshServiceServer::new(MeshApiService(api.clone()))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    Ok(Routes::new(mesh)
        .add_service(pipeline.service())
        .add_service(health)
        .add_service(reflection)
        .prepare()
        .into_axum_router())
}

fn grpc_limits(config: &Config) -> Limits {
    Limits {
        connections: config.limits.grpc_connections,
        keep_alive: config.limits.keepalive_interval.duration(),
        keep_alive_timeout: config.limits.keepalive_timeout.duration(),
        grace: CONNECTION_GRACE,
        ..Limits::default()
    }
}

fn http_limits(config: &Config) -> Limits {
    Limits {
        connections: config.limits.http_connections,
        grace: CONNECTION_GRACE,
        ..Limits::default()
    }
}

fn serve(
    tasks: &mut Tasks,
    name: &str,
    listeners: Vec<TcpListener>,
    limits: Limits,
    tls: Option<&ServerTls>,
    router: &axum::Router,
    shutdown: &Shutdown,
) -> Result<(), Failure> {
    for (index, listener) in listeners.into_iter().enumerate() {
        let server = HttpServer::new(listener, limits)
            .with_context(|| format!("serve {name}"))?
            .with_tls(tls.cloned());
        tasks.spawn(
            format!("{name}-{index}"),
            server.serve(router.clone(), shutdown.clone()),
        );
    }
    Ok(())
}
