//! Web servers on the internet, and the way there.

use std::net::SocketAddr;

use anyhow::ensure;
use meshprobe_lab::{Fault, Lab, LabTarget, Transport, addressing as at};

use crate::https::{self, Ended, ensure_both, http, https, through_proxy};
use crate::names::answers_external;
use crate::state::with_fault;
use crate::ways::{asks, at_once, dns_works, node, others, pod_reaches_pod};
use crate::world::probe;

const FINE: Ended = Ended::Status(200);

fn targets(lab: &Lab) -> anyhow::Result<[&LabTarget; 2]> {
    let [www, registry] = lab.external_targets() else {
        anyhow::bail!("this lab has two");
    };
    Ok([www, registry])
}

/// From a pod and from a node's host.
fn all_fine(lab: &Lab) -> anyhow::Result<()> {
    for target in lab.external_targets() {
        for node in lab.nodes() {
            ensure_both(lab, &node.pod_namespace, target, FINE)?;
        }
        ensure_both(lab, &lab.nodes()[0].namespace, target, FINE)?;
    }
    Ok(())
}

/// A fault, what is to be seen while it lasts, and that all is well afterwards.
fn with_external_fault(
    lab: &Lab,
    text: &str,
    look: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    with_fault(lab, text, look)?;
    all_fine(lab)
}

pub(crate) fn targets_serve(lab: &Lab) -> anyhow::Result<()> {
    all_fine(lab)?;
    let pod = &lab.nodes()[2].pod_namespace;
    for target in lab.external_targets() {
        for (path, status) in [("/healthz", 200), ("/moved", 302), ("/nowhere", 404)] {
            ensure!(http(lab, pod, target, path)? == Ended::Status(status));
            ensure!(https(lab, pod, target, path)? == Ended::Status(status));
        }
    }
    // Nobody outside of the lab would vouch for them: the authority's file is what a prober has to trust.
    let authority = std::fs::read_to_string(lab.ca_file())?;
    ensure!(authority.starts_with("-----BEGIN CERTIFICATE-----"));
    ensure!(!authority.contains("PRIVATE KEY"));
    Ok(())
}

pub(crate) fn api_server(lab: &Lab) -> anyhow::Result<()> {
    for node in lab.nodes() {
        for namespace in [&node.pod_namespace, &node.namespace] {
            for (path, status) in [("/healthz", 200), ("/api/v1/pods", 401)] {
                let ended =
                    https::get(lab, namespace, at::KUBERNETES_NAME, at::kubernetes(), path)?;
                ensure!(ended == Ended::Status(status), "{namespace}: {ended:?}");
            }
        }
    }
    with_fault(lab, "vip-broken mesh-5", || {
        let pod = &node(lab, "mesh-5").pod_namespace;
        let own = SocketAddr::from((node(lab, "mesh-1").host_ip, at::API_SERVER_PORT));
        let asks = |address| https::get(lab, pod, at::KUBERNETES_NAME, address, "/healthz");
        // Nothing leads to the service network but kube-proxy's rules.
        ensure!(asks(at::kubernetes())? == Ended::Unreachable);
        ensure!(asks(own)? == FINE);
        Ok(())
    })
}

pub(crate) fn target_down(lab: &Lab) -> anyhow::Result<()> {
    let [www, registry] = targets(lab)?;
    for (text, ended) in [
        (
            "external-target-down registry.example.net refused",
            Ended::Refused,
        ),
        (
            "external-target-down registry.example.net silent",
            Ended::Silence,
        ),
    ] {
        with_external_fault(lab, text, || {
            at_once(lab.nodes().iter().take(3), |node| {
                ensure_both(lab, &node.pod_namespace, registry, ended)?;
                ensure_both(lab, &node.pod_namespace, www, FINE)
            })
        })?;
    }
    Ok(())
}

pub(crate) fn tls(lab: &Lab) -> anyhow::Result<()> {
    let [www, registry] = targets(lab)?;
    let pod = &lab.nodes()[1].pod_namespace;
    for (text, ended) in [
        ("tls-expired www.example.com", Ended::CertificateExpired),
        ("tls-handshake www.example.com", Ended::HandshakeFailed),
    ] {
        with_external_fault(lab, text, || {
            ensure!(https(lab, pod, www, "/")? == ended);
            ensure!(https(lab, &lab.nodes()[4].namespace, www, "/")? == ended);
            ensure!(http(lab, pod, www, "/")? == FINE);
            let stream = lab.connect_in(pod, www.https(), std::time::Duration::from_secs(1));
            ensure!(stream.is_ok(), "TCP works");
            ensure_both(lab, pod, registry, FINE)
        })?;
    }
    Ok(())
}

pub(crate) fn http_status(lab: &Lab) -> anyhow::Result<()> {
    let [www, registry] = targets(lab)?;
    for status in meshprobe_lab::STATUSES {
        let injected = format!("http-status registry.example.net {status}")
            .parse::<Fault>()?
            .inject(lab)?;
        let pod = &lab.nodes()[3].pod_namespace;
        ensure_both(lab, pod, registry, Ended::Status(status))?;
        injected.heal()?;
    }
    with_external_fault(lab, "http-status www.example.com 502", || {
        for node in lab.nodes() {
            ensure_both(lab, &node.pod_namespace, www, Ended::Status(502))?;
            ensure!(https(lab, &node.pod_namespace, www, "/healthz")? == Ended::Status(502));
        }
        ensure_both(lab, &lab.nodes()[0].pod_namespace, registry, FINE)
    })
}

