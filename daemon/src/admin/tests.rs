//! The admin port over real connections.

use std::any::Any;

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::counter::Counter;
use tokio::{io::AsyncReadExt as _, net::TcpStream, task::JoinSet};

use super::*;
use crate::{listeners::listen_tcp, logging, reload};

struct Running {
    addr: SocketAddr,
    readiness: Readiness,
    requests: reload::ReloadRequests,
    shutdown: Shutdown,
    tasks: JoinSet<()>,
    /// A logger that is installed nowhere; its handle works as long as it lives.
    _logger: Box<dyn Any + Send>,
}

fn start() -> Running {
    let (logger, log) = logging::subscriber(&logging::LogConfig::default(), io::sink, false);
    let (reload, requests) = reload::channel();
    let readiness = Readiness::new();
    let mut registry = Registry::default();
    let things = Counter::<u64>::default();
    things.inc();
    registry.register("some_things", "Things", things);
    let build = BuildInfo::new("some-daemon");
    build.register(&mut registry);
    let admin = Admin {
        build,
        registry: Arc::new(registry),
        readiness: readiness.clone(),
        log,
        reload: Some(reload),
    };
    let listener = listen_tcp("admin.listen", "127.0.0.1:0".parse().unwrap()).unwrap();
    let server = admin.bind(listener).unwrap();
    let (addr, shutdown) = (server.local_addr().unwrap(), Shutdown::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(server.serve(shutdown.clone()));
    Running {
        addr,
        readiness,
        requests,
        shutdown,
        tasks,
        _logger: Box::new(logger),
    }
}

async fn ask(addr: SocketAddr, method: Method, path: &str, body: &str) -> (u16, String, String) {
    let stream = TokioIo::new(TcpStream::connect(addr).await.unwrap());
    let (mut sender, connection) = http1::handshake(stream).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "admin")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .map(|value| value.to_str().unwrap().to_owned());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (
        status,
        kind.unwrap_or_default(),
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

async fn get_text(addr: SocketAddr, path: &str) -> (u16, String) {
    let (status, _, body) = ask(addr, Method::GET, path, "").await;
    (status, body)
}

#[tokio::test]
async fn readiness_follows_the_conditions_and_says_what_is_missing() {
    let running = start();
    let store = running.readiness.condition("store", "opening the database");
    assert_eq!(
        get_text(running.addr, "/healthz").await,
        (200, "ok\n".into())
    );
    let (status, body) = get_text(running.addr, "/readyz").await;
    assert_eq!(
        (status, body.as_str()),
        (503, "not ready\nstore: opening the database\n")
    );
    store.met();
    assert_eq!(
        get_text(running.addr, "/readyz").await,
        (200, "ready\n".into())
    );
}

#[tokio::test]
async fn metrics_are_open_metrics_text() {
    let running = start();
    let (status, kind, body) = ask(running.addr, Method::GET, "/metrics", "").await;
    assert_eq!(status, 200);
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    assert!(body.contains("some_things_total 1\n"), "{body}");
    assert!(body.contains("meshprobe_build_info{"), "{body}");
    assert!(body.ends_with("# EOF\n"), "{body}");
}

#[tokio::test]
async fn a_reload_answers_with_what_came_of_it() {
    let mut running = start();
    let (good, ()) = tokio::join!(ask(running.addr, Method::POST, "/-/reload", ""), async {
        running
            .requests
            .next()
            .await
            .unwrap()
            .answer(Ok("nothing changed".into()));
    });
    assert_eq!((good.0, good.2.as_str()), (200, "nothing changed\n"));
    let (bad, ()) = tokio::join!(ask(running.addr, Method::POST, "/-/reload", ""), async {
        running
            .requests
            .next()
            .await
            .unwrap()
            .answer(Err("a.yaml:3:1: unknown key".into()));
    });
    assert_eq!((bad.0, bad.2.as_str()), (400, "a.yaml:3:1: unknown key\n"));
    assert_eq!(
        get_text(running.addr, "/-/reload").await.0,
        405,
        "a GET must not reload"
    );
}

#[tokio::test]
async fn the_log_level_is_shown_and_replaced_and_a_bad_one_refused() {
    let running = start();
    let (status, _, body) = ask(
        running.addr,
        Method::PUT,
        "/-/log-level",
        "debug,hyper=warn\n",
    )
    .await;
    assert_eq!((status, body.as_str()), (200, "debug,hyper=warn\n"));
    let (_, level) = get_text(running.addr, "/-/log-level").await;
    assert!(
        level.contains("hyper=warn") && level.contains("debug"),
        "{level}"
    );
    let (status, _, body) = ask(running.addr, Method::PUT, "/-/log-level", "loud").await;
    assert_eq!(status, 400);
    assert!(body.contains("write off, error, warn"), "{body}");
    let (_, unchanged) = get_text(running.addr, "/-/log-level").await;
    assert_eq!(unchanged, level);
    let (status, _, _) = ask(running.addr, Method::PUT, "/-/log-level", &"x".repeat(5000)).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let running = start();
    assert_eq!(get_text(running.addr, "/metricz").await.0, 404);
    let (status, body) = get_text(running.addr, "/").await;
    assert_eq!(status, 200);
    assert!(
        body.starts_with("some-daemon ") && body.contains("/readyz"),
        "{body}"
    );
}

#[tokio::test]
async fn clients_that_say_nothing_do_not_keep_the_others_out() {
    let running = start();
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(TcpStream::connect(running.addr).await.unwrap());
    }
    // All slots are held until the header time-out frees them.
    let answer =
        tokio::time::timeout(Duration::from_secs(60), get_text(running.addr, "/healthz")).await;
    assert_eq!(answer.unwrap().0, 200);
    let mut end = Vec::new();
    silent[0].read_to_end(&mut end).await.unwrap();
}

#[tokio::test]
async fn the_shutdown_ends_the_server_even_with_idle_connections() {
    let mut running = start();
    let _idle = TcpStream::connect(running.addr).await.unwrap();
    assert_eq!(get_text(running.addr, "/healthz").await.0, 200);
    running.shutdown.trigger();
    let ended = tokio::time::timeout(Duration::from_secs(30), running.tasks.join_next()).await;
    ended.unwrap().unwrap().unwrap();
    TcpStream::connect(running.addr).await.unwrap_err();
}
