//! The end of each log, for people who look at a failure.

use std::fs;
use std::path::Path;

/// Lines of each log that are shown.
const LINES: usize = 15;

/// Every `*.err` of the folder that has something in it.
pub(super) fn tails(folder: &Path) -> String {
    let Ok(entries) = fs::read_dir(folder) else {
        return format!("no logs in {}\n", folder.display());
    };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "err"));
    paths.sort();
    paths.iter().filter_map(|path| tail(path)).collect()
}

fn tail(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok().filter(|bytes| !bytes.is_empty())?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let is_bad = |line: &&&str| {
        ["WARN", "ERROR", "panicked"]
            .iter()
            .any(|word| line.contains(word))
    };
    let last = &lines[lines.len().saturating_sub(LINES)..];
    let earlier = &lines[..lines.len() - last.len()];
    let bad: Vec<&str> = earlier.iter().filter(is_bad).take(LINES).copied().collect();
    let name = path.file_stem()?.to_string_lossy();
    let mut shown = format!("--- {name}, the last of {} lines\n", lines.len());
    for line in bad.iter().chain(last) {
        shown.push_str(line);
        shown.push('\n');
    }
    Some(shown)
}
