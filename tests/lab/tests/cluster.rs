//! The healthy cluster: what reaches what, by which way, under which address.

mod world;

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use meshprobe_lab::{Lab, LabSpec, Lookup, Transport, addressing as at};

use world::probe::{self, CLOSED_PORT, ECHO_PORT, Seen};

const DNS_TIMEOUT: Duration = Duration::from_secs(2);
const NAME_ERROR: u8 = 3;

fn main() -> ExitCode {
    let spec = LabSpec {
        nodes: 6,
        zones: 3,
        ..LabSpec::default()
    };
    world::run(
        &spec,
        &[
            (
                "every_pod_reaches_every_pod_under_its_own_address",
                every_pod_reaches_every_pod,
            ),
            ("pods_carry_1450_bytes_and_hosts_1500", packet_sizes),
            (
                "the_virtual_dns_address_answers_over_udp_and_tcp_from_every_pod",
                dns_through_the_virtual_address,
            ),
            (
                "every_dns_instance_answers_and_knows_what_does_not_exist",
                every_dns_instance,
            ),
            (
                "both_ways_home_reach_the_aggregator_from_every_pod_and_node",
                both_ways_home,
            ),
            (
                "a_pod_reaches_hosts_under_its_nodes_address_and_closed_ports_refuse",
                host_plane,
            ),
            (
                "a_pod_reaches_the_internet_under_the_routers_address",
                internet,
            ),
            (
                "a_process_sees_its_own_resolver_and_interfaces",
                process_view,
            ),
            (
                "a_process_gets_handed_sockets_in_order_with_its_own_process_id",
                socket_activation,
            ),
            (
                "a_process_without_capabilities_has_none_and_still_probes",
                process_without_capabilities,
            ),
            (
                "a_process_that_cannot_start_is_reported",
                process_that_cannot_start,
            ),
            ("kill_and_terminate_end_a_process", process_control),
        ],
    )
}

fn every_pod_reaches_every_pod(lab: &Lab) -> anyhow::Result<()> {
    probe::start_echo_in_pods(lab)?;
    for from in lab.nodes() {
        for to in lab.nodes() {
            let expected = Seen::From(IpAddr::V4(from.pod_ip));
            let seen = probe::udp(lab, &from.pod_namespace, probe::pod_echo(to))?;
            ensure!(
                seen == expected,
                "UDP {} → {}: {seen:?}",
                from.name,
                to.name
            );
            let seen = probe::tcp(lab, &from.pod_namespace, probe::pod_echo(to))?;
            ensure!(
                seen == expected,
                "TCP {} → {}: {seen:?}",
                from.name,
                to.name
            );
        }
    }
    Ok(())
}

fn packet_sizes(lab: &Lab) -> anyhow::Result<()> {
    const HEADERS: usize = 28;
    /// With the time stamp option.
    const TCP_HEADERS: usize = 52;
    let (first, last) = (&lab.nodes()[0], &lab.nodes()[5]);
    probe::start_echo(
        lab,
        &last.namespace,
        SocketAddr::from((last.host_ip, ECHO_PORT)),
    )?;
    let ways = [
        (
            first.pod_namespace.as_str(),
            SocketAddr::from((last.pod_ip, ECHO_PORT)),
            1450,
        ),
        (
            first.namespace.as_str(),
            SocketAddr::from((last.host_ip, ECHO_PORT)),
            1500,
        ),
    ];
    for (namespace, to, mtu) in ways {
        let socket = lab.udp_in(namespace, "0.0.0.0:0".parse()?)?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let packet = vec![7; mtu - HEADERS];
        socket.send(&packet)?;
        let mut buffer = [0; 2000];
        ensure!(
            socket.recv(&mut buffer)? == packet.len(),
            "{mtu} bytes to {to} do not come back whole"
        );
        let stream = lab.connect_in(namespace, to, Duration::from_secs(2))?;
        let segment = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::TcpMaxSeg)?;
        ensure!(
            segment as usize == mtu - TCP_HEADERS,
            "TCP to {to} sends segments of {segment} bytes"
        );
    }
    Ok(())
}

