//! One way home: a stream to the aggregator that is opened again whenever it ends.
//!
//! The task owns the connection. It hands the sending end of each new stream to the reporter and passes on what comes
//! back. It notices a silent peer by HTTP/2 pings within 3 s. Ends when told to, after the stream has ended: the
//! reporter closes its end, the aggregator then ends the stream, and that is the sign that everything was taken.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use meshprobe_daemon::backoff::Backoff;
use meshprobe_daemon::shutdown::Shutdown;
use meshprobe_proto::v1;
use meshprobe_proto::v1::prober_service_client::ProberServiceClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tracing::{debug, info, warn};

use super::outbox::STREAM_DEPTH;
use crate::assignment::AggregatorAddress;
use crate::clock::Clock;
use crate::spool::Way;

/// For the TCP and TLS handshakes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// For the answer to the call.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// A peer that was silent for so long is asked whether it is there …
pub const PING_INTERVAL: Duration = Duration::from_secs(1);

/// … and has this long to answer.
pub const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait after the first failure and after many.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_CAP: Duration = Duration::from_secs(2);

/// A stream that lived so long was a success.
const PROVEN: Duration = Duration::from_secs(5);

/// A message of the aggregator is an assignment at most: 16,384 peers with their addresses.
const MAX_MESSAGE: usize = 8 << 20;

/// Files of the TLS client; read at each connect, so renewed ones are taken without a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who is trusted.
    pub ca: PathBuf,
    /// The own certificate and key, if the aggregator asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the aggregator's certificate, if it is not the host that is dialled.
    pub server_name: Option<String>,
}

/// What happens on a way.
#[derive(Debug)]
pub enum WayEvent {
    /// A stream is open, and Hello is on it.
    Opened(Way, mpsc::Sender<v1::ProberMessage>),
    /// The aggregator says something.
    Message(Way, v1::aggregator_message::Message),
    /// The stream is gone.
    Closed(Way),
}

