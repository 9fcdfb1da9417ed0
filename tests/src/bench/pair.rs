//! Two real probers on loopback: one that probes many addresses, and one that answers on all of them.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use meshprobe_lab::mesh::Binaries;

use super::child::{Process, Scratch, free_ports};
use crate::metrics_page::MetricsPage;
use crate::scrape::scrape;

/// See the module.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) prober: Process,
    pub(super) responder: Process,
    /// Where the one that answers does.
    pub(super) port: u16,
    admin: SocketAddr,
}

impl Pair {
    /// Starts both. Each of `targets` is probed by UDP once in `interval`.
    pub(super) fn start(
        binaries: &Binaries,
        scratch: &Scratch,
        targets: &[Ipv4Addr],
        interval: Duration,
    ) -> anyhow::Result<Self> {
        let [port, admin, peer_port, peer_admin] = free_ports()?;
        let mut nodes = format!(
            "nodes:\n- {{name: a, ssid: 1, addresses: [{{plane: host, ip: 127.0.0.1, udp_port: {port}}}]}}\n"
        );
        for (ip, ssid) in targets.iter().zip(2..) {
            let name = name(*ip);
            writeln!(
                nodes,
                "- {{name: {name}, ssid: {ssid}, addresses: [{{plane: host, ip: {ip}, udp_port: {peer_port}}}]}}"
            )?;
        }
        // By UDP, and by nothing else.
        let schedule = format!(
            "schedules:\n- {{kind: udp, plane: host, interval: {}ms, timeout: 500ms}}\n- {{kind: mtu, plane: host, interval: 0s}}\n",
            interval.as_millis()
        );
        let probing = scratch.write("a-mesh.yaml", &(nodes + &schedule))?;
        // The other one only answers: it knows the prober, and no address to probe.
        let answering = scratch.write(
            "b-mesh.yaml",
            "nodes:\n- {name: b, ssid: 2, addresses: [{plane: host, ip: 127.0.1.1}]}\n- {name: a, ssid: 1, addresses: [{plane: host, ip: 127.0.0.1}]}\n",
        )?;
        let start = |name: &str, listen: &str, port: u16, admin: u16, mesh: &Path| {
            // One prober answers for all: it must not name itself, or each address but one has a wrong answer.
            let config = format!(
                "node: {{name: {name}}}\nplane: host\nlisten: {{addresses: [{listen}], port: {port}, quic_port: 0, admin: '127.0.0.1:{admin}'}}\nassignment: {{file: {}}}\nresponder: {{anonymous: true}}\n",
                mesh.display()
            );
            let config = scratch.write(&format!("{name}.yaml"), &config)?;
            let log = scratch.path(&format!("{name}.log"));
            let mut command = Command::new(&binaries.prober);
            command.arg("--config").arg(config);
            Process::start(name, &mut command, &log)
        };
        Ok(Self {
            responder: start("b", "0.0.0.0", peer_port, peer_admin, &answering)?,
            prober: start("a", "127.0.0.1", port, admin, &probing)?,
            port: peer_port,
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, admin)),
        })
    }

    /// What the probing one shows of itself.
    pub(super) fn metrics(&self) -> anyhow::Result<MetricsPage> {
        Ok(MetricsPage::parse(&scrape(self.admin)?))
    }

    /// Its UDP probes that ended so; zero if there are none yet.
    pub(super) fn probes(&self, outcome: &str) -> anyhow::Result<f64> {
        let labels = [("kind", "udp"), ("outcome", outcome)];
        let page = self.metrics()?;
        Ok(page
            .sum("meshprobe_prober_probes_total", &labels)
            .unwrap_or(0.0))
    }

    /// What it wrote.
    pub(super) fn log(scratch: &Scratch) -> String {
        let log = std::fs::read_to_string(scratch.path("a.log"));
        log.context("read the log").unwrap_or_default()
    }
}

/// The node name of a target.
pub(super) fn name(ip: Ipv4Addr) -> String {
    format!("p{}", ip.to_string().replace('.', "-"))
}
