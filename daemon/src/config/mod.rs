//! Configuration: YAML files, with errors that show the place and say what to write.
//!
//! - [`load()`] reads a file into a type. The types refuse unknown keys
//!   (`#[serde(deny_unknown_fields)]`) and parse values into what they mean ([`HumanDuration`],
//!   addresses, `NonZero…`), so a loaded configuration cannot be half valid. The error names file,
//!   line and column, shows the line, and says what is allowed there.
//! - [`ConfigProblems`] collects what only several fields together can get wrong, so that a person
//!   mends the file once and not once for each problem. Wrap a value in [`Spanned`] where its place
//!   in the file belongs into such a message.
//!
//! **Environment.** A daemon's flags are declared with clap's `env = "MESHPROBE_…"`, one by one,
//! and override what the file says; precedence: flag, then environment, then file, then default.
//! There is no generic mapping from variable names to keys on purpose: a typed list can be printed
//! by `--help`, and a misspelt variable cannot silently hit a key.

mod duration;
mod load;
mod problems;
mod snippet;

pub use duration::{HumanDuration, ParseDurationError};
pub use load::{ConfigError, dump, load, parse};
pub use problems::ConfigProblems;
pub use serde_saphyr::{Location, Spanned};
