//! Whether the webhooks tell the same story as the API.
//!
//! Notifications are delivered at least once, so the same one may come twice: it is known by its `webhook-id`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use meshprobe_lab::mesh::Notification;

use super::expected::What;
use super::journal::Journal;

/// A notification about an incident, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub received_at: Instant,
    /// The idempotency key.
    pub key: String,
    pub incident: String,
    pub transition: String,
    pub status: String,
    pub what: What,
}

impl Notice {
    /// Reads a notification; what it lacks is an error.
    pub fn read(notification: &Notification) -> Result<Self, String> {
        let own = &notification.body["meshprobe"];
        let text = |name: &str| match own[name].as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(format!(
                "a webhook without meshprobe.{name}: {}",
                notification.body
            )),
        };
        let (incident, transition, pattern) =
            (text("incidentId")?, text("transition")?, text("pattern")?);
        let Some(scope) = own["scope"]["text"].as_str() else {
            return Err(format!(
                "a webhook without meshprobe.scope.text: {}",
                notification.body
            ));
        };
        Ok(Self {
            received_at: notification.received_at,
            key: notification
                .headers
                .get("webhook-id")
                .cloned()
                .unwrap_or_default(),
            incident,
            transition,
            status: notification.status().to_owned(),
            what: What {
                pattern,
                scope: scope.to_owned(),
            },
        })
    }

    /// Says that an incident has begun.
    pub fn is_opening(&self) -> bool {
        self.status == "firing" && ["opened", "reopened"].contains(&self.transition.as_str())
    }

    /// Says that an incident is over.
    pub fn is_end(&self) -> bool {
        self.status == "resolved"
    }
}

/// Each once, by their keys.
pub fn distinct(notices: &[Notice]) -> Vec<&Notice> {
    let mut seen = BTreeSet::new();
    notices
        .iter()
        .filter(|notice| {
            seen.insert((
                notice.key.clone(),
                notice.incident.clone(),
                notice.transition.clone(),
            ))
        })
        .collect()
}

/// What the API and the webhooks disagree on. Of an incident that comes and goes, not every change has to be told, but that it
/// opened, and what it is now.
pub fn disagreements(
    journal: &Journal,
    notices: &[Notice],
    coming_and_going: &[&What],
) -> Vec<String> {
    let mut told: BTreeMap<&str, Vec<&Notice>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for notice in distinct(notices) {
        if notice.key.is_empty() {
            wrong.push(format!("a webhook about {} has no webhook-id", notice.what));
        }
        if !journal.incidents().contains_key(&notice.incident) {
            wrong.push(format!(
                "a webhook tells of {}, the API does not know it",
                notice.what
            ));
        }
        told.entry(&notice.incident).or_default().push(notice);
    }
    for (id, history) in journal.incidents() {
        let told = told.get(id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let what = &history.found.what;
        let count = |is: fn(&Notice) -> bool| told.iter().filter(|notice| is(notice)).count();
        let pairs = [
            (
                "openings",
                history.opened_at.len(),
                count(Notice::is_opening),
            ),
            ("ends", history.resolved_at.len(), count(Notice::is_end)),
        ];
        let is_damped = coming_and_going.contains(&what);
        for (name, by_api, by_webhook) in pairs {
            let is_told = if is_damped {
                // The end of what flaps is told when it has calmed down, which takes most of an hour.
                by_webhook <= by_api && (by_webhook > 0 || by_api == 0 || name == "ends")
            } else {
                by_api == by_webhook
            };
            if !is_told {
                wrong.push(format!(
                    "{what}: the API tells {by_api} {name}, the webhooks {by_webhook}"
                ));
            }
        }
        if let Some(last) = told.last()
            && last.what != *what
        {
            wrong.push(format!(
                "the API says {what}, the last webhook about it {}",
                last.what
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use meshprobe_daemon::clock;
    use meshprobe_proto::v1;
    use serde_json::json;

    use super::*;

    fn notice(id: &str, transition: &str) -> Notice {
        let status = if transition == "resolved" {
            "resolved"
        } else {
            "firing"
        };
        let body = json!({
            "status": status,
            "meshprobe": {
                "incidentId": id, "transition": transition, "pattern": "node-dark",
                "scope": {"text": "mesh-3"},
            },
        });
        let headers = BTreeMap::from([("webhook-id".to_owned(), format!("{id}.{transition}"))]);
        Notice::read(&Notification {
            received_at: clock::now(),
            headers,
            body,
            answered: 200,
        })
        .expect("a whole notification")
    }

    fn journal(id: &str, state: v1::IncidentState) -> Journal {
        let mut journal = Journal::default();
        let incident = v1::Incident {
            id: id.to_owned(),
            pattern: "node-dark".to_owned(),
            scope: "mesh-3".to_owned(),
            state: state.into(),
            ..v1::Incident::default()
        };
        journal.observe(clock::now(), &[incident]);
        journal
    }

    #[test]
    fn the_same_story_twice_is_one_story() {
        let story = [
            notice("a", "opened"),
            notice("a", "updated"),
            notice("a", "opened"),
            notice("a", "resolved"),
        ];
        let journal = journal("a", v1::IncidentState::Resolved);
        assert_eq!(disagreements(&journal, &story, &[]), Vec::<String>::new());
    }

    #[test]
    fn a_webhook_that_never_came_is_told() {
        let journal = journal("a", v1::IncidentState::Resolved);
        let wrong = disagreements(&journal, &[notice("a", "opened")], &[]);
        assert_eq!(
            wrong,
            ["node-dark mesh-3: the API tells 1 ends, the webhooks 0"]
        );
        assert_eq!(disagreements(&journal, &[], &[]).len(), 2);
    }

    #[test]
    fn a_webhook_about_nothing_is_told() {
        let wrong = disagreements(&Journal::default(), &[notice("a", "opened")], &[]);
        assert_eq!(
            wrong,
            ["a webhook tells of node-dark mesh-3, the API does not know it"]
        );
    }

    #[test]
    fn an_incident_that_is_told_as_resolved_while_the_api_has_it_open_is_a_disagreement() {
        let journal = journal("a", v1::IncidentState::Open);
        let wrong = disagreements(
            &journal,
            &[notice("a", "opened"), notice("a", "resolved")],
            &[],
        );
        assert_eq!(wrong.len(), 1, "{wrong:?}");
    }

    #[test]
    fn a_webhook_without_our_own_words_is_an_error() {
        let bare = Notification {
            received_at: clock::now(),
            headers: BTreeMap::new(),
            body: json!({"status": "firing"}),
            answered: 200,
        };
        let error = Notice::read(&bare).expect_err("it lacks everything");
        assert!(
            error.contains("incidentId") || error.contains("pattern"),
            "{error}"
        );
    }

    #[test]
    fn of_what_comes_and_goes_fewer_changes_are_told() {
        let mut journal = journal("a", v1::IncidentState::Resolved);
        let again = v1::Incident {
            id: "a".to_owned(),
            pattern: "node-dark".to_owned(),
            scope: "mesh-3".to_owned(),
            state: v1::IncidentState::Resolved.into(),
            reopened: 5,
            ..v1::Incident::default()
        };
        journal.observe(clock::now(), &[again]);
        let told = [notice("a", "opened"), notice("a", "resolved")];
        assert_eq!(disagreements(&journal, &told, &[]).len(), 2);
        let what = told[0].what.clone();
        assert_eq!(
            disagreements(&journal, &told, &[&what]),
            Vec::<String>::new()
        );
        // Its end may be held back beyond the run; that it flaps has to be told.
        let wrong = disagreements(&journal, &[], &[&what]);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
    }
}
