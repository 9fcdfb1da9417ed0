//! STAMP packets of an exact size, and the replies to them.
//!
//! A request for a short reply carries a Reflected Test Packet Control TLV (RFC 10052), and in authenticated mode the HMAC
//! TLV that it then needs; padding follows and makes the size exact. A request for a reply of the same length carries
//! padding alone, which every reflector returns (RFC 8972 §4.1).

use meshprobe_core::ids::Ssid;
use meshprobe_core::path::Family;
use meshprobe_core::stamp::auth::TAG_OCTETS;
use meshprobe_core::stamp::reflector::PacketFormat;
use meshprobe_core::stamp::tlv::{HEADER_OCTETS, ReflectedControl, TlvWriter};
use meshprobe_core::stamp::{
    ErrorEstimate, Keys, MAX_OCTETS, ReflectorPacket, SenderPacket, Sequence, Timestamp,
};

use super::measurement::{Ask, SizeProbe};

/// The largest IP packet that is sent: a responder takes no longer ones.
pub const LARGEST: u16 = MAX_OCTETS as u16;

/// Octets of the headers before a UDP payload, without IP options.
pub const fn headers(family: Family) -> u16 {
    match family {
        Family::V4 => 20 + 8,
        Family::V6 => 40 + 8,
    }
}

/// Makes the requests of one session.
#[derive(Clone, Debug)]
pub struct Packets {
    family: Family,
    ssid: Ssid,
    keys: Option<Keys>,
}

impl Packets {
    /// For the session `ssid`.
    pub const fn new(family: Family, ssid: Ssid, keys: Option<Keys>) -> Self {
        Self { family, ssid, keys }
    }

    const fn format(&self) -> PacketFormat {
        match self.keys {
            None => PacketFormat::Unauthenticated,
            Some(_) => PacketFormat::Authenticated,
        }
    }

    /// The smallest IP packet that every request can have: everything above can be padded to the octet.
    pub fn smallest(&self) -> u16 {
        let control = HEADER_OCTETS + ReflectedControl::MIN_OCTETS;
        let hmac = match self.format() {
            PacketFormat::Unauthenticated => 0,
            PacketFormat::Authenticated => HEADER_OCTETS + TAG_OCTETS,
        };
        let payload = self.format().octets() + control + hmac + HEADER_OCTETS;
        headers(self.family) + payload as u16
    }

    /// Writes a request to `buffer`. Returns what the reply has to name and the octets of the UDP payload; `None`: the
    /// size cannot be made.
    pub fn encode(
        &self,
        probe: SizeProbe,
        sequence: Sequence,
        timestamp: Timestamp,
        buffer: &mut [u8],
    ) -> Option<(SenderPacket, usize)> {
        let payload = usize::from(probe.size.checked_sub(headers(self.family))?);
        let packet = SenderPacket {
            sequence,
            timestamp,
            error_estimate: ErrorEstimate::UNKNOWN,
            ssid: Some(self.ssid),
        };
        let buffer = buffer.get_mut(..payload)?;
        let base = match &self.keys {
            None => packet.encode_unauthenticated(buffer),
            Some(keys) => packet.encode_authenticated(&keys.current, buffer),
        }
        .ok()?;
        let mut writer = TlvWriter::new(&mut buffer[base..]);
        if probe.ask == Ask::Short {
            writer
                .reflected_control(&ReflectedControl::SHORTEST_REPLY)
                .ok()?;
            if let Some(keys) = &self.keys {
                writer.hmac(&keys.current, sequence).ok()?;
            }
        }
        let padding = payload.checked_sub(base + writer.octets())?;
        writer.padding(padding, timestamp.0).ok()?;
        Some((packet, payload))
    }

    /// Reads a reply; `None`: it is none, or not of our session's keys.
    pub fn parse(&self, octets: &[u8]) -> Option<ReflectorPacket> {
        match &self.keys {
            None => ReflectorPacket::parse_unauthenticated(octets).ok(),
            Some(keys) => {
                let (packet, _) = ReflectorPacket::parse_authenticated(octets, keys).ok()?;
                Some(packet)
            }
        }
    }

    /// The number of the packet whose beginning an ICMP message quotes; `None`: it quotes less than that.
    pub fn quoted_sequence(payload: &[u8]) -> Option<Sequence> {
        let octets = payload.first_chunk::<4>()?;
        Some(Sequence(u32::from_be_bytes(*octets)))
    }

    /// Is this the beginning of that packet, as far as it is quoted? Whoever has not seen it would have to guess T1.
    pub fn is_quote_of(&self, payload: &[u8], packet: &SenderPacket) -> bool {
        let stamp_at = match self.format() {
            PacketFormat::Unauthenticated => 4,
            PacketFormat::Authenticated => 16,
        };
        let stamp = payload.get(stamp_at..).and_then(<[u8]>::first_chunk::<8>);
        Self::quoted_sequence(payload) == Some(packet.sequence)
            && stamp.is_none_or(|stamp| *stamp == packet.timestamp.0.to_be_bytes())
    }

