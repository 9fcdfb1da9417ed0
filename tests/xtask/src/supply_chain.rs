//! What we build on, against the rules of `deny.toml`: licences, banned crates, second versions,
//! sources.

use std::collections::{BTreeMap, BTreeSet};

use crate::{deny::Rules, licence, metadata::Package};

/// All violations, one line each.
pub(crate) fn violations(packages: &[Package], rules: &Rules) -> Vec<String> {
    let Rules {
        licences,
        banned,
        duplicates,
        registries,
    } = rules;
    let mut violations = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Package {
        name,
        version,
        license,
        source,
        ..
    } in packages
    {
        match license {
            Some(license) if licence::is_satisfied(license, licences) => {}
            Some(license) => violations.push(format!(
                "{name} {version}: licence {license} is not allowed"
            )),
            None => violations.push(format!("{name} {version}: no licence")),
        }
        if banned.contains(name) {
            violations.push(format!("{name} {version}: banned"));
        }
        if let Some(source) = source {
            let registry = source.strip_prefix("registry+").unwrap_or(source);
            if !registries.iter().any(|known| known == registry) {
                violations.push(format!("{name} {version}: comes from {source}"));
            }
        }
        versions.entry(name).or_default().insert(version);
    }
    for (name, versions) in &versions {
        let unexcused = versions
            .iter()
            .filter(|version| !duplicates.contains(&format!("{name}@{version}")));
        if versions.len() > 1 && unexcused.count() > 1 {
            let versions: Vec<&str> = versions.iter().copied().collect();
            violations.push(format!(
                "{name}: several versions ({}), none excused in deny.toml",
                versions.join(", ")
            ));
        }
    }
    for excuse in duplicates {
        let is_needed = excuse.split_once('@').is_some_and(|(name, version)| {
            versions
                .get(name)
                .is_some_and(|versions| versions.len() > 1 && versions.contains(version))
        });
        if !is_needed {
            violations.push(format!(
                "{excuse}: no second version any more; remove its skip from deny.toml"
            ));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTRY: &str = "https://example.org/index";

    fn rules() -> Rules {
        Rules {
            licences: vec!["MIT".into()],
            banned: vec!["openssl".into()],
            duplicates: vec!["syn@2.0.0".into()],
            registries: vec![REGISTRY.into()],
        }
    }

    fn package(name: &str, version: &str) -> Package {
        Package {
            id: format!("{name} {version}"),
            name: name.into(),
            version: version.into(),
            license: Some("MIT".into()),
            source: Some(format!("registry+{REGISTRY}")),
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn a_clean_tree_with_an_excused_second_version_passes() {
        let packages = [
            package("syn", "2.0.0"),
            package("syn", "3.0.0"),
            package("tokio", "1.0.0"),
        ];
        assert_eq!(violations(&packages, &rules()), Vec::<String>::new());
    }

    #[test]
    fn each_rule_is_enforced() {
        let packages = [
            package("syn", "2.0.0"),
            package("syn", "3.0.0"),
            package("openssl", "1.0.0"),
            Package {
                license: Some("GPL-3.0".into()),
                ..package("left-pad", "1.0.0")
            },
            Package {
                license: None,
                ..package("mystery", "1.0.0")
            },
            Package {
                source: Some("git+https://example.org/fork".into()),
                ..package("fork", "1.0.0")
            },
            package("twice", "1.0.0"),
            package("twice", "2.0.0"),
        ];
        assert_eq!(
            violations(&packages, &rules()),
            [
                "openssl 1.0.0: banned",
                "left-pad 1.0.0: licence GPL-3.0 is not allowed",
                "mystery 1.0.0: no licence",
                "fork 1.0.0: comes from git+https://example.org/fork",
                "twice: several versions (1.0.0, 2.0.0), none excused in deny.toml",
            ]
        );
    }

    #[test]
    fn an_excuse_that_nobody_needs_any_more_is_refused() {
        let violations = violations(&[package("syn", "3.0.0")], &rules());
        assert_eq!(
            violations,
            ["syn@2.0.0: no second version any more; remove its skip from deny.toml"]
        );
    }
}
