//! `deny.toml`, as far as our own check reads it.
//!
//! The file is `cargo deny`'s; reading it here keeps one list for both. The reader knows just the
//! shapes that the file uses (sections, arrays with one entry a line, a name in the first quotes of
//! an entry) and refuses a file in which it does not find what it looks for.

use anyhow::{Context as _, ensure};

/// The rules for what we build on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// SPDX names.
    pub(crate) licences: Vec<String>,
    /// Crates that must not appear.
    pub(crate) banned: Vec<String>,
    /// `name@version` that may be there beside another version.
    pub(crate) duplicates: Vec<String>,
    /// Registries that crates may come from.
    pub(crate) registries: Vec<String>,
}

impl Rules {
    /// Reads the text of a `deny.toml`.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let list = |section, key| {
            entries(text, section, key).with_context(|| format!("[{section}] {key}"))
        };
        let rules = Self {
            licences: list("licenses", "allow")?,
            banned: list("bans", "deny")?,
            duplicates: list("bans", "skip")?,
            registries: list("sources", "allow-registry")?,
        };
        ensure!(!rules.licences.is_empty(), "[licenses] allow is empty");
        ensure!(
            !rules.registries.is_empty(),
            "[sources] allow-registry is empty"
        );
        Ok(rules)
    }
}

/// The first quoted text of each entry of an array.
fn entries(text: &str, section: &str, key: &str) -> anyhow::Result<Vec<String>> {
    let mut current = "";
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'));
    while let Some(line) = lines.next() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            current = name;
        }
        let is_key = line
            .split_once('=')
            .is_some_and(|(name, _)| name.trim() == key);
        if current != section || !is_key {
            continue;
        }
        if line.ends_with(']') {
            return Ok(line
                .split('"')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect());
        }
        let mut entries = Vec::new();
        for line in lines.by_ref() {
            if line == "]" {
                return Ok(entries);
            }
            entries.extend(line.split('"').nth(1).map(str::to_owned));
        }
    }
    anyhow::bail!("not found in deny.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
[licenses]
allow = [
    "MIT",
    # "GPL-3.0",
    "Apache-2.0 WITH LLVM-exception",
]
[bans]
deny = [
    { crate = "openssl", reason = "links a \"library\"" },
]
skip = []
[sources]
allow-registry = ["https://example.org/index"]
"#;

    #[test]
    fn the_lists_are_read_by_section() {
        let rules = Rules::parse(SMALL).unwrap();
        assert_eq!(rules.licences, ["MIT", "Apache-2.0 WITH LLVM-exception"]);
        assert_eq!(rules.banned, ["openssl"]);
        assert_eq!(rules.duplicates, Vec::<String>::new());
        assert_eq!(rules.registries, ["https://example.org/index"]);
    }

    #[test]
    fn the_rules_of_this_repository_are_read() {
        let rules = Rules::parse(include_str!("../../../deny.toml")).unwrap();
        assert!(
            rules
                .licences
                .contains(&"Apache-2.0 WITH LLVM-exception".to_owned())
        );
        assert!(rules.banned.contains(&"aws-lc-rs".to_owned()));
        let is_exact = |skip: &String| skip.contains('@');
        assert!(
            rules.duplicates.iter().all(is_exact),
            "{:?}",
            rules.duplicates
        );
        assert_eq!(
            rules.registries,
            ["https://github.com/rust-lang/crates.io-index"]
        );
    }

    #[test]
    fn a_file_without_a_list_is_refused_by_its_name() {
        let error = Rules::parse(&SMALL.replace("skip", "skipp")).unwrap_err();
        assert_eq!(format!("{error:#}"), "[bans] skip: not found in deny.toml");
    }
}
