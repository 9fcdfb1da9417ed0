//! The server loop over real connections, with and without TLS.

use std::sync::atomic::AtomicUsize;

use axum::{body::Body, extract::Request, routing::get};
use http_body_util::BodyExt as _;
use hyper::client::conn::{http1, http2};
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

use super::*;
use crate::{
    listeners::listen_tcp,
    tls::{
        ClientTls, ClientTlsFiles, ServerTlsFiles,
        test_certificates::{Authority, Directory, client_files, server_files},
    },
};

/// Longer than anything here takes, shorter than a stuck test.
const PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    addr: SocketAddr,
    shutdown: Shutdown,
    tasks: JoinSet<()>,
}

fn start(router: Router, limits: Limits, tls: Option<ServerTls>) -> Running {
    let listener = listen_tcp("listen", "127.0.0.1:0".parse().unwrap()).unwrap();
    let server = HttpServer::new(listener, limits).unwrap().with_tls(tls);
    let (addr, shutdown) = (server.local_addr().unwrap(), Shutdown::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(server.serve(router, shutdown.clone()));
    Running {
        addr,
        shutdown,
        tasks,
    }
}

impl Running {
    /// Triggers the shutdown and waits for the end.
    async fn stop(mut self) {
        self.shutdown.trigger();
        timeout(PATIENCE, self.tasks.join_next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

fn request() -> Request {
    Request::get("/")
        .header("host", "localhost")
        .body(Body::empty())
        .unwrap()
}

async fn text(response: hyper::Response<hyper::body::Incoming>) -> String {
    String::from_utf8(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
    .unwrap()
}

async fn whoami(Extension(peer): Extension<Peer>) -> String {
    format!(
        "{} certificates",
        peer.certificates.map_or(0, |chain| chain.len())
    )
}

#[tokio::test]
async fn http2_over_tls_tells_the_handler_which_certificate_the_client_showed() {
    let directory = Directory::new();
    let authority = Authority::new();
    let files = ServerTlsFiles {
        client_ca: Some(directory.write("clients.crt", &authority.pem())),
        ..server_files(&directory, &authority)
    };
    let tls = ServerTls::load(files, &["h2", "http/1.1"]).unwrap();
    let running = start(
        Router::new().route("/", get(whoami)),
        Limits::default(),
        Some(tls),
    );

    let (cert, key) = authority.issue("client");
    let client = ClientTlsFiles {
        cert: Some(directory.write("client.crt", &cert)),
        key: Some(directory.write("client.key", &key)),
        ..client_files(&directory, &authority)
    };
    let client = ClientTls::load(client, &["h2"]).unwrap();
    let stream = TcpStream::connect(running.addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(client.current())
        .connect(name, stream)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::get("https://localhost/")
        .body(Body::empty())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(text(response).await, "1 certificates");
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_stalls_the_handshake_is_cut_off() {
    let directory = Directory::new();
    let tls = ServerTls::load(server_files(&directory, &Authority::new()), &[]).unwrap();
    let limits = Limits {
        handshake: Duration::from_millis(100),
        ..Limits::default()
    };
    let running = start(Router::new(), limits, Some(tls));
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    let end = timeout(PATIENCE, stream.read(&mut [0])).await.unwrap();
    assert_eq!(end.unwrap_or(0), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_half_a_request_is_cut_off() {
    let limits = Limits {
        headers: Duration::from_millis(100),
        ..Limits::default()
    };
    let running = start(Router::new(), limits, None);
    for half in [&b"GET / HTTP/1.1\r\nhost: x\r\n"[..], b"PRI * HT", b""] {
        let mut stream = TcpStream::connect(running.addr).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, half)
            .await
            .unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .ok();
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{half:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_request_in_flight_is_finished_after_the_shutdown_began() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (in_handler, to_handler) = (Arc::clone(&entered), Arc::clone(&release));
    let handler = async move || {
        in_handler.notify_one();
        to_handler.notified().await;
        "finished"
    };
    let running = start(
        Router::new().route("/", get(handler)),
        Limits::default(),
        None,
    );
    let stream = TokioIo::new(TcpStream::connect(running.addr).await.unwrap());
    let (mut sender, connection) = http1::handshake(stream).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let answer = sender.send_request(request());
    let shut_down = async {
        entered.notified().await;
        running.shutdown.trigger();
        release.notify_one();
    };
    let (answer, ()) = tokio::join!(answer, shut_down);
    assert_eq!(text(answer.unwrap()).await, "finished");
    running.stop().await;
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_after_the_grace() {
    let entered = Arc::new(Notify::new());
    let in_handler = Arc::clone(&entered);
    let handler = async move || {
        in_handler.notify_one();
        std::future::pending::<()>().await;
    };
    let limits = Limits {
        grace: Duration::from_millis(100),
        ..Limits::default()
    };
    let running = start(Router::new().route("/", get(handler)), limits, None);
    let stream = TokioIo::new(TcpStream::connect(running.addr).await.unwrap());
    let (mut sender, connection) = http1::handshake(stream).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let stop = async {
        entered.notified().await;
        running.stop().await;
    };
    let (answer, ()) = tokio::join!(sender.send_request(request()), stop);
    answer.unwrap_err();
}

#[tokio::test]
async fn an_old_connection_is_asked_to_come_back_and_the_server_goes_on() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let handler = async move || {
        count.fetch_add(1, Ordering::Relaxed);
        "hello"
    };
    let limits = Limits {
        age: Some(Duration::from_millis(100)),
        ..Limits::default()
    };
    let running = start(Router::new().route("/", get(handler)), limits, None);
    for _ in 0..2 {
        let stream = TokioIo::new(TcpStream::connect(running.addr).await.unwrap());
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        let exchange = async {
            let response = sender.send_request(request()).await.unwrap();
            assert_eq!(text(response).await, "hello");
        };
        // The connection's end is the server's doing: the client keeps its sender.
        let (ended, ()) = tokio::join!(timeout(PATIENCE, connection), exchange);
        ended.unwrap().unwrap();
    }
    assert_eq!(served.load(Ordering::Relaxed), 2);
    running.stop().await;
}

#[tokio::test]
async fn a_panic_in_a_handler_ends_its_connection_only() {
    let router = Router::new().route("/", get(async || "alive")).route(
        "/panic",
        get(async || -> &'static str { panic!("on purpose") }),
    );
    let running = start(router, Limits::default(), None);
    let ask = async |path: &str| {
        let stream = TokioIo::new(TcpStream::connect(running.addr).await.unwrap());
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let request = Request::get(path)
            .header("host", "localhost")
            .body(Body::empty())
            .unwrap();
        sender
            .send_request(request)
            .await
            .map(|response| response.status().as_u16())
    };
    ask("/panic").await.unwrap_err();
    assert_eq!(ask("/").await.unwrap(), 200);
    running.stop().await;
}
