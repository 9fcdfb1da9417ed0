//! A program under measurement: its CPU time and its memory, and its end when nobody needs it any more.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts it. What it writes goes to `log`.
    pub(super) fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let output = fs::File::create(log).with_context(|| format!("create {}", log.display()))?;
        let errors = output.try_clone().context("share the log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| {
                format!("start {name}: {}", command.get_program().to_string_lossy())
            })?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    /// User and system time of all its threads since it started.
    pub(super) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let clock =
            clock_getcpuclockid(self.pid()).with_context(|| format!("{} has ended", self.name))?;
        Ok(Duration::from(clock.now().context("read a CPU clock")?))
    }

    /// Memory that it holds now, octets.
    pub(super) fn resident_bytes(&self) -> anyhow::Result<u64> {
        resident_bytes(&format!("/proc/{}/status", self.child.id()))
    }

    /// Asks it to stop and waits until it has.
    pub(super) fn interrupt(mut self) -> anyhow::Result<()> {
        kill(self.pid(), Signal::SIGINT).context("interrupt")?;
        self.child.wait().context("wait for its end")?;
        Ok(())
    }

    /// Its number.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// CPU time of the thread that asks.
pub(super) fn thread_cpu_time() -> anyhow::Result<Duration> {
    let now = ClockId::CLOCK_THREAD_CPUTIME_ID.now();
    Ok(Duration::from(now.context("read the thread's CPU clock")?))
}

/// Memory that this process holds, octets.
pub(super) fn own_resident_bytes() -> anyhow::Result<u64> {
    resident_bytes("/proc/self/status")
}

fn resident_bytes(status: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(status).with_context(|| format!("read {status}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1_024)
        .with_context(|| format!("{status} has no VmRSS"))
}

/// A folder that is removed with everything in it.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> anyhow::Result<Self> {
        let path =
            std::env::temp_dir().join(format!("meshprobe-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(path))
    }

    /// Writes a file into it.
    pub(super) fn write(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed lies in the folder for temporary files.
        fs::remove_dir_all(&self.0).ok();
    }
}

/// TCP ports that are free now, all different.
pub(super) fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        *port = listener.local_addr().context("find a free port")?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// The median; of an even number of values the lower one of the two in the middle.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_values() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 3.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_busy_process_uses_cpu_time_and_has_memory() {
        let scratch = Scratch::new("child").unwrap();
        let log = scratch.path("log");
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        let process = Process::start("sh", &mut command, &log).unwrap();
        let deadline = 200;
        let used = (0..deadline).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            process.cpu_time().unwrap() > Duration::from_millis(20)
        });
        assert!(used);
        assert!(process.resident_bytes().unwrap() > 100_000);
    }
}
