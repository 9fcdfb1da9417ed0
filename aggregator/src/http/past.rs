//! The file of an incident.

use axum::{
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};

use super::{Shared, query::Query, refuse};

/// `GET /api/v1/incidents/{id}/bundle`: the file itself, to be saved.
pub(super) async fn bundle(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    query: Query,
) -> Response {
    let made = async {
        query.finish()?;
        shared.api.bundle(&id, &shared.json).await
    }
    .await;
    match made {
        Ok(file) => {
            // An id is of letters, digits and hyphens: the incident was found by it.
            let name = format!("attachment; filename=\"{id}.mpbundle\"");
            let headers = [
                (header::CONTENT_TYPE, "application/zstd".to_owned()),
                (header::CONTENT_DISPOSITION, name),
            ];
            (headers, file).into_response()
        }
        Err(error) => refuse(&error),
    }
}
