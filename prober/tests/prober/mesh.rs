//! Probers to test with, and eyes for them.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use clap::Parser as _;
use meshprobe_daemon::config::parse;
use meshprobe_daemon::logging::{self, LogConfig, LogHandle};
use meshprobe_daemon::shutdown::Shutdown;
use meshprobe_daemon::tasks::Tasks;
use meshprobe_prober::app::App;
use meshprobe_prober::config::Config;
use meshprobe_prober::config::args::{Args, Surroundings};
use tokio::task::JoinHandle;

/// Ports of the responders and of the admin pages; addresses differ.
pub(crate) const PORT: u16 = 14_862;
pub(crate) const QUIC_PORT: u16 = 14_863;
const ADMIN_PORT: u16 = 14_864;

/// How long something may take that should happen soon.
const PATIENCE: Duration = Duration::from_secs(20);

/// A loopback address that no other test uses: the process and a counter make it.
pub(crate) fn address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let [_, _, _, process] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, process.max(2), high, low)
}

fn log() -> LogHandle {
    static LOG: OnceLock<LogHandle> = OnceLock::new();
    let quiet = || LogConfig {
        level: "off".parse().unwrap(),
        ..LogConfig::default()
    };
    LOG.get_or_init(|| logging::init(&quiet()).unwrap()).clone()
}

/// A file that lists a mesh; removed at the end.
pub(crate) struct MeshFile(PathBuf);

impl MeshFile {
    pub(crate) fn new(nodes: &[(&str, Ipv4Addr)], rest: &str) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("meshprobe-{}-{number}.yaml", std::process::id()));
        let mut text = String::from("report_interval: 1s\nnodes:\n");
        for (i, (name, ip)) in nodes.iter().enumerate() {
            writeln!(
                text,
                "  - {{name: {name}, ssid: {}, addresses: [{{plane: pod, ip: {ip}, udp_port: {PORT}, tcp_port: {PORT}, quic_port: {QUIC_PORT}}}]}}",
                i + 1
            )
            .unwrap();
        }
        text.push_str(
            "schedules:\n  - {kind: udp, plane: pod, interval: 100ms}\n  - {kind: tcp, plane: pod, interval: 200ms}\n  \
             - {kind: quic, plane: pod, interval: 300ms}\n  \
             - {kind: mtu, plane: pod, interval: 400ms}\n  \
             - {kind: dns-udp, plane: service, interval: 200ms}\n  - {kind: dns-tcp, plane: service, interval: 200ms}\n",
        );
        text.push_str(rest);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    pub(crate) fn line(&self) -> String {
        format!("assignment: {{file: '{}'}}\n", self.0.display())
    }
}

impl Drop for MeshFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// A running prober.
pub(crate) struct Prober {
    pub(crate) ip: Ipv4Addr,
    shutdown: Shutdown,
    running: JoinHandle<()>,
}

impl Prober {
    /// Starts one; `rest` are further lines of its configuration.
    pub(crate) fn start(name: &str, ip: Ipv4Addr, rest: &str) -> Self {
        let text = format!(
            "node: {{name: {name}}}\nlisten: {{addresses: [{ip}], port: {PORT}, quic_port: {QUIC_PORT}, admin: '{ip}:{ADMIN_PORT}'}}\n{rest}"
        );
        let path = Path::new("test.yaml");
        let config = Config::from_settings(parse(&text, path).unwrap(), path, "unused").unwrap();
        let args = Args::parse_from(["meshprobe-prober"]);
        let app = App::build_with_log(config, args, Surroundings::default(), log()).unwrap();
        assert_eq!(app.bound().udp, [SocketAddr::new(IpAddr::V4(ip), PORT)]);
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        #[expect(clippy::disallowed_methods, reason = "the handle is joined in `stop`")]
        let running = tokio::spawn(async move {
            app.run_with(Tasks::new(), stop).await.unwrap();
        });
        Self {
            ip,
            shutdown,
            running,
        }
    }

    pub(crate) fn ask_to_stop(&self) {
        self.shutdown.trigger();
    }

    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        tokio::time::timeout(PATIENCE, self.running)
            .await
            .expect("the prober drains in time")
            .unwrap();
    }

    /// The sum of all series whose line begins with `name` and contains all of `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let address = SocketAddr::new(IpAddr::V4(self.ip), ADMIN_PORT);
        let text = tokio::task::spawn_blocking(move || get(address))
            .await
            .unwrap();
        text.lines()
            .filter(|line| {
                line.starts_with(name) && labels.iter().all(|label| line.contains(label))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>() as u64
    }

    pub(crate) async fn probes(&self, labels: &[&str]) -> u64 {
        self.metric("meshprobe_prober_probes_total{", labels).await
    }

    /// Waits until a metric is at least `least`.
    pub(crate) async fn until_metric(&self, name: &str, labels: &[&str], least: u64) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let value = self.metric(name, labels).await;
            if value >= least {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{name} {labels:?} is {value}, not {least}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
