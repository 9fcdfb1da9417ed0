//! What changes something: silences, and what is said of nodes.

use meshprobe_proto::v1;

use super::{Client, ClientError, MAX_PAGES, PAGE};

impl Client {
    /// Says that a node is cordoned or drained.
    pub async fn drain_node(&self, request: v1::DrainNodeRequest) -> Result<v1::Node, ClientError> {
        let mut mesh = self.mesh.clone();
        self.answer(mesh.drain_node(request)).await
    }

    /// Says that it is not any more.
    pub async fn end_drain(&self, node: String) -> Result<v1::Node, ClientError> {
        let mut mesh = self.mesh.clone();
        self.answer(mesh.end_drain(v1::EndDrainRequest { node }))
            .await
    }

    /// Says what the cluster reported about a node.
    pub async fn add_event(
        &self,
        request: v1::AddEventRequest,
    ) -> Result<v1::NodeDetail, ClientError> {
        let mut mesh = self.mesh.clone();
        self.answer(mesh.add_event(request)).await
    }

    /// Makes a silence.
    pub async fn create_silence(
        &self,
        request: v1::CreateSilenceRequest,
    ) -> Result<v1::Silence, ClientError> {
        let mut mesh = self.mesh.clone();
        self.answer(mesh.create_silence(request)).await
    }

    /// Silences, all pages.
    pub async fn silences(&self, include_expired: bool) -> Result<Vec<v1::Silence>, ClientError> {
        let mut silences = Vec::new();
        let mut page_token = String::new();
        for _ in 0..MAX_PAGES {
            let mut mesh = self.mesh.clone();
            let request = v1::ListSilencesRequest {
                include_expired,
                page_size: PAGE,
                page_token,
            };
            let page = self.answer(mesh.list_silences(request)).await?;
            silences.extend(page.silences);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        Ok(silences)
    }

    /// Ends a silence.
    pub async fn delete_silence(&self, id: String) -> Result<v1::Silence, ClientError> {
        let mut mesh = self.mesh.clone();
        self.answer(mesh.delete_silence(v1::DeleteSilenceRequest { id }))
            .await
    }
}
