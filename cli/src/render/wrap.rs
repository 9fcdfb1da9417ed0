//! Sentences on lines that fit.

/// Room that is used at least: less is not readable.
const LEAST: usize = 30;

/// The sentence in lines of at most `width` columns (`None`: one line), each indented, each with its end. Later lines
/// are indented as the first one is, and by `hanging` more.
pub fn wrapped(text: &str, width: Option<usize>, indent: usize, hanging: usize) -> String {
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(LEAST));
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > room {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent + hanging));
            column = hanging;
        } else if column == 0 {
            lines.push_str(&" ".repeat(indent));
        } else {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    if !lines.is_empty() {
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole_and_lines_fit() {
        let text = wrapped(
            "one two three four five six seven eight nine ten",
            Some(34),
            2,
            2,
        );
        assert_eq!(
            text,
            "  one two three four five six\n    seven eight nine ten\n"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 34));
        assert_eq!(wrapped("a b", None, 4, 0), "    a b\n");
        assert_eq!(wrapped("", Some(80), 4, 0), "");
    }
}
