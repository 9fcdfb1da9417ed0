use proptest::prelude::*;

use super::*;
use crate::stamp::tlv::{
    self, ClassOfService, DirectMeasurement, Flags, ReflectedControl, ReversePath, TlvType,
    TlvWriter, Tlvs, WriteError,
};
use crate::stamp::{AUTHENTICATED_OCTETS, TimestampFormat, UNAUTHENTICATED_OCTETS};

const RESPONDER: u16 = 4862;
const CLIENT: u16 = 50_000;
const SECOND: i64 = 1_000_000_000;
const NOW: i64 = 1_795_000_000 * SECOND;

fn key(fill: u8) -> Key {
    Key::new(&[fill; 32]).unwrap()
}

fn stamp(unix_nanos: i64) -> Timestamp {
    Timestamp::from_unix_nanos(unix_nanos, TimestampFormat::Ntp)
}

const REQUEST: SenderPacket = SenderPacket {
    sequence: Sequence(41),
    timestamp: Timestamp(0xe000_0000_1234_5678),
    error_estimate: ErrorEstimate::UNKNOWN,
    ssid: Some(Ssid(7)),
};

fn facts() -> Facts {
    Facts {
        sequence: Some(Sequence(1_000)),
        received_at: stamp(NOW),
        sent_at: stamp(NOW + 12_345),
        error_estimate: ErrorEstimate::UNKNOWN,
        ssid: ReplySsid::Echo,
        ttl: Some(63),
        // DSCP 46, ECN 1
        traffic_class: Some(46 << 2 | 1),
        counters: Some(SessionCounters {
            received: 500,
            sent: 499,
        }),
    }
}

