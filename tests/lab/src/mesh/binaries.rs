//! Where the programs are.

use std::env;
use std::path::{Path, PathBuf};

/// Set this to the folder of the programs if they are not beside the one that asks.
pub const BIN_DIR_VARIABLE: &str = "MESHPROBE_BIN_DIR";

const AGGREGATOR: &str = "meshprobe-aggregator";
const PROBER: &str = "meshprobe-prober";

/// The two daemons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// `meshprobe-aggregator`
    pub aggregator: PathBuf,
    /// `meshprobe-prober`
    pub prober: PathBuf,
}

/// A program is not where it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{program} is not in {}. Build it with `cargo build -p {program}`, or set {BIN_DIR_VARIABLE} to the folder that has it",
    folders(searched)
)]
pub struct BinaryMissing {
    program: &'static str,
    searched: Vec<PathBuf>,
}

fn folders(searched: &[PathBuf]) -> String {
    let shown: Vec<String> = searched
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    shown.join(" nor in ")
}

impl Binaries {
    /// In `MESHPROBE_BIN_DIR` if it is set, else beside the running program (test programs are one folder deeper).
    pub fn find() -> Result<Self, BinaryMissing> {
        let searched = match env::var_os(BIN_DIR_VARIABLE) {
            Some(folder) => vec![PathBuf::from(folder)],
            None => own_folders(),
        };
        let find = |program| find_in(&searched, program);
        Ok(Self {
            aggregator: find(AGGREGATOR)?,
            prober: find(PROBER)?,
        })
    }
}

fn own_folders() -> Vec<PathBuf> {
    let own = env::current_exe().ok();
    let folder = own.as_deref().and_then(Path::parent);
    folder
        .into_iter()
        .flat_map(|folder| {
            let is_deps = folder
                .file_name()
                .is_some_and(|name| name == "deps" || name == "examples");
            let above = folder.parent().filter(|_| is_deps);
            [Some(folder), above]
                .into_iter()
                .flatten()
                .map(Path::to_owned)
        })
        .collect()
}

fn find_in(searched: &[PathBuf], program: &'static str) -> Result<PathBuf, BinaryMissing> {
    let candidates = searched.iter().map(|folder| folder.join(program));
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| BinaryMissing {
            program,
            searched: searched.to_vec(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_where_it_was_looked_for() {
        let searched = [
            PathBuf::from("/nonexistent/a"),
            PathBuf::from("/nonexistent/b"),
        ];
        let error = find_in(&searched, PROBER)
            .expect_err("nothing is there")
            .to_string();
        assert!(
            error.starts_with(
                "meshprobe-prober is not in /nonexistent/a nor in /nonexistent/b. Build it"
            ),
            "{error}"
        );
    }
}
