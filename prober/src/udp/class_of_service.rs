//! Some probes ask with which DSCP they arrive (RFC 8972 §4.4): somebody on the way who changes it sends what applications
//! mark into another queue.
//!
//! Asking makes a packet eight octets longer, and 28 in authenticated mode; so one probe of a path in sixteen asks.

use meshprobe_core::stamp::auth::TAG_OCTETS;
use meshprobe_core::stamp::tlv::{
    ClassOfService, HEADER_OCTETS, TlvType, TlvWriter, WriteError, usable,
};
use meshprobe_core::stamp::{Key, Keys, Sequence};

/// One probe of a path in so many.
const EVERY: u32 = 16;

/// Octets after a base packet, at most.
pub(super) const OCTETS: usize =
    HEADER_OCTETS + ClassOfService::OCTETS + HEADER_OCTETS + TAG_OCTETS;

/// Is this one of the probes that ask?
pub(super) const fn asks(sequence: Sequence) -> bool {
    sequence.0.is_multiple_of(EVERY)
}

/// Writes the question behind a base packet; returns its octets.
pub(super) fn write(
    extensions: &mut [u8],
    keys: Option<&Keys>,
    sequence: Sequence,
) -> Result<usize, WriteError> {
    let mut writer = TlvWriter::new(extensions);
    writer.class_of_service(&ClassOfService::default())?;
    if let Some(keys) = keys {
        writer.hmac(&keys.current, sequence)?;
    }
    Ok(writer.octets())
}

/// What the peer says: the DSCP that the probe arrived with. `None`: it says nothing, or nothing that can be believed.
///
/// `authentication` is the key of the reply and the reply's own number, in authenticated mode.
pub(super) fn read(extensions: &[u8], authentication: Option<(&Key, Sequence)>) -> Option<u8> {
    let mut answers = usable(extensions, authentication).ok()?;
    let answer = answers.find(|tlv| tlv.kind == TlvType::ClassOfService)?;
    ClassOfService::parse(answer.value).map(|class| class.received_dscp)
}

#[cfg(test)]
mod tests {
    use meshprobe_core::stamp::reflect::{
        DscpPolicy, Facts, ReflectedControlPolicy, Reflector, ReplySsid,
    };
    use meshprobe_core::stamp::{
        AUTHENTICATED_OCTETS, ErrorEstimate, ReflectorPacket, SenderPacket, Ssid, Timestamp,
        UNAUTHENTICATED_OCTETS,
    };
    use proptest::prelude::*;

    use super::*;

    fn keys() -> Keys {
        Keys::new(Key::new(b"sixteen octets!!").unwrap())
    }

    /// A question that a responder of ours answers, and what is read of its answer.
    fn ask(keys: Option<&Keys>, traffic_class: Option<u8>) -> Option<u8> {
        let sequence = Sequence(32);
        let packet = SenderPacket {
            sequence,
            timestamp: Timestamp(0xE000_0000_0000_1234),
            error_estimate: ErrorEstimate::UNKNOWN,
            ssid: Some(Ssid(3)),
        };
        let mut request = vec![0; AUTHENTICATED_OCTETS + OCTETS];
        let base = match keys {
            Some(keys) => packet.encode_authenticated(&keys.current, &mut request),
            None => packet.encode_unauthenticated(&mut request),
        }
        .unwrap();
        let octets = base + write(&mut request[base..], keys, sequence).unwrap();
        let reflector = Reflector {
            keys: keys.cloned(),
            responder_ports: vec![4862],
            dscp: DscpPolicy::Refuse,
            reflected_control: ReflectedControlPolicy::Shorten,
        };
        let stamp = Timestamp(0xE000_0000_0001_0000);
        let facts = Facts {
            sequence: Some(Sequence(9)),
            received_at: stamp,
            sent_at: stamp,
            error_estimate: ErrorEstimate::UNKNOWN,
            ssid: ReplySsid::Own(Ssid(4)),
            ttl: Some(64),
            traffic_class,
            counters: None,
        };
        let mut reply = vec![0; request.len()];
        let reflected = reflector
            .reflect(40_000, &request[..octets], &facts, &mut reply)
            .unwrap();
        assert!(reflected.octets <= octets, "never more than was received");
        let reply = &reply[..reflected.octets];
        match keys {
            None => read(&reply[UNAUTHENTICATED_OCTETS..], None),
            Some(keys) => {
                let (packet, _) = ReflectorPacket::parse_authenticated(reply, keys).unwrap();
                let authentication = Some((&keys.current, packet.sequence));
                read(&reply[AUTHENTICATED_OCTETS..], authentication)
            }
        }
    }

    #[test]
    fn the_peer_tells_with_which_code_point_a_probe_arrived() {
        let keys = keys();
        for keys in [None, Some(&keys)] {
            for dscp in [0, 46, 63] {
                assert_eq!(ask(keys, Some(dscp << 2 | 1)), Some(dscp));
            }
        }
    }

    #[test]
    fn one_probe_in_sixteen_asks() {
        let asking = (0..160).filter(|sequence| asks(Sequence(*sequence)));
        assert_eq!(asking.count(), 10);
    }

    #[test]
    fn an_answer_with_a_wrong_seal_is_no_answer() {
        let keys = keys();
        let mut extensions = [0; OCTETS];
        write(&mut extensions, Some(&keys), Sequence(5)).unwrap();
        // As a reflector returns it: understood.
        extensions[0] = 0;
        let authentication = Some((&keys.current, Sequence(6)));
        assert_eq!(read(&extensions, authentication), None);
    }

    proptest! {
        #[test]
        fn no_octets_make_the_reader_panic(extensions in proptest::collection::vec(any::<u8>(), 0..64)) {
            let keys = keys();
            read(&extensions, None);
            read(&extensions, Some((&keys.current, Sequence(1))));
        }
    }
}
