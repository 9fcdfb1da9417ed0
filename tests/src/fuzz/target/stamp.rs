//! STAMP: what arrives at a responder, and what arrives at a sender.

use meshprobe_core::ids::Ssid;
use meshprobe_core::stamp::reflect::{
    Facts, ReflectedControlPolicy, Reflector, ReplySsid, SessionCounters,
};
use meshprobe_core::stamp::tlv::{ReflectedControl, TlvType, TlvWriter, Tlvs};
use meshprobe_core::stamp::{
    ErrorEstimate, Key, Keys, MAX_OCTETS, ReflectorPacket, SenderPacket, Sequence, Timestamp,
};

use super::{Reader, Target};

/// Port that requests come from.
const SENDER_PORT: u16 = 40_000;
/// Port of the responders.
const RESPONDER_PORT: u16 = 4_862;

pub(super) const REQUEST: Target = Target {
    name: "stamp-request",
    summary: "the STAMP responder without keys: a reply is no longer than its request, and never answered",
    samples: || requests(None),
    reader: || responder(None),
};

pub(super) const REQUEST_WITH_KEYS: Target = Target {
    name: "stamp-request-keys",
    summary: "the STAMP responder with keys",
    samples: || requests(Some(&keys())),
    reader: || responder(Some(keys())),
};

pub(super) const REPLY: Target = Target {
    name: "stamp-reply",
    summary: "the STAMP sender: replies and their extensions, with and without keys",
    samples: replies,
    reader: || {
        let keys = keys();
        Box::new(move |octets| {
            let plain = ReflectorPacket::parse_unauthenticated(octets).ok();
            let signed = ReflectorPacket::parse_authenticated(octets, &keys).ok();
            if let Some(packet) = plain {
                // Whatever the stamps say: arithmetic on them must hold.
                let _turnaround = packet.turnaround_nanos();
            }
            let mut left = octets.len();
            for tlv in Tlvs::new(octets.get(44..).unwrap_or_default()) {
                let Ok(tlv) = tlv else { break };
                left = left
                    .checked_sub(tlv.value.len())
                    .ok_or("extensions hold more octets than the packet")?;
            }
            Ok(plain.is_some() || signed.is_some())
        })
    },
};

fn keys() -> Keys {
    #[expect(clippy::unwrap_used, reason = "a constant that is long enough")]
    let key = |secret: &[u8]| Key::new(secret).unwrap();
    Keys::new(key(b"an earlier secret of a mesh")).rotate(key(b"the secret of this very mesh"))
}

fn sender_packet(sequence: u32) -> SenderPacket {
    SenderPacket {
        sequence: Sequence(sequence),
        timestamp: Timestamp(0xeb00_0000_1234_5678),
        error_estimate: ErrorEstimate::UNKNOWN,
        ssid: Some(Ssid(7)),
    }
}

/// Base packets with each extension that we know, and one that nobody knows.
fn requests(keys: Option<&Keys>) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    for extension in 0..5 {
        let packet = sender_packet(extension);
        let mut octets = vec![0; 600];
        let base = match keys {
            Some(keys) => packet.encode_authenticated(&keys.current, &mut octets),
            None => packet.encode_unauthenticated(&mut octets),
        };
        let Ok(base) = base else { continue };
        let mut extensions = TlvWriter::new(&mut octets[base..]);
        let written = match extension {
            1 => extensions.padding(200, 1),
            2 => extensions.put(TlvType::from_octet(99), &[1, 2, 3]),
            3 => extensions.reflected_control(&ReflectedControl::SHORTEST_REPLY),
            4 => extensions
                .put(TlvType::from_octet(3), &[0; 8])
                .and_then(|()| match keys {
                    Some(keys) => extensions.hmac(&keys.current, packet.sequence),
                    None => Ok(()),
                }),
            _ => Ok(()),
        };
        debug_assert!(written.is_ok());
        let length = base + extensions.octets();
        octets.truncate(length);
        requests.push(octets);
    }
    requests
}

fn reflector(keys: Option<Keys>) -> Reflector {
    let ports = vec![RESPONDER_PORT];
    let reflector = match keys {
        Some(keys) => Reflector::authenticated(ports, keys),
        None => Reflector::unauthenticated(ports),
    };
    Reflector {
        reflected_control: ReflectedControlPolicy::Shorten,
        ..reflector
    }
}

fn facts() -> Facts {
    Facts {
        sequence: Some(Sequence(1)),
        received_at: Timestamp(0xeb00_0000_2234_5678),
        sent_at: Timestamp(0xeb00_0000_3234_5678),
        error_estimate: ErrorEstimate::UNKNOWN,
        ssid: ReplySsid::Own(Ssid(9)),
        ttl: Some(64),
        traffic_class: Some(0),
        counters: Some(SessionCounters {
            received: 1,
            sent: 1,
        }),
    }
}

fn replies() -> Vec<Vec<u8>> {
    let mut replies = Vec::new();
    for keys in [None, Some(keys())] {
        let reflector = reflector(keys.clone());
        for request in requests(keys.as_ref()) {
            let mut buffer = vec![0; request.len()];
            if let Ok(reply) = reflector.reflect(SENDER_PORT, &request, &facts(), &mut buffer) {
                buffer.truncate(reply.octets);
                replies.push(buffer);
            }
        }
    }
    replies
}

fn responder(keys: Option<Keys>) -> Reader {
    let reflector = reflector(keys);
    let mut buffer = vec![0; MAX_OCTETS];
    Box::new(move |octets| {
        let Ok(reply) = reflector.reflect(SENDER_PORT, octets, &facts(), &mut buffer) else {
            return Ok(false);
        };
        if reply.octets > octets.len() {
            return Err(format!(
                "a reply of {} octets to a request of {}",
                reply.octets,
                octets.len()
            ));
        }
        let answer = buffer[..reply.octets].to_vec();
        if reflector
            .reflect(SENDER_PORT, &answer, &facts(), &mut buffer)
            .is_ok()
        {
            return Err("a reply was answered".to_owned());
        }
        if reflector
            .reflect(RESPONDER_PORT, octets, &facts(), &mut buffer)
            .is_ok()
        {
            return Err("a packet from a responder's port was answered".to_owned());
        }
        Ok(true)
    })
}
