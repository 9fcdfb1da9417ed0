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
    mesh: MeshServiceClient<Channel>,
}

impl Api {
    pub(super) fn new(lab: Lab) -> Result<Self, ApiError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
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
        let mut mesh = self.mesh.clone();
        self.call("GetStatus", mesh.get_status(v1::GetStatusRequest {}))
    }

    /// Every known node.
    pub fn nodes(&self) -> Result<Vec<v1::Node>, ApiError> {
        let mut mesh = self.mesh.clone();
        Ok(self
            .call("ListNodes", mesh.list_nodes(v1::ListNodesRequest {}))?
            .nodes)
    }

    /// One layer.
    pub fn matrix(&self, layer: Layer) -> Result<v1::Matrix, ApiError> {
        let mut mesh = self.mesh.clone();
        let v1::Layer {
            kind,
            plane,
            family,
        } = layer.into();
        self.call(
            "GetMatrix",
            mesh.get_matrix(v1::GetMatrixRequest {
                kind,
                plane,
                family,
            }),
        )
    }

    /// Everything between two nodes.
    pub fn path(&self, source: &str, target: &str) -> Result<v1::PathDetail, ApiError> {
        let mut mesh = self.mesh.clone();
        let request = v1::GetPathRequest {
            source: source.to_owned(),
            target: target.to_owned(),
        };
        self.call("GetPath", mesh.get_path(request))
    }

    /// Incidents, newest first; at most a thousand.
    pub fn incidents(&self, include_resolved: bool) -> Result<Vec<v1::Incident>, ApiError> {
        let mut mesh = self.mesh.clone();
        let request = v1::ListIncidentsRequest {
            include_resolved,
            page_size: 1000,
            page_token: String::new(),
        };
        Ok(self
            .call("ListIncidents", mesh.list_incidents(request))?
            .incidents)
    }

    fn call<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ApiError> {
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, call).await });
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

fn connect(lab: &Lab) -> io::Result<tokio::net::TcpStream> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, AGGREGATOR_PORT));
    let stream = lab
        .connect_in(&lab.aggregator().namespace, loopback, PATIENCE)
        .map_err(io::Error::other)?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    tokio::net::TcpStream::from_std(stream)
}
