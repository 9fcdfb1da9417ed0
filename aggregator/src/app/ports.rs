//! The two public ports: what they answer and what they grant.

use std::{net::TcpListener, time::Duration};

use anyhow::Context as _;
use meshprobe_daemon::{
    exit::Failure,
    http::{HttpServer, Limits},
    shutdown::Shutdown,
    tasks::Tasks,
    tls::ServerTls,
};
use meshprobe_proto::v1::{self, mesh_service_server::MeshServiceServer};
use tonic::service::Routes;

use crate::{
    api::{Api, MeshApiService},
    config::Config,
    pipeline::Pipeline,
};

/// Requests of the public API are small; reports go through a service with its own limit.
const MAX_REQUEST_BYTES: usize = 64 << 10;
/// What the open requests of a port have to end in, inside the deadline of the whole drain.
const CONNECTION_GRACE: Duration = Duration::from_secs(5);

/// The listeners of both ports, bound.
pub(super) struct Ports {
    pub(super) grpc: Vec<TcpListener>,
    pub(super) http: Vec<TcpListener>,
}

/// Everything that the gRPC port answers: probers, the public API, health, reflection.
pub(super) fn grpc_router(
    api: &Api,
    pipeline: &Pipeline,
    health: impl tonic::codegen::Service<
        http::Request<tonic::body::Body>,
        Response = http::Response<tonic::body::Body>,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + tonic::server::NamedService
    + Clone
    + Send
    + Sync
    + 'static,
) -> Result<axum::Router, Failure> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("prepare reflection")?;
    let mesh = MeshServiceServer::new(MeshApiService(api.clone()))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    Ok(Routes::new(mesh)
        .add_service(pipeline.service())
        .add_service(health)
        .add_service(reflection)
        .prepare()
        .into_axum_router())
}

/// Probers keep one connection each; a dead one is noticed by its silence.
pub(super) fn grpc_limits(config: &Config) -> Limits {
    Limits {
        connections: config.limits.grpc_connections,
        keep_alive: config.limits.keepalive_interval.duration(),
        keep_alive_timeout: config.limits.keepalive_timeout.duration(),
        grace: CONNECTION_GRACE,
        ..Limits::default()
    }
}

/// People and tools come and go.
pub(super) fn http_limits(config: &Config) -> Limits {
    Limits {
        connections: config.limits.http_connections,
        grace: CONNECTION_GRACE,
        ..Limits::default()
    }
}

/// One task for each listener.
pub(super) fn serve(
    tasks: &mut Tasks,
    name: &str,
    listeners: Vec<TcpListener>,
    limits: Limits,
    tls: Option<&ServerTls>,
    router: &axum::Router,
    shutdown: &Shutdown,
) -> Result<(), Failure> {
    for (index, listener) in listeners.into_iter().enumerate() {
        let server = HttpServer::new(listener, limits)
            .with_context(|| format!("serve {name}"))?
            .with_tls(tls.cloned());
        tasks.spawn(
            format!("{name}-{index}"),
            server.serve(router.clone(), shutdown.clone()),
        );
    }
    Ok(())
}