type Extend<'a> = &'a dyn Fn(&mut TlvWriter<'_>) -> Result<(), WriteError>;

fn unauthenticated(extend: Extend<'_>) -> Vec<u8> {
    let mut packet = [0; 2_000];
    let base = REQUEST.encode_unauthenticated(&mut packet).unwrap();
    let mut writer = TlvWriter::new(&mut packet[base..]);
    extend(&mut writer).unwrap();
    let octets = base + writer.octets();
    packet[..octets].to_vec()
}

fn authenticated(key: &Key, extend: Extend<'_>) -> Vec<u8> {
    let mut packet = [0; 2_000];
    let base = REQUEST.encode_authenticated(key, &mut packet).unwrap();
    let mut writer = TlvWriter::new(&mut packet[base..]);
    extend(&mut writer).unwrap();
    let octets = base + writer.octets();
    packet[..octets].to_vec()
}

fn reflect(reflector: &Reflector, received: &[u8]) -> Result<(Vec<u8>, Option<u8>), Refusal> {
    let mut buffer = [0xee; MAX_OCTETS];
    let reply = reflector.reflect(CLIENT, received, &facts(), &mut buffer)?;
    Ok((buffer[..reply.octets].to_vec(), reply.dscp))
}

/// (flags, type octet, octets of the value) of each TLV in the extensions.
fn outline(extensions: &[u8]) -> Vec<(u8, u8, usize)> {
    Tlvs::new(extensions)
        .map_while(Result::ok)
        .map(|tlv| (tlv.flags.0, tlv.kind.as_octet(), tlv.value.len()))
        .collect()
}

fn open() -> Reflector {
    Reflector::unauthenticated(vec![RESPONDER])
}

fn shortening() -> Reflector {
    Reflector {
        reflected_control: ReflectedControlPolicy::Shorten,
        ..open()
    }
}

#[test]
fn a_request_is_answered_with_its_own_fields_and_ours() {
    let (reply, dscp) = reflect(&open(), &unauthenticated(&|_| Ok(()))).unwrap();
    assert_eq!(reply.len(), UNAUTHENTICATED_OCTETS);
    assert_eq!(dscp, None);
    let reply = ReflectorPacket::parse_unauthenticated(&reply).unwrap();
    assert!(reply.answers(&REQUEST));
    assert_eq!(reply.sequence, Sequence(1_000));
    assert_eq!(reply.ssid, REQUEST.ssid);
    assert_eq!(reply.sender_ttl, 63);
    assert_eq!(reply.turnaround_nanos(), Some(12_345));
}

#[test]
fn a_stateless_reflector_returns_the_senders_number() {
    let stateless = Facts {
        sequence: None,
        ttl: None,
        ssid: ReplySsid::Own(Ssid(99)),
        ..facts()
    };
    let mut buffer = [0; 44];
    let received = unauthenticated(&|_| Ok(()));
    open()
        .reflect(CLIENT, &received, &stateless, &mut buffer)
        .unwrap();
    let reply = ReflectorPacket::parse_unauthenticated(&buffer).unwrap();
    assert_eq!(reply.sequence, REQUEST.sequence);
    assert_eq!(reply.sender_ttl, 255);
    assert_eq!(reply.ssid, Some(Ssid(99)));
}

#[test]
fn a_probe_of_a_size_is_told_from_a_probe_of_the_path() {
    let tests_size = |request: &[u8]| shortening().admit(CLIENT, request).unwrap().tests_size();
    assert!(!tests_size(&unauthenticated(&|_| Ok(()))));
    let measuring =
        |writer: &mut TlvWriter<'_>| writer.direct_measurement(&DirectMeasurement::default());
    assert!(!tests_size(&unauthenticated(&measuring)));
    assert!(tests_size(&unauthenticated(
        &|writer| writer.padding(900, 1)
    )));
    let control = ReflectedControl::SHORTEST_REPLY;
    assert!(tests_size(&unauthenticated(
        &|writer| writer.reflected_control(&control)
    )));
}

#[test]
fn a_twamp_light_sender_is_answered_with_the_length_it_sent() {
    let request = unauthenticated(&|_| Ok(()));
    for octets in 41..44 {
        let (reply, _) = reflect(&open(), &request[..octets]).unwrap();
        assert_eq!(reply.len(), octets);
        let reply = ReflectorPacket::parse_unauthenticated(&reply).unwrap();
        assert!(reply.answers(&SenderPacket {
            ssid: None,
            ..REQUEST
        }));
        assert_eq!(reply.ssid, None);
    }
    assert_eq!(reflect(&open(), &request[..40]), Err(Refusal::TooShort));
    assert_eq!(reflect(&open(), &[]), Err(Refusal::TooShort));
}

#[test]
fn random_padding_of_a_twamp_light_sender_is_no_reply() {
    let mut request = unauthenticated(&|_| Ok(()));
    request[14..].fill(0xa7);
    assert!(reflect(&open(), &request).is_ok());
}

#[test]
fn a_responder_never_answers_a_responder() {
    let request = unauthenticated(&|_| Ok(()));
    let mut buffer = [0; 100];
    assert_eq!(
        open().reflect(RESPONDER, &request, &facts(), &mut buffer),
        Err(Refusal::ResponderPort)
    );
}

#[test]
fn a_packet_longer_than_any_frame_or_than_the_buffer_is_refused() {
    assert_eq!(
        reflect(&open(), &vec![0; MAX_OCTETS + 1]),
        Err(Refusal::TooLong)
    );
    let request = unauthenticated(&|_| Ok(()));
    assert_eq!(
        open().reflect(CLIENT, &request, &facts(), &mut [0; 43]),
        Err(Refusal::TooLong)
    );
}

#[test]
fn an_authenticated_reply_is_signed_with_the_key_of_its_request() {
    let keys = Keys::new(key(1)).rotate(key(2));
    let reflector = Reflector::authenticated(vec![RESPONDER], keys);
    for (fill, generation) in [(1, KeyGeneration::Previous), (2, KeyGeneration::Current)] {
        let request = authenticated(&key(fill), &|_| Ok(()));
        let admitted = reflector.admit(CLIENT, &request).unwrap();
        assert_eq!(admitted.key_generation(), Some(generation));
        let (reply, _) = reflect(&reflector, &request).unwrap();
        assert_eq!(reply.len(), AUTHENTICATED_OCTETS);
        let (reply, _) =
            ReflectorPacket::parse_authenticated(&reply, &Keys::new(key(fill))).unwrap();
        assert!(reply.answers(&REQUEST));
    }
    let forged = authenticated(&key(3), &|_| Ok(()));
    assert_eq!(reflect(&reflector, &forged), Err(Refusal::BadHmac));
    let open_request = unauthenticated(&|_| Ok(()));
    assert_eq!(reflect(&reflector, &open_request), Err(Refusal::TooShort));
}

#[test]
fn unknown_types_come_back_unrecognised_and_padding_as_it_was() {
    let request = unauthenticated(&|writer| {
        writer.put(TlvType::Other(200), b"keep")?;
        writer.padding(20, 3)
    });
    let (reply, _) = reflect(&open(), &request).unwrap();
    assert_eq!(outline(&reply[44..]), [(0x80, 200, 4), (0, 1, 16)]);
    assert_eq!(reply[48..52], *b"keep");
    assert_eq!(reply[56..], request[56..]);
}

#[test]
fn from_a_malformed_tlv_on_everything_is_copied() {
    let mut request = unauthenticated(&|writer| {
        writer.direct_measurement(&DirectMeasurement::default())?;
        writer.put(TlvType::Other(200), &[1; 8])?;
        writer.direct_measurement(&DirectMeasurement::default())
    });
    // The length of the second one now reaches beyond the packet.
    request[44 + 16 + 2] = 0xff;
    let (reply, _) = reflect(&open(), &request).unwrap();
    assert_eq!(reply.len(), request.len());
    assert_eq!(outline(&reply[44..]), [(0, 5, 12)]);
    assert_eq!(reply[44 + 16], Flags::MALFORMED.0);
    assert_eq!(reply[44 + 17..], request[44 + 17..]);
}

#[test]
fn class_of_service_tells_how_the_request_arrived() {
    let request = unauthenticated(&|writer| {
        writer.class_of_service(&ClassOfService {
            requested_dscp: 10,
            ..ClassOfService::default()
        })
    });
    let mut expected = ClassOfService {
        requested_dscp: 10,
        received_dscp: 46,
        received_ecn: 1,
        reverse_path: ReversePath::Refused,
    };
    let (reply, dscp) = reflect(&open(), &request).unwrap();
    assert_eq!(dscp, Some(46));
    assert_eq!(ClassOfService::parse(&reply[48..]), Some(expected));
    let honouring = Reflector {
        dscp: DscpPolicy::Honour,
        ..open()
    };
    let (reply, dscp) = reflect(&honouring, &request).unwrap();
    expected.reverse_path = ReversePath::AsRequested;
    assert_eq!(dscp, Some(10));
    assert_eq!(ClassOfService::parse(&reply[48..]), Some(expected));
}

#[test]
fn what_cannot_be_told_comes_back_unrecognised() {
    let request = unauthenticated(&|writer| {
        writer.class_of_service(&ClassOfService::default())?;
        writer.direct_measurement(&DirectMeasurement::default())?;
        writer.reflected_control(&ReflectedControl::SHORTEST_REPLY)
    });
    let ignorant = Facts {
        traffic_class: None,
        counters: None,
        ..facts()
    };
    let mut buffer = [0; 200];
    let reply = open()
        .reflect(CLIENT, &request, &ignorant, &mut buffer)
        .unwrap();
    assert_eq!(reply.octets, request.len());
    assert_eq!(reply.dscp, None);
    assert_eq!(
        outline(&buffer[44..reply.octets]),
        [(0x80, 4, 4), (0x80, 5, 12), (0x80, 12, 12)]
    );
}

#[test]
fn direct_measurement_gets_the_counters_of_the_session() {
    let request = unauthenticated(&|writer| {
        writer.direct_measurement(&DirectMeasurement {
            sender_sent: 510,
            ..DirectMeasurement::default()
        })
    });
    let (reply, _) = reflect(&open(), &request).unwrap();
    assert_eq!(
        DirectMeasurement::parse(&reply[48..]),
        Some(DirectMeasurement {
            sender_sent: 510,
            reflector_received: 500,
            reflector_sent: 499
        })
    );
}

#[test]
fn extensions_of_an_authenticated_request_are_verified_and_signed_again() {
    let reflector = Reflector::authenticated(vec![], Keys::new(key(1)));
    let request = authenticated(&key(1), &|writer| {
        writer.direct_measurement(&DirectMeasurement::default())?;
        writer.hmac(&key(1), REQUEST.sequence)?;
        writer.padding(12, 9)
    });
    let (reply, _) = reflect(&reflector, &request).unwrap();
    assert_eq!(outline(&reply[112..]), [(0, 5, 12), (0, 8, 16), (0, 1, 8)]);
    let key = key(1);
    let usable = tlv::usable(&reply[112..], Some((&key, Sequence(1_000))));
    assert_eq!(usable.map(Iterator::count), Ok(3));

    // One changed octet in what the HMAC TLV covers: nothing is used, all is marked.
    let mut changed = request;
    changed[120] ^= 1;
    let (reply, _) = reflect(&reflector, &changed).unwrap();
    assert_eq!(
        outline(&reply[112..]),
        [(0x20, 5, 12), (0x20, 8, 16), (0x20, 1, 8)]
    );
    assert_eq!(reply[116..128], changed[116..128]);
}

#[test]
fn a_large_request_can_ask_for_a_small_reply() {
    let ask = |control: ReflectedControl| {
        unauthenticated(&move |writer| {
            writer.reflected_control(&control)?;
            writer.padding(1_400, 5)
        })
    };
    let shortest = ask(ReflectedControl::SHORTEST_REPLY);
    let (reply, _) = reflect(&shortening(), &shortest).unwrap();
    assert_eq!(reply.len(), 44 + 16);
    assert_eq!(outline(&reply[44..]), [(0, 12, 12)]);

    let (reply, _) = reflect(
        &shortening(),
        &ask(ReflectedControl {
            reply_octets: 1_279,
            ..ReflectedControl::SHORTEST_REPLY
        }),
    )
    .unwrap();
    assert_eq!(reply.len(), 1_280);
    assert_eq!(outline(&reply[44..]), [(0, 12, 12), (0, 1, 1_216)]);

    // Switched off, the reply is as long as the request.
    let (reply, _) = reflect(&open(), &shortest).unwrap();
    assert_eq!(reply.len(), shortest.len());
    assert_eq!(outline(&reply[44..]), [(0x80, 12, 12), (0, 1, 1_396)]);
}

#[test]
fn nobody_gets_more_than_was_sent_and_is_told_so() {
    for (reply_octets, replies) in [(9_000, 1), (0, 2), (u16::MAX, u16::MAX)] {
        let request = unauthenticated(&|writer| {
            writer.reflected_control(&ReflectedControl {
                reply_octets,
                replies,
                interval_nanos: 0,
            })?;
            writer.padding(40, 5)
        });
        let (reply, _) = reflect(&shortening(), &request).unwrap();
        assert!(reply.len() <= request.len());
        assert_eq!(reply[44], Flags::NOT_AS_ASKED.0);
    }
    let none = unauthenticated(&|writer| {
        writer.reflected_control(&ReflectedControl {
            replies: 0,
            ..ReflectedControl::SHORTEST_REPLY
        })
    });
    assert_eq!(reflect(&shortening(), &none), Err(Refusal::NoReplyWanted));
    assert!(reflect(&open(), &none).is_ok());
}

#[test]
fn a_control_tlv_that_selects_reflectors_is_not_ours() {
    let mut value = [0; 20];
    // One reply, and a sub-TLV of type 2 with 8 octets: a layer-3 address group.
    value[3] = 1;
    value[9] = 2;
    value[11] = 8;
    let request = unauthenticated(&|writer| {
        writer.put(TlvType::ReflectedControl, &value)?;
        writer.padding(100, 5)
    });
    let (reply, _) = reflect(&shortening(), &request).unwrap();
    assert_eq!(reply.len(), request.len());
    assert_eq!(outline(&reply[44..]), [(0x80, 12, 20), (0, 1, 96)]);
}

/// Octets that are often nearly a request: a base packet and TLVs with plausible types and lengths.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let tlv = (
        any::<u8>(),
        0_u8..14,
        0_u16..40,
        prop::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(flags, kind, length, value)| {
            let [high, low] = length.to_be_bytes();
            let mut tlv = vec![flags, kind, high, low];
            tlv.extend(value.iter().chain(&[0; 40]).take(usize::from(length)));
            tlv
        });
    let base = prop_oneof![
        Just(unauthenticated(&|_| Ok(()))),
        Just(authenticated(&key(1), &|_| Ok(())))
    ];
    prop_oneof![
        (base, prop::collection::vec(tlv, 0..20), 0_usize..30).prop_map(|(base, tlvs, cut)| {
            let mut packet = [base, tlvs.concat()].concat();
            packet.truncate(packet.len().saturating_sub(cut).max(41));
            packet
        }),
        prop::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #[test]
    fn no_input_panics_and_no_reply_is_longer_than_its_request(request in requests()) {
        for keys in [None, Some(Keys::new(key(1)))] {
            for reflected_control in [ReflectedControlPolicy::Off, ReflectedControlPolicy::Shorten] {
                let reflector = Reflector {
                    keys: keys.clone(),
                    responder_ports: vec![],
                    dscp: DscpPolicy::Honour,
                    reflected_control,
                };
                if let Ok((reply, _)) = reflect(&reflector, &request) {
                    prop_assert!(reply.len() <= request.len());
                    let shortened = reflected_control == ReflectedControlPolicy::Shorten;
                    prop_assert!(shortened || reply.len() == request.len());
                    // Nothing of the buffer shows through.
                    prop_assert!(reply.len() >= 41);
                }
            }
        }
    }

    #[test]
    fn a_reply_is_never_answered(
        request in requests(),
        turnaround in 0..60 * SECOND,
        authenticated in any::<bool>(),
    ) {
        let reflector = if authenticated {
            Reflector::authenticated(vec![], Keys::new(key(1)))
        } else {
            Reflector::unauthenticated(vec![])
        };
        let facts = Facts { sent_at: stamp(NOW + turnaround), ..facts() };
        let mut buffer = [0; MAX_OCTETS];
        if let Ok(reply) = reflector.reflect(CLIENT, &request, &facts, &mut buffer) {
            let again = reflector.admit(CLIENT, &buffer[..reply.octets]).map(|_| ());
            prop_assert_eq!(again, Err(Refusal::Reflected));
        }
    }
}
