//! A small share of one processor for a process.
//!
//! A control group with a quota is what a container's CPU limit is, so it is tried first: version 2 (`cpu.max`), then version 1
//! (`cpu.cfs_quota_us`). Where no group can be made, the process is stopped and continued in a fixed rhythm, which starves it
//! as well but is not to be seen in any kernel counter.
//!
//! The group is outside of the lab's namespaces: the kernel does not remove it when the lab is killed. An empty one does no harm, and
//! the next quota sweeps it away.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::background::{Background, Over};
use super::{FaultError, Percent, ProberHook};

/// The kernel gives out the quota once in every period.
const PERIOD: Duration = Duration::from_millis(100);
/// A prober that is started anew gets into the group within this.
const LOOK: Duration = Duration::from_millis(100);
const PREFIX: &str = "meshprobe-lab-";

/// How a process is kept from running.
#[derive(Debug)]
pub(super) enum Means {
    Group(Group),
    StopAndContinue,
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(group) => write!(f, "control group {}", group.directory.display()),
            Self::StopAndContinue => f.write_str("SIGSTOP and SIGCONT in turn"),
        }
    }
}

/// A control group with a quota.
#[derive(Debug)]
pub(super) struct Group {
    directory: PathBuf,
    /// Where its processes came from and go back to.
    home: PathBuf,
}

/// Which files set the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Two,
    One,
}

/// Starves the node's prober until it is ended. Returns how, for people.
pub(super) fn starve(
    hook: Arc<dyn ProberHook>,
    node: &str,
    percent: Percent,
    serial: u32,
) -> Result<(Background, String), FaultError> {
    let failed = {
        let node = node.to_owned();
        move |source| FaultError::Prober {
            doing: "throttle",
            node: node.clone(),
            source,
        }
    };
    let process = hook
        .process_id(node)
        .and_then(|id| id.ok_or_else(|| io::Error::other("it does not run")))
        .map_err(&failed)?;
    let means = group_for(process, percent, serial);
    let shown = means.to_string();
    let node = node.to_owned();
    let run = Duration::from_secs_f64(PERIOD.as_secs_f64() * percent.as_f64() / 100.0);
    let background = Background::start("quota", move |over| {
        match means {
            Means::Group(group) => {
                while !over.wait(LOOK) {
                    // A mesh that has ended has no processes any more; the group goes all the same.
                    if let Ok(Some(id)) = hook.process_id(&node) {
                        group.take_in(id);
                    }
                }
                group.dissolve().map_err(&failed)
            }
            Means::StopAndContinue => alternate(hook.as_ref(), &node, run, over).map_err(&failed),
        }
    })?;
    Ok((background, shown))
}

/// Lets the prober run for a part of each period.
fn alternate(hook: &dyn ProberHook, node: &str, run: Duration, over: &Over) -> io::Result<()> {
    loop {
        hook.pause(node)?;
        let is_over = over.wait(PERIOD.saturating_sub(run));
        hook.resume(node)?;
        if is_over || over.wait(run) {
            return Ok(());
        }
    }
}

fn group_for(process: u32, percent: Percent, serial: u32) -> Means {
    let name = format!("{PREFIX}{}-{serial}", std::process::id());
    for (version, home, parent) in places() {
        sweep(&parent);
        match make(version, &parent.join(&name), percent, process) {
            Ok(directory) => return Means::Group(Group { directory, home }),
            Err(error) => {
                tracing::debug!(parent = %parent.display(), %error, "No control group there");
            }
        }
    }
    Means::StopAndContinue
}

/// Where a group may be made: version, this process's own group, the new one's parent.
fn places() -> Vec<(Version, PathBuf, PathBuf)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    places_in(&read("/proc/self/mounts"), &read("/proc/self/cgroup"))
}

fn places_in(mounts: &str, own: &str) -> Vec<(Version, PathBuf, PathBuf)> {
    let mut places = Vec::new();
    for version in [Version::Two, Version::One] {
        let mount = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (at, kind, options) = (words.next()?, words.next()?, words.next()?);
            let fits = match version {
                Version::Two => kind == "cgroup2",
                Version::One => {
                    kind == "cgroup" && options.split(',').any(|option| option == "cpu")
                }
            };
            fits.then(|| PathBuf::from(at))
        });
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let fits = match version {
                Version::Two => controllers.is_empty(),
                Version::One => controllers.split(',').any(|controller| controller == "cpu"),
            };
            fits.then(|| path.trim_start_matches('/').to_owned())
        });
        if let (Some(mount), Some(path)) = (mount, path) {
            let home = mount.join(path);
            // From here to the top: version 2 gives quotas only below groups that have no processes of their own.
            let parents = home
                .ancestors()
                .take_while(|parent| parent.starts_with(&mount));
            places.extend(parents.map(|parent| (version, home.clone(), parent.to_owned())));
        }
    }
    places
}

