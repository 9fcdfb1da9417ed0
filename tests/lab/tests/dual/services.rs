//! DNS servers and web servers over IPv6, and that faults of them know both families.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use meshprobe_lab::{Fault, Lab, LabNode, Transport, addressing as at};

const PATIENCE: Duration = Duration::from_millis(500);

/// Whether a DNS server answers, over UDP and over TCP alike.
fn answers(lab: &Lab, node: &LabNode, server: SocketAddr) -> anyhow::Result<bool> {
    let ask = |transport| {
        (0..2).any(|_| {
            lab.lookup_in(
                &node.pod_namespace,
                server,
                at::KUBERNETES_NAME,
                transport,
                PATIENCE,
            )
            .is_ok_and(|answer| answer.addresses == [at::KUBERNETES_VIP])
        })
    };
    let (udp, tcp) = (ask(Transport::Udp), ask(Transport::Tcp));
    ensure!(udp == tcp, "{server}: UDP {udp}, TCP {tcp}");
    Ok(udp)
}

/// The status of a web server; `None`: silence.
fn status(lab: &Lab, node: &LabNode, server: SocketAddr) -> anyhow::Result<Option<u16>> {
    let asked = lab.run_in(&node.pod_namespace, || {
        let mut stream = std::net::TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?;
    match asked {
        Ok(answer) => {
            let status = answer.split_whitespace().nth(1);
            Ok(status.and_then(|status| status.parse().ok()))
        }
        Err(error) => {
            let error: std::io::Error = error;
            ensure!(
                matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock),
                "{error}"
            );
            Ok(None)
        }
    }
}

pub(crate) fn names(lab: &Lab) -> anyhow::Result<()> {
    for node in lab.nodes() {
        for dns in lab.dns_instances() {
            let second = dns.address_v6.expect("this cluster has IPv6");
            ensure!(answers(lab, node, dns.address)? && answers(lab, node, second)?);
        }
        ensure!(answers(lab, node, at::dns_service_v6())?, "{}", node.name);
    }
    let node = &lab.nodes()[2];
    let broken = "dns-vip mesh-3".parse::<Fault>()?.inject(lab)?;
    ensure!(!answers(lab, node, at::dns_service_v6())?);
    ensure!(!answers(lab, node, at::dns_service())?);
    ensure!(answers(lab, &lab.nodes()[1], at::dns_service_v6())?);
    broken.heal()?;
    ensure!(answers(lab, node, at::dns_service_v6())? && answers(lab, node, at::dns_service())?);
    Ok(())
}

pub(crate) fn external(lab: &Lab) -> anyhow::Result<()> {
    let www = &lab.external_targets()[0];
    let (first, second) = (
        www.http(),
        SocketAddr::from((at::WWW_IP_V6, www.http().port())),
    );
    let of = |node: &LabNode| -> anyhow::Result<[Option<u16>; 2]> {
        Ok([status(lab, node, first)?, status(lab, node, second)?])
    };
    let (node, other) = (&lab.nodes()[3], &lab.nodes()[1]);
    ensure!(of(node)? == [Some(200); 2]);
    for (text, expected, others) in [
        ("http-status www.example.com 503", Some(503), Some(503)),
        ("external-target-down www.example.com silent", None, None),
        ("external-node mesh-4", None, Some(200)),
        ("external-all", None, None),
    ] {
        let injected = text.parse::<Fault>()?.inject(lab)?;
        let seen = (of(node)?, of(other)?);
        ensure!(seen == ([expected; 2], [others; 2]), "{text}: {seen:?}");
        injected.heal()?;
        let seen = (of(node)?, of(other)?);
        ensure!(seen == ([Some(200); 2], [Some(200); 2]), "{text}: {seen:?}");
    }
    Ok(())
}
