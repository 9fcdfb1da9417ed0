//! How long an answer takes to "which packets pass between these two".
//!
//! Two namespaces and a router between them, the measurement of the prober in one, a STAMP reflector in the other. Each
//! setting is measured in both families and both have to find the truth, to the octet; the slower one counts. The last
//! setting is the first one again: what the kernel has learned of the path meanwhile must not be taken for it.
//!
//! Loopback would not do, for it drops nothing by size.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use meshprobe_core::detail::MtuLimit;
use meshprobe_core::ids::Ssid;
use meshprobe_core::stamp::reflect::{
    DscpPolicy, Facts, ReflectedControlPolicy, Reflector, ReplySsid,
};
use meshprobe_core::stamp::{ErrorEstimate, MAX_OCTETS, Timestamp, TimestampFormat};
use meshprobe_daemon::clock;
use meshprobe_lab::enter;
use meshprobe_prober::clock::Clock;
use meshprobe_prober::mtu::exchange::{Measured, Session, measure};
use meshprobe_prober::mtu::measurement::Known;
use nix::sched::{CloneFlags, setns};

use super::{Arguments, Bench, Promise, Report};

/// See the module.
pub const BENCH: Bench = Bench {
    name: "mtu",
    summary: "time to the largest packet that passes, for a healthy pair, a black hole and a router that says so",
    run,
};

/// What a measurement may take.
const TIME: Duration = Duration::from_secs(6);

/// Link-local addresses are not used before the kernel knows that nobody else has them.
const SETTLE: Duration = Duration::from_secs(3);

const PORT: u16 = 4862;

/// How often a reflector looks whether it is still needed.
const LOOK: Duration = Duration::from_millis(100);

/// a – r – b, each link with both families.
const WORLD: &str = "
    ip netns add a
    ip netns add r
    ip netns add b
    ip link add ra netns r mtu 1500 type veth peer name eth0 netns a mtu 1500
    ip link add rb netns r mtu 1500 type veth peer name eth0 netns b mtu 1500
    ip -n a address add 10.9.1.2/24 dev eth0
    ip -n r address add 10.9.1.1/24 dev ra
    ip -n r address add 10.9.2.1/24 dev rb
    ip -n b address add 10.9.2.2/24 dev eth0
    ip -n a address add fd09:1::2/64 dev eth0 nodad
    ip -n r address add fd09:1::1/64 dev ra nodad
    ip -n r address add fd09:2::1/64 dev rb nodad
    ip -n b address add fd09:2::2/64 dev eth0 nodad
    ip -n a link set eth0 up
    ip -n r link set ra up
    ip -n r link set rb up
    ip -n b link set eth0 up
    ip -n a route add default via 10.9.1.1
    ip -n b route add default via 10.9.2.1
    ip -n a route add default via fd09:1::1
    ip -n b route add default via fd09:2::1
    ip netns exec r sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
";

const DROP_FORWARD: &str = "
    ip netns exec r nft add table inet sizes
    ip netns exec r nft add chain inet sizes pass { type filter hook forward priority 0 ; }
    ip netns exec r nft add rule inet sizes pass iifname ra meta length > 1372 drop
";

const DROP_REVERSE: &str = "
    ip netns exec r nft flush chain inet sizes pass
    ip netns exec r nft add rule inet sizes pass iifname rb meta length > 1333 drop
";

const SIGNAL: &str = "
    ip netns exec r nft flush chain inet sizes pass
    ip -n r link set rb mtu 1400
    ip -n b link set eth0 mtu 1400
";

const REPAIR: &str = "
    ip -n r link set rb mtu 1500
    ip -n b link set eth0 mtu 1500
";

#[derive(Debug, Parser)]
struct MtuArguments {
    /// Measurements of each setting and family; the slowest counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
}

