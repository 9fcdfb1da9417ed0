//! A small HTTP client: how one request over a real connection ends, with TLS or without, directly or through a proxy.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use meshprobe_lab::{Lab, LabTarget};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
};

/// What is not there by then does not come.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Status(u16),
    Refused,
    Silence,
    /// A router knows no way.
    Unreachable,
    /// The connection stood, and then the server ended the handshake.
    HandshakeFailed,
    CertificateExpired,
}

/// `GET path` of a target, by plain HTTP.
pub(crate) fn http(
    lab: &Lab,
    namespace: &str,
    target: &LabTarget,
    path: &str,
) -> anyhow::Result<Ended> {
    let request = request(target.name, path);
    ended(lab.run_in(namespace, || {
        let mut stream = connect(target.http())?;
        stream.write_all(&request)?;
        status(&mut stream)
    })?)
}

/// `GET path` of a target, by HTTPS, trusting the lab's authority only.
pub(crate) fn https(
    lab: &Lab,
    namespace: &str,
    target: &LabTarget,
    path: &str,
) -> anyhow::Result<Ended> {
    get(lab, namespace, target.name, target.https(), path)
}

/// `GET path` of any server of the lab's authority, by HTTPS.
pub(crate) fn get(
    lab: &Lab,
    namespace: &str,
    name: &'static str,
    address: SocketAddr,
    path: &str,
) -> anyhow::Result<Ended> {
    let tls = client(lab, name)?;
    let request = request(name, path);
    ended(lab.run_in(namespace, move || {
        let stream = connect(address)?;
        exchange(tls, stream, &request)
    })?)
}

/// `CONNECT` through a proxy, and `GET /` by HTTPS in the tunnel. The proxy's refusal is the status.
pub(crate) fn through_proxy(
    lab: &Lab,
    namespace: &str,
    proxy: SocketAddr,
    target: &LabTarget,
    port: u16,
) -> anyhow::Result<Ended> {
    let tls = client(lab, target.name)?;
    let request = request(target.name, "/");
    let tunnel = format!(
        "CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n",
        name = target.name
    );
    ended(lab.run_in(namespace, move || {
        let mut stream = connect(proxy)?;
        stream.write_all(tunnel.as_bytes())?;
        let opened = status(&mut stream)?;
        if opened != 200 {
            return Ok(opened);
        }
        exchange(tls, stream, &request)
    })?)
}

fn client(lab: &Lab, name: &'static str) -> anyhow::Result<ClientConnection> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(lab.ca_file()).context("read the authority")?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name)?;
    Ok(ClientConnection::new(Arc::new(config), name)?)
}

fn request(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn exchange(tls: ClientConnection, stream: TcpStream, request: &[u8]) -> io::Result<u16> {
    let mut stream = StreamOwned::new(tls, stream);
    stream.write_all(request)?;
    status(&mut stream)
}

/// Reads a head to its end, byte by byte: what follows belongs to somebody else.
fn status(stream: &mut impl Read) -> io::Result<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let code = head.split_whitespace().nth(1);
    code.and_then(|code| code.parse().ok())
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("no status in {head:?}")))
}

fn ended(outcome: io::Result<u16>) -> anyhow::Result<Ended> {
    let error = match outcome {
        Ok(status) => return Ok(Ended::Status(status)),
        Err(error) => error,
    };
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)) => {
            return Ok(Ended::HandshakeFailed);
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => return Ok(Ended::CertificateExpired),
        _ => {}
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => Ok(Ended::Refused),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Ok(Ended::Silence),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => Ok(Ended::Unreachable),
        _ => Err(error.into()),
    }
}

/// Asks once more where silence may be a busy machine.
pub(crate) fn ensure_both(
    lab: &Lab,
    namespace: &str,
    target: &LabTarget,
    expected: Ended,
) -> anyhow::Result<()> {
    let ask = |what: &str, ask: &dyn Fn() -> anyhow::Result<Ended>| {
        let mut ended = ask()?;
        if ended == Ended::Silence && expected != Ended::Silence {
            ended = ask()?;
        }
        ensure!(
            ended == expected,
            "{namespace}: {what} {} ends with {ended:?}, not {expected:?}",
            target.name
        );
        Ok(())
    };
    ask("HTTP", &|| http(lab, namespace, target, "/"))?;
    ask("HTTPS", &|| https(lab, namespace, target, "/"))
}
