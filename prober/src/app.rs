//! From a configuration to a running prober: sockets bound first, then everything built, then everything spawned.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use meshprobe_core::ids::Incarnation;
use meshprobe_daemon::admin::{Admin, AdminServer, Readiness};
use meshprobe_daemon::build_info::BuildInfo;
use meshprobe_daemon::exit::Failure;
use meshprobe_daemon::listeners::listen_tcp;
use meshprobe_daemon::logging::{self, LogHandle};
use meshprobe_daemon::reload::{self, ReloadHandle, ReloadRequests};
use meshprobe_daemon::shutdown::{Shutdown, Signals};
use meshprobe_daemon::tasks::Tasks;
use meshprobe_daemon::{process_metrics, tls};
use meshprobe_proto::v1;
use parking_lot::Mutex;
use prometheus_client::registry::Registry as MetricsRegistry;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::assignment::file::spread;
use crate::assignment::force::{Assignments, Source};
use crate::book::Book;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::args::{Args, Surroundings};
use crate::dns::probe::DnsTools;
use crate::dns::search::SearchTools;
use crate::external::probe::ExternalTools;
use crate::external::proxy::Proxies;
use crate::external::resolve::Names;
use crate::external::trust::Trust;
use crate::hostfacts::watch_facts;
use crate::icmp::probe::{IcmpProbe, IcmpTools};
use crate::mailbox::{Command, mailbox};
use crate::metrics::Metrics;
use crate::mtu::history::History;
use crate::mtu::probe::MtuProbe;
use crate::plan::{
    DnsQueryTarget, ExternalProbe, Plan, Registry, SearchProbe, ServiceProbe, TcpTarget,
};
use crate::quic::probe::{QuicProbe, QuicTools};
use crate::quic::responder::QuicResponder;
use crate::reloader::Reloader;
use crate::reporter::task::{Reporter, Request};
use crate::reporter::way::WayTask;
use crate::runner::{Context, Probing, Runner};
use crate::self_watch::watch_self;
use crate::service::probe::ServiceTools;
use crate::shared::Shared;
use crate::spool::{Spool, Way};
use crate::sys;
use crate::tcp::echo::EchoResponder;
use crate::trace::tracer::{TRACED_DEPTH, Tracer, WANTED_DEPTH};
use crate::udp::engine::Engine;
use crate::udp::responder::Responder;
use crate::udp::sockets::{AddressSockets, bind_echo, bind_quic};

/// Report interval before the first assignment.
const FIRST_REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Names that need no server.
const HOSTS: &str = "/etc/hosts";

/// Events of both ways that wait for the reporter.
const EVENTS_DEPTH: usize = 64;

/// Streams are open and the first assignment is in force by then.
const START_TIME: Duration = Duration::from_secs(5);

/// Everything that the drain may take: what is under way, the spool, the goodbye, and a margin.
const DRAIN: Duration = Duration::from_secs(6);

/// A prober that is bound and built, and does not run yet.
pub struct App {
    config: Config,
    args: Args,
    surroundings: Surroundings,
    shared: Shared,
    engine: Engine,
    echoes: Vec<EchoResponder>,
    tcp: Runner<TcpTarget>,
    dns: Runner<DnsQueryTarget>,
    search: Runner<SearchProbe>,
    services: Runner<ServiceProbe>,
    external: Runner<ExternalProbe>,
    quic: Runner<QuicProbe>,
    mtu: Runner<MtuProbe>,
    icmp: Runner<IcmpProbe>,
    tracer: Tracer,
    quic_responders: Vec<QuicResponder>,
    reporter: Reporter,
    ways: Vec<WayTask>,
    facts_tx: watch::Sender<Option<Arc<v1::HostFacts>>>,
    running_tx: mpsc::Sender<std::convert::Infallible>,
    requests_tx: mpsc::Sender<Request>,
    admin: AdminServer,
    log: LogHandle,
    reload: (ReloadHandle, ReloadRequests),
    bound: Bound,
}

/// Where it is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// STAMP responders.
    pub udp: Vec<SocketAddr>,
    /// Echo responders.
    pub tcp: Vec<SocketAddr>,
    /// QUIC responders.
    pub quic: Vec<SocketAddr>,
    /// The admin port.
    pub admin: SocketAddr,
}

