//! What a UDP probe costs, both ends together, beside fping and beside the least that a program can do.
//!
//! - **prober**: one real prober that probes 100 addresses of another one. The rate comes from the interval.
//! - **fping**: the same addresses at the same rate. Its CPU time includes the kernel's echo replies, which on loopback
//!   are made inside its own send calls.
//! - **floor**: two threads with one socket each that send and echo in slots of 10 ms, and do nothing else.
//! - **batched floor**: the same, with all packets of a slot sent by one call (`sendmmsg`). It says what the prober could gain
//!   by giving up that T1 and T3 are read right before the send call of their packet.
//!
//! All three run one after the other in each round, so that what the machine does besides meets all of them; ratios are
//! taken inside a round, and the median over the rounds is told.

use std::fs;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use meshprobe_daemon::clock;
use meshprobe_lab::mesh::Binaries;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

use super::child::{Process, Scratch, median, thread_cpu_time};
use super::pair::Pair;
use super::{Arguments, Bench, Promise, Report};

/// See the module.
pub const BENCH: Bench = Bench {
    name: "probe-cost",
    summary: "CPU time of a UDP probe, both ends, beside fping and beside plain sockets in slots",
    run,
};

/// Length of a slot of the floor: the engine's.
const SLOT: Duration = Duration::from_millis(10);
/// A STAMP packet.
const PACKET: usize = 44;
/// Until everybody probes at full rate.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(Debug, Parser)]
struct ProbeCostArguments {
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Seconds that each of the three is measured in each round
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..))]
    seconds: u8,
    /// Addresses that are probed
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=250))]
    peers: u8,
    /// Probes a second, over all addresses
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    rate: u32,
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let arguments: ProbeCostArguments = arguments.parse();
    let binaries = Binaries::find()?;
    let scratch = Scratch::new("probe-cost")?;
    let (mut probers, mut fpings, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    let mut batched_floors = Vec::new();
    println!("microseconds of CPU time a probe, both ends");
    for round in 1..=arguments.rounds {
        let prober = arguments
            .measure_prober(&binaries, &scratch)
            .context("measure the prober")?;
        let fping = arguments.measure_fping(&scratch).context("measure fping")?;
        let floor = arguments
            .measure_floor(Sending::Single)
            .context("measure the floor")?;
        let batched = arguments
            .measure_floor(Sending::Batched)
            .context("measure the floor that sends in batches")?;
        println!(
            "  round {round:2}  prober {prober:6.2}  fping {fping:6.2}  floor {floor:6.2}  batched {batched:6.2}"
        );
        batched_floors.push(batched);
        probers.push(prober);
        fpings.push(fping);
        floors.push(floor);
    }
    let ratio = |others: &[f64]| {
        median(
            probers
                .iter()
                .zip(others)
                .map(|(own, other)| own / other)
                .collect(),
        )
    };
    let (to_fping, to_floor) = (ratio(&fpings), ratio(&floors));
    Ok(Report::default()
        .with("us_per_probe", median(probers), Promise::None)
        .with("us_per_probe_fping", median(fpings), Promise::None)
        .with("us_per_probe_floor", median(floors), Promise::None)
        .with(
            "us_per_probe_floor_batched",
            median(batched_floors),
            Promise::None,
        )
        .with("ratio_to_fping", to_fping, Promise::AtMost(0.25))
        .with("ratio_to_floor", to_floor, Promise::AtMost(1.3))
        .with("probes_per_s", f64::from(arguments.rate), Promise::None))
}

impl ProbeCostArguments {
    fn interval(&self) -> Duration {
        Duration::from_secs(1) * u32::from(self.peers) / self.rate
    }

