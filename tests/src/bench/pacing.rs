//! Are probes sent when they are due? One prober with a thousand peers, each of them probed once a second.
//!
//! When a probe is due follows from the names of the two nodes: a phase of the interval, on the grid of the wall clock.
//! When it left is seen by a capture on the interface. The prober works in slots of 10 ms, so that up to 10 ms are by
//! design, 5 ms on average.
//!
//! Then three of ten peers fall silent, and the probes of the others are looked at again: a dead peer costs bursts, watches and
//! timeouts of its own, and no time of anybody else.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use meshprobe_daemon::clock;
use meshprobe_lab::enter;
use meshprobe_lab::mesh::Binaries;
use meshprobe_prober::assignment::file::spread;

use super::capture::{self, Captured};
use super::child::Scratch;
use super::pair::{Pair, name};
use super::{Arguments, Bench, Promise, Report};

/// See the module.
pub const BENCH: Bench = Bench {
    name: "pacing",
    summary: "how late probes leave: a thousand peers, each probed once a second, and with three of ten dead",
    run,
};

const SECOND: i64 = 1_000_000_000;
/// A slot, and some microseconds for a clock that is read twice: no probe is earlier than this.
const EARLIEST: i64 = -1_000_000;
/// Until everybody probes.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(Debug, Parser)]
struct PacingArguments {
    /// Seconds that are measured
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(2..))]
    seconds: u16,
    /// Peers, each of them probed once a second
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    peers: u16,
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let arguments: PacingArguments = arguments.parse();
    // Found before the namespaces change what is to be seen.
    let binaries = Binaries::find()?;
    enter(|| Ok(Vec::new()))?;
    capture::loopback_up()?;
    let scratch = Scratch::new("pacing")?;
    let targets: Vec<Ipv4Addr> = (0..arguments.peers)
        .map(|i| Ipv4Addr::new(127, 0, 1 + (i / 250) as u8, 1 + (i % 250) as u8))
        .collect();
    let pair = Pair::start(&binaries, &scratch, &targets, Duration::from_secs(1))?;
    thread::sleep(SETTLE);
    let healthy = Lateness::measure(&pair, &targets, &arguments)
        .with_context(|| format!("all peers alive; log:\n{}", Pair::log(&scratch)))?;
    let (dead, living): (Vec<_>, Vec<_>) = (0_usize..).zip(&targets).partition(|(i, _)| i % 10 < 3);
    let addresses = |of: Vec<(usize, &Ipv4Addr)>| of.into_iter().map(|(_, ip)| *ip).collect();
    let (dead, living): (Vec<Ipv4Addr>, Vec<Ipv4Addr>) = (addresses(dead), addresses(living));
    silence(&dead)?;
    thread::sleep(SETTLE);
    let timeouts = pair.probes("timeout")?;
    let stricken = Lateness::measure(&pair, &living, &arguments)
        .with_context(|| format!("{} peers dead; log:\n{}", dead.len(), Pair::log(&scratch)))?;
    let timeouts = pair.probes("timeout")? - timeouts;
    let expected = dead.len() * usize::from(arguments.seconds) / 2;
    anyhow::ensure!(
        timeouts >= expected as f64,
        "the dead peers are not dead: {timeouts} probes got no answer"
    );
    println!(
        "all alive: {healthy}\n{} of {} dead: {stricken}",
        dead.len(),
        targets.len()
    );
    Ok(Report::default()
        .with("p50_ms", healthy.quantile(0.5), Promise::None)
        .with("p99_ms", healthy.quantile(0.99), Promise::AtMost(20.0))
        .with("max_ms", healthy.quantile(1.0), Promise::None)
        .with("probes", healthy.late.len() as f64, Promise::None)
        .with("missed_percent", healthy.missed_percent(), Promise::None)
        .with("p50_ms_beside_dead", stricken.quantile(0.5), Promise::None)
        .with(
            "p99_ms_beside_dead",
            stricken.quantile(0.99),
            Promise::AtMost(20.0),
        )
        .with(
            "missed_percent_beside_dead",
            stricken.missed_percent(),
            Promise::None,
        ))
}

/// What is sent to these addresses is not answered any more, and nobody says why.
fn silence(dead: &[Ipv4Addr]) -> anyhow::Result<()> {
    let elements: Vec<String> = dead.iter().map(Ipv4Addr::to_string).collect();
    let script = format!(
        "table ip dead {{\nchain input {{\ntype filter hook input priority 0;\nip daddr {{ {} }} drop\n}}\n}}\n",
        elements.join(", ")
    );
    let status = Command::new("nft")
        .arg(script)
        .status()
        .context("run nft, of Debian's package nftables")?;
    anyhow::ensure!(status.success(), "nft refuses to drop packets");
    Ok(())
}

