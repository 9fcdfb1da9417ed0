//! Warnings and errors in the daemons' logs: every one has to be explained by the scenario.
//!
//! All daemons are started at the same moment, so a prober may call before the aggregator listens: that, and nothing else, is
//! explained by the start ([`Marks`] say where the start ends in each log).

use std::collections::BTreeMap;
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

/// What a prober says when it calls before the aggregator listens.
const TOO_EARLY: &str = "No stream to the aggregator";

/// How long each daemon's log was at some moment, in octets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks(BTreeMap<String, usize>);

impl Marks {
    /// How long the logs are now.
    pub fn now(folder: &Path) -> io::Result<Self> {
        let logs = logs(folder)?.into_iter();
        Ok(Self(
            logs.map(|(process, _, log)| (process, log.len())).collect(),
        ))
    }
}

/// Looks through the logs of all daemons in a folder; `started` is where the start ended.
pub fn unexplained(
    folder: &Path,
    allowed: &[AllowedLine],
    started: &Marks,
) -> io::Result<Vec<Unexplained>> {
    let mut found = Vec::new();
    for (process, source, log) in logs(folder)? {
        let mark = started.0.get(&process).copied().unwrap_or(0);
        let (start, rest) = log.split_at_checked(mark).unwrap_or(("", &log));
        let mut lines = bad_lines(start, source, allowed);
        lines.retain(|line| !(source == LogSource::Prober && line.contains(TOO_EARLY)));
        lines.extend(bad_lines(rest, source, allowed));
        if !lines.is_empty() {
            found.push(Unexplained { process, lines });
        }
    }
    Ok(found)
}

/// The daemons' logs in a folder, in alphabetical order.
fn logs(folder: &Path) -> io::Result<Vec<(String, LogSource, String)>> {
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
        let log = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        found.push((process.to_owned(), source, log));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Other processes of the lab, such as DNS servers, are not ours.
fn source_of(process: &str) -> Option<LogSource> {
    match process {
        "aggregator" => Some(LogSource::Aggregator),
        _ if process.starts_with("prober-") || process.starts_with("host-prober-") => {
            Some(LogSource::Prober)
        }
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
