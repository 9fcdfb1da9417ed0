//! QUIC between two probers, and what strangers get from the responder.

use std::net::UdpSocket;
use std::time::Duration;

use crate::mesh::{MeshFile, Prober, QUIC_PORT, address};

const PROBES: &str = "meshprobe_prober_probes_total{";
const REPLIES: [&str; 2] = ["kind=\"quic\"", "outcome=\"reply\""];
const TIMEOUTS: [&str; 2] = ["kind=\"quic\"", "outcome=\"timeout\""];

#[tokio::test]
async fn handshakes_and_echoes_come_back_until_the_peer_stops() {
    let (a, b) = (address(), address());
    let file = MeshFile::new(&[("a", a), ("b", b)], "");
    let (a, b) = (
        Prober::start("a", a, &file.line()),
        Prober::start("b", b, &file.line()),
    );
    a.until_metric(PROBES, &REPLIES, 4).await;
    b.until_metric(PROBES, &REPLIES, 4).await;
    // A fresh one for each probe, and one that lives on.
    b.until_metric("meshprobe_prober_quic_answers_total", &[], 5)
        .await;
    assert_eq!(a.probes(&TIMEOUTS).await, 0);
    b.stop().await;
    let before = a.probes(&TIMEOUTS).await;
    a.until_metric(PROBES, &TIMEOUTS, before + 2).await;
    a.stop().await;
}

#[tokio::test]
async fn a_stranger_has_to_show_its_address_and_noise_gets_no_answer() {
    let (a, b) = (address(), address());
    let file = MeshFile::new(&[("a", a), ("b", b)], "");
    let a = Prober::start("a", a, &file.line());
    let outsider = UdpSocket::bind((address(), 0)).unwrap();
    outsider
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut buffer = [0; 2_048];
    for noise in [&[0_u8; 1_200][..], &[0xff; 40], &[0x40; 1_400]] {
        outsider.send_to(noise, (a.ip, QUIC_PORT)).unwrap();
        assert!(outsider.recv(&mut buffer).is_err(), "noise was answered");
    }
    assert_eq!(
        a.metric("meshprobe_prober_quic_answers_total", &[]).await,
        0
    );
    a.stop().await;
}
