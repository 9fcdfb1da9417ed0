//! The packets, octet by octet, against the figures of RFC 8762 §4.2 and §4.3 with the SSID of RFC 8972 §3.

use proptest::prelude::*;

use super::*;

/// Concatenates lines of hexadecimal digits; what follows a `;` in a line is a comment.
fn hex(text: &str) -> Vec<u8> {
    let digits: String = text
        .lines()
        .filter_map(|line| line.split(';').next())
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .collect();
    assert_eq!(digits.len() % 2, 0, "half an octet in a vector");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn key() -> Key {
    Key::new(&[0x5a; 32]).unwrap()
}

const REQUEST: SenderPacket = SenderPacket {
    sequence: Sequence(0x0102_0304),
    timestamp: Timestamp(0x1112_1314_1516_1718),
    error_estimate: ErrorEstimate {
        synchronisation: Synchronisation::Synchronised,
        format: TimestampFormat::Ntp,
        scale: 0x21,
        multiplier: 0x22,
    },
    ssid: Some(Ssid(0x3132)),
};

const REPLY: ReflectorPacket = ReflectorPacket {
    sequence: Sequence(0x4142_4344),
    timestamp: Timestamp(0x5152_5354_5556_5758),
    error_estimate: ErrorEstimate {
        synchronisation: Synchronisation::Unsynchronised,
        format: TimestampFormat::Ptp,
        scale: 0x23,
        multiplier: 0x24,
    },
    ssid: REQUEST.ssid,
    receive_timestamp: Timestamp(0x5152_5354_6162_6364),
    sender_sequence: REQUEST.sequence,
    sender_timestamp: REQUEST.timestamp,
    sender_error_estimate: REQUEST.error_estimate,
    sender_ttl: 0x3f,
};

const UNAUTHENTICATED_REQUEST: &str = "
    01020304                                ;  0 sequence number
    1112131415161718                        ;  4 timestamp T1
    a122                                    ; 12 error estimate: S=1 Z=0 scale=0x21 multiplier=0x22
    3132                                    ; 14 SSID
    00000000000000000000000000000000        ; 16 MBZ, 28 octets
    000000000000000000000000";

const UNAUTHENTICATED_REPLY: &str = "
    41424344                                ;  0 sequence number of the reflector
    5152535455565758                        ;  4 timestamp T3
    6324                                    ; 12 error estimate: S=0 Z=1 scale=0x23 multiplier=0x24
    3132                                    ; 14 SSID
    5152535461626364                        ; 16 receive timestamp T2
    01020304                                ; 24 sequence number of the sender
    1112131415161718                        ; 28 timestamp T1 of the sender
    a122                                    ; 36 error estimate of the sender
    0000                                    ; 38 MBZ
    3f                                      ; 40 TTL of the request
    000000                                  ; 41 MBZ";

/// The first 96 octets; the HMAC follows.
const AUTHENTICATED_REQUEST: &str = "
    01020304                                ;  0 sequence number
    000000000000000000000000                ;  4 MBZ
    1112131415161718                        ; 16 timestamp T1
    a122                                    ; 24 error estimate
    3132                                    ; 26 SSID
    00000000000000000000000000000000        ; 28 MBZ, 68 octets
    00000000000000000000000000000000
    00000000000000000000000000000000
    00000000000000000000000000000000
    00000000";

/// The first 96 octets; the HMAC follows.
const AUTHENTICATED_REPLY: &str = "
    41424344                                ;  0 sequence number of the reflector
    000000000000000000000000                ;  4 MBZ
    5152535455565758                        ; 16 timestamp T3
    6324                                    ; 24 error estimate
    3132                                    ; 26 SSID
    00000000                                ; 28 MBZ
    5152535461626364                        ; 32 receive timestamp T2
    0000000000000000                        ; 40 MBZ
    01020304                                ; 48 sequence number of the sender
    000000000000000000000000                ; 52 MBZ
    1112131415161718                        ; 64 timestamp T1 of the sender
    a122                                    ; 72 error estimate of the sender
    000000000000                            ; 74 MBZ
    3f                                      ; 80 TTL of the request
    000000000000000000000000000000          ; 81 MBZ, 15 octets";

/// HMAC-SHA-256 under 32 octets of 0x5a over the vectors above, first half; computed with OpenSSL.
const REQUEST_HMAC: &str = "7532d36bd36a59fdc4a723bffbac1d1d";
const REPLY_HMAC: &str = "12c53bda60dcc67e8e50d474666325cb";

#[test]
fn unauthenticated_packets_are_laid_out_as_in_the_rfc() {
    let mut buffer = [0xee; 50];
    assert_eq!(REQUEST.encode_unauthenticated(&mut buffer), Ok(44));
    assert_eq!(buffer[..44], hex(UNAUTHENTICATED_REQUEST));
    assert_eq!(buffer[44..], [0xee; 6]);
    assert_eq!(SenderPacket::parse_unauthenticated(&buffer), Ok(REQUEST));

    assert_eq!(REPLY.encode_unauthenticated(&mut buffer), Ok(44));
    assert_eq!(buffer[..44], hex(UNAUTHENTICATED_REPLY));
    assert_eq!(ReflectorPacket::parse_unauthenticated(&buffer), Ok(REPLY));
}

#[test]
fn authenticated_packets_are_laid_out_as_in_the_rfc() {
    let keys = Keys::new(key());
    let mut buffer = [0xee; 112];
    assert_eq!(REQUEST.encode_authenticated(&key(), &mut buffer), Ok(112));
    assert_eq!(buffer[..96], hex(AUTHENTICATED_REQUEST));
    assert_eq!(buffer[96..], hex(REQUEST_HMAC));
    assert_eq!(
        SenderPacket::parse_authenticated(&buffer, &keys),
        Ok((REQUEST, KeyGeneration::Current))
    );

    assert_eq!(REPLY.encode_authenticated(&key(), &mut buffer), Ok(112));
    assert_eq!(buffer[..96], hex(AUTHENTICATED_REPLY));
    assert_eq!(buffer[96..], hex(REPLY_HMAC));
    assert_eq!(
        ReflectorPacket::parse_authenticated(&buffer, &keys),
        Ok((REPLY, KeyGeneration::Current))
    );
}

#[test]
fn a_twamp_light_sender_is_read_without_an_ssid() {
    let padded = [&hex(UNAUTHENTICATED_REQUEST)[..14], &[0xaa; 20]].concat();
    let packet = SenderPacket::parse_unauthenticated(&padded).unwrap();
    assert_eq!(
        packet,
        SenderPacket {
            ssid: None,
            ..REQUEST
        }
    );
    assert_eq!(
        SenderPacket::parse_unauthenticated(&padded[..14]),
        Ok(packet)
    );
    assert_eq!(
        SenderPacket::parse_unauthenticated(&padded[..13]),
        Err(ParseError::TooShort {
            octets: 13,
            minimum: 14
        })
    );
}

#[test]
fn a_reply_in_twamp_light_size_has_all_fields() {
    let octets = hex(UNAUTHENTICATED_REPLY);
    assert_eq!(
        ReflectorPacket::parse_unauthenticated(&octets[..41]),
        Ok(REPLY)
    );
    assert!(ReflectorPacket::parse_unauthenticated(&octets[..40]).is_err());
}

#[test]
fn a_short_buffer_is_reported_and_not_touched() {
    let mut buffer = [0xee; 43];
    let error = BufferTooSmall {
        octets: 43,
        needed: 44,
    };
    assert_eq!(REQUEST.encode_unauthenticated(&mut buffer), Err(error));
    assert_eq!(REPLY.encode_unauthenticated(&mut buffer), Err(error));
    assert!(REQUEST.encode_authenticated(&key(), &mut buffer).is_err());
    assert!(REPLY.encode_authenticated(&key(), &mut buffer).is_err());
    assert_eq!(buffer, [0xee; 43]);
}

#[test]
fn a_wrong_hmac_hides_everything_else() {
    let mut octets = [hex(AUTHENTICATED_REQUEST), hex(REQUEST_HMAC)].concat();
    octets[111] ^= 1;
    let keys = Keys::new(key());
    assert_eq!(
        SenderPacket::parse_authenticated(&octets, &keys),
        Err(ParseError::BadHmac)
    );
    assert_eq!(
        ReflectorPacket::parse_authenticated(&octets, &keys),
        Err(ParseError::BadHmac)
    );
}

#[test]
fn a_reply_fits_only_its_own_request() {
    assert!(REPLY.answers(&REQUEST));
    assert!(!REPLY.answers(&SenderPacket {
        sequence: REQUEST.sequence.next(),
        ..REQUEST
    }));
    assert!(!REPLY.answers(&SenderPacket {
        timestamp: Timestamp(REQUEST.timestamp.0 + 1),
        ..REQUEST
    }));
    // T3 − T2 of the vector, in PTP format: 0x55565758 ns is more than a second and no time.
    assert_eq!(REPLY.turnaround_nanos(), None);
    let reply = ReflectorPacket {
        timestamp: Timestamp(0x0000_0002_0000_0005),
        receive_timestamp: Timestamp(0x0000_0001_3b9a_c9ff),
        ..REPLY
    };
    assert_eq!(reply.turnaround_nanos(), Some(6));
}

fn sender_packets() -> impl Strategy<Value = SenderPacket> {
    any::<(u32, u64, u16, u16)>().prop_map(|(sequence, timestamp, error_estimate, ssid)| {
        SenderPacket {
            sequence: Sequence(sequence),
            timestamp: Timestamp(timestamp),
            error_estimate: ErrorEstimate::from_bits(error_estimate),
            ssid: (ssid != 0).then_some(Ssid(ssid)),
        }
    })
}

fn reflector_packets() -> impl Strategy<Value = ReflectorPacket> {
    (sender_packets(), sender_packets(), any::<(u64, u8)>()).prop_map(
        |(own, request, (receive_timestamp, sender_ttl))| ReflectorPacket {
            sequence: own.sequence,
            timestamp: own.timestamp,
            error_estimate: own.error_estimate,
            ssid: own.ssid,
            receive_timestamp: Timestamp(receive_timestamp),
            sender_sequence: request.sequence,
            sender_timestamp: request.timestamp,
            sender_error_estimate: request.error_estimate,
            sender_ttl,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(sent in sender_packets(), reply in reflector_packets()) {
        let keys = Keys::new(key());
        let mut buffer = [0xee; 112];
        sent.encode_unauthenticated(&mut buffer).unwrap();
        prop_assert_eq!(SenderPacket::parse_unauthenticated(&buffer), Ok(sent));
        sent.encode_authenticated(&keys.current, &mut buffer).unwrap();
        let read = SenderPacket::parse_authenticated(&buffer, &keys);
        prop_assert_eq!(read, Ok((sent, KeyGeneration::Current)));
        reply.encode_unauthenticated(&mut buffer).unwrap();
        prop_assert_eq!(ReflectorPacket::parse_unauthenticated(&buffer), Ok(reply));
        reply.encode_authenticated(&keys.current, &mut buffer).unwrap();
        let read = ReflectorPacket::parse_authenticated(&buffer, &keys);
        prop_assert_eq!(read, Ok((reply, KeyGeneration::Current)));
    }

    #[test]
    fn no_octets_panic_and_none_pass_without_the_key(
        octets in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let keys = Keys::new(key()).rotate(Key::new(&[1; 16]).unwrap());
        prop_assert!(SenderPacket::parse_authenticated(&octets, &keys).is_err());
        prop_assert!(ReflectorPacket::parse_authenticated(&octets, &keys).is_err());
        let sender = SenderPacket::parse_unauthenticated(&octets);
        prop_assert_eq!(sender.is_ok(), octets.len() >= 14);
        let reflector = ReflectorPacket::parse_unauthenticated(&octets);
        prop_assert_eq!(reflector.is_ok(), octets.len() >= 41);
    }
}
