//! The HTTP port: the API as JSON under `/api/v1`, and a page that says so.
//!
//! The answers are the messages of the gRPC API in protobuf's JSON mapping ([`meshprobe_proto::json`]); errors are
//! `{"error": {"code", "reason", "message"}}` with the same reasons. Everything is read with GET; what makes a probe or a
//! silence, or says something of a node, is a POST with a JSON body, which a page of another origin cannot send, nor can it DELETE.

mod notifications;
mod page;
mod past;
mod probe;
mod query;
mod runbook;
mod silences;
mod told;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{delete, get, post},
};
use meshprobe_core::finding::Pattern;
use meshprobe_proto::{json::JsonWriter, v1};
use serde_json::{Value, json};
use tracing::error;

use self::{probe::Asked, query::Query};
use crate::api::{Api, ApiError, wanted_layer};

/// What has a body is a few names, or the matchers of a silence.
const MAX_BODY_BYTES: usize = 16 << 10;

/// What the handlers share.
#[derive(Clone, Debug)]
struct Shared {
    api: Api,
    json: Arc<JsonWriter>,
}

/// The routes of the HTTP port.
pub fn router(api: Api, json: JsonWriter) -> Router {
    let shared = Shared {
        api,
        json: Arc::new(json),
    };
    Router::new()
        .route("/", get(index))
        .route("/api/v1/status", get(status))
        .route("/api/v1/nodes", get(nodes))
        .route("/api/v1/nodes/{name}", get(node))
        .route(
            "/api/v1/nodes/{name}/drain",
            post(told::drain).delete(told::end_drain),
        )
        .route("/api/v1/nodes/{name}/events", post(told::event))
        .route("/api/v1/probe", post(probe))
        .route("/api/v1/matrix", get(matrix))
        .route("/api/v1/path", get(path))
        .route("/api/v1/incidents", get(incidents))
        .route("/api/v1/incidents/{id}", get(incident))
        .route("/api/v1/findings", get(findings))
        .route("/api/v1/explain", get(explain))
        .route("/api/v1/incidents/{id}/bundle", get(past::bundle))
        .route(
            "/api/v1/silences",
            get(silences::list).post(silences::create),
        )
        .route("/api/v1/silences/{id}", delete(silences::end))
        .route("/api/v1/notifications", get(notifications::list))
        .route("/api/v1/notifications/test", post(notifications::test))
        .route("/api/v1/notifications/retry", post(notifications::retry))
        .route("/runbook/{pattern}", get(runbook_page))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(headers))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(shared)
}

async fn index(State(shared): State<Shared>) -> Html<String> {
    Html(page::render(&shared.api))
}

async fn status(State(shared): State<Shared>, query: Query) -> Response {
    shared.answer(query.finish().map(|()| shared.api.status()))
}

async fn nodes(State(shared): State<Shared>, mut query: Query) -> Response {
    let found = async {
        let at = query.moment("at")?;
        query.finish()?;
        match at {
            None => Ok(shared.api.nodes()),
            Some(at) => shared.api.nodes_at(at).await,
        }
    }
    .await;
    shared.answer(found)
}

async fn node(State(shared): State<Shared>, Path(name): Path<String>, query: Query) -> Response {
    let found = async {
        query.finish()?;
        shared.api.node(&name).await
    }
    .await;
    shared.answer(found)
}

async fn probe(State(shared): State<Shared>, asked: Result<Asked, ApiError>) -> Response {
    let found = async { shared.api.run_probe(asked?.0).await }.await;
    shared.answer(found)
}

async fn matrix(State(shared): State<Shared>, mut query: Query) -> Response {
    let found = async {
        let request = v1::GetMatrixRequest {
            kind: query.number("kind", "PROBE_KIND_", |name| {
                v1::ProbeKind::from_str_name(name).map(i32::from)
            })?,
            plane: query.number("plane", "PLANE_", |name| {
                v1::Plane::from_str_name(name).map(i32::from)
            })?,
            family: query.number("family", "FAMILY_", |name| {
                v1::Family::from_str_name(name).map(i32::from)
            })?,
            at: None,
        };
        let at = query.moment("at")?;
        query.finish()?;
        let layer = wanted_layer(&request)?;
        match at {
            None => shared.api.matrix(layer).await,
            Some(at) => shared.api.matrix_at(layer, at).await,
        }
    }
    .await;
    shared.answer(found)
}

