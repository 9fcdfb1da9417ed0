//! What a controller or a person says of nodes: that they are drained, what the cluster reported.

use std::time::Duration;

use meshprobe_proto::v1;

use super::{Api, ApiError, past::moment, views};
use crate::{
    membership::{Drain, NodeEvent, ToldError, USUAL_DRAIN},
    pipeline::Told,
    snapshot::NodeDetail,
    wall,
};

impl Api {
    /// A node is expected to go for a while.
    pub async fn drain_node(&self, request: v1::DrainNodeRequest) -> Result<v1::Node, ApiError> {
        let v1::DrainNodeRequest {
            node,
            duration_seconds,
            author,
            comment,
        } = request;
        let lasts = match duration_seconds {
            0 => USUAL_DRAIN,
            seconds => Duration::from_secs(seconds),
        };
        let drain = Drain::new(lasts, &author, &comment, wall::now())?;
        let detail = self.tell(&node, Told::Drained(drain)).await?;
        Ok(views::node(&detail.row))
    }

    /// A node is not expected to go any more.
    pub async fn end_drain(&self, node: &str) -> Result<v1::Node, ApiError> {
        let detail = self.tell(node, Told::NotDrained).await?;
        Ok(views::node(&detail.row))
    }

    /// The cluster reported something about a node.
    pub async fn add_event(
        &self,
        request: v1::AddEventRequest,
    ) -> Result<v1::NodeDetail, ApiError> {
        let v1::AddEventRequest {
            node,
            reason,
            message,
            at,
        } = request;
        let event = NodeEvent::new(&reason, &message, moment(at)?, wall::now())?;
        let detail = self.tell(&node, Told::Event(event)).await?;
        Ok(views::node_detail(&detail))
    }

    async fn tell(&self, node: &str, told: Told) -> Result<NodeDetail, ApiError> {
        if node.is_empty() {
            return Err(ApiError::Invalid(
                "node is missing: write the name of a node".to_owned(),
            ));
        }
        let told = self.mesh.tell(node, told).await?;
        told.ok_or_else(|| {
            ApiError::NotFound(format!(
                "no node is called {node:?}; a node is known once its prober called, or when `nodes` in the configuration \
                 lists it"
            ))
        })
    }
}

impl From<ToldError> for ApiError {
    fn from(error: ToldError) -> Self {
        Self::Invalid(error.to_string())
    }
}
