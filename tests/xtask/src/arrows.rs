//! The dependency arrows of the workspace.
//!
//! `core` knows the domain and nothing else, `daemon` knows no domain, and prober and aggregator
//! never see each other: what they share goes over the wire. All kinds of dependencies count, also
//! those of tests and of build scripts.

use std::collections::BTreeSet;

use crate::metadata::Package;

/// Each package, and which of ours it may depend on.
const ARROWS: [(&str, Allowed); 10] = [
    ("meshprobe-core", Allowed::Only(&[])),
    ("meshprobe-daemon", Allowed::Only(&[])),
    ("meshprobe-proto", Allowed::Only(&["meshprobe-core"])),
    (
        "meshprobe-prober",
        Allowed::Only(&["meshprobe-core", "meshprobe-proto", "meshprobe-daemon"]),
    ),
    (
        "meshprobe-aggregator",
        Allowed::Only(&["meshprobe-core", "meshprobe-proto", "meshprobe-daemon"]),
    ),
    (
        "meshprobe",
        Allowed::Only(&["meshprobe-core", "meshprobe-proto", "meshprobe-lab"]),
    ),
    ("meshprobe-lab", Allowed::Everything),
    ("meshprobe-sim", Allowed::Everything),
    ("meshprobe-tests", Allowed::Everything),
    ("xtask", Allowed::Everything),
];

/// Pairs that must not see each other over any number of steps.
const STRANGERS: [(&str, &str); 2] = [
    ("meshprobe-prober", "meshprobe-aggregator"),
    ("meshprobe-aggregator", "meshprobe-prober"),
];

#[derive(Clone, Copy)]
enum Allowed {
    Only(&'static [&'static str]),
    Everything,
}

/// All violations in the packages of the workspace, one line each.
pub(crate) fn violations(members: &[Package]) -> Vec<String> {
    let mut violations = Vec::new();
    for package in members {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
            violations.push(format!(
                "{} has no row in the table of arrows (tests/xtask/src/arrows.rs)",
                package.name
            ));
            continue;
        };
        let Allowed::Only(allowed) = allowed else {
            continue;
        };
        for own in direct(members, &package.name) {
            if !allowed.contains(&own) {
                let allowed = if allowed.is_empty() {
                    "nothing of ours".to_owned()
                } else {
                    allowed.join(", ")
                };
                violations.push(format!(
                    "{} depends on {own}; it may depend on {allowed}",
                    package.name
                ));
            }
        }
    }
    for (from, to) in STRANGERS {
        if let Some(way) = way(members, from, to) {
            violations.push(format!("{from} reaches {to}: {}", way.join(" → ")));
        }
    }
    violations
}

/// The packages of the workspace that `name` declares to need.
fn direct<'a>(members: &'a [Package], name: &str) -> BTreeSet<&'a str> {
    let package = members.iter().find(|package| package.name == name);
    let dependencies = package
        .map(|package| package.dependencies.as_slice())
        .unwrap_or_default();
    let own = dependencies
        .iter()
        .filter(|dependency| dependency.path.is_some());
    own.map(|dependency| dependency.name.as_str()).collect()
}

/// A shortest chain of dependencies from one package to another.
fn way<'a>(members: &'a [Package], from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut seen = BTreeSet::from([from]);
    let mut ways = vec![vec![from]];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way
                .last()
                .map(|last| direct(members, last))
                .unwrap_or_default()
            {
                let mut way = way.clone();
                way.push(next);
                if next == to {
                    return Some(way);
                }
                if seen.insert(next) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Dependency;

    fn workspace(arrows: &[(&str, &[&str])]) -> Vec<Package> {
        let package = |(name, dependencies): &(&str, &[&str])| Package {
            id: (*name).to_owned(),
            name: (*name).to_owned(),
            version: "0.1.0".to_owned(),
            license: None,
            source: None,
            dependencies: dependencies
                .iter()
                .map(|name| Dependency {
                    name: (*name).to_owned(),
                    path: name.starts_with("meshprobe").then(|| "/somewhere".into()),
                })
                .collect(),
        };
        arrows.iter().map(package).collect()
    }

    #[test]
    fn the_arrows_of_the_design_are_allowed() {
        let members = workspace(&[
            ("meshprobe-core", &["thiserror"]),
            ("meshprobe-daemon", &["tokio"]),
            ("meshprobe-proto", &["meshprobe-core", "prost"]),
            (
                "meshprobe-prober",
                &["meshprobe-core", "meshprobe-proto", "meshprobe-daemon"],
            ),
            (
                "meshprobe-aggregator",
                &["meshprobe-core", "meshprobe-proto", "meshprobe-daemon"],
            ),
            ("meshprobe", &["meshprobe-lab", "meshprobe-proto"]),
            ("meshprobe-lab", &[]),
            (
                "meshprobe-tests",
                &["meshprobe-prober", "meshprobe-aggregator"],
            ),
        ]);
        assert_eq!(violations(&members), Vec::<String>::new());
    }

    #[test]
    fn a_domain_that_learns_of_a_process_is_refused() {
        let members = workspace(&[
            ("meshprobe-core", &["meshprobe-daemon"]),
            ("meshprobe-daemon", &[]),
        ]);
        assert_eq!(
            violations(&members),
            ["meshprobe-core depends on meshprobe-daemon; it may depend on nothing of ours"]
        );
    }

    #[test]
    fn prober_and_aggregator_are_kept_apart_over_any_number_of_steps() {
        let members = workspace(&[
            ("meshprobe-prober", &["meshprobe-proto"]),
            ("meshprobe-proto", &["meshprobe-core"]),
            ("meshprobe-core", &["meshprobe-aggregator"]),
            ("meshprobe-aggregator", &[]),
        ]);
        let violations = violations(&members);
        assert!(
            violations.contains(
                &"meshprobe-prober reaches meshprobe-aggregator: meshprobe-prober → meshprobe-proto → \
                  meshprobe-core → meshprobe-aggregator"
                    .to_owned()
            ),
            "{violations:#?}"
        );
    }

    #[test]
    fn a_circle_ends() {
        let members = workspace(&[
            ("meshprobe-prober", &["meshprobe-core"]),
            ("meshprobe-core", &["meshprobe-prober"]),
        ]);
        assert_eq!(violations(&members).len(), 1);
    }

    #[test]
    fn a_new_package_needs_a_row() {
        let violations = violations(&workspace(&[("meshprobe-extra", &[])]));
        assert_eq!(violations.len(), 1);
        assert!(
            violations[0].starts_with("meshprobe-extra has no row"),
            "{violations:?}"
        );
    }

    #[test]
    fn the_arrows_of_this_repository_hold() {
        let metadata = crate::metadata::Metadata::of_workspace().unwrap();
        assert_eq!(violations(&metadata.packages), Vec::<String>::new());
    }
}
