//! The cluster: building it, what is in it, and using it.

mod build;
mod sysctl;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::batch::{self, CommandError};
use crate::dns::DnsServers;
use crate::enter::{Inside, PRIVATE_DIRECTORY};
use crate::external::{External, LabTarget};
use crate::fault::ProberHook;
use crate::fault::hold::Holds;
use crate::fault::routes::Routes;
use crate::lookup::{self, Lookup, Transport};
use crate::namespace::{self, NamespaceError};
use crate::process::{ProcessBuilder, ProcessError};
use crate::raw::{self, BeforeExec};
use crate::service::{self, LabService};
use crate::spec::{Families, LabSpec, SpecError};
use crate::tools::{Tools, ToolsError};
use crate::wiring::{LabAggregator, LabDns, LabNode, LabZone, Plan};

/// The cluster could not be built or kept.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Tools(#[from] ToolsError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("this process already has a virtual cluster: drop it before building another")]
    AlreadyBuilt,
    #[error("set {setting} in network namespace {namespace}")]
    Setting {
        setting: String,
        namespace: String,
        #[source]
        source: io::Error,
    },
    #[error("write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the DNS server {name} does not answer as it should; its log is {}", log.display())]
    DnsSilent { name: String, log: PathBuf },
    #[error("make certificates for the external targets")]
    Certificates(#[from] rcgen::Error),
    #[error("the server {name} does not answer; its log is {}", log.display())]
    ServerSilent { name: String, log: PathBuf },
    #[error(
        "the forward proxy needs `tinyproxy`: install it with\n    apt-get install --no-install-recommends tinyproxy-bin"
    )]
    NoProxy,
}

/// A running virtual cluster. Clones are the same cluster; the last one to go removes it.
#[derive(Debug, Clone)]
pub struct Lab {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) tools: Tools,
    state_directory: PathBuf,
    pub(crate) dns: DnsServers,
    pub(crate) external: External,
    pub(crate) holds: Mutex<Holds>,
    pub(crate) routes: Mutex<Routes>,
    prober_hook: Mutex<Option<Arc<dyn ProberHook>>>,
    fault_serial: AtomicU32,
}

impl Lab {
    /// Builds the cluster. One at a time: drop it before building another.
    pub fn build(inside: &Inside, spec: &LabSpec) -> Result<Self, LabError> {
        build::build(inside, spec).map(|shared| Self {
            shared: Arc::new(shared),
        })
    }

