use proptest::prelude::*;

use super::*;

fn key() -> Key {
    Key::new(&[0x5a; 32]).unwrap()
}

/// The extensions that the writer makes of these calls.
fn written(write: impl FnOnce(&mut TlvWriter<'_>) -> Result<(), WriteError>) -> Vec<u8> {
    let mut buffer = [0xee; 2_000];
    let mut writer = TlvWriter::new(&mut buffer);
    write(&mut writer).unwrap();
    let octets = writer.octets();
    buffer[..octets].to_vec()
}

#[test]
fn tlvs_are_laid_out_as_in_the_rfcs() {
    let extensions = written(|writer| {
        writer.class_of_service(&ClassOfService {
            requested_dscp: 0b10_1110,
            received_dscp: 0b01_0011,
            received_ecn: 0b10,
            reverse_path: ReversePath::Refused,
        })?;
        writer.direct_measurement(&DirectMeasurement {
            sender_sent: 0x0102_0304,
            reflector_received: 0x1112_1314,
            reflector_sent: 0x2122_2324,
        })?;
        writer.reflected_control(&ReflectedControl {
            reply_octets: 0x0102,
            replies: 0x0304,
            interval_nanos: 0x0506_0708,
        })
    });
    assert_eq!(
        extensions,
        [
            // U=1, type 4, length 4: DSCP1=101110 DSCP2=010011 ECN=10 RP=01, reserved
            0x80,
            4,
            0,
            4,
            0b1011_1001,
            0b0011_1001,
            0,
            0,
            // U=1, type 5, length 12: S_TxC, R_RxC, R_TxC
            0x80,
            5,
            0,
            12,
            1,
            2,
            3,
            4,
            0x11,
            0x12,
            0x13,
            0x14,
            0x21,
            0x22,
            0x23,
            0x24,
            // U=1, type 12, length 12: length, number, interval, empty sub-TLV
            0x80,
            12,
            0,
            12,
            1,
            2,
            3,
            4,
            5,
            6,
            7,
            8,
            0,
            0,
            0,
            0,
        ]
    );
}

#[test]
fn the_hmac_tlv_covers_the_sequence_number_and_what_precedes_it() {
    let extensions = written(|writer| {
        writer.direct_measurement(&DirectMeasurement::default())?;
        writer.hmac(&key(), Sequence(7))?;
        writer.padding(8, 1)
    });
    let tag = key().sign_tlvs(Sequence(7), &extensions[..16]);
    assert_eq!(extensions[16..20], [0x80, 8, 0, 16]);
    assert_eq!(extensions[20..36], tag);
    assert_eq!(extensions[36..40], [0x80, 1, 0, 4]);
    let check = |extensions: &[u8]| Integrity::check(extensions, Sequence(7), Some(&key()));
    assert_eq!(check(&extensions), Integrity::Intact);
    // Padding may change, nothing before the HMAC may.
    let mut changed = extensions.clone();
    changed[41] ^= 1;
    assert_eq!(check(&changed), Integrity::Intact);
    // All but the flags of the HMAC TLV itself, which RFC 8972 leaves uncovered.
    for octet in (0..16).chain(17..36) {
        let mut changed = extensions.clone();
        changed[octet] ^= 1;
        assert_eq!(check(&changed), Integrity::Failed, "octet {octet}");
    }
}

#[test]
fn an_hmac_at_the_wrong_place_or_missing_fails() {
    let check = |extensions: &[u8]| Integrity::check(extensions, Sequence(7), Some(&key()));
    let missing = written(|writer| writer.direct_measurement(&DirectMeasurement::default()));
    assert_eq!(check(&missing), Integrity::Failed);
    let early = written(|writer| {
        writer.hmac(&key(), Sequence(7))?;
        writer.direct_measurement(&DirectMeasurement::default())
    });
    assert_eq!(check(&early), Integrity::Failed);
    let padding_only = written(|writer| writer.padding(100, 1));
    assert_eq!(check(&padding_only), Integrity::NotNeeded);
    let unverifiable = written(|writer| writer.hmac(&key(), Sequence(7)));
    assert_eq!(
        Integrity::check(&unverifiable, Sequence(7), None),
        Integrity::Failed
    );
}

#[test]
fn padding_takes_exactly_its_room_and_differs_by_seed() {
    let (one, two) = (
        written(|writer| writer.padding(1_001, 1)),
        written(|writer| writer.padding(1_001, 2)),
    );
    assert_eq!((one.len(), two.len()), (1_001, 1_001));
    assert_eq!(one[..4], two[..4]);
    assert_ne!(one[4..], two[4..]);
}

#[test]
fn the_writer_refuses_what_does_not_fit() {
    let mut buffer = [0; 40];
    let mut writer = TlvWriter::new(&mut buffer);
    assert_eq!(
        writer.put(TlvType::ClassOfService, &[0; 3]),
        Err(WriteError::WrongLength { octets: 3 })
    );
    assert_eq!(
        writer.padding(3, 0),
        Err(WriteError::WrongLength { octets: 0 })
    );
    assert_eq!(
        writer.padding(41, 0),
        Err(WriteError::NoRoom {
            needed: 41,
            left: 40
        })
    );
    assert_eq!(writer.octets(), 0);
    let mut buffer = [0; 100];
    let mut writer = TlvWriter::new(&mut buffer);
    for _ in 0..MAX_TLVS {
        writer.padding(4, 0).unwrap();
    }
    assert_eq!(writer.padding(4, 0), Err(WriteError::TooMany));
}

#[test]
fn a_list_ends_at_its_first_malformed_tlv() {
    let offsets = |extensions: &[u8]| {
        Tlvs::new(extensions)
            .map(|tlv| tlv.map(|tlv| tlv.octets()))
            .collect::<Vec<_>>()
    };
    assert_eq!(offsets(&[]), []);
    // A header cut short.
    assert_eq!(offsets(&[0x80, 1, 0]), [Err(Malformed { offset: 0 })]);
    // A length that reaches beyond the packet.
    assert_eq!(
        offsets(&[0x80, 1, 0, 0, 0x80, 99, 0, 1]),
        [Ok(4), Err(Malformed { offset: 4 })]
    );
    // A length that the type does not admit.
    assert_eq!(
        offsets(&[0x80, 4, 0, 3, 0, 0, 0, 0x80, 1, 0, 0]),
        [Err(Malformed { offset: 0 })]
    );
    // Too many.
    let mut many = [Ok(4); MAX_TLVS].to_vec();
    many.push(Err(Malformed {
        offset: 4 * MAX_TLVS,
    }));
    assert_eq!(offsets(&[0; 4 * (MAX_TLVS + 9)]), many);
}

#[test]
fn a_sender_uses_only_what_the_reflector_understood() {
    // U=1, in order, M=1, in order.
    let extensions = [
        0x80, 99, 0, 0, //
        0x00, 4, 0, 4, 1, 2, 3, 4, //
        0x40, 5, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
        0x00, 1, 0, 0,
    ];
    let usable_kinds = |extensions: &[u8]| {
        usable(extensions, None).map(|list| list.map(|tlv| tlv.kind).collect::<Vec<_>>())
    };
    assert_eq!(usable_kinds(&extensions), Ok(vec![TlvType::ClassOfService]));
    // One I flag anywhere and nothing may be used.
    let mut failed = extensions;
    failed[28] = 0x20;
    assert_eq!(usable_kinds(&failed), Err(Untrusted::RejectedByReflector));
}

#[test]
fn a_sender_verifies_the_hmac_of_the_reply() {
    let mut extensions = written(|writer| {
        writer.direct_measurement(&DirectMeasurement::default())?;
        writer.hmac(&key(), Sequence(7))
    });
    // The writer sets U, a reflector that understands clears it before it signs.
    extensions[0] = 0;
    let tag = key().sign_tlvs(Sequence(7), &extensions[..16]);
    extensions[16] = 0;
    extensions[20..].copy_from_slice(&tag);
    let key = key();
    let usable_number = |sequence| usable(&extensions, Some((&key, sequence))).map(Iterator::count);
    assert_eq!(usable_number(Sequence(7)), Ok(2));
    assert_eq!(usable_number(Sequence(8)), Err(Untrusted::BadHmac));
}

proptest! {
    #[test]
    fn values_survive_the_round_trip(
        dscp in (0_u8..64, 0_u8..64),
        bits in (0_u8..4, 0_u8..4),
        words in any::<[u32; 3]>(),
        control in any::<(u16, u16)>(),
    ) {
        let service = ClassOfService {
            requested_dscp: dscp.0,
            received_dscp: dscp.1,
            received_ecn: bits.0,
            reverse_path: match bits.1 {
                0 => ReversePath::AsRequested,
                1 => ReversePath::Refused,
                bits => ReversePath::Undefined(bits),
            },
        };
        prop_assert_eq!(ClassOfService::parse(&service.encode()), Some(service));
        let measurement = DirectMeasurement {
            sender_sent: words[0],
            reflector_received: words[1],
            reflector_sent: words[2],
        };
        prop_assert_eq!(DirectMeasurement::parse(&measurement.encode()), Some(measurement));
        let control = ReflectedControl {
            reply_octets: control.0,
            replies: control.1,
            interval_nanos: words[0],
        };
        let encoded = control.encode();
        prop_assert_eq!(ReflectedControl::parse(&encoded), Some((control, &[0; 4][..])));
    }

    #[test]
    fn no_octets_panic_and_the_tlvs_cover_the_list_without_gaps(
        extensions in prop::collection::vec(prop_oneof![0_u8..16, any::<u8>()], 0..300),
    ) {
        let mut offset = 0;
        let mut seen = 0;
        for tlv in Tlvs::new(&extensions) {
            seen += 1;
            match tlv {
                Ok(tlv) => offset += tlv.octets(),
                Err(malformed) => {
                    prop_assert_eq!(malformed.offset, offset);
                    offset = extensions.len();
                }
            }
        }
        prop_assert_eq!(offset, extensions.len());
        prop_assert!(seen <= MAX_TLVS + 1);
        let checked = Integrity::check(&extensions, Sequence(1), Some(&key()));
        prop_assert_ne!(checked, Integrity::Intact);
        let usable = usable(&extensions, None).map(Iterator::count);
        prop_assert!(usable.is_err() || usable.is_ok_and(|usable| usable <= MAX_TLVS));
    }
}
