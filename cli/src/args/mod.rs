//! The command line.

mod assert;
mod at;
mod demo;
mod layer;
mod notify;
mod silence;
mod told;

use std::path::PathBuf;
use std::time::Duration;

use crate::exit;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use assert::AssertArgs;
pub use at::AtArgs;
pub use demo::{DemoArgs, DemoCommand};
pub use layer::{FamilyArg, KindArg, LayerArgs, PlaneArg};
pub use notify::{NotificationStateArg, NotifyCommand};
pub use silence::{SilenceAdd, SilenceCommand};
pub use told::{DrainArgs, EventArgs};

/// Does the network work, and if not, where and why not?
///
/// meshprobe asks the aggregator, which knows for every pair of nodes and every layer between them whether packets get
/// through. Start with `meshprobe status` and `meshprobe matrix`; without a cluster at hand, with `meshprobe demo`.
#[derive(Debug, Parser)]
#[command(name = "meshprobe", version, after_long_help = exit::HELP, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = false)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where the aggregator's gRPC API listens.
    #[arg(
        long,
        short = 's',
        global = true,
        env = "MESHPROBE_SERVER",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:4860"
    )]
    pub server: String,
    /// Speak TLS and trust this CA certificate (PEM file).
    #[arg(long, global = true, env = "MESHPROBE_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Present this client certificate (PEM file).
    #[arg(long, global = true, env = "MESHPROBE_TLS_CERT", value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    pub tls_cert: Option<PathBuf>,
    /// Key of the client certificate (PEM file).
    #[arg(
        long,
        global = true,
        env = "MESHPROBE_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// Name that the aggregator's certificate must have, if it is not the host of --server.
    #[arg(
        long,
        global = true,
        env = "MESHPROBE_TLS_SERVER_NAME",
        value_name = "NAME",
        requires = "tls_ca"
    )]
    pub tls_server_name: Option<String>,
    /// How to print the answer. JSON and YAML are the protobuf JSON mapping, as under /api/v1.
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// When to use colours. `NO_COLOR` is respected.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
    /// How long to wait for an answer, for example 500ms, 5s, 1m.
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// The shape of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people, fitted to the terminal.
    Table,
    /// For people, everything, however wide.
    Wide,
    /// One JSON document; `watch` prints one a line.
    Json,
    /// One YAML document; `watch` prints a stream of documents.
    Yaml,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Also into a pipe.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Something that an aggregator is asked.
    #[command(flatten)]
    Ask(ApiCommand),
    /// Try it out: a virtual cluster on this machine, with real packets, to look at and to break.
    ///
    /// Builds a cluster of network namespaces (nodes, an overlay, DNS servers, an internet), runs the real aggregator
    /// and probers in it and tells what happens. The API listens on this machine, so every other command works from a
    /// second terminal. Needs root, or a kernel that lets users make namespaces. Nothing is left behind.
    #[command(
        args_conflicts_with_subcommands = true,
        after_long_help = "Examples:
  meshprobe demo                               six nodes in two zones
  meshprobe demo --nodes 12 --zones 3
  meshprobe demo break node-dark mesh-3        from a second terminal
  meshprobe demo heal
  meshprobe demo --script                      breaks and heals by itself, then ends"
    )]
    Demo(DemoArgs),
    /// Diagnose an incident again from its bundle, offline, and compare with what was found then.
    ///
    /// Exit code 0: the same was found then in every picture; 2: something else; 1: the file cannot be used.
    #[command(after_long_help = "Examples:
  meshprobe incidents bundle 7c1f -f ticket.mpbundle
  meshprobe replay ticket.mpbundle
  meshprobe replay ticket.mpbundle -o json | jq '.pictures[].findings'")]
    Replay {
        /// The bundle.
        bundle: PathBuf,
    },
    /// Print the completion script of a shell.
    #[command(after_long_help = "Examples:
  meshprobe completion bash > /etc/bash_completion.d/meshprobe
  meshprobe completion zsh  > \"${fpath[1]}/_meshprobe\"
  meshprobe completion fish > ~/.config/fish/completions/meshprobe.fish")]
    Completion {
        /// Which shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// What an aggregator is asked.
#[derive(Debug, Subcommand)]
pub enum ApiCommand {
    /// How the mesh and the aggregator are doing, in a few lines.
    #[command(after_long_help = "Examples:
  meshprobe status
  meshprobe status -o json | jq .openIncidents
  until meshprobe status; do sleep 1; done")]
    Status,
    /// Every known node: state, last report, failing paths. With a name: that node, its probers and its host.
    #[command(
        visible_alias = "node",
        after_long_help = "Examples:
  meshprobe nodes
  meshprobe nodes -o wide
  meshprobe nodes mesh-3                       its routes, MTUs, name servers, its prober's own health
  meshprobe nodes --at -2h                     as they were two hours ago"
    )]
    Nodes {
        /// One of them.
        name: Option<String>,
        /// When.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Who reaches whom: the heat table of one layer, sources in rows, targets in columns.
    #[command(after_long_help = "Examples:
  meshprobe matrix                             UDP on the pod network
  meshprobe matrix --plane host                TCP on the nodes' own addresses
  meshprobe matrix --kind dns-udp              every DNS server instance from every node
  meshprobe matrix --plane service             DNS through its virtual IP
  meshprobe matrix --kind mtu                  does the largest packet pass
  meshprobe matrix --kind http                 every external HTTP target from every node
  meshprobe matrix -o wide | less -S           every cell with its round-trip time
  meshprobe matrix --at 2026-11-29T03:10:00Z   as it was then")]
    Matrix {
        /// Which layer.
        #[command(flatten)]
        layer: LayerArgs,
        /// When.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Everything that is known between two nodes: each layer, both directions.
    #[command(after_long_help = "Examples:
  meshprobe path mesh-1 mesh-3
  meshprobe path mesh-1 mesh-3 --at -2h        as it was two hours ago")]
    Path {
        /// Node that sends.
        source: String,
        /// Node that answers.
        target: String,
        /// When.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Make one probe now and print its result. It waits for the probe's own end, however long --timeout is.
    #[command(after_long_help = "Examples:
  meshprobe probe mesh-1 mesh-3                one STAMP packet on the pod network
  meshprobe probe mesh-1 mesh-3 --kind mtu     the largest packet, each way
  meshprobe probe mesh-1 mesh-3 --trace        and where packets end
  meshprobe probe mesh-1 vip/www.example.com. --kind dns-udp --plane service")]
    Probe {
        /// Node that sends.
        source: String,
        /// Node that answers, or a target as the matrix names its column.
        target: String,
        /// Which layer.
        #[command(flatten)]
        layer: LayerArgs,
        /// Follow it by a trace of the path.
        #[arg(long)]
        trace: bool,
    },
    /// What is wrong now and why: one line for each cause, the most serious first.
    #[command(
        visible_alias = "finding",
        after_long_help = "Examples:
  meshprobe findings
  meshprobe findings -o wide                   with evidence, counter-examples and first actions
  meshprobe findings --node mesh-3
  meshprobe findings --severity critical -o json
  meshprobe findings --at -2h                  what stood two hours ago"
    )]
    Findings {
        /// Only this pattern, for example overlay-egress.
        #[arg(
            long,
            value_name = "PATTERN",
            default_value = "",
            hide_default_value = true
        )]
        pattern: String,
        /// Only what names this node, or a failing path of it.
        #[arg(
            long,
            value_name = "NODE",
            default_value = "",
            hide_default_value = true
        )]
        node: String,
        /// Only what names this zone or a node in it.
        #[arg(
            long,
            value_name = "ZONE",
            default_value = "",
            hide_default_value = true
        )]
        zone: String,
        /// Only what matters at least so much.
        #[arg(long, value_enum)]
        severity: Option<SeverityArg>,
        /// When.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Why can't A talk to B: every layer between them in order, the first that fails, and the cause.
    #[command(after_long_help = "Examples:
  meshprobe explain mesh-1 mesh-3
  meshprobe explain mesh-1 shop                a target as the matrix names its column")]
    Explain {
        /// The node that wants to talk.
        source: String,
        /// The node or the target that it wants to talk to.
        target: String,
    },
    /// Tell nobody about something for a while.
    #[command(after_long_help = "Examples:
  meshprobe silence add node=mesh-3 --for 2h --comment 'new disk'
  meshprobe silence add pattern=~dns-.* zone=zone-b --for 30m
  meshprobe silence list
  meshprobe silence remove 00c0

