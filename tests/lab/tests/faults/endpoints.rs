//! The virtual IP in front of the probers' responders.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use meshprobe_lab::{Lab, LabNode, addressing as at};

use crate::state::{start_servers, with_fault};
use crate::ways::{node, pod_reaches_pod};

/// As many at once as a small machine bears.
const AT_ONCE: usize = 30;
/// What a dead endpoint costs each connection that it gets.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// Two SYN retransmissions (after 1 and 3 s, RFC 6298 section 2) fit in: where everything is well, only a machine that
/// stops for seconds fails a connection.
const LONG_PATIENCE: Duration = Duration::from_secs(5);

/// How `count` connections to the virtual IP end, each once.
fn connections(
    lab: &Lab,
    from: &LabNode,
    count: usize,
    patience: Duration,
) -> anyhow::Result<Vec<Option<IpAddr>>> {
    let address: SocketAddr = lab.responder_service().address;
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let some: anyhow::Result<Vec<Option<IpAddr>>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_ONCE.min(count - all.len()))
                .map(|_| scope.spawn(|| connection(lab, from, address, patience)))
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

/// One connection, and the address that the backend saw it come from; `None`: it failed.
fn connection(
    lab: &Lab,
    from: &LabNode,
    to: SocketAddr,
    patience: Duration,
) -> anyhow::Result<Option<IpAddr>> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&to, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut seen = String::new();
        stream.read_to_string(&mut seen)?;
        Ok(seen)
    };
    let seen = lab.run_in(&from.pod_namespace, ask)?.ok();
    Ok(seen
        .and_then(|seen| seen.parse::<SocketAddr>().ok())
        .map(|seen| seen.ip()))
}

fn percent(of: &[Option<IpAddr>], is_counted: impl Fn(&Option<IpAddr>) -> bool) -> f64 {
    100.0 * of.iter().filter(|seen| is_counted(seen)).count() as f64 / of.len() as f64
}

pub(crate) fn spread(lab: &Lab) -> anyhow::Result<()> {
    start_servers(lab)?;
    let service = lab.responder_service();
    ensure!(service.backends.len() == 3);
    for node in lab.nodes() {
        let seen = connections(lab, node, 150, LONG_PATIENCE)?;
        let answered = percent(&seen, Option::is_some);
        // A busy machine may be late even so.
        ensure!(answered > 95.0, "{}: {answered} % answered", node.name);
        let is_backend = service
            .backends
            .iter()
            .any(|backend| backend.node == node.name);
        // A connection that comes back to its own pod has its node's address, as kube-proxy does it.
        let gateway = Some(IpAddr::V4(at::pod_gateway(node.index)));
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
            let failed = percent(
                &connections(lab, from, 450, SHORT_PATIENCE)?,
                Option::is_none,
            );
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
