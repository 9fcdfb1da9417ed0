//! Moving the caller's program into a world of its own.
//!
//! The program starts itself again, twice; [`enter`] is where the three stages part:
//!
//! ```text
//! outside   the caller's first process: opens the host's sockets, makes fresh namespaces, starts `init`, relays signals,
//!   │       exits with the program's exit code, removes the state directory
//!   └ init  process 1 of the new process namespace: makes /proc and /run private, starts `inside`, reaps orphans;
//!       │   ends when `outside` is gone (its end of a pipe closes), and with it ends, by the kernel, everything else
//!       └ inside   the program proper: `enter` returns here
//! ```
//!
//! `init` is a process of its own because process 1 ignores signals that it has no handler for: the program keeps the usual
//! behaviour on Ctrl-C and SIGTERM.

mod init;
mod outside;
mod relay;
mod users;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::raw;

/// Which stage this process is; absent outside.
pub(crate) const STAGE: &str = "MESHPROBE_LAB_STAGE";
/// Sockets opened outside: `3=http,5=grpc`.
const SOCKETS: &str = "MESHPROBE_LAB_SOCKETS";
/// The descriptor whose end of file means that `outside` is gone.
const LIFELINE: &str = "MESHPROBE_LAB_LIFELINE";
/// The directory for logs, made outside.
const STATE_DIRECTORY: &str = "MESHPROBE_LAB_STATE";
/// Variables that concern no program started in the lab.
pub(crate) const PRIVATE_VARIABLES: [&str; 4] = [STAGE, SOCKETS, LIFELINE, STATE_DIRECTORY];

/// A file of this name in the state directory keeps it from being removed at the end.
const KEEP_MARKER: &str = ".keep";
/// What the lab keeps for itself in the private `/run`.
pub(crate) const PRIVATE_DIRECTORY: &str = "/run/meshprobe-lab";
/// The control groups, kept visible for programs that get a fresh `/sys`.
pub(crate) const CGROUP_DIRECTORY: &str = "/run/meshprobe-lab/cgroup";

/// The namespaces could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    #[error("open the sockets that the virtual cluster is reached by")]
    Sockets(#[source] io::Error),
    #[error("make new namespaces for the virtual cluster: {hint}")]
    Namespaces {
        hint: String,
        #[source]
        source: io::Error,
    },
    #[error("{doing}")]
    System {
        doing: String,
        #[source]
        source: io::Error,
    },
    #[error("{STAGE} is set, but this process is not inside a virtual cluster: unset it")]
    NotInside,
}

fn doing<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> EnterError {
    move |source| EnterError::System {
        doing: what.into(),
        source: source.into(),
    }
}

/// A socket that is opened in the host's network namespace and used inside, known by a name.
#[derive(Debug)]
pub struct HostSocket {
    name: String,
    fd: OwnedFd,
}

impl HostSocket {
    /// The name must not contain `,` `:` or `=`.
    pub fn new(name: &str, socket: impl Into<OwnedFd>) -> Self {
        Self {
            name: name.to_owned(),
            fd: socket.into(),
        }
    }
}

/// Proof that this process is in namespaces of its own, with what came along from outside.
#[derive(Debug)]
pub struct Inside {
    sockets: BTreeMap<String, OwnedFd>,
    state_directory: PathBuf,
}

impl Inside {
    /// A socket that was opened outside, to be handed to a program.
    pub fn socket(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.sockets.get(name).map(AsFd::as_fd)
    }

    /// A TCP listener that was opened outside, to be served by this program.
    pub fn take_listener(&mut self, name: &str) -> Option<TcpListener> {
        self.sockets.remove(name).map(TcpListener::from)
    }

    /// Where the logs of the lab's processes are; readable from the host under the same path, removed at the end.
    pub fn state_directory(&self) -> &Path {
        &self.state_directory
    }

    /// Leaves the state directory in place at the end, for a look at the logs.
    pub fn keep_state_directory(&self) -> io::Result<()> {
        std::fs::write(self.state_directory.join(KEEP_MARKER), "")
    }
}

/// Moves the program into fresh namespaces: returns only there.
///
/// To be called first thing in `main`, before any thread exists. `sockets` is called once, in the host's network namespace.
/// The calling process stays outside: it relays SIGINT, SIGTERM, SIGHUP and SIGQUIT, and exits with the program's exit code
/// (128 + signal if a signal ended it).
pub fn enter(sockets: impl FnOnce() -> io::Result<Vec<HostSocket>>) -> Result<Inside, EnterError> {
    match env::var(STAGE).as_deref() {
        Err(_) => outside::run(&sockets().map_err(EnterError::Sockets)?),
        Ok("init") => init::run(),
        Ok(_) => come_in(),
    }
}

fn come_in() -> Result<Inside, EnterError> {
    let is_inside = nix::unistd::getppid().as_raw() == 1 && Path::new(PRIVATE_DIRECTORY).is_dir();
    if !is_inside {
        return Err(EnterError::NotInside);
    }
    relay::stop_blocking().map_err(doing("receive signals again"))?;
    let mut sockets = BTreeMap::new();
    for (fd, name) in
        parse_sockets(&env::var(SOCKETS).unwrap_or_default()).ok_or(EnterError::NotInside)?
    {
        let fd = raw::adopt(fd).map_err(doing(format!("take over socket {name}")))?;
        sockets.insert(name, fd);
    }
    let state_directory = env::var_os(STATE_DIRECTORY)
        .map(PathBuf::from)
        .ok_or(EnterError::NotInside)?;
    Ok(Inside {
        sockets,
        state_directory,
    })
}

fn format_sockets(sockets: &[(RawFd, String)]) -> String {
    let parts: Vec<String> = sockets
        .iter()
        .map(|(fd, name)| format!("{fd}={name}"))
        .collect();
    parts.join(",")
}

fn parse_sockets(text: &str) -> Option<Vec<(RawFd, String)>> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (fd, name) = part.split_once('=')?;
            Some((fd.parse().ok()?, name.to_owned()))
        })
        .collect()
}

/// The same program with the same arguments, for the next stage.
///
/// `/proc/self/exe` is this very program, even if the file has been replaced meanwhile.
fn same_program(stage: &str) -> Command {
    let mut arguments = env::args_os();
    let name = arguments
        .next()
        .unwrap_or_else(|| OsString::from("meshprobe-lab"));
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).args(arguments).env(STAGE, stage);
    command
}

/// Removes the state directory, unless somebody asked to keep it.
fn remove_state_directory(directory: &Path) {
    if directory.join(KEEP_MARKER).exists() {
        return;
    }
    if let Err(error) = std::fs::remove_dir_all(directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(directory = %directory.display(), %error, "Could not remove the state directory");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_passed_by_number_and_name() {
        let sockets = vec![(3, "http".to_owned()), (11, "grpc".to_owned())];
        let text = format_sockets(&sockets);
        assert_eq!(text, "3=http,11=grpc");
        assert_eq!(parse_sockets(&text), Some(sockets));
        assert_eq!(parse_sockets(""), Some(Vec::new()));
        assert_eq!(parse_sockets("http"), None);
        assert_eq!(parse_sockets("x=http"), None);
    }
}
