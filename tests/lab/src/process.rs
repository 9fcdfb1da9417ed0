//! The real programs, run in a namespace.
//!
//! A process gets the network namespace that it is started in, that namespace's `resolv.conf` and `/sys`, and writes to files
//! in the state directory. Each is in a process group of its own, so that Ctrl-C in the terminal reaches the program that
//! runs the lab and not everything in it. A process ends with its handle.

use std::ffi::{CString, OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::enter::{CGROUP_DIRECTORY, PRIVATE_VARIABLES};
use crate::namespace::{self, NamespaceError};
use crate::raw::{self, BeforeExec, FIRST_HANDED_FD, PrivateMounts};

/// Handed sockets are first moved up here, out of the way of where they finally go.
const PARKING_FD: i32 = 64;
/// How often a wait with a deadline looks.
const WAIT_STEP: Duration = Duration::from_millis(10);
const ACTIVATION_VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// A program could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("start {name} ({}) in network namespace {namespace}", program.display())]
    Start {
        name: String,
        program: PathBuf,
        namespace: String,
        #[source]
        source: io::Error,
    },
    #[error("{doing} {name}")]
    Control {
        doing: &'static str,
        name: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

/// A program about to be started in a namespace of the lab.
#[derive(Debug)]
pub struct ProcessBuilder {
    name: String,
    namespace: String,
    program: PathBuf,
    log_directory: PathBuf,
    resolv_conf: Option<PathBuf>,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    sockets: Vec<(String, OwnedFd)>,
    drop_capabilities: bool,
}

impl ProcessBuilder {
    pub(crate) fn new(
        name: &str,
        namespace: &str,
        program: &Path,
        log_directory: &Path,
        resolv_conf: Option<PathBuf>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            program: program.to_owned(),
            log_directory: log_directory.to_owned(),
            resolv_conf,
            arguments: Vec::new(),
            variables: Vec::new(),
            sockets: Vec::new(),
            drop_capabilities: false,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Hands an open socket over by the socket activation protocol (`LISTEN_FDS`, `LISTEN_FDNAMES`), in the order of the calls.
    /// The caller keeps its own copy, so that a restarted program can get it again.
    pub fn socket(mut self, name: &str, socket: impl AsFd) -> Result<Self, ProcessError> {
        let copy = socket
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| self.start_error(source))?;
        self.sockets.push((name.to_owned(), copy));
        Ok(self)
    }

    /// Runs it without any capability, as a pod whose security context drops all: root in name, but only a user to the kernel.
    #[must_use]
    pub fn without_capabilities(mut self) -> Self {
        self.drop_capabilities = true;
        self
    }

    /// Starts it.
    pub fn spawn(self) -> Result<Process, ProcessError> {
        let namespace = namespace::open(&self.namespace)?;
        let stdout_path = self.log_directory.join(format!("{}.out", self.name));
        let stderr_path = self.log_directory.join(format!("{}.err", self.name));
        let started = self.start(namespace, &stdout_path, &stderr_path);
        let child = started.map_err(|source| self.start_error(source))?;
        tracing::debug!(
            name = self.name,
            namespace = self.namespace,
            pid = child.id(),
            "Started a process"
        );
        Ok(Process {
            name: self.name,
            child,
            stdout_path,
            stderr_path,
        })
    }

    fn start(&self, namespace: OwnedFd, stdout: &Path, stderr: &Path) -> io::Result<Child> {
        let mut command = self.command();
        let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
        command
            .stdin(Stdio::null())
            .stdout(open(stdout)?)
            .stderr(open(stderr)?)
            .process_group(0);
        let parked: io::Result<Vec<OwnedFd>> = self
            .sockets
            .iter()
            .map(|(_, socket)| park(socket))
            .collect();
        let resolv_conf = self
            .resolv_conf
            .as_ref()
            .map(|path| CString::new(path.as_os_str().as_bytes()))
            .transpose()?;
        // `Command` reports a failed exec through a pipe of its own: without these it might be where a socket goes.
        let _occupied = occupy(FIRST_HANDED_FD + self.sockets.len() as i32)?;
        let before = BeforeExec {
            namespace,
            mounts: Some(PrivateMounts {
                resolv_conf,
                cgroup: Some(CString::new(CGROUP_DIRECTORY)?),
            }),
            drop_capabilities: self.drop_capabilities,
            sockets: parked?,
        };
        raw::before_exec(&mut command, before);
        command.spawn()
    }

    fn command(&self) -> Command {
        let mut command;
        if self.sockets.is_empty() {
            command = Command::new(&self.program);
        } else {
            // The protocol wants the receiver's own process id, which is known only when it runs.
            command = Command::new("/bin/sh");
            command
                .args(["-c", "LISTEN_PID=$$; export LISTEN_PID; exec \"$0\" \"$@\""])
                .arg(&self.program);
        }
        command.args(&self.arguments);
        for variable in PRIVATE_VARIABLES.iter().chain(&ACTIVATION_VARIABLES) {
            command.env_remove(variable);
        }
        if !self.sockets.is_empty() {
            let names: Vec<&str> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
            command
                .env("LISTEN_FDS", names.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"));
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn start_error(&self, source: io::Error) -> ProcessError {
        ProcessError::Start {
            name: self.name.clone(),
            program: self.program.clone(),
            namespace: self.namespace.clone(),
            source,
        }
    }
}

fn park(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let number = fcntl(socket, FcntlArg::F_DUPFD_CLOEXEC(PARKING_FD))?;
    raw::adopt(number)
}

/// Opens descriptors until all below `end` are taken.
fn occupy(end: i32) -> io::Result<Vec<std::fs::File>> {
    use std::os::fd::AsRawFd;
    let mut files = Vec::new();
    if end == FIRST_HANDED_FD {
        return Ok(files);
    }
    loop {
        let file = std::fs::File::open("/dev/null")?;
        let is_above = file.as_raw_fd() >= end;
        files.push(file);
        if is_above {
            return Ok(files);
        }
    }
}

/// A running program; killed when this handle is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout_path: PathBuf,
    stderr_path: PathBuf,
}

impl Process {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id in the lab's process namespace.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed; a later process of the same name appends.
    pub fn stdout_path(&self) -> &Path {
        &self.stdout_path
    }

    /// What it logged; a later process of the same name appends.
    pub fn stderr_path(&self) -> &Path {
        &self.stderr_path
    }

    /// Sends SIGTERM; an ended process is left alone.
    pub fn terminate(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::SIGTERM, "terminate")
    }

    /// Sends SIGHUP: reload.
    pub fn hang_up(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::SIGHUP, "signal")
    }

    /// Stops it where it is (SIGSTOP), as a frozen or starved process.
    pub fn pause(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::SIGSTOP, "pause")
    }

    /// Lets it go on after a pause.
    pub fn resume(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::SIGCONT, "resume")
    }

    /// `kill -9`, also of what it started, and waits until it is gone.
    pub fn kill(&mut self) -> Result<ExitStatus, ProcessError> {
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        // It leads a process group of its own.
        killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL)
            .map_err(|errno| self.control_error("kill", errno.into()))?;
        self.wait()
    }

    /// Waits until it ends.
    pub fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        let ended = self.child.wait();
        ended.map_err(|source| self.control_error("wait for", source))
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        let ended = self.child.try_wait();
        ended.map_err(|source| self.control_error("wait for", source))
    }

    /// Waits until it ends, at most about `patience`.
    pub fn wait_for(&mut self, patience: Duration) -> Result<Option<ExitStatus>, ProcessError> {
        let steps = patience.as_millis().div_ceil(WAIT_STEP.as_millis());
        for _ in 0..steps {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(WAIT_STEP);
        }
        self.try_wait()
    }

    fn signal(&mut self, signal: Signal, doing: &'static str) -> Result<(), ProcessError> {
        // A process that has ended and was waited for has no number any more: it may belong to another one.
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        kill(Pid::from_raw(self.child.id() as i32), signal)
            .map_err(|errno| self.control_error(doing, errno.into()))
    }

    fn control_error(&self, doing: &'static str, source: io::Error) -> ProcessError {
        ProcessError::Control {
            doing,
            name: self.name.clone(),
            source,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.try_wait()
            && let Err(error) = self.kill()
        {
            tracing::warn!(name = self.name, %error, "Could not end a process");
        }
    }
}
