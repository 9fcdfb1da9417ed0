//! Sockets that a daemon listens on: bound early with an error that names address and field, or
//! inherited from whoever started the process.
//!
//! All sockets come back as `std` types in non-blocking mode, so they can be bound before a runtime
//! exists; `tokio::net::TcpListener::from_std` and `UdpSocket::from_std` take them from there.

mod inherited;

use std::{
    io,
    net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};

pub use inherited::{InheritError, Inherited};

/// Connections that wait to be accepted. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// A socket that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be bound.
    #[error("{field}: listen on {protocol} {addr}: {source}{}", hint(source))]
    Bind {
        /// The configuration field that holds the address.
        field: String,
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the system said. Part of the message, because the hint follows from it.
        source: io::Error,
    },
    /// An inherited socket is not what it should be.
    #[error("{field}: {source}")]
    Inherit {
        /// The configuration field that would hold the address.
        field: String,
        /// What is wrong.
        source: InheritError,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process listens there (see `ss -lntup`), choose another port"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a privilege, choose a higher one"
        }
        _ => "",
    }
}

/// Binds a TCP listener; `field` is the configuration field that holds `addr`.
///
/// `[::]` accepts IPv4 as well. The address can be bound again at once after a restart.
pub fn listen_tcp(field: &str, addr: SocketAddr) -> Result<TcpListener, ListenError> {
    let bind = || -> io::Result<TcpListener> {
        let socket = socket(addr, Type::STREAM, Protocol::TCP)?;
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bind().map_err(|source| ListenError::Bind {
        field: field.to_owned(),
        protocol: "tcp",
        addr,
        source,
    })
}

/// Binds a UDP socket; `field` is the configuration field that holds `addr`.
///
/// `[::]` receives IPv4 as well.
pub fn listen_udp(field: &str, addr: SocketAddr) -> Result<UdpSocket, ListenError> {
    let bind = || -> io::Result<UdpSocket> {
        let socket = socket(addr, Type::DGRAM, Protocol::UDP)?;
        socket.bind(&addr.into())?;
        Ok(socket.into())
    };
    bind().map_err(|source| ListenError::Bind {
        field: field.to_owned(),
        protocol: "udp",
        addr,
        source,
    })
}

fn socket(addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    // `Socket::new` sets close-on-exec.
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        // Not left to `net.ipv6.bindv6only`: what `[::]` means must not depend on the machine.
        socket.set_only_v6(addr.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    const ANY_PORT: &str = "127.0.0.1:0";

    #[test]
    fn a_taken_port_is_refused_with_field_address_and_advice() {
        let first = listen_tcp("admin.listen", ANY_PORT.parse().unwrap()).unwrap();
        let addr = first.local_addr().unwrap();
        let error = listen_tcp("admin.listen", addr).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("admin.listen: listen on tcp {addr}: ")),
            "{error}"
        );
        assert!(error.contains("another process listens there"), "{error}");
        let first = listen_udp("responder.listen", ANY_PORT.parse().unwrap()).unwrap();
        let error = listen_udp("responder.listen", first.local_addr().unwrap())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("responder.listen: listen on udp 127.0.0.1:"),
            "{error}"
        );
    }

    #[test]
    fn an_address_of_another_machine_is_refused_with_advice() {
        // 192.0.2.0/24 is reserved for documentation.
        let error = listen_udp("responder.listen", "192.0.2.1:0".parse().unwrap())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no interface of this machine has that address"),
            "{error}"
        );
    }

    #[test]
    fn the_port_of_a_closed_connection_can_be_bound_again_at_once() {
        let listener = listen_tcp("listen", ANY_PORT.parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap();
        let client = TcpStream::connect(addr).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        // The side that closes first keeps the address in TIME_WAIT.
        drop(accepted);
        drop(client);
        drop(listener);
        listen_tcp("listen", addr).unwrap();
    }

    #[test]
    fn the_unspecified_v6_address_serves_v4_too() {
        let Ok(listener) = listen_tcp("listen", "[::]:0".parse().unwrap()) else {
            // A kernel without IPv6 says so for any use of it; nothing about dual stack can be
            // promised.
            assert!(Socket::new(Domain::IPV6, Type::STREAM, None).is_err());
            return;
        };
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn sockets_do_not_block() {
        let listener = listen_tcp("listen", ANY_PORT.parse().unwrap()).unwrap();
        assert_eq!(
            listener.accept().unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        let socket = listen_udp("listen", ANY_PORT.parse().unwrap()).unwrap();
        assert_eq!(
            socket.recv(&mut [0]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }
}
