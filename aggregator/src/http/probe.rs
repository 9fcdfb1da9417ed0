//! The body of `POST /api/v1/probe`.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::header,
};
use meshprobe_proto::v1;
use serde::Deserialize;

use super::query::named;
use crate::api::ApiError;

/// A probe that somebody asks for.
#[derive(Debug)]
pub(super) struct Asked(pub(super) v1::RunProbeRequest);

/// [`v1::RunProbeRequest`] in JSON; enumerations by their short or their full names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    source: String,
    target: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    plane: String,
    #[serde(default)]
    family: String,
    #[serde(default)]
    trace: bool,
}

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Self::parse(&json_body(request, state).await?)
    }
}

/// The body of a request that says that it is JSON.
pub(super) async fn json_body<S: Send + Sync>(
    request: Request,
    state: &S,
) -> Result<Bytes, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let is_json = kind
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err(ApiError::Invalid(
            "the body must be JSON, with content-type: application/json".to_owned(),
        ));
    }
    Bytes::from_request(request, state)
        .await
        .map_err(|error| ApiError::Invalid(error.body_text()))
}

impl Asked {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let Body {
            source,
            target,
            kind,
            plane,
            family,
            trace,
        } = serde_json::from_slice(body).map_err(|error| {
            ApiError::Invalid(format!(
                "{error}; write for example {{\"source\": \"node-1\", \"target\": \"node-2\", \"kind\": \"mtu\"}}"
            ))
        })?;
        let number = |field: &str, text: &str, prefix: &str, find: fn(&str) -> Option<i32>| {
            if text.is_empty() {
                return Ok(0);
            }
            let unknown = || ApiError::Invalid(format!("{field} {text:?} is unknown"));
            named(text, prefix, find).ok_or_else(unknown)
        };
        Ok(Self(v1::RunProbeRequest {
            kind: number("kind", &kind, "PROBE_KIND_", |name| {
                v1::ProbeKind::from_str_name(name).map(i32::from)
            })?,
            plane: number("plane", &plane, "PLANE_", |name| {
                v1::Plane::from_str_name(name).map(i32::from)
            })?,
            family: number("family", &family, "FAMILY_", |name| {
                v1::Family::from_str_name(name).map(i32::from)
            })?,
            source,
            target,
            trace,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_short_and_full_names_and_what_is_left_out_is_unspecified() {
        let asked = |text: &str| Asked::parse(text.as_bytes()).map(|asked| asked.0);
        let short = asked(r#"{"source": "a", "target": "b", "kind": "mtu"}"#).unwrap();
        assert_eq!(short.kind(), v1::ProbeKind::Mtu);
        assert_eq!((short.plane, short.family, short.trace), (0, 0, false));
        let full = asked(
            r#"{"source": "a", "target": "b", "kind": "PROBE_KIND_DNS_UDP", "plane": "service", "family": "v6", "trace": true}"#,
        )
        .unwrap();
        assert_eq!(full.kind(), v1::ProbeKind::DnsUdp);
        assert_eq!(full.plane(), v1::Plane::Service);
        assert_eq!(full.family(), v1::Family::V6);
        assert!(full.trace);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("{}", "missing field `source`"),
            ("[", "node-1"),
            (r#"{"source": "a", "target": "b", "knd": "mtu"}"#, "knd"),
            (r#"{"source": "a", "target": "b", "kind": "ping"}"#, "ping"),
        ] {
            let error = Asked::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
