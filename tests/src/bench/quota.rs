//! A small share of one processor for a program, as a container's CPU limit gives it.
//!
//! A quota that is not used up slows nobody. So the program shares its group with another one that uses all it can get.
//! Where no group can be made, the program is stopped and continued in the rhythm of a quota.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::child::{Process, Scratch};

/// The kernel hands out the quota once in this time.
const PERIOD: Duration = Duration::from_millis(100);

/// Where groups are made: (directory, file of the quota, what is written to it for a share of the period).
const PLACES: [(&str, Version); 3] = [
    ("/sys/fs/cgroup", Version::Two),
    ("/sys/fs/cgroup/cpu", Version::One),
    ("/sys/fs/cgroup/cpu,cpuacct", Version::One),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A quota in force; ended when it is dropped.
#[derive(Debug)]
pub(super) enum Quota {
    /// A control group with the program and one that competes with it.
    Group {
        directory: PathBuf,
        rival: Option<Process>,
    },
    /// The program is stopped and continued in turn.
    Rhythm {
        ended: Arc<AtomicBool>,
        stopping: Option<JoinHandle<()>>,
    },
}

impl Quota {
    /// Puts the process under a quota of `percent` of one processor.
    pub(super) fn impose(
        process: &Process,
        percent: u8,
        scratch: &Scratch,
    ) -> anyhow::Result<Self> {
        let name = format!("meshprobe-bench-{}", std::process::id());
        for (parent, version) in PLACES {
            let directory = Path::new(parent).join(&name);
            if make(&directory, version, process, percent).is_err() {
                fs::remove_dir(&directory).ok();
                continue;
            }
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do :; done"]);
            let rival = Process::start("rival", &mut command, &scratch.path("rival.log"))?;
            take_in(&directory, &rival)?;
            return Ok(Self::Group {
                directory,
                rival: Some(rival),
            });
        }
        let ended = Arc::new(AtomicBool::new(false));
        let (over, pid) = (Arc::clone(&ended), process.pid());
        let runs = PERIOD * u32::from(percent) / 100;
        let stopping = thread::Builder::new()
            .name("quota".to_owned())
            .spawn(move || stop_and_continue(pid, runs, &over))
            .context("start the rhythm of stops")?;
        Ok(Self::Rhythm {
            ended,
            stopping: Some(stopping),
        })
    }

    /// For people.
    pub(super) fn means(&self) -> String {
        match self {
            Self::Group { directory, .. } => {
                format!("control group {} and a rival in it", directory.display())
            }
            Self::Rhythm { .. } => "SIGSTOP and SIGCONT in turn".to_owned(),
        }
    }

    /// How often the kernel kept the group from running; `None`: there is no group.
    pub(super) fn throttled(&self) -> Option<f64> {
        let Self::Group { directory, .. } = self else {
            return None;
        };
        let text = fs::read_to_string(directory.join("cpu.stat")).ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("nr_throttled "));
        line?.parse().ok()
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        match self {
            Self::Group { directory, rival } => {
                drop(rival.take());
                // The program goes back to where everything is; what is left is an empty group.
                let parent = directory.parent().unwrap_or(directory).to_owned();
                let members = fs::read_to_string(directory.join("cgroup.procs"));
                for pid in members.unwrap_or_default().lines() {
                    fs::write(parent.join("cgroup.procs"), pid).ok();
                }
                fs::remove_dir(directory).ok();
            }
            Self::Rhythm { ended, stopping } => {
                ended.store(true, Ordering::Relaxed);
                if let Some(stopping) = stopping.take() {
                    stopping.join().ok();
                }
            }
        }
    }
}

fn make(directory: &Path, version: Version, process: &Process, percent: u8) -> anyhow::Result<()> {
    fs::create_dir(directory).context("make a control group")?;
    // Where version 1 is mounted, the place of version 2 is an ordinary directory.
    anyhow::ensure!(
        directory.join("cpu.stat").exists(),
        "no control group of processors"
    );
    let period = PERIOD.as_micros();
    let quota = period * u128::from(percent) / 100;
    match version {
        Version::One => {
            fs::write(directory.join("cpu.cfs_period_us"), period.to_string())
                .context("set the period")?;
            fs::write(directory.join("cpu.cfs_quota_us"), quota.to_string())
                .context("set the quota")?;
        }
        Version::Two => fs::write(directory.join("cpu.max"), format!("{quota} {period}"))
            .context("set the quota")?,
    }
    take_in(directory, process)
}

fn take_in(directory: &Path, process: &Process) -> anyhow::Result<()> {
    fs::write(directory.join("cgroup.procs"), process.pid().to_string())
        .context("put a process into the control group")
}

fn stop_and_continue(pid: Pid, runs: Duration, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        // A process that has ended needs no quota.
        kill(pid, Signal::SIGSTOP).ok();
        thread::sleep(PERIOD.saturating_sub(runs));
        kill(pid, Signal::SIGCONT).ok();
        thread::sleep(runs);
    }
}
