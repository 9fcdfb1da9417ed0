//! What the public ports demand of a connection: certificates, and signs of life.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use meshprobe_daemon::{
    clock,
    tls::{ClientTls, ClientTlsFiles},
};
use meshprobe_proto::v1::{
    self, aggregator_message::Message as Down, mesh_service_client::MeshServiceClient,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use support::{
    Folder, PATIENCE,
    process::{Aggregator, Prober},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// An authority and what it signed, as the files that a person would have.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        Self { issuer }
    }

    fn file(&self, folder: &Folder, name: &str) -> PathBuf {
        let path = folder.file(name);
        fs::write(&path, self.issuer.pem()).unwrap();
        path
    }

    /// A certificate for `localhost` and its key.
    fn issue(&self, folder: &Folder, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Pair {
            certificate: folder.file(&format!("{name}.crt")),
            key: folder.file(&format!("{name}.key")),
        };
        fs::write(&pair.certificate, certificate.pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }
}

struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

/// Both ports with a server certificate; with `client_ca` they demand one of their clients.
fn start(folder: &Folder, authority: &Authority, client_ca: Option<&Path>) -> Aggregator {
    let Pair { certificate, key } = authority.issue(folder, "server");
    let demand = client_ca.map_or_else(String::new, |ca| format!(", client_ca: {}", ca.display()));
    let files = format!(
        "{{cert: {}, key: {}{demand}}}",
        certificate.display(),
        key.display()
    );
    Aggregator::start(folder, &format!("tls: {{grpc: {files}, http: {files}}}\n"))
}

async fn secured(
    address: SocketAddr,
    ca: &Path,
    identity: Option<&Pair>,
) -> Result<Channel, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(fs::read(ca).unwrap()))
        .domain_name("localhost");
    if let Some(Pair { certificate, key }) = identity {
        let (certificate, key) = (fs::read(certificate).unwrap(), fs::read(key).unwrap());
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    Endpoint::from_shared(format!("https://{address}"))?
        .tls_config(tls)?
        .connect()
        .await
}

/// A prober that reaches the aggregator gets its assignment. With TLS 1.3 a client learns of its refusal with its first
/// answer and not in the handshake.
async fn is_assigned(address: SocketAddr, ca: &Path, identity: Option<&Pair>) -> bool {
    let Ok(channel) = secured(address, ca, identity).await else {
        return false;
    };
    let Ok(mut prober) = Prober::connect_by(channel, "mesh-1", "10.0.0.1").await else {
        return false;
    };
    matches!(prober.next().await, Some(Down::Assignment(_)))
}

/// The status over HTTPS: the status code, or that there was no connection.
async fn status_code(address: SocketAddr, ca: &Path, identity: Option<&Pair>) -> Option<u16> {
    let files = ClientTlsFiles {
        ca: ca.to_owned(),
        cert: identity.map(|pair| pair.certificate.clone()),
        key: identity.map(|pair| pair.key.clone()),
    };
    let tls = ClientTls::load(files, &["http/1.1"]).unwrap();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(rustls::ClientConfig::clone(&tls.current()))
        .resolve("localhost", address)
        .no_proxy()
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/api/v1/status", address.port());
    let answer = client.get(url).send().await.ok()?;
    Some(answer.status().as_u16())
}

#[tokio::test]
async fn both_ports_show_their_certificate_and_a_client_that_does_not_trust_it_stays_away() {
    meshprobe_daemon::tls::install_crypto_provider();
    let folder = Folder::new();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let aggregator = start(&folder, &authority, None);
    let (ca, other) = (
        authority.file(&folder, "ca"),
        stranger.file(&folder, "other"),
    );

    assert!(is_assigned(aggregator.grpc, &ca, None).await);
    assert_eq!(status_code(aggregator.http, &ca, None).await, Some(200));
    let channel = secured(aggregator.grpc, &ca, None).await.unwrap();
    let status = MeshServiceClient::new(channel)
        .get_status(v1::GetStatusRequest {})
        .await;
    assert_eq!(status.unwrap().into_inner().nodes, 1);

    assert!(!is_assigned(aggregator.grpc, &other, None).await);
    assert_eq!(status_code(aggregator.http, &other, None).await, None);
    let plain = Endpoint::from_shared(format!("http://{}", aggregator.grpc)).unwrap();
    let plain = plain.connect().await;
    let refused = match plain {
        Ok(channel) => Prober::connect_by(channel, "mesh-2", "10.0.0.2")
            .await
            .is_err(),
        Err(_) => true,
    };
    assert!(
        refused,
        "nobody is served without TLS on a port that has it"
    );
}