fn make(version: Version, directory: &Path, percent: Percent, process: u32) -> io::Result<PathBuf> {
    fs::create_dir(directory)?;
    let made = set_quota(version, directory, percent)
        .and_then(|()| fs::write(directory.join("cgroup.procs"), process.to_string()));
    match made {
        Ok(()) => Ok(directory.to_owned()),
        Err(error) => {
            fs::remove_dir(directory)?;
            Err(error)
        }
    }
}

fn set_quota(version: Version, directory: &Path, percent: Percent) -> io::Result<()> {
    let period = PERIOD.as_micros();
    let quota = period * u128::from(percent.hundredths()) / u128::from(Percent::WHOLE);
    match version {
        Version::Two => {
            let limit = directory.join("cpu.max");
            if !limit.exists()
                && let Some(parent) = directory.parent()
            {
                fs::write(parent.join("cgroup.subtree_control"), "+cpu")?;
            }
            fs::write(limit, format!("{quota} {period}"))
        }
        Version::One => {
            fs::write(directory.join("cpu.cfs_period_us"), period.to_string())?;
            fs::write(directory.join("cpu.cfs_quota_us"), quota.to_string())
        }
    }
}

/// Removes what killed labs have left; a group with processes in it refuses.
fn sweep(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        drop(fs::remove_dir(entry.path()));
    }
}

impl Group {
    /// A process that has ended meanwhile is no failure.
    fn take_in(&self, process: u32) {
        drop(fs::write(
            self.directory.join("cgroup.procs"),
            process.to_string(),
        ));
    }

    fn dissolve(&self) -> io::Result<()> {
        /// A process that has ended leaves its group a little later.
        const TRIES: usize = 50;
        const REST: Duration = Duration::from_millis(10);
        let mut removed = Ok(());
        for _ in 0..TRIES {
            let processes = fs::read_to_string(self.directory.join("cgroup.procs"))?;
            for process in processes.lines() {
                drop(fs::write(self.home.join("cgroup.procs"), process));
            }
            removed = fs::remove_dir(&self.directory);
            if removed.is_ok() {
                break;
            }
            thread::sleep(REST);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_version_is_tried_first_from_the_own_group_upwards() {
        let mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        let shown: Vec<(Version, String)> = places_in(mounts, "0::/user.slice/me\n")
            .into_iter()
            .map(|(version, _, parent)| (version, parent.display().to_string()))
            .collect();
        assert_eq!(
            shown,
            [
                (Version::Two, "/sys/fs/cgroup/user.slice/me".to_owned()),
                (Version::Two, "/sys/fs/cgroup/user.slice".to_owned()),
                (Version::Two, "/sys/fs/cgroup".to_owned()),
            ]
        );
    }

    /// Remembers what was done to the process.
    #[derive(Debug, Default)]
    struct Recorder(std::sync::Mutex<Vec<&'static str>>);

    impl Recorder {
        fn done(&self, what: &'static str) -> io::Result<()> {
            self.0.lock().map_err(|_| io::ErrorKind::Other)?.push(what);
            Ok(())
        }
    }

    impl ProberHook for Recorder {
        fn stop(&self, _: &str) -> io::Result<()> {
            self.done("stop")
        }

        fn start(&self, _: &str) -> io::Result<()> {
            self.done("start")
        }

        fn process_id(&self, _: &str) -> io::Result<Option<u32>> {
            Ok(None)
        }

        fn pause(&self, _: &str) -> io::Result<()> {
            self.done("pause")
        }

        fn resume(&self, _: &str) -> io::Result<()> {
            self.done("resume")
        }
    }

    #[test]
    fn a_process_that_is_stopped_in_turns_runs_when_it_is_over() {
        let recorder = Arc::new(Recorder::default());
        let hook = Arc::clone(&recorder);
        let background = Background::start("quota", move |over| {
            alternate(hook.as_ref(), "mesh-1", Duration::from_millis(1), over)
                .map_err(FaultError::Timer)
        })
        .expect("a thread");
        while recorder.0.lock().expect("not poisoned").len() < 4 {
            thread::sleep(Duration::from_millis(5));
        }
        background.end().expect("the recorder refuses nothing");
        let done = recorder.0.lock().expect("not poisoned").clone();
        assert_eq!(done[..4], ["pause", "resume", "pause", "resume"]);
        assert_eq!(done.last(), Some(&"resume"));
        assert_eq!(done.len() % 2, 0);
    }

    #[test]
    fn the_first_version_is_found_by_its_controller() {
        let mounts = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                      cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n";
        let places = places_in(mounts, "3:cpuset:/\n2:cpu,cpuacct:/\n");
        assert_eq!(places.len(), 1);
        assert_eq!(places[0].2, Path::new("/sys/fs/cgroup/cpu,cpuacct/"));
        assert!(places_in("", "0::/\n").is_empty());
    }
}
