//! An ordinary user's way in: a user namespace in which the user is root.
//!
//! Only the user's own id is mapped, which needs no helper and no entry in `/etc/subuid`; programs inside therefore cannot
//! change to another user.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::{EnterError, doing};

pub(super) fn enter_user_namespace() -> Result<(), EnterError> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(refused)?;
    // Without this the kernel lets nobody unprivileged map groups: it would allow dropping a group that denies access.
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("0 {user} 1"))?;
    write("/proc/self/gid_map", &format!("0 {group} 1"))
}

fn write(file: &str, content: &str) -> Result<(), EnterError> {
    fs::write(file, content).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => refused(Errno::EPERM),
        _ => doing(format!("write {file}"))(source),
    })
}

/// The kernel's refusal, with what the reader can do about it.
pub(super) fn refused(errno: Errno) -> EnterError {
    EnterError::Namespaces {
        hint: hint(errno, |name| {
            fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()
        }),
        source: errno.into(),
    }
}

/// Settings that forbid user namespaces, with the value that forbids and the one that allows.
const SWITCHES: [(&str, &str, &str); 3] = [
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("user.max_user_namespaces", "0", "10000"),
];

fn hint(errno: Errno, setting: impl Fn(&str) -> Option<String>) -> String {
    if errno == Errno::EINVAL {
        return "it must be done before the program starts a thread".to_owned();
    }
    for (name, forbids, allows) in SWITCHES {
        if setting(name).is_some_and(|value| value.trim() == forbids) {
            return format!(
                "this system allows them to root only ({name} = {forbids}); run as root, or allow them with `sudo sysctl -w {name}={allows}`"
            );
        }
    }
    if errno == Errno::ENOSPC {
        return "the limit user.max_user_namespaces is reached; raise it with `sudo sysctl -w user.max_user_namespaces=10000`".to_owned();
    }
    "run as root; inside a container, start the container with `--privileged`".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_forbids_user_namespaces_is_named_with_the_command_that_allows_them() {
        for (name, forbids, allows) in SWITCHES {
            let shown = hint(Errno::EPERM, |asked| {
                (asked == name).then(|| format!("{forbids}\n"))
            });
            assert!(
                shown.contains(&format!("sudo sysctl -w {name}={allows}")),
                "{shown}"
            );
        }
        let shown = hint(Errno::EPERM, |_| None);
        assert!(shown.contains("run as root"), "{shown}");
    }
}