#[tokio::test]
async fn where_a_client_certificate_is_demanded_only_those_with_one_are_served() {
    meshprobe_daemon::tls::install_crypto_provider();
    let folder = Folder::new();
    let (authority, clients, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let client_ca = clients.file(&folder, "clients");
    let aggregator = start(&folder, &authority, Some(&client_ca));
    let ca = authority.file(&folder, "ca");
    let good = clients.issue(&folder, "good");
    let bad = stranger.issue(&folder, "bad");

    assert!(is_assigned(aggregator.grpc, &ca, Some(&good)).await);
    assert_eq!(
        status_code(aggregator.http, &ca, Some(&good)).await,
        Some(200)
    );
    for identity in [None, Some(&bad)] {
        assert!(!is_assigned(aggregator.grpc, &ca, identity).await);
        assert_eq!(status_code(aggregator.http, &ca, identity).await, None);
    }
}

/// Passes bytes on in both directions until it is told to swallow them. The sockets stay open.
struct Proxy {
    address: SocketAddr,
    swallows: watch::Sender<bool>,
    _running: JoinSet<()>,
}

impl Proxy {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (swallows, swallowing) = watch::channel(false);
        let mut running = JoinSet::new();
        running.spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(to).await.unwrap();
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = server.into_split();
            tokio::join!(
                pass_on(client_read, server_write, swallowing.clone()),
                pass_on(server_read, client_write, swallowing)
            );
        });
        Self {
            address,
            swallows,
            _running: running,
        }
    }
}

async fn pass_on(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    swallowing: watch::Receiver<bool>,
) {
    let mut bytes = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if !*swallowing.borrow() && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// The default is a question after two silent seconds and three seconds for the answer.
const SILENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_connection_to_the_report_port_sends_small_packets_both_ways() {
    let folder = Folder::new();
    let aggregator = Aggregator::start(&folder, "");
    let segment = |stream: &TcpStream| socket2::SockRef::from(stream).tcp_mss().unwrap();
    let to_reports = TcpStream::connect(aggregator.grpc).await.unwrap();
    // As the handshake told this end; timestamps take twelve octets of it.
    assert!(
        (1_100..=1_140).contains(&segment(&to_reports)),
        "{}",
        segment(&to_reports)
    );
    let to_people = TcpStream::connect(aggregator.http).await.unwrap();
    assert!(segment(&to_people) > 1_140, "{}", segment(&to_people));
}

async fn open_streams(aggregator: &Aggregator) -> String {
    let (_, metrics) = aggregator.admin(reqwest::Method::GET, "/metrics").await;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("meshprobe_aggregator_prober_streams "));
    let value = line.and_then(|line| line.split(' ').next_back());
    value.unwrap().to_owned()
}

async fn until_open_streams(aggregator: &Aggregator, expected: &str) -> Duration {
    let began = clock::now();
    let reached = async {
        while open_streams(aggregator).await != expected {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, reached).await.unwrap();
    clock::now().saturating_duration_since(began)
}

#[tokio::test]
async fn a_prober_that_vanishes_without_a_word_loses_its_stream_after_the_keepalive() {
    let folder = Folder::new();
    let aggregator = Aggregator::start(&folder, "");
    let proxy = Proxy::start(aggregator.grpc).await;
    let through_proxy = Endpoint::from_shared(format!("http://{}", proxy.address)).unwrap();
    let channel = through_proxy.connect().await.unwrap();
    let mut prober = Prober::connect_by(channel, "mesh-1", "10.0.0.1")
        .await
        .unwrap();
    assert!(matches!(prober.next().await, Some(Down::Assignment(_))));
    // It says nothing, but its connection answers: it stays for longer than a silent one may.
    tokio::time::sleep(SILENCE + Duration::from_secs(1)).await;
    assert_eq!(open_streams(&aggregator).await, "1");

    proxy.swallows.send_replace(true);
    let took = until_open_streams(&aggregator, "0").await;
    // On an idle machine it takes five seconds; what matters is that it does not take minutes, as TCP would.
    assert!(took < SILENCE + Duration::from_secs(10), "{took:?}");
    println!("a silent connection was cut after {took:?}");
}
