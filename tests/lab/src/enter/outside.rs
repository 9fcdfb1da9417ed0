//! The stage on the host: makes the namespaces, waits, and cleans up.

use std::convert::Infallible;
use std::env;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::process;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, pipe2};

use super::relay::Relay;
use super::{
    EnterError, HostSocket, Inside, LIFELINE, SOCKETS, STATE_DIRECTORY, doing, format_sockets,
    remove_state_directory, same_program, users,
};

/// Does not return: exits with the program's code.
pub(super) fn run(sockets: &[HostSocket]) -> Result<Inside, EnterError> {
    let state_directory =
        make_state_directory().map_err(doing("make a directory for the lab's logs"))?;
    match supervise(sockets, &state_directory) {
        Err(error) => {
            remove_state_directory(&state_directory);
            Err(error)
        }
    }
}

fn supervise(sockets: &[HostSocket], state_directory: &Path) -> Result<Infallible, EnterError> {
    make_namespaces()?;
    let relay = Relay::new().map_err(doing("collect signals"))?;
    let (read_end, write_end) =
        pipe2(OFlag::O_CLOEXEC).map_err(doing("make a pipe to the virtual cluster"))?;
    inherit(read_end.as_raw_fd(), &read_end)?;
    let mut numbered: Vec<(RawFd, String)> = Vec::new();
    for socket in sockets {
        let fd = socket.fd.as_raw_fd();
        inherit(fd, &socket.fd)?;
        numbered.push((fd, socket.name.clone()));
    }
    let child = same_program("init")
        .env(SOCKETS, format_sockets(&numbered))
        .env(LIFELINE, read_end.as_raw_fd().to_string())
        .env(STATE_DIRECTORY, state_directory)
        .spawn()
        .map_err(doing("start the program again inside the namespaces"))?;
    drop(read_end);
    let code = relay
        .wait_outside(Pid::from_raw(child.id() as i32), &write_end)
        .map_err(doing("wait for the virtual cluster"))?;
    remove_state_directory(state_directory);
    process::exit(code);
}

/// Lets the next stage inherit a descriptor. No thread exists yet, so nothing else can be started meanwhile.
fn inherit(number: RawFd, fd: &impl std::os::fd::AsFd) -> Result<(), EnterError> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))
        .map(drop)
        .map_err(doing(format!("pass descriptor {number} on")))
}

/// Network, mount and process namespaces; a user namespace around them where this process may not make them directly.
fn make_namespaces() -> Result<(), EnterError> {
    let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    match unshare(flags) {
        Ok(()) => return Ok(()),
        Err(Errno::EPERM) => {}
        Err(errno) => {
            return Err(EnterError::Namespaces {
                hint: "the kernel refused".to_owned(),
                source: errno.into(),
            });
        }
    }
    users::enter_user_namespace()?;
    unshare(flags).map_err(users::refused)
}

fn make_state_directory() -> io::Result<PathBuf> {
    // `/run` is private inside: a directory there would not be the same one.
    let base = Some(env::temp_dir())
        .filter(|directory| directory.is_absolute() && !directory.starts_with("/run"))
        .unwrap_or_else(|| PathBuf::from("/tmp"));
    let process = process::id();
    for attempt in 0..u32::MAX {
        let name = if attempt == 0 {
            format!("meshprobe-lab.{process}")
        } else {
            format!("meshprobe-lab.{process}.{attempt}")
        };
        let directory = base.join(name);
        match std::fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            // Left by an earlier process of the same number that was told to keep it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(io::Error::new(
                    error.kind(),
                    format!("{}: {error}", directory.display()),
                ));
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
