//! The TCP responder: returns the first 32 octets of a connection, once, and closes.
//!
//! Bounded in connections, in time and in rate. It sends no more than it received and keeps nothing.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use meshprobe_daemon::shutdown::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::warn;

use super::ECHO_OCTETS;
use crate::budget::TokenBucket;
use crate::shared::Shared;

/// Connections at once. A peer's probe takes a round trip.
const MAX_CONNECTIONS: usize = 256;

/// Connections a second: a mesh of 1,000 probes 200 times a second, and confirms.
const PER_SECOND: u32 = 2_000;

/// For a whole connection.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// After a failed accept for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener that echoes.
#[derive(Debug)]
pub struct EchoResponder {
    listener: TcpListener,
    shared: Shared,
    budget: TokenBucket,
    connections: JoinSet<()>,
}

impl EchoResponder {
    /// Takes a bound, non-blocking listener. Needs a running runtime.
    pub fn new(listener: std::net::TcpListener, shared: Shared) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            shared,
            budget: TokenBucket::new(PER_SECOND, PER_SECOND / 2),
            connections: JoinSet::new(),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `shutdown`.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.signaled() => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        warn!(%error, "Cannot accept on the echo responder");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(_) = self.connections.join_next(), if !self.connections.is_empty() => {}
            }
        }
    }

    fn admit(&mut self, stream: TcpStream) {
        let granted = self.budget.try_take(self.shared.clock.now());
        if !granted || self.connections.len() >= MAX_CONNECTIONS {
            self.shared.metrics.echo_refused.inc();
            return;
        }
        let metrics = std::sync::Arc::clone(&self.shared.metrics);
        self.connections.spawn(async move {
            match tokio::time::timeout(TIME_LIMIT, echo(stream)).await {
                Ok(Ok(Echoed::All)) => metrics.echo_answers.inc(),
                // A peer that only connects and resets has its answer.
                Ok(Ok(Echoed::Nothing)) => 0,
                Ok(Err(_)) | Err(_) => metrics.echo_refused.inc(),
            };
        });
    }
}

enum Echoed {
    All,
    Nothing,
}

async fn echo(mut stream: TcpStream) -> io::Result<Echoed> {
    let mut octets = [0; ECHO_OCTETS];
    stream.set_nodelay(true)?;
    match stream.read_exact(&mut octets).await {
        Ok(_) => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            ) =>
        {
            return Ok(Echoed::Nothing);
        }
        Err(error) => return Err(error),
    }
    stream.write_all(&octets).await?;
    // The asker closes, by a reset: then no TIME_WAIT is left on this side.
    match stream.read(&mut octets[..1]).await {
        Ok(_) => Ok(Echoed::All),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Echoed::All),
        Err(error) => Err(error),
    }
}
