//! Transport and TLS parameters of both ends.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};
use rustls::crypto::ring;
use rustls::version::TLS13;

use super::certificate::{AnyCertificate, SERVER_NAME, self_signed};
use super::socket::PlainSocket;

/// UDP port of the responder.
pub const DEFAULT_QUIC_PORT: u16 = 4863;

/// Largest UDP payload that either end takes: a jumbo frame of 9,001 octets without its headers.
pub const MAX_UDP_PAYLOAD: u16 = 8_972;

/// Largest UDP payload that a fresh handshake takes: that of Ethernet. Each has buffers of its own.
pub(super) const FRESH_UDP_PAYLOAD: u16 = 1_472;

/// What both ends speak.
const ALPN: &[u8] = b"meshprobe/1";

/// An idle connection is given up after this time: four turns of the default interval, and longer than what connection
/// tables grant an established UDP flow.
const IDLE: Duration = Duration::from_secs(150);

/// Guess of the round trip before the first measurement: a lost first packet is sent again after three times as long.
const INITIAL_RTT: Duration = Duration::from_millis(50);

/// Datagrams that wait to be read: a few echoes.
const DATAGRAM_BUFFER: usize = 16 * 1024;

fn transport() -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MAX_UDP_PAYLOAD).minimum_change(1);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .initial_rtt(INITIAL_RTT)
        .mtu_discovery_config(Some(mtu))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER);
    Arc::new(transport)
}

/// Of the responder, with a certificate of its own.
pub(super) fn server() -> anyhow::Result<ServerConfig> {
    let (certificate, key) = self_signed().context("make a certificate for QUIC")?;
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.send_tls13_tickets = 0;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config
        .transport_config(transport())
        .migration(false)
        .max_incoming(64)
        .incoming_buffer_size(16 * 1024)
        .incoming_buffer_size_total(256 * 1024);
    Ok(config)
}

/// Of the probes.
pub(super) fn client() -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport());
    Ok(config)
}

/// An endpoint on a socket that is bound, which takes UDP payloads up to `payload`. Needs a running runtime.
pub(super) fn endpoint(
    socket: UdpSocket,
    payload: u16,
    server: Option<ServerConfig>,
) -> io::Result<Endpoint> {
    let mut config = EndpointConfig::default();
    config
        .max_udp_payload_size(payload)
        .map_err(io::Error::other)?;
    let socket = Arc::new(PlainSocket::new(socket)?);
    Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(TokioRuntime))
}

/// Begins a handshake.
pub(super) fn connect(
    endpoint: &Endpoint,
    config: ClientConfig,
    peer: SocketAddr,
) -> Result<quinn::Connecting, quinn::ConnectError> {
    endpoint.connect_with(config, peer, SERVER_NAME)
}
