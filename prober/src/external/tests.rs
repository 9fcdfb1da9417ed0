//! Attempts at real servers on loopback sockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use meshprobe_core::detail::ExternalDetail;
use meshprobe_core::outcome::Outcome;
use meshprobe_daemon::config::parse;
use meshprobe_proto::v1;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::attempt::{Attempt, Blame, Failed};
use super::fence::Fence;
use super::probe::{ExternalTools, literals_outside};
use super::proxy::{Proxies, ProxyVariables};
use super::resolve::Names;
use super::trust::Trust;
use crate::assignment::external::ExternalTarget;
use crate::clock::Clock;

/// Longer than anything should take here.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a loopback address; ends with the test.
struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicU32>,
    _tasks: JoinSet<()>,
}

/// Serves each connection with `handle`.
async fn serve<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&accepted);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            connections.spawn(handle(stream));
        }
    });
    Server {
        address,
        accepted,
        _tasks: tasks,
    }
}

/// Answers one request with `response`, whatever it is.
async fn respond(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    response: &str,
) {
    let mut request = Vec::new();
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    stream.write_all(response.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}

async fn http_server(response: String) -> Server {
    let response: Arc<str> = response.into();
    serve(move |stream| {
        let response = Arc::clone(&response);
        async move { respond(stream, &response).await }
    })
    .await
}

/// An authority, and a server certificate by it.
struct Identity {
    authority: String,
    config: Arc<ServerConfig>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn identity(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
    identity_by("Test Authority", name, change)
}

fn identity_by(
    authority: &str,
    name: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> Identity {
    let mut authority = params(authority);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let mut leaf = params(name);
    change(&mut leaf);
    let key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &authority).unwrap();
    Identity {
        config: server_config(certificate.der().clone(), &key),
        authority: authority.pem(),
    }
}

fn server_config(
    certificate: rustls::pki_types::CertificateDer<'static>,
    key: &KeyPair,
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}

async fn tls_server(config: Arc<ServerConfig>, response: &'static str) -> Server {
    let acceptor = TlsAcceptor::from(config);
    serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                respond(stream, response).await;
            }
        }
    })
    .await
}

/// Tools that may reach loopback addresses.
fn tools(proxies: &ProxyVariables, hosts: &str) -> ExternalTools {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path =
        std::env::temp_dir().join(format!("meshprobe-hosts-{}-{number}", std::process::id()));
    std::fs::write(&path, hosts).unwrap();
    let allow = "- {cidr: 127.0.0.0/8}\n- {cidr: 0.0.0.0/0}\n";
    let allow = parse(allow, std::path::Path::new("fence.yaml")).unwrap();
    ExternalTools::new(
        Fence::new(allow, Vec::new(), Vec::new()),
        Proxies::try_from(proxies).unwrap(),
        Trust::load(None).unwrap(),
        Names::new(path, PathBuf::from("/nonexistent/resolv.conf")),
    )
}

fn plain_tools() -> ExternalTools {
    tools(&ProxyVariables::default(), "127.0.0.1 shop.test\n")
}

fn target(kind: v1::ProbeKind, what: String) -> v1::ExternalTarget {
    v1::ExternalTarget {
        name: "shop".into(),
        kind: kind.into(),
        address: what.clone(),
        url: what,
        ..v1::ExternalTarget::default()
    }
}

fn tls_target(server: &Server, identity: &Identity) -> v1::ExternalTarget {
    v1::ExternalTarget {
        server_name: "shop.test".into(),
        ca_pem: identity.authority.clone(),
        ..target(v1::ProbeKind::Tls, server.address.to_string())
    }
}

async fn attempt(
    tools: &ExternalTools,
    target: v1::ExternalTarget,
) -> (Result<Duration, Failed>, ExternalDetail) {
    let target = ExternalTarget::try_from(target).unwrap();
    let mut attempt = Attempt::new(tools, Clock::new(), &target);
    let ended = tokio::time::timeout(PATIENCE, attempt.run()).await;
    let detail = attempt.detail;
    (ended.expect("it ends by itself"), detail)
}

fn why(result: Result<Duration, Failed>) -> (Outcome, String) {
    let failed = result.unwrap_err();
    (failed.outcome, failed.reason)
}

