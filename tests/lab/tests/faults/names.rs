//! Names: what the DNS servers answer, and whom a pod asks.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use meshprobe_lab::{Fault, Lab, LabNode, Lookup, Process, Transport, addressing as at};

use crate::state::{ensure_same, snapshot, with_fault};
use crate::ways::{asks, dns_works, node, others, service_home};

const TIMEOUT: Duration = Duration::from_secs(1);
/// A server may answer from its cache for five seconds.
const CACHED: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(200);
const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NAME_ERROR: u8 = 3;
const EXTERNAL_NAME: &str = "www.example.com";

fn ask(lab: &Lab, from: &LabNode, server: SocketAddr, name: &str) -> Option<Lookup> {
    let ask = |transport| lab.lookup_in(&from.pod_namespace, server, name, transport, TIMEOUT);
    ask(Transport::Udp)
        .or_else(|_| ask(Transport::Udp))
        .ok()
        // Both transports tell the same.
        .filter(|udp| ask(Transport::Tcp).is_ok_and(|tcp| tcp.rcode == udp.rcode))
}

fn rcode(lab: &Lab, from: &LabNode, server: SocketAddr, name: &str) -> Option<u8> {
    ask(lab, from, server, name).map(|answer| answer.rcode)
}

/// Whether a server finds an external name.
pub(crate) fn answers_external(lab: &Lab, from: &LabNode, server: SocketAddr) -> bool {
    ask(lab, from, server, EXTERNAL_NAME).is_some_and(|answer| answer.addresses == [at::WWW_IP])
}

/// Asks again until what was cached is over.
fn becomes(is_so: impl Fn() -> bool) -> bool {
    let tries = CACHED.as_millis() / STEP.as_millis();
    (0..tries).any(|_| {
        let so = is_so();
        if !so {
            thread::sleep(STEP);
        }
        so
    })
}

pub(crate) fn servfail(lab: &Lab) -> anyhow::Result<()> {
    let pod = node(lab, "mesh-1");
    let servers: Vec<SocketAddr> = lab.dns_instances().iter().map(|dns| dns.address).collect();
    for server in &servers {
        ensure!(answers_external(lab, pod, *server), "before");
    }
    with_fault(lab, "dns-servfail", || {
        for server in &servers {
            ensure!(
                becomes(|| rcode(lab, pod, *server, EXTERNAL_NAME) == Some(SERVER_FAILURE)),
                "{server} answers {:?}",
                ask(lab, pod, *server, EXTERNAL_NAME)
            );
            // A fresh name is no timeout either.
            let fresh = rcode(lab, pod, *server, "fresh.example.com");
            ensure!(fresh == Some(SERVER_FAILURE), "{server}: {fresh:?}");
            let inside = rcode(lab, pod, *server, at::KUBERNETES_NAME);
            ensure!(inside == Some(NO_ERROR), "{server}: {inside:?}");
        }
        Ok(())
    })?;
    for server in &servers {
        ensure!(
            becomes(|| answers_external(lab, pod, *server)),
            "{server} still fails"
        );
    }
    Ok(())
}

pub(crate) fn nxdomain(lab: &Lab) -> anyhow::Result<()> {
    let pod = node(lab, "mesh-6");
    let missing = at::KUBERNETES_NAME;
    let right = |name: &str, address: Ipv4Addr, server: SocketAddr| {
        ask(lab, pod, server, name).is_some_and(|answer| answer.addresses == [address])
    };
    let check_others = |server| {
        ensure!(right(at::DNS_NAME, at::DNS_VIP, server));
        ensure!(right(at::RESPONDER_NAME, at::RESPONDER_VIP, server));
        ensure!(answers_external(lab, pod, server));
        Ok(())
    };
    with_fault(lab, &format!("dns-nxdomain {missing}."), || {
        for dns in lab.dns_instances() {
            let answer = ask(lab, pod, dns.address, missing).context("an answer")?;
            ensure!(
                answer.rcode == NAME_ERROR && answer.is_authoritative,
                "{}: {answer:?}",
                dns.name
            );
            check_others(dns.address)?;
        }
        Ok(())
    })?;
    // A server that is down meanwhile misses neither the beginning nor the end.
    let before = snapshot(lab)?;
    let inject = |text: &str| -> anyhow::Result<_> { Ok(text.parse::<Fault>()?.inject(lab)?) };
    let [first, second] = lab.dns_instances() else {
        anyhow::bail!("this lab has two");
    };
    let down = inject("dns-instance-down dns-1")?;
    let absent = inject(&format!("dns-nxdomain {missing}"))?;
    down.heal()?;
    ensure!(rcode(lab, pod, first.address, missing) == Some(NAME_ERROR));
    let down = inject("dns-instance-down dns-1")?;
    absent.heal()?;
    ensure!(right(missing, at::KUBERNETES_VIP, second.address));
    down.heal()?;
    for dns in [first, second] {
        ensure!(right(missing, at::KUBERNETES_VIP, dns.address));
        check_others(dns.address)?;
    }
    ensure_same(&before, &snapshot(lab)?)
}

