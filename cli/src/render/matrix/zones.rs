//! The layout for more nodes than the terminal has columns: zone by zone, and the nodes that fail most.

use meshprobe_core::verdict::Verdict;

use super::blame::Blame;
use super::frame::{count_style, failing_words, groups};
use super::full::zone_name;
use super::heat::{Counts, HeatTable};
use crate::render::style::{BAD, DIM, GOOD, UNKNOWN, WARNING, glyph, paint};
use crate::render::table::{Cell, Table};

/// Nodes that are listed at most.
const LISTED: usize = 20;

/// Zones instead of nodes.
pub(super) fn render(heat: &HeatTable, blame: &Blame, width: usize) -> String {
    let mut text = paint(
        DIM,
        "Too many nodes for this width: zones are shown; -o wide shows every node.",
    ) + "\n\n";
    let grid = zone_grid(heat);
    let grid_width = grid
        .lines()
        .map(|line| {
            anstream::adapter::strip_str(line)
                .to_string()
                .chars()
                .count()
        })
        .max();
    if grid_width.unwrap_or(0) <= width {
        text.push_str("Failing paths, sources in rows, targets in columns:\n");
        text.push_str(&grid);
    } else {
        text.push_str(&failing_zone_pairs(heat));
    }
    text.push_str(&failing_nodes(heat, blame));
    text
}

fn zone_grid(heat: &HeatTable) -> String {
    let targets = groups(&heat.targets);
    let mut rows = Vec::new();
    for source in groups(&heat.sources) {
        let mut row = vec![(zone_name(source.zone).to_owned(), anstyle::Style::new())];
        for target in &targets {
            row.push(share(
                heat.block_counts(source.range.clone(), target.range.clone()),
            ));
        }
        rows.push(row);
    }
    let names = targets.iter().map(|group| zone_name(group.zone).to_owned());
    let headings: Vec<String> = std::iter::once(String::new()).chain(names).collect();
    grid(&headings, &rows)
}

/// Where the zones do not fit side by side either.
fn failing_zone_pairs(heat: &HeatTable) -> String {
    let mut pairs = Vec::new();
    for source in groups(&heat.sources) {
        for target in groups(&heat.targets) {
            let counts = heat.block_counts(source.range.clone(), target.range.clone());
            if counts.failing() > 0 {
                pairs.push((
                    zone_name(source.zone).to_owned(),
                    zone_name(target.zone).to_owned(),
                    counts,
                ));
            }
        }
    }
    pairs.sort_by_key(|(_, _, counts)| std::cmp::Reverse(counts.failing()));
    let mut table = Table::new(&["FROM ZONE", "TO ZONE", "JUDGED", "FAILING"]);
    for (source, target, counts) in pairs.into_iter().take(LISTED) {
        let style = count_style(counts.is_mostly_failing());
        let judged = counts.judged().to_string();
        table.push(vec![
            source.into(),
            target.into(),
            judged.into(),
            Cell::painted(failing_words(counts), style),
        ]);
    }
    format!("Zones with failing paths:\n{}", table.render())
}

/// "healthy", "12 of 400", "no data".
fn share(counts: Counts) -> (String, anstyle::Style) {
    if counts.judged() == 0 {
        return (format!("{} no data", glyph(Verdict::NoData)), UNKNOWN);
    }
    let style = match counts.failing() {
        0 => return (format!("{} healthy", glyph(Verdict::Healthy)), GOOD),
        _ if counts.is_mostly_failing() => BAD,
        _ => WARNING,
    };
    (
        format!("{} of {}", counts.failing(), counts.judged()),
        style,
    )
}

fn grid(headings: &[String], rows: &[Vec<(String, anstyle::Style)>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].0.chars().count());
        cells
            .chain([headings[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let mut text = String::new();
    let plain: Vec<_> = headings
        .iter()
        .map(|heading| (heading.clone(), anstyle::Style::new()))
        .collect();
    for row in std::iter::once(&plain).chain(rows) {
        let mut line = " ".to_owned();
        for (column, (shown, style)) in row.iter().enumerate() {
            let padding = " ".repeat(width(column) - shown.chars().count());
            line.extend([" ", &paint(*style, shown), &padding, " "]);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn failing_nodes(heat: &HeatTable, blame: &Blame) -> String {
    let ranking = blame.ranking(heat);
    if ranking.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["NODE", "ZONE", "PATHS", "JUDGED", "FAILING"]);
    for ranked in ranking.iter().take(LISTED) {
        table.push(vec![
            Cell::from(ranked.axis.name.as_str()),
            Cell::from(ranked.axis.zone.as_str()),
            Cell::from(if ranked.is_source { "from it" } else { "to it" }),
            Cell::from(ranked.counts.judged().to_string()),
            Cell::painted(failing_words(ranked.counts), count_style(ranked.is_blamed)),
        ]);
    }
    let more = match ranking.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!("and {more} more rows and columns\n"),
    };
    format!(
        "\nRows and columns that fail most:\n{}{more}",
        table.render()
    )
}
