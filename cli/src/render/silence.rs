//! `meshprobe silence` and `meshprobe maintenance`.

use jiff::Timestamp;
use meshprobe_proto::v1;

use super::style::{DIM, GOOD, HEADING, PLAIN, WARNING, counted, paint};
use super::table::{Cell, Table};
use super::time;

/// The column that may be cut.
const MATCHERS: usize = 3;

/// `node=mesh-3`, as `silence add` takes it.
pub fn matcher(matcher: &v1::Matcher) -> String {
    let operator = match matcher.operator() {
        v1::MatchOperator::Unspecified | v1::MatchOperator::Equal => "=",
        v1::MatchOperator::NotEqual => "!=",
        v1::MatchOperator::Matches => "=~",
        v1::MatchOperator::NotMatches => "!~",
    };
    let v1::Matcher { name, value, .. } = matcher;
    if value.is_empty() || value.contains(char::is_whitespace) {
        format!("{name}{operator}\"{value}\"")
    } else {
        format!("{name}{operator}{value}")
    }
}

fn matchers(silence: &v1::Silence) -> String {
    let matchers: Vec<String> = silence.matchers.iter().map(matcher).collect();
    matchers.join(" ")
}

/// The list; what keeps people from being told now stands in its first line.
pub fn render(silences: &[v1::Silence], width: Option<usize>, now: Timestamp) -> String {
    if silences.is_empty() {
        return paint(GOOD, "Nothing is silenced.") + "\n";
    }
    let active = silences
        .iter()
        .filter(|one| one.state() == v1::SilenceState::Active);
    let active = active.count() as u64;
    let mut incidents: Vec<&String> = silences.iter().flat_map(|one| &one.incidents).collect();
    incidents.sort_unstable();
    incidents.dedup();
    let style = if incidents.is_empty() { PLAIN } else { WARNING };
    let muted = counted(incidents.len() as u64, "open incident");
    let headline = paint(style, &format!("{active} in force, {muted} silenced."));
    let mut table = Table::new(&["ID", "KIND", "STATE", "MATCHERS", "BY", "COMMENT"]);
    for silence in silences {
        let kind = match silence.kind() {
            v1::SilenceKind::Maintenance => "maintenance",
            v1::SilenceKind::Silence | v1::SilenceKind::Unspecified => "silence",
        };
        let (state, state_style) = state(silence, now);
        table.push(vec![
            Cell::painted(silence.id.chars().take(8).collect::<String>(), DIM),
            Cell::from(kind),
            Cell::painted(state, state_style),
            Cell::from(matchers(silence)),
            Cell::from(silence.author.as_str()),
            Cell::from(silence.comment.as_str()),
        ]);
    }
    if let Some(width) = width {
        table.fit(MATCHERS, width);
    }
    format!("{headline}\n\n{}", table.render())
}

fn state(silence: &v1::Silence, now: Timestamp) -> (String, anstyle::Style) {
    let until = |wire| {
        let at = time::timestamp(wire);
        at.map_or(String::new(), |at| {
            time::span(at.as_second() - now.as_second())
        })
    };
    match silence.state() {
        v1::SilenceState::Pending => (format!("begins in {}", until(silence.starts_at)), PLAIN),
        v1::SilenceState::Active => (format!("{} left", until(silence.ends_at)), WARNING),
        v1::SilenceState::Expired | v1::SilenceState::Unspecified => {
            let ended = time::timestamp(silence.ends_at);
            let ended = ended.map_or(String::new(), |at| time::ago(at, now));
            (format!("over {ended}").trim_end().to_owned(), DIM)
        }
    }
}

/// What `add` made.
pub fn made(silence: &v1::Silence, now: Timestamp) -> String {
    let until = time::timestamp(silence.ends_at);
    let until = until.map_or(String::new(), |at| {
        format!(" until {}", time::clock(at, now))
    });
    let from =
        time::timestamp(silence.starts_at).filter(|_| silence.state() == v1::SilenceState::Pending);
    let from = from.map_or(String::new(), |at| {
        format!(" from {}", time::clock(at, now))
    });
    let what = match silence.kind() {
        v1::SilenceKind::Maintenance => "In maintenance",
        v1::SilenceKind::Silence | v1::SilenceKind::Unspecified => "Silenced",
    };
    let now_silenced = match silence.incidents.len() as u64 {
        0 => String::new(),
        count => format!(
            "{} that is open now is silenced by it.\n",
            counted(count, "incident")
        ),
    };
    format!(
        "{what}{from}{until}: {}\n{now_silenced}{} meshprobe silence remove {}\n",
        matchers(silence),
        paint(HEADING, "To end it:"),
        silence.id
    )
}

/// What `remove` ended.
pub fn ended(silence: &v1::Silence) -> String {
    format!("Ended {}: {}\n", silence.id, matchers(silence))
}
