//! Is the round-trip time that a prober tells the one that packets took? Checked by a capture on the interface.
//!
//! For each exchange the capture has four stamps of the kernel: request out, request in, reply out, reply in. The round trip
//! on the wire is what lies between the first and the last, without what lies between the middle two: the responder's own
//! delay. What the prober tells is read from its metrics after each probe, as the growth of a sum.
//!
//! Measured twice: with the machine as it is, and with the prober under a quota of a fifth of a processor that a rival
//! uses up. Probes that the prober itself calls invalid are no measurements; their share is told.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use meshprobe_daemon::clock;
use meshprobe_lab::enter;
use meshprobe_lab::mesh::Binaries;

use super::capture::{self, Captured};
use super::child::Scratch;
use super::pair::Pair;
use super::quota::Quota;
use super::{Arguments, Bench, Promise, Report};

/// See the module.
pub const BENCH: Bench = Bench {
    name: "rtt-error",
    summary: "round-trip times beside a packet capture, idle and under a CPU quota",
    run,
};

/// Time between two probes. Long enough that each of them is read by itself.
const INTERVAL: Duration = Duration::from_millis(200);
/// From a reply on the wire to the prober's metrics: its slot, and a little.
const UNTIL_COUNTED: Duration = Duration::from_millis(40);
/// The share of one processor.
const QUOTA_PERCENT: u8 = 20;
/// Until the prober probes.
const SETTLE: Duration = Duration::from_secs(3);
/// Fewer measurements give no 99th percentile.
const FEWEST: usize = 50;

#[derive(Debug, Parser)]
struct RttErrorArguments {
    /// Seconds of each of the two measurements
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(5..))]
    seconds: u16,
}

/// What one of the two measurements found.
#[derive(Debug, Default)]
struct Errors {
    /// Absolute, microseconds.
    micros: Vec<f64>,
    /// On the wire, microseconds.
    wire: Vec<f64>,
    /// Probes that the prober called invalid.
    invalid: f64,
    /// Probes that could not be told from their neighbours.
    merged: usize,
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let arguments: RttErrorArguments = arguments.parse();
    let binaries = Binaries::find()?;
    enter(|| Ok(Vec::new()))?;
    capture::loopback_up()?;
    let scratch = Scratch::new("rtt-error")?;
    let targets = [Ipv4Addr::new(127, 0, 1, 1)];
    let pair = Pair::start(&binaries, &scratch, &targets, INTERVAL)?;
    thread::sleep(SETTLE);
    let lasts = Duration::from_secs(arguments.seconds.into());
    let idle = measure(&pair, lasts).with_context(|| Pair::log(&scratch))?;
    idle.print("idle");
    let quota = Quota::impose(&pair.prober, QUOTA_PERCENT, &scratch)?;
    println!("under a quota of {QUOTA_PERCENT} %: {}", quota.means());
    thread::sleep(SETTLE);
    let throttled = measure(&pair, lasts).with_context(|| Pair::log(&scratch))?;
    let periods = quota.throttled();
    throttled.print("quota");
    drop(quota);
    let share = |errors: &Errors| {
        let all = errors.micros.len() as f64 + errors.merged as f64 + errors.invalid;
        errors.invalid * 100.0 / all.max(1.0)
    };
    Ok(Report::default()
        .with("p50_us_idle", idle.quantile(0.5), Promise::None)
        .with("p99_us_idle", idle.quantile(0.99), Promise::AtMost(20.0))
        .with("p50_us_quota", throttled.quantile(0.5), Promise::None)
        .with(
            "p99_us_quota",
            throttled.quantile(0.99),
            Promise::AtMost(20.0),
        )
        .with("max_us_quota", throttled.quantile(1.0), Promise::None)
        .with("samples_idle", idle.micros.len() as f64, Promise::None)
        .with(
            "samples_quota",
            throttled.micros.len() as f64,
            Promise::None,
        )
        .with("invalid_percent_quota", share(&throttled), Promise::None)
        .with("throttled_periods", periods.unwrap_or(0.0), Promise::None))
}

impl Errors {
    /// NaN if there are too few.
    fn quantile(&self, share: f64) -> f64 {
        quantile(&self.micros, share)
    }

    fn print(&self, name: &str) {
        println!(
            "  {name:6} {} probes compared, {} merged, {} invalid; on the wire p50 {:.1} p99 {:.1} µs; error p50 {:.1} p99 {:.1} max {:.1} µs",
            self.micros.len(),
            self.merged,
            self.invalid,
            quantile(&self.wire, 0.5),
            quantile(&self.wire, 0.99),
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(1.0),
        );
    }
}

