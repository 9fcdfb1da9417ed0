//! What the layouts have in common: groups by zone, labels, margins.

use anstyle::Style;
use meshprobe_core::verdict::Verdict;

use super::heat::{Axis, Counts, HeatTable};
use crate::render::style::{BAD, DIM, HEADING, PLAIN, WARNING, paint, words};

/// Nodes of one zone that are drawn next to each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group<'a> {
    pub(super) zone: &'a str,
    pub(super) range: std::ops::Range<usize>,
}

/// Runs of the same zone.
pub(super) fn groups(axes: &[Axis]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (index, axis) in axes.iter().enumerate() {
        match groups.last_mut() {
            Some(group) if group.zone == axis.zone => group.range.end = index + 1,
            _ => groups.push(Group {
                zone: &axis.zone,
                range: index..index + 1,
            }),
        }
    }
    groups
}

/// Names without the domain that all of them share: `ip-10-0-0-1` for `ip-10-0-0-1.eu-west-1.compute.internal`.
pub(super) fn short_names(axes: &[Axis]) -> Vec<&str> {
    let domain = |axis: &Axis| {
        axis.name
            .split_once('.')
            .map(|(_, domain)| domain.to_owned())
    };
    let common = axes.first().and_then(domain);
    let is_common =
        common.is_some() && axes.len() > 1 && axes.iter().all(|axis| domain(axis) == common);
    axes.iter()
        .map(|axis| match axis.name.split_once('.') {
            Some((host, _)) if is_common => host,
            _ => axis.name.as_str(),
        })
        .collect()
}

/// A text in a field: padded on the right, or cut and ended with `…`.
pub(super) fn fitted(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return format!("{text}{}", " ".repeat(width - length));
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 {
        kept
    } else {
        format!("{kept}…")
    }
}

/// The same as [`fitted`], padded on the left.
pub(super) fn fitted_right(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return format!("{}{text}", " ".repeat(width - length));
    }
    fitted(text, width)
}

/// The mark at the end of a row: `  << 5 down`, or `  <  1 lossy` where most is well. Nothing where all is.
pub(super) fn margin(counts: Counts, is_blamed: bool) -> String {
    if counts.failing() == 0 {
        return String::new();
    }
    let (arrow, style) = if is_blamed {
        ("<< ", BAD)
    } else {
        ("<  ", WARNING)
    };
    format!(
        "  {}",
        paint(style, &format!("{arrow}{}", failing_words(counts)))
    )
}

/// "5 down, 1 lossy"
pub(super) fn failing_words(counts: Counts) -> String {
    let parts: Vec<String> = [
        Verdict::Down,
        Verdict::Suspect,
        Verdict::Lossy,
        Verdict::Slow,
    ]
    .into_iter()
    .filter(|verdict| counts.of(*verdict) > 0)
    .map(|verdict| format!("{} {}", counts.of(verdict), words(verdict)))
    .collect();
    parts.join(", ")
}

/// The style of a row's or column's label.
pub(super) fn label_style(counts: Counts, is_blamed: bool) -> Style {
    if is_blamed {
        BAD
    } else if counts.judged() == 0 {
        DIM
    } else {
        PLAIN
    }
}

/// The style of a number of failures.
pub(super) fn count_style(is_blamed: bool) -> Style {
    if is_blamed { BAD } else { WARNING }
}

/// What the columns' numbers mean, where the rows do not say it.
pub(super) fn column_legend(heat: &HeatTable, digits: usize) -> String {
    let names = heat.targets.iter().enumerate();
    let lines = names.map(|(column, axis)| format!("  {:>digits$} {}\n", column + 1, axis.name));
    format!(
        "\n{}\n{}",
        paint(HEADING, "Columns"),
        lines.collect::<String>()
    )
}

/// A line with its end and without the spaces before it, also where colours hide them.
pub(super) fn trimmed(line: &str) -> String {
    const RESET: &str = "\x1b[0m";
    match line.trim_end().strip_suffix(RESET) {
        Some(body) => format!("{}{RESET}\n", body.trim_end()),
        None => format!("{}\n", line.trim_end()),
    }
}
