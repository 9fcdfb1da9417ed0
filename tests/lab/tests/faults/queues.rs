//! What holds packets or flows up: a congested link, a full connection table, a link that comes and goes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use meshprobe_lab::{Fault, Lab, LabNode};

use crate::state::{ensure_healthy, ensure_same, snapshot, start_servers, with_fault};
use crate::ways::{node, others, pod_reaches_pod};
use crate::world::probe;

/// Round trips between two pods, sorted; fails if one is lost.
#[expect(clippy::disallowed_methods, reason = "measures real packets")]
fn round_trips(lab: &Lab, from: &LabNode, to: &LabNode) -> anyhow::Result<Vec<Duration>> {
    let socket = lab.udp_in(&from.pod_namespace, SocketAddr::from((from.pod_ip, 0)))?;
    socket.connect(probe::pod_echo(to))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut times = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        socket.send(b"how long")?;
        socket.recv(&mut [0; 64]).context("lost")?;
        times.push(start.elapsed());
        // On a busy machine the lab's load may pause for a moment: that must not be all that is seen.
        thread::sleep(Duration::from_millis(40));
    }
    times.sort();
    Ok(times)
}

pub(crate) fn slow_node(lab: &Lab) -> anyhow::Result<()> {
    let slow = node(lab, "mesh-3");
    let median = |from: &LabNode, to: &LabNode| anyhow::Ok(round_trips(lab, from, to)?[10]);
    with_fault(lab, "slow-node mesh-3", || {
        for other in others(lab, "mesh-3") {
            for (from, to) in [(slow, other), (other, slow)] {
                let median = median(from, to)?;
                // 46 ms by design; a busy machine adds to it.
                ensure!(
                    median >= Duration::from_millis(30) && median < Duration::from_secs(1),
                    "{} → {}: {median:?}",
                    from.name,
                    to.name
                );
            }
        }
        let healthy = median(node(lab, "mesh-1"), node(lab, "mesh-4"))?;
        ensure!(healthy < Duration::from_millis(25), "others: {healthy:?}");
        // The load goes on after packets were lost.
        "node-freeze mesh-3 600ms"
            .parse::<Fault>()?
            .inject(lab)?
            .heal()?;
        thread::sleep(Duration::from_millis(500));
        let median = median(node(lab, "mesh-4"), slow)?;
        ensure!(
            median >= Duration::from_millis(30),
            "after a pause: {median:?}"
        );
        Ok(())
    })?;
    let healed = median(node(lab, "mesh-4"), slow)?;
    ensure!(healed < Duration::from_millis(25), "still slow: {healed:?}");
    Ok(())
}

/// A flow that goes on: UDP by one socket, TCP by one connection.
struct Flow {
    udp: UdpSocket,
    tcp: TcpStream,
}

impl Flow {
    fn open(lab: &Lab, from: &LabNode, to: &LabNode) -> anyhow::Result<Self> {
        let listener = lab.listen_in(&to.pod_namespace, SocketAddr::from((to.pod_ip, 0)))?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            let Ok((mut stream, _)) = listener.accept() else {
                return;
            };
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        });
        let udp = lab.udp_in(&from.pod_namespace, SocketAddr::from((from.pod_ip, 0)))?;
        udp.connect(probe::pod_echo(to))?;
        udp.set_read_timeout(Some(Duration::from_millis(500)))?;
        let tcp = lab.connect_in(&from.pod_namespace, address, Duration::from_secs(2))?;
        tcp.set_read_timeout(Some(Duration::from_secs(3)))?;
        let flow = Self { udp, tcp };
        flow.exchange()?;
        Ok(flow)
    }

    fn exchange(&self) -> anyhow::Result<()> {
        let echoed = (0..probe::TRIES)
            .any(|_| self.udp.send(b"still here").is_ok() && self.udp.recv(&mut [0; 64]).is_ok());
        ensure!(echoed, "UDP is silent");
        (&self.tcp).write_all(b"x")?;
        (&self.tcp).read_exact(&mut [0]).context("TCP is silent")?;
        Ok(())
    }
}

pub(crate) fn conntrack_full(lab: &Lab) -> anyhow::Result<()> {
    start_servers(lab)?;
    let (full, near, far) = (
        node(lab, "mesh-3"),
        node(lab, "mesh-5"),
        node(lab, "mesh-4"),
    );
    let old = [(full, near), (full, far), (near, full), (far, full)]
        .map(|(from, to)| Ok((from, to, Flow::open(lab, from, to)?)))
        .into_iter()
        .collect::<anyhow::Result<Vec<_>>>()?;
    with_fault(lab, "conntrack-full mesh-3", || {
        for _ in 0..3 {
            for (from, to, flow) in &old {
                flow.exchange()
                    .with_context(|| format!("old {} → {}", from.name, to.name))?;
            }
        }
        for (from, to, _) in &old {
            ensure!(
                !pod_reaches_pod(lab, from, to)?,
                "a new UDP flow {} → {} lives",
                from.name,
                to.name
            );
            let tcp = probe::tcp_once(lab, &from.pod_namespace, probe::pod_echo(to))?;
            ensure!(tcp == probe::Seen::Silence, "a new connection: {tcp:?}");
        }
        ensure!(pod_reaches_pod(lab, near, far)?, "others are full too");
        Ok(())
    })
}

pub(crate) fn flapping(lab: &Lab) -> anyhow::Result<()> {
    start_servers(lab)?;
    let before = snapshot(lab)?;
    let injected = "flapping mesh-3 1600ms".parse::<Fault>()?.inject(lab)?;
    let (from, to) = (node(lab, "mesh-4"), node(lab, "mesh-3"));
    let mut was_up = None;
    let mut changes = 0;
    for _ in 0..200 {
        let is_up = probe::udp_once(lab, &from.pod_namespace, probe::pod_echo(to))?.is_answer();
        changes += usize::from(was_up.is_some_and(|was_up| was_up != is_up));
        was_up = Some(is_up);
        if changes == 4 {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    ensure!(changes == 4, "the link changed {changes} times");
    // Whatever it is at that moment, it is up afterwards; and it stays down where another fault wants that.
    let dark = "node-dark mesh-3".parse::<Fault>()?.inject(lab)?;
    for _ in 0..10 {
        ensure!(!probe::udp_once(lab, &from.pod_namespace, probe::pod_echo(to))?.is_answer());
    }
    injected.heal()?;
    ensure!(
        !pod_reaches_pod(lab, from, to)?,
        "the other fault is gone too"
    );
    dark.heal()?;
    ensure_same(&before, &snapshot(lab)?)?;
    ensure_healthy(lab)
}
