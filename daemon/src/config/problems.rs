//! What only several fields together can get wrong, all of it at once.

use std::{fmt, path::Path};

use serde_saphyr::{Location, Spanned};

use super::ConfigError;

/// Collects problems of a configuration that has the right shape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigProblems {
    problems: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    line_and_column: Option<(u64, u64)>,
    field: String,
    text: String,
}

impl ConfigProblems {
    /// No problems yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a problem of `field` (written as a path, `probes[2].interval`); `text` says what to
    /// write.
    pub fn add(&mut self, field: impl Into<String>, text: impl Into<String>) {
        self.push(None, field.into(), text.into());
    }

    /// Adds a problem of a value whose place in the file is known.
    pub fn add_at<T>(
        &mut self,
        at: &Spanned<T>,
        field: impl Into<String>,
        text: impl Into<String>,
    ) {
        let location = at.referenced;
        // A value that does not come from a file (a default) has no place.
        let place = (location != Location::UNKNOWN).then(|| (location.line(), location.column()));
        self.push(place, field.into(), text.into());
    }

    /// Adds a problem unless `condition` holds.
    pub fn require(&mut self, condition: bool, field: &str, text: impl FnOnce() -> String) {
        if !condition {
            self.add(field, text());
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many problems were found.
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// Ends the check: all problems as one error about `path`, or nothing.
    pub fn into_result(self, path: &Path) -> Result<(), ConfigError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Problems {
                path: path.to_owned(),
                problems: self,
            })
        }
    }

    fn push(&mut self, line_and_column: Option<(u64, u64)>, field: String, text: String) {
        self.problems.push(Problem {
            line_and_column,
            field,
            text,
        });
    }
}

impl fmt::Display for ConfigProblems {
    /// One line for each problem, in the order in which they were found.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (
            index,
            Problem {
                line_and_column,
                field,
                text,
            },
        ) in self.problems.iter().enumerate()
        {
            if index > 0 {
                writeln!(f)?;
            }
            f.write_str("  ")?;
            if let Some((line, column)) = line_and_column {
                write!(f, "line {line}, column {column}: ")?;
            }
            write!(f, "{field}: {text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::config::parse;

    #[derive(Deserialize)]
    struct Fleet {
        nodes: Vec<Spanned<String>>,
    }

    #[test]
    fn all_problems_are_said_at_once_with_their_places() {
        let path = Path::new("fleet.yaml");
        let fleet: Fleet = parse("nodes:\n  - alpha\n  - beta\n  - alpha\n", path).unwrap();
        let mut problems = ConfigProblems::new();
        problems.add_at(
            &fleet.nodes[2],
            "nodes[2]",
            "alpha is there twice; names are unique",
        );
        problems.require(false, "interval", || {
            "must be at least 100ms, is 10ms".into()
        });
        problems.require(true, "never", || unreachable!());
        assert_eq!(
            problems.into_result(path).unwrap_err().to_string(),
            "fleet.yaml: 2 problems\n  \
             line 4, column 5: nodes[2]: alpha is there twice; names are unique\n  \
             interval: must be at least 100ms, is 10ms"
        );
    }

    #[test]
    fn no_problem_is_no_error() {
        ConfigProblems::new()
            .into_result(Path::new("fleet.yaml"))
            .unwrap();
    }
}
