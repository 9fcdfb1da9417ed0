use meshprobe_core::ids::TargetNumber;
use meshprobe_core::stamp::tlv::{
    ClassOfService, ReflectedControl, ReversePath, TlvWriter, WriteError,
};
use meshprobe_core::stamp::{Key, Keys, MAX_OCTETS, ReflectorPacket, SenderPacket};

use super::*;
use crate::plan::AnsweredPeer;

const T2: Timestamp = Timestamp(0xE000_0000_0000_0000);
const T3: Timestamp = Timestamp(0xE000_0000_0001_0000);

fn plan() -> Plan {
    Plan {
        ssid: Some(Ssid(1)),
        responder_ports: vec![4862, 4872],
        answered: vec![AnsweredPeer {
            ssid: Ssid(2),
            target: TargetNumber(0),
            heard_v4: Some(PathId::for_test(5)),
            heard_v6: None,
            addresses: vec!["10.0.0.2".parse().unwrap()],
        }],
        ..Plan::default()
    }
}

fn responder() -> Responder {
    let mut responder = Responder::new(4862, false);
    responder.set_plan(&plan());
    responder
}

fn packet(ssid: Option<u16>) -> [u8; 44] {
    let mut octets = [0; 44];
    SenderPacket {
        sequence: Sequence(7),
        timestamp: Timestamp(0xE000_0000_0000_1234),
        error_estimate: ErrorEstimate::UNKNOWN,
        ssid: ssid.map(Ssid),
    }
    .encode_unauthenticated(&mut octets)
    .unwrap();
    octets
}

fn ask(
    responder: &mut Responder,
    source: &str,
    octets: &[u8],
    millis: u64,
) -> Result<Answered, Refusal> {
    ask_into(&mut [0; MAX_OCTETS], responder, source, octets, millis)
}

fn ask_into(
    buffer: &mut [u8],
    responder: &mut Responder,
    source: &str,
    octets: &[u8],
    millis: u64,
) -> Result<Answered, Refusal> {
    let request = Request {
        source: source.parse().unwrap(),
        octets,
        received_at: T2,
        ttl: Some(64),
        traffic_class: Some(46 << 2 | 1),
        now: Moment::from_millis(millis),
    };
    responder.handle(&request, || T3, buffer)
}

#[test]
fn a_peers_probe_is_answered_and_counted_on_its_path() {
    let mut responder = responder();
    let answered = ask(&mut responder, "10.0.0.2:40000", &packet(Some(2)), 0).unwrap();
    assert_eq!(answered.octets, 44);
    assert_eq!(answered.heard, Some(PathId::for_test(5)));
}

#[test]
fn whoever_has_no_session_is_refused_unless_the_responder_is_open() {
    let mut closed = responder();
    for ssid in [None, Some(3)] {
        let refused = ask(&mut closed, "10.0.0.2:40000", &packet(ssid), 0);
        assert_eq!(refused, Err(Refusal::Unprovisioned));
    }
    let mut open = Responder::new(4862, true);
    let answered = ask(&mut open, "192.0.2.1:40000", &packet(None), 0).unwrap();
    assert_eq!(answered.heard, None);
}

#[test]
fn two_responders_never_answer_each_other() {
    let mut responder = responder();
    for port in ["10.0.0.2:4862", "10.0.0.2:4872"] {
        let refused = ask(&mut responder, port, &packet(Some(2)), 0);
        assert_eq!(refused, Err(Refusal::ResponderPort));
    }
}

#[test]
fn a_reply_is_never_answered_and_a_truncated_packet_neither() {
    let mut responder = responder();
    let mut reply = [0; 44];
    ReflectorPacket {
        sequence: Sequence(1),
        timestamp: T3,
        error_estimate: ErrorEstimate::UNKNOWN,
        ssid: Some(Ssid(2)),
        receive_timestamp: T2,
        sender_sequence: Sequence(7),
        sender_timestamp: T2,
        sender_error_estimate: ErrorEstimate::UNKNOWN,
        sender_ttl: 64,
    }
    .encode_unauthenticated(&mut reply)
    .unwrap();
    assert_eq!(
        ask(&mut responder, "10.0.0.2:40000", &reply, 0),
        Err(Refusal::Reflected)
    );
    for length in 0..41 {
        let cut = &packet(Some(2))[..length];
        assert_eq!(
            ask(&mut responder, "10.0.0.2:40000", cut, 0),
            Err(Refusal::TooShort)
        );
    }
}

