//! The admin port: what a supervisor, a scraper and a person at 3 a.m. ask a daemon.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /healthz` | 200 while the runtime turns; a process that cannot answer is to be restarted |
//! | `GET /readyz` | 200, or 503 with one line for each condition that is missing |
//! | `GET /metrics` | the metrics in `OpenMetrics` text |
//! | `POST /-/reload` | reads the configuration again: 200 and what changed, 400 and why it was refused |
//! | `GET`, `PUT /-/log-level` | the log directive in force; the body of a `PUT` replaces it |
//!
//! It has a port of its own so that it can be kept away from everybody else, and no TLS and no
//! authentication: bind it to loopback or to the pod's address, not to the world.

mod readiness;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tracing::{info, warn};

pub use readiness::{Condition, Readiness};

use crate::{
    build_info::BuildInfo,
    http::{HttpServer, Limits},
    logging::{LogHandle, LogLevel},
    reload::{ReloadError, ReloadHandle},
    shutdown::Shutdown,
};

/// A scraper, two probes and a few people.
const MAX_CONNECTIONS: usize = 32;

/// No admin request is long work; a reload reads a file.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest log directive that anybody writes.
const MAX_BODY_BYTES: usize = 4096;

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What the admin port shows and changes.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Who answers.
    pub build: BuildInfo,
    /// All metrics of the process.
    pub registry: Arc<Registry>,
    /// What has to be there before the process is of use.
    pub readiness: Readiness,
    /// Where the log level is changed.
    pub log: LogHandle,
    /// Where a reload is asked for; `None` answers 404.
    pub reload: Option<ReloadHandle>,
}

impl Admin {
    /// Prepares to serve on a bound listener. Needs a running runtime.
    pub fn bind(self, listener: std::net::TcpListener) -> io::Result<AdminServer> {
        let limits = Limits {
            connections: MAX_CONNECTIONS,
            grace: Duration::from_secs(1),
            ..Limits::default()
        };
        Ok(AdminServer {
            server: HttpServer::new(listener, limits)?,
            admin: self,
        })
    }

    fn router(self) -> Router {
        let mut router = Router::new()
            .route("/", get(index))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route("/-/log-level", get(log_level).put(set_log_level));
        if self.reload.is_some() {
            router = router.route("/-/reload", post(reload));
        }
        router
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(middleware::from_fn(within_time))
            .with_state(self)
    }
}

/// A bound admin port that does not answer yet.
#[derive(Debug)]
pub struct AdminServer {
    server: HttpServer,
    admin: Admin,
}

impl AdminServer {
    /// The address that it is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.server.local_addr()
    }

    /// A task: answers until `shutdown`. From the shutdown on `/readyz` says that the process is
    /// stopping, so give this task a signal of its own that comes last, if the drain is long.
    pub async fn serve(self, shutdown: Shutdown) {
        let Self { server, admin } = self;
        server.serve(admin.router(), shutdown).await;
    }
}

async fn within_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, "took too long\n").into_response(),
    }
}

async fn index(State(admin): State<Admin>) -> String {
    format!(
        "{}\n\n/healthz\n/readyz\n/metrics\n/-/reload (POST)\n/-/log-level (GET, PUT)\n",
        admin.build
    )
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, String) {
    let missing = admin.readiness.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let lines: Vec<String> = missing
        .iter()
        .map(|(name, reason)| format!("{name}: {reason}"))
        .collect();
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready\n{}\n", lines.join("\n")),
    )
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &admin.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            warn!(%error, "Cannot encode the metrics");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "cannot encode the metrics\n",
            )
                .into_response()
        }
    }
}

async fn reload(State(admin): State<Admin>) -> (StatusCode, String) {
    let Some(handle) = &admin.reload else {
        return (
            StatusCode::NOT_FOUND,
            "this process has nothing to reload\n".to_owned(),
        );
    };
    match handle.reload().await {
        Ok(summary) => (StatusCode::OK, format!("{summary}\n")),
        Err(error) => {
            let status = match error {
                ReloadError::Refused(_) => StatusCode::BAD_REQUEST,
                ReloadError::Busy => StatusCode::TOO_MANY_REQUESTS,
                ReloadError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, format!("{error}\n"))
        }
    }
}

async fn log_level(State(admin): State<Admin>) -> (StatusCode, String) {
    match admin.log.level() {
        Ok(level) => (StatusCode::OK, format!("{level}\n")),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

async fn set_log_level(State(admin): State<Admin>, body: String) -> (StatusCode, String) {
    let level = match body.parse::<LogLevel>() {
        Ok(level) => level,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    match admin.log.set_level(&level) {
        Ok(()) => {
            info!(%level, "Log level changed on the admin port");
            (StatusCode::OK, format!("{level}\n"))
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests;
