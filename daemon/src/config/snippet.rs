//! What a parse error says to the person who wrote the file: the message in plain words and the
//! lines around the place.

use std::{borrow::Cow, fmt::Write as _};

use serde_saphyr::{Error, MessageFormatter, UserMessageFormatter};

/// Lines shown before the one with the mistake: enough to see which section it is in.
const LINES_BEFORE: u64 = 2;

/// A longer line is cut: it is somebody's base64, not something to read.
const MAX_LINE_CHARS: usize = 160;

/// The message of `error`, in the words of a configuration file, not of Rust.
pub(super) fn message(error: &Error) -> String {
    let text = match error.without_snippet() {
        Error::InvalidScalar { ty, .. } => Cow::Owned(format!("expected {}", expected(ty))),
        Error::Unexpected { expected: what, .. } => {
            Cow::Owned(format!("expected {}", expected(what)))
        }
        other => UserMessageFormatter.format_message(other),
    };
    without_control_characters(&text)
}

/// What to write where the type `ty`, or this part of YAML, is read.
fn expected(ty: &str) -> Cow<'static, str> {
    Cow::Borrowed(match ty {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "u128" | "usize" => "a whole number from 0 on",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" | "float" => "a number",
        "bool" | "boolean" => "true or false",
        "mapping start" => "keys with their values, each on a line of its own and indented",
        "sequence start" => "a list, each of its items on a line that begins with `- `",
        other => return Cow::Owned(other.to_owned()),
    })
}

/// The line `line` of `text` with the ones before it, numbered, and a caret under `column` (both
/// from 1).
pub(super) fn snippet(text: &str, (line, column): (u64, u64)) -> String {
    let width = line.to_string().len();
    let mut shown = String::new();
    for (number, content) in (1..=line).zip(text.lines()) {
        if number + LINES_BEFORE < line {
            continue;
        }
        // A tab takes one column, so that the caret stands where it should.
        let content: String = content.chars().take(MAX_LINE_CHARS).collect();
        let content = without_control_characters(&content.replace('\t', " "));
        let _written = write!(shown, "\n  {number:width$} | {content}");
    }
    let column = usize::try_from(column)
        .unwrap_or(1)
        .clamp(1, MAX_LINE_CHARS);
    let _written = write!(shown, "\n  {:width$} | {:>column$}", "", "^");
    shown
}

/// Nothing from the file may move the cursor of the terminal that it is shown on.
fn without_control_characters(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_shown_with_its_neighbours_and_a_caret() {
        assert_eq!(
            snippet("a: 1\nb: 2\nc: 3\nd: x\ne: 5\n", (4, 4)),
            "\n  2 | b: 2\n  3 | c: 3\n  4 | d: x\n    |    ^"
        );
        assert_eq!(snippet("a: x", (1, 1)), "\n  1 | a: x\n    | ^");
    }

    #[test]
    fn numbers_of_different_width_are_aligned() {
        let text = "k: v\n".repeat(10);
        assert_eq!(
            snippet(&text, (10, 1)),
            "\n   8 | k: v\n   9 | k: v\n  10 | k: v\n     | ^"
        );
    }

    #[test]
    fn odd_places_and_contents_do_no_harm() {
        assert_eq!(snippet("", (7, 900_000)).lines().count(), 2);
        assert_eq!(
            snippet("\t\u{1b}[2Jx", (1, 2)),
            "\n  1 |  \u{fffd}[2Jx\n    |  ^"
        );
        assert!(snippet(&"x".repeat(100_000), (1, 99_999)).len() < 400);
    }
}
