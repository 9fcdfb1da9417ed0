//! Warnings and errors in the daemons' logs: every one has to be explained by the scenario.

use std::fs;
use std::io;
use std::path::Path;

use super::file::{AllowedLine, LogSource};

/// A file that holds more of them than this is told in part.
const SHOWN: usize = 10;

/// Lines of one daemon's log that nothing explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unexplained {
    /// `aggregator`, `prober-mesh-3`.
    pub process: String,
    pub lines: Vec<String>,
}

impl Unexplained {
    /// One sentence for each line, the first ones of many.
    pub fn sentences(&self) -> Vec<String> {
        let Self { process, lines } = self;
        let mut sentences: Vec<String> = lines
            .iter()
            .take(SHOWN)
            .map(|line| format!("{process} logged, and nothing explains it: {line}"))
            .collect();
        if lines.len() > SHOWN {
            sentences.push(format!(
                "{process} logged {} more such lines",
                lines.len() - SHOWN
            ));
        }
        sentences
    }
}

/// Looks through the logs of all daemons in a folder.
pub fn unexplained(folder: &Path, allowed: &[AllowedLine]) -> io::Result<Vec<Unexplained>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(process) = name.strip_suffix(".err") else {
            continue;
        };
        let Some(source) = source_of(process) else {
            continue;
        };
        let bytes = fs::read(&path)?;
        let lines = bad_lines(&String::from_utf8_lossy(&bytes), source, allowed);
        if !lines.is_empty() {
            found.push(Unexplained {
                process: process.to_owned(),
                lines,
            });
        }
    }
    found.sort_by(|a, b| a.process.cmp(&b.process));
    Ok(found)
}

/// Other processes of the lab, such as DNS servers, are not ours.
fn source_of(process: &str) -> Option<LogSource> {
    match process {
        "aggregator" => Some(LogSource::Aggregator),
        _ if process.starts_with("prober-") => Some(LogSource::Prober),
        _ => None,
    }
}

fn bad_lines(log: &str, source: LogSource, allowed: &[AllowedLine]) -> Vec<String> {
    let is_explained = |line: &str| {
        allowed
            .iter()
            .any(|rule| rule.from == source && line.contains(&rule.contains))
    };
    log.lines()
        .filter(|line| is_bad(line) && !is_explained(line))
        .map(str::to_owned)
        .collect()
}

/// The level is the second word of a line, after the time. A line without both is no log line of ours, so something wrote
/// past the log: a panic before it was set up, a library.
fn is_bad(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (time, level) = (words.next(), words.next());
    let has_time = time.is_some_and(|time| time.starts_with("20") && time.ends_with('Z'));
    match level {
        _ if line.trim().is_empty() => false,
        Some("TRACE" | "DEBUG" | "INFO") if has_time => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-11-21T03:14:40.000001Z  INFO meshprobe_prober: Started warnings=0
2026-11-21T03:14:41.000001Z  WARN meshprobe_prober::reporter: Lost the aggregator error=\"broken pipe\"
2026-11-21T03:14:42.000001Z ERROR meshprobe_prober: Something else

thread 'main' panicked at src/main.rs:1:1:
";

    fn rule(from: LogSource, contains: &str) -> AllowedLine {
        AllowedLine {
            from,
            contains: contains.to_owned(),
            because: "it is tested".to_owned(),
        }
    }

    #[test]
    fn warnings_errors_and_what_is_no_log_line_are_found() {
        let lines = bad_lines(LOG, LogSource::Prober, &[]);
        assert_eq!(lines.len(), 3, "{lines:#?}");
    }

    #[test]
    fn a_rule_explains_lines_of_its_own_daemon_only() {
        let rules = [rule(LogSource::Prober, "Lost the aggregator")];
        assert_eq!(bad_lines(LOG, LogSource::Prober, &rules).len(), 2);
        assert_eq!(bad_lines(LOG, LogSource::Aggregator, &rules).len(), 3);
    }

    #[test]
    fn the_logs_of_dns_servers_are_not_ours() {
        assert_eq!(source_of("dns-1"), None);
        assert_eq!(source_of("prober-mesh-12"), Some(LogSource::Prober));
    }
}
