//! `/api/v1/silences`.

use axum::{
    body::Bytes,
    extract::{FromRequest, Path, Request, State},
    response::Response,
};
use jiff::Timestamp;
use meshprobe_proto::v1;
use serde::Deserialize;

use super::{
    Shared,
    probe::json_body,
    query::{Query, named},
};
use crate::{
    api::ApiError,
    silence::{Matcher, Operator},
};

/// A silence that somebody wants.
#[derive(Debug)]
pub(super) struct Wanted(v1::CreateSilenceRequest);

/// [`v1::CreateSilenceRequest`] in JSON; matchers also as people write them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    matchers: Vec<MatcherBody>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    #[serde(default)]
    duration_seconds: u64,
    #[serde(default)]
    author: String,
    #[serde(default)]
    comment: String,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "write matchers as \"node=mesh-3\" or as {\"name\", \"operator\", \"value\"}"
)]
enum MatcherBody {
    Text(String),
    Parts {
        name: String,
        #[serde(default)]
        operator: String,
        #[serde(default)]
        value: String,
    },
}

pub(super) async fn list(State(shared): State<Shared>, mut query: Query) -> Response {
    let found = (|| {
        let request = v1::ListSilencesRequest {
            include_expired: query.flag("includeExpired")?,
            page_size: query.count("pageSize")?,
            page_token: query.text("pageToken"),
        };
        query.finish()?;
        shared.api.list_silences(&request)
    })();
    shared.answer(found)
}

pub(super) async fn create(
    State(shared): State<Shared>,
    wanted: Result<Wanted, ApiError>,
) -> Response {
    let made = async { shared.api.create_silence(wanted?.0).await }.await;
    shared.answer(made)
}

pub(super) async fn end(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    query: Query,
) -> Response {
    let ended = async {
        query.finish()?;
        shared.api.delete_silence(&id).await
    }
    .await;
    shared.answer(ended)
}

impl<S: Send + Sync> FromRequest<S> for Wanted {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Self::parse(&json_body(request, state).await?)
    }
}

impl Wanted {
    fn parse(body: &Bytes) -> Result<Self, ApiError> {
        let Body {
            kind,
            matchers,
            starts_at,
            ends_at,
            duration_seconds,
            author,
            comment,
        } = serde_json::from_slice(body).map_err(|error| {
            ApiError::Invalid(format!(
                "{error}; write for example {{\"matchers\": [\"node=mesh-3\"], \"durationSeconds\": 7200, \"author\": \"ana\"}}"
            ))
        })?;
        let kind = if kind.is_empty() {
            0
        } else {
            named(&kind, "SILENCE_KIND_", |name| {
                v1::SilenceKind::from_str_name(name).map(i32::from)
            })
            .ok_or_else(|| {
                ApiError::Invalid(format!(
                    "kind {kind:?} is unknown; there are: silence, maintenance"
                ))
            })?
        };
        Ok(Self(v1::CreateSilenceRequest {
            kind,
            matchers: matchers
                .into_iter()
                .map(matcher)
                .collect::<Result<_, _>>()?,
            starts_at: starts_at.map(wire),
            ends_at: ends_at.map(wire),
            duration_seconds,
            author,
            comment,
        }))
    }
}

pub(super) fn wire(at: Timestamp) -> prost_types::Timestamp {
    let floor = at.as_nanosecond().div_euclid(1_000_000_000);
    prost_types::Timestamp {
        seconds: i64::try_from(floor).unwrap_or(i64::MAX),
        nanos: i32::try_from(at.as_nanosecond().rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

fn matcher(body: MatcherBody) -> Result<v1::Matcher, ApiError> {
    let (name, operator, value) = match body {
        MatcherBody::Text(text) => {
            let parsed =
                Matcher::parse(&text).map_err(|error| ApiError::Invalid(error.to_string()))?;
            let operator = match parsed.operator() {
                Operator::Equal => v1::MatchOperator::Equal,
                Operator::NotEqual => v1::MatchOperator::NotEqual,
                Operator::Matches => v1::MatchOperator::Matches,
                Operator::NotMatches => v1::MatchOperator::NotMatches,
            };
            (parsed.name(), operator.into(), parsed.value().to_owned())
        }
        MatcherBody::Parts {
            name,
            operator,
            value,
        } => {
            let number = match operator.as_str() {
                "" | "=" => v1::MatchOperator::Equal.into(),
                "!=" => v1::MatchOperator::NotEqual.into(),
                "=~" => v1::MatchOperator::Matches.into(),
                "!~" => v1::MatchOperator::NotMatches.into(),
                word => named(word, "MATCH_OPERATOR_", |name| {
                    v1::MatchOperator::from_str_name(name).map(i32::from)
                })
                .ok_or_else(|| {
                    ApiError::Invalid(format!(
                        "operator {word:?} is unknown; there are: = != =~ !~"
                    ))
                })?,
            };
            (name, number, value)
        }
    };
    Ok(v1::Matcher {
        name,
        operator,
        value,
    })
}

#[cfg(test)]
mod tests {
    use v1::MatchOperator::{Equal, Matches, NotEqual};

    use super::*;

    fn wanted(text: &str) -> Result<v1::CreateSilenceRequest, ApiError> {
        Wanted::parse(&Bytes::copy_from_slice(text.as_bytes())).map(|wanted| wanted.0)
    }

    #[test]
    fn matchers_are_written_as_text_or_in_parts() {
        let request = wanted(
            r#"{"kind": "maintenance", "matchers": ["node=~mesh-.*", {"name": "zone", "value": "a"}, {"name": "node", "operator": "MATCH_OPERATOR_NOT_EQUAL", "value": "x"}],
                "startsAt": "2026-01-01T00:00:00.5Z", "endsAt": "2026-01-01T02:00:00Z", "author": "ana"}"#,
        )
        .unwrap();
        assert_eq!(request.kind(), v1::SilenceKind::Maintenance);
        let operators: Vec<v1::MatchOperator> =
            request.matchers.iter().map(v1::Matcher::operator).collect();
        assert_eq!(operators, [Matches, Equal, NotEqual]);
        assert_eq!(request.starts_at.unwrap().nanos, 500_000_000);
        assert_eq!(request.ends_at.unwrap().seconds, 1_767_232_800);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            (r#"{"matchers": ["mesh-3"]}"#, "no matcher"),
            (r#"{"matchers": [7]}"#, "write matchers as"),
            (r#"{"matcher": []}"#, "matchers"),
            (r#"{"kind": "nap"}"#, "maintenance"),
            (r#"{"endsAt": "tomorrow"}"#, "durationSeconds"),
            (
                r#"{"matchers": [{"name": "node", "operator": "like"}]}"#,
                "there are: = !=",
            ),
        ] {
            let error = wanted(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
