//! ICMP messages about probes: the kernel's control messages, and the packet that they quote.

use meshprobe_core::ids::Ssid;
use meshprobe_core::path::Family;
use meshprobe_core::stamp::{SenderPacket, Sequence, Timestamp};
use meshprobe_prober::control_messages::{Arrival, PacketFacts};
use meshprobe_prober::mtu::measurement::{Ask, SizeProbe};
use meshprobe_prober::mtu::packet::Packets;

use super::{Reader, Target};

const SEQUENCE: Sequence = Sequence(7);
const T1: Timestamp = Timestamp(0xE000_0000_0000_1234);
const PROBE: SizeProbe = SizeProbe {
    size: 400,
    ask: Ask::Same,
};

/// Levels, types and error numbers of Linux.
const SOL_IP: i32 = 0;
const IP_TTL: i32 = 2;
const IP_RECVERR: i32 = 11;
const SOL_IPV6: i32 = 41;
const IPV6_RECVERR: i32 = 25;
const SOL_SOCKET: i32 = 1;
const SCM_TIMESTAMPNS: i32 = 35;
const EMSGSIZE: i32 = 90;
const ECONNREFUSED: i32 = 111;

/// An input is the length of the control messages in two octets, the control messages, and the quoted payload.
const LENGTH: usize = 2;

pub(super) const QUOTE: Target = Target {
    name: "icmp-quote",
    summary: "ICMP messages about a probe: who sent them, what they say, which packet they quote",
    samples,
    reader,
};

fn request() -> (SenderPacket, Vec<u8>) {
    let mut buffer = vec![0; usize::from(PROBE.size)];
    #[expect(clippy::unwrap_used, reason = "a constant size that can be made")]
    let (packet, octets) = Packets::new(Family::V4, Ssid(3), None)
        .encode(PROBE, SEQUENCE, T1, &mut buffer)
        .unwrap();
    buffer.truncate(octets);
    (packet, buffer)
}

/// A control message as the kernel writes it.
fn message(level: i32, kind: i32, value: &[u8]) -> Vec<u8> {
    const HEADER: usize = 16;
    let mut octets = (HEADER + value.len()).to_ne_bytes().to_vec();
    octets.extend(level.to_ne_bytes());
    octets.extend(kind.to_ne_bytes());
    octets.extend(value);
    octets.resize(octets.len().next_multiple_of(8), 0);
    octets
}

/// `struct sock_extended_err` and the address of the sender of the message.
fn extended_error(errno: i32, origin: u8, kind: u8, code: u8, offender: &[u8]) -> Vec<u8> {
    let mut value = errno.to_ne_bytes().to_vec();
    value.extend([origin, kind, code, 0]);
    value.extend(1_400_u32.to_ne_bytes());
    value.extend(0_u32.to_ne_bytes());
    value.extend(offender);
    value
}

fn samples() -> Vec<Vec<u8>> {
    let (_, request) = request();
    let v4 = [2, 0, 0, 0, 10, 244, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut v6 = [0; 28];
    v6[0] = 10;
    v6[23] = 1;
    let stamp = [1_700_000_000_i64.to_ne_bytes(), 5_i64.to_ne_bytes()].concat();
    let too_big = extended_error(EMSGSIZE, 2, 3, 4, &v4);
    let refused = extended_error(ECONNREFUSED, 2, 3, 3, &v4);
    let too_big_v6 = extended_error(EMSGSIZE, 3, 2, 0, &v6);
    let controls = [
        message(SOL_IP, IP_RECVERR, &too_big),
        message(SOL_IP, IP_RECVERR, &refused),
        message(SOL_IPV6, IPV6_RECVERR, &too_big_v6),
        [
            message(SOL_SOCKET, SCM_TIMESTAMPNS, &stamp),
            message(SOL_IP, IP_TTL, &63_u32.to_ne_bytes()),
            message(SOL_IP, IP_RECVERR, &too_big),
        ]
        .concat(),
    ];
    let mut samples = Vec::new();
    for control in controls {
        // Routers quote eight octets of the UDP header and what follows, or a lot more; some nothing.
        for quoted in [0, 4, 12, 44, request.len()] {
            let mut input = (control.len() as u16).to_be_bytes().to_vec();
            input.extend(&control);
            input.extend(&request[..quoted]);
            samples.push(input);
        }
    }
    samples
}

fn reader() -> Reader {
    let packets = Packets::new(Family::V4, Ssid(3), None);
    let (sent, request) = request();
    Box::new(move |octets| {
        let Some((length, rest)) = octets.split_first_chunk::<LENGTH>() else {
            return Ok(false);
        };
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (control, payload) = rest.split_at(length);
        let arrival = Arrival::parse(control);
        let _facts = PacketFacts::parse(control);
        let is_ours = packets.is_quote_of(payload, &sent);
        let stamp_quoted = payload.len() >= 12;
        if is_ours && payload.get(..4) != request.get(..4) {
            return Err("a quote of another packet was taken".to_owned());
        }
        if is_ours && stamp_quoted && payload[4..12] != request[4..12] {
            return Err("a quote with another T1 was taken".to_owned());
        }
        Ok(arrival.error.is_some() && is_ours)
    })
}
