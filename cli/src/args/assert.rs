//! The arguments of `meshprobe assert`.

use std::time::Duration;

use clap::Args;

use super::parse_span;

/// `meshprobe assert …`
#[derive(Clone, Copy, Debug, Args)]
pub struct AssertArgs {
    /// How long everything has to become healthy, the stable time included.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub healthy_within: Duration,
    /// How long it has to stay so.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_span)]
    pub stable_for: Duration,
}