Names: pattern, node, zone, target, label.NAME. Operators: = != =~ !~, as in Alertmanager. All have to hold.
What is still open when a silence ends is told then.")]
    Silence {
        /// What to do.
        #[command(subcommand)]
        command: SilenceCommand,
    },
    /// Announce work on nodes: that they go dark or stop reporting is told to nobody, everything else is.
    #[command(after_long_help = "Examples:
  meshprobe maintenance add node=mesh-3 --for 1h --comment 'kernel upgrade'
  meshprobe maintenance add zone=zone-b --start 2026-12-01T22:00:00Z --for 4h
  meshprobe maintenance list
  meshprobe maintenance remove 0ddb")]
    Maintenance {
        /// What to do.
        #[command(subcommand)]
        command: SilenceCommand,
    },
    /// Say that a node is cordoned or drained: it is expected to go, so it is probed as ever and not judged.
    #[command(after_long_help = "Examples:
  meshprobe drain mesh-3                       for 15 minutes
  meshprobe drain mesh-3 --for 2h --comment 'new disk' && kubectl drain mesh-3
  meshprobe drain mesh-3 --end                 it is back

What is still down when the time is over is judged and told as ever.")]
    Drain(DrainArgs),
    /// Say what the cluster reported about a node, as a Kubernetes event does: it is evidence for the diagnosis.
    #[command(after_long_help = "Examples:
  meshprobe event mesh-3 FailedCreatePodSandBox 'failed to allocate for range 0: no IP addresses available'
  meshprobe event mesh-3 NodeNotReady --at -5m

