//! The demo's cluster: sockets on the host, namespaces, daemons.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_lab::mesh::{Api, Binaries, Mesh, MeshOptions};
use meshprobe_lab::{HostSocket, Inside, Lab, LabSpec, Placement, enter};
use meshprobe_proto::v1;
use serde_json::json;

use super::control;
use crate::args::DemoArgs;
use crate::console::Console;
use crate::render::matrix::{HeatTable, Surroundings, render};

/// From the start of the daemons to a healthy mesh. It takes seconds; a busy machine takes longer.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// What the demo shows.
pub(super) const LAYER: Layer = Layer {
    kind: ProbeKind::Udp,
    plane: Plane::Pod,
    family: Family::V4,
};

/// A running cluster that this program is in.
pub(super) struct World {
    pub(super) mesh: Mesh,
    pub(super) api: Api,
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
}

impl World {
    /// Enters the namespaces: returns only inside, where it has the control socket if one was wanted.
    ///
    /// To be called before any thread exists.
    pub(super) fn enter(arguments: &DemoArgs) -> anyhow::Result<(Inside, Option<UnixListener>)> {
        // Asked for now: a missing program shall not show after the cluster is built.
        Binaries::find()?;
        let inside = enter(|| sockets(arguments)).context("start the demo")?;
        let control = inside
            .socket("control")
            .map(|socket| socket.try_clone_to_owned())
            .transpose()?;
        Ok((inside, control.map(UnixListener::from)))
    }

    /// Builds the cluster, starts the daemons, waits until all is well.
    pub(super) fn build(
        arguments: &DemoArgs,
        inside: &Inside,
        console: &Console,
    ) -> anyhow::Result<Self> {
        if arguments.keep_logs {
            inside.keep_state_directory().context("keep the logs")?;
        }
        let spec = LabSpec {
            nodes: arguments.nodes,
            zones: arguments.zones,
            dns_instances: arguments.nodes.min(2),
            placement: Placement::Blocks,
            ..LabSpec::default()
        };
        console.print(&format!(
            "Building a virtual cluster: {} nodes in {} zones, a VXLAN overlay, DNS servers, an internet.\n",
            spec.nodes, spec.zones
        ))?;
        let started = now();
        let lab = Lab::build(inside, &spec).context("build the virtual cluster")?;
        let (grpc, http) = (address(inside, "grpc")?, address(inside, "http")?);
        let options = MeshOptions {
            sockets: vec![
                ("grpc".to_owned(), socket(inside, "grpc")?),
                ("http".to_owned(), socket(inside, "http")?),
            ],
            external_url: Some(format!("http://{http}")),
            aggregator: json!({"probing": lively()}),
            ..MeshOptions::default()
        };
        console.print("Starting the aggregator and a prober on every node; waiting until every path is healthy.\n")?;
        let mesh = Mesh::start(&lab, options).context("start the daemons")?;
        mesh.wait_until_healthy(START_PATIENCE)?;
        let took = now().saturating_duration_since(started);
        console.print(&format!("Healthy after {:.0} s.\n\n", took.as_secs_f64()))?;
        let api = mesh.api()?;
        Ok(Self {
            mesh,
            api,
            grpc,
            http,
        })
    }

    /// The heat table as it is now.
    pub(super) fn matrix(&self, console: &Console) -> anyhow::Result<String> {
        let status = self.api.status()?;
        let open: Vec<v1::Incident> = self.api.incidents(false)?;
        let heat = HeatTable::try_from(&self.api.matrix(LAYER)?)?;
        let around = Surroundings {
            width: console.fitting_width(),
            open_incidents: &open,
            layers: &status.layers,
            not_judging: (!status.judging).then_some(status.not_judging_reason.as_str()),
            now: console.now(),
        };
        Ok(render(&heat, &around))
    }
}

/// Intervals at which a person who watches need not wait. Detection is as in production.
fn lively() -> serde_json::Value {
    let every_second = json!({"interval": "1s", "timeout": "500ms"});
    json!({"report_interval": "2s", "tcp": every_second, "dns_udp": every_second, "dns_tcp": every_second})
}

/// In the host's namespace: the API's listeners, and the control socket of a demo that can be steered.
fn sockets(arguments: &DemoArgs) -> io::Result<Vec<HostSocket>> {
    // The script is for machines: it must not collide with anything.
    let default_port = |port: u16| if arguments.script { 0 } else { port };
    let listen = |given: Option<SocketAddr>, port: u16, flag: &str| {
        let address = given.unwrap_or(SocketAddr::from(([127, 0, 0, 1], default_port(port))));
        TcpListener::bind(address).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot listen on {address}: {error}. Choose another with {flag} IP:PORT"),
            )
        })
    };
    let mut sockets = vec![
        HostSocket::new(
            "grpc",
            listen(arguments.listen_grpc, 4860, "--listen-grpc")?,
        ),
        HostSocket::new(
            "http",
            listen(arguments.listen_http, 4861, "--listen-http")?,
        ),
    ];
    if !arguments.script {
        sockets.push(HostSocket::new(
            "control",
            control::listen(&control::path())?,
        ));
    }
    Ok(sockets)
}

fn socket(inside: &Inside, name: &str) -> anyhow::Result<OwnedFd> {
    let socket = inside
        .socket(name)
        .with_context(|| format!("the socket {name} did not come along"))?;
    Ok(socket.try_clone_to_owned()?)
}

fn address(inside: &Inside, name: &str) -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::from(socket(inside, name)?).local_addr()?)
}

/// The demo tells how long things took.
#[expect(
    clippy::disallowed_methods,
    reason = "the demo's clock: real daemons, real time"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
