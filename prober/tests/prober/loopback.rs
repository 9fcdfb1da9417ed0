//! Two probers and whoever wants to harm them.

use std::net::UdpSocket;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode};
use meshprobe_core::ids::Ssid;
use meshprobe_core::stamp::{
    ErrorEstimate, ReflectorPacket, SenderPacket, Sequence, Timestamp, TimestampFormat,
};

use crate::mesh::{MeshFile, PORT, Prober, address};

const REFUSED: &str = "meshprobe_prober_responder_refused_total{";

#[tokio::test]
async fn two_probers_reach_and_hear_each_other() {
    let (a, b) = (address(), address());
    let file = MeshFile::new(&[("a", a), ("b", b)], "");
    let (a, b) = (
        Prober::start("a", a, &file.line()),
        Prober::start("b", b, &file.line()),
    );
    for prober in [&a, &b] {
        for kind in ["kind=\"udp\"", "kind=\"tcp\"", "kind=\"mtu\""] {
            let labels = [kind, "outcome=\"reply\""];
            prober
                .until_metric("meshprobe_prober_probes_total{", &labels, 5)
                .await;
        }
        prober
            .until_metric("meshprobe_prober_responder_answers_total", &[], 5)
            .await;
        assert_eq!(prober.metric(REFUSED, &[]).await, 0);
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_closed_port_is_seen_at_once_and_is_no_timeout() {
    let (a, nobody) = (address(), address());
    let file = MeshFile::new(&[("a", a), ("b", nobody)], "");
    let a = Prober::start("a", a, &file.line());
    for kind in ["kind=\"udp\"", "kind=\"tcp\""] {
        let labels = [kind, "outcome=\"refused\""];
        a.until_metric("meshprobe_prober_probes_total{", &labels, 5)
            .await;
        assert_eq!(a.probes(&[kind, "outcome=\"timeout\""]).await, 0);
        assert_eq!(a.probes(&[kind, "outcome=\"reply\""]).await, 0);
    }
    a.until_metric("meshprobe_prober_probes_extra_total", &[], 4)
        .await;
    // A confirmed failure is traced; a peer that answers nothing has no MTU, and that is no loss.
    a.until_metric("meshprobe_prober_traces_total", &[], 1)
        .await;
    a.until_metric("meshprobe_prober_mtu_undecided_total", &[], 1)
        .await;
    for outcome in ["outcome=\"timeout\"", "outcome=\"too-big\""] {
        assert_eq!(a.probes(&["kind=\"mtu\"", outcome]).await, 0);
    }
    a.stop().await;
}

#[tokio::test]
async fn forged_truncated_reflected_and_looping_packets_are_refused_and_counted() {
    let (a, b) = (address(), address());
    let file = MeshFile::new(&[("a", a), ("b", b)], "");
    let a = Prober::start("a", a, &file.line());
    let outsider = UdpSocket::bind((address(), 0)).unwrap();
    let other_responder = UdpSocket::bind((address(), PORT)).unwrap();
    for socket in [&outsider, &other_responder] {
        socket
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
    }
    let genuine = request(Some(Ssid(2)));
    let unknown = request(Some(Ssid(77)));
    let cases: [(&UdpSocket, &[u8], &str); 4] = [
        (&outsider, &genuine[..20], "reason=\"too-short\""),
        (&outsider, &unknown, "reason=\"unprovisioned\""),
        (&outsider, &reply(), "reason=\"reflected\""),
        (&other_responder, &genuine, "reason=\"responder-port\""),
    ];
    for (socket, octets, reason) in cases {
        socket.send_to(octets, (a.ip, PORT)).unwrap();
        a.until_metric(REFUSED, &[reason], 1).await;
    }
    assert_eq!(
        a.metric("meshprobe_prober_responder_answers_total", &[])
            .await,
        0
    );
    let mut buffer = [0; 256];
    for socket in [&outsider, &other_responder] {
        assert!(socket.recv(&mut buffer).is_err(), "nobody was answered");
    }
    // The genuine packet from an ordinary port is answered, by as many octets as it has.
    outsider.send_to(&genuine, (a.ip, PORT)).unwrap();
    assert_eq!(outsider.recv(&mut buffer).unwrap(), genuine.len());
    let answer = ReflectorPacket::parse_unauthenticated(&buffer[..genuine.len()]).unwrap();
    assert_eq!(answer.sender_sequence, Sequence(7));
    a.stop().await;
}

#[tokio::test]
async fn a_mesh_with_keys_answers_only_who_has_one() {
    let (a, b) = (address(), address());
    let keys = "stamp_keys: [sixteen-octets-or-more]\n";
    let file = MeshFile::new(&[("a", a), ("b", b)], keys);
    let (a, b) = (
        Prober::start("a", a, &file.line()),
        Prober::start("b", b, &file.line()),
    );
    for kind in ["kind=\"udp\"", "kind=\"mtu\""] {
        let labels = [kind, "outcome=\"reply\""];
        a.until_metric("meshprobe_prober_probes_total{", &labels, 5)
            .await;
    }
    let outsider = UdpSocket::bind((address(), 0)).unwrap();
    let mut forged = [0; 112];
    forged[..44].copy_from_slice(&request(Some(Ssid(2))));
    outsider.send_to(&forged, (a.ip, PORT)).unwrap();
    a.until_metric(REFUSED, &["reason=\"bad-hmac\""], 1).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn the_responder_serves_other_implementations_octet_by_octet() {
    let (a, b) = (address(), address());
    let file = MeshFile::new(&[("a", a), ("b", b)], "");
    let a = Prober::start("a", a, &file.line());
    let outsider = UdpSocket::bind((address(), 0)).unwrap();
    outsider
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    a.until_metric("meshprobe_prober_probes_total{", &[], 1)
        .await;
    // A request as another STAMP sender makes it: TTL 77, DSCP 46 and ECN 1, and the wish to be told.
    let socket = socket2::SockRef::from(&outsider);
    socket.set_ttl_v4(77).unwrap();
    socket.set_tos_v4(46 << 2 | 1).unwrap();
    let mut asked = request(Some(Ssid(2))).to_vec();
    asked.extend([0x80, 4, 0, 4, 10 << 2, 0, 0, 0]);
    outsider.send_to(&asked, (a.ip, PORT)).unwrap();
    let mut buffer = [0; 16_384];
    let length = outsider.recv(&mut buffer).unwrap();
    let told = &buffer[..length];
    assert_eq!(told.len(), asked.len());
    assert_eq!(told[14..16], [0, 1], "it names itself");
    assert_eq!(told[24..38], asked[..14], "number, T1 and error estimate");
    assert_eq!(told[38..40], [0, 0]);
    assert_eq!(told[40..44], [77, 0, 0, 0], "the TTL that it arrived with");
    // U=0, class of service: the wished DSCP 10, the received 46 and ECN 1, and RP=1: not granted.
    assert_eq!(told[44..48], [0, 4, 0, 4]);
    assert_eq!(told[48..52], [0b0010_1010, 0b1110_0101, 0, 0]);
    // A large packet: answered in full, or as small as it asks. Neither is a probe of the path.
    let counted = a
        .metric("meshprobe_prober_responder_answers_total", &[])
        .await;
    let mut large = request(Some(Ssid(2))).to_vec();
    large.extend([0x80, 1, 0x23, 0xd0]);
    large.resize(9_216, 0x55);
    outsider.send_to(&large, (a.ip, PORT)).unwrap();
    assert_eq!(outsider.recv(&mut buffer).unwrap(), 9_216);
    let mut small = request(Some(Ssid(2))).to_vec();
    small.extend([0x80, 12, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    small.extend([0x80, 1, 0x20, 0]);
    small.resize(44 + 16 + 4 + 0x2000, 0x55);
    outsider.send_to(&small, (a.ip, PORT)).unwrap();
    assert_eq!(outsider.recv(&mut buffer).unwrap(), 44 + 16);
    a.until_metric("meshprobe_prober_responder_answers_total", &[], counted + 2)
        .await;
    a.stop().await;
}

#[tokio::test]
async fn a_dns_server_is_judged_by_its_right_answers_only() {
    let (a, server) = (address(), address());
    let dns = format!("dns:\n  - {{server: test, address: '{server}:53', name: example.org.}}\n");
    let socket = tokio::net::UdpSocket::bind((server, 53)).await.unwrap();
    let serving = async {
        let mut octets = [0; 512];
        loop {
            let (length, asker) = socket.recv_from(&mut octets).await.unwrap();
            let query = Message::from_vec(&octets[..length]).unwrap();
            let answer = |id| {
                let mut message = Message::response(id, OpCode::Query);
                message.add_queries(query.queries.clone());
                message.to_vec().unwrap()
            };
            let id = query.metadata.id;
            // First a guess, then the answer.
            socket
                .send_to(&answer(id.wrapping_add(1)), asker)
                .await
                .unwrap();
            socket.send_to(&answer(id), asker).await.unwrap();
        }
    };
    let file = MeshFile::new(&[("a", a)], &dns);
    let a = Prober::start("a", a, &file.line());
    let watching = async {
        let labels = ["kind=\"dns-udp\"", "outcome=\"reply\""];
        a.until_metric("meshprobe_prober_probes_total{", &labels, 3)
            .await;
        a.until_metric("meshprobe_prober_dns_wrong_answers_total", &[], 3)
            .await;
        // Nobody listens on TCP port 53 there.
        let labels = ["kind=\"dns-tcp\"", "outcome=\"refused\""];
        a.until_metric("meshprobe_prober_probes_total{", &labels, 3)
            .await;
    };
    tokio::select! {
        () = serving => {}
        () = watching => {}
    }
    a.stop().await;
}

fn now() -> Timestamp {
    let nanos = meshprobe_daemon::clock::since_epoch().as_nanos() as i64;
    Timestamp::from_unix_nanos(nanos, TimestampFormat::Ntp)
}

pub(crate) fn request(ssid: Option<Ssid>) -> [u8; 44] {
    let mut octets = [0; 44];
    SenderPacket {
        sequence: Sequence(7),
        timestamp: now(),
        error_estimate: ErrorEstimate::UNKNOWN,
        ssid,
    }
    .encode_unauthenticated(&mut octets)
    .unwrap();
    octets
}

fn reply() -> [u8; 44] {
    let mut octets = [0; 44];
    ReflectorPacket {
        sequence: Sequence(1),
        timestamp: now(),
        error_estimate: ErrorEstimate::UNKNOWN,
        ssid: Some(Ssid(2)),
        receive_timestamp: now(),
        sender_sequence: Sequence(7),
        sender_timestamp: now(),
        sender_error_estimate: ErrorEstimate::UNKNOWN,
        sender_ttl: 64,
    }
    .encode_unauthenticated(&mut octets)
    .unwrap();
    octets
}
