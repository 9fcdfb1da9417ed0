//! The arguments of `meshprobe drain` and `meshprobe event`.

use std::time::Duration;

use clap::Args;

use super::{AtArgs, parse_span};

/// `meshprobe drain …`
#[derive(Clone, Debug, Args)]
pub struct DrainArgs {
    /// The node.
    pub node: String,
    /// For how long, for example 30m, 2h, 3d; then it is judged again.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_span, default_value = "15m")]
    pub lasts: Duration,
    /// It is not cordoned or drained any more.
    #[arg(long, conflicts_with_all = ["lasts", "comment", "author"])]
    pub end: bool,
    /// Why.
    #[arg(long, short = 'c', default_value = "", hide_default_value = true)]
    pub comment: String,
    /// Who says so; the user who runs this if left out.
    #[arg(long, env = "MESHPROBE_AUTHOR", value_name = "NAME")]
    pub author: Option<String>,
}

/// `meshprobe event …`
#[derive(Clone, Debug, Args)]
pub struct EventArgs {
    /// The node.
    pub node: String,
    /// The event's reason, for example `FailedCreatePodSandBox`.
    pub reason: String,
    /// Its message.
    #[arg(default_value = "", hide_default_value = true)]
    pub message: String,
    /// When it happened.
    #[command(flatten)]
    pub at: AtArgs,
}
