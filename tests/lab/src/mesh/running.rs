//! The processes of a mesh, by name, and what is asked of them.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use meshprobe_core::path::{Layer, ProbeKind};
use meshprobe_core::verdict::Verdict;
use meshprobe_proto::v1;

use super::binaries::Binaries;
use super::webhook::Receiver;
use super::{Api, ApiError, Mesh, MeshError, MeshOptions, config, http};
use crate::addressing as at;
use crate::{Lab, LabNode, Process};

/// The aggregator's process name; a prober's is `prober-` and its node's name, a second prober's `host-prober-` and that.
pub(super) const AGGREGATOR: &str = "aggregator";
/// A daemon that has not ended this long after SIGTERM hangs. Its own drain deadline is shorter.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// An admin port answers at once or not at all.
const ADMIN_PATIENCE: Duration = Duration::from_secs(5);
/// How often a mesh that is not healthy yet is asked.
const POLL: Duration = Duration::from_millis(200);

/// What [`Mesh`] shares between its clones.
#[derive(Debug)]
pub(super) struct Running {
    // Processes end before what they talk to.
    processes: Mutex<BTreeMap<String, Process>>,
    pub(super) receiver: Receiver,
    binaries: Binaries,
    sockets: Vec<(String, OwnedFd)>,
    /// What every prober finds in its environment.
    prober_variables: Vec<(&'static str, String)>,
    pub(super) lab: Lab,
}

impl Running {
    /// Writes the configuration files and starts the webhook receiver.
    pub(super) fn prepare(lab: &Lab, options: MeshOptions) -> Result<Self, MeshError> {
        let MeshOptions {
            binaries,
            sockets,
            external_url,
            targets,
            proxy,
            aggregator,
            prober,
            log_level,
        } = options;
        let binaries = binaries.map_or_else(Binaries::find, Ok)?;
        let mut config = config::aggregator(lab, &log_level, external_url.as_deref());
        if targets {
            config::overlay(&mut config, &config::targets(lab));
        }
        config::overlay(&mut config, &aggregator);
        config::write(&config_path(lab, AGGREGATOR), &config)?;
        for node in lab.nodes() {
            let mut config = config::prober(lab, node, &log_level);
            config::overlay(&mut config, &prober);
            config::write(&config_path(lab, &prober_name(node)), &config)?;
            if lab.has_host_probers() {
                let mut config = config::host_prober(lab, node, &log_level);
                config::overlay(&mut config, &prober);
                config::write(&config_path(lab, &host_prober_name(node)), &config)?;
            }
        }
        let address = SocketAddr::from((at::WEBHOOK_IP, config::WEBHOOK_PORT));
        let listener = lab.listen_in(at::INTERNET, address)?;
        Ok(Self {
            processes: Mutex::default(),
            receiver: Receiver::start(listener).map_err(MeshError::Webhook)?,
            binaries,
            sockets,
            prober_variables: if proxy {
                config::proxy_variables(lab.start_proxy()?)
            } else {
                Vec::new()
            },
            lab: lab.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Process>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn node(&self, name: &str) -> Result<&LabNode, MeshError> {
        self.lab
            .node(name)
            .ok_or_else(|| MeshError::UnknownNode(name.to_owned()))
    }

    pub(super) fn prober_name(&self, node: &str) -> Result<String, MeshError> {
        self.node(node).map(prober_name)
    }

    pub(super) fn host_prober_name(&self, node: &str) -> Result<String, MeshError> {
        self.node(node).map(host_prober_name)
    }

    pub(super) fn start_aggregator(&self) -> Result<(), MeshError> {
        self.start(
            AGGREGATOR,
            &self.lab.aggregator().namespace,
            &self.binaries.aggregator,
            &self.sockets,
        )
    }

    pub(super) fn start_prober(&self, node: &str) -> Result<(), MeshError> {
        let node = self.node(node)?;
        self.start(
            &prober_name(node),
            &node.pod_namespace,
            &self.binaries.prober,
            &[],
        )
    }

    pub(super) fn start_host_prober(&self, node: &str) -> Result<(), MeshError> {
        let node = self.node(node)?;
        self.start(
            &host_prober_name(node),
            &node.namespace,
            &self.binaries.prober,
            &[],
        )
    }

    fn start(
        &self,
        name: &str,
        namespace: &str,
        program: &Path,
        sockets: &[(String, OwnedFd)],
    ) -> Result<(), MeshError> {
        let mut processes = self.lock();
        // One that ended by itself makes room; one that runs does not.
        if let Some(process) = processes.get_mut(name)
            && process.try_wait()?.is_none()
        {
            return Err(MeshError::RunsAlready {
                name: name.to_owned(),
            });
        }
        let mut builder = self
            .lab
            .process(name, namespace, program)
            .arg("--config")
            .arg(config_path(&self.lab, name));
        for (socket_name, socket) in sockets {
            builder = builder.socket(socket_name, socket)?;
        }
        if name != AGGREGATOR {
            for (variable, value) in &self.prober_variables {
                builder = builder.env(variable, value);
            }
        }
        processes.insert(name.to_owned(), builder.spawn()?);
        Ok(())
    }

    fn with_process<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Process) -> Result<T, crate::ProcessError>,
    ) -> Result<T, MeshError> {
        let mut processes = self.lock();
        let process = processes
            .get_mut(name)
            .ok_or_else(|| MeshError::DoesNotRun {
                name: name.to_owned(),
            })?;
        Ok(act(process)?)
    }

    pub(super) fn kill(&self, name: &str) -> Result<(), MeshError> {
        let mut process = self.take(name)?;
        process.kill()?;
        Ok(())
    }

    pub(super) fn stop(&self, name: &str) -> Result<ExitStatus, MeshError> {
        // Taken out first: the others can be steered while this one drains.
        let mut process = self.take(name)?;
        process.terminate()?;
        process
            .wait_for(STOP_PATIENCE)?
            .ok_or_else(|| MeshError::DidNotStop {
                name: name.to_owned(),
                patience: STOP_PATIENCE,
            })
    }

    fn take(&self, name: &str) -> Result<Process, MeshError> {
        self.lock()
            .remove(name)
            .ok_or_else(|| MeshError::DoesNotRun {
                name: name.to_owned(),
            })
    }

    pub(super) fn pause(&self, name: &str) -> Result<(), MeshError> {
        self.with_process(name, Process::pause)
    }

    pub(super) fn resume(&self, name: &str) -> Result<(), MeshError> {
        self.with_process(name, Process::resume)
    }

    /// What faults do to a process: one that is down cannot be disturbed.
    pub(super) fn if_running(
        &self,
        name: &str,
        act: impl FnOnce(&mut Process) -> Result<(), crate::ProcessError>,
    ) -> Result<(), MeshError> {
        match self.with_process(name, act) {
            Err(MeshError::DoesNotRun { .. }) => Ok(()),
            other => other,
        }
    }

    pub(super) fn pid(&self, name: &str) -> Option<u32> {
        self.lock().get(name).map(Process::pid)
    }

    pub(super) fn crashed(&self) -> Result<Vec<(String, ExitStatus)>, MeshError> {
        let mut crashed = Vec::new();
        for (name, process) in self.lock().iter_mut() {
            if let Some(status) = process.try_wait()? {
                crashed.push((name.clone(), status));
            }
        }
        Ok(crashed)
    }

    pub(super) fn admin(
        &self,
        name: &str,
        namespace: &str,
        port: u16,
        path: &str,
    ) -> Result<String, MeshError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = self.lab.connect_in(namespace, address, ADMIN_PATIENCE)?;
        let get = || -> io::Result<String> {
            stream.set_read_timeout(Some(ADMIN_PATIENCE))?;
            http::get(stream, path)
        };
        get().map_err(|source| MeshError::Admin {
            name: name.to_owned(),
            path: path.to_owned(),
            source,
        })
    }
}

fn prober_name(node: &LabNode) -> String {
    format!("prober-{}", node.name)
}

fn host_prober_name(node: &LabNode) -> String {
    format!("host-prober-{}", node.name)
}

fn config_path(lab: &Lab, name: &str) -> PathBuf {
    lab.state_directory().join(format!("{name}.yaml"))
}

/// The mesh did not become healthy in time.
#[derive(Debug)]
pub struct NotHealthy {
    patience: Duration,
    missing: String,
    logs: String,
}

impl NotHealthy {
    /// What was missing when the time was over.
    pub fn missing(&self) -> &str {
        &self.missing
    }