impl App {
    /// Installs the logger, binds all sockets and builds all parts. Needs a running runtime.
    pub fn build(config: Config, args: Args, surroundings: Surroundings) -> Result<Self, Failure> {
        let log = logging::init(&config.log).map_err(Failure::runtime)?;
        Self::build_with_log(config, args, surroundings, log)
    }

    /// The same with a logger that is there already.
    pub fn build_with_log(
        config: Config,
        args: Args,
        surroundings: Surroundings,
        log: LogHandle,
    ) -> Result<Self, Failure> {
        let build = BuildInfo::new("meshprobe-prober");
        info!(%build, node = %config.node, plane = %config.plane, "Starting");
        tls::install_crypto_provider();
        let first_assignment = config.first_assignment()?;

        let mut sockets = Vec::new();
        let mut echo_listeners = Vec::new();
        for ip in &config.listen {
            let pair = AddressSockets::bind(*ip, config.port).map_err(Failure::runtime)?;
            let udp_port = pair
                .responder
                .local_addr()
                .map_or(config.port, |addr| addr.port());
            // One number for both, also where the system chose it.
            let address = SocketAddr::new(*ip, udp_port);
            echo_listeners.push(bind_echo(address).map_err(Failure::runtime)?);
            sockets.push(pair);
        }
        let quic_sockets = config
            .quic_port
            .iter()
            .flat_map(|port| config.listen.iter().map(|ip| SocketAddr::new(*ip, *port)))
            .map(bind_quic)
            .collect::<Result<Vec<_>, _>>()
            .map_err(Failure::runtime)?;
        let admin_listener = listen_tcp("listen.admin", config.admin).map_err(Failure::runtime)?;
        let bound = bound(&sockets, &echo_listeners, &quic_sockets, &admin_listener)
            .map_err(Failure::runtime)?;

        let clock = Clock::new();
        let incarnation = Incarnation(u64::try_from(clock.unix_nanos() / 1_000).unwrap_or(0));
        let mut registry = MetricsRegistry::default();
        build.register(&mut registry);
        process_metrics::register(&mut registry);
        let metrics = Arc::new(Metrics::register(&mut registry));
        let book = Arc::new(Mutex::new(Book::new(clock.now())));
        let (engine_mailbox, engine_reader) = mailbox().context("open the engine's mailbox")?;
        let (shared, tcp_confirm_rx) = Shared::new(clock, book, metrics, engine_mailbox);
        let (trace_tx, trace_rx) = mpsc::channel(WANTED_DEPTH);
        let (traced_tx, traces_rx) = mpsc::channel(TRACED_DEPTH);
        let shared = shared.with_tracer(trace_tx);

        let own_port = bound.udp.first().map_or(config.port, SocketAddr::port);
        let responder =
            Responder::new(own_port, config.open_responder).anonymous(config.anonymous_responder);
        let (running_tx, running_rx) = mpsc::channel(1);
        let engine = Engine::new(
            shared.clone(),
            engine_reader,
            sockets,
            responder,
            running_tx.clone(),
        );
        let echoes = echo_listeners
            .into_iter()
            .map(|listener| EchoResponder::new(listener, &config.node, shared.clone()))
            .collect::<Result<_, _>>()
            .context("register the echo responder")?;
        let (plan_tx, plan_rx) = watch::channel(Arc::new(Plan::default()));
        let context = Arc::new(Context {
            shared: shared.clone(),
            local: config.listen.clone(),
        });
        let tcp = Runner::new(
            Arc::clone(&context),
            (),
            plan_rx.clone(),
            Some(tcp_confirm_rx),
        );
        let dns = DnsTools::default();
        let dns = Runner::new(Arc::clone(&context), dns, plan_rx.clone(), None);
        let search = SearchTools::new(config.resolv_conf.clone());
        let search = Runner::new(Arc::clone(&context), search, plan_rx.clone(), None);
        let services = ServiceTools::default();
        let services = Runner::new(Arc::clone(&context), services, plan_rx.clone(), None);
        let external = external_tools(&config, &surroundings)?;
        let external = Runner::new(Arc::clone(&context), external, plan_rx.clone(), None);
        let quic_responders = quic_sockets
            .into_iter()
            .map(|socket| QuicResponder::new(socket, shared.clone(), plan_rx.clone()))
            .collect::<Result<_, _>>()
            .context("start the QUIC responder")?;
        let quic_tools = QuicTools::new().context("prepare QUIC probes")?;
        let quic = Runner::new(Arc::clone(&context), quic_tools, plan_rx.clone(), None);
        let history = History::default();
        let mtu = Runner::new(Arc::clone(&context), history, plan_rx.clone(), None);
        let echo = IcmpTools::default();
        let icmp = Runner::new(Arc::clone(&context), echo, plan_rx.clone(), None);
        let tracer = Tracer::new(context, plan_rx, trace_rx, traced_tx);

        let readiness = Readiness::new();
        let assigned = readiness.condition("assignment", "no assignment yet");
        let registry_of_paths = Registry::new(config.node.clone(), config.plane, own_port);
        let mut assignments = Assignments::new(
            registry_of_paths,
            shared.clone(),
            plan_tx,
            assigned,
            FIRST_REPORT_INTERVAL,
            if config.assignment_file.is_some() {
                Source::File
            } else {
                Source::Aggregator
            },
        );
        if let Some(set) = &first_assignment {
            assignments.put_in_force(set);
        }
        let (events_tx, events_rx) = mpsc::channel(EVENTS_DEPTH);
        let (requests_tx, requests_rx) = mpsc::channel(1);
        let (addresses_tx, addresses_rx) = watch::channel(Vec::new());
        let (facts_tx, facts_rx) = watch::channel(None);
        let hello = hello(&config, incarnation, build.version);
        let ways = Way::ALL
            .into_iter()
            .map(|way| {
                let tls = config.tls.clone();
                WayTask::new(
                    way,
                    addresses_rx.clone(),
                    hello.clone(),
                    tls,
                    events_tx.clone(),
                    clock,
                )
            })
            .collect();
        let reporter = Reporter {
            spool: Spool::new(incarnation, config.spool_bytes),
            assignments,
            events_rx,
            requests_rx,
            configured: config.aggregators.clone(),
            addresses_tx,
            facts_rx,
            traces_rx,
            running_rx,
            incarnation,
            local: config.listen.clone(),
            spread: spread(config.node.as_str(), "report"),
            shared: shared.clone(),
        };
        let reload = reload::channel();
        let admin = Admin {
            build,
            registry: Arc::new(registry),
            readiness,
            log: log.clone(),
            reload: Some(reload.0.clone()),
        }
        .bind(admin_listener)
        .context("register the admin port")?;
        Ok(Self {
            config,
            args,
            surroundings,
            shared,
            engine,
            echoes,
            tcp,
            dns,
            search,
            services,
            external,
            quic,
            mtu,
            icmp,
            tracer,
            quic_responders,
            reporter,
            ways,
            facts_tx,
            running_tx,
            requests_tx,
            admin,
            log,
            reload,
            bound,
        })
    }

