//! What the demo tells: what was broken, what was found, who was told, and how long it took.

use std::time::{Duration, Instant};

use anyhow::bail;
use jiff::Timestamp;
use meshprobe_lab::fault::CATALOGUE;
use meshprobe_lab::mesh::Notification;
use meshprobe_lab::{Fault, Injected, Lab};
use meshprobe_proto::v1;

use crate::render::incident::{is_open, title};
use crate::render::style::{BAD, DIM, GOOD, HEADING, PLAIN, WARNING, paint};
use crate::render::table::{Cell, Table};
use crate::render::time;

/// The fault that words on the command line name.
pub(super) fn parse_fault(words: &[String]) -> anyhow::Result<Fault> {
    Ok(words.join(" ").parse()?)
}

/// `meshprobe demo faults`
pub(super) fn catalogue() -> String {
    let mut table = Table::new(&["FAULT", "WHAT HAPPENS"]);
    for fault in CATALOGUE {
        table.push(vec![Cell::from(fault.usage()), Cell::from(fault.summary)]);
    }
    format!(
        "{}\nUse: meshprobe demo break node-dark mesh-3\n",
        table.render()
    )
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
struct Mark {
    instant: Instant,
    wall: Timestamp,
}

/// The faults in effect and what happened last.
#[derive(Debug)]
pub(super) struct Story {
    lab: Lab,
    faults: Vec<(Injected, Mark)>,
    /// The last thing that a person did, which everything after it is timed against.
    last: Option<(&'static str, Mark)>,
    incidents: Vec<(String, v1::IncidentState, u32)>,
    told: usize,
}

impl Story {
    pub(super) fn new(lab: Lab) -> Self {
        Self {
            lab,
            faults: Vec::new(),
            last: None,
            incidents: Vec::new(),
            told: 0,
        }
    }

    /// Breaks something; returns the line to print.
    pub(super) fn inject(
        &mut self,
        fault: &Fault,
        now: (Instant, Timestamp),
    ) -> anyhow::Result<String> {
        if self
            .faults
            .iter()
            .any(|(injected, _)| injected.fault() == fault)
        {
            bail!("{fault} is in effect already; heal it with: meshprobe demo heal {fault}");
        }
        let mark = mark(now);
        let injected = fault.inject(&self.lab)?;
        self.faults.push((injected, mark));
        self.last = Some(("break", mark));
        Ok(line(now.1, &paint(WARNING, "BREAK   "), &fault.to_string()))
    }

    /// Heals one fault, or all; returns the lines to print.
    pub(super) fn heal(
        &mut self,
        fault: Option<&Fault>,
        now: (Instant, Timestamp),
    ) -> anyhow::Result<String> {
        let is_meant = |injected: &Injected| fault.is_none_or(|fault| injected.fault() == fault);
        let (healed, kept) = std::mem::take(&mut self.faults)
            .into_iter()
            .partition(|(injected, _)| is_meant(injected));
        self.faults = kept;
        let healed: Vec<(Injected, Mark)> = healed;
        if healed.is_empty() {
            match fault {
                Some(fault) => bail!("{fault} is not in effect. {}", self.in_effect()),
                None => bail!("nothing is broken"),
            }
        }
        let mut text = String::new();
        for (injected, _) in healed {
            let name = injected.fault().to_string();
            injected.heal()?;
            text.push_str(&line(now.1, &paint(GOOD, "HEAL    "), &name));
        }
        self.last = Some(("heal", mark(now)));
        Ok(text)
    }

    /// "In effect: node-dark mesh-3 for 12s."
    pub(super) fn in_effect(&self) -> String {
        if self.faults.is_empty() {
            return "Nothing is broken.".to_owned();
        }
        let names: Vec<String> = self
            .faults
            .iter()
            .map(|(injected, _)| injected.fault().to_string())
            .collect();
        format!("In effect: {}.", names.join("; "))
    }

    /// The lines for incidents that opened, came back or resolved since the last call.
    pub(super) fn incidents(&mut self, incidents: &[v1::Incident]) -> String {
        let mut text = String::new();
        // The API has the newest first; a story goes forward.
        for incident in incidents.iter().rev() {
            let seen = (incident.id.clone(), incident.state(), incident.reopened);
            let known = self
                .incidents
                .iter()
                .position(|(id, ..)| *id == incident.id);
            match known {
                Some(index) if self.incidents[index] == seen => continue,
                Some(index) => self.incidents[index] = seen,
                None => self.incidents.push(seen),
            }
            text.push_str(&self.incident_line(incident));
        }
        text
    }

    fn incident_line(&self, incident: &v1::Incident) -> String {
        let (word, style, at, tail) = if is_open(incident) {
            (
                "INCIDENT",
                BAD,
                incident.opened_at,
                incident.summary.clone(),
            )
        } else {
            ("RESOLVED", GOOD, incident.resolved_at, title(incident))
        };
        let at = time::timestamp(at).unwrap_or(Timestamp::UNIX_EPOCH);
        let since = self.last.map(|(what, mark)| {
            let seconds = at.duration_since(mark.wall).as_secs_f64();
            (what, seconds)
        });
        let told = line(at, &paint(style, word), &format!("{tail}{}", after(since)));
        if is_open(incident) {
            told + &first_actions(incident)
        } else {
            told
        }
    }

    /// The lines for notifications that arrived since the last call.
    pub(super) fn notifications(
        &mut self,
        notifications: &[Notification],
        now: (Instant, Timestamp),
    ) -> String {
        let new = notifications.get(self.told..).unwrap_or_default();
        self.told = notifications.len();
        let lines: Vec<String> = new
            .iter()
            .map(|notification| self.notification_line(notification, now))
            .collect();
        lines.concat()
    }

    fn notification_line(&self, notification: &Notification, now: (Instant, Timestamp)) -> String {
        let age = now.0.saturating_duration_since(notification.received_at);
        let at = now.1.checked_sub(age).unwrap_or(now.1);
        let since = self.last.map(|(what, mark)| {
            let elapsed = notification
                .received_at
                .saturating_duration_since(mark.instant);
            (what, elapsed.as_secs_f64())
        });
        let told = format!("{}: {}", notification.status(), notification.summary());
        line(
            at,
            &paint(PLAIN, "WEBHOOK "),
            &format!("{told}{}", after(since)),
        )
    }
}

/// From the break to the arrival.
pub(super) fn since(broken: Instant, notification: &Notification) -> Duration {
    notification.received_at.saturating_duration_since(broken)
}

/// What to do first, as commands to copy, below an incident.
fn first_actions(incident: &v1::Incident) -> String {
    /// More are in `meshprobe incidents show`.
    const SHOWN: usize = 3;
    let actions = incident.first_actions.iter().take(SHOWN);
    let lines: Vec<String> = actions
        .map(|action| format!("           $ {action}\n"))
        .collect();
    lines.concat()
}

fn mark(now: (Instant, Timestamp)) -> Mark {
    Mark {
        instant: now.0,
        wall: now.1,
    }
}

/// " (1.62 s after the break)"; nothing when it was before, or when nobody did anything.
fn after(since: Option<(&str, f64)>) -> String {
    match since {
        Some((what, seconds)) if seconds >= 0.0 => paint(
            DIM,
            &format!(
                "  {}",
                paint(HEADING, &format!("{seconds:.2} s after the {what}"))
            ),
        ),
        _ => String::new(),
    }
}

fn line(at: Timestamp, word: &str, text: &str) -> String {
    format!(
        "{}  {word}  {text}\n",
        paint(DIM, &at.strftime("%H:%M:%SZ").to_string())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_the_catalogue_is_listed_with_its_arguments() {
        let text = anstream::adapter::strip_str(&catalogue()).to_string();
        assert!(
            text.lines()
                .any(|line| line.starts_with("node-dark NODE  ")),
            "{text}"
        );
        assert_eq!(text.lines().count(), CATALOGUE.len() + 3);
    }

    #[test]
    fn an_unknown_fault_is_refused_with_those_that_there_are() {
        let error = parse_fault(&["moon".to_owned(), "mesh-1".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("node-dark"), "{error}");
        assert_eq!(
            parse_fault(&["node-dark".to_owned(), "mesh-3".to_owned()])
                .unwrap()
                .to_string(),
            "node-dark mesh-3"
        );
    }
}