    /// The ends of the logs.
    pub fn logs(&self) -> &str {
        &self.logs
    }
}

impl fmt::Display for NotHealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the mesh is not healthy after {:?}: {}\n{}",
            self.patience, self.missing, self.logs
        )
    }
}

impl std::error::Error for NotHealthy {}

/// See [`Mesh::wait_until_healthy`].
#[expect(
    clippy::disallowed_methods,
    reason = "waits for real processes in real time"
)]
pub(super) fn wait_until_healthy(mesh: &Mesh, patience: Duration) -> Result<(), MeshError> {
    let api = mesh.api()?;
    let deadline = Instant::now() + patience;
    loop {
        let Some(missing) = missing(mesh, &api)? else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            let not_healthy = NotHealthy {
                patience,
                missing,
                logs: mesh.logs(),
            };
            return Err(Box::new(not_healthy).into());
        }
        thread::sleep(POLL);
    }
}

/// What keeps the mesh from being healthy.
fn missing(mesh: &Mesh, api: &Api) -> Result<Option<String>, MeshError> {
    if let Some((name, status)) = mesh.crashed()?.first() {
        return Ok(Some(format!("{name} has ended ({status})")));
    }
    match look(mesh, api) {
        Ok(missing) => Ok(missing),
        // Not there yet.
        Err(error) => Ok(Some(error.to_string())),
    }
}

