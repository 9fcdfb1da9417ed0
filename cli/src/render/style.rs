//! What each state looks like: a glyph that stands alone, and a colour that helps.
//!
//! Glyphs differ in shape, so the table reads the same without colours and for those who see few of them. Colours are
//! the terminal's own sixteen: they follow its theme, dark or light. Only what is down has a filled background.

use anstyle::{AnsiColor, Color, Style};
use meshprobe_core::verdict::Verdict;
use meshprobe_proto::v1;

/// Of headings.
pub const HEADING: Style = Style::new().bold();
/// Of what is there for completeness.
pub const DIM: Style = Style::new().dimmed();
/// Of good news.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Of what deserves a look.
pub const WARNING: Style = AnsiColor::Yellow.on_default();
/// Of what is broken.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Of what nobody knows.
pub const UNKNOWN: Style = AnsiColor::Blue.on_default();
/// Of what is down: the only filled background.
const DOWN: Style = Style::new()
    .fg_color(Some(Color::Ansi(AnsiColor::BrightWhite)))
    .bg_color(Some(Color::Ansi(AnsiColor::Red)))
    .bold();
/// Nothing special.
pub const PLAIN: Style = Style::new();

/// A text in a style.
pub fn paint(style: Style, text: &str) -> String {
    if style == PLAIN || text.is_empty() {
        text.to_owned()
    } else {
        format!("{style}{text}{style:#}")
    }
}

/// The character of the path from a node to itself.
pub const OWN_GLYPH: char = '\\';

/// The character of a verdict.
pub const fn glyph(verdict: Verdict) -> char {
    match verdict {
        Verdict::NotSampled => '-',
        Verdict::NoData => '?',
        Verdict::Healthy => '·',
        Verdict::Slow => '~',
        Verdict::Lossy => '%',
        Verdict::Suspect => '!',
        Verdict::Down => 'X',
    }
}

/// The colour of a verdict.
pub const fn of_verdict(verdict: Verdict) -> Style {
    match verdict {
        Verdict::NotSampled => DIM,
        Verdict::NoData => UNKNOWN,
        Verdict::Healthy => GOOD,
        Verdict::Slow => AnsiColor::Cyan.on_default(),
        Verdict::Lossy => WARNING,
        Verdict::Suspect => AnsiColor::Magenta.on_default().bold(),
        Verdict::Down => DOWN,
    }
}

/// The word for a verdict in a sentence: "10 down", "4 without data".
pub const fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NotSampled => "not sampled",
        Verdict::NoData => "without data",
        Verdict::Healthy => "healthy",
        Verdict::Slow => "slow",
        Verdict::Lossy => "lossy",
        Verdict::Suspect => "suspect",
        Verdict::Down => "down",
    }
}

/// The word and the colour of a node's state.
pub const fn of_node(state: v1::NodeState) -> (&'static str, Style) {
    match state {
        v1::NodeState::Ok => ("ok", GOOD),
        v1::NodeState::Dark => ("dark", BAD),
        v1::NodeState::Isolated => ("isolated", BAD),
        v1::NodeState::IngressDead => ("ingress-dead", BAD),
        v1::NodeState::EgressDead => ("egress-dead", BAD),
        v1::NodeState::ReportsCut => ("reports-cut", WARNING),
        v1::NodeState::ProberDown => ("prober-down", WARNING),
        v1::NodeState::Leaving => ("leaving", DIM),
        v1::NodeState::Suspect => ("suspect", WARNING),
        v1::NodeState::Unknown | v1::NodeState::Unspecified => ("unknown", UNKNOWN),
    }
}

/// The word and the colour of a severity.
pub const fn of_severity(severity: v1::Severity) -> (&'static str, Style) {
    match severity {
        v1::Severity::Critical => ("critical", BAD),
        v1::Severity::Warning => ("warning", WARNING),
        v1::Severity::Info => ("info", PLAIN),
        v1::Severity::Unspecified => ("-", DIM),
    }
}

/// "1 node", "2 nodes".
pub fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