#[test]
fn with_keys_a_forged_packet_is_refused_before_anything_else() {
    let keys = Keys::new(Key::new(b"sixteen octets!!").unwrap());
    let mut responder = Responder::new(4862, true);
    responder.set_plan(&Plan {
        keys: Some(keys.clone()),
        ..plan()
    });
    let mut octets = [0; 112];
    let packet = SenderPacket {
        sequence: Sequence(7),
        timestamp: T2,
        error_estimate: ErrorEstimate::UNKNOWN,
        ssid: Some(Ssid(2)),
    };
    packet
        .encode_authenticated(&keys.current, &mut octets)
        .unwrap();
    assert_eq!(
        ask(&mut responder, "10.0.0.2:40000", &octets, 0)
            .unwrap()
            .octets,
        112
    );
    octets[26] ^= 1;
    assert_eq!(
        ask(&mut responder, "10.0.0.2:40000", &octets, 0),
        Err(Refusal::BadHmac)
    );
}

#[test]
fn a_forger_elsewhere_does_not_use_up_the_peers_share() {
    let mut responder = responder();
    let forged = (0..10_000)
        .filter(|_| ask(&mut responder, "203.0.113.9:40000", &packet(Some(2)), 1_000).is_ok())
        .count();
    assert!(forged <= RATE_ELSEWHERE as usize);
    assert!(ask(&mut responder, "10.0.0.2:40000", &packet(Some(2)), 1_000).is_ok());
}

