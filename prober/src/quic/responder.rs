//! Answers QUIC: completes handshakes of peers and returns their datagrams.
//!
//! A known peer's handshake is answered at once. Anybody else has to show first that the address is its own (RFC 9000
//! §8.1: a Retry is smaller than what it answers), and shares a small budget: that is a peer behind NAT. Streams are not
//! accepted, datagrams are returned at a limited rate and never longer than they came.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use meshprobe_daemon::shutdown::Shutdown;
use quinn::{Connection, Endpoint, Incoming, VarInt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::debug;

use super::config;
use crate::budget::TokenBucket;
use crate::plan::Plan;
use crate::shared::Shared;

/// Connections at once: a sample of 10 from each side of a large mesh, long-lived ones included.
const MAX_CONNECTIONS: usize = 1_024;

/// Connections at once from one address: fresh and long-lived ones of both planes, while old ones time out.
const MAX_FROM_ADDRESS: usize = 16;

/// Connections at once from addresses that belong to no peer.
const MAX_FROM_STRANGERS: usize = 64;

/// Handshakes a second.
const HANDSHAKES_PER_SECOND: u32 = 200;

/// Echoes a second on one connection.
const ECHOES_PER_SECOND: u32 = 20;

/// Answers QUIC on one address.
#[derive(Debug)]
pub struct QuicResponder {
    endpoint: Endpoint,
    shared: Shared,
    plan_rx: watch::Receiver<Arc<Plan>>,
    peers: HashSet<IpAddr>,
    connections: JoinSet<IpAddr>,
    by_address: HashMap<IpAddr, usize>,
    budget: TokenBucket,
}

impl QuicResponder {
    /// On a bound socket, for the peers of `plan_rx`. Needs a running runtime.
    pub fn new(
        socket: UdpSocket,
        shared: Shared,
        plan_rx: watch::Receiver<Arc<Plan>>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            endpoint: config::endpoint(socket, config::MAX_UDP_PAYLOAD, Some(config::server()?))?,
            shared,
            plan_rx,
            peers: HashSet::new(),
            connections: JoinSet::new(),
            by_address: HashMap::new(),
            budget: TokenBucket::new(HANDSHAKES_PER_SECOND, HANDSHAKES_PER_SECOND / 2),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Answers until `shutdown`, then closes every connection.
    pub async fn run(mut self, shutdown: Shutdown) {
        self.apply_plan();
        loop {
            tokio::select! {
                () = shutdown.signaled() => break,
                changed = self.plan_rx.changed() => match changed {
                    Ok(()) => self.apply_plan(),
                    Err(_) => break,
                },
                Some(incoming) = self.endpoint.accept() => self.admit(incoming),
                Some(ended) = self.connections.join_next(), if !self.connections.is_empty() => {
                    self.forget(ended);
                }
            }
        }
        self.endpoint.close(VarInt::from_u32(0), b"stopping");
    }

    fn apply_plan(&mut self) {
        let plan = Arc::clone(&self.plan_rx.borrow_and_update());
        let addresses = plan.answered.iter().flat_map(|peer| &peer.addresses);
        self.peers = addresses.copied().collect();
    }

    fn admit(&mut self, incoming: Incoming) {
        let address = incoming.remote_address().ip().to_canonical();
        let is_peer = self.peers.contains(&address);
        let from_address = self.by_address.get(&address).copied().unwrap_or(0);
        let strangers = || {
            let strange = |(ip, count): (&IpAddr, &usize)| {
                if self.peers.contains(ip) { 0 } else { *count }
            };
            self.by_address.iter().map(strange).sum::<usize>()
        };
        let is_full = self.connections.len() >= MAX_CONNECTIONS
            || from_address >= MAX_FROM_ADDRESS
            || (!is_peer && strangers() >= MAX_FROM_STRANGERS);
        if is_full || !self.budget.try_take(self.shared.clock.now()) {
            self.shared.metrics.quic_refused.inc();
            incoming.ignore();
            return;
        }
        if !is_peer && !incoming.remote_address_validated() {
            // Fails only for what was validated already.
            incoming.retry().ok();
            return;
        }
        let shared = self.shared.clone();
        *self.by_address.entry(address).or_default() += 1;
        self.connections.spawn(async move {
            match incoming.accept() {
                Ok(connecting) => match connecting.await {
                    Ok(connection) => {
                        shared.metrics.quic_answers.inc();
                        return_datagrams(&connection, &shared).await;
                    }
                    Err(error) => debug!(%address, %error, "A QUIC handshake failed"),
                },
                Err(error) => debug!(%address, %error, "A QUIC handshake was refused"),
            }
            address
        });
    }

    fn forget(&mut self, ended: Result<IpAddr, tokio::task::JoinError>) {
        match ended {
            Ok(address) => {
                if let Some(count) = self.by_address.get_mut(&address) {
                    *count -= 1;
                    if *count == 0 {
                        self.by_address.remove(&address);
                    }
                }
            }
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
}

async fn return_datagrams(connection: &Connection, shared: &Shared) {
    let mut budget = TokenBucket::new(ECHOES_PER_SECOND, ECHOES_PER_SECOND);
    while let Ok(octets) = connection.read_datagram().await {
        // Beyond the rate nothing is sent, and the asker sees a loss that it made itself.
        if budget.try_take(shared.clock.now()) {
            connection.send_datagram(octets).ok();
        }
    }
}
