//! Watches this process: does it run when it wants to, and does its control group let it?
//!
//! A prober that is starved of CPU measures its own starvation. Two witnesses: a timer of the runtime that is late, and the
//! control group's count of the time for which it was throttled (`cpu.stat`, cgroup v2 or v1).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meshprobe_daemon::shutdown::Shutdown;

use crate::shared::Shared;

/// How often the timer is looked at.
const TICK: Duration = Duration::from_millis(200);

/// Ticks from one look at the control group to the next.
const TICKS_PER_LOOK: u32 = 5;

/// A task: tells the book's health what it sees, until `shutdown`.
pub async fn watch_self(shared: Shared, shutdown: Shutdown) {
    let clock = shared.clock;
    let mut throttling = Throttling::default();
    throttling.look(Path::new("/"));
    let mut tick = 0;
    loop {
        let wanted = clock.now() + TICK;
        let slept = shutdown.or_signaled(tokio::time::sleep_until(clock.instant(wanted).into()));
        if slept.await.is_none() {
            return;
        }
        let now = clock.now();
        let lateness = now.saturating_since(wanted);
        shared.book.lock().health_mut().handle_stall(lateness, now);
        tick += 1;
        if tick < TICKS_PER_LOOK {
            continue;
        }
        tick = 0;
        let since = throttling.look(Path::new("/"));
        if !since.is_zero() {
            let mut book = shared.book.lock();
            book.health_mut().handle_throttled(since, now);
        }
    }
}

/// What the control group's count was when it was last looked at.
#[derive(Debug, Default)]
struct Throttling {
    last: Option<(ControlGroup, Duration)>,
}

impl Throttling {
    /// Time for which this process was throttled since the last look. A process may be moved to another group while it runs,
    /// whose count is of others until then.
    fn look(&mut self, root: &Path) -> Duration {
        let group = ControlGroup::of_this_process(root);
        let now = group.and_then(|group| {
            let total = group.throttled()?;
            Some((group, total))
        });
        let before = std::mem::replace(&mut self.last, now);
        match (&self.last, &before) {
            (Some((group, total)), Some((same, before))) if group == same => {
                total.saturating_sub(*before)
            }
            _ => Duration::ZERO,
        }
    }
}

/// The control group of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlGroup {
    directory: PathBuf,
}

impl ControlGroup {
    /// Found by `/proc/self/cgroup`; inside a container the group's own directory is the mount itself. `None`: there is
    /// none with a CPU controller.
    pub fn of_this_process(root: &Path) -> Option<Self> {
        let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let mount = root.join("sys/fs/cgroup");
        let candidates = groups.lines().flat_map(|line| candidates(&mount, line));
        let last_resorts = [mount.clone(), mount.join("cpu"), mount.join("cpu,cpuacct")];
        candidates
            .chain(last_resorts)
            .find(|directory| directory.join("cpu.stat").is_file())
            .map(|directory| Self { directory })
    }

    /// For how long it was throttled since it exists.
    pub fn throttled(&self) -> Option<Duration> {
        throttled(&fs::read_to_string(self.directory.join("cpu.stat")).ok()?)
    }

    /// Its CPU quota in percent of a core; `None`: there is none.
    pub fn quota_percent(&self) -> Option<u32> {
        let read = |file: &str| fs::read_to_string(self.directory.join(file)).ok();
        if let Some(max) = read("cpu.max") {
            let (quota, period) = max.trim().split_once(' ')?;
            return percent(quota, period);
        }
        percent(&read("cpu.cfs_quota_us")?, &read("cpu.cfs_period_us")?)
    }
}

/// `hierarchy:controllers:path`; version 2 has no controllers in its line.
fn candidates(mount: &Path, line: &str) -> Vec<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
        return Vec::new();
    };
    let path = path.trim_start_matches('/');
    if controllers.is_empty() {
        return vec![mount.join(path)];
    }
    if controllers.split(',').any(|controller| controller == "cpu") {
        return vec![
            mount.join(controllers).join(path),
            mount.join("cpu").join(path),
        ];
    }
    Vec::new()
}

/// `throttled_usec` of version 2, `throttled_time` (nanoseconds) of version 1.
fn throttled(stat: &str) -> Option<Duration> {
    stat.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        let value = value.trim().parse().ok()?;
        match name {
            "throttled_usec" => Some(Duration::from_micros(value)),
            "throttled_time" => Some(Duration::from_nanos(value)),
            _ => None,
        }
    })
}

fn percent(quota: &str, period: &str) -> Option<u32> {
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok()?;
    u32::try_from((quota * 100).checked_div(period)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_are_read() {
        let v2 = "usage_usec 5\nnr_periods 1\nnr_throttled 1\nthrottled_usec 1500\n";
        assert_eq!(throttled(v2), Some(Duration::from_micros(1_500)));
        let v1 = "nr_periods 1\nnr_throttled 1\nthrottled_time 2000\n";
        assert_eq!(throttled(v1), Some(Duration::from_micros(2)));
        assert_eq!(throttled("throttled_usec many\n"), None);
        assert_eq!(percent("max", "100000"), None);
        assert_eq!(percent("1000", "100000"), Some(1));
        assert_eq!(percent("1", "0"), None);
    }

    #[test]
    fn a_process_that_is_moved_to_another_group_is_watched_there() {
        let root = std::env::temp_dir().join(format!("meshprobe-groups-{}", std::process::id()));
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let mut throttling = Throttling::default();
        let mut look = |group: &str, nanoseconds: u64| {
            put("proc/self/cgroup", &format!("4:cpu:/{group}\n"));
            let stat = format!("nr_periods 1\nthrottled_time {nanoseconds}\n");
            put(&format!("sys/fs/cgroup/cpu/{group}/cpu.stat"), &stat);
            throttling.look(&root)
        };
        assert_eq!(look("wide", 5_000), Duration::ZERO, "of others, before");
        assert_eq!(look("wide", 9_000), Duration::from_micros(4));
        assert_eq!(look("narrow", 70_000), Duration::ZERO, "of others, before");
        assert_eq!(look("narrow", 90_000), Duration::from_micros(20));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_group_is_found_by_its_line() {
        let mount = Path::new("/sys/fs/cgroup");
        assert_eq!(
            candidates(mount, "0::/kubepods/x"),
            [mount.join("kubepods/x")]
        );
        assert_eq!(
            candidates(mount, "4:cpu,cpuacct:/x"),
            [mount.join("cpu,cpuacct/x"), mount.join("cpu/x")]
        );
        assert!(candidates(mount, "5:memory:/x").is_empty());
        assert!(candidates(mount, "nonsense").is_empty());
    }
}
