//! The public gRPC API, asked over the loopback of the aggregator's own namespace, blocking.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use meshprobe_core::path::Layer;
use meshprobe_proto::v1::{self, mesh_service_client::MeshServiceClient};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Response, Status};

use crate::Lab;
use crate::addressing::AGGREGATOR_PORT;

/// Longest wait for a connection and for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A matrix of the largest lab is far smaller.
const MAX_MESSAGE: usize = 16 << 20;

type MeshClient = MeshServiceClient<Channel>;

/// The API gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("make a client")]
    Client(#[source] io::Error),
    #[error("call {method}: {} ({:?})", status.message(), status.code())]
    Call {
        method: &'static str,
        #[source]
        status: Box<Status>,
    },
    #[error("call {method}: no answer within {PATIENCE:?}")]
    Timeout { method: &'static str },
}

/// A client of `MeshService`. It connects when it is first asked, and again after the aggregator was restarted.
///
/// Blocks the calling thread; not to be used inside an asynchronous runtime.
#[derive(Debug)]
pub struct Api {
    runtime: Runtime,
    mesh: MeshClient,
}

impl Api {
    pub(super) fn new(lab: Lab) -> Result<Self, ApiError> {
        // With a thread of its own: the aggregator closes connections that do not answer its keep-alive between two calls.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mesh-api")
            .enable_all()
            .build()
            .map_err(ApiError::Client)?;
        let connector = tower::service_fn(move |_: Uri| {
            let lab = lab.clone();
            async move { connect(&lab).map(hyper_util::rt::TokioIo::new) }
        });
        let channel = {
            // A lazy channel wants to know the runtime that it will live in.
            let _context = runtime.enter();
            Endpoint::from_static("http://aggregator").connect_with_connector_lazy(connector)
        };
        Ok(Self {
            runtime,
            mesh: MeshServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE),
        })
    }

    /// How the mesh and the aggregator are doing.
    pub fn status(&self) -> Result<v1::Status, ApiError> {
        self.call("GetStatus", async |mut mesh| {
            mesh.get_status(v1::GetStatusRequest {}).await
        })
    }

    /// Every known node.
    pub fn nodes(&self) -> Result<Vec<v1::Node>, ApiError> {
        let list =
            async |mut mesh: MeshClient| mesh.list_nodes(v1::ListNodesRequest::default()).await;
        Ok(self.call("ListNodes", list)?.nodes)
    }

    /// One node, with what its probers say about themselves.
    pub fn node(&self, name: &str) -> Result<v1::NodeDetail, ApiError> {
        let request = v1::GetNodeRequest {
            name: name.to_owned(),
        };
        self.call("GetNode", async |mut mesh| {
            mesh.get_node(request.clone()).await
        })
    }

    /// One layer.
    pub fn matrix(&self, layer: Layer) -> Result<v1::Matrix, ApiError> {
        let v1::Layer {
            kind,
            plane,
            family,
        } = layer.into();
        let request = v1::GetMatrixRequest {
            kind,
            plane,
            family,
            at: None,
        };
        self.call("GetMatrix", async |mut mesh| mesh.get_matrix(request).await)
    }

    /// Everything between two nodes.
    pub fn path(&self, source: &str, target: &str) -> Result<v1::PathDetail, ApiError> {
        let request = v1::GetPathRequest {
            source: source.to_owned(),
            target: target.to_owned(),
            at: None,
        };
        self.call("GetPath", async |mut mesh| {
            mesh.get_path(request.clone()).await
        })
    }

    /// Incidents, newest first; at most a thousand.
    pub fn incidents(&self, include_resolved: bool) -> Result<Vec<v1::Incident>, ApiError> {
        let request = v1::ListIncidentsRequest {
            include_resolved,
            page_size: 1000,
            page_token: String::new(),
        };
        let list = async |mut mesh: MeshClient| mesh.list_incidents(request.clone()).await;
        Ok(self.call("ListIncidents", list)?.incidents)
    }

    /// Asks, and asks again once if the connection turns out to be an old one: the aggregator may have been restarted.
    fn call<T>(
        &self,
        method: &'static str,
        ask: impl AsyncFn(MeshClient) -> Result<Response<T>, Status>,
    ) -> Result<T, ApiError> {
        let asked_twice = async {
            match ask(self.mesh.clone()).await {
                Err(status) if is_of_the_connection(&status) => ask(self.mesh.clone()).await,
                answer => answer,
            }
        };
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, asked_twice).await });
        match answer {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(ApiError::Call {
                method,
                status: Box::new(status),
            }),
            Err(_) => Err(ApiError::Timeout { method }),
        }
    }
}

/// An answer of the aggregator has no source.
fn is_of_the_connection(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

fn connect(lab: &Lab) -> io::Result<tokio::net::TcpStream> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, AGGREGATOR_PORT));
    let stream = lab
        .connect_in(&lab.aggregator().namespace, loopback, PATIENCE)
        .map_err(io::Error::other)?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    tokio::net::TcpStream::from_std(stream)
}