    /// The nodes, in order: `nodes()[0]` is `mesh-1`.
    pub fn nodes(&self) -> &[LabNode] {
        &self.shared.plan.nodes
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&LabNode> {
        self.nodes().iter().find(|node| node.name == name)
    }

    pub fn zones(&self) -> &[LabZone] {
        &self.shared.plan.zones
    }

    /// The DNS servers behind the virtual IP.
    pub fn dns_instances(&self) -> &[LabDns] {
        &self.shared.plan.dns
    }

    /// The virtual IP in front of the probers' own responders.
    pub fn responder_service(&self) -> LabService {
        service::responders(self.nodes())
    }

    /// The web servers on the internet.
    pub fn external_targets(&self) -> &[LabTarget] {
        self.shared.external.targets()
    }

    /// The certificate, in PEM, of the authority that signed the external targets' certificates: the file of a `ca_file` setting.
    pub fn ca_file(&self) -> &Path {
        self.shared.external.authority()
    }

    /// Starts the forward proxy on the internet, unless it runs, and returns its address. It tunnels to the ports 80 and 443.
    pub fn start_proxy(&self) -> Result<SocketAddr, LabError> {
        self.shared.external.start_proxy()
    }

    /// Kills the forward proxy, if it runs.
    pub fn stop_proxy(&self) -> Result<(), LabError> {
        Ok(self.shared.external.stop_proxy()?)
    }

    /// Where the aggregator is to run, and how it is reached.
    pub fn aggregator(&self) -> &LabAggregator {
        &self.shared.plan.aggregator
    }

    /// Which families the cluster's addresses are of.
    pub fn families(&self) -> Families {
        self.shared.plan.families
    }

    /// Whether a second prober is to run on every node, in the node's own namespace.
    pub fn has_host_probers(&self) -> bool {
        self.shared.plan.host_probers
    }

    /// Where processes write; see [`Inside::state_directory`].
    pub fn state_directory(&self) -> &Path {
        &self.shared.state_directory
    }

    /// A program to be run in a namespace; `name` names its log files.
    pub fn process(
        &self,
        name: &str,
        namespace: &str,
        program: impl AsRef<Path>,
    ) -> ProcessBuilder {
        let resolv_conf = Some(resolv_conf_path(namespace));
        ProcessBuilder::new(
            name,
            namespace,
            program.as_ref(),
            &self.shared.state_directory,
            resolv_conf,
        )
    }

    /// Runs a short command in a namespace and returns what it printed. Tools such as `nft` and `ip` see the namespace's state.
    pub fn output_in(
        &self,
        namespace: &str,
        program: &str,
        arguments: &[&str],
    ) -> Result<String, LabError> {
        let mut command = Command::new(match program {
            "ip" => self.shared.tools.ip.as_path(),
            "bridge" => self.shared.tools.bridge.as_path(),
            "tc" => self.shared.tools.tc.as_path(),
            "nft" => self.shared.tools.nft.as_path(),
            other => Path::new(other),
        });
        command.args(arguments);
        Ok(run_in(namespace, command, "")?)
    }

    /// Runs `work` on a short-lived thread in a namespace. A socket that it opens stays there and can be used anywhere.
    pub fn run_in<T: Send>(
        &self,
        namespace: &str,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, NamespaceError> {
        namespace::run_in(namespace, work)
    }

    /// A TCP listener in a namespace.
    pub fn listen_in(
        &self,
        namespace: &str,
        address: SocketAddr,
    ) -> Result<TcpListener, NamespaceError> {
        namespace::listen_in(namespace, address)
    }

    /// A UDP socket in a namespace.
    pub fn udp_in(
        &self,
        namespace: &str,
        address: SocketAddr,
    ) -> Result<UdpSocket, NamespaceError> {
        namespace::udp_in(namespace, address)
    }

    /// A TCP connection from a namespace.
    pub fn connect_in(
        &self,
        namespace: &str,
        address: SocketAddr,
        timeout: Duration,
    ) -> Result<TcpStream, NamespaceError> {
        namespace::connect_in(namespace, address, timeout)
    }

    /// One DNS question for an IPv4 address, from a namespace.
    pub fn lookup_in(
        &self,
        namespace: &str,
        server: SocketAddr,
        name: &str,
        transport: Transport,
        timeout: Duration,
    ) -> Result<Lookup, NamespaceError> {
        lookup::lookup_in(namespace, server, name, transport, timeout)
    }

    /// Says how probers are killed, restarted and stopped: they are the caller's processes. Needed for the faults `prober-down` and
    /// `throttled-prober` only.
    pub fn set_prober_hook(&self, hook: Arc<dyn ProberHook>) {
        *lock(&self.shared.prober_hook) = Some(hook);
    }
}

impl Shared {
    pub(crate) fn prober_hook(&self) -> Option<Arc<dyn ProberHook>> {
        lock(&self.prober_hook).clone()
    }

    /// A number that no other fault of this lab has.
    pub(crate) fn next_fault_serial(&self) -> u32 {
        self.fault_serial.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn nft_in(&self, namespace: &str, script: &str) -> Result<(), CommandError> {
        let mut command = Command::new(&self.tools.nft);
        command.args(["-f", "-"]);
        run_in(namespace, command, script).map(drop)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.dns.end();
        self.external.end();
        if let Err(error) = batch::ip_forced(&self.tools.ip, &self.plan.namespace_script("delete"))
        {
            tracing::warn!(%error, "Could not remove the namespaces; they go with the process");
        }
    }
}

/// A panic elsewhere leaves nothing half done under these locks.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn resolv_conf_path(namespace: &str) -> PathBuf {
    Path::new(PRIVATE_DIRECTORY).join("resolv").join(namespace)
}

fn run_in(namespace: &str, mut command: Command, input: &str) -> Result<String, CommandError> {
    let fd = namespace::open(namespace).map_err(|error| CommandError::Run {
        command: command.get_program().to_string_lossy().into_owned(),
        source: io::Error::other(error),
    })?;
    let before = BeforeExec {
        namespace: fd,
        mounts: None,
        drop_capabilities: false,
        sockets: Vec::new(),
    };
    raw::before_exec(&mut command, before);
    batch::run(command, input)
}