An event that says that a pod cannot start explains a node that does not report: prober-not-running.
It counts for 24 hours, or until the node's prober is started.")]
    Event(EventArgs),
    /// Wait until everything is healthy, or fail: for CI, and after an upgrade of the network.
    ///
    /// Healthy means: the aggregator judges, every known node reports, nothing is found, no incident is open, no path is
    /// unhealthy; all of it for the time of --stable-for without a break. Ends with 0 then. Ends with 2 and prints what is
    /// wrong when the time is over.
    #[command(after_long_help = "Examples:
  meshprobe assert --healthy-within 2m
  meshprobe assert --healthy-within 5m --stable-for 30s
  kubectl rollout status ds/cilium -n kube-system && meshprobe assert --healthy-within 3m")]
    Assert(AssertArgs),
    /// Incidents: what is or was broken, newest first.
    #[command(
        visible_alias = "incident",
        args_conflicts_with_subcommands = true,
        after_long_help = "Examples:
  meshprobe incidents
  meshprobe incidents --all
  meshprobe incidents show 7c1f
  meshprobe incidents bundle 7c1f              one file for the ticket, see `meshprobe replay`"
    )]
    Incidents {
        /// Also the resolved ones.
        #[arg(long, short = 'a')]
        all: bool,
        /// One of them.
        #[command(subcommand)]
        command: Option<IncidentsCommand>,
    },
    /// Who was told of what: what waits, what was given up, and a test of the way.
    #[command(after_long_help = "Examples:
  meshprobe notify list                        what waits, what was given up
  meshprobe notify list --state failed -o json
  meshprobe notify test pager                  a message that says that it is a test
  meshprobe notify test all
  meshprobe notify retry 43c21ae5ddbb8461.0    once more")]
    Notify {
        /// What to do.
        #[command(subcommand)]
        command: NotifyCommand,
    },
    /// Follow incidents or findings as they come and go, or the matrix as it changes. Ends with Ctrl-C.
    #[command(
        args_conflicts_with_subcommands = true,
        after_long_help = "Examples:
  meshprobe watch                              one line each time an incident opens or resolves
  meshprobe watch -o json | my-script          the same, one JSON object a line
  meshprobe watch findings                     one line each time something is found or gone
  meshprobe watch matrix                       the heat table, redrawn when it changes"
    )]
    Watch {
        /// What to follow; incidents when it is left out.
        #[command(subcommand)]
        command: Option<WatchCommand>,
    },
}

