//! The one module with unsafe code: adopting inherited descriptors, and what a child does between fork and exec.
#![expect(
    unsafe_code,
    reason = "descriptors passed by number, and system calls between fork and exec, have no safe form"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// The first descriptor of a child's handed-over sockets, as the socket activation protocol fixes it.
pub(crate) const FIRST_HANDED_FD: RawFd = 3;

/// Takes ownership of a descriptor that this process inherited by number, and keeps its own children from inheriting it.
pub(crate) fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < FIRST_HANDED_FD {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: borrowed only for the call; a number that is no open descriptor makes fcntl fail with EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: open (checked above), and handed to this process by its parent for this one owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What a child does to itself before it becomes the program.
pub(crate) struct BeforeExec {
    /// The network namespace to enter.
    pub(crate) namespace: OwnedFd,
    /// A mount namespace of its own with these changes, or the parent's.
    pub(crate) mounts: Option<PrivateMounts>,
    /// Becomes a program without any capability, also as root.
    pub(crate) drop_capabilities: bool,
    /// Sockets to have at 3, 4, …; their own numbers must be above that range.
    pub(crate) sockets: Vec<OwnedFd>,
}

/// What a child sees of the file system that others do not.
pub(crate) struct PrivateMounts {
    /// Mounted over `/etc/resolv.conf`.
    pub(crate) resolv_conf: Option<CString>,
    /// Where the control groups are kept visible, because a fresh `/sys` hides them.
    pub(crate) cgroup: Option<CString>,
}

/// Makes `command` run `before` in the child.
pub(crate) fn before_exec(command: &mut Command, before: BeforeExec) {
    // SAFETY: the closure makes system calls only: no allocation, no lock, nothing that another thread could hold at the fork.
    unsafe {
        command.pre_exec(move || {
            setns(&before.namespace, CloneFlags::CLONE_NEWNET)?;
            if let Some(mounts) = &before.mounts {
                mounts.apply()?;
            }
            for (target, socket) in (FIRST_HANDED_FD..).zip(&before.sockets) {
                // dup2 also clears close-on-exec on the copy.
                Errno::result(libc::dup2(socket.as_raw_fd(), target))?;
            }
            if before.drop_capabilities {
                empty_capability_bounds()?;
            }
            Ok(())
        });
    }
}

/// A program started by root gets all capabilities of the bounding set: with that empty, none.
fn empty_capability_bounds() -> nix::Result<()> {
    for capability in 0.. {
        // SAFETY: takes numbers only.
        match Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }) {
            Ok(_) => {}
            // The number after the last capability that this kernel knows.
            Err(Errno::EINVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

impl PrivateMounts {
    fn apply(&self) -> nix::Result<()> {
        const NONE: Option<&std::ffi::CStr> = None;
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(NONE, c"/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)?;
        if let Some(resolv_conf) = &self.resolv_conf {
            mount(
                Some(resolv_conf.as_c_str()),
                c"/etc/resolv.conf",
                NONE,
                MsFlags::MS_BIND,
                NONE,
            )?;
        }
        // A sysfs shows the interfaces of the namespace that mounted it. Where the kernel refuses one (nested containers), the
        // program reads its interfaces over netlink as always; only /sys/class/net shows the wrong ones.
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        if mount(Some(c"sysfs"), c"/sys", Some(c"sysfs"), flags, NONE).is_ok()
            && let Some(cgroup) = &self.cgroup
        {
            mount(
                Some(cgroup.as_c_str()),
                c"/sys/fs/cgroup",
                NONE,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                NONE,
            )?;
        }
        Ok(())
    }
}