    /// The size of the IP packet with this many octets of UDP payload.
    pub fn size_of(&self, payload: usize) -> u16 {
        headers(self.family).saturating_add(u16::try_from(payload).unwrap_or(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::stamp::Key;
    use meshprobe_core::stamp::reflect::{
        DscpPolicy, Facts, ReflectedControlPolicy, Reflector, ReplySsid,
    };
    use proptest::prelude::*;

    use super::*;

    const T1: Timestamp = Timestamp(0xE000_0000_0000_1234);
    const T3: Timestamp = Timestamp(0xE000_0000_0001_0000);

    fn keys() -> Keys {
        Keys::new(Key::new(b"sixteen octets!!").unwrap())
    }

    fn reflect(keys: Option<Keys>, request: &[u8]) -> Vec<u8> {
        let reflector = Reflector {
            keys,
            responder_ports: vec![4862],
            dscp: DscpPolicy::Refuse,
            reflected_control: ReflectedControlPolicy::Shorten,
        };
        let facts = Facts {
            sequence: Some(Sequence(9)),
            received_at: T3,
            sent_at: T3,
            error_estimate: ErrorEstimate::UNKNOWN,
            ssid: ReplySsid::Echo,
            ttl: Some(64),
            traffic_class: None,
            counters: None,
        };
        let mut buffer = vec![0; MAX_OCTETS];
        let reply = reflector
            .reflect(40_000, request, &facts, &mut buffer)
            .unwrap();
        buffer.truncate(reply.octets);
        buffer
    }

    fn exchange(packets: &Packets, probe: SizeProbe) -> (usize, Vec<u8>) {
        let mut buffer = vec![0; MAX_OCTETS];
        let (sent, octets) = packets
            .encode(probe, Sequence(7), T1, &mut buffer)
            .unwrap_or_else(|| panic!("{probe:?}"));
        let reply = reflect(packets.keys.clone(), &buffer[..octets]);
        assert!(packets.parse(&reply).unwrap().answers(&sent));
        (octets, reply)
    }

    #[test]
    fn every_size_is_exact_and_every_reply_as_long_as_asked() {
        for family in [Family::V4, Family::V6] {
            for keys in [None, Some(keys())] {
                let packets = Packets::new(family, Ssid(3), keys);
                let short = usize::from(packets.smallest() - headers(family)) - HEADER_OCTETS;
                for size in (packets.smallest()..300).chain([1280, 1453, 9001, LARGEST]) {
                    let probe = |ask| SizeProbe { size, ask };
                    let (octets, reply) = exchange(&packets, probe(Ask::Same));
                    assert_eq!(packets.size_of(octets), size);
                    assert_eq!(reply.len(), octets);
                    let (octets, reply) = exchange(&packets, probe(Ask::Short));
                    assert_eq!(packets.size_of(octets), size);
                    assert_eq!(reply.len(), short, "size {size}");
                }
            }
        }
    }

    #[test]
    fn a_size_that_cannot_be_made_is_none() {
        let packets = Packets::new(Family::V4, Ssid(3), None);
        for size in [0, 27, packets.smallest() - HEADER_OCTETS as u16 - 1] {
            let probe = SizeProbe {
                size,
                ask: Ask::Short,
            };
            let made = packets.encode(probe, Sequence(1), T1, &mut [0; 2048]);
            assert_eq!(made, None);
        }
    }

    #[test]
    fn a_quote_is_compared_as_far_as_it_goes() {
        for keys in [None, Some(keys())] {
            let packets = Packets::new(Family::V4, Ssid(3), keys);
            let probe = SizeProbe {
                size: 400,
                ask: Ask::Short,
            };
            let mut buffer = [0; 400];
            let (sent, octets) = packets.encode(probe, Sequence(7), T1, &mut buffer).unwrap();
            for length in [4, 12, 24, octets] {
                assert!(packets.is_quote_of(&buffer[..length], &sent), "{length}");
            }
            assert!(!packets.is_quote_of(&buffer[..3], &sent));
            let other = SenderPacket {
                timestamp: T3,
                ..sent
            };
            assert!(!packets.is_quote_of(&buffer[..24], &other));
        }
    }

    #[test]
    fn a_reply_with_another_key_is_none() {
        let packets = Packets::new(Family::V4, Ssid(3), Some(keys()));
        let probe = SizeProbe {
            size: 400,
            ask: Ask::Same,
        };
        let (_, mut reply) = exchange(&packets, probe);
        reply[100] ^= 1;
        assert_eq!(packets.parse(&reply), None);
    }

    proptest! {
        #[test]
        fn no_octets_make_the_parsers_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let probe = SizeProbe { size: 400, ask: Ask::Same };
            for keys in [None, Some(keys())] {
                let packets = Packets::new(Family::V6, Ssid(3), keys);
                packets.parse(&octets);
                let (sent, _) = packets.encode(probe, Sequence(7), T1, &mut [0; 400]).unwrap();
                packets.is_quote_of(&octets, &sent);
            }
            prop_assert_eq!(Packets::quoted_sequence(&octets).is_some(), octets.len() >= 4);
        }
    }
}
