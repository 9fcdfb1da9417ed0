//! Packet sizes: to the byte, in each direction, with and without a word from a router.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use meshprobe_lab::{Lab, LabNode, addressing as at};

use crate::sized::{self, Fate};
use crate::state::with_fault;
use crate::ways::node;

fn pods(lab: &Lab, from: &LabNode, to: &LabNode, bytes: usize) -> anyhow::Result<Fate> {
    let to = (to.pod_namespace.as_str(), IpAddr::V4(to.pod_ip));
    sized::send(lab, &from.pod_namespace, to, bytes)
}

fn hosts(lab: &Lab, from: &LabNode, to: &LabNode, bytes: usize) -> anyhow::Result<Fate> {
    let to = (to.namespace.as_str(), IpAddr::V4(to.host_ip));
    sized::send(lab, &from.namespace, to, bytes)
}

pub(crate) fn blackhole(lab: &Lab) -> anyhow::Result<()> {
    let (hole, near, far) = (
        node(lab, "mesh-3"),
        node(lab, "mesh-5"),
        node(lab, "mesh-4"),
    );
    for (direction, arriving, leaving) in [
        ("in", Fate::Vanished, Fate::Arrived),
        ("out", Fate::Arrived, Fate::Vanished),
        ("both", Fate::Vanished, Fate::Vanished),
    ] {
        with_fault(
            lab,
            &format!("mtu-blackhole mesh-3 1301 {direction}"),
            || {
                for other in [near, far] {
                    ensure!(pods(lab, other, hole, 1301)? == Fate::Arrived);
                    ensure!(pods(lab, hole, other, 1301)? == Fate::Arrived);
                    let seen = pods(lab, other, hole, 1302)?;
                    ensure!(seen == arriving, "1302 bytes to the node: {seen:?}");
                    let seen = pods(lab, hole, other, 1302)?;
                    ensure!(seen == leaving, "1302 bytes from the node: {seen:?}");
                }
                ensure!(pods(lab, near, far, 1450)? == Fate::Arrived, "of others");
                ensure!(hosts(lab, far, hole, 1500)? == Fate::Arrived);
                ensure!(hosts(lab, hole, far, 1500)? == Fate::Arrived);
                Ok(())
            },
        )?;
    }
    // Batches of segments count as the segments that they are: a limit that no packet exceeds stops no stream.
    with_fault(lab, "mtu-blackhole mesh-3 1450", || {
        stream(lab, far, hole)?;
        stream(lab, hole, far)
    })
}

pub(crate) fn signalled(lab: &Lab) -> anyhow::Result<()> {
    let (tight, near, far) = (
        node(lab, "mesh-3"),
        node(lab, "mesh-5"),
        node(lab, "mesh-4"),
    );
    with_fault(lab, "mtu-signalled mesh-3 1301", || {
        let told = |router: Ipv4Addr| Fate::TooBig {
            mtu: 1301,
            router: IpAddr::V4(router),
        };
        for other in [near, far] {
            ensure!(pods(lab, tight, other, 1301)? == Fate::Arrived);
            ensure!(pods(lab, other, tight, 1301)? == Fate::Arrived);
            let seen = pods(lab, tight, other, 1302)?;
            ensure!(seen == told(at::pod_gateway(3)), "from the node: {seen:?}");
            let seen = pods(lab, other, tight, 1302)?;
            ensure!(seen == told(at::vtep_ip(3)), "to the node: {seen:?}");
        }
        ensure!(pods(lab, near, far, 1450)? == Fate::Arrived, "of others");
        ensure!(hosts(lab, far, tight, 1500)? == Fate::Arrived);
        // TCP learns the size and goes on: both ends' path MTUs are to be forgotten afterwards.
        stream(lab, far, tight)?;
        stream(lab, tight, far)?;
        let learned = path_to(lab, far, tight)?;
        ensure!(learned.contains("mtu 1301"), "{learned}");
        Ok(())
    })?;
    for (from, to) in [(far, tight), (tight, far)] {
        let kept = path_to(lab, from, to)?;
        ensure!(!kept.contains("mtu"), "still known after the fault: {kept}");
        ensure!(pods(lab, from, to, 1450)? == Fate::Arrived);
    }
    // Two limits: the smaller one holds, and stays when the other goes.
    with_fault(lab, "mtu-signalled mesh-3 1400", || {
        with_fault_of(lab, "mtu-signalled mesh-3 1350", || {
            ensure!(matches!(
                pods(lab, tight, far, 1351)?,
                Fate::TooBig { mtu: 1350, .. }
            ));
            Ok(())
        })?;
        ensure!(pods(lab, tight, far, 1400)? == Fate::Arrived);
        ensure!(matches!(
            pods(lab, tight, far, 1401)?,
            Fate::TooBig { mtu: 1400, .. }
        ));
        Ok(())
    })
}

