//! Text that a tool reads line by line.

use std::fmt;

/// Adds a line, or several.
pub(crate) fn push(script: &mut String, lines: fmt::Arguments<'_>) {
    fmt::write(script, lines).unwrap_or_else(|_| {
        unreachable!("what the scripts print cannot fail, and a string takes all")
    });
    script.push('\n');
}
