//! What a figure was measured on: without it a number means nothing.

use std::fs;
use std::thread;

use serde::Serialize;

/// The machine, as far as it matters for a figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// Processors that this process may use.
    pub cpus: usize,
    /// What the processor calls itself.
    pub cpu: String,
    pub memory_gib: f64,
    pub kernel: String,
    /// Load average of the minute before the bench ended: above `cpus`, others were measured too.
    pub load_1m: f64,
}

impl Machine {
    /// Asks the kernel; what it does not say is left empty.
    pub fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            cpus: thread::available_parallelism().map_or(1, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name").to_owned(),
            memory_gib: memory_gib(&read("/proc/meminfo")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_1m: first_number(&read("/proc/loadavg")),
        }
    }
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    };
    text.lines().find_map(value).unwrap_or_default()
}

fn memory_gib(meminfo: &str) -> f64 {
    let kib = first_number(field(meminfo, "MemTotal"));
    (kib / f64::from(1 << 20) * 10.0).round() / 10.0
}

fn first_number(text: &str) -> f64 {
    let word = text.split_whitespace().next();
    word.and_then(|word| word.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(
            field("processor\t: 0\nmodel name\t: Fast CPU\n", "model name"),
            "Fast CPU"
        );
        assert!((memory_gib("MemTotal:        2097152 kB\n") - 2.0).abs() < 1e-9);
        assert!((first_number("0.52 0.40 0.30 1/100 7\n") - 0.52).abs() < 1e-9);
    }

    #[test]
    fn this_machine_has_a_processor_and_memory() {
        let machine = Machine::this();
        assert!(machine.cpus > 0 && machine.memory_gib > 0.0, "{machine:?}");
    }
}