fn with_fault_of(
    lab: &Lab,
    text: &str,
    look: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let injected = text.parse::<meshprobe_lab::Fault>()?.inject(lab)?;
    look().with_context(|| format!("while {text}"))?;
    Ok(injected.heal()?)
}

pub(crate) fn overlay_too_big(lab: &Lab) -> anyhow::Result<()> {
    for (text, fabric) in [
        ("mtu-overlay-too-big", 1400),
        ("mtu-overlay-too-big 1430", 1430),
    ] {
        with_fault(lab, text, || {
            // In one zone, and between zones.
            for (from, to) in [
                ("mesh-3", "mesh-5"),
                ("mesh-3", "mesh-4"),
                ("mesh-6", "mesh-1"),
            ] {
                let (from, to) = (node(lab, from), node(lab, to));
                let inner = fabric - 50;
                ensure!(pods(lab, from, to, inner)? == Fate::Arrived);
                ensure!(pods(lab, from, to, inner + 1)? == Fate::Vanished);
                ensure!(hosts(lab, from, to, fabric)? == Fate::Arrived);
                ensure!(hosts(lab, from, to, fabric + 1)? == Fate::Vanished);
                let link = lab.output_in(&from.namespace, "ip", &["link", "show", "flannel.1"])?;
                ensure!(link.contains(" mtu 1450 "), "the link tells: {link}");
            }
            let www = (at::INTERNET, IpAddr::V4(at::WWW_IP));
            let seen = sized::send(lab, &node(lab, "mesh-3").namespace, www, 1500)?;
            ensure!(seen == Fate::Arrived, "the way out is none of it: {seen:?}");
            Ok(())
        })?;
    }
    Ok(())
}

fn path_to(lab: &Lab, from: &LabNode, to: &LabNode) -> anyhow::Result<String> {
    let to = to.pod_ip.to_string();
    Ok(lab.output_in(&from.pod_namespace, "ip", &["route", "get", &to])?)
}

/// A megabyte by TCP from one pod to the other.
fn stream(lab: &Lab, from: &LabNode, to: &LabNode) -> anyhow::Result<()> {
    const LENGTH: usize = 1_000_000;
    let patience = Some(Duration::from_secs(5));
    let listener = lab.listen_in(&to.pod_namespace, SocketAddr::from((to.pod_ip, 0)))?;
    let address = listener.local_addr()?;
    thread::scope(|scope| {
        let arriving = scope.spawn(move || -> anyhow::Result<usize> {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(patience)?;
            let mut data = Vec::new();
            stream.read_to_end(&mut data)?;
            Ok(data.len())
        });
        let mut stream = lab.connect_in(&from.pod_namespace, address, Duration::from_secs(5))?;
        stream.set_write_timeout(patience)?;
        stream.write_all(&vec![7; LENGTH])?;
        drop(stream);
        let received = arriving.join().expect("the receiver does not panic")?;
        ensure!(received == LENGTH, "{received} bytes arrived of {LENGTH}");
        Ok(())
    })
    .with_context(|| format!("a stream from {} to {}", from.name, to.name))
}
