//! Everything that the process listens on, bound before anything runs.

use std::net::{SocketAddr, TcpListener};

use meshprobe_daemon::{
    config::Spanned,
    listeners::{InheritError, Inherited, ListenError, listen_tcp},
};
use socket2::SockRef;
use tracing::{info, warn};

use crate::config::{Listen, ListenAddress};

/// What TCP puts into one packet of a report at most. A network that swallows large packets must not swallow the reports that
/// tell so: this much passes where the least MTU of IPv6 does (1,280, RFC 8200 §5), less its headers and those of a tunnel
/// (80 for `WireGuard`, 70 for VXLAN). A listener hands it on to its connections, and their handshake tells it to the other
/// end (RFC 9293 §3.7.1), so it holds both ways.
const REPORT_SEGMENT: u32 = 1_140;

/// Bound and silent.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) grpc: Vec<TcpListener>,
    pub(super) http: Vec<TcpListener>,
    pub(super) admin: TcpListener,
}

impl Listeners {
    /// Binds the configured addresses, and takes what was handed in beside them: the address that probers reach may
    /// lie in another network namespace than the one that people reach.
    pub(super) fn bind(listen: &Listen, mut inherited: Inherited) -> Result<Self, ListenError> {
        let listeners = Self {
            grpc: bind_all("grpc", &listen.grpc, &mut inherited)?,
            http: bind_all("http", &listen.http, &mut inherited)?,
            admin: inherited.tcp_or_bind("admin", "listen.admin", listen.admin.0)?,
        };
        for listener in &listeners.grpc {
            if let Err(error) = SockRef::from(listener).set_tcp_mss(REPORT_SEGMENT) {
                warn!(%error, "Reports will go in packets of any size, and be lost where large ones are");
            }
        }
        for name in inherited.unclaimed() {
            warn!(
                name,
                "An inherited socket has a name that nothing here serves (grpc, http, admin)"
            );
        }
        Ok(listeners)
    }
}

fn bind_all(
    name: &str,
    addresses: &[Spanned<ListenAddress>],
    inherited: &mut Inherited,
) -> Result<Vec<TcpListener>, ListenError> {
    let field = format!("listen.{name}");
    let mut listeners = Vec::new();
    let handed_in = |source: InheritError| ListenError::Inherit {
        field: field.clone(),
        source,
    };
    while let Some(listener) = inherited.tcp(name).map_err(handed_in)? {
        listeners.push(listener);
    }
    for (index, address) in addresses.iter().enumerate() {
        listeners.push(listen_tcp(&format!("{field}[{index}]"), address.value.0)?);
    }
    Ok(listeners)
}

/// Bound addresses.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// Of the gRPC port.
    pub grpc: Vec<SocketAddr>,
    /// Of the HTTP port.
    pub http: Vec<SocketAddr>,
    /// Of the admin port.
    pub admin: Option<SocketAddr>,
}

impl Addresses {
    pub(super) fn log(&self) {
        info!(grpc = ?self.grpc, http = ?self.http, admin = ?self.admin, "Listening");
    }
}
