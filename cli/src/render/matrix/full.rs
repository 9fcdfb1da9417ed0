//! The layout for few nodes: each cell is a round-trip time, or the glyph of what is wrong and how much.

use meshprobe_core::verdict::Verdict;

use super::blame::Blame;
use super::frame::{
    column_legend, count_style, fitted, fitted_right, groups, label_style, margin, short_names,
};
use super::heat::{HeatTable, Spot};
use crate::render::style::{DIM, HEADING, OWN_GLYPH, glyph, of_verdict, paint};
use crate::render::time;

/// `0.31ms`, with a glyph before it `~0.31ms`.
const CELL: usize = 7;
/// Longest column heading that is worth its width; beyond it columns are numbered.
const HEADING_MAX: usize = 14;
/// Between two columns, and between two zones.
const GAP: &str = " ";
const ZONE_GAP: &str = " | ";
/// Label of the bottom margin.
const FAILING: &str = "failing";
/// What a margin such as `  << 5 down` needs.
const MARGIN: usize = 16;

/// The table, or `None` if it is wider than `width`.
pub(super) fn render(heat: &HeatTable, blame: &Blame, width: usize) -> Option<String> {
    let layout = Layout::of(heat, blame);
    if layout.width() > width {
        return None;
    }
    let mut text = layout.zone_line();
    text.push_str(&layout.name_line());
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
    text.push_str(&layout.failing_line());
    if layout.is_numbered && !heat.is_square {
        text.push_str(&column_legend(heat, layout.digits()));
    }
    Some(text)
}

struct Layout<'a> {
    heat: &'a HeatTable,
    blame: &'a Blame,
    rows: Vec<String>,
    columns: Vec<String>,
    is_numbered: bool,
    label: usize,
    column: usize,
}

impl<'a> Layout<'a> {
    fn of(heat: &'a HeatTable, blame: &'a Blame) -> Self {
        let longest = |names: &[String]| {
            names
                .iter()
                .map(|name| name.chars().count())
                .max()
                .unwrap_or(0)
        };
        let owned =
            |names: Vec<&str>| -> Vec<String> { names.into_iter().map(str::to_owned).collect() };
        let mut rows = owned(short_names(&heat.sources));
        let mut columns = owned(short_names(&heat.targets));
        let is_numbered = longest(&columns) > HEADING_MAX;
        if is_numbered {
            columns = (1..=columns.len())
                .map(|number| number.to_string())
                .collect();
        }
        if is_numbered && heat.is_square {
            let digits = rows.len().to_string().len();
            let numbered = rows
                .iter()
                .enumerate()
                .map(|(row, name)| format!("{:>digits$} {name}", row + 1));
            rows = numbered.collect();
        }
        Self {
            heat,
            blame,
            label: longest(&rows).max(FAILING.len()) + 2,
            column: longest(&columns).max(CELL),
            rows,
            columns,
            is_numbered,
        }
    }

    fn digits(&self) -> usize {
        self.columns.len().to_string().len()
    }

    fn width(&self) -> usize {
        let gaps = (groups(&self.heat.targets).len() - 1) * (ZONE_GAP.len() - GAP.len());
        self.label + self.columns.len() * (GAP.len() + self.column) + gaps + MARGIN
    }

    /// Joins one text for each column, with the zones apart.
    fn line(&self, label: &str, zone_gap: &str, cell: impl Fn(usize) -> String) -> String {
        let mut line = label.to_owned();
        for (number, group) in groups(&self.heat.targets).into_iter().enumerate() {
            if number > 0 {
                line.push_str(&if zone_gap.trim().is_empty() {
                    zone_gap.to_owned()
                } else {
                    paint(DIM, zone_gap)
                });
            }
            for column in group.range {
                line.push_str(GAP);
                line.push_str(&cell(column));
            }
        }
        line
    }

    fn zone_line(&self) -> String {
        let groups = groups(&self.heat.targets);
        if groups.iter().all(|group| group.zone.is_empty()) {
            return String::new();
        }
        let mut line = " ".repeat(self.label);
        for (number, group) in groups.iter().enumerate() {
            if number > 0 {
                line.push_str(&paint(DIM, ZONE_GAP.trim_end()));
            }
            let width = group.range.len() * (GAP.len() + self.column) - GAP.len();
            line.push_str(GAP);
            line.push_str(&paint(HEADING, &fitted(zone_name(group.zone), width)));
        }
        line + "\n"
    }

    fn name_line(&self) -> String {
        let line = self.line(&" ".repeat(self.label), ZONE_GAP.trim_end(), |column| {
            let counts = self.blame.column_counts(self.heat, column);
            let style = label_style(counts, self.blame.is_column_blamed(column));
            paint(style, &fitted_right(&self.columns[column], self.column))
        });
        line + "\n"
    }

    fn row(&self, row: usize) -> String {
        let counts = self.blame.row_counts(self.heat, row);
        let is_blamed = self.blame.is_row_blamed(row);
        let label = fitted(&format!("  {}", self.rows[row]), self.label);
        let label = paint(label_style(counts, is_blamed), &label);
        let cells = self.line(&label, ZONE_GAP.trim_end(), |column| {
            self.cell(self.heat.spot(row, column))
        });
        format!("{cells}{}\n", margin(counts, is_blamed))
    }

    fn cell(&self, spot: Spot) -> String {
        let Spot::Path { verdict, rtt, loss } = spot else {
            return paint(DIM, &fitted_right(&OWN_GLYPH.to_string(), self.column));
        };
        let time = rtt.map(|rtt| time::rtt(rtt.as_seconds()));
        let shown = match (verdict, time, loss) {
            (Verdict::Healthy, Some(time), _) => time,
            (Verdict::Slow, Some(time), _) => format!("{}{time}", glyph(verdict)),
            (Verdict::Lossy | Verdict::Suspect, _, Some(loss)) if loss > 0 => {
                format!("{} -{loss}%", glyph(verdict))
            }
            _ => glyph(verdict).to_string(),
        };
        let padding = self.column.saturating_sub(shown.chars().count());
        format!(
            "{}{}",
            " ".repeat(padding),
            paint(of_verdict(verdict), &shown)
        )
    }

    /// How many paths to each target fail.
    fn failing_line(&self) -> String {
        let failing = |column| self.blame.column_counts(self.heat, column).failing();
        if (0..self.columns.len()).all(|column| failing(column) == 0) {
            return String::new();
        }
        let blank = " ".repeat(ZONE_GAP.trim_end().len());
        let line = self.line(
            &fitted(FAILING, self.label),
            &blank,
            |column| match failing(column) {
                0 => " ".repeat(self.column),
                failing => {
                    let style = count_style(self.blame.is_column_blamed(column));
                    paint(style, &fitted_right(&failing.to_string(), self.column))
                }
            },
        );
        line + "\n"
    }
}

pub(super) fn zone_name(zone: &str) -> &str {
    if zone.is_empty() { "no zone" } else { zone }
}