/// One way home.
#[derive(Debug)]
pub struct WayTask {
    way: Way,
    addresses_rx: watch::Receiver<Vec<AggregatorAddress>>,
    hello: v1::Hello,
    tls: Option<TlsFiles>,
    events_tx: mpsc::Sender<WayEvent>,
    clock: Clock,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("bad address {0:?}")]
    Address(String),
    #[error("read {path}")]
    TlsFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("set up TLS: {0}")]
    Tls(#[source] tonic::transport::Error),
    #[error("connect: {}", root(source))]
    Connect {
        #[source]
        source: tonic::transport::Error,
    },
    #[error("open the stream: {}: {}", .0.code(), .0.message())]
    Call(#[source] Box<tonic::Status>),
    #[error("open the stream: no answer within {CALL_TIMEOUT:?}")]
    CallTimeout,
}

/// The innermost cause; the outer ones only repeat that something failed.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

impl WayTask {
    /// A way to those addresses in `addresses_rx` that belong to it.
    pub fn new(
        way: Way,
        addresses_rx: watch::Receiver<Vec<AggregatorAddress>>,
        hello: v1::Hello,
        tls: Option<TlsFiles>,
        events_tx: mpsc::Sender<WayEvent>,
        clock: Clock,
    ) -> Self {
        let wire = match way {
            Way::Overlay => v1::WayHome::Overlay,
            Way::Underlay => v1::WayHome::Underlay,
        };
        Self {
            way,
            addresses_rx,
            hello: v1::Hello {
                way: wire.into(),
                ..hello
            },
            tls,
            events_tx,
            clock,
        }
    }

    /// Keeps a stream open until `stop`.
    pub async fn run(mut self, stop: Shutdown) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_CAP);
        let mut attempt = 0;
        while !stop.is_signaled() {
            let addresses = self.own_addresses();
            if addresses.is_empty() {
                if stop
                    .or_signaled(self.addresses_rx.changed())
                    .await
                    .is_none_or(|r| r.is_err())
                {
                    return;
                }
                continue;
            }
            let address = &addresses[attempt % addresses.len()];
            attempt += 1;
            let started = self.clock.now();
            match stop.or_signaled(self.open(address)).await {
                None => return,
                Some(Err(error)) => {
                    // The first failure of a row is news; that it goes on is not.
                    if backoff.failures() == 0 {
                        warn!(way = %self.way, address, %error, "No stream to the aggregator; trying on");
                    } else {
                        debug!(way = %self.way, address, %error, "Still no stream to the aggregator");
                    }
                }
                Some(Ok(stream)) => {
                    info!(way = %self.way, address, "Stream to the aggregator is open");
                    if self.follow(stream).await.is_err() {
                        return;
                    }
                    if self.clock.now().saturating_since(started) >= PROVEN {
                        backoff.reset();
                    }
                }
            }
            let delay = backoff.next_delay(&mut rand::rng());
            let wait = async {
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    // Other addresses are worth an attempt at once.
                    _ = self.addresses_rx.changed() => {}
                }
            };
            stop.or_signaled(wait).await;
        }
    }

    fn own_addresses(&mut self) -> Vec<String> {
        self.addresses_rx
            .borrow_and_update()
            .iter()
            .filter(|entry| entry.way == self.way)
            .map(|entry| entry.address.clone())
            .collect()
    }

    /// Connects, calls, says hello.
    async fn open(
        &self,
        address: &str,
    ) -> Result<
        (
            mpsc::Sender<v1::ProberMessage>,
            tonic::Streaming<v1::AggregatorMessage>,
        ),
        OpenError,
    > {
        let channel = self.connect(address).await?;
        let mut client = ProberServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let (messages_tx, messages_rx) = mpsc::channel(STREAM_DEPTH);
        let hello = v1::ProberMessage {
            message: Some(v1::prober_message::Message::Hello(self.hello.clone())),
        };
        // A new channel has room for its first message.
        messages_tx.try_send(hello).ok();
        let call = client.connect(ReceiverStream::new(messages_rx));
        let answer = tokio::time::timeout(CALL_TIMEOUT, call)
            .await
            .map_err(|_| OpenError::CallTimeout)?
            .map_err(|status| OpenError::Call(Box::new(status)))?;
        Ok((messages_tx, answer.into_inner()))
    }

    async fn connect(&self, address: &str) -> Result<Channel, OpenError> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(|_| OpenError::Address(address.to_owned()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        if let Some(files) = &self.tls {
            endpoint = endpoint
                .tls_config(tls_config(files)?)
                .map_err(OpenError::Tls)?;
        }
        endpoint
            .connect()
            .await
            .map_err(|source| OpenError::Connect { source })
    }

    /// Passes on what comes until the stream ends. `Err`: the reporter is gone.
    async fn follow(
        &self,
        (messages_tx, mut stream): (
            mpsc::Sender<v1::ProberMessage>,
            tonic::Streaming<v1::AggregatorMessage>,
        ),
    ) -> Result<(), mpsc::error::SendError<WayEvent>> {
        self.events_tx
            .send(WayEvent::Opened(self.way, messages_tx))
            .await?;
        loop {
            match stream.message().await {
                Ok(Some(v1::AggregatorMessage {
                    message: Some(message),
                })) => {
                    self.events_tx
                        .send(WayEvent::Message(self.way, message))
                        .await?;
                }
                // A message of a newer aggregator that this version does not know.
                Ok(Some(v1::AggregatorMessage { message: None })) => {}
                Ok(None) => {
                    info!(way = %self.way, "The aggregator ended the stream");
                    break;
                }
                Err(status) => {
                    warn!(way = %self.way, code = %status.code(), message = status.message(), "Stream to the aggregator broke");
                    break;
                }
            }
        }
        self.events_tx.send(WayEvent::Closed(self.way)).await
    }
}

fn tls_config(files: &TlsFiles) -> Result<ClientTlsConfig, OpenError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| OpenError::TlsFile {
            path: path.clone(),
            source,
        })
    };
    let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&files.ca)?));
    if let Some((certificate, key)) = &files.identity {
        config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    if let Some(name) = &files.server_name {
        config = config.domain_name(name);
    }
    Ok(config)
}
