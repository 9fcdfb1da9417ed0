//! The length of source files: beyond 600 lines there is a second concept in the file.

use crate::sources::Source;

/// The most lines that a source file may have.
const MAX_LINES: usize = 600;

/// The files that are too long, one line each.
pub(crate) fn violations(sources: &[Source]) -> Vec<String> {
    sources.iter().filter_map(too_long).collect()
}

fn too_long(Source { path, text }: &Source) -> Option<String> {
    let lines = text.lines().count();
    let path = path.display();
    (lines > MAX_LINES).then(|| {
        format!("{path}: {lines} lines; split it, one concept a file, at most {MAX_LINES}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: String) -> Source {
        Source {
            path: "src/long.rs".into(),
            text,
        }
    }

    #[test]
    fn only_files_over_the_limit_are_refused() {
        let at_limit = "x\n".repeat(MAX_LINES);
        let over = format!("{at_limit}x");
        assert_eq!(
            violations(&[source(String::new()), source(at_limit)]),
            Vec::<String>::new()
        );
        let violations = violations(&[source(over)]);
        assert_eq!(violations.len(), 1);
        assert!(
            violations[0].starts_with("src/long.rs: 601 lines"),
            "{violations:?}"
        );
    }
}
