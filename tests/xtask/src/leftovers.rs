//! What belongs into a working copy and not into a commit.

use crate::sources::Source;

/// The words, in two halves so that this file does not find itself, and what to do instead.
const LEFTOVERS: [(&str, &str, &str); 6] = [
    ("TO", "DO", "do it, or write an issue"),
    ("FIX", "ME", "mend it, or write an issue"),
    ("todo", "!(", "write it"),
    (
        "unimplemented",
        "!(",
        "write it, or make the case impossible",
    ),
    ("#[ign", "ore", "a test that does not run proves nothing"),
    ("dbg", "!(", "log it, or remove it"),
];

/// The leftovers in all files, one line each.
pub(crate) fn violations(sources: &[Source]) -> Vec<String> {
    sources.iter().flat_map(in_file).collect()
}

fn in_file(Source { path, text }: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for (head, tail, instead) in LEFTOVERS {
            let word = format!("{head}{tail}");
            if line.contains(&word) {
                found.push(format!("{}:{number}: {word}: {instead}", path.display()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leftover_is_found_with_its_place() {
        for (head, tail, instead) in LEFTOVERS {
            let source = Source {
                path: "src/some.rs".into(),
                text: format!("fn fine() {{}}\n    // {head}{tail} later\n"),
            };
            assert_eq!(
                violations(&[source]),
                [format!("src/some.rs:2: {head}{tail}: {instead}")]
            );
        }
    }

    #[test]
    fn ordinary_code_has_none() {
        let text = "let todos = 3; // ignore the rest\n".to_owned();
        assert_eq!(
            violations(&[Source {
                path: "a.rs".into(),
                text
            }]),
            Vec::<String>::new()
        );
    }
}