    /// Where it is bound.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Its counters.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// Runs until a signal, then drains.
    pub async fn run(self, signals: Signals, shutdown: Shutdown) -> Result<(), Failure> {
        let mut tasks = Tasks::new();
        tasks.spawn_helper("signals", signals.watch(shutdown.clone()));
        let hangups = self.reload.0.clone().on_hangup(shutdown.clone());
        tasks.spawn_helper("hangups", hangups.context("take over SIGHUP")?);
        self.run_with(tasks, shutdown).await
    }

    /// Runs with whatever is in `tasks` until `shutdown`, then drains.
    pub async fn run_with(self, mut tasks: Tasks, shutdown: Shutdown) -> Result<(), Failure> {
        let Self {
            config,
            args,
            surroundings,
            shared,
            engine,
            echoes,
            tcp,
            dns,
            search,
            services,
            external,
            quic,
            mtu,
            icmp,
            tracer,
            quic_responders,
            reporter,
            ways,
            facts_tx,
            running_tx,
            requests_tx,
            admin,
            log,
            reload: (_, reloads),
            bound,
        } = self;
        info!(udp = ?bound.udp, tcp = ?bound.tcp, quic = ?bound.quic, admin = %bound.admin, "Listening");
        let ways_stop = Shutdown::new();
        let finished = Shutdown::new();
        tasks.spawn_blocking("udp-engine", move || engine.run());
        for echo in echoes {
            tasks.spawn("tcp-echo", echo.run(finished.clone()));
        }
        for responder in quic_responders {
            tasks.spawn("quic-responder", responder.run(finished.clone()));
        }
        let probing = (&shutdown, &running_tx);
        spawn_runner(&mut tasks, "tcp-probes", tcp, probing);
        spawn_runner(&mut tasks, "dns-probes", dns, probing);
        spawn_runner(&mut tasks, "search-probes", search, probing);
        spawn_runner(&mut tasks, "service-probes", services, probing);
        spawn_runner(&mut tasks, "external-probes", external, probing);
        spawn_runner(&mut tasks, "quic-probes", quic, probing);
        spawn_runner(&mut tasks, "mtu-probes", mtu, probing);
        spawn_runner(&mut tasks, "icmp-probes", icmp, probing);
        drop(running_tx);
        tasks.spawn("tracer", tracer.run(shutdown.clone()));
        for way in ways {
            tasks.spawn("way-home", way.run(ways_stop.clone()));
        }
        tasks.spawn("self-watch", watch_self(shared.clone(), shutdown.clone()));
        tasks.spawn("host-facts", watch_facts(facts_tx, shutdown.clone()));
        tasks.spawn("admin", admin.serve(finished.clone()));
        tasks.spawn_helper("memory", release_startup_memory(shutdown.clone()));
        let reloader = Reloader {
            config,
            args,
            surroundings,
            requests_tx,
            log,
        };
        tasks.spawn("reload", reloader.run(reloads, shutdown.clone()));
        let stop = shutdown.clone();
        tasks.spawn("reporter", async move {
            reporter.run(stop, ways_stop, finished).await;
            shared.engine().send(Command::End);
        });
        tasks.run(&shutdown, DRAIN).await.map_err(Failure::runtime)
    }
}

