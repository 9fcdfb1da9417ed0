//! Are probes sent when they are due? One prober with a thousand peers, each of them probed once a second.
//!
//! When a probe is due follows from the names of the two nodes: a phase of the interval, on the grid of the wall clock.
//! When it left is seen by a capture on the interface. The prober works in slots of 10 ms, so that up to 10 ms are by
//! design, 5 ms on average.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

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
    summary: "how late probes leave: a thousand peers, each probed once a second",
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
    let replied = pair.probes("reply")?;
    let invalid = pair.probes("invalid")?;
    let mut late = lateness(&requests, &targets);
    let expected = usize::from(arguments.peers) * (usize::from(arguments.seconds) - 1);
    anyhow::ensure!(
        late.len() * 10 > expected * 9,
        "{} of {expected} probes were seen; {replied} were answered; log:\n{}",
        late.len(),
        Pair::log(&scratch)
    );
    late.sort_unstable();
    let quantile = |share: f64| {
        let place = ((late.len() - 1) as f64 * share).round() as usize;
        late[place] as f64 / 1e6
    };
    println!(
        "{} probes in {} s, {:.2} % of a core, {invalid} invalid since the start",
        requests.len(),
        arguments.seconds,
        cpu.as_secs_f64() / lasts.as_secs_f64() * 100.0
    );
    Ok(Report::default()
        .with("p50_ms", quantile(0.5), Promise::None)
        .with("p99_ms", quantile(0.99), Promise::AtMost(20.0))
        .with("max_ms", quantile(1.0), Promise::None)
        .with("probes", late.len() as f64, Promise::None)
        .with(
            "missed_percent",
            (expected.saturating_sub(late.len())) as f64 * 100.0 / expected as f64,
            Promise::None,
        ))
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
