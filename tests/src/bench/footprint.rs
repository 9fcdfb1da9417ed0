//! What one prober takes of its machine with 100 peers, at the default intervals: without QUIC, and with it.
//!
//! One real prober, one real aggregator that assigns 100 nodes to it and takes its reports, one real prober that answers
//! for all of them (UDP and TCP, on 127.0.1.x and 127.0.2.x). The peers' own probes are sent by the bench itself: each of
//! them probes the prober once a second by STAMP and every five seconds by TCP, as real peers do.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use meshprobe_core::ids::Ssid;
use meshprobe_core::stamp::{ErrorEstimate, SenderPacket, Sequence, Timestamp, TimestampFormat};
use meshprobe_daemon::clock;
use meshprobe_lab::mesh::Binaries;
use socket2::{Domain, Socket, Type};

use super::child::{Process, Scratch, free_ports};
use super::{Arguments, Bench, Promise, Report};
use crate::metrics_page::MetricsPage;
use crate::scrape::scrape;

/// See the module.
pub const BENCH: Bench = Bench {
    name: "footprint",
    summary: "memory and CPU of a prober with 100 peers, default kinds and intervals",
    run,
};

/// Slots in which the bench sends the peers' probes.
const SLOT: Duration = Duration::from_millis(10);
/// Octets of a TCP probe.
const ECHO: usize = 32;
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Parser)]
struct FootprintArguments {
    /// Seconds that are measured
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..))]
    seconds: u16,
    /// Seconds before that
    #[arg(long, default_value_t = 20)]
    settle: u16,
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=250))]
    peers: u8,
}

/// Ports of the three programs.
struct Ports {
    prober: u16,
    prober_admin: u16,
    peers: u16,
    peers_admin: u16,
    grpc: u16,
    http: u16,
    aggregator_admin: u16,
    peers_quic: u16,
}

/// What a prober took.
struct Taken {
    rss_mb: f64,
    cpu_percent: f64,
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let arguments: FootprintArguments = arguments.parse();
    let binaries = Binaries::find()?;
    println!("without QUIC");
    let plain = arguments.run_once(&binaries, false)?;
    println!("with QUIC to a sample of 10 peers");
    let everything = arguments.run_once(&binaries, true)?;
    let at_most = Promise::AtMost;
    Ok(Report::default()
        .with("rss_mb", plain.rss_mb, at_most(10.0))
        .with("cpu_percent", plain.cpu_percent, at_most(1.0))
        .with("rss_mb_everything", everything.rss_mb, at_most(15.0))
        .with(
            "cpu_percent_everything",
            everything.cpu_percent,
            at_most(2.0),
        )
        .with("peers", f64::from(arguments.peers), Promise::None))
}

impl FootprintArguments {
    fn run_once(&self, binaries: &Binaries, quic: bool) -> anyhow::Result<Taken> {
        let arguments = self;
        let scratch = Scratch::new("footprint")?;
        let [
            prober,
            prober_admin,
            peers,
            peers_admin,
            grpc,
            http,
            aggregator_admin,
            peers_quic,
        ] = free_ports()?;
        let ports = Ports {
            prober,
            prober_admin,
            peers,
            peers_admin,
            grpc,
            http,
            aggregator_admin,
            peers_quic: if quic { peers_quic } else { 0 },
        };
        let _aggregator = arguments.start_aggregator(binaries, &scratch, &ports)?;
        let _answering = arguments.start_answering(binaries, &scratch, &ports)?;
        let measured = Self::start_measured(binaries, &scratch, &ports)?;
        let ended = AtomicBool::new(false);
        let answered = AtomicU64::new(0);
        thread::scope(|scope| {
            let udp = scope.spawn(|| arguments.probe_by_udp(ports.prober, &ended, &answered));
            let tcp = scope.spawn(|| arguments.probe_by_tcp(ports.prober, &ended));
            let report = arguments.measure(&measured, &ports, &answered);
            ended.store(true, Ordering::Relaxed);
            tcp.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            udp.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            report
                .with_context(|| fs::read_to_string(scratch.path("prober.log")).unwrap_or_default())
        })
    }

