//! The end of a bench: a table for people, a line for machines, and whether the promises were kept.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Machine;

/// What is promised for a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Promise {
    AtMost(f64),
    AtLeast(f64),
    /// It is reported only.
    None,
}

impl Promise {
    fn is_kept(self, value: f64) -> bool {
        match self {
            // A figure that could not be computed keeps no promise.
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::None => true,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {}", number(limit)),
            Self::AtLeast(limit) => format!("≥ {}", number(limit)),
            Self::None => String::new(),
        }
    }
}

/// One measured number. Its name carries the unit: `p50_s_hold_0`, `rss_mb`.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub name: &'static str,
    pub value: f64,
    pub promise: Promise,
}

/// What a bench found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    pub figures: Vec<Figure>,
}

impl Report {
    /// Adds a figure.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: f64, promise: Promise) -> Self {
        self.figures.push(Figure {
            name,
            value,
            promise,
        });
        self
    }

    /// Whether every promise was kept.
    pub fn is_kept(&self) -> bool {
        self.figures
            .iter()
            .all(|figure| figure.promise.is_kept(figure.value))
    }

    /// The table.
    pub fn table(&self) -> String {
        let widest = self.figures.iter().map(|figure| figure.name.len()).max();
        let width = widest.unwrap_or(0);
        let mut table = String::new();
        for figure in &self.figures {
            let verdict = match figure.promise {
                Promise::None => "",
                promise if promise.is_kept(figure.value) => "kept",
                _ => "MISSED",
            };
            let (value, promise) = (number(figure.value), figure.promise.words());
            let row = format!(
                "  {:width$}  {value:>12}  {promise:<12}  {verdict}",
                figure.name
            );
            // Writing to a string cannot fail.
            writeln!(table, "{}", row.trim_end()).unwrap_or_default();
        }
        table
    }

    /// The last line of standard output.
    pub fn json(&self, bench: &str, machine: &Machine) -> Value {
        let figure = |figure: &Figure| (figure.name.to_owned(), json!(rounded(figure.value)));
        let figures: Map<String, Value> = self.figures.iter().map(figure).collect();
        json!({"bench": bench, "figures": figures, "machine": machine})
    }
}

/// Four significant digits are more than any of our measurements has.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    if digits <= 0 {
        return value.round();
    }
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

fn number(value: f64) -> String {
    rounded(value).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::default()
            .with("p50_s", 0.412_345, Promise::AtMost(0.6))
            .with("updates_per_s", 12_345_678.9, Promise::AtLeast(5e6))
            .with("cuts", 50.0, Promise::None)
    }

    #[test]
    fn promises_that_are_kept_and_missed_are_told_apart() {
        assert!(report().is_kept());
        let missed = report().with("p99_s", 1.2, Promise::AtMost(1.0));
        assert!(!missed.is_kept());
        assert!(missed.table().contains("MISSED"), "{}", missed.table());
        assert!(!report().table().contains("MISSED"));
    }

    #[test]
    fn a_figure_that_is_no_number_keeps_no_promise() {
        for promise in [Promise::AtMost(1.0), Promise::AtLeast(1.0)] {
            assert!(!Report::default().with("p99_s", f64::NAN, promise).is_kept());
        }
    }

    #[test]
    fn the_line_has_the_bench_its_figures_and_the_machine() {
        let line = report().json("dark", &Machine::this());
        assert_eq!(line["bench"], "dark");
        assert_eq!(line["figures"]["p50_s"], 0.4123);
        assert_eq!(line["figures"]["updates_per_s"], 12_345_679.0);
        assert!(line["machine"]["cpus"].as_u64() >= Some(1));
        assert!(!line.to_string().contains('\n'));
    }
}