/// What a measurement has to find.
struct Truth {
    forward: (u16, MtuLimit),
    reverse: (u16, MtuLimit),
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let arguments: MtuArguments = arguments.parse();
    let _inside = enter(|| Ok(Vec::new()))?;
    shell(WORLD)?;
    thread::sleep(SETTLE);
    let over = Arc::new(AtomicBool::new(false));
    // Bound before anything is measured.
    let sockets = [open_reflector("0.0.0.0")?, open_reflector("::")?];
    let reflectors = sockets.map(|socket| {
        let over = Arc::clone(&over);
        thread::spawn(move || reflect(&socket, &over))
    });
    let result = measure_settings(arguments.rounds);
    over.store(true, Ordering::Relaxed);
    for reflector in reflectors {
        match reflector.join() {
            Ok(()) => {}
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    result
}

fn measure_settings(rounds: u16) -> anyhow::Result<Report> {
    let whole = Truth {
        forward: (1500, MtuLimit::Interface),
        reverse: (1500, MtuLimit::Interface),
    };
    let (healthy, packets) = measure_setting("healthy", "", &whole, rounds)?;
    let truth = Truth {
        forward: (1372, MtuLimit::BlackHole),
        reverse: (1372, MtuLimit::Unknown),
    };
    let (black_hole, _) = measure_setting("black hole forward", DROP_FORWARD, &truth, rounds)?;
    let truth = Truth {
        forward: (1500, MtuLimit::Interface),
        reverse: (1333, MtuLimit::BlackHole),
    };
    let (reverse, _) = measure_setting("black hole in reverse", DROP_REVERSE, &truth, rounds)?;
    let truth = Truth {
        forward: (1400, MtuLimit::Signalled),
        reverse: (1400, MtuLimit::Unknown),
    };
    let (signalled, _) = measure_setting("signalled", SIGNAL, &truth, rounds)?;
    let (repaired, _) = measure_setting("repaired", REPAIR, &whole, rounds)?;
    let promise = Promise::AtMost(TIME.as_secs_f64());
    Ok(Report::default()
        .with("seconds_healthy", healthy.as_secs_f64(), promise)
        .with("seconds_black_hole", black_hole.as_secs_f64(), promise)
        .with("seconds_black_hole_reverse", reverse.as_secs_f64(), promise)
        .with("seconds_signalled", signalled.as_secs_f64(), promise)
        .with("seconds_repaired", repaired.as_secs_f64(), promise)
        .with("packets_healthy", packets as f64, Promise::AtMost(3.0)))
}

fn measure_setting(
    name: &str,
    change: &str,
    truth: &Truth,
    rounds: u16,
) -> anyhow::Result<(Duration, usize)> {
    shell(change)?;
    println!("{name}");
    let mut slowest = Duration::ZERO;
    let mut packets = 0;
    for peer in ["10.9.2.2", "fd09:2::2"] {
        for _ in 0..rounds {
            let peer: IpAddr = peer.parse().context("parse a peer")?;
            let begin = clock::now();
            let measured = in_namespace("a", move || measure_once(peer))??;
            let time = clock::now().saturating_duration_since(begin);
            let Some(conclusion) = &measured.conclusion else {
                bail!("{name}: nothing was found to {peer}");
            };
            let found = &conclusion.detail;
            println!(
                "  {peer:10} {:.3} s, {:3} packets: {} {}, {} {}",
                time.as_secs_f64(),
                measured.packets,
                found.forward,
                found.forward_limit.as_str(),
                found.reverse,
                found.reverse_limit.as_str(),
            );
            let forward = (found.forward, found.forward_limit);
            let reverse = (found.reverse, found.reverse_limit);
            if forward != truth.forward || reverse != truth.reverse {
                bail!(
                    "{name}: the truth is {:?}, {:?}",
                    truth.forward,
                    truth.reverse
                );
            }
            slowest = slowest.max(time);
            packets = packets.max(measured.packets);
        }
    }
    Ok((slowest, packets))
}

fn measure_once(peer: IpAddr) -> anyhow::Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let session = Session {
        local: None,
        peer: SocketAddr::new(peer, PORT),
        ssid: Ssid(1),
        keys: None,
    };
    let measurement = measure(&session, Known::default(), false, Clock::new(), TIME);
    Ok(runtime.block_on(measurement)?)
}

fn open_reflector(any: &str) -> anyhow::Result<UdpSocket> {
    let any: IpAddr = any.parse().context("parse an address")?;
    let socket = in_namespace("b", move || {
        let domain = socket2::Domain::for_address(SocketAddr::new(any, PORT));
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
        if any.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&SocketAddr::new(any, PORT).into())?;
        std::io::Result::Ok(UdpSocket::from(socket))
    })??;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

/// Answers until it is over.
fn reflect(socket: &UdpSocket, over: &AtomicBool) {
    let reflector = Reflector {
        dscp: DscpPolicy::Refuse,
        reflected_control: ReflectedControlPolicy::Shorten,
        ..Reflector::unauthenticated(vec![PORT])
    };
    let (mut request, mut reply) = (vec![0; MAX_OCTETS], vec![0; MAX_OCTETS]);
    while !over.load(Ordering::Relaxed) {
        // Nothing came for a while.
        let Ok((octets, source)) = socket.recv_from(&mut request) else {
            continue;
        };
        let nanos = clock::since_epoch().as_nanos() as i64;
        let now = Timestamp::from_unix_nanos(nanos, TimestampFormat::Ntp);
        let facts = Facts {
            sequence: None,
            received_at: now,
            sent_at: now,
            error_estimate: ErrorEstimate::UNKNOWN,
            ssid: ReplySsid::Echo,
            ttl: None,
            traffic_class: None,
            counters: None,
        };
        let answered = reflector.reflect(source.port(), &request[..octets], &facts, &mut reply);
        if let Ok(answered) = answered {
            // A reply that does not fit is one that is lost.
            socket.send_to(&reply[..answered.octets], source).ok();
        }
    }
}

/// Runs `work` on a thread of its own in a namespace.
fn in_namespace<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    let path = format!("/run/netns/{name}");
    let namespace = File::open(&path).with_context(|| format!("open {path}"))?;
    let worker =
        thread::spawn(move || setns(&namespace, CloneFlags::CLONE_NEWNET).map(|()| work()));
    match worker.join() {
        Ok(ended) => ended.with_context(|| format!("enter {path}")),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs one command a line.
fn shell(lines: &str) -> anyhow::Result<()> {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let Some(program) = words.next() else {
            continue;
        };
        let output = Command::new(program).args(words).output();
        let output = output.with_context(|| format!("start {program}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{line}: {}", said.trim());
        }
    }
    Ok(())
}
