//! Columns that line up, with coloured cells.

use anstyle::Style;

use super::style::{HEADING, PLAIN, paint};

/// Spaces between two columns.
const GAP: &str = "  ";

/// A cell: its text and how it is painted.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A painted cell.
    pub fn painted(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::painted(text, PLAIN)
    }
}

/// Rows under headings.
#[derive(Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Appends a row with a cell for each heading; an empty text is shown as "-".
    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.headings.len());
        self.rows.push(row);
    }

    /// Cuts the texts of a column so that the table fits into `width`, but not below a size that still says something.
    pub fn fit(&mut self, column: usize, width: usize) {
        /// As wide as a short sentence.
        const LEAST: usize = 24;
        let others = (0..self.headings.len()).filter(|other| *other != column);
        let others: usize = others.map(|other| self.width(other) + GAP.len()).sum();
        let room = width.saturating_sub(others).max(LEAST);
        for cell in self.rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            if cell.text.chars().count() > room {
                cell.text = cell.text.chars().take(room - 1).chain(['…']).collect();
            }
        }
    }

    /// The lines, each with its end.
    pub fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| self.width(column))
            .collect();
        let mut text = String::new();
        let headings = self.headings.iter().map(|heading| (*heading, HEADING));
        line(&mut text, &widths, headings);
        for row in &self.rows {
            let cells = row.iter().map(|cell| match cell.text.as_str() {
                "" => ("-", cell.style),
                shown => (shown, cell.style),
            });
            line(&mut text, &widths, cells);
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.text.chars().count().max(1))
            .chain(self.headings.get(column).map(|heading| heading.len()))
            .max()
            .unwrap_or(0)
    }
}

/// Nothing is padded at the end of a line.
fn line<'a>(text: &mut String, widths: &[usize], cells: impl Iterator<Item = (&'a str, Style)>) {
    let mut owed = String::new();
    for ((shown, style), width) in cells.zip(widths) {
        text.push_str(&owed);
        text.push_str(&paint(style, shown));
        owed = " ".repeat(width.saturating_sub(shown.chars().count())) + GAP;
    }
    text.push('\n');
}

/// Two columns without headings: what, and its value.
pub fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    let lines = facts.iter();
    let lines: Vec<String> = lines
        .map(|(what, value)| format!("{what:width$}{GAP}{value}\n"))
        .collect();
    lines.concat()
}
