//! The virtual IP in front of the probers' responders.

use std::net::{IpAddr, SocketAddr};
use std::thread;

use anyhow::ensure;
use meshprobe_lab::{Lab, LabNode, addressing as at};

use crate::state::{start_servers, with_fault};
use crate::ways::{node, pod_reaches_pod};
use crate::world::probe::{self, Seen};

/// As many at once as a small machine bears.
const AT_ONCE: usize = 50;

/// How `count` connections to the virtual IP end, each once.
fn connections(lab: &Lab, from: &LabNode, count: usize) -> anyhow::Result<Vec<Seen>> {
    let address: SocketAddr = lab.responder_service().address;
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let some: anyhow::Result<Vec<Seen>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_ONCE.min(count - all.len()))
                .map(|_| scope.spawn(|| probe::tcp_once(lab, &from.pod_namespace, address)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a probe does not panic"))
                .collect()
        });
        all.extend(some?);
    }
    Ok(all)
}

fn percent(of: &[Seen], is_counted: impl Fn(&Seen) -> bool) -> f64 {
    100.0 * of.iter().filter(|seen| is_counted(seen)).count() as f64 / of.len() as f64
}

pub(crate) fn spread(lab: &Lab) -> anyhow::Result<()> {
    start_servers(lab)?;
    let service = lab.responder_service();
    ensure!(service.backends.len() == 3);
    for node in lab.nodes() {
        let seen = connections(lab, node, 150)?;
        let answered = percent(&seen, |seen| seen.is_answer());
        // A busy machine may be late once.
        ensure!(answered > 98.0, "{}: {answered} % answered", node.name);
        let is_backend = service
            .backends
            .iter()
            .any(|backend| backend.node == node.name);
        // A connection that comes back to its own pod has its node's address, as kube-proxy does it.
        let gateway = Seen::From(IpAddr::V4(at::pod_gateway(node.index)));
        let own = percent(&seen, |seen| *seen == gateway);
        let is_right = if is_backend {
            (13.0..=53.0).contains(&own)
        } else {
            own == 0.0
        };
        ensure!(is_right, "{}: {own} % to itself", node.name);
    }
    Ok(())
}

pub(crate) fn stale(lab: &Lab) -> anyhow::Result<()> {
    with_fault(lab, "vip-stale-endpoint", || {
        for name in ["mesh-1", "mesh-4"] {
            let from = node(lab, name);
            let failed = percent(&connections(lab, from, 450)?, |seen| !seen.is_answer());
            // Four standard deviations of a third of 450 are 9 points.
            ensure!(
                (24.0..=43.0).contains(&failed),
                "{name}: {failed} % of the connections fail"
            );
        }
        for backend in &lab.responder_service().backends {
            ensure!(pod_reaches_pod(
                lab,
                node(lab, "mesh-1"),
                node(lab, &backend.node)
            )?);
        }
        Ok(())
    })?;
    spread(lab)
}
