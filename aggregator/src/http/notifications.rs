//! `/api/v1/notifications`.

use axum::{
    extract::{FromRequest, Request, State},
    response::Response,
};
use meshprobe_proto::v1;
use serde::Deserialize;

use super::{
    Shared,
    probe::json_body,
    query::{Query, named},
};
use crate::api::ApiError;

pub(super) async fn list(State(shared): State<Shared>, mut query: Query) -> Response {
    let found = (|| {
        let states = query.text("state");
        let states = states
            .split(',')
            .filter(|name| !name.is_empty())
            .map(|name| {
                named(name, "NOTIFICATION_STATE_", |name| {
                    v1::NotificationState::from_str_name(name).map(i32::from)
                })
                .ok_or_else(|| {
                    ApiError::Invalid(format!(
                        "state={name:?} is unknown; there are pending, delivered, dead and digested"
                    ))
                })
            });
        let request = v1::ListNotificationsRequest {
            states: states.collect::<Result<_, _>>()?,
            receiver: query.text("receiver"),
            page_size: query.count("pageSize")?,
            page_token: query.text("pageToken"),
        };
        query.finish()?;
        shared.api.list_notifications(&request)
    })();
    shared.answer(found)
}

/// Which notification, or which receiver.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Which {
    receiver: String,
    id: String,
}

impl<S: Send + Sync> FromRequest<S> for Which {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = json_body(request, state).await?;
        serde_json::from_slice(&body).map_err(|error| {
            ApiError::Invalid(format!(
                "{error}; write for example {{\"receiver\": \"pager\"}}"
            ))
        })
    }
}

pub(super) async fn test(State(shared): State<Shared>, which: Result<Which, ApiError>) -> Response {
    let tested = async {
        let Which { receiver, id } = which?;
        if !id.is_empty() {
            return Err(ApiError::Invalid("a test has no id".to_owned()));
        }
        let request = v1::SendTestNotificationRequest { receiver };
        shared.api.send_test_notification(request).await
    }
    .await;
    shared.answer(tested)
}

pub(super) async fn retry(
    State(shared): State<Shared>,
    which: Result<Which, ApiError>,
) -> Response {
    let retried = async {
        let Which { receiver, id } = which?;
        let request = v1::RetryNotificationRequest { receiver, id };
        shared.api.retry_notification(request).await
    }
    .await;
    shared.answer(retried)
}
