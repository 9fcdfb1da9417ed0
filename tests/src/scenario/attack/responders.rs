//! Packets at a prober's responder, and forged answers at its probing socket.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use meshprobe_core::ids::Ssid;
use meshprobe_core::stamp::reflect::{Facts, Reflector, Refusal, ReplySsid};
use meshprobe_core::stamp::{
    ErrorEstimate, MAX_OCTETS, SenderPacket, Sequence, Synchronisation, TWAMP_LIGHT_OCTETS,
    Timestamp, TimestampFormat, UNAUTHENTICATED_OCTETS,
};
use meshprobe_daemon::clock;
use meshprobe_lab::LabNode;
use meshprobe_lab::mesh::Mesh;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{Counter, wait_for_counts};
use crate::metrics_page::MetricsPage;
use crate::scenario::stage::Failed;

/// Where every prober answers.
const RESPONDER_PORT: u16 = 4862;
/// Packets of each kind.
const PACKETS: usize = 20;
/// Between two packets, so that none is lost in a full buffer.
const GAP: Duration = Duration::from_millis(1);
/// An answer that is not there by then will not come.
const ANSWER_PATIENCE: Duration = Duration::from_millis(500);
/// Session identifiers are given from 1 on; a lab has no prober with this one.
const NOBODY: u16 = 65_000;

const fn refused(refusal: Refusal) -> Counter {
    Counter {
        name: "meshprobe_prober_responder_refused_total",
        label: Some(("reason", refusal.as_str())),
    }
}

pub(super) fn run(mesh: &Mesh, tell: impl Fn(&str)) -> anyhow::Result<()> {
    let lab = mesh.lab();
    let victim = lab.nodes().last().context("a cluster without nodes")?;
    let scrape = || -> anyhow::Result<MetricsPage> {
        Ok(MetricsPage::parse(
            &mesh.prober_admin(&victim.name, "/metrics")?,
        ))
    };
    let before = scrape()?;
    // No prober runs there, so the responders' port is free for a forger.
    let namespace = &lab.aggregator().namespace;
    let anywhere = lab.udp_in(namespace, SocketAddr::from(([0, 0, 0, 0], 0)))?;
    let as_responder = lab.udp_in(namespace, SocketAddr::from(([0, 0, 0, 0], RESPONDER_PORT)))?;
    let target = SocketAddr::from((victim.pod_ip, RESPONDER_PORT));

    let request = request();
    let mut noise = StdRng::seed_from_u64(1);
    let mut garbage = |octets: usize| {
        let mut packet = vec![0; octets];
        noise.fill_bytes(&mut packet);
        packet
    };
    let kinds: [(&str, &UdpSocket, Vec<Vec<u8>>, Refusal); 6] = [
        (
            "truncated",
            &anywhere,
            vec![vec![0; 1], garbage(13), garbage(TWAMP_LIGHT_OCTETS - 1)],
            Refusal::TooShort,
        ),
        (
            "oversized",
            &anywhere,
            vec![garbage(MAX_OCTETS + 1)],
            Refusal::TooLong,
        ),
        (
            "of nobody",
            &anywhere,
            vec![request.clone()],
            Refusal::Unprovisioned,
        ),
        (
            "without a session",
            &anywhere,
            vec![vec![0; UNAUTHENTICATED_OCTETS]],
            Refusal::Unprovisioned,
        ),
        (
            "reflected",
            &anywhere,
            vec![reply_to(&request)?],
            Refusal::Reflected,
        ),
        (
            "looping",
            &as_responder,
            vec![request.clone(), reply_to(&request)?],
            Refusal::ResponderPort,
        ),
    ];
    let mut expected: Vec<(Counter, f64)> = Vec::new();
    for (name, socket, packets, refusal) in &kinds {
        for packet in packets.iter().cycle().take(PACKETS) {
            socket
                .send_to(packet, target)
                .with_context(|| format!("send a packet that is {name}"))?;
            thread::sleep(GAP);
        }
        let counter = refused(*refusal);
        match expected
            .iter_mut()
            .find(|(known, _)| known.label == counter.label)
        {
            Some((_, sent)) => *sent += PACKETS as f64,
            None => expected.push((counter, PACKETS as f64)),
        }
        tell(&format!("  {PACKETS} packets {name} to {}", victim.name));
    }
    for socket in [&anywhere, &as_responder] {
        unanswered(socket)?;
    }
    wait_for_counts(&expected, &before, scrape, &tell)?;
    forge_answers(mesh, victim, &anywhere, tell)
}