    fn window(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    fn targets(&self) -> impl Iterator<Item = Ipv4Addr> {
        (1..=self.peers).map(|last| Ipv4Addr::new(127, 0, 1, last))
    }

    /// Microseconds a probe of one prober and one responder.
    fn measure_prober(&self, binaries: &Binaries, scratch: &Scratch) -> anyhow::Result<f64> {
        let targets: Vec<Ipv4Addr> = self.targets().collect();
        let pair = Pair::start(binaries, scratch, &targets, self.interval())
            .with_context(|| Pair::log(scratch))?;
        thread::sleep(SETTLE);
        let cpu = || -> anyhow::Result<Duration> {
            Ok(pair.prober.cpu_time()? + pair.responder.cpu_time()?)
        };
        let before = (pair.probes("reply")?, cpu()?);
        thread::sleep(self.window());
        let cpu = cpu()?.saturating_sub(before.1);
        let answered = pair.probes("reply")? - before.0;
        let wanted = f64::from(self.rate) * self.window().as_secs_f64();
        anyhow::ensure!(
            answered > 0.9 * wanted,
            "{answered} of about {wanted} probes were answered; log:\n{}",
            Pair::log(scratch)
        );
        Ok(cpu.as_secs_f64() * 1e6 / answered)
    }

    /// Microseconds a probe of fping, the kernel's replies included.
    fn measure_fping(&self, scratch: &Scratch) -> anyhow::Result<f64> {
        let log = scratch.path("fping.log");
        // The period makes the rate; a little room in the gaps lets a late wake-up be made good.
        let gap = self.interval() / u32::from(self.peers) * 4 / 5;
        let mut command = Command::new("fping");
        command
            // A count that is never reached: with `-l` it would print a line for each answer, and pay for it.
            .args(["-q", "-c", "1000000", "-t", "500"])
            .args(["-p", &self.interval().as_millis().to_string()])
            .args(["-i", &format!("{:.3}", gap.as_secs_f64() * 1e3)])
            .args(self.targets().map(|ip| ip.to_string()));
        let started = clock::now();
        let fping = Process::start("fping", &mut command, &log)
            .context("fping is in Debian's package of that name")?;
        thread::sleep(SETTLE / 3);
        let before = fping.cpu_time()?;
        thread::sleep(self.window());
        let cpu = fping.cpu_time()?.saturating_sub(before);
        fping.interrupt()?;
        let lasted = clock::now().saturating_duration_since(started);
        let summary = fs::read_to_string(&log).context("read what fping wrote")?;
        let rate = answered(&summary) as f64 / lasted.as_secs_f64();
        anyhow::ensure!(
            rate > 0.7 * f64::from(self.rate),
            "fping got {rate:.0} answers a second instead of {}: {}",
            self.rate,
            summary.lines().last().unwrap_or("it wrote nothing")
        );
        Ok(cpu.as_secs_f64() * 1e6 / (rate * self.window().as_secs_f64()))
    }

    /// Microseconds a probe of two threads that do nothing but send and echo.
    fn measure_floor(&self, sending: Sending) -> anyhow::Result<f64> {
        let echo = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("bind the floor's echo")?;
        let sender =
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind the floor's sender")?;
        let port = echo.local_addr().context("bind the floor's echo")?.port();
        let targets: Vec<SocketAddr> = self
            .targets()
            .map(|ip| SocketAddr::from((ip, port)))
            .collect();
        let ended = AtomicBool::new(false);
        let lasts = self.window();
        thread::scope(|scope| {
            let echoing = scope.spawn(|| echo_in_slots(&echo, &ended, sending));
            let sending =
                scope.spawn(|| send_in_slots(&sender, &targets, self.rate, lasts, sending));
            let sent = joined(sending.join());
            ended.store(true, Ordering::Relaxed);
            let echoed = joined(echoing.join())?;
            let (answers, cpu) = sent?;
            anyhow::ensure!(answers > 0, "the floor got no answer");
            Ok((cpu + echoed).as_secs_f64() * 1e6 / answers as f64)
        })
    }
}

fn joined<T>(result: thread::Result<T>) -> T {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Sends what is due in each slot, then takes what has come back. How many answers, and the CPU time.
fn send_in_slots(
    socket: &UdpSocket,
    targets: &[SocketAddr],
    rate: u32,
    lasts: Duration,
    sending: Sending,
) -> anyhow::Result<(u64, Duration)> {
    socket.set_nonblocking(true)?;
    let before = thread_cpu_time()?;
    let started = clock::now();
    let (mut sent, mut answers) = (0_u64, 0_u64);
    let mut packet = [0_u8; PACKET];
    let mut batch = Batch::default();
    let mut slot = started;
    while clock::now().saturating_duration_since(started) < lasts {
        slot = sleep_to_next(slot);
        answers += drain(socket, |_, _| Ok(()))?;
        let due = (slot.saturating_duration_since(started).as_secs_f64() * f64::from(rate)) as u64;
        while sent < due {
            // The least that a measurement needs: a number and the time.
            packet[..8].copy_from_slice(&sent.to_be_bytes());
            let stamp = clock::now().saturating_duration_since(started);
            packet[8..16].copy_from_slice(&(stamp.as_nanos() as u64).to_be_bytes());
            let target = targets[(sent % targets.len() as u64) as usize];
            match sending {
                Sending::Single => drop(socket.send_to(&packet, target)?),
                Sending::Batched => batch.push(&packet, target),
            }
            sent += 1;
        }
        batch.send(socket)?;
    }
    thread::sleep(3 * SLOT);
    answers += drain(socket, |_, _| Ok(()))?;
    Ok((answers, thread_cpu_time()?.saturating_sub(before)))
}

/// Sends back in each slot what has come.
fn echo_in_slots(
    socket: &UdpSocket,
    ended: &AtomicBool,
    sending: Sending,
) -> anyhow::Result<Duration> {
    socket.set_nonblocking(true)?;
    let before = thread_cpu_time()?;
    let mut batch = Batch::default();
    let mut slot = clock::now();
    while !ended.load(Ordering::Relaxed) {
        slot = sleep_to_next(slot);
        drain(socket, |packet, from| {
            match sending {
                Sending::Single => drop(socket.send_to(packet, from)?),
                Sending::Batched => batch.push(packet, from),
            }
            Ok(())
        })?;
        batch.send(socket)?;
    }
    Ok(thread_cpu_time()?.saturating_sub(before))
}

/// How a floor sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// Each packet by its own call.
    Single,
    /// All packets of a slot by one call.
    Batched,
}

/// Packets that leave together.
#[derive(Debug, Default)]
struct Batch {
    packets: Vec<([u8; PACKET], SocketAddrAny)>,
}

impl Batch {
    fn push(&mut self, packet: &[u8], to: SocketAddr) {
        let mut kept = [0; PACKET];
        let length = packet.len().min(PACKET);
        kept[..length].copy_from_slice(&packet[..length]);
        self.packets.push((kept, SocketAddrAny::from(to)));
    }

