//! Streams to clients. Each is pulled by its client: a slow one skips matrices and never slows anybody else; one that
//! cannot keep up with incidents is told how many it missed, and ends. All end on shutdown, saying so.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use meshprobe_core::path::Layer;
use meshprobe_proto::v1;
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep_until},
};

use super::{Api, ApiError, Watching};
use crate::{incident::Incident, snapshot::Snapshot};

/// Nobody sees more than ten changes a second.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

impl Api {
    /// The matrix now, then after each change, at most once in `min_interval`.
    pub fn watch_matrix(
        &self,
        layer: Layer,
        min_interval: Duration,
    ) -> Result<impl Stream<Item = Result<v1::Matrix, ApiError>> + Send + use<>, ApiError> {
        let watch = MatrixWatch {
            api: self.clone(),
            layer,
            min_interval: min_interval.max(MIN_INTERVAL),
            snapshots: self.mesh.watch(),
            sent: None,
            _watching: self.watchers.enter()?,
        };
        Ok(stream::unfold(Some(watch), async |watch| {
            let mut watch = watch?;
            match watch.next().await {
                Ok(matrix) => Some((Ok(matrix), Some(watch))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// Open incidents now, then each change.
    pub fn watch_incidents(
        &self,
    ) -> Result<impl Stream<Item = Result<v1::Incident, ApiError>> + Send + use<>, ApiError> {
        let watching = self.watchers.enter()?;
        let (open, changes_rx) = self.incidents.watch();
        let watch = IncidentWatch {
            api: self.clone(),
            open: open.into(),
            changes_rx,
            _watching: watching,
        };
        Ok(stream::unfold(Some(watch), async |watch| {
            let mut watch = watch?;
            match watch.next().await {
                Ok(incident) => Some((Ok(incident), Some(watch))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

struct MatrixWatch {
    api: Api,
    layer: Layer,
    min_interval: Duration,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Version and time of the last one.
    sent: Option<(u64, Instant)>,
    _watching: Watching,
}

impl MatrixWatch {
    async fn next(&mut self) -> Result<v1::Matrix, ApiError> {
        let shutdown = self.api.shutdown.clone();
        shutdown
            .or_signaled(self.changed())
            .await
            .unwrap_or(Err(ApiError::Stopping))
    }

    async fn changed(&mut self) -> Result<v1::Matrix, ApiError> {
        loop {
            if let Some((_, at)) = self.sent {
                sleep_until(at + self.min_interval).await;
            }
            self.snapshots.mark_unchanged();
            let matrix = self.api.matrix(self.layer).await?;
            if self
                .sent
                .is_none_or(|(version, _)| version != matrix.version)
            {
                self.sent = Some((matrix.version, Instant::now()));
                return Ok(matrix);
            }
            self.snapshots
                .changed()
                .await
                .map_err(|_| ApiError::Stopping)?;
        }
    }
}

struct IncidentWatch {
    api: Api,
    open: VecDeque<Incident>,
    changes_rx: broadcast::Receiver<Incident>,
    _watching: Watching,
}

impl IncidentWatch {
    async fn next(&mut self) -> Result<v1::Incident, ApiError> {
        let incident = match self.open.pop_front() {
            Some(incident) => incident,
            None => match self.api.shutdown.or_signaled(self.changes_rx.recv()).await {
                None | Some(Err(broadcast::error::RecvError::Closed)) => {
                    return Err(ApiError::Stopping);
                }
                Some(Err(broadcast::error::RecvError::Lagged(missed))) => {
                    return Err(ApiError::Lagged { missed });
                }
                Some(Ok(incident)) => incident,
            },
        };
        let links = self.api.audience.borrow().links.clone();
        Ok(self.api.incident_view(&incident, &links))
    }
}