#[tokio::test]
async fn an_accepted_connection_is_an_answer_and_a_closed_port_is_refused() {
    let server = http_server(String::new()).await;
    let port = server.address.port();
    let open = target(v1::ProbeKind::TcpConnect, format!("shop.test:{port}"));
    let (result, detail) = attempt(&plain_tools(), open).await;
    assert!(result.unwrap() <= detail.phases.total.unwrap());
    assert_eq!(detail.address, Some(server.address));
    assert!(detail.phases.dns.is_some() && detail.phases.connect.is_some());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = free.local_addr().unwrap();
    drop(free);
    let closed = target(v1::ProbeKind::TcpConnect, closed.to_string());
    let (outcome, reason) = why(attempt(&plain_tools(), closed).await.0);
    assert_eq!(outcome, Outcome::Refused);
    assert!(reason.contains("refused"), "{reason}");
}

#[tokio::test]
async fn a_good_certificate_is_told_with_its_end() {
    let identity = identity("shop.test", |leaf| {
        leaf.not_after = rcgen::date_time_ymd(2099, 1, 1);
    });
    let server = tls_server(Arc::clone(&identity.config), "").await;
    let (result, detail) = attempt(&plain_tools(), tls_target(&server, &identity)).await;
    assert_eq!(result.unwrap(), detail.phases.total.unwrap());
    assert_eq!(detail.tls_version, "TLS 1.3");
    assert_eq!(detail.certificate_not_after, Some(4_070_908_800));
    assert_eq!(detail.certificate_subject, "CN=shop.test");
    assert_eq!(detail.certificate_issuer, "CN=Test Authority");
    assert!(detail.phases.tls.is_some() && detail.failure.is_empty());
}

