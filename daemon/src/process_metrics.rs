//! What the process uses, under the names that Prometheus gives to these figures in every language:
//! `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds`,
//! `process_threads`, `process_start_time_seconds`.
//!
//! Read from the kernel at each scrape. A figure that cannot be read is left out, never shown as
//! zero.

use std::{fmt, fs, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use rustix::time::{ClockId, clock_gettime};

use crate::{clock, logging};

/// Registers the figures of this process, which counts as started now, and the log's lost lines.
pub fn register(registry: &mut Registry) {
    logging::register(registry);
    registry.register_collector(Box::new(ProcessCollector {
        started: clock::since_epoch(),
    }));
}

/// CPU time, user and system, that this process has used since its start.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or(0),
        time.tv_nsec.try_into().unwrap_or(0),
    )
}

/// Memory of this process that is in RAM now, in bytes; `None` without `/proc`.
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status_value(&status, "VmRSS:").map(|kibibytes| kibibytes * 1024)
}

fn status_value(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[derive(Debug)]
struct ProcessCollector {
    started: Duration,
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let cpu = ConstCounter::new(cpu_time().as_secs_f64());
        let help = "CPU time used, user and system";
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            help,
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?)?;

        let mut gauge =
            |name: &str, help: &str, unit: Option<&Unit>, value: Option<f64>| match value {
                Some(value) => {
                    let gauge = ConstGauge::new(value);
                    gauge.encode(encoder.encode_descriptor(
                        name,
                        help,
                        unit,
                        gauge.metric_type(),
                    )?)
                }
                None => Ok(()),
            };
        let started = self.started.as_secs_f64();
        gauge(
            "process_start_time",
            "When the process started",
            Some(&Unit::Seconds),
            Some(started),
        )?;
        let resident = resident_bytes().map(|bytes| bytes as f64);
        gauge(
            "process_resident_memory",
            "Memory that is in RAM",
            Some(&Unit::Bytes),
            resident,
        )?;
        let threads = fs::read_to_string("/proc/self/status").ok();
        let threads = threads.and_then(|status| status_value(&status, "Threads:"));
        gauge(
            "process_threads",
            "Threads",
            None,
            threads.map(|count| count as f64),
        )?;
        // The directory that is being read is one of them.
        let open = fs::read_dir("/proc/self/fd")
            .ok()
            .map(|entries| entries.count().saturating_sub(1));
        gauge(
            "process_open_fds",
            "Open file descriptors",
            None,
            open.map(|count| count as f64),
        )
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_scrape_has_every_figure_with_a_plausible_value() {
        let mut registry = Registry::default();
        register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let value = |name: &str| -> f64 {
            let line = text
                .lines()
                .find(|line| line.split(' ').next() == Some(name));
            line.unwrap_or_else(|| panic!("{name} is missing:\n{text}"))
                .rsplit(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        };
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_resident_memory_bytes") > 1e5);
        assert!(value("meshprobe_log_lines_dropped_total") >= 0.0);
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_start_time_seconds") > 1.5e9);
    }

    #[test]
    fn a_status_file_is_read_by_key() {
        let status = "Name:\tx\nVmRSS:\t    5120 kB\nThreads:\t3\n";
        assert_eq!(status_value(status, "VmRSS:"), Some(5120));
        assert_eq!(status_value(status, "Threads:"), Some(3));
        assert_eq!(status_value(status, "VmSwap:"), None);
    }
}