/// How many of `count` questions over UDP are answered, each sent once.
fn answered_once(
    lab: &Lab,
    from: &LabNode,
    server: SocketAddr,
    count: u16,
) -> anyhow::Result<usize> {
    let socket = lab.udp_in(
        &from.pod_namespace,
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
    )?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    let mut question = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in at::KUBERNETES_NAME.split('.') {
        question.push(u8::try_from(label.len())?);
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    let mut answered = 0;
    let mut buffer = [0; 512];
    // So many at once fit into every buffer on the way. What is late is counted with the next ones.
    for batch in (0..count).collect::<Vec<_>>().chunks(100) {
        for id in batch {
            question[..2].copy_from_slice(&id.to_be_bytes());
            socket.send(&question)?;
        }
        let mut missing = batch.len();
        while missing > 0 && socket.recv(&mut buffer).is_ok() {
            missing -= 1;
            answered += 1;
        }
    }
    socket.set_read_timeout(Some(TIMEOUT))?;
    while answered < usize::from(count) && socket.recv(&mut buffer).is_ok() {
        answered += 1;
    }
    Ok(answered)
}

pub(crate) fn throttled(lab: &Lab) -> anyhow::Result<()> {
    const QUESTIONS: u16 = 3000;
    let pod = node(lab, "mesh-1");
    let [first, second] = lab.dns_instances() else {
        anyhow::bail!("this lab has two");
    };
    let lost = |server: SocketAddr| -> anyhow::Result<f64> {
        let answered = answered_once(lab, pod, server, QUESTIONS)?;
        Ok(100.0 * (1.0 - answered as f64 / f64::from(QUESTIONS)))
    };
    // Four standard deviations of a share of 3000 at 20 % are 3 points.
    let is_about = |percent: f64, expected: f64| (percent - expected).abs() <= 3.0;
    with_fault(lab, "dns-throttled", || {
        for dns in [first, second] {
            let percent = lost(dns.address)?;
            ensure!(is_about(percent, 20.0), "{} loses {percent} %", dns.name);
        }
        let connects = |server: SocketAddr| {
            thread::scope(|scope| {
                let threads: Vec<_> = (0..60)
                    .map(|_| scope.spawn(move || asks(lab, pod, server, Transport::Tcp)))
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("a question does not panic"))
                    .filter(|is_answered| !is_answered)
                    .count()
            })
        };
        let failed = connects(first.address);
        ensure!(
            (1..=30).contains(&failed),
            "{failed} of 60 questions over TCP failed"
        );
        Ok(())
    })?;
    with_fault(lab, "dns-throttled 40% dns-2", || {
        let (alone, throttled) = (lost(first.address)?, lost(second.address)?);
        ensure!(alone == 0.0, "the other one loses {alone} %");
        ensure!((35.0..=45.0).contains(&throttled), "{throttled} %");
        Ok(())
    })
}

pub(crate) fn vip_of_dns(lab: &Lab) -> anyhow::Result<()> {
    with_fault(lab, "dns-vip mesh-4", || {
        let broken = node(lab, "mesh-4");
        for transport in [Transport::Udp, Transport::Tcp] {
            ensure!(!asks(lab, broken, at::dns_service(), transport));
        }
        for dns in lab.dns_instances() {
            ensure!(rcode(lab, broken, dns.address, at::KUBERNETES_NAME) == Some(NO_ERROR));
        }
        ensure!(service_home(lab, broken)?, "other virtual addresses work");
        for other in others(lab, "mesh-4") {
            ensure!(dns_works(lab, other), "{} has no DNS either", other.name);
        }
        // Together with kube-proxy's end, healed in the order in which they began.
        let all = "vip-broken mesh-4".parse::<Fault>()?.inject(lab)?;
        ensure!(!service_home(lab, broken)?);
        all.heal()?;
        ensure!(
            service_home(lab, broken)? && !asks(lab, broken, at::dns_service(), Transport::Udp)
        );
        Ok(())
    })
}

/// Runs a shell script in a prober's pod.
fn shell(lab: &Lab, node: &LabNode, name: &str, script: &str) -> anyhow::Result<Process> {
    Ok(lab
        .process(name, &node.pod_namespace, "/bin/sh")
        .args(["-c", script])
        .spawn()?)
}

/// Asks as an application does.
fn resolves(lab: &Lab, node: &LabNode, name: &str) -> anyhow::Result<bool> {
    let mut process = shell(
        lab,
        node,
        "resolves",
        &format!("exec getent ahostsv4 {name}"),
    )?;
    Ok(process.wait()?.success())
}

pub(crate) fn config_drift(lab: &Lab) -> anyhow::Result<()> {
    let (drifted, other) = (node(lab, "mesh-2"), node(lab, "mesh-3"));
    let names = ["kubernetes.default", at::AGGREGATOR_NAME, "www.example.com"];
    for name in names {
        ensure!(resolves(lab, drifted, name)?, "{name} does not resolve");
    }
    for (drift, line, works) in [
        ("search", "search example.com", [false, true, true]),
        (
            "nameserver",
            "nameserver 203.0.113.53",
            [false, false, true],
        ),
    ] {
        // A program that runs already sees it as well.
        let mut running = shell(
            lab,
            drifted,
            &format!("sees-{drift}"),
            &format!("until grep -q '^{line}$' /etc/resolv.conf; do sleep 0.05; done"),
        )?;
        with_fault(lab, &format!("dns-config-drift mesh-2 {drift}"), || {
            let ended = running.wait_for(Duration::from_secs(10))?;
            ensure!(
                ended.is_some_and(|status: ExitStatus| status.success()),
                "a running program does not see it"
            );
            for (name, expected) in names.into_iter().zip(works) {
                ensure!(
                    resolves(lab, drifted, name)? == expected,
                    "{name} with another {drift}"
                );
                ensure!(resolves(lab, other, name)?, "{name} on another node");
            }
            Ok(())
        })?;
        for name in names {
            ensure!(resolves(lab, drifted, name)?, "{name} afterwards");
        }
    }
    Ok(())
}