/// `meshprobe incidents …`
#[derive(Debug, Subcommand)]
pub enum IncidentsCommand {
    /// Everything about one incident: evidence, first actions, its timeline, who was told, its runbook page.
    Show {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// Save an incident in one file: what was seen around it, what was found, its timeline.
    Bundle {
        /// Its id, or the beginning of it.
        id: String,
        /// Where to; `-` is standard output. Default: its id with .mpbundle, in this folder.
        #[arg(long, short = 'f', value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// `meshprobe watch …`
#[derive(Debug, Subcommand)]
pub enum WatchCommand {
    /// Incidents as they open, change and resolve.
    Incidents,
    /// Findings as they come and go.
    Findings,
    /// The heat table of one layer, redrawn when it changes.
    Matrix(LayerArgs),
}

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SeverityArg {
    /// Worth knowing.
    Info,
    /// To be looked at in working hours.
    Warning,
    /// Somebody is woken up.
    Critical,
}

/// A span of time in whole seconds: `30s`, `5m`, `2h`, `3d`.
fn parse_span(text: &str) -> Result<Duration, String> {
    let advice =
        || format!("write a number and a unit, for example 30s, 5m, 2h or 3d, not {text:?}");
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(advice)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| advice())?;
    let seconds = match unit {
        "s" => number,
        "m" => number.saturating_mul(60),
        "h" => number.saturating_mul(3_600),
        "d" => number.saturating_mul(86_400),
        _ => return Err(advice()),
    };
    Ok(Duration::from_secs(seconds))
}

/// A time with its unit: `500ms`, `5s`, `1m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let advice = || format!("write a number and a unit, for example 500ms, 5s or 1m, not {text:?}");
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(advice)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| advice())?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err(advice()),
    };
    if duration.is_zero() {
        return Err("nothing can be answered in no time".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [
            "meshprobe -o json -s a:1 nodes",
            "meshprobe nodes -o json --server a:1",
        ] {
            let global = parse(line).expect(line).global;
            assert_eq!(
                (global.output, global.server.as_str()),
                (Format::Json, "a:1")
            );
        }
    }

    #[test]
    fn a_timeout_needs_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["5", "s", "-1s", "0s", "5 s", "1h", ""] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_span_is_counted_in_seconds_to_days() {
        for (text, seconds) in [
            ("0s", 0),
            ("30s", 30),
            ("5m", 300),
            ("2h", 7_200),
            ("3d", 259_200),
        ] {
            assert_eq!(parse_span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["5", "h", "-1h", "2 h", "500ms", ""] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_silence_needs_a_matcher_and_an_end() {
        assert!(parse("meshprobe silence add node=mesh-3 --for 2h").is_ok());
        assert!(
            parse("meshprobe maintenance add node=mesh-3 zone!=b --for 2h --comment x").is_ok()
        );
        assert!(parse("meshprobe silence add --for 2h").is_err());
        assert!(parse("meshprobe silence add node=mesh-3").is_err());
        assert!(parse("meshprobe silence add mesh-3 --for 2h").is_err());
    }

    #[test]
    fn a_client_certificate_needs_its_key_and_a_ca() {
        assert!(parse("meshprobe status --tls-cert c.pem").is_err());
        assert!(parse("meshprobe status --tls-ca a --tls-cert c --tls-key k").is_ok());
    }

    #[test]
    fn the_long_help_has_examples_and_the_exit_codes() {
        insta::assert_snapshot!(Cli::command().term_width(100).render_long_help());
    }
}