    /// Node number of a peer and its last octet.
    fn peers(&self) -> impl Iterator<Item = u8> + Clone + use<> {
        1..=self.peers
    }

    fn measure(
        &self,
        prober: &Process,
        ports: &Ports,
        answered: &AtomicU64,
    ) -> anyhow::Result<Taken> {
        thread::sleep(Duration::from_secs(self.settle.into()));
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.prober_admin));
        let replies = |kind: &str| -> anyhow::Result<f64> {
            let labels = [("kind", kind), ("outcome", "reply")];
            let page = MetricsPage::parse(&scrape(admin)?);
            Ok(page
                .sum("meshprobe_prober_probes_total", &labels)
                .unwrap_or(0.0))
        };
        let before = (
            replies("udp")?,
            replies("tcp")?,
            answered.load(Ordering::Relaxed),
        );
        let (cpu, started) = (prober.cpu_time()?, clock::now());
        let mut resident = 0;
        while clock::now().saturating_duration_since(started)
            < Duration::from_secs(self.seconds.into())
        {
            thread::sleep(Duration::from_millis(500));
            resident = resident.max(prober.resident_bytes()?);
        }
        let lasted = clock::now()
            .saturating_duration_since(started)
            .as_secs_f64();
        let cpu = prober.cpu_time()?.saturating_sub(cpu).as_secs_f64();
        let udp = (replies("udp")? - before.0) / lasted;
        let tcp = (replies("tcp")? - before.1) / lasted;
        let heard = (answered.load(Ordering::Relaxed) - before.2) as f64 / lasted;
        let peers = f64::from(self.peers);
        println!(
            "probes answered a second: udp {udp:.1}, tcp {tcp:.1}; answers to peers a second: {heard:.1}"
        );
        anyhow::ensure!(
            udp > 0.9 * peers && tcp > 0.9 * peers * 0.4 && heard > 0.9 * peers,
            "the mesh is not complete"
        );
        Ok(Taken {
            rss_mb: resident as f64 / 1e6,
            cpu_percent: cpu / lasted * 100.0,
        })
    }

    fn start_aggregator(
        &self,
        binaries: &Binaries,
        scratch: &Scratch,
        ports: &Ports,
    ) -> anyhow::Result<Process> {
        let Ports {
            peers,
            grpc,
            http,
            aggregator_admin: admin,
            peers_quic: quic,
            ..
        } = ports;
        let mut config = format!(
            "listen: {{grpc: ['127.0.0.1:{grpc}'], http: ['127.0.0.1:{http}'], admin: '127.0.0.1:{admin}'}}\nstore: {{path: {}}}\nnodes:\n",
            scratch.path("aggregator.db").display()
        );
        for peer in self.peers() {
            writeln!(
                config,
                "- name: peer-{peer:03}\n  addresses:\n  - {{plane: pod, ip: 127.0.1.{peer}, udp_port: {peers}, tcp_port: {peers}, quic_port: {quic}}}\n  - {{plane: host, ip: 127.0.2.{peer}, udp_port: 0, tcp_port: {peers}, quic_port: 0}}"
            )?;
        }
        start(&binaries.aggregator, scratch, "aggregator", &config)
    }

    /// The prober that answers for all peers. The measured one is the first that calls, after the peers' identifiers.
    fn start_answering(
        &self,
        binaries: &Binaries,
        scratch: &Scratch,
        ports: &Ports,
    ) -> anyhow::Result<Process> {
        let own = u16::from(self.peers) + 1;
        let mesh = format!(
            "nodes:\n- {{name: peers, ssid: 60000, addresses: [{{plane: pod, ip: 127.0.1.1}}]}}\n- {{name: measured, ssid: {own}, addresses: [{{plane: pod, ip: 127.0.0.1}}]}}\n"
        );
        let mesh = scratch.write("peers-mesh.yaml", &mesh)?;
        let config = format!(
            "node: {{name: peers}}\nlisten: {{addresses: [0.0.0.0], port: {}, quic_port: {}, admin: '127.0.0.1:{}'}}\nassignment: {{file: {}}}\nresponder: {{anonymous: true}}\n",
            ports.peers,
            ports.peers_quic,
            ports.peers_admin,
            mesh.display()
        );
        start(&binaries.prober, scratch, "peers", &config)
    }

    fn start_measured(
        binaries: &Binaries,
        scratch: &Scratch,
        ports: &Ports,
    ) -> anyhow::Result<Process> {
        let config = format!(
            "node: {{name: measured}}\nlisten: {{addresses: [127.0.0.1], port: {}, quic_port: 0, admin: '127.0.0.1:{}'}}\naggregator:\n  addresses:\n  - {{address: '127.0.0.1:{grpc}'}}\n  - {{address: '127.0.0.1:{grpc}', way: underlay}}\n",
            ports.prober,
            ports.prober_admin,
            grpc = ports.grpc
        );
        start(&binaries.prober, scratch, "prober", &config)
    }

    /// What the peers' senders do: each one packet a second, spread over the second.
    fn probe_by_udp(
        &self,
        port: u16,
        ended: &AtomicBool,
        answered: &AtomicU64,
    ) -> anyhow::Result<()> {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let sockets = self
            .peers()
            .map(|peer| {
                let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 1, peer), 0))
                    .context("bind a peer's sender")?;
                socket
                    .set_nonblocking(true)
                    .context("bind a peer's sender")?;
                Ok((u16::from(peer), socket))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let slots = 1_000 / SLOT.as_millis() as usize;
        let mut buffer = [0_u8; 256];
        for slot in 0.. {
            if ended.load(Ordering::Relaxed) {
                break;
            }
            thread::sleep(SLOT);
            let (second, phase) = (slot / slots, slot % slots);
            for (i, (ssid, socket)) in sockets.iter().enumerate() {
                if i * slots / sockets.len() != phase {
                    continue;
                }
                while socket.recv(&mut buffer).is_ok() {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                let packet = packet(*ssid, second as u32, &mut buffer);
                // The prober may not be there yet.
                socket.send_to(packet, target).ok();
            }
        }
        Ok(())
    }

    /// What the peers' TCP runners do: each one connection in five seconds.
    fn probe_by_tcp(&self, port: u16, ended: &AtomicBool) {
        let gap = Duration::from_secs(5) / u32::from(self.peers);
        for peer in self.peers().cycle() {
            if ended.load(Ordering::Relaxed) {
                break;
            }
            thread::sleep(gap);
            // The prober may not be there yet.
            echo(Ipv4Addr::new(127, 0, 1, peer), port).ok();
        }
    }
}

fn start(
    program: &std::path::Path,
    scratch: &Scratch,
    name: &str,
    config: &str,
) -> anyhow::Result<Process> {
    let config = scratch.write(&format!("{name}.yaml"), config)?;
    let mut command = Command::new(program);
    command.arg("--config").arg(config);
    Process::start(name, &mut command, &scratch.path(&format!("{name}.log")))
}

/// A STAMP packet of the session `ssid`.
fn packet(ssid: u16, sequence: u32, buffer: &mut [u8]) -> &[u8] {
    let wall = clock::wall()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let packet = SenderPacket {
        sequence: Sequence(sequence),
        timestamp: Timestamp::from_unix_nanos(wall.as_nanos() as i64, TimestampFormat::Ntp),
        error_estimate: ErrorEstimate::default(),
        ssid: Some(Ssid(ssid)),
    };
    let length = packet.encode_unauthenticated(buffer).unwrap_or(0);
    &buffer[..length]
}

/// Connects, has its octets echoed, closes by reset.
fn echo(from: Ipv4Addr, port: u16) -> std::io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(
        &SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into(),
        PATIENCE,
    )?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut octets = [7_u8; ECHO];
    (&socket).write_all(&octets)?;
    (&socket).read_exact(&mut octets)
}
