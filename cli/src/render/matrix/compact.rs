//! The layout for many nodes: a glyph for each cell, the columns' numbers written downwards.
//!
//! The rows carry the same numbers with the names, so they are the legend of the columns. Columns that are not rows as
//! well (DNS targets) are listed below.

use super::blame::Blame;
use super::frame::{
    Group, column_legend, count_style, failing_words, fitted, groups, label_style, margin,
    short_names,
};
use super::full::zone_name;
use super::heat::{HeatTable, Spot};
use crate::render::style::{BAD, DIM, HEADING, OWN_GLYPH, PLAIN, glyph, of_verdict, paint};

/// Longest name that is worth its width.
const NAME_MAX: usize = 24;
/// Between two zones.
const ZONE_GAP: &str = " ";
/// What a margin such as `  << 99 down` needs.
const MARGIN: usize = 14;
/// Label of the bottom margin.
const FAILING: &str = "failing";
/// Rows and columns that are named below the table at most.
const NAMED: usize = 12;

/// The table, or `None` if it is wider than `width`.
pub(super) fn render(heat: &HeatTable, blame: &Blame, width: usize) -> Option<String> {
    // Two characters a cell are square on most terminals.
    let mut layouts = [2, 1].into_iter().map(|cell| Layout::of(heat, blame, cell));
    let layout = layouts.find(|layout| layout.width() <= width)?;
    let mut text = layout.zone_line();
    text.push_str(&layout.number_lines());
    let named_zones = groups(&heat.sources)
        .iter()
        .any(|group| !group.zone.is_empty());
    for group in groups(&heat.sources) {
        if named_zones {
            text.extend([&paint(HEADING, zone_name(group.zone)), "\n"]);
        }
        for row in group.range {
            text.push_str(&layout.row(row));
        }
    }
    text.push_str(&layout.failing_lines());
    if !heat.is_square {
        text.push_str(&column_legend(heat, layout.digits));
    }
    text.push_str(&suspects(heat, blame));
    Some(text)
}

struct Layout<'a> {
    heat: &'a HeatTable,
    blame: &'a Blame,
    groups: Vec<Group<'a>>,
    sources: Vec<&'a str>,
    digits: usize,
    label: usize,
    cell: usize,
}

impl<'a> Layout<'a> {
    fn of(heat: &'a HeatTable, blame: &'a Blame, cell: usize) -> Self {
        let sources = short_names(&heat.sources);
        let digits = heat.sources.len().max(heat.targets.len()).to_string().len();
        let longest = sources
            .iter()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or(0)
            .min(NAME_MAX);
        Self {
            heat,
            blame,
            groups: groups(&heat.targets),
            digits,
            // Two spaces, the number, a space, the name, a space.
            label: (2 + digits + 1 + longest).max(FAILING.len()) + 1,
            sources,
            cell,
        }
    }

    fn width(&self) -> usize {
        self.label
            + self.heat.targets.len() * self.cell
            + (self.groups.len() - 1) * ZONE_GAP.len()
            + MARGIN
    }

    fn zone_line(&self) -> String {
        if self.groups.iter().all(|group| group.zone.is_empty()) {
            return String::new();
        }
        let zones: Vec<String> = self
            .groups
            .iter()
            .map(|group| {
                paint(
                    HEADING,
                    &fitted(zone_name(group.zone), group.range.len() * self.cell),
                )
            })
            .collect();
        format!("{}{}\n", " ".repeat(self.label), zones.join(ZONE_GAP))
    }

    fn number_lines(&self) -> String {
        self.vertical("", |column| {
            let counts = self.blame.column_counts(self.heat, column);
            let style = label_style(counts, self.blame.is_column_blamed(column));
            (Some(number(column)), style)
        })
    }

    fn failing_lines(&self) -> String {
        self.vertical(FAILING, |column| {
            let failing = self.blame.column_counts(self.heat, column).failing();
            match failing {
                0 => (None, PLAIN),
                failing => (
                    Some(failing),
                    count_style(self.blame.is_column_blamed(column)),
                ),
            }
        })
    }

    /// Numbers above or below the columns, one digit a line, right-aligned downwards.
    fn vertical(
        &self,
        label: &str,
        shown_number: impl Fn(usize) -> (Option<u64>, anstyle::Style),
    ) -> String {
        let columns: Vec<(String, anstyle::Style)> = (0..self.heat.targets.len())
            .map(|column| {
                let (number, style) = shown_number(column);
                let digits = number.map_or(String::new(), |number| number.to_string());
                (format!("{digits:>width$}", width = self.digits), style)
            })
            .collect();
        let mut text = String::new();
        for digit in 0..self.digits {
            let shown = |column: usize| {
                let (digits, style) = &columns[column];
                (
                    digits
                        .as_bytes()
                        .get(digit)
                        .map_or(' ', |digit| char::from(*digit)),
                    *style,
                )
            };
            if (0..columns.len()).all(|column| shown(column).0 == ' ') {
                continue;
            }
            let name = if digit + 1 == self.digits { label } else { "" };
            let line = self.line(&fitted(name, self.label), shown);
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn row(&self, row: usize) -> String {
        let counts = self.blame.row_counts(self.heat, row);
        let is_blamed = self.blame.is_row_blamed(row);
        let label = format!(
            "  {:>width$} {}",
            number(row),
            self.sources[row],
            width = self.digits
        );
        let label = paint(
            label_style(counts, is_blamed),
            &fitted(&label, self.label - 1),
        ) + " ";
        let cells = self.line(&label, |column| match self.heat.spot(row, column) {
            Spot::Own => (OWN_GLYPH, DIM),
            Spot::Path { verdict, .. } => (glyph(verdict), of_verdict(verdict)),
        });
        format!("{cells}{}\n", margin(counts, is_blamed))
    }

    /// A character for each column. Neighbours of one style share their colour codes.
    fn line(&self, label: &str, shown: impl Fn(usize) -> (char, anstyle::Style)) -> String {
        let padding = " ".repeat(self.cell - 1);
        let mut line = label.to_owned();
        for (number, group) in self.groups.iter().enumerate() {
            if number > 0 {
                line.push_str(ZONE_GAP);
            }
            let mut run = String::new();
            let mut style = anstyle::Style::new();
            for column in group.range.clone() {
                let (character, its_style) = shown(column);
                if its_style != style {
                    line.push_str(&paint(style, &run));
                    run.clear();
                    style = its_style;
                }
                run.push(character);
                run.push_str(&padding);
            }
            line.push_str(&paint(style, &run));
        }
        line
    }
}

/// The rows and columns to look at, by name.
fn suspects(heat: &HeatTable, blame: &Blame) -> String {
    let ranking = blame.ranking(heat);
    let blamed = || ranking.iter().filter(|ranked| ranked.is_blamed);
    let lines: Vec<String> = blamed()
        .take(NAMED)
        .map(|ranked| {
            let way = if ranked.is_source { "from" } else { "to" };
            let zone = if ranked.axis.zone.is_empty() {
                String::new()
            } else {
                format!(" ({})", ranked.axis.zone)
            };
            let (counts, name) = (ranked.counts, &ranked.axis.name);
            let sentence = format!(
                "{way} {name}{zone}: {} of {} paths",
                failing_words(counts),
                counts.judged()
            );
            paint(BAD, &sentence) + "\n"
        })
        .collect();
    let more = match blamed().count().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("and {more} more\n"),
    };
    if lines.is_empty() {
        String::new()
    } else {
        format!("\n{}{more}", lines.concat())
    }
}

/// Rows and columns are numbered from 1.
fn number(index: usize) -> u64 {
    index as u64 + 1
}
