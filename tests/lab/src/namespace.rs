//! Network namespaces by name, and doing something in one of them.
//!
//! A namespace belongs to a thread: a short-lived thread moves there, does its work and ends. Sockets keep the namespace in which
//! they were opened, so what it returns is usable everywhere, also in the caller's own runtime.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

/// Where iproute2 keeps namespaces by name; private to the lab.
pub(crate) const NAMESPACE_DIRECTORY: &str = "/run/netns";

/// Something could not be done in a namespace.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    #[error("open network namespace {namespace}")]
    Open {
        namespace: String,
        #[source]
        source: io::Error,
    },
    #[error("enter network namespace {namespace}")]
    Enter {
        namespace: String,
        #[source]
        source: io::Error,
    },
    #[error("{what} in network namespace {namespace}")]
    Socket {
        namespace: String,
        what: String,
        #[source]
        source: io::Error,
    },
}

/// Opens a namespace by name.
pub(crate) fn open(namespace: &str) -> Result<OwnedFd, NamespaceError> {
    File::open(format!("{NAMESPACE_DIRECTORY}/{namespace}"))
        .map(OwnedFd::from)
        .map_err(|source| NamespaceError::Open {
            namespace: namespace.to_owned(),
            source,
        })
}

/// Runs `work` on a thread in the namespace and returns what it returned.
pub(crate) fn run_in<T: Send>(
    namespace: &str,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NamespaceError> {
    let fd = open(namespace)?;
    let entered = std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(&fd, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    entered.map_err(|errno: nix::Error| NamespaceError::Enter {
        namespace: namespace.to_owned(),
        source: errno.into(),
    })
}

pub(crate) fn listen_in(
    namespace: &str,
    address: SocketAddr,
) -> Result<TcpListener, NamespaceError> {
    socket_in(
        namespace,
        || format!("listen on TCP {address}"),
        || TcpListener::bind(address),
    )
}

pub(crate) fn udp_in(namespace: &str, address: SocketAddr) -> Result<UdpSocket, NamespaceError> {
    socket_in(
        namespace,
        || format!("bind UDP {address}"),
        || UdpSocket::bind(address),
    )
}

pub(crate) fn connect_in(
    namespace: &str,
    address: SocketAddr,
    timeout: Duration,
) -> Result<TcpStream, NamespaceError> {
    socket_in(
        namespace,
        || format!("connect to TCP {address}"),
        || TcpStream::connect_timeout(&address, timeout),
    )
}

fn socket_in<T: Send>(
    namespace: &str,
    what: impl FnOnce() -> String,
    open: impl FnOnce() -> io::Result<T> + Send,
) -> Result<T, NamespaceError> {
    run_in(namespace, open)?.map_err(|source| NamespaceError::Socket {
        namespace: namespace.to_owned(),
        what: what(),
        source,
    })
}
