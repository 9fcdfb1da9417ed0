//! What runs here: the version and the platform, for `--version`, the log's first line and the
//! metric `meshprobe_build_info`.

use std::fmt;

use prometheus_client::{metrics::info::Info, registry::Registry};

/// Identity of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildInfo {
    /// The process' name, such as `meshprobe-prober`.
    pub name: &'static str,
    /// The version of the workspace.
    pub version: &'static str,
    /// Processor architecture and operating system, such as `x86_64-linux`.
    pub target: &'static str,
    /// `release` or `debug`: a debug build explains surprising CPU figures.
    pub profile: &'static str,
}

impl BuildInfo {
    /// Describes the process `name`, built from this workspace.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            version: env!("CARGO_PKG_VERSION"),
            target: TARGET,
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        }
    }

    /// Registers `meshprobe_build_info`, whose value is always 1.
    pub fn register(&self, registry: &mut Registry) {
        let Self {
            name,
            version,
            target,
            profile,
        } = *self;
        let labels = vec![
            ("name", name),
            ("version", version),
            ("target", target),
            ("profile", profile),
        ];
        registry.register("meshprobe_build", "What runs here", Info::new(labels));
    }
}

impl fmt::Display for BuildInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            version,
            target,
            profile,
        } = self;
        write!(f, "{name} {version} ({target}, {profile})")
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
const TARGET: &str = "x86_64-linux";
#[cfg(all(target_arch = "aarch64", target_os = "linux"))]
const TARGET: &str = "aarch64-linux";
#[cfg(not(all(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_os = "linux"
)))]
const TARGET: &str = std::env::consts::ARCH;

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn the_metric_carries_every_field_and_the_value_one() {
        let mut registry = Registry::default();
        BuildInfo::new("some-daemon").register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("meshprobe_build_info{"))
            .unwrap();
        assert!(line.contains(r#"name="some-daemon""#), "{line}");
        assert!(
            line.contains(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")),
            "{line}"
        );
        assert!(line.ends_with("} 1"), "{line}");
    }

    #[test]
    fn the_one_line_form_names_process_and_version() {
        let text = BuildInfo::new("some-daemon").to_string();
        assert!(
            text.starts_with(concat!("some-daemon ", env!("CARGO_PKG_VERSION"), " (")),
            "{text}"
        );
    }
}