async fn path(State(shared): State<Shared>, mut query: Query) -> Response {
    let found = async {
        let (source, target) = (query.text("source"), query.text("target"));
        let at = query.moment("at")?;
        query.finish()?;
        match at {
            None => shared.api.path(&source, &target).await,
            Some(at) => shared.api.path_at(&source, &target, at).await,
        }
    }
    .await;
    shared.answer(found)
}

async fn incidents(State(shared): State<Shared>, mut query: Query) -> Response {
    let found = async {
        let request = v1::ListIncidentsRequest {
            include_resolved: query.flag("includeResolved")?,
            page_size: query.count("pageSize")?,
            page_token: query.text("pageToken"),
        };
        query.finish()?;
        shared.api.list_incidents(&request)
    }
    .await;
    shared.answer(found)
}

async fn incident(State(shared): State<Shared>, Path(id): Path<String>, query: Query) -> Response {
    let found = async {
        query.finish()?;
        shared.api.incident(&id).await
    }
    .await;
    shared.answer(found)
}

async fn findings(State(shared): State<Shared>, mut query: Query) -> Response {
    let found = async {
        let request = v1::ListFindingsRequest {
            pattern: query.text("pattern"),
            node: query.text("node"),
            zone: query.text("zone"),
            severity: query.number("severity", "SEVERITY_", |name| {
                v1::Severity::from_str_name(name).map(i32::from)
            })?,
            page_size: query.count("pageSize")?,
            page_token: query.text("pageToken"),
            at: None,
        };
        let at = query.moment("at")?;
        query.finish()?;
        match at {
            None => shared.api.list_findings(&request),
            Some(at) => shared.api.findings_at(&request, at).await,
        }
    }
    .await;
    shared.answer(found)
}

async fn explain(State(shared): State<Shared>, mut query: Query) -> Response {
    let found = async {
        let (source, target) = (query.text("source"), query.text("target"));
        query.finish()?;
        shared.api.explain(&source, &target).await
    }
    .await;
    shared.answer(found)
}

async fn runbook_page(Path(name): Path<String>) -> Response {
    if let Some(pattern) = Pattern::from_name(&name) {
        return runbook::page(pattern).into_response();
    }
    let known: Vec<&str> = Pattern::ALL
        .iter()
        .map(|pattern| pattern.as_str())
        .collect();
    refuse(&ApiError::NotFound(format!(
        "there is no page about {name:?}; there are: {}",
        known.join(", ")
    )))
}

async fn unknown(request: Request) -> Response {
    refuse(&ApiError::NotFound(format!(
        "there is no {}; GET / lists what there is",
        request.uri().path()
    )))
}

async fn wrong_method(method: Method, request: Request) -> Response {
    refuse(&ApiError::MethodNotAllowed(format!(
        "{method} {} does not exist; the API is read with GET, /api/v1/probe, /api/v1/silences, /api/v1/nodes/NAME/drain, \
         /api/v1/nodes/NAME/events, /api/v1/notifications/test and /api/v1/notifications/retry take a POST, \
         /api/v1/silences/ID and /api/v1/nodes/NAME/drain a DELETE",
        request.uri().path()
    )))
}

impl Shared {
    fn answer<M: prost::Name>(&self, found: Result<M, ApiError>) -> Response {
        let found = match found {
            Ok(found) => found,
            Err(error) => return refuse(&error),
        };
        match self.json.write(&found) {
            Ok(value) => axum::Json(value).into_response(),
            Err(error) => {
                error!(answer = M::NAME, %error, "An answer has no JSON form");
                body(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "INTERNAL",
                    "this answer has no JSON form; please report it",
                )
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        refuse(&self)
    }
}

fn refuse(error: &ApiError) -> Response {
    body(error.status(), error.reason(), &error.to_string())
}

fn body(status: StatusCode, reason: &str, message: &str) -> Response {
    let error: Value =
        json!({"error": {"code": status.as_u16(), "reason": reason, "message": message}});
    (status, axum::Json(error)).into_response()
}

/// What a browser must not do with the answers: keep them, guess their type, run anything in them.
async fn headers(request: Request, next: Next) -> Response {
    const FIXED: [(HeaderName, HeaderValue); 4] = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
            ),
        ),
    ];
    let mut response = next.run(request).await;
    response.headers_mut().extend(FIXED);
    response
}
