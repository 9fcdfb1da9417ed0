//! Reading a YAML file into a type.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{ConfigProblems, snippet};

/// A configuration is written by people; what is larger than this is some other file.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{}: larger than {} MiB; this is not a configuration file", path.display(), MAX_FILE_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The text is not YAML or does not fit the type. The message holds line, column, the lines
    /// around the place and what is allowed.
    #[error("{}{}: {message}", path.display(), place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line and column, from 1.
        place: Option<(u64, u64)>,
        /// What is wrong, with the lines around it.
        message: String,
    },
    /// The shape is right, but fields contradict each other.
    #[error("{}: {} problem{}\n{problems}", path.display(), problems.len(), if problems.len() == 1 { "" } else { "s" })]
    Problems {
        /// The file.
        path: PathBuf,
        /// All of them.
        problems: ConfigProblems,
    },
}

/// Reads the YAML file at `path`. An empty file gives the type's defaults if all its fields have
/// them.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let read = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    File::open(path)
        .map_err(read)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(read)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    parse(&text, path)
}

/// Parses `text`; `path` is what errors call it.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    // Only `true` and `false` are booleans: `no` is a country and `on` a word, as in YAML 1.2.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error
            .location()
            .map(|location| (location.line(), location.column()));
        let mut message = snippet::message(&error);
        if let Some(place) = place {
            message.push_str(&snippet::snippet(text, place));
        }
        ConfigError::Parse {
            path: path.to_owned(),
            place,
            message,
        }
    })
}

/// Writes a configuration with every default filled in, as YAML that [`parse`] takes back.
pub fn dump<T: Serialize>(config: &T) -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string(config)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::config::HumanDuration;

    #[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
    #[serde(deny_unknown_fields, default)]
    struct Probe {
        interval: HumanDuration,
        enabled: bool,
        count: u16,
    }

    #[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
    #[serde(deny_unknown_fields, default)]
    struct Settings {
        listen: Option<std::net::SocketAddr>,
        probe: Probe,
    }

    fn refused(text: &str) -> String {
        parse::<Settings>(text, Path::new("settings.yaml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_good_file_is_read() {
        let settings: Settings = parse(
            "listen: 127.0.0.1:80\nprobe:\n  interval: 10s\n  count: 3\n",
            Path::new("s"),
        )
        .unwrap();
        assert_eq!(settings.probe.interval, HumanDuration::from_secs(10));
        assert_eq!(settings.probe.count, 3);
    }

    #[test]
    fn the_whole_error_reads_like_a_compiler_message() {
        assert_eq!(
            refused("probe:\n  interval: 10s\n  intervall: 5s\n"),
            "settings.yaml:3:3: unknown field `intervall`, expected one of interval, enabled, count\n  \
             1 | probe:\n  \
             2 |   interval: 10s\n  \
             3 |   intervall: 5s\n    \
             |   ^"
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place_and_the_known_ones() {
        let error = refused("probe:\n  interval: 10s\n  intervall: 5s\n");
        assert!(error.starts_with("settings.yaml:3:3: "), "{error}");
        for expected in ["intervall", "interval", "enabled", "count"] {
            assert!(error.contains(expected), "{error}");
        }
        assert!(error.contains("intervall: 5s"), "shows the line: {error}");
    }

    #[test]
    fn a_wrong_type_is_refused_with_its_place_and_the_expected_one() {
        let error = refused("probe:\n  count: many\n");
        assert!(error.starts_with("settings.yaml:2:10: "), "{error}");
        assert!(error.contains("count: many"), "{error}");
        let error = refused("probe:\n  enabled: yes\n");
        assert!(error.starts_with("settings.yaml:2:12: "), "{error}");
        assert!(error.contains("true or false"), "{error}");
        let error = refused("probe:\n  count: 70000\n");
        assert!(
            error.contains("expected a whole number from 0 to 65535"),
            "{error}"
        );
        assert!(error.starts_with("settings.yaml:2:10: "), "{error}");
    }

    #[test]
    fn a_value_in_place_of_keys_is_refused_with_what_to_write() {
        let error = refused("probe: 10s\n");
        assert!(
            error.starts_with("settings.yaml:1:8: expected keys with their values"),
            "{error}"
        );
    }

    #[test]
    fn a_bad_value_is_refused_with_what_to_write() {
        let error = refused("probe:\n  interval: 10\n");
        assert!(error.starts_with("settings.yaml:2:13: "), "{error}");
        assert!(
            error.contains("the unit is missing; write for example 500ms"),
            "{error}"
        );
        let error = refused("listen: localhost\n");
        assert!(error.starts_with("settings.yaml:1:9: "), "{error}");
        assert!(error.contains("socket address"), "{error}");
    }

    #[test]
    fn a_key_written_twice_is_refused_at_the_second_one() {
        let error = refused("probe:\n  count: 1\n  count: 2\n");
        assert!(error.starts_with("settings.yaml:3:3: "), "{error}");
        assert!(error.contains("duplicate"), "{error}");
    }

    #[test]
    fn tabs_and_broken_yaml_are_refused_with_their_place() {
        let error = refused("probe:\n\tcount: 1\n");
        assert!(error.starts_with("settings.yaml:2:"), "{error}");
        let error = refused("probe: [1, 2\n");
        assert!(error.starts_with("settings.yaml:"), "{error}");
    }

    #[test]
    fn a_dumped_configuration_reads_back_the_same() {
        let text = "listen: \"[::1]:80\"\nprobe:\n  interval: 1m30s\n";
        let settings: Settings = parse(text, Path::new("s")).unwrap();
        let dumped = dump(&settings).unwrap();
        assert!(
            dumped.contains("count: 0"),
            "defaults are filled in: {dumped}"
        );
        assert_eq!(
            parse::<Settings>(&dumped, Path::new("s")).unwrap(),
            settings
        );
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(
            parse::<Settings>("", Path::new("s")).unwrap(),
            Settings::default()
        );
        assert_eq!(
            parse::<Settings>("# nothing\n", Path::new("s")).unwrap(),
            Settings::default()
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load::<Settings>(Path::new("/nonexistent/settings.yaml")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "read the configuration file /nonexistent/settings.yaml"
        );
    }
}