pub(crate) fn external_node(lab: &Lab) -> anyhow::Result<()> {
    let [www, registry] = targets(lab)?;
    // Also where a DNS server runs: what it asks is for all nodes.
    let host = lab.dns_instances()[0].node.clone();
    for name in ["mesh-5", host.as_str()] {
        with_external_fault(lab, &format!("external-node {name}"), || {
            let blocked = node(lab, name);
            for namespace in [&blocked.pod_namespace, &blocked.namespace] {
                ensure_both(lab, namespace, www, Ended::Silence)?;
            }
            ensure_both(lab, &blocked.pod_namespace, registry, Ended::Silence)?;
            for other in lab.nodes().iter().filter(|other| other.name != name) {
                ensure_both(lab, &other.pod_namespace, www, FINE)?;
                ensure!(
                    pod_reaches_pod(lab, blocked, other)? && pod_reaches_pod(lab, other, blocked)?,
                    "inside is clean"
                );
            }
            ensure!(dns_works(lab, blocked), "inside is clean");
            for dns in lab.dns_instances() {
                ensure!(
                    answers_external(lab, blocked, dns.address),
                    "{} has no upstream",
                    dns.name
                );
            }
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn external_all(lab: &Lab) -> anyhow::Result<()> {
    let [www, registry] = targets(lab)?;
    let receiver = SocketAddr::from((at::WEBHOOK_IP, 8099));
    probe::start_tcp_echo(lab, at::INTERNET, receiver)?;
    with_external_fault(lab, "external-all", || {
        at_once(lab.nodes().iter(), |node| {
            ensure_both(lab, &node.pod_namespace, www, Ended::Silence)?;
            ensure_both(lab, &node.namespace, registry, Ended::Silence)?;
            ensure!(
                probe::tcp(lab, &node.pod_namespace, receiver)?.is_answer(),
                "nobody can be told"
            );
            Ok(())
        })?;
        let node = node(lab, "mesh-3");
        at_once(others(lab, "mesh-3"), |other| {
            ensure!(pod_reaches_pod(lab, node, other)?, "inside is clean");
            Ok(())
        })?;
        for dns in lab.dns_instances() {
            ensure!(asks(lab, node, dns.address, Transport::Udp));
        }
        Ok(())
    })
}

pub(crate) fn proxy(lab: &Lab) -> anyhow::Result<()> {
    let [www, registry] = targets(lab)?;
    let pod = &lab.nodes()[0].pod_namespace;
    let address = SocketAddr::from((at::PROXY_IP, at::PROXY_PORT));
    let seen = probe::tcp_once(lab, pod, address)?;
    ensure!(seen == probe::Seen::Refused, "it runs unasked: {seen:?}");
    ensure!(lab.start_proxy()? == address && lab.start_proxy()? == address);
    for target in [www, registry] {
        ensure!(through_proxy(lab, pod, address, target, 443)? == FINE);
    }
    let refused = through_proxy(lab, pod, address, www, 22)?;
    ensure!(refused == Ended::Status(403), "{refused:?}");
    with_external_fault(lab, "tls-expired www.example.com", || {
        ensure!(through_proxy(lab, pod, address, www, 443)? == Ended::CertificateExpired);
        ensure!(through_proxy(lab, pod, address, registry, 443)? == FINE);
        Ok(())
    })?;
    with_external_fault(lab, "external-target-down registry.example.net", || {
        let ended = through_proxy(lab, pod, address, registry, 443)?;
        ensure!(
            matches!(ended, Ended::Status(500..=599)),
            "the proxy says {ended:?}"
        );
        Ok(())
    })?;
    lab.stop_proxy()?;
    ensure!(probe::tcp_once(lab, pod, address)? == probe::Seen::Refused);
    Ok(())
}

pub(crate) fn unknown_targets(lab: &Lab) -> anyhow::Result<()> {
    for (text, message) in [
        (
            "tls-expired www.example.org",
            "there is no external target `www.example.org`; the targets are www.example.com, registry.example.net",
        ),
        (
            "dns-nxdomain www.example.com",
            "there is no name `www.example.com` in the cluster's DNS; the names are \
             kubernetes.default.svc.cluster.local, kube-dns.kube-system.svc.cluster.local, \
             meshprobe-aggregator.meshprobe.svc.cluster.local, meshprobe-responders.meshprobe.svc.cluster.local",
        ),
        (
            "dns-throttled dns-9",
            "there is no DNS instance `dns-9`; the instances are dns-1, dns-2",
        ),
    ] {
        let error = text.parse::<Fault>()?.inject(lab).expect_err(text);
        ensure!(error.to_string() == message, "{text}: {error}");
    }
    Ok(())
}
