//! `meshprobe notify list` and `notify test`.

use anstyle::Style;
use jiff::Timestamp;
use meshprobe_proto::v1;

use super::style::{BAD, DIM, GOOD, WARNING, counted, paint};
use super::table::{Cell, Table};
use super::time;

/// The column of answers in the list.
const ANSWER: usize = 6;

/// The list, the conclusion first; answers are cut where they do not fit into `width`.
pub fn render(notifications: &[v1::Notification], width: Option<usize>, now: Timestamp) -> String {
    let count = |state: v1::NotificationState| {
        let matching = notifications.iter().filter(|one| one.state() == state);
        matching.count() as u64
    };
    let failed = count(v1::NotificationState::Dead);
    let pending = count(v1::NotificationState::Pending);
    let (style, text) = match (failed, pending) {
        (0, 0) => (GOOD, "No notification waits, none was given up.".to_owned()),
        (0, _) => (
            WARNING,
            format!("{} waits.", counted(pending, "notification")),
        ),
        _ => (
            BAD,
            format!(
                "{} given up, {pending} waiting.",
                counted(failed, "notification")
            ),
        ),
    };
    let headline = paint(style, &text);
    if notifications.is_empty() {
        return format!("{headline}\n");
    }
    let mut table = Table::new(&[
        "MADE", "STATE", "RECEIVER", "WHAT", "TRIES", "NEXT", "ANSWER", "ID",
    ]);
    for one in notifications {
        let made = time::timestamp(one.created_at).map_or(String::new(), |at| time::ago(at, now));
        let next = time::timestamp(one.next_attempt_at).map_or(String::new(), |at| {
            let wait = at.as_second() - now.as_second();
            if wait <= 0 {
                "now".to_owned()
            } else {
                format!("in {}", time::span(wait))
            }
        });
        let (state, style) = state(one.state());
        table.push(vec![
            Cell::from(made),
            Cell::painted(state, style),
            Cell::from(one.receiver.as_str()),
            Cell::from(format!("{} {}", one.kind, one.title)),
            Cell::from(one.attempts.to_string()),
            Cell::from(next),
            Cell::from(one.last_answer.as_str()),
            Cell::painted(one.id.as_str(), DIM),
        ]);
    }
    if let Some(width) = width {
        table.fit(ANSWER, width);
    }
    format!("{headline}\n\n{}", table.render())
}

fn state(state: v1::NotificationState) -> (&'static str, Style) {
    match state {
        v1::NotificationState::Pending => ("pending", WARNING),
        v1::NotificationState::Delivered => ("delivered", GOOD),
        v1::NotificationState::Digested => ("digested", DIM),
        v1::NotificationState::Dead => ("failed", BAD),
        v1::NotificationState::Unspecified => ("unknown", DIM),
    }
}

/// One line for each receiver that was tested.
pub fn tests(tests: &[v1::NotificationTest]) -> String {
    let lines = tests.iter().map(|test| {
        let (word, style) = if test.delivered {
            ("delivered", GOOD)
        } else {
            ("failed", BAD)
        };
        format!(
            "{} {}: {}\n",
            paint(style, word),
            test.receiver,
            test.answer
        )
    });
    lines.collect()
}