#[tokio::test]
async fn a_bad_certificate_is_told_with_the_reason_and_its_end() {
    let expired = identity("shop.test", |leaf| {
        leaf.not_before = rcgen::date_time_ymd(2020, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    let other = identity("other.example.com", |_| {});
    let mut stranger = identity_by("Strange Authority", "shop.test", |_| {});
    stranger.authority = other.authority.clone();
    let mut namesake = identity("shop.test", |_| {});
    namesake.authority = other.authority.clone();
    let cases = [
        (expired, "certificate expired "),
        (other, "certificate is for other.example.com"),
        (stranger, "unknown issuer CN=Strange Authority"),
        (
            namesake,
            "not signed by the known authority CN=Test Authority",
        ),
    ];
    for (identity, expected) in cases {
        let server = tls_server(Arc::clone(&identity.config), "").await;
        let (result, detail) = attempt(&plain_tools(), tls_target(&server, &identity)).await;
        let (outcome, reason) = why(result);
        assert_eq!(outcome, Outcome::TlsFailed);
        assert!(reason.starts_with(expected), "{reason}");
        assert!(detail.certificate_not_after.is_some(), "{expected}");
        assert!(detail.phases.tls.is_none() && detail.phases.connect.is_some());
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_taken_only_where_it_is_listed() {
    let mut own = params("shop.test");
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = own.self_signed(&key).unwrap();
    let identity = Identity {
        authority: certificate.pem(),
        config: server_config(certificate.der().clone(), &key),
    };
    let server = tls_server(Arc::clone(&identity.config), "").await;
    let listed = tls_target(&server, &identity);
    attempt(&plain_tools(), listed.clone()).await.0.unwrap();
    let unlisted = v1::ExternalTarget {
        ca_pem: String::new(),
        ..listed.clone()
    };
    let (_, reason) = why(attempt(&plain_tools(), unlisted).await.0);
    assert_eq!(reason, "self-signed certificate of CN=shop.test");
    let misnamed = v1::ExternalTarget {
        server_name: "other.test".into(),
        ..listed
    };
    let (_, reason) = why(attempt(&plain_tools(), misnamed).await.0);
    assert_eq!(reason, "certificate is for shop.test");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_about_has_its_reason() {
    let identity = identity("shop.test", |_| {});
    let closes = serve(|mut stream| async move {
        stream.read_exact(&mut [0; 16]).await.ok();
        stream.shutdown().await.ok();
        stream.read_to_end(&mut Vec::new()).await.ok();
    })
    .await;
    let (outcome, reason) = why(attempt(&plain_tools(), tls_target(&closes, &identity))
        .await
        .0);
    assert_eq!(
        (outcome, reason.as_str()),
        (Outcome::TlsFailed, "server closed during the handshake")
    );
    let plain = http_server("HTTP/1.1 400 Bad Request\r\n\r\n".into()).await;
    let speaks_plain = serve(|mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .ok();
        stream.read_to_end(&mut Vec::new()).await.ok();
    })
    .await;
    drop(plain);
    let result = attempt(&plain_tools(), tls_target(&speaks_plain, &identity))
        .await
        .0;
    assert_eq!(why(result).1, "server does not speak TLS");
}

#[tokio::test]
async fn status_body_and_redirects_decide() {
    let tools = plain_tools();
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nall is well";
    let end = http_server(good.into()).await;
    let moved = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://{}/end\r\n\r\n",
        end.address
    );
    let moved = http_server(moved).await;
    let asked = v1::ExternalTarget {
        expected_body: "is well".into(),
        max_redirects: 1,
        ..target(v1::ProbeKind::Http, format!("http://{}/", moved.address))
    };
    let (result, detail) = attempt(&tools, asked.clone()).await;
    result.unwrap();
    assert_eq!((detail.status, detail.redirects), (Some(200), 1));
    assert_eq!(detail.body_matched, Some(true));
    assert_eq!(detail.address, Some(end.address));
    assert!(detail.phases.first_byte.is_some());
    let wrong = v1::ExternalTarget {
        expected_body: "is ill".into(),
        ..asked.clone()
    };
    let (result, detail) = attempt(&tools, wrong).await;
    assert_eq!(why(result).0, Outcome::WrongAnswer);
    assert_eq!(detail.body_matched, Some(false));

    let gateway = http_server("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n".into()).await;
    let url = format!("http://{}/", gateway.address);
    let result = attempt(&tools, target(v1::ProbeKind::Http, url)).await.0;
    let (outcome, reason) = why(result);
    assert_eq!(outcome, Outcome::HttpStatus(502));
    assert_eq!(reason, "status 502 Bad Gateway");

    let circle = http_server("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n".into()).await;
    let circle = v1::ExternalTarget {
        max_redirects: 3,
        ..target(v1::ProbeKind::Http, format!("http://{}/", circle.address))
    };
    let (result, detail) = attempt(&tools, circle).await;
    assert!(why(result).1.starts_with("more than 3 redirects"));
    assert_eq!(detail.redirects, 3);
}

#[tokio::test]
async fn an_answer_over_https_has_all_phases() {
    let identity = identity("shop.test", |_| {});
    let good = "HTTP/1.1 204 No Content\r\n\r\n";
    let server = tls_server(Arc::clone(&identity.config), good).await;
    let url = format!("https://shop.test:{}/health", server.address.port());
    let asked = v1::ExternalTarget {
        ca_pem: identity.authority.clone(),
        ..target(v1::ProbeKind::Http, url)
    };
    let (result, detail) = attempt(&plain_tools(), asked).await;
    result.unwrap();
    let phases = detail.phases;
    let all = [phases.dns, phases.connect, phases.tls, phases.first_byte];
    let sum: Duration = all.into_iter().map(Option::unwrap).sum();
    assert!(sum <= phases.total.unwrap());
    assert_eq!(detail.status, Some(204));
}

#[tokio::test]
async fn every_hop_is_fenced_and_nothing_is_sent_outside() {
    let inside = http_server(String::new()).await;
    let fenced = ExternalTools::new(
        Fence::default(),
        Proxies::default(),
        Trust::load(None).unwrap(),
        Names::new(PathBuf::from("/etc/hosts"), PathBuf::from("/nonexistent")),
    );
    for host in ["127.0.0.1", "localhost"] {
        let at = format!("{host}:{}", inside.address.port());
        let failed = attempt(&fenced, target(v1::ProbeKind::TcpConnect, at))
            .await
            .0;
        let failed = failed.unwrap_err();
        assert_eq!(failed.blame, Blame::Fence);
        assert_eq!(failed.outcome, Outcome::Invalid);
        assert!(failed.reason.contains("loopback"), "{}", failed.reason);
    }
    assert_eq!(inside.accepted.load(Ordering::Relaxed), 0);

    let metadata = "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\n\r\n";
    let lure = http_server(metadata.into()).await;
    let lure = v1::ExternalTarget {
        max_redirects: 3,
        ..target(v1::ProbeKind::Http, format!("http://{}/", lure.address))
    };
    let (result, detail) = attempt(&plain_tools(), lure.clone()).await;
    let failed = result.unwrap_err();
    assert_eq!(failed.blame, Blame::Fence, "{}", failed.reason);
    assert_eq!((detail.redirects, detail.address), (1, None));

    let literal = ExternalTarget::try_from(lure).unwrap();
    let outside = literals_outside(&Fence::default(), &[literal]);
    assert!(outside[0].starts_with("shop: 127.0.0.1:"), "{outside:?}");
}

#[tokio::test]
async fn who_is_slow_on_purpose_does_not_outlive_the_timeout() {
    let identity = identity("shop.test", |_| {});
    let silent = serve(|mut stream| async move {
        stream.read_to_end(&mut Vec::new()).await.ok();
    })
    .await;
    let drips = serve(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await.ok();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let cases = [
        (tls_target(&silent, &identity), "in the TLS handshake"),
        (
            target(v1::ProbeKind::Http, format!("http://{}/", drips.address)),
            "waiting for the response",
        ),
    ];
    for (asked, doing) in cases {
        let tools = plain_tools();
        let asked = ExternalTarget::try_from(asked).unwrap();
        let mut attempt = Attempt::new(&tools, Clock::new(), &asked);
        let ended = tokio::time::timeout(Duration::from_millis(300), attempt.run()).await;
        assert!(ended.is_err());
        assert_eq!(attempt.doing, doing);
        assert!(attempt.detail.phases.connect.is_some());
    }
}

/// A proxy: CONNECT to wherever it is asked for, or the whole URL itself. Tells what it was asked.
async fn proxy(asked: tokio::sync::mpsc::Sender<String>) -> Server {
    serve(move |mut stream| {
        let asked = asked.clone();
        async move {
            let mut head = Vec::new();
            while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            let head = String::from_utf8(head).unwrap();
            let line = head.lines().next().unwrap().to_owned();
            asked.send(head.clone()).await.unwrap();
            let mut words = line.split(' ');
            let (method, what) = (words.next().unwrap(), words.next().unwrap());
            if method == "CONNECT" {
                // The proxy has its own view of names.
                let Ok(mut server) =
                    TcpStream::connect(what.replace("shop.test", "127.0.0.1")).await
                else {
                    let no = b"HTTP/1.1 503 Service Unavailable\r\n\r\n";
                    stream.write_all(no).await.ok();
                    return;
                };
                let yes = b"HTTP/1.1 200 Connection established\r\n\r\n";
                stream.write_all(yes).await.unwrap();
                tokio::io::copy_bidirectional(&mut stream, &mut server)
                    .await
                    .ok();
            } else {
                let response = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nby a proxy";
                stream.write_all(response).await.ok();
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_proxy_that_the_environment_names_is_used_and_told() {
    let (asked_tx, mut asked_rx) = tokio::sync::mpsc::channel(16);
    let proxy = proxy(asked_tx).await;
    let proxies = ProxyVariables {
        http: Some(format!("http://{}", proxy.address)),
        https: Some(format!("http://user:word@{}", proxy.address)),
        none: Some("127.0.0.0/8".into()),
    };
    // This node knows no such name; the proxy does.
    let tools = tools(&proxies, "");
    let identity = identity("shop.test", |_| {});
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let server = tls_server(Arc::clone(&identity.config), good).await;
    let port = server.address.port();
    let https = v1::ExternalTarget {
        ca_pem: identity.authority.clone(),
        ..target(v1::ProbeKind::Http, format!("https://shop.test:{port}/"))
    };
    let (result, detail) = attempt(&tools, https).await;
    result.unwrap();
    assert_eq!(detail.proxy, proxy.address.to_string());
    assert_eq!(detail.address, Some(proxy.address));
    assert!(detail.phases.tls.is_some());
    let head = asked_rx.recv().await.unwrap();
    assert!(
        head.starts_with(&format!("CONNECT shop.test:{port} ")),
        "{head}"
    );
    assert!(head.contains("Proxy-Authorization: Basic dXNlcjp3b3Jk\r\n"));

    let http = v1::ExternalTarget {
        expected_body: "by a proxy".into(),
        ..target(v1::ProbeKind::Http, "http://shop.test/x?y".into())
    };
    let (result, detail) = attempt(&tools, http).await;
    result.unwrap();
    assert_eq!(detail.body_matched, Some(true));
    let head = asked_rx.recv().await.unwrap();
    assert!(
        head.starts_with("GET http://shop.test/x?y HTTP/1.1\r\n"),
        "{head}"
    );

    // Listed in NO_PROXY: directly.
    let direct = target(v1::ProbeKind::TcpConnect, server.address.to_string());
    let (result, detail) = attempt(&tools, direct).await;
    result.unwrap();
    assert!(detail.proxy.is_empty());

    let nobody = target(v1::ProbeKind::Tls, "shop.test:1".into());
    let (outcome, reason) = why(attempt(&tools, nobody).await.0);
    assert_eq!(outcome, Outcome::HttpStatus(503));
    assert!(reason.contains("503 Service Unavailable"), "{reason}");
    // What the proxy must not be used for.
    let lure = target(v1::ProbeKind::TcpConnect, "169.254.169.254:80".into());
    let failed = attempt(&tools, lure).await.0.unwrap_err();
    assert_eq!(failed.blame, Blame::Fence);
    let seen = asked_rx.recv().await.unwrap();
    assert!(seen.starts_with("CONNECT shop.test:1 "), "{seen}");
    assert!(
        asked_rx.try_recv().is_err(),
        "it was not asked for the lure"
    );
}
