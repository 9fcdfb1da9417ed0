//! A server loop for HTTP/1 and HTTP/2, with or without TLS, that a stranger cannot wedge.
//!
//! `axum::serve` has no time-outs and no limit; this loop has: time for the TLS handshake and for
//! the headers, an idle limit, a number of connections, optionally a largest age (an HTTP/2
//! connection behind a load balancer would stick to one server for ever). A connection over the
//! limit waits in the kernel's queue.
//!
//! The loop owns its connections in a `JoinSet`. On shutdown it stops accepting, asks every
//! connection to finish what is in flight, and cuts off what is left after [`Limits::grace`].

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Extension, Router};
use hyper::service::{Service as _, service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::{
    shutdown::{Drained, Shutdown, drain},
    tls::ServerTls,
};

/// How long to pause when `accept` fails for want of descriptors or memory: the queue keeps the
/// clients.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What one server grants its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For the first request to arrive and for the headers of each HTTP/1 request; also how long an
    /// idle HTTP/1 connection is kept.
    pub headers: Duration,
    /// How often a silent HTTP/2 peer is asked whether it is there.
    pub keep_alive: Duration,
    /// How long it has for its answer before the connection is cut.
    pub keep_alive_timeout: Duration,
    /// Requests at the same time in one HTTP/2 connection.
    pub streams: u32,
    /// After this age a connection is asked to finish and come back; `None` for never.
    pub age: Option<Duration>,
    /// For what is in flight when the shutdown comes.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(10),
            keep_alive: Duration::from_secs(20),
            keep_alive_timeout: Duration::from_secs(20),
            streams: 128,
            age: None,
            grace: Duration::from_secs(5),
        }
    }
}

/// Who sent a request; an `Extension` of every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The other end of the connection.
    pub addr: SocketAddr,
    /// The verified certificate chain that it showed, its own first; `None` without TLS or without
    /// one.
    pub certificates: Option<Arc<[CertificateDer<'static>]>>,
}

/// A bound server that does not serve yet.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    tls: Option<ServerTls>,
    limits: Limits,
}

impl HttpServer {
    /// A server on a bound, non-blocking listener. Needs a running runtime.
    pub fn new(listener: std::net::TcpListener, limits: Limits) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            tls: None,
            limits,
        })
    }

    /// Speaks TLS; each connection takes the configuration that is in force when it comes.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<ServerTls>) -> Self {
        self.tls = tls;
        self
    }

    /// The address that it is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// A task: serves `router` until `shutdown`, then drains.
    pub async fn serve(self, router: Router, shutdown: Shutdown) {
        let Self {
            listener,
            tls,
            limits,
        } = self;
        let slots = Arc::new(Semaphore::new(limits.connections.max(1)));
        let mut connections = JoinSet::new();
        loop {
            // Finished connections are joined here, so that the set does not grow.
            while let Some(ended) = connections.try_join_next() {
                report_panic(ended);
            }
            let Some(accepted) = shutdown.or_signaled(accept(&listener, &slots)).await else {
                break;
            };
            let (stream, peer, slot) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "Cannot accept a connection");
                    shutdown.or_signaled(sleep(ACCEPT_PAUSE)).await;
                    continue;
                }
            };
            let (router, tls, shutdown) = (router.clone(), tls.clone(), shutdown.clone());
            connections.spawn(async move {
                let _slot = slot;
                if let Err(error) = connection(stream, peer, tls, router, limits, shutdown).await {
                    debug!(%peer, error, "Connection ended with an error");
                }
            });
        }
        drop(listener);
        let finish = async {
            while let Some(ended) = connections.join_next().await {
                report_panic(ended);
            }
        };
        if drain("open HTTP connections", limits.grace, finish).await == Drained::Missed {
            connections.shutdown().await;
        }
    }
}

/// The slot comes first: a connection that cannot be served stays in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}

/// A panic in a handler ends its connection; the process serves on.
fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        warn!(%error, "A connection's task ended abnormally");
    }
}

async fn connection(
    stream: TcpStream,
    addr: SocketAddr,
    tls: Option<ServerTls>,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
) -> Result<(), String> {
    // Answers are small and complete; waiting for more to fill a segment only adds delay.
    stream.set_nodelay(true).ok();
    let Some(tls) = tls else {
        return exchange(
            stream,
            Peer {
                addr,
                certificates: None,
            },
            router,
            limits,
            shutdown,
        )
        .await;
    };
    let acceptor = TlsAcceptor::from(tls.current());
    let stream = match timeout(limits.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(format!("TLS handshake: {error}")),
        Err(_) => return Err("TLS handshake: timed out".to_owned()),
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let certificates =
        certificates.map(|chain| chain.iter().map(|one| one.clone().into_owned()).collect());
    exchange(
        stream,
        Peer { addr, certificates },
        router,
        limits,
        shutdown,
    )
    .await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
) -> Result<(), String> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.keep_alive)
        .keep_alive_timeout(limits.keep_alive_timeout)
        .max_concurrent_streams(limits.streams);
    let router = TowerToHyperService::new(router.layer(Extension(peer)));
    let asked = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&asked);
    let service = service_fn(move |request| {
        mark.store(true, Ordering::Relaxed);
        router.call(request)
    });
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let too_old = async {
        match limits.age {
            Some(age) => sleep(age).await,
            None => std::future::pending().await,
        }
    };
    // hyper's own time-out begins when it knows the protocol: who sends nothing at all would stay.
    let silent = async {
        sleep(limits.headers).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        result = &mut serving => return result.map_err(|error| error.to_string()),
        () = silent => return Err("sent no request in time".to_owned()),
        () = shutdown.signaled() => {}
        () = too_old => {}
    }
    serving.as_mut().graceful_shutdown();
    // An old connection has to end some time as well; the shutdown's own deadline is kept by
    // `serve`.
    match timeout(limits.grace, serving).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("still busy after its grace".to_owned()),
    }
}

#[cfg(test)]
mod tests;
