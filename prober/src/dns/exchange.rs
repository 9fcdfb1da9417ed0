//! One question, one server, one answer: the sockets of DNS.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UdpSocket};

use super::question::{Answer, Question, UDP_OCTETS};
use crate::sys;

/// Answers that were none: from another address, with another id, to another question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strays(pub u32);

/// A socket for one server, unconnected, so that an answer from another address is seen and counted, with `IP_RECVERR`,
/// so that a closed port is seen at once all the same. Its port is the kernel's choice: each probe takes another flow.
pub async fn udp_socket(local: Option<IpAddr>, server: SocketAddr) -> io::Result<UdpSocket> {
    let (any, level, option): (IpAddr, _, _) = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), libc::SOL_IP, libc::IP_RECVERR),
        SocketAddr::V6(_) => (
            Ipv6Addr::UNSPECIFIED.into(),
            libc::SOL_IPV6,
            libc::IPV6_RECVERR,
        ),
    };
    let socket = UdpSocket::bind((local.unwrap_or(any), 0)).await?;
    sys::set_option(socket.as_fd(), level, option, 1)?;
    Ok(socket)
}

/// Waits for the answer to one of `questions`; which one it is. Everything else that arrives is counted in `strays`.
pub async fn receive(
    socket: &UdpSocket,
    server: SocketAddr,
    questions: &[Question],
    strays: &mut Strays,
) -> io::Result<(usize, Answer)> {
    let mut octets = [0; UDP_OCTETS];
    loop {
        let (length, from) = socket.recv_from(&mut octets).await?;
        let same =
            from.ip().to_canonical() == server.ip().to_canonical() && from.port() == server.port();
        let read = |question: &Question| question.read(&octets[..length]);
        let mut answers = questions.iter().map(read).enumerate();
        match answers.find_map(|(i, answer)| Some((i, answer?))) {
            Some(found) if same => return Ok(found),
            // Somebody may be guessing, or it answers an earlier question: the right answer may still come.
            _ => strays.0 = strays.0.saturating_add(1),
        }
    }
}

/// Over a connection of its own.
pub async fn over_tcp(
    local: Option<IpAddr>,
    server: SocketAddr,
    question: &Question,
    strays: &mut Strays,
) -> io::Result<Option<Answer>> {
    let socket = match server {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_zero_linger()?;
    socket.set_nodelay(true)?;
    if let Some(local) = local {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let mut stream = socket.connect(server).await?;
    // A question has at most 512 octets.
    let length = (question.octets().len() as u16).to_be_bytes();
    stream
        .write_all(&[&length, question.octets()].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut octets = vec![0; usize::from(length)];
    stream.read_exact(&mut octets).await?;
    let answer = question.read(&octets);
    if answer.is_none() {
        strays.0 = strays.0.saturating_add(1);
    }
    Ok(answer)
}
