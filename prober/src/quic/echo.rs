//! A datagram that comes back: sent again until it does, each time with other octets.

use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, SendDatagramError};

use crate::clock::Clock;

/// Time after which an echo is taken for lost and sent once more; QUIC does not repeat datagrams itself.
const RESEND: Duration = Duration::from_millis(200);

/// Why there was no echo.
#[derive(Debug)]
pub(super) enum NoEcho {
    /// The connection is over.
    Connection(ConnectionError),
    /// The peer takes no datagrams.
    Unsupported,
}

impl From<ConnectionError> for NoEcho {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

/// Sends octets until they come back, and says how long that took. Ends only with the connection: the caller limits the time.
pub(super) async fn echo(connection: &Connection, clock: Clock) -> Result<Duration, NoEcho> {
    loop {
        let octets = Bytes::copy_from_slice(&rand::random::<[u8; 16]>());
        let sent_at = clock.now();
        match connection.send_datagram(octets.clone()) {
            Ok(()) => {}
            Err(SendDatagramError::ConnectionLost(error)) => return Err(error.into()),
            Err(_) => return Err(NoEcho::Unsupported),
        }
        let answer = async {
            loop {
                // An echo of an earlier try may still come: only these octets measure this try.
                if connection.read_datagram().await? == octets {
                    return Ok::<_, ConnectionError>(());
                }
            }
        };
        match tokio::time::timeout(RESEND, answer).await {
            Ok(Ok(())) => return Ok(clock.now().saturating_since(sent_at)),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {}
        }
    }
}
