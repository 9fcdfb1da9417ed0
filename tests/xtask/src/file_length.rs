//! The length of source files: beyond 600 lines there is a second concept in the file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The most lines that a source file may have.
const MAX_LINES: usize = 600;

/// What people write and read; generated files and lock files are neither.
const EXTENSIONS: [&str; 7] = ["rs", "proto", "ts", "js", "css", "sh", "py"];

/// Not written here.
const SKIPPED: [&str; 4] = ["target", "node_modules", "dist", ".git"];

/// A file over the limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong {
    pub(crate) path: PathBuf,
    pub(crate) lines: usize,
}

/// What the walk over the tree came to.
#[derive(Debug, Default)]
pub(crate) struct Lengths {
    pub(crate) files: usize,
    pub(crate) too_long: Vec<TooLong>,
}

/// Measures every source file under `root`.
pub(crate) fn measure(root: &Path) -> io::Result<Lengths> {
    let mut lengths = Lengths::default();
    walk(root, root, &mut lengths)?;
    lengths.too_long.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(lengths)
}

fn walk(root: &Path, directory: &Path, lengths: &mut Lengths) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            let name = entry.file_name();
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                walk(root, &path, lengths)?;
            }
        } else if kind.is_file() && is_source(&path) {
            let lines = count_lines(&fs::read(&path)?);
            lengths.files += 1;
            if lines > MAX_LINES {
                let path = path.strip_prefix(root).unwrap_or(&path).to_owned();
                lengths.too_long.push(TooLong { path, lines });
            }
        }
    }
    Ok(())
}

fn is_source(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
}

/// Lines as an editor numbers them: the last one counts without a line break, too.
fn count_lines(content: &[u8]) -> usize {
    String::from_utf8_lossy(content).lines().count()
}

impl TooLong {
    /// What to say about it.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{}: {} lines; split it, one concept a file, at most {MAX_LINES}",
            self.path.display(),
            self.lines
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_as_an_editor_numbers_them() {
        assert_eq!(count_lines(b""), 0);
        assert_eq!(count_lines(b"a"), 1);
        assert_eq!(count_lines(b"a\n"), 1);
        assert_eq!(count_lines(b"a\nb"), 2);
        assert_eq!(count_lines(b"\n\n"), 2);
    }

    #[test]
    fn long_sources_are_found_and_build_results_left_alone() {
        let root = std::env::temp_dir().join(format!("xtask-file-length-{}", std::process::id()));
        fs::create_dir_all(root.join("src")).unwrap();
        fs::create_dir_all(root.join("target")).unwrap();
        fs::write(root.join("src/long.rs"), "x\n".repeat(MAX_LINES + 1)).unwrap();
        fs::write(root.join("src/limit.rs"), "x\n".repeat(MAX_LINES)).unwrap();
        fs::write(root.join("src/notes.md"), "x\n".repeat(MAX_LINES * 2)).unwrap();
        fs::write(root.join("target/built.rs"), "x\n".repeat(MAX_LINES * 2)).unwrap();
        let lengths = measure(&root);
        fs::remove_dir_all(&root).unwrap();
        let lengths = lengths.unwrap();
        assert_eq!(lengths.files, 2);
        assert_eq!(
            lengths.too_long,
            [TooLong {
                path: "src/long.rs".into(),
                lines: MAX_LINES + 1
            }]
        );
    }
}