fn look_up(
    lab: &Lab,
    namespace: &str,
    server: SocketAddr,
    name: &str,
    transport: Transport,
) -> anyhow::Result<Lookup> {
    let ask = || lab.lookup_in(namespace, server, name, transport, DNS_TIMEOUT);
    ask()
        .or_else(|_| ask())
        .with_context(|| format!("{transport:?} {namespace} → {server}: {name}"))
}

fn dns_through_the_virtual_address(lab: &Lab) -> anyhow::Result<()> {
    for node in lab.nodes() {
        for transport in [Transport::Udp, Transport::Tcp] {
            for namespace in [&node.pod_namespace, &node.namespace] {
                let answer = look_up(
                    lab,
                    namespace,
                    at::dns_service(),
                    at::KUBERNETES_NAME,
                    transport,
                )?;
                ensure!(
                    answer.addresses == [at::KUBERNETES_VIP],
                    "{namespace}: {answer:?}"
                );
            }
        }
    }
    // New flows are spread: with both servers behind it, 40 flows all to one have a chance of 2 to the power of -39.
    let before = dns_flows(lab)?;
    for _ in 0..40 {
        look_up(
            lab,
            &lab.nodes()[0].pod_namespace,
            at::dns_service(),
            at::KUBERNETES_NAME,
            Transport::Udp,
        )?;
    }
    let after = dns_flows(lab)?;
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        ensure!(after > before, "{name} got none of 40 flows");
    }
    Ok(())
}

/// Packets that each DNS pod has received.
fn dns_flows(lab: &Lab) -> anyhow::Result<Vec<(String, u64)>> {
    let count = |namespace: &str| -> anyhow::Result<u64> {
        let table = lab.run_in(namespace, || {
            fs::read_to_string("/proc/thread-self/net/snmp")
        })??;
        let udp = table
            .lines()
            .filter(|line| line.starts_with("Udp:"))
            .nth(1)
            .context("UDP counters")?;
        Ok(udp
            .split_whitespace()
            .nth(1)
            .context("InDatagrams")?
            .parse()?)
    };
    lab.dns_instances()
        .iter()
        .map(|dns| Ok((dns.name.clone(), count(&dns.namespace)?)))
        .collect()
}

fn every_dns_instance(lab: &Lab) -> anyhow::Result<()> {
    ensure!(lab.dns_instances().len() == 2);
    let pod = &lab.nodes()[0].pod_namespace;
    for dns in lab.dns_instances() {
        ensure!(dns.node != lab.aggregator().node);
        for transport in [Transport::Udp, Transport::Tcp] {
            let answer = look_up(lab, pod, dns.address, at::AGGREGATOR_NAME, transport)?;
            ensure!(
                answer.addresses == [at::AGGREGATOR_VIP] && answer.is_authoritative,
                "{}: {answer:?}",
                dns.name
            );
            let answer = look_up(
                lab,
                pod,
                dns.address,
                "absent.default.svc.cluster.local",
                transport,
            )?;
            ensure!(
                answer.rcode == NAME_ERROR && answer.is_authoritative,
                "{}: {answer:?}",
                dns.name
            );
            for (name, address) in at::EXTERNAL_NAMES {
                let answer = look_up(lab, pod, dns.address, name, transport)?;
                ensure!(
                    answer.rcode == 0 && answer.addresses == [address],
                    "{}: {answer:?}",
                    dns.name
                );
            }
            let answer = look_up(lab, pod, dns.address, "absent.example.com", transport)?;
            ensure!(answer.rcode == NAME_ERROR, "{}: {answer:?}", dns.name);
        }
    }
    Ok(())
}

