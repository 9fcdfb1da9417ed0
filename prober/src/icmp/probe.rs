//! One ICMP probe: an echo request on a socket of its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use meshprobe_core::detail::{Detail, IcmpDetail};
use meshprobe_core::ids::TargetNumber;
use meshprobe_core::outcome::Outcome;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::warn;

use super::echo::{Echo, OCTETS};
use crate::control_messages::{Arrival, Origin};
use crate::path_id::PathId;
use crate::plan::{PeerTarget, Plan};
use crate::runner::{Context, Finding, Probing};
use crate::schedule::Cadence;
use crate::sys;
use crate::tcp::probe::connect_outcome;

/// What all echo probes share.
#[derive(Debug, Default)]
pub struct IcmpTools {
    sequence: AtomicU16,
    /// It was said that they are forbidden.
    told: AtomicBool,
}

/// A path that is probed by echo requests.
#[derive(Clone, Debug)]
pub struct IcmpProbe(PeerTarget);

impl Probing for IcmpProbe {
    type Tools = IcmpTools;

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
        plan.icmp.iter().cloned().map(Self).collect()
    }

    async fn probe(
        self,
        context: Arc<Context>,
        tools: Arc<IcmpTools>,
        timeout: Duration,
    ) -> Finding {
        let peer = self.0.address.ip();
        let socket = match open(context.local_for(peer), peer).and_then(UdpSocket::from_std) {
            Ok(socket) => socket,
            Err(error) => return not_opened(&context, &tools, &error),
        };
        let sequence = tools.sequence.fetch_add(1, Ordering::Relaxed);
        let exchange = exchange(&context, &socket, Echo::new(peer, sequence, rand::random()));
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| Outcome::Timeout.into())
    }
}

fn not_opened(context: &Context, tools: &IcmpTools, error: &io::Error) -> Finding {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            context.shared.metrics.icmp_forbidden.inc();
            if !tools.told.swap(true, Ordering::Relaxed) {
                warn!(
                    "ICMP probes are configured, but this process may not send echo requests: set the sysctl \
                     net.ipv4.ping_group_range to a range with its group (\"0 2147483647\" admits all)"
                );
            }
            // Nothing is measured, and that does not make this prober less credible.
            Finding::from(Outcome::Invalid).withheld_if(true)
        }
        _ => connect_outcome(error).into(),
    }
}

fn open(local: Option<IpAddr>, peer: IpAddr) -> io::Result<StdUdpSocket> {
    let (domain, protocol, any): (_, _, IpAddr) = match peer {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, Ipv4Addr::UNSPECIFIED.into()),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    let set = |level, option| sys::set_option(socket.as_fd(), level, option, 1);
    match peer {
        IpAddr::V4(_) => {
            set(libc::SOL_IP, libc::IP_RECVERR)?;
            set(libc::SOL_IP, libc::IP_RECVTTL)?;
        }
        IpAddr::V6(_) => {
            set(libc::SOL_IPV6, libc::IPV6_RECVERR)?;
            set(libc::SOL_IPV6, libc::IPV6_RECVHOPLIMIT)?;
        }
    }
    set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(local.unwrap_or(any), 0).into())?;
    socket.connect(&SocketAddr::new(peer, 0).into())?;
    Ok(socket.into())
}

async fn exchange(context: &Context, socket: &UdpSocket, echo: Echo) -> Finding {
    let clock = context.shared.clock;
    let (sent_at, sent_unix) = (clock.now(), clock.unix_nanos());
    if let Err(error) = SockRef::from(socket).send(&echo.encode()) {
        return connect_outcome(&error).into();
    }
    // Longer than a reply, so that one that is too long is seen as such.
    let mut buffer = [0; OCTETS + 1];
    loop {
        let interest = Interest::READABLE | Interest::ERROR;
        let received = socket
            .async_io(interest, || {
                receive(socket, &mut buffer)?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
            })
            .await;
        let arrival = match received {
            Ok(arrival) => arrival,
            Err(error) => return connect_outcome(&error).into(),
        };
        if let Some(error) = arrival.error {
            if matches!(error.origin, Origin::Icmp { .. } | Origin::Local) {
                return Outcome::Unreachable.into();
            }
        } else if echo.is_answered_by(&buffer[..arrival.octets]) {
            let elapsed = clock.now().saturating_since(sent_at);
            let arrived = arrival.unix_nanos.unwrap_or_else(|| clock.unix_nanos());
            let rtt = Duration::from_nanos(u64::try_from(arrived - sent_unix).unwrap_or(0));
            // A step of the wall clock between the two stamps makes no round trip longer than it was.
            let rtt = rtt.min(elapsed);
            let detail = Detail::Icmp(IcmpDetail { ttl: arrival.ttl });
            return Finding::with(Outcome::Reply { rtt }, detail);
        }
    }
}

/// A packet, or an error about the request.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
    match sys::receive(socket.as_fd(), buffer) {
        Ok(None) => sys::receive_queued(socket.as_fd(), buffer),
        // The error of the socket is in the queue in full.
        Err(error) => match sys::receive_queued(socket.as_fd(), buffer)? {
            None => Err(error),
            queued => Ok(queued),
        },
        received => received,
    }
}
