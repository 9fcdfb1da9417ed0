//! Addresses and routes that lead elsewhere.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use meshprobe_lab::{Lab, LabNode};

use crate::state::with_fault;
use crate::ways::{
    at_once, node, one_way, others, pod_reaches_host, pod_reaches_pod, service_home, underlay_home,
};

const NAME_PORT: u16 = 4870;

/// A server in the node's pod that answers with the node's name, as an authenticated responder does.
fn start_name_server(lab: &Lab, node: &LabNode) -> anyhow::Result<()> {
    let address = SocketAddr::from((node.pod_ip, NAME_PORT));
    let socket = lab.udp_in(&node.pod_namespace, address)?;
    let name = node.name.clone();
    thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
            drop(socket.send_to(name.as_bytes(), from));
        }
    });
    Ok(())
}

/// Who answers at a node's pod address.
fn who_is(lab: &Lab, from: &LabNode, at: &LabNode) -> anyhow::Result<Option<String>> {
    let socket = lab.udp_in(&from.pod_namespace, SocketAddr::from((from.pod_ip, 0)))?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    let target = SocketAddr::from((at.pod_ip, NAME_PORT));
    let mut buffer = [0; 64];
    for _ in 0..3 {
        // A refusal is no answer either.
        if socket.send_to(b"who", target).is_err() {
            continue;
        }
        if let Ok((length, sender)) = socket.recv_from(&mut buffer) {
            ensure!(sender == target, "an answer from {sender}");
            return Ok(Some(
                String::from_utf8_lossy(&buffer[..length]).into_owned(),
            ));
        }
    }
    Ok(None)
}

pub(crate) fn address_conflict(lab: &Lab) -> anyhow::Result<()> {
    let (node_of_it, other) = (node(lab, "mesh-2"), node(lab, "mesh-5"));
    start_name_server(lab, node_of_it)?;
    start_name_server(lab, other)?;
    with_fault(lab, "address-conflict mesh-2 mesh-5", || {
        for pod in [node_of_it, other] {
            let shown = lab.output_in(&pod.pod_namespace, "ip", &["-4", "-brief", "address"])?;
            ensure!(
                shown.contains(&format!(" {}/", node_of_it.pod_ip)),
                "{shown}"
            );
        }
        at_once(
            others(lab, "mesh-2").filter(|node| node.name != "mesh-5"),
            |from| {
                let who = who_is(lab, from, node_of_it)?;
                ensure!(who.as_deref() == Some("mesh-5"), "{who:?} answers");
                let who = who_is(lab, from, other)?;
                ensure!(
                    who.as_deref() == Some("mesh-5"),
                    "{who:?} answers for itself"
                );
                ensure!(
                    !pod_reaches_pod(lab, node_of_it, from)?,
                    "the way back leads to the other node"
                );
                ensure!(one_way(lab, node_of_it, from)?, "the way there is fine");
                ensure!(pod_reaches_pod(lab, from, other)? && pod_reaches_pod(lab, other, from)?);
                Ok(())
            },
        )?;
        let who = who_is(lab, node_of_it, node_of_it)?;
        ensure!(who.as_deref() == Some("mesh-2"), "{who:?} answers at home");
        ensure!(pod_reaches_host(lab, node(lab, "mesh-3"), node_of_it)?);
        ensure!(underlay_home(lab, node_of_it)? && !service_home(lab, node_of_it)?);
        ensure!(underlay_home(lab, other)? && service_home(lab, other)?);
        Ok(())
    })?;
    let who = who_is(lab, node(lab, "mesh-3"), node_of_it)?;
    ensure!(who.as_deref() == Some("mesh-2"), "{who:?} answers after it");
    Ok(())
}

pub(crate) fn backend_mix(lab: &Lab) -> anyhow::Result<()> {
    with_fault(lab, "overlay-backend-mix mesh-4", || {
        let mixed = node(lab, "mesh-4");
        let near = lab.output_in(&mixed.namespace, "ip", &["route", "show", "10.244.6.0/24"])?;
        ensure!(
            near.trim() == "10.244.6.0/24 via 172.30.2.16 dev eth0",
            "{near}"
        );
        at_once(others(lab, "mesh-4"), |other| {
            ensure!(one_way(lab, other, mixed)?, "in by the overlay");
            ensure!(!one_way(lab, mixed, other)?, "out past the overlay");
            ensure!(pod_reaches_host(lab, mixed, other)? && pod_reaches_host(lab, other, mixed)?);
            Ok(())
        })?;
        ensure!(!service_home(lab, mixed)? && underlay_home(lab, mixed)?);
        ensure!(pod_reaches_pod(
            lab,
            node(lab, "mesh-2"),
            node(lab, "mesh-5")
        )?);
        Ok(())
    })
}

pub(crate) fn no_second_family(lab: &Lab) -> anyhow::Result<()> {
    for text in ["v6-dead", "v6-dead mesh-2"] {
        let error = text
            .parse::<meshprobe_lab::Fault>()?
            .inject(lab)
            .expect_err("this cluster has one family");
        ensure!(
            error.to_string() == "this cluster has no IPv6: build it with two families",
            "{error}"
        );
    }
    for node in lab.nodes() {
        ensure!(node.pod_ip_v6.is_none());
        let shown = lab.output_in(&node.pod_namespace, "ip", &["-6", "-brief", "address"])?;
        let is_bare = shown.lines().all(|line| line.starts_with("lo "));
        ensure!(is_bare, "{}: {shown}", IpAddr::V4(node.pod_ip));
    }
    Ok(())
}
