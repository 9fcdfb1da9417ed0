//! Which ways work: yes-or-no questions, asked with packets.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use meshprobe_lab::{Lab, LabNode, Transport, addressing as at};

use crate::world::probe;

const DNS_TIMEOUT: Duration = Duration::from_millis(400);

pub(crate) fn node<'lab>(lab: &'lab Lab, name: &str) -> &'lab LabNode {
    lab.node(name).expect("a node of this lab")
}

pub(crate) fn others<'lab>(
    lab: &'lab Lab,
    name: &'static str,
) -> impl Iterator<Item = &'lab LabNode> {
    lab.nodes().iter().filter(move |node| node.name != name)
}

/// Looks at all nodes at once: what is broken answers only by silence, and that takes its time.
pub(crate) fn at_once<'lab>(
    nodes: impl Iterator<Item = &'lab LabNode>,
    look: impl Fn(&LabNode) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let look = &look;
    thread::scope(|scope| {
        let threads: Vec<_> = nodes
            .map(|node| scope.spawn(move || look(node).with_context(|| node.name.clone())))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))
        })
    })
}

/// Whether a UDP packet of one node's pod comes back from the other's.
pub(crate) fn pod_reaches_pod(lab: &Lab, from: &LabNode, to: &LabNode) -> anyhow::Result<bool> {
    Ok(probe::udp(lab, &from.pod_namespace, probe::pod_echo(to))?.is_answer())
}

/// Whether the host plane works from a pod: nobody listens there, so a refusal proves the way there and back.
pub(crate) fn pod_reaches_host(lab: &Lab, from: &LabNode, to: &LabNode) -> anyhow::Result<bool> {
    let to = SocketAddr::from((to.host_ip, probe::CLOSED_PORT));
    for _ in 0..probe::TRIES {
        if probe::tcp_once(lab, &from.pod_namespace, to)? == probe::Seen::Refused {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a UDP packet of one node's pod arrives at the other's.
pub(crate) fn one_way(lab: &Lab, from: &LabNode, to: &LabNode) -> anyhow::Result<bool> {
    let receiver = lab.udp_in(&to.pod_namespace, SocketAddr::from((to.pod_ip, 0)))?;
    receiver.set_read_timeout(Some(Duration::from_millis(400)))?;
    let sender = lab.udp_in(&from.pod_namespace, SocketAddr::from((from.pod_ip, 0)))?;
    for _ in 0..3 {
        // A route that is missing may be told by an error: also a packet that does not arrive.
        drop(sender.send_to(b"one way", receiver.local_addr()?));
    }
    Ok(receiver.recv(&mut [0; 64]).is_ok())
}

/// How many of `count` single packets, each a new flow, come back.
pub(crate) fn replies(
    lab: &Lab,
    from: &LabNode,
    to: &LabNode,
    count: usize,
) -> anyhow::Result<usize> {
    let outcomes: Vec<anyhow::Result<probe::Seen>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| probe::udp_once(lab, &from.pod_namespace, probe::pod_echo(to))))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a probe does not panic"))
            .collect()
    });
    let mut answered = 0;
    for outcome in outcomes {
        answered += usize::from(outcome?.is_answer());
    }
    Ok(answered)
}

pub(crate) fn service_home(lab: &Lab, from: &LabNode) -> anyhow::Result<bool> {
    Ok(probe::tcp(lab, &from.pod_namespace, lab.aggregator().service)?.is_answer())
}

pub(crate) fn underlay_home(lab: &Lab, from: &LabNode) -> anyhow::Result<bool> {
    Ok(probe::tcp(lab, &from.pod_namespace, lab.aggregator().node_port)?.is_answer())
}

pub(crate) fn asks(lab: &Lab, from: &LabNode, server: SocketAddr, transport: Transport) -> bool {
    lab.lookup_in(
        &from.pod_namespace,
        server,
        at::KUBERNETES_NAME,
        transport,
        DNS_TIMEOUT,
    )
    .is_ok()
}

pub(crate) fn dns_works(lab: &Lab, from: &LabNode) -> bool {
    let works = |transport| (0..3).any(|_| asks(lab, from, at::dns_service(), transport));
    works(Transport::Udp) && works(Transport::Tcp)
}