fn look(mesh: &Mesh, api: &Api) -> Result<Option<String>, ApiError> {
    let status = api.status()?;
    let nodes = mesh.lab().nodes().len();
    if status.nodes as usize != nodes || status.nodes_reporting as usize != nodes {
        return Ok(Some(format!(
            "{} of {} nodes report, of {nodes}",
            status.nodes_reporting, status.nodes
        )));
    }
    if !status.judging {
        return Ok(Some(format!(
            "it does not judge yet: {}",
            status.not_judging_reason
        )));
    }
    if status.open_incidents > 0 {
        return Ok(Some(format!(
            "{} incidents are open",
            status.open_incidents
        )));
    }
    if status.layers.is_empty() {
        return Ok(Some("no layer has data".to_owned()));
    }
    for wire in &status.layers {
        let Ok(layer) = Layer::try_from(wire) else {
            continue;
        };
        if let Some(missing) = unhealthy_paths(layer, &api.matrix(layer)?) {
            return Ok(Some(missing));
        }
    }
    Ok(None)
}

fn unhealthy_paths(layer: Layer, matrix: &v1::Matrix) -> Option<String> {
    let columns = matrix.targets.len();
    let cells = matrix.verdicts.iter().enumerate().filter(|(cell, _)| {
        let is_itself = matrix.sources.get(cell / columns) == matrix.targets.get(cell % columns);
        !(layer.kind.is_between_nodes() && is_itself)
    });
    let unhealthy: Vec<(usize, u8)> = cells
        .map(|(cell, verdict)| (cell, *verdict))
        // A sample leaves paths out on purpose: more than ten peers are not all probed by QUIC.
        .filter(|(_, verdict)| {
            let left_out = layer.kind == ProbeKind::Quic && *verdict == Verdict::NotSampled as u8;
            !is_working(*verdict) && !left_out
        })
        .collect();
    let (cell, verdict) = *unhealthy.first()?;
    let verdict = Verdict::from_number(verdict).map_or("unknown", Verdict::as_str);
    let (source, target) = (
        &matrix.sources[cell / columns],
        &matrix.targets[cell % columns],
    );
    Some(format!(
        "{layer}: {} paths are not healthy, {source} -> {target} is {verdict}",
        unhealthy.len()
    ))
}

/// Slow is good enough: on a busy machine a DNS server now and then takes a few milliseconds.
fn is_working(verdict: u8) -> bool {
    verdict == Verdict::Healthy as u8 || verdict == Verdict::Slow as u8
}
