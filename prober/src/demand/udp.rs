//! One STAMP exchange with a socket of its own.
//!
//! The request carries padding, by which a responder knows that it is no regular probe: it is answered and counted in
//! no session.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use meshprobe_core::ids::Ssid;
use meshprobe_core::outcome::Outcome;
use meshprobe_core::stamp::tlv::TlvWriter;
use meshprobe_core::stamp::{
    ErrorEstimate, Keys, ReflectorPacket, SenderPacket, Sequence, Timestamp, TimestampFormat,
};
use tokio::net::UdpSocket;

use crate::clock::Clock;
use crate::plan::UdpTarget;
use crate::tcp::probe::connect_outcome;

/// Padding TLV with its header.
const PADDING: usize = 16;

/// Room for an authenticated packet, its padding and its HMAC.
const OCTETS: usize = 256;

/// Makes one exchange and says how it ended.
pub(super) async fn probe(
    target: &UdpTarget,
    own: Ssid,
    keys: Option<&Keys>,
    local: Option<IpAddr>,
    clock: Clock,
    timeout: Duration,
) -> Outcome {
    let exchange = exchange(target.address, own, keys, local, clock);
    match tokio::time::timeout(timeout, exchange).await {
        Ok(Ok(rtt)) => Outcome::Reply { rtt },
        Ok(Err(error)) => connect_outcome(&error),
        Err(_) => Outcome::Timeout,
    }
}

async fn exchange(
    peer: SocketAddr,
    own: Ssid,
    keys: Option<&Keys>,
    local: Option<IpAddr>,
    clock: Clock,
) -> io::Result<Duration> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((local.unwrap_or(any), 0)).await?;
    socket.connect(peer).await?;
    let sequence = Sequence(rand::random());
    let sent_at = clock.read();
    let packet = SenderPacket {
        sequence,
        timestamp: Timestamp::from_unix_nanos(sent_at.unix_nanos, TimestampFormat::Ntp),
        error_estimate: ErrorEstimate::UNKNOWN,
        ssid: Some(own),
    };
    let mut octets = [0; OCTETS];
    let length = encode(&packet, keys, &mut octets).map_err(io::Error::other)?;
    socket.send(&octets[..length]).await?;
    let mut buffer = [0; OCTETS];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let received_at = clock.now();
        let reply = match keys {
            Some(keys) => ReflectorPacket::parse_authenticated(&buffer[..length], keys)
                .map(|(packet, _)| packet),
            None => ReflectorPacket::parse_unauthenticated(&buffer[..length]),
        };
        // What does not answer this request is somebody's guess; the answer may still come.
        let Some(reply) = reply.ok().filter(|reply| reply.sender_sequence == sequence) else {
            continue;
        };
        let total = received_at.saturating_since(sent_at.now);
        let turnaround = reply.turnaround_nanos().unwrap_or(0).max(0).unsigned_abs();
        return Ok(total.saturating_sub(Duration::from_nanos(turnaround)));
    }
}

fn encode(
    packet: &SenderPacket,
    keys: Option<&Keys>,
    octets: &mut [u8],
) -> Result<usize, &'static str> {
    let base = match keys {
        Some(keys) => packet.encode_authenticated(&keys.current, octets),
        None => packet.encode_unauthenticated(octets),
    }
    .map_err(|_| "no room for the packet")?;
    let mut extensions = TlvWriter::new(&mut octets[base..]);
    if let Some(keys) = keys {
        extensions
            .hmac(&keys.current, packet.sequence)
            .map_err(|_| "no room for the HMAC")?;
    }
    extensions
        .padding(PADDING, u64::from(packet.sequence.0))
        .map_err(|_| "no room for the padding")?;
    Ok(base + extensions.octets())
}