fn both_ways_home(lab: &Lab) -> anyhow::Result<()> {
    let aggregator = lab.aggregator();
    probe::start_tcp_echo(lab, &aggregator.namespace, aggregator.pod_address)?;
    for node in lab.nodes() {
        for namespace in [&node.pod_namespace, &node.namespace] {
            for to in [
                aggregator.pod_address,
                aggregator.service,
                aggregator.node_port,
            ] {
                let seen = probe::tcp(lab, namespace, to)?;
                ensure!(seen.is_answer(), "{namespace} → {to}: {seen:?}");
            }
            // A node port is open on every node, also on one that the aggregator does not run on.
            for other in lab.nodes() {
                let to = SocketAddr::from((other.host_ip, at::AGGREGATOR_NODE_PORT));
                let seen = probe::tcp(lab, namespace, to)?;
                ensure!(seen.is_answer(), "{namespace} → {to}: {seen:?}");
            }
        }
        let seen = probe::tcp(lab, &node.pod_namespace, aggregator.service)?;
        ensure!(
            seen == Seen::From(IpAddr::V4(node.pod_ip)),
            "the service shows the pod's own address: {seen:?}"
        );
    }
    Ok(())
}

fn host_plane(lab: &Lab) -> anyhow::Result<()> {
    let port = 4990;
    for node in lab.nodes() {
        probe::start_echo(lab, &node.namespace, SocketAddr::from((node.host_ip, port)))?;
    }
    for from in lab.nodes() {
        for to in lab.nodes().iter().filter(|to| to.name != from.name) {
            let expected = Seen::From(IpAddr::V4(from.host_ip));
            let address = SocketAddr::from((to.host_ip, port));
            ensure!(
                probe::tcp(lab, &from.pod_namespace, address)? == expected,
                "TCP {} → {address}",
                from.name
            );
            ensure!(
                probe::udp(lab, &from.pod_namespace, address)? == expected,
                "UDP {} → {address}",
                from.name
            );
            let closed = SocketAddr::from((to.host_ip, CLOSED_PORT));
            ensure!(
                probe::tcp(lab, &from.pod_namespace, closed)? == Seen::Refused,
                "{} → {closed}",
                from.name
            );
        }
    }
    Ok(())
}

fn internet(lab: &Lab) -> anyhow::Result<()> {
    let receiver = SocketAddr::from((at::WEBHOOK_IP, 8080));
    probe::start_echo(lab, at::INTERNET, receiver)?;
    let nodes = lab
        .nodes()
        .iter()
        .flat_map(|node| [&node.namespace, &node.pod_namespace]);
    for namespace in nodes.chain([&lab.aggregator().namespace]) {
        let seen = probe::tcp(lab, namespace, receiver)?;
        ensure!(
            seen == Seen::From(IpAddr::V4(at::FABRIC_PUBLIC_IP)),
            "{namespace}: {seen:?}"
        );
    }
    // Nothing comes in from outside.
    let seen = probe::tcp_once(
        lab,
        at::INTERNET,
        SocketAddr::from((lab.nodes()[0].host_ip, CLOSED_PORT)),
    )?;
    ensure!(
        matches!(seen, Seen::Unreachable | Seen::Silence),
        "{seen:?}"
    );
    Ok(())
}

fn process_view(lab: &Lab) -> anyhow::Result<()> {
    let script =
        "cat /etc/resolv.conf; echo; ls /sys/class/net; test -d /sys/fs/cgroup && echo cgroup";
    let run = |name: &str, namespace: &str| -> anyhow::Result<String> {
        let mut process = lab
            .process(name, namespace, "/bin/sh")
            .args(["-c", script])
            .spawn()?;
        process.wait()?;
        Ok(fs::read_to_string(process.stdout_path())?)
    };
    let pod = run("view-pod", &lab.nodes()[0].pod_namespace)?;
    ensure!(
        pod.contains("nameserver 10.96.0.10\noptions ndots:5\n\neth0\nlo\ncgroup"),
        "{pod}"
    );
    let node = run("view-node", &lab.nodes()[0].namespace)?;
    ensure!(node.starts_with("nameserver 203.0.113.53\n"), "{node}");
    ensure!(node.contains("flannel.1"), "{node}");
    Ok(())
}

