//! STAMP spoken with somebody else's implementation: that of scapy (Debian's `python3-scapy`), in both roles.

use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use crate::mesh::{MeshFile, PORT, Prober, address};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/prober/scapy_stamp.py");

/// Debian's own interpreter: another one on the search path does not see Debian's packages.
fn scapy(arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-B").arg(SCRIPT).args(arguments);
    command
}

/// A reflector that is there until the end of the test.
struct Reflector(Child);

impl Reflector {
    fn start(ip: Ipv4Addr) -> Self {
        let mut child = scapy(&["reflector", &ip.to_string(), &PORT.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(
            line, "reflector: ready\n",
            "python3-scapy is needed: cargo xtask test installs it"
        );
        Self(child)
    }

    /// It goes on as long as every packet was what the fields in it say.
    fn is_content(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn a_foreign_sender_gets_the_replies_that_the_rfc_draws() {
    let (a, foreign) = (address(), address());
    let file = MeshFile::new(&[("a", a), ("foreign", foreign)], "");
    let a = Prober::start("a", a, &file.line());
    a.until_metric("meshprobe_prober_probes_total{", &[], 1)
        .await;
    let (from, to, port) = (foreign.to_string(), a.ip.to_string(), PORT.to_string());
    let output = tokio::task::spawn_blocking(move || {
        scapy(&["sender", &from, &to, &port, "2"]).output().unwrap()
    });
    let output = output.await.unwrap();
    a.stop().await;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    assert_eq!(output.stdout, b"sender: five replies\n", "{complaint}");
}

#[tokio::test]
async fn a_foreign_reflector_answers_probes_and_they_count_as_answered() {
    let (a, foreign) = (address(), address());
    let mut reflector = tokio::task::spawn_blocking(move || Reflector::start(foreign))
        .await
        .unwrap();
    let file = MeshFile::new(&[("a", a), ("foreign", foreign)], "");
    let a = Prober::start("a", a, &file.line());
    let udp = |outcome| ["kind=\"udp\"", outcome];
    a.until_metric(
        "meshprobe_prober_probes_total{",
        &udp("outcome=\"reply\""),
        20,
    )
    .await;
    // Packets with TLVs: the largest ones that pass.
    let mtu = ["kind=\"mtu\"", "outcome=\"reply\""];
    a.until_metric("meshprobe_prober_probes_total{", &mtu, 2)
        .await;
    let refused = a.probes(&udp("outcome=\"refused\"")).await;
    a.stop().await;
    assert_eq!(refused, 0, "it was there throughout");
    assert!(reflector.is_content(), "it says why above");
}
