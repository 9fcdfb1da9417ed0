//! One QUIC probe: a fresh handshake from a new port, and a sign of life over the long-lived connection beside it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::detail::{Detail, QuicDetail};
use meshprobe_core::ids::TargetNumber;
use meshprobe_core::outcome::Outcome;
use meshprobe_core::time::Moment;
use parking_lot::Mutex;
use quinn::{ClientConfig, Connection, Endpoint, VarInt};

use super::config;
use super::echo::echo;
use super::failure::QuicFailure;
use crate::path_id::PathId;
use crate::plan::{PeerTarget, Plan};
use crate::runner::{Context, Finding, Probing};
use crate::schedule::Cadence;

/// A long-lived connection that no probe has used for so long belongs to a path that is gone.
const FORGOTTEN: Duration = Duration::from_secs(3_600 + 60);

/// A peer in the sample.
#[derive(Clone, Debug)]
pub struct QuicProbe(PeerTarget);

/// What the QUIC probes share.
#[derive(Debug)]
pub struct QuicTools {
    client: ClientConfig,
    long_flows: Mutex<HashMap<PathId, LongFlow>>,
}

/// The long-lived connection of one path.
#[derive(Debug, Default)]
struct LongFlow {
    /// With its endpoint, which has the socket.
    open: Option<(Connection, Endpoint, Moment)>,
    breaks: u32,
    used_at: Moment,
}

/// What the long-lived connection says.
#[derive(Debug, Default)]
struct LongFlowState {
    age: Option<Duration>,
    breaks: u32,
    black_holes: u64,
    mtu: u16,
    failure: Option<QuicFailure>,
}

struct Fresh {
    handshake: Duration,
    echo: Duration,
}

impl QuicTools {
    /// No connections yet.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            client: config::client()?,
            long_flows: Mutex::default(),
        })
    }

    async fn connect(
        &self,
        context: &Context,
        peer: SocketAddr,
        payload: u16,
    ) -> Result<(Connection, Endpoint), QuicFailure> {
        let any: IpAddr = match peer {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let local = context.local_for(peer.ip()).unwrap_or(any);
        let endpoint = UdpSocket::bind((local, 0))
            .and_then(|socket| config::endpoint(socket, payload, None))
            .map_err(|error| QuicFailure::own(&error))?;
        let connection = config::connect(&endpoint, self.client.clone(), peer)?.await?;
        Ok((connection, endpoint))
    }

    /// A handshake from a new port, and an echo.
    async fn fresh(
        &self,
        context: &Context,
        peer: SocketAddr,
        timeout: Duration,
    ) -> Result<Fresh, QuicFailure> {
        let clock = context.shared.clock;
        let started = clock.now();
        let exchange = async {
            let (connection, endpoint) = self
                .connect(context, peer, config::FRESH_UDP_PAYLOAD)
                .await?;
            let handshake = clock.now().saturating_since(started);
            let left = timeout.saturating_sub(handshake);
            let echoed = tokio::time::timeout(left, echo(&connection, clock)).await;
            connection.close(VarInt::from_u32(0), b"done");
            // The endpoint's own task sees the close off.
            drop(endpoint);
            let echo = echoed.map_err(|_| QuicFailure::timeout("datagram"))??;
            Ok(Fresh { handshake, echo })
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(QuicFailure::timeout("handshake")))
    }

    /// A sign of life over the long-lived connection, which is opened (again) where there is none.
    async fn long_flow(
        &self,
        context: &Context,
        path: PathId,
        peer: SocketAddr,
        timeout: Duration,
    ) -> LongFlowState {
        let clock = context.shared.clock;
        let open = self.take_flow(path, clock.now());
        let mut failure = None;
        let mut kept = None;
        if let Some((connection, endpoint, since)) = open {
            let alive = tokio::time::timeout(timeout, echo(&connection, clock)).await;
            match alive {
                Ok(Ok(_)) => kept = Some((connection, endpoint, since)),
                Ok(Err(error)) => failure = Some(QuicFailure::from(error)),
                Err(_) => failure = Some(QuicFailure::timeout("long-lived connection")),
            }
        }
        let broke = failure.is_some();
        if kept.is_none() {
            let opened = tokio::time::timeout(
                timeout,
                self.connect(context, peer, config::MAX_UDP_PAYLOAD),
            )
            .await;
            if let Ok(Ok((connection, endpoint))) = opened {
                kept = Some((connection, endpoint, clock.now()));
            }
        }
        let now = clock.now();
        let mut flows = self.long_flows.lock();
        let flow = flows.entry(path).or_default();
        flow.breaks += u32::from(broke);
        flow.used_at = now;
        flow.open = kept;
        let stats = flow.open.as_ref().map(|(open, ..)| open.stats().path);
        LongFlowState {
            age: flow
                .open
                .as_ref()
                .map(|(_, _, since)| now.saturating_since(*since)),
            breaks: flow.breaks,
            black_holes: stats.map_or(0, |path| path.black_holes_detected),
            mtu: stats.map_or(0, |path| path.current_mtu),
            failure,
        }
    }

    /// The connection of a path, taken out while it is used; on the way those of paths that are gone are dropped.
    fn take_flow(&self, path: PathId, now: Moment) -> Option<(Connection, Endpoint, Moment)> {
        let mut flows = self.long_flows.lock();
        flows
            .retain(|known, flow| *known == path || now.saturating_since(flow.used_at) < FORGOTTEN);
        flows.get_mut(&path)?.open.take()
    }
}

impl Probing for QuicProbe {
    type Tools = QuicTools;

    fn path(&self) -> PathId {
        self.0.path
    }

    fn target(&self) -> TargetNumber {
        self.0.target
    }

    fn cadence(&self) -> Cadence {
        self.0.cadence
    }

    fn timeout(&self) -> Duration {
        self.0.timeout
    }

    fn select(plan: &Plan) -> Vec<Self> {
        plan.quic.iter().cloned().map(Self).collect()
    }

    async fn probe(
        self,
        context: Arc<Context>,
        tools: Arc<QuicTools>,
        timeout: Duration,
    ) -> Finding {
        let peer = self.0.address;
        // Half the time each for the old connection and, where that is over, a new one.
        let (fresh, long) = tokio::join!(
            tools.fresh(&context, peer, timeout),
            tools.long_flow(&context, self.0.path, peer, timeout / 2),
        );
        let mut detail = QuicDetail {
            handshake: None,
            long_flow_age: long.age,
            long_flow_breaks: long.breaks,
            black_holes_detected: u32::try_from(long.black_holes).unwrap_or(u32::MAX),
            mtu: long.mtu,
            failure: long
                .failure
                .map_or_else(String::new, |failure| failure.text),
        };
        let outcome = match fresh {
            Ok(Fresh { handshake, echo }) => {
                detail.handshake = Some(handshake);
                Outcome::Reply { rtt: echo }
            }
            Err(failure) => {
                detail.failure = failure.text;
                failure.outcome
            }
        };
        Finding::with(outcome, Detail::Quic(detail))
    }
}
