//! The source files of the repository: what people write and read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Generated files and lock files are neither written nor read by people.
const EXTENSIONS: [&str; 7] = ["rs", "proto", "ts", "js", "css", "sh", "py"];

/// Not written here.
const SKIPPED: [&str; 4] = ["target", "node_modules", "dist", ".git"];

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Relative to the root of the repository.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// Reads every source file under `root`, in the order of their paths.
pub(crate) fn read(root: &Path) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    walk(root, root, &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn walk(root: &Path, directory: &Path, sources: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            let name = entry.file_name();
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                walk(root, &path, sources)?;
            }
        } else if kind.is_file() && is_source(&path) {
            let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            let path = path.strip_prefix(root).unwrap_or(&path).to_owned();
            sources.push(Source { path, text });
        }
    }
    Ok(())
}

fn is_source(path: &Path) -> bool {
    let extension = path.extension();
    extension.is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_found_and_build_results_left_alone() {
        let root = std::env::temp_dir().join(format!("xtask-sources-{}", std::process::id()));
        fs::create_dir_all(root.join("src")).unwrap();
        fs::create_dir_all(root.join("target")).unwrap();
        for path in [
            "src/b.rs",
            "src/a.proto",
            "src/notes.md",
            "src/rs",
            "target/built.rs",
        ] {
            fs::write(root.join(path), path).unwrap();
        }
        let sources = read(&root);
        fs::remove_dir_all(&root).unwrap();
        let paths: Vec<_> = sources
            .unwrap()
            .into_iter()
            .map(|source| source.path)
            .collect();
        assert_eq!(paths, [Path::new("src/a.proto"), Path::new("src/b.rs")]);
    }
}
