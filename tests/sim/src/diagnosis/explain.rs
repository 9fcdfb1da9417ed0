//! Why an answer was wrong: what was said, and what there was to be seen.

use std::fmt::Write as _;

use meshprobe_core::diagnosis::{CellPicture, Columns, Diagnosis, Picture};
use meshprobe_core::time::Mark;

use super::engine::{Engine, Rows};
use super::watch::Opened;
use super::world::World;

/// Cells of one layer that are shown.
const CELLS: usize = 6;

/// What the diagnosis said of a picture, and the cells that the rules touch or that fail.
pub(super) fn story(engine: &Engine, picture: &Picture, diagnosis: &Diagnosis) -> String {
    let mut text = format!(
        "  at second {}, {} s after the fault\n",
        engine.now,
        engine.now - engine.since
    );
    for finding in &diagnosis.findings {
        push(
            &mut text,
            &format!(
                "  said: {} · {} ({:?}) {}",
                finding.pattern, finding.scope, finding.confidence, finding.summary
            ),
        );
        for evidence in finding.evidence.iter().take(4) {
            push(&mut text, &format!("        {evidence}"));
        }
        for alternative in &finding.alternatives {
            push(
                &mut text,
                &format!("        or {} · {}", alternative.pattern, alternative.scope),
            );
        }
    }
    for (node, known) in picture.nodes.iter().enumerate() {
        if let Some(declaration) = &known.declaration {
            push(
                &mut text,
                &format!(
                    "  declared: {} {} plane {:?}",
                    World::name(node),
                    declaration.pattern,
                    declaration.plane
                ),
            );
        }
    }
    for (layer, rows) in picture.layers.iter().zip(&engine.layers) {
        let mut shown = 0;
        let mut bad = 0;
        for (source, row) in layer.rows.iter().enumerate() {
            let Some(row) = row else { continue };
            for (column, cell) in row.iter() {
                let is_touched = match rows {
                    Rows::Nodes(rows) => rows[source].condition(column).is_some(),
                    Rows::Targets(_) => false,
                };
                if !cell.verdict.is_unhealthy() && !is_touched {
                    continue;
                }
                bad += 1;
                // Not only those of the first source.
                if shown >= CELLS || (bad - 1) % 7 != 0 {
                    continue;
                }
                shown += 1;
                let heading = match &layer.columns {
                    Columns::Nodes => World::name(column).to_string(),
                    Columns::Targets(targets) => targets[column].heading.clone(),
                };
                let detail = row.detail(column).map(|d| format!(" {d:?}"));
                push(
                    &mut text,
                    &format!(
                        "  {} {}→{heading} {}{}",
                        layer.layer,
                        World::name(source),
                        shape(cell),
                        detail.unwrap_or_default()
                    ),
                );
            }
        }
        if bad > shown {
            push(&mut text, &format!("  {} … {bad} cells", layer.layer));
        }
    }
    text
}

/// What was told in a trial.
pub(super) fn opened(opened: &[Opened], begun: u32, healed: u32) -> String {
    let mut text = String::new();
    for one in opened {
        let (pattern, scope) = &one.name;
        let when = if one.at > healed {
            format!("{} s after the repair", one.at - healed)
        } else {
            format!("after {} s", one.at - begun)
        };
        push(
            &mut text,
            &format!("  opened {when}: {pattern} · {scope}: {}", one.summary),
        );
    }
    text
}

fn shape(cell: &CellPicture) -> String {
    let CellPicture {
        verdict,
        failure,
        consecutive_losses,
        consecutive_replies,
        failing_for,
        arrived_in_row,
        sent,
        lost,
        slot_sent,
        slot_lost,
        received,
        long_sent,
        long_lost,
        long_received,
        rtt,
        rtt_baseline,
        reported_at,
        lost_at,
        lost_in_row,
    } = cell;
    let second = |mark: &Option<Mark>| mark.map(|mark| mark.moment().as_millis() / 1_000);
    let failure = failure.map_or("", |class| class.as_str());
    format!(
        "{verdict} {failure} lost {lost}/{sent} {slot_lost:?}/{slot_sent:?} got {received:?} row {consecutive_losses}-/{consecutive_replies}+ for {failing_for:?} {arrived_in_row:?} long {long_lost:.1}/{long_sent:.0} got {long_received:.1?} rtt {rtt:?} of {rtt_baseline:?} at {:?} lost {lost_in_row} at {:?}",
        second(reported_at),
        second(lost_at),
    )
}

fn push(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    writeln!(text, "{line}").unwrap_or_default();
}