fn socket_activation(lab: &Lab) -> anyhow::Result<()> {
    let node = &lab.nodes()[1];
    let first = lab.listen_in(&node.pod_namespace, SocketAddr::from((node.pod_ip, 7001)))?;
    let second = lab.listen_in(&node.pod_namespace, SocketAddr::from((node.pod_ip, 7002)))?;
    let script = "test $LISTEN_PID = $$ && echo own; echo $LISTEN_FDS $LISTEN_FDNAMES; env | grep -c MESHPROBE_LAB; \
                  cd /proc/$$/fd; for fd in 3 4; do readlink $fd; done";
    let mut process = lab
        .process("activated", &node.pod_namespace, "/bin/sh")
        .socket("grpc", &first)?
        .socket("http", &second)?
        .args(["-c", script])
        .spawn()?;
    process.wait()?;
    let shown = fs::read_to_string(process.stdout_path())?;
    let link = |socket: &std::net::TcpListener| -> anyhow::Result<String> {
        use std::os::fd::AsRawFd as _;
        Ok(
            fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd()))?
                .display()
                .to_string(),
        )
    };
    let expected = format!(
        "own\n2 grpc:http\n0\n{}\n{}\n",
        link(&first)?,
        link(&second)?
    );
    ensure!(shown == expected, "{shown}");
    Ok(())
}

fn process_without_capabilities(lab: &Lab) -> anyhow::Result<()> {
    let pod = &lab.nodes()[0].pod_namespace;
    let server = lab.dns_instances()[0].address.ip();
    let script = format!(
        "grep CapEff /proc/self/status; ip link set eth0 down 2>/dev/null && echo down; exec 3<>/dev/tcp/{server}/53 && echo connected"
    );
    let mut process = lab
        .process("bare", pod, "/bin/bash")
        .args(["-c", &script])
        .without_capabilities()
        .spawn()?;
    process.wait()?;
    let shown = fs::read_to_string(process.stdout_path())?;
    ensure!(shown == "CapEff:\t0000000000000000\nconnected\n", "{shown}");
    Ok(())
}

fn process_that_cannot_start(lab: &Lab) -> anyhow::Result<()> {
    let pod = &lab.nodes()[0].pod_namespace;
    let error = lab
        .process("ghost", pod, "/nowhere/ghost")
        .spawn()
        .expect_err("no such program");
    ensure!(
        error.to_string() == "start ghost (/nowhere/ghost) in network namespace pod-mesh-1",
        "{error}"
    );
    let error = lab
        .process("ghost", "mesh-99", "/bin/true")
        .spawn()
        .expect_err("no such namespace");
    ensure!(
        error.to_string() == "open network namespace mesh-99",
        "{error}"
    );
    let taken = lab
        .listen_in(pod, "192.0.2.1:1".parse()?)
        .expect_err("not an address of this pod");
    ensure!(
        taken.to_string() == "listen on TCP 192.0.2.1:1 in network namespace pod-mesh-1",
        "{taken}"
    );
    let source = std::error::Error::source(&taken)
        .and_then(|source| source.downcast_ref::<std::io::Error>());
    ensure!(source.map(std::io::Error::kind) == Some(ErrorKind::AddrNotAvailable));
    Ok(())
}

fn process_control(lab: &Lab) -> anyhow::Result<()> {
    use std::os::unix::process::ExitStatusExt as _;
    let pod = &lab.nodes()[0].pod_namespace;
    let mut killed = lab
        .process("killed", pod, "/bin/sleep")
        .arg("1000")
        .spawn()?;
    ensure!(killed.try_wait()?.is_none());
    ensure!(killed.kill()?.signal() == Some(9));
    killed.terminate()?;
    let mut terminated = lab
        .process("terminated", pod, "/bin/sleep")
        .arg("1000")
        .spawn()?;
    terminated.terminate()?;
    let status = terminated
        .wait_for(Duration::from_secs(10))?
        .context("ends on SIGTERM")?;
    ensure!(status.signal() == Some(15));
    Ok(())
}
