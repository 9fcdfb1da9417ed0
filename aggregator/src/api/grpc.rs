//! The gRPC face: unpacks the request, asks [`Api`], maps the error.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt as _};
use meshprobe_proto::{
    json::JsonWriter,
    v1::{self, mesh_service_server::MeshService},
};
use tonic::{Request, Response, Status};

use super::{
    Api,
    past::{BUNDLE_CHUNK, moment},
    wanted_layer,
};

/// `meshprobe.v1.MeshService`.
#[derive(Clone, Debug)]
pub struct MeshApiService(pub Api);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl MeshService for MeshApiService {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::Status>, Status> {
        Ok(Response::new(self.0.status()))
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let v1::ListNodesRequest { at } = request.into_inner();
        Ok(Response::new(match moment(at)? {
            None => self.0.nodes(),
            Some(at) => self.0.nodes_at(at).await?,
        }))
    }

    async fn get_matrix(
        &self,
        request: Request<v1::GetMatrixRequest>,
    ) -> Result<Response<v1::Matrix>, Status> {
        let layer = wanted_layer(request.get_ref())?;
        Ok(Response::new(match moment(request.into_inner().at)? {
            None => self.0.matrix(layer).await?,
            Some(at) => self.0.matrix_at(layer, at).await?,
        }))
    }

    type WatchMatrixStream = Answers<v1::Matrix>;

    async fn watch_matrix(
        &self,
        request: Request<v1::WatchMatrixRequest>,
    ) -> Result<Response<Self::WatchMatrixStream>, Status> {
        let v1::WatchMatrixRequest {
            matrix,
            min_interval_millis,
        } = request.into_inner();
        let matrix = matrix.unwrap_or_default();
        if matrix.at.is_some() {
            return Err(Status::invalid_argument(
                "the past does not change: ask GetMatrix with `at`",
            ));
        }
        let layer = wanted_layer(&matrix)?;
        let min_interval = Duration::from_millis(u64::from(min_interval_millis));
        let matrices = self.0.watch_matrix(layer, min_interval)?;
        Ok(Response::new(Box::pin(
            matrices.map(|matrix| matrix.map_err(Status::from)),
        )))
    }

    async fn get_path(
        &self,
        request: Request<v1::GetPathRequest>,
    ) -> Result<Response<v1::PathDetail>, Status> {
        let v1::GetPathRequest { source, target, at } = request.into_inner();
        Ok(Response::new(match moment(at)? {
            None => self.0.path(&source, &target).await?,
            Some(at) => self.0.path_at(&source, &target, at).await?,
        }))
    }

    async fn get_node(
        &self,
        request: Request<v1::GetNodeRequest>,
    ) -> Result<Response<v1::NodeDetail>, Status> {
        Ok(Response::new(self.0.node(&request.get_ref().name).await?))
    }

    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::Node>, Status> {
        Ok(Response::new(
            self.0.drain_node(request.into_inner()).await?,
        ))
    }

    async fn end_drain(
        &self,
        request: Request<v1::EndDrainRequest>,
    ) -> Result<Response<v1::Node>, Status> {
        Ok(Response::new(
            self.0.end_drain(&request.get_ref().node).await?,
        ))
    }

    async fn add_event(
        &self,
        request: Request<v1::AddEventRequest>,
    ) -> Result<Response<v1::NodeDetail>, Status> {
        Ok(Response::new(self.0.add_event(request.into_inner()).await?))
    }

    async fn run_probe(
        &self,
        request: Request<v1::RunProbeRequest>,
    ) -> Result<Response<v1::RunProbeResponse>, Status> {
        Ok(Response::new(self.0.run_probe(request.into_inner()).await?))
    }

    async fn list_incidents(
        &self,
        request: Request<v1::ListIncidentsRequest>,
    ) -> Result<Response<v1::ListIncidentsResponse>, Status> {
        Ok(Response::new(self.0.list_incidents(request.get_ref())?))
    }

    async fn list_findings(
        &self,
        request: Request<v1::ListFindingsRequest>,
    ) -> Result<Response<v1::ListFindingsResponse>, Status> {
        let request = request.into_inner();
        Ok(Response::new(match moment(request.at)? {
            None => self.0.list_findings(&request)?,
            Some(at) => self.0.findings_at(&request, at).await?,
        }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::Explanation>, Status> {
        let v1::ExplainRequest { source, target } = request.into_inner();
        Ok(Response::new(self.0.explain(&source, &target).await?))
    }

    async fn get_incident(
        &self,
        request: Request<v1::GetIncidentRequest>,
    ) -> Result<Response<v1::IncidentDetail>, Status> {
        Ok(Response::new(self.0.incident(&request.get_ref().id).await?))
    }

    type GetBundleStream = Answers<v1::BundleChunk>;

    async fn get_bundle(
        &self,
        request: Request<v1::GetBundleRequest>,
    ) -> Result<Response<Self::GetBundleStream>, Status> {
        let json = JsonWriter::new().map_err(|error| Status::internal(error.to_string()))?;
        let file = self.0.bundle(&request.get_ref().id, &json).await?;
        let chunks = (0..file.len()).step_by(BUNDLE_CHUNK).map(move |start| {
            let end = file.len().min(start + BUNDLE_CHUNK);
            Ok(v1::BundleChunk {
                data: file.slice(start..end),
            })
        });
        Ok(Response::new(Box::pin(futures_util::stream::iter(chunks))))
    }

    async fn create_silence(
        &self,
        request: Request<v1::CreateSilenceRequest>,
    ) -> Result<Response<v1::Silence>, Status> {
        Ok(Response::new(
            self.0.create_silence(request.into_inner()).await?,
        ))
    }

    async fn list_silences(
        &self,
        request: Request<v1::ListSilencesRequest>,
    ) -> Result<Response<v1::ListSilencesResponse>, Status> {
        Ok(Response::new(self.0.list_silences(request.get_ref())?))
    }

    async fn delete_silence(
        &self,
        request: Request<v1::DeleteSilenceRequest>,
    ) -> Result<Response<v1::Silence>, Status> {
        Ok(Response::new(
            self.0.delete_silence(&request.get_ref().id).await?,
        ))
    }

    async fn list_notifications(
        &self,
        request: Request<v1::ListNotificationsRequest>,
    ) -> Result<Response<v1::ListNotificationsResponse>, Status> {
        Ok(Response::new(self.0.list_notifications(request.get_ref())?))
    }

    async fn retry_notification(
        &self,
        request: Request<v1::RetryNotificationRequest>,
    ) -> Result<Response<v1::RetryNotificationResponse>, Status> {
        Ok(Response::new(
            self.0.retry_notification(request.into_inner()).await?,
        ))
    }

    async fn send_test_notification(
        &self,
        request: Request<v1::SendTestNotificationRequest>,
    ) -> Result<Response<v1::SendTestNotificationResponse>, Status> {
        Ok(Response::new(
            self.0.send_test_notification(request.into_inner()).await?,
        ))
    }

    type WatchIncidentsStream = Answers<v1::Incident>;

    async fn watch_incidents(
        &self,
        _: Request<v1::WatchIncidentsRequest>,
    ) -> Result<Response<Self::WatchIncidentsStream>, Status> {
        let incidents = self.0.watch_incidents()?;
        Ok(Response::new(Box::pin(
            incidents.map(|incident| incident.map_err(Status::from)),
        )))
    }
}