/// A request with extensions.
fn extended(write: impl FnOnce(&mut TlvWriter<'_>) -> Result<(), WriteError>) -> Vec<u8> {
    let mut octets = vec![0; MAX_OCTETS + 100];
    octets[..44].copy_from_slice(&packet(Some(2)));
    let mut writer = TlvWriter::new(&mut octets[44..]);
    write(&mut writer).unwrap();
    let length = 44 + writer.octets();
    octets.truncate(length);
    octets
}

#[test]
fn a_peer_is_told_who_answers_and_a_stranger_gets_his_own_identifier_back() {
    let mut responder = Responder::new(4862, true);
    responder.set_plan(&plan());
    let mut reply = [0; MAX_OCTETS];
    let peer = packet(Some(2));
    ask_into(&mut reply, &mut responder, "10.0.0.2:40000", &peer, 0).unwrap();
    let named = ReflectorPacket::parse_unauthenticated(&reply).unwrap();
    assert_eq!(named.ssid, Some(Ssid(1)));
    let stranger = packet(Some(77));
    ask_into(&mut reply, &mut responder, "10.0.0.9:40000", &stranger, 0).unwrap();
    let echoed = ReflectorPacket::parse_unauthenticated(&reply).unwrap();
    assert_eq!(echoed.ssid, Some(Ssid(77)));
    let mut responder = Responder::new(4862, false).anonymous(true);
    responder.set_plan(&plan());
    ask_into(&mut reply, &mut responder, "10.0.0.2:40000", &peer, 0).unwrap();
    let echoed = ReflectorPacket::parse_unauthenticated(&reply).unwrap();
    assert_eq!(echoed.ssid, Some(Ssid(2)));
}

#[test]
fn a_probe_of_a_size_is_answered_and_counted_nowhere() {
    let mut responder = responder();
    let mut reply = [0; MAX_OCTETS];
    let number = |reply: &[u8]| {
        let parsed = ReflectorPacket::parse_unauthenticated(reply).unwrap();
        parsed.sequence
    };
    let peer = packet(Some(2));
    ask_into(&mut reply, &mut responder, "10.0.0.2:40000", &peer, 0).unwrap();
    assert_eq!(number(&reply), Sequence(0));
    let large = extended(|writer| writer.padding(MAX_OCTETS - 44, 1));
    assert_eq!(large.len(), MAX_OCTETS);
    let answered = ask_into(&mut reply, &mut responder, "10.0.0.2:40001", &large, 0).unwrap();
    assert_eq!((answered.octets, answered.heard), (MAX_OCTETS, None));
    assert_eq!(number(&reply), Sequence(7), "the sender's own number");
    ask_into(&mut reply, &mut responder, "10.0.0.2:40000", &peer, 0).unwrap();
    assert_eq!(number(&reply), Sequence(1), "the session has not moved");
    let too_long = extended(|writer| writer.padding(MAX_OCTETS - 43, 1));
    let refused = ask(&mut responder, "10.0.0.2:40001", &too_long, 0);
    assert_eq!(refused, Err(Refusal::TooLong));
}

#[test]
fn each_family_of_a_session_is_counted_for_itself() {
    let mut responder = Responder::new(4862, false);
    let mut plan = plan();
    plan.answered[0]
        .addresses
        .push("fd00:10::2".parse().unwrap());
    responder.set_plan(&plan);
    let mut reply = [0; MAX_OCTETS];
    let peer = packet(Some(2));
    let numbers = ["10.0.0.2:40000", "[fd00:10::2]:40000", "10.0.0.2:40001"].map(|source| {
        ask_into(&mut reply, &mut responder, source, &peer, 0).unwrap();
        let parsed = ReflectorPacket::parse_unauthenticated(&reply).unwrap();
        parsed.sequence
    });
    assert_eq!(numbers, [0, 0, 1].map(Sequence));
}

#[test]
fn a_large_request_may_ask_for_a_small_reply_and_never_for_a_larger_one() {
    let mut responder = responder();
    let asking = |reply_octets: u16, padding: usize| {
        extended(|writer| {
            writer.reflected_control(&ReflectedControl {
                reply_octets,
                replies: 1,
                interval_nanos: 0,
            })?;
            writer.padding(padding, 1)
        })
    };
    let small = ask(&mut responder, "10.0.0.2:40000", &asking(0, 1_400), 0).unwrap();
    assert_eq!((small.octets, small.heard), (44 + 16, None));
    let middle = ask(&mut responder, "10.0.0.2:40000", &asking(1_000, 1_400), 0).unwrap();
    assert_eq!(middle.octets, 1_000);
    let request = asking(9_000, 100);
    let larger = ask(&mut responder, "10.0.0.2:40000", &request, 0).unwrap();
    assert_eq!(larger.octets, request.len());
}

#[test]
fn a_request_that_asks_for_its_dscp_is_told_and_answered_with_it() {
    let mut responder = responder();
    let mut reply = [0; MAX_OCTETS];
    let request = extended(|writer| {
        writer.class_of_service(&ClassOfService {
            requested_dscp: 10,
            ..ClassOfService::default()
        })
    });
    let answered = ask_into(&mut reply, &mut responder, "10.0.0.2:40000", &request, 0).unwrap();
    assert_eq!(answered.dscp, Some(46));
    assert!(answered.heard.is_some(), "it is a probe of the path");
    assert_eq!(reply[40], 64, "the TTL");
    let told = ClassOfService::parse(&reply[48..52]).unwrap();
    assert_eq!((told.received_dscp, told.received_ecn), (46, 1));
    assert_eq!(told.reverse_path, ReversePath::Refused);
}

#[test]
fn no_probe_is_refused_while_a_key_is_replaced_step_by_step() {
    let key = |fill: u8| Key::new(&[fill; 32]).unwrap();
    let (old, new) = (|| key(1), || key(2));
    let both = |current: Key, previous: Key| Keys {
        current,
        previous: Some(previous),
    };
    // The new key is accepted everywhere before anybody signs with it.
    let steps = [
        Keys::new(old()),
        both(old(), new()),
        both(new(), old()),
        Keys::new(new()),
    ];
    for (here, there) in [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
        (2, 3),
        (3, 2),
        (3, 3),
    ] {
        let mut responder = Responder::new(4862, false);
        responder.set_plan(&Plan {
            keys: Some(steps[there].clone()),
            ..plan()
        });
        let mut octets = [0; 112];
        let probe = SenderPacket {
            sequence: Sequence(7),
            timestamp: T2,
            error_estimate: ErrorEstimate::UNKNOWN,
            ssid: Some(Ssid(2)),
        };
        probe
            .encode_authenticated(&steps[here].current, &mut octets)
            .unwrap();
        let mut reply = [0; MAX_OCTETS];
        ask_into(&mut reply, &mut responder, "10.0.0.2:40000", &octets, 0).unwrap();
        let (read, _) = ReflectorPacket::parse_authenticated(&reply, &steps[here]).unwrap();
        assert!(read.answers(&probe), "step {here} asks step {there}");
    }
}