fn request() -> Vec<u8> {
    let packet = SenderPacket {
        sequence: Sequence(7),
        timestamp: now(),
        error_estimate: estimate(),
        ssid: Some(Ssid(NOBODY)),
    };
    let mut octets = vec![0; UNAUTHENTICATED_OCTETS];
    // The buffer has the packet's length.
    packet
        .encode_unauthenticated(&mut octets)
        .unwrap_or_default();
    octets
}

/// What a responder that knew the session would have said.
fn reply_to(request: &[u8]) -> anyhow::Result<Vec<u8>> {
    let facts = Facts {
        sequence: None,
        received_at: now(),
        sent_at: now(),
        error_estimate: estimate(),
        ssid: ReplySsid::Echo,
        ttl: Some(64),
        traffic_class: None,
        counters: None,
    };
    let mut reply = vec![0; request.len()];
    Reflector::unauthenticated(Vec::new()).reflect(50_000, request, &facts, &mut reply)?;
    Ok(reply)
}

fn now() -> Timestamp {
    Timestamp::from_unix_nanos(clock::since_epoch().as_nanos() as i64, TimestampFormat::Ntp)
}

fn estimate() -> ErrorEstimate {
    ErrorEstimate::new(
        Synchronisation::Unsynchronised,
        TimestampFormat::Ntp,
        Duration::from_millis(1),
    )
}

fn unanswered(socket: &UdpSocket) -> anyhow::Result<()> {
    socket.set_read_timeout(Some(ANSWER_PATIENCE))?;
    let mut buffer = [0; 2048];
    match socket.recv_from(&mut buffer) {
        Ok((octets, from)) => {
            Err(Failed::one(format!("{from} answered bad input with {octets} octets")).into())
        }
        Err(_) => Ok(()),
    }
}

/// Answers to probes that were never sent, to every UDP port that the prober has open beside its responder's.
fn forge_answers(
    mesh: &Mesh,
    victim: &LabNode,
    socket: &UdpSocket,
    tell: impl Fn(&str),
) -> anyhow::Result<()> {
    let scrape = || -> anyhow::Result<MetricsPage> {
        Ok(MetricsPage::parse(
            &mesh.prober_admin(&victim.name, "/metrics")?,
        ))
    };
    let before = scrape()?;
    let table = mesh.lab().run_in(&victim.pod_namespace, || {
        std::fs::read_to_string("/proc/thread-self/net/udp")
    })??;
    let ports: Vec<u16> = local_ports(&table)
        .filter(|port| *port != RESPONDER_PORT)
        .collect();
    let reply = reply_to(&request())?;
    for port in &ports {
        for number in 0..PACKETS {
            // Every other one is no answer at all.
            let octets = if number % 2 == 0 {
                reply.as_slice()
            } else {
                &reply[..10]
            };
            socket.send_to(octets, (victim.pod_ip, *port))?;
            thread::sleep(GAP);
        }
    }
    tell(&format!(
        "  {PACKETS} forged answers to each of {} ports",
        ports.len()
    ));
    let each = (PACKETS / 2) as f64;
    let expected = [
        "meshprobe_prober_replies_unknown_total",
        "meshprobe_prober_replies_malformed_total",
    ]
    .map(|name| (Counter { name, label: None }, each));
    wait_for_counts(&expected, &before, scrape, tell)
}

/// The local ports in `/proc/net/udp`.
fn local_ports(table: &str) -> impl Iterator<Item = u16> {
    table.lines().skip(1).filter_map(|line| {
        let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packets_are_what_they_are_called() {
        let reflector = Reflector::unauthenticated(vec![RESPONDER_PORT]);
        let refusal = |port, octets: &[u8]| reflector.admit(port, octets).err();
        assert_eq!(
            refusal(50_000, &request()),
            None,
            "the session is the daemon's question"
        );
        let reply = reply_to(&request()).expect("a reply");
        assert_eq!(refusal(50_000, &reply), Some(Refusal::Reflected));
        assert_eq!(
            refusal(RESPONDER_PORT, &request()),
            Some(Refusal::ResponderPort)
        );
        assert_eq!(
            refusal(50_000, &[0; TWAMP_LIGHT_OCTETS - 1]),
            Some(Refusal::TooShort)
        );
        assert_eq!(
            refusal(50_000, &[0; MAX_OCTETS + 1]),
            Some(Refusal::TooLong)
        );
    }

    #[test]
    fn ports_are_read_from_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
            \x20 12: 0201F40A:12FE 00000000:0000 07 00000000:00000000\n\
            \x20 13: 0201F40A:C350 00000000:0000 07 00000000:00000000\n";
        assert_eq!(local_ports(table).collect::<Vec<_>>(), [4862, 50_000]);
    }
}
