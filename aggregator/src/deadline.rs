//! Waiting for a deadline that there may not be.

use std::time::Instant;

use tokio::time::sleep_until;

/// Until the deadline; for ever if there is none.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
