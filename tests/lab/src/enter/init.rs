//! Process 1 of the virtual cluster: private mounts, one child, reaping.

use std::convert::Infallible;
use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use nix::mount::{MsFlags, mount};
use nix::unistd::Pid;

use super::relay::{End, Relay};
use super::{
    CGROUP_DIRECTORY, EnterError, Inside, LIFELINE, PRIVATE_DIRECTORY, STATE_DIRECTORY, doing,
    remove_state_directory, same_program,
};
use crate::namespace::NAMESPACE_DIRECTORY;
use crate::raw;

const NONE: Option<&str> = None;

/// Exit code when `outside` is gone; nobody is left to read it.
const ORPHANED: i32 = 1;

/// Does not return: exits with the program's code.
pub(super) fn run() -> Result<Inside, EnterError> {
    match live() {
        Err(error) => Err(error),
    }
}

fn live() -> Result<Infallible, EnterError> {
    if process::id() != 1 {
        return Err(EnterError::NotInside);
    }
    let lifeline = env::var(LIFELINE)
        .ok()
        .and_then(|number| number.parse().ok())
        .ok_or(EnterError::NotInside)?;
    let mut lifeline =
        File::from(raw::adopt(lifeline).map_err(doing("take over the pipe from outside"))?);
    make_mounts_private()?;
    let relay = Relay::new().map_err(doing("collect signals"))?;
    let child = same_program("inside")
        .env_remove(LIFELINE)
        .spawn()
        .map_err(doing("start the program inside the namespaces"))?;
    let end = relay
        .wait_as_init(Pid::from_raw(child.id() as i32), &mut lifeline)
        .map_err(doing("wait for the program"))?;
    // Leaving process 1 makes the kernel kill what is left here, and with the last process go the namespaces.
    match end {
        End::Exited(code) => process::exit(code),
        End::Orphaned => {
            if let Some(directory) = env::var_os(STATE_DIRECTORY) {
                remove_state_directory(&PathBuf::from(directory));
            }
            process::exit(ORPHANED)
        }
    }
}

fn make_mounts_private() -> Result<(), EnterError> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(doing("make mounts private"))?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("proc"), "/proc", Some("proc"), plain | MsFlags::MS_NOEXEC, NONE)
        .map_err(doing("mount /proc for the new process namespace (inside a container, start it with `--privileged`)"))?;
    mount_run("/run")?;
    // Debian's iproute2 says /var/run, which is the same place unless an image was built without the symbolic link.
    if fs::canonicalize("/var/run").is_ok_and(|target| target != Path::new("/run")) {
        mount(Some("/run"), "/var/run", NONE, MsFlags::MS_BIND, NONE)
            .map_err(doing("mount /var/run"))?;
    }
    for directory in [NAMESPACE_DIRECTORY, PRIVATE_DIRECTORY, CGROUP_DIRECTORY] {
        fs::create_dir(directory).map_err(doing(format!("make {directory}")))?;
    }
    if let Err(error) = mount(
        Some("/sys/fs/cgroup"),
        CGROUP_DIRECTORY,
        NONE,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        NONE,
    ) {
        tracing::debug!(%error, "Programs in the lab will not see their control groups");
    }
    make_resolv_conf_mountable()
}

fn mount_run(directory: &str) -> Result<(), EnterError> {
    mount(
        Some("tmpfs"),
        directory,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=755"),
    )
    .map_err(doing(format!("mount {directory}")))
}

/// `/etc/resolv.conf` is often a link to a file in `/run`, which is empty now: something must be there to mount over.
fn make_resolv_conf_mountable() -> Result<(), EnterError> {
    let path = Path::new("/etc/resolv.conf");
    if path.exists() {
        return Ok(());
    }
    let make = || -> io::Result<()> {
        let target = Path::new("/etc").join(fs::read_link(path)?);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        File::create(target).map(drop)
    };
    make().map_err(doing("make something to mount over at /etc/resolv.conf (if the host has none, create an empty one)"))
}