/// Runs the probes of one kind until the shutdown; holds a token for as long as it runs.
fn spawn_runner<T: Probing>(
    tasks: &mut Tasks,
    name: &'static str,
    runner: Runner<T>,
    (shutdown, running_tx): (&Shutdown, &mpsc::Sender<std::convert::Infallible>),
) {
    let (stop, token) = (shutdown.clone(), running_tx.clone());
    tasks.spawn(name, async move {
        runner.run(stop).await;
        drop(token);
    });
}

/// What probes of targets outside the mesh share.
fn external_tools(config: &Config, surroundings: &Surroundings) -> Result<ExternalTools, Failure> {
    let proxies = Proxies::try_from(&surroundings.proxies).unwrap_or_else(|error| {
        // The environment is often the same for many programs; this one can do without.
        warn!(%error, "A proxy is ignored");
        Proxies::default()
    });
    let trust = Trust::load(config.external.ca.clone()).map_err(Failure::config)?;
    let names = Names::new(PathBuf::from(HOSTS), config.resolv_conf.clone());
    Ok(ExternalTools::new(config.fence(), proxies, trust, names))
}

/// Once the start is over, its code is no memory of this process any more.
async fn release_startup_memory(shutdown: Shutdown) {
    let start = shutdown.or_signaled(tokio::time::sleep(START_TIME)).await;
    if let (Some(()), Ok(maps)) = (start, std::fs::read_to_string("/proc/self/maps")) {
        let octets = sys::release_code(&maps);
        debug!(octets, "Gave back the code of the start");
    }
}

fn bound(
    sockets: &[AddressSockets],
    echoes: &[std::net::TcpListener],
    quic: &[std::net::UdpSocket],
    admin: &std::net::TcpListener,
) -> std::io::Result<Bound> {
    Ok(Bound {
        udp: sockets
            .iter()
            .map(|pair| pair.responder.local_addr())
            .collect::<Result<_, _>>()?,
        tcp: echoes
            .iter()
            .map(std::net::TcpListener::local_addr)
            .collect::<Result<_, _>>()?,
        quic: quic
            .iter()
            .map(std::net::UdpSocket::local_addr)
            .collect::<Result<_, _>>()?,
        admin: admin.local_addr()?,
    })
}

fn hello(config: &Config, incarnation: Incarnation, version: &str) -> v1::Hello {
    v1::Hello {
        node: config.node.to_string(),
        plane: v1::Plane::from(config.plane).into(),
        incarnation: incarnation.0,
        version: version.to_owned(),
        zone: config.zone.clone(),
        region: config.region.clone(),
        labels: config.labels.clone().into_iter().collect(),
        addresses: config.addresses.clone(),
        way: v1::WayHome::Unspecified.into(),
    }
}
