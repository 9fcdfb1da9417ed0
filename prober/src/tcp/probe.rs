//! One TCP probe: connect, 32 octets there and back, close by reset.
//!
//! The round-trip time is the kernel's own measurement of SYN to SYN/ACK (`TCP_INFO`), so a busy process does not look
//! like a slow network. A reset at the end leaves no `TIME_WAIT` behind on either side.
//!
//! Where no responder of ours is expected (a peer's node address), any sign of life will do: an accepted connection and
//! a refused one both prove the way there and back.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::ids::TargetNumber;
use meshprobe_core::outcome::Outcome;
use meshprobe_core::time::Moment;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::ECHO_OCTETS;
use crate::path_id::PathId;
use crate::plan::{Expectation, Plan, TcpTarget};
use crate::runner::{Context, Finding, Probing};
use crate::schedule::Cadence;
use crate::sys;

impl Probing for TcpTarget {
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
        plan.tcp.clone()
    }

    async fn probe(self, context: Arc<Context>, _tools: Arc<()>, timeout: Duration) -> Finding {
        let attempt = async {
            match self.expectation {
                Expectation::Echo => match echo(&context, self.address, &rand::random()).await {
                    Echoed::All { rtt, stream: _ } => Outcome::Reply { rtt },
                    Echoed::Failed(outcome) => outcome,
                },
                Expectation::Contact => contact(&context, self.address).await,
            }
        };
        tokio::time::timeout(timeout, attempt)
            .await
            .unwrap_or(Outcome::Timeout)
            .into()
    }
}

/// How an echo ended.
pub(crate) enum Echoed {
    /// The same octets came back.
    All {
        /// Of the connect.
        rtt: Duration,
        /// Still open; closed by reset when dropped.
        stream: TcpStream,
    },
    /// Something else happened.
    Failed(Outcome),
}

/// Connects and expects its octets back.
pub(crate) async fn echo(
    context: &Context,
    address: SocketAddr,
    sent: &[u8; ECHO_OCTETS],
) -> Echoed {
    let started = context.shared.clock.now();
    let mut stream = match connect(context, address).await {
        Ok(stream) => stream,
        Err(error) => return Echoed::Failed(connect_outcome(&error)),
    };
    let rtt = connect_time(context, &stream, started);
    let mut received = [0; ECHO_OCTETS];
    let exchange = async {
        stream.write_all(sent).await?;
        stream.read_exact(&mut received).await
    };
    match exchange.await {
        Ok(_) if received == *sent => Echoed::All { rtt, stream },
        Ok(_) => Echoed::Failed(Outcome::WrongAnswer),
        Err(error) => Echoed::Failed(match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Outcome::Reset,
            _ => connect_outcome(&error),
        }),
    }
}

/// Connects; a refusal is an answer.
async fn contact(context: &Context, address: SocketAddr) -> Outcome {
    let started = context.shared.clock.now();
    match connect(context, address).await {
        Ok(stream) => Outcome::Reply {
            rtt: connect_time(context, &stream, started),
        },
        Err(error) => match connect_outcome(&error) {
            Outcome::Refused => Outcome::Reply {
                rtt: context.shared.clock.now().saturating_since(started),
            },
            outcome => outcome,
        },
    }
}

async fn connect(context: &Context, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_zero_linger()?;
    socket.set_nodelay(true)?;
    if let Some(local) = context.local_for(address.ip()) {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    socket.connect(address).await
}

/// The kernel's measurement, unless a SYN was lost: then the time that the connect took, which shows it.
fn connect_time(context: &Context, stream: &TcpStream, started: Moment) -> Duration {
    let elapsed = context.shared.clock.now().saturating_since(started);
    match sys::tcp_facts(stream.as_fd()) {
        Ok(facts) => {
            context
                .shared
                .metrics
                .tcp_syn_retransmissions
                .inc_by(facts.retransmissions.into());
            if facts.retransmissions == 0 && !facts.rtt.is_zero() {
                facts.rtt.min(elapsed)
            } else {
                elapsed
            }
        }
        Err(_) => elapsed,
    }
}

/// What a failed connect says about the path.
pub(crate) fn connect_outcome(error: &io::Error) -> Outcome {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => Outcome::Refused,
        Some(libc::ECONNRESET) => Outcome::Reset,
        Some(libc::ETIMEDOUT) => Outcome::Timeout,
        Some(
            libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EPROTO,
        ) => Outcome::Unreachable,
        // Descriptors, ports or memory of this machine.
        Some(
            libc::EMFILE
            | libc::ENFILE
            | libc::ENOBUFS
            | libc::ENOMEM
            | libc::EADDRNOTAVAIL
            | libc::EADDRINUSE
            | libc::EAGAIN
            | libc::EINTR,
        )
        | None => Outcome::Invalid,
        Some(errno) => Outcome::SendFailed { errno },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_fail_is_its_own_outcome() {
        for (errno, outcome) in [
            (libc::ECONNREFUSED, Outcome::Refused),
            (libc::EHOSTUNREACH, Outcome::Unreachable),
            (libc::ETIMEDOUT, Outcome::Timeout),
            (libc::EMFILE, Outcome::Invalid),
            (libc::EPERM, Outcome::SendFailed { errno: libc::EPERM }),
        ] {
            assert_eq!(
                connect_outcome(&io::Error::from_raw_os_error(errno)),
                outcome
            );
        }
    }
}
