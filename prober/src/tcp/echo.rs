//! The TCP responder: returns the first 32 octets of a connection, once, and closes.
//!
//! Octets that begin with [`NAME_REQUEST`] also ask who answers: the echo is then followed by one octet of length and
//! the node's name, in the same segment. Who asks for nothing gets the bare echo, and an older responder that does not
//! know the request echoes it like any other octets.
//!
//! Bounded in connections, in time and in rate. It keeps nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::ids::NodeName;
use meshprobe_daemon::shutdown::Shutdown;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::warn;

use super::ECHO_OCTETS;
use crate::budget::TokenBucket;
use crate::shared::Shared;

/// The beginning of a request for the responder's name. Random octets are the same once in 2⁶⁴ times.
pub const NAME_REQUEST: [u8; 8] = *b"mp:name\n";

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
    /// One octet of length and the name.
    name: Arc<[u8]>,
    shared: Shared,
    budget: TokenBucket,
    connections: JoinSet<()>,
}

impl EchoResponder {
    /// Takes a bound, non-blocking listener; `node` is the name to tell. Needs a running runtime.
    pub fn new(
        listener: std::net::TcpListener,
        node: &NodeName,
        shared: Shared,
    ) -> io::Result<Self> {
        // A node name has at most 253 octets.
        let name = node.as_str().as_bytes();
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            name: [&[name.len() as u8], name].concat().into(),
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
        let metrics = Arc::clone(&self.shared.metrics);
        let name = Arc::clone(&self.name);
        self.connections.spawn(async move {
            match tokio::time::timeout(TIME_LIMIT, echo(stream, &name)).await {
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

async fn echo(mut stream: TcpStream, name: &[u8]) -> io::Result<Echoed> {
    stream.set_nodelay(true)?;
    answer(&mut stream, name).await
}

async fn answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    name: &[u8],
) -> io::Result<Echoed> {
    let mut octets = [0; ECHO_OCTETS];
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
    let name = if octets.starts_with(&NAME_REQUEST) {
        name
    } else {
        &[]
    };
    stream.write_all(&[&octets, name].concat()).await?;
    // The asker closes, by a reset: then no TIME_WAIT is left on this side.
    match stream.read(&mut octets[..1]).await {
        Ok(_) => Ok(Echoed::All),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Echoed::All),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything that is answered to `octets`.
    async fn answered(octets: &[u8]) -> Vec<u8> {
        let (mut near, mut far) = tokio::io::duplex(1024);
        near.write_all(octets).await.unwrap();
        near.shutdown().await.unwrap();
        drop(answer(&mut far, b"\x03db1").await);
        drop(far);
        let mut all = Vec::new();
        near.read_to_end(&mut all).await.unwrap();
        all
    }

    #[tokio::test]
    async fn who_asks_for_the_name_gets_it_after_the_echo() {
        let mut request = [7; ECHO_OCTETS];
        assert_eq!(answered(&request).await, request);
        request[..NAME_REQUEST.len()].copy_from_slice(&NAME_REQUEST);
        let expected = [&request[..], b"\x03db1"].concat();
        assert_eq!(answered(&request).await, expected);
        let half = answered(&request[..31]).await;
        assert!(half.is_empty(), "half a request is none");
    }

    proptest! {
        #[test]
        fn no_input_gets_more_than_the_echo_and_a_name(
            octets in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let answer = runtime.block_on(answered(&octets));
            prop_assert!(answer.is_empty() || answer.starts_with(&octets[..ECHO_OCTETS]));
            prop_assert!(answer.len() <= ECHO_OCTETS + 1 + 3);
        }
    }
}
