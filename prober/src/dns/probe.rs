//! One DNS probe: a connected socket of its own, a random id, one question, no retry.
//!
//! The socket is connected, so that a closed port is seen at once (ICMP) and only the server's answers are read; its
//! port is the kernel's choice, so that each probe takes another flow.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::ids::TargetNumber;
use meshprobe_core::outcome::Outcome;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UdpSocket};

use super::question::{Question, Verdict};
use crate::path_id::PathId;
use crate::plan::{DnsQueryTarget, Plan, Transport};
use crate::runner::{Context, Finding, Probing};
use crate::schedule::Cadence;
use crate::tcp::probe::connect_outcome;

/// The largest answer over UDP that is read; a longer one would have ignored what EDNS says.
const UDP_OCTETS: usize = 4096;

impl Probing for DnsQueryTarget {
    type Tools = ();

    fn path(&self) -> PathId {
        self.path
    }

    fn target(&self) -> TargetNumber {
        self.target
    }

    fn cadence(&self) -> Cadence {
        self.cadence
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn select(plan: &Plan) -> Vec<Self> {
        plan.dns.clone()
    }

    async fn probe(self, context: Arc<Context>, _tools: Arc<()>, timeout: Duration) -> Finding {
        // The name was checked with the assignment.
        let Ok(question) = Question::new(&self.question, rand::random()) else {
            return Outcome::Invalid.into();
        };
        let server = self.question.address;
        let started = context.shared.clock.now();
        let exchange = async {
            match self.transport {
                Transport::Udp => over_udp(&context, server, &question).await,
                Transport::Tcp => over_tcp(&context, server, &question).await,
            }
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(Ok(Verdict::Right { truncated })) => {
                if truncated {
                    context.shared.metrics.dns_truncated.inc();
                }
                Outcome::Reply {
                    rtt: context.shared.clock.now().saturating_since(started),
                }
            }
            Ok(Ok(Verdict::OtherCode(code))) => Outcome::Rcode(code),
            Ok(Ok(Verdict::NotOurs)) => Outcome::WrongAnswer,
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Outcome::Reset,
            Ok(Err(error)) => connect_outcome(&error),
            Err(_) => Outcome::Timeout,
        }
        .into()
    }
}

async fn over_udp(
    context: &Context,
    server: SocketAddr,
    question: &Question,
) -> io::Result<Verdict> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let local = context.local_for(server.ip()).unwrap_or(any);
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(server).await?;
    socket.send(question.octets()).await?;
    let mut octets = [0; UDP_OCTETS];
    loop {
        let length = socket.recv(&mut octets).await?;
        match question.judge(&octets[..length]) {
            // Somebody may be guessing, or it answers an earlier question: the right answer may still come.
            Verdict::NotOurs => context.shared.metrics.dns_wrong_answers.inc(),
            verdict => return Ok(verdict),
        };
    }
}

async fn over_tcp(
    context: &Context,
    server: SocketAddr,
    question: &Question,
) -> io::Result<Verdict> {
    let socket = match server {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_zero_linger()?;
    socket.set_nodelay(true)?;
    if let Some(local) = context.local_for(server.ip()) {
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
    let verdict = question.judge(&octets);
    if verdict == Verdict::NotOurs {
        context.shared.metrics.dns_wrong_answers.inc();
    }
    Ok(verdict)
}