fn quantile(values: &[f64], share: f64) -> f64 {
    if values.len() < FEWEST {
        return f64::NAN;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// The number and the sum of the round-trip times that the prober has told.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Told {
    count: f64,
    sum: f64,
}

fn told(pair: &Pair) -> anyhow::Result<Told> {
    let page = pair.metrics()?;
    let kind = [("kind", "udp")];
    let value = |name| page.sum(name, &kind).context("the prober tells no times");
    Ok(Told {
        count: value("meshprobe_prober_rtt_seconds_count")?,
        sum: value("meshprobe_prober_rtt_seconds_sum")?,
    })
}

fn measure(pair: &Pair, lasts: Duration) -> anyhow::Result<Errors> {
    let captured = capture::start(&[pair.port])?;
    let invalid = pair.probes("invalid")?;
    let until = clock::now() + lasts;
    let mut errors = Errors::default();
    let mut exchanges = Exchanges::default();
    // Round trips on the wire whose probes the prober has not counted yet.
    let mut waiting: Vec<i64> = Vec::new();
    let mut before = told(pair)?;
    while clock::now() < until {
        let Some(nanos) = exchanges.next(&captured) else {
            continue;
        };
        waiting.push(nanos);
        thread::sleep(UNTIL_COUNTED);
        waiting.extend(exchanges.drain(&captured));
        let now = told(pair)?;
        let counted = now.count - before.count;
        if counted == 0.0 {
            // Not looked at yet, or invalid: which of the two, the next one tells.
            if waiting.len() > 1 {
                errors.merged += waiting.len() - 1;
                waiting.drain(..waiting.len() - 1);
            }
            continue;
        }
        if let ([wire], 1) = (waiting.as_slice(), counted as i64) {
            let wire = *wire as f64 / 1e3;
            errors
                .micros
                .push(((now.sum - before.sum) * 1e6 - wire).abs());
            errors.wire.push(wire);
        } else {
            errors.merged += waiting.len();
        }
        waiting.clear();
        before = now;
    }
    errors.invalid = pair.probes("invalid")? - invalid;
    Ok(errors)
}

/// Exchanges of which not all four packets have been seen.
#[derive(Debug, Default)]
struct Exchanges(HashMap<Key, [Option<i64>; 4]>);

/// The prober's port and the number of the probe, which a reply returns.
type Key = (u16, [u8; 4]);

impl Exchanges {
    /// Waits for the next complete exchange. Its round trip on the wire, nanoseconds; `None`: nothing for a while.
    fn next(&mut self, captured: &Receiver<Captured>) -> Option<i64> {
        loop {
            match captured.recv_timeout(INTERVAL) {
                Ok(packet) => {
                    if let Some(nanos) = self.handle(&packet) {
                        return Some(nanos);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// The exchanges that are complete by now.
    fn drain(&mut self, captured: &Receiver<Captured>) -> Vec<i64> {
        let packets: Vec<Captured> = captured.try_iter().collect();
        packets
            .iter()
            .filter_map(|packet| self.handle(packet))
            .collect()
    }

    fn handle(&mut self, packet: &Captured) -> Option<i64> {
        if !packet.is_packet() {
            return None;
        }
        let is_request = packet.destination.ip().octets()[2] == 1;
        let key: Key = if is_request {
            (packet.source.port(), *packet.payload.first_chunk()?)
        } else {
            // The sender's number in a reply.
            (
                packet.destination.port(),
                *packet.payload.get(24..)?.first_chunk()?,
            )
        };
        let place = match (is_request, packet.is_outgoing) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        let stamps = self.0.entry(key).or_default();
        stamps[place] = Some(packet.unix_nanos);
        let [Some(out), Some(there), Some(back), Some(home)] = *stamps else {
            return None;
        };
        self.0.remove(&key);
        Some((home - out) - (back - there))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use super::*;

    #[test]
    fn the_round_trip_on_the_wire_is_without_the_responders_delay() {
        let prober = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 40_000);
        let responder = SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, 1), 4862);
        let packet = |is_request: bool, is_outgoing, unix_nanos| {
            let mut payload = [0; capture::PAYLOAD];
            payload[if is_request { 3 } else { 27 }] = 9;
            let (source, destination) = if is_request {
                (prober, responder)
            } else {
                (responder, prober)
            };
            Captured {
                unix_nanos,
                is_outgoing,
                source,
                destination,
                payload,
            }
        };
        let mut exchanges = Exchanges::default();
        assert_eq!(exchanges.handle(&packet(true, true, 1_000)), None);
        assert_eq!(exchanges.handle(&packet(true, false, 1_400)), None);
        assert_eq!(exchanges.handle(&packet(false, true, 9_000_000)), None);
        let complete = exchanges.handle(&packet(false, false, 9_000_300));
        assert_eq!(complete, Some(700));
        assert!(exchanges.0.is_empty());
    }
}
