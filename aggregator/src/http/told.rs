//! `/api/v1/nodes/{name}/drain` and `/api/v1/nodes/{name}/events`.

use axum::{
    body::Bytes,
    extract::{FromRequest, Path, Request, State},
    response::Response,
};
use jiff::Timestamp;
use meshprobe_proto::v1;
use serde::{Deserialize, de::DeserializeOwned};

use super::{Shared, probe::json_body, query::Query, silences::wire};
use crate::api::ApiError;

/// A body with an example of itself.
pub(super) trait Example: DeserializeOwned {
    const EXAMPLE: &str;
}

/// A JSON body.
#[derive(Debug)]
pub(super) struct Said<T>(T);

/// [`v1::DrainNodeRequest`] but for the node.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct DrainBody {
    #[serde(default)]
    duration_seconds: u64,
    #[serde(default)]
    author: String,
    #[serde(default)]
    comment: String,
}

impl Example for DrainBody {
    const EXAMPLE: &str =
        r#"{"durationSeconds": 900, "author": "ana", "comment": "kernel upgrade"}"#;
}

/// [`v1::AddEventRequest`] but for the node.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventBody {
    reason: String,
    #[serde(default)]
    message: String,
    at: Option<Timestamp>,
}

impl Example for EventBody {
    const EXAMPLE: &str = r#"{"reason": "FailedCreatePodSandBox", "message": "no IP addresses available", "at": "2026-11-29T03:10:00Z"}"#;
}

pub(super) async fn drain(
    State(shared): State<Shared>,
    Path(node): Path<String>,
    said: Result<Said<DrainBody>, ApiError>,
) -> Response {
    let told = async {
        let DrainBody {
            duration_seconds,
            author,
            comment,
        } = said?.0;
        let request = v1::DrainNodeRequest {
            node,
            duration_seconds,
            author,
            comment,
        };
        shared.api.drain_node(request).await
    }
    .await;
    shared.answer(told)
}

pub(super) async fn end_drain(
    State(shared): State<Shared>,
    Path(node): Path<String>,
    query: Query,
) -> Response {
    let told = async {
        query.finish()?;
        shared.api.end_drain(&node).await
    }
    .await;
    shared.answer(told)
}

pub(super) async fn event(
    State(shared): State<Shared>,
    Path(node): Path<String>,
    said: Result<Said<EventBody>, ApiError>,
) -> Response {
    let told = async {
        let EventBody {
            reason,
            message,
            at,
        } = said?.0;
        let request = v1::AddEventRequest {
            node,
            reason,
            message,
            at: at.map(wire),
        };
        shared.api.add_event(request).await
    }
    .await;
    shared.answer(told)
}

impl<S: Send + Sync, T: Example> FromRequest<S> for Said<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Self::parse(&json_body(request, state).await?)
    }
}

impl<T: Example> Said<T> {
    fn parse(body: &Bytes) -> Result<Self, ApiError> {
        serde_json::from_slice(body).map(Self).map_err(|error| {
            ApiError::Invalid(format!("{error}; write for example {}", T::EXAMPLE))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_what_is_taken_and_what_is_wrong_is_said() {
        fn said<T: Example>(text: &'static str) -> Result<T, String> {
            let said = Said::parse(&Bytes::from_static(text.as_bytes()));
            said.map(|said| said.0).map_err(|error| error.to_string())
        }
        let drain: DrainBody = said(DrainBody::EXAMPLE).unwrap();
        assert_eq!(
            (drain.duration_seconds, drain.author.as_str()),
            (900, "ana")
        );
        let event: EventBody = said(EventBody::EXAMPLE).unwrap();
        assert_eq!(event.reason, "FailedCreatePodSandBox");
        assert!(event.at.is_some());
        let error = said::<DrainBody>(r#"{"duration": 900}"#).unwrap_err();
        assert!(
            error.contains("duration") && error.contains("kernel upgrade"),
            "{error}"
        );
        let error = said::<EventBody>("{}").unwrap_err();
        assert!(error.contains("missing field `reason`"), "{error}");
    }
}
