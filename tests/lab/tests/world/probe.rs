//! Echo servers and probes in the lab's namespaces.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use meshprobe_lab::{Lab, LabNode};

/// Where the echo servers listen.
pub(crate) const ECHO_PORT: u16 = 4862;
/// Where nobody listens.
pub(crate) const CLOSED_PORT: u16 = 4999;
/// A packet that is not back by then is lost: the lab's round trips take microseconds, the machine's scheduler milliseconds.
const PATIENCE: Duration = Duration::from_millis(300);
/// Tries before a way counts as broken: a loaded machine may delay one.
pub(crate) const TRIES: usize = 3;

/// UDP and TCP echo in every prober's pod. The UDP echo answers with the address that it saw.
pub(crate) fn start_echo_in_pods(lab: &Lab) -> anyhow::Result<()> {
    for node in lab.nodes() {
        start_echo(
            lab,
            &node.pod_namespace,
            SocketAddr::from((node.pod_ip, ECHO_PORT)),
        )?;
    }
    Ok(())
}

/// UDP and TCP echo at an address; both answer with the address that they saw.
pub(crate) fn start_echo(lab: &Lab, namespace: &str, address: SocketAddr) -> anyhow::Result<()> {
    let udp = lab.udp_in(namespace, address)?;
    thread::spawn(move || {
        let mut buffer = [0; 2000];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let answer = if length <= 32 {
                from.to_string().into_bytes()
            } else {
                buffer[..length].to_vec()
            };
            // An answer that the lab's own faults prevent is what the tests are about.
            drop(udp.send_to(&answer, from));
        }
    });
    start_tcp_echo(lab, namespace, address)
}

/// TCP only: sends the caller's address as it sees it, and closes.
pub(crate) fn start_tcp_echo(
    lab: &Lab,
    namespace: &str,
    address: SocketAddr,
) -> anyhow::Result<()> {
    let tcp = lab.listen_in(namespace, address)?;
    thread::spawn(move || {
        while let Ok((mut stream, from)) = tcp.accept() {
            drop(stream.write_all(from.to_string().as_bytes()));
        }
    });
    Ok(())
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The other side answered, and saw us at this address.
    From(IpAddr),
    Refused,
    Silence,
    Unreachable,
}

impl Seen {
    pub(crate) fn is_answer(self) -> bool {
        matches!(self, Self::From(_))
    }
}

fn classify(error: &io::Error) -> Seen {
    match error.kind() {
        ErrorKind::ConnectionRefused => Seen::Refused,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Seen::Unreachable,
        _ => Seen::Silence,
    }
}

fn parse_seen(text: &[u8]) -> Seen {
    let address = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<SocketAddr>().ok());
    address.map_or(Seen::Silence, |address| Seen::From(address.ip()))
}

/// Any own address of the other side's family.
pub(crate) fn any_address(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    }
}

/// One UDP packet there and back.
pub(crate) fn udp_once(lab: &Lab, namespace: &str, to: SocketAddr) -> anyhow::Result<Seen> {
    let socket = lab.udp_in(namespace, any_address(to))?;
    let exchange = || -> io::Result<Seen> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(to)?;
        socket.send(b"who am I")?;
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer)?;
        Ok(parse_seen(&buffer[..length]))
    };
    Ok(exchange().unwrap_or_else(|error| classify(&error)))
}

/// One TCP connection and what the other side says.
pub(crate) fn tcp_once(lab: &Lab, namespace: &str, to: SocketAddr) -> anyhow::Result<Seen> {
    let exchange = || -> io::Result<Seen> {
        let mut stream = std::net::TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text)?;
        Ok(parse_seen(&text))
    };
    Ok(lab
        .run_in(namespace, exchange)?
        .unwrap_or_else(|error| classify(&error)))
}

/// Repeats a probe until it is answered.
fn until_answer(mut probe: impl FnMut() -> anyhow::Result<Seen>) -> anyhow::Result<Seen> {
    let mut seen = probe()?;
    for _ in 1..TRIES {
        if seen.is_answer() {
            break;
        }
        seen = probe()?;
    }
    Ok(seen)
}

pub(crate) fn udp(lab: &Lab, namespace: &str, to: SocketAddr) -> anyhow::Result<Seen> {
    until_answer(|| udp_once(lab, namespace, to))
}

pub(crate) fn tcp(lab: &Lab, namespace: &str, to: SocketAddr) -> anyhow::Result<Seen> {
    until_answer(|| tcp_once(lab, namespace, to))
}

pub(crate) fn pod_echo(node: &LabNode) -> SocketAddr {
    SocketAddr::from((node.pod_ip, ECHO_PORT))
}