    fn send(&mut self, socket: &UdpSocket) -> anyhow::Result<()> {
        if self.packets.is_empty() {
            return Ok(());
        }
        let buffers: Vec<[IoSlice<'_>; 1]> = self
            .packets
            .iter()
            .map(|(packet, _)| [IoSlice::new(packet)])
            .collect();
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = Vec::new();
        controls.resize_with(buffers.len(), SendAncillaryBuffer::default);
        let messages = self.packets.iter().zip(&buffers).zip(&mut controls);
        let mut messages: Vec<MMsgHdr<'_>> = messages
            .map(|(((_, to), buffer), control)| MMsgHdr::new_with_addr(to, buffer, control))
            .collect();
        let mut sent = 0;
        while sent < messages.len() {
            sent += sendmmsg(socket, &mut messages[sent..], SendFlags::empty())
                .context("send a batch")?;
        }
        drop(messages);
        self.packets.clear();
        Ok(())
    }
}

/// Takes all that has come. How many packets.
fn drain(
    socket: &UdpSocket,
    mut with: impl FnMut(&[u8], SocketAddr) -> io::Result<()>,
) -> anyhow::Result<u64> {
    let mut buffer = [0_u8; 128];
    let mut count = 0;
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                with(&buffer[..length], from)?;
                count += 1;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count),
            Err(error) => return Err(error).context("receive"),
        }
    }
}

/// Sleeps to the end of the slot that follows `slot`, or the first one that is not over.
fn sleep_to_next(slot: Instant) -> Instant {
    let now = clock::now();
    let missed = now.saturating_duration_since(slot).as_nanos() / SLOT.as_nanos();
    let next = slot + SLOT * (missed as u32 + 1);
    thread::sleep(next.saturating_duration_since(now));
    next
}

/// Answers that fping counted: `127.0.1.1 : xmt/rcv/%loss = 70/70/0%, …`.
fn answered(summary: &str) -> u64 {
    let received = |line: &str| {
        let counts = line.split("xmt/rcv/%loss = ").nth(1)?;
        counts.split('/').nth(1)?.parse::<u64>().ok()
    };
    summary.lines().filter_map(received).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_summed_over_the_lines_of_fping() {
        let summary = "127.0.1.1 : xmt/rcv/%loss = 70/70/0%, min/avg/max = 0.01/0.02/0.09\n\
                       127.0.1.2 : xmt/rcv/%loss = 70/69/1%, min/avg/max = 0.01/0.02/0.09\n";
        assert_eq!(answered(summary), 139);
        assert_eq!(answered("nothing"), 0);
    }

    #[test]
    fn the_floor_gets_its_answers() {
        let arguments = ProbeCostArguments {
            rounds: 1,
            seconds: 1,
            peers: 10,
            rate: 200,
        };
        assert!(arguments.measure_floor(Sending::Single).unwrap() > 0.0);
        assert!(arguments.measure_floor(Sending::Batched).unwrap() > 0.0);
    }
}
