//! A prober that is starved, with a real process that would take all it can get.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use meshprobe_lab::{Fault, Lab, ProberHook, Process};

/// The kernel counts a process's time in hundredths of a second.
const TICKS_A_SECOND: u64 = 100;

#[derive(Debug)]
struct Busy(Mutex<Process>);

impl Busy {
    fn with<T>(&self, act: impl FnOnce(&mut Process) -> T) -> T {
        act(&mut self.0.lock().expect("no test panics with the process"))
    }

    /// The time that it has run, in ticks.
    fn ticks(&self) -> anyhow::Result<u64> {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.with(|process| process.pid())))?;
        // The name is in parentheses and may be anything; user and system time are the 14th and 15th field.
        let fields = stat.rsplit_once(')').context("no process")?.1;
        fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| Ok(field.parse::<u64>()?))
            .sum()
    }

    fn ticks_in(&self, time: Duration) -> anyhow::Result<u64> {
        let before = self.ticks()?;
        thread::sleep(time);
        Ok(self.ticks()? - before)
    }
}

impl ProberHook for Busy {
    fn stop(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn start(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn process_id(&self, _: &str) -> io::Result<Option<u32>> {
        Ok(Some(self.with(|process| process.pid())))
    }

    fn pause(&self, _: &str) -> io::Result<()> {
        self.with(Process::pause).map_err(io::Error::other)
    }

    fn resume(&self, _: &str) -> io::Result<()> {
        self.with(Process::resume).map_err(io::Error::other)
    }
}

pub(crate) fn throttled_prober(lab: &Lab) -> anyhow::Result<()> {
    const LOOK: Duration = Duration::from_secs(3);
    let namespace = &lab.nodes()[1].pod_namespace;
    let process = lab
        .process("busy", namespace, "/bin/sh")
        .args(["-c", "while :; do :; done"])
        .spawn()?;
    let busy = Arc::new(Busy(Mutex::new(process)));
    lab.set_prober_hook(busy.clone());
    let group = |busy: &Busy| -> anyhow::Result<String> {
        let pid = busy.with(|process| process.pid());
        Ok(fs::read_to_string(format!("/proc/{pid}/cgroup"))?)
    };
    let before = group(&busy)?;
    let injected = "throttled-prober mesh-2".parse::<Fault>()?.inject(lab)?;
    let means = injected.means().context("it says how")?.to_owned();
    println!("    throttled by {means}");
    // The rest of the period in which it came in.
    thread::sleep(Duration::from_millis(300));
    let starved = busy.ticks_in(LOOK)?;
    // 1 % is 3 ticks; the kernel lets a process run on until the next tick.
    ensure!(
        starved <= LOOK.as_secs() * TICKS_A_SECOND / 10,
        "{starved} ticks in {LOOK:?} by {means}"
    );
    injected.heal()?;
    ensure!(group(&busy)? == before, "it is not back in its own group");
    // On a busy machine it may wait for its turn, but not for ever.
    let mut ran = 0;
    for _ in 0..20 {
        ran += busy.ticks_in(Duration::from_secs(1))?;
        if ran >= TICKS_A_SECOND / 2 {
            return Ok(());
        }
    }
    anyhow::bail!("{ran} ticks in 20 s after it was healed")
}