/// How late the probes of some peers were, in one stretch of time.
#[derive(Debug)]
struct Lateness {
    /// Nanoseconds, ascending.
    late: Vec<i64>,
    expected: usize,
    cpu_percent: f64,
}

impl Lateness {
    /// Watches the prober for as long as was asked for.
    fn measure(
        pair: &Pair,
        targets: &[Ipv4Addr],
        arguments: &PacingArguments,
    ) -> anyhow::Result<Self> {
        let before = pair.prober.cpu_time()?;
        let captured = capture::start(&[pair.port])?;
        let lasts = Duration::from_secs(arguments.seconds.into());
        let until = clock::now() + lasts;
        let mut packets = Vec::new();
        while clock::now() < until {
            packets.extend(captured.recv().ok().filter(Captured::is_packet));
        }
        let cpu = pair.prober.cpu_time()?.saturating_sub(before);
        let requests: Vec<Captured> = packets
            .into_iter()
            .filter(|packet| packet.is_outgoing && packet.destination.port() == pair.port)
            .collect();
        let mut late = lateness(&requests, targets);
        late.sort_unstable();
        let expected = targets.len() * (usize::from(arguments.seconds) - 1);
        anyhow::ensure!(
            late.len() * 10 > expected * 9,
            "{} of {expected} probes were seen",
            late.len()
        );
        Ok(Self {
            late,
            expected,
            cpu_percent: cpu.as_secs_f64() / lasts.as_secs_f64() * 100.0,
        })
    }

    /// Milliseconds.
    fn quantile(&self, share: f64) -> f64 {
        let place = ((self.late.len() - 1) as f64 * share).round() as usize;
        self.late[place] as f64 / 1e6
    }

    fn missed_percent(&self) -> f64 {
        let missed = self.expected.saturating_sub(self.late.len());
        missed as f64 * 100.0 / self.expected as f64
    }
}

impl std::fmt::Display for Lateness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} probes, p99 {:.1} ms late, {:.2} % of a core",
            self.late.len(),
            self.quantile(0.99),
            self.cpu_percent
        )
    }
}

/// How late the first probe of each path in each of its periods was, nanoseconds. The first and the last period of a path
/// are left out: they may be cut.
fn lateness(requests: &[Captured], targets: &[Ipv4Addr]) -> Vec<i64> {
    let phases: HashMap<Ipv4Addr, i64> = targets
        .iter()
        .map(|ip| {
            let phase = i64::from(spread("a", &name(*ip)));
            (*ip, phase * SECOND / 65_536)
        })
        .collect();
    let mut first: HashMap<(Ipv4Addr, i64), i64> = HashMap::new();
    for request in requests {
        let ip = *request.destination.ip();
        let Some(phase) = phases.get(&ip) else {
            continue;
        };
        let since = request.unix_nanos - phase - EARLIEST;
        let (period, late) = (
            since.div_euclid(SECOND),
            since.rem_euclid(SECOND) + EARLIEST,
        );
        first
            .entry((ip, period))
            .and_modify(|known| *known = late.min(*known))
            .or_insert(late);
    }
    let ends =
        first
            .keys()
            .map(|(_, period)| *period)
            .fold(None, |ends: Option<(i64, i64)>, period| {
                let (from, to) = ends.unwrap_or((period, period));
                Some((from.min(period), to.max(period)))
            });
    let Some((from, to)) = ends else {
        return Vec::new();
    };
    first
        .into_iter()
        .filter(|((_, period), _)| *period > from && *period < to)
        .map(|(_, late)| late.max(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use super::*;

    #[test]
    fn lateness_counts_from_the_grid_and_a_second_packet_of_a_period_does_not() {
        let ip = Ipv4Addr::new(127, 0, 1, 1);
        let phase = i64::from(spread("a", &name(ip))) * SECOND / 65_536;
        let at = |unix_nanos| Captured {
            unix_nanos,
            is_outgoing: true,
            source: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 40_000),
            destination: SocketAddrV4::new(ip, 4862),
            payload: [0; capture::PAYLOAD],
        };
        let requests: Vec<Captured> = [
            100 * SECOND + 4_000_000,
            101 * SECOND + 7_000_000,
            101 * SECOND + 60_000_000,
            102 * SECOND - 500_000,
            103 * SECOND + 9_000_000,
        ]
        .map(|nanos| at(nanos + phase))
        .to_vec();
        let mut late = lateness(&requests, &[ip]);
        late.sort_unstable();
        assert_eq!(late, [0, 7_000_000]);
    }
}
