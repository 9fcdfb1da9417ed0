//! What a notification says, before anybody's format: a change of an incident, a sum of changes, or that it is a test.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meshprobe_core::{finding::Pattern, ids::NodeName};
use serde::{Deserialize, Serialize};

use crate::incident::{Incident, IncidentChange, IncidentId, IncidentState, Severity, Transition};

/// Labels identify an alert, so they stay as they are while it fires.
pub type Labels = BTreeMap<String, String>;

/// The alert's name of a test.
const TEST_ALERT: &str = "MeshprobeTest";

/// What is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every one of them is a change"
)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// An incident changed.
    Change(News),
    /// More happened than the receiver's limit lets through one by one.
    Digest(Digest),
    /// Somebody wants to know whether messages arrive.
    Test(Test),
}

/// A change of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct News {
    /// What happened, and the incident after it.
    pub change: IncidentChange,
    /// The labels under which the incident was told first since it was opened.
    pub labels: Labels,
    /// It flaps: how often it was opened again without a message for each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flapping: Option<u32>,
}

/// Messages that were put together into one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    /// How many messages it stands for.
    pub messages: u32,
    /// Of those, how many said that an incident was opened, or opened again.
    pub opened: u32,
    /// Of those, how many said something new about an open incident.
    pub updated: u32,
    /// Of those, how many said that an incident ended.
    pub resolved: u32,
    /// Every incident that it is about: later messages about them wait for it.
    pub incidents: Vec<IncidentId>,
    /// The last word on each incident, the worst first, at most [`Digest::MOST_NEWS`].
    pub news: Vec<News>,
}

/// A test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// When somebody asked for it.
    pub at: Timestamp,
}

impl Message {
    /// The incident that it is about; a sum and a test are about none.
    pub fn incident(&self) -> Option<&Incident> {
        match self {
            Self::Change(news) => Some(&news.change.incident),
            Self::Digest(_) | Self::Test(_) => None,
        }
    }

    /// `opened`, `reopened`, `updated`, `resolved`, `digest`, `test`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Change(news) => news.change.transition.as_str(),
            Self::Digest(_) => "digest",
            Self::Test(_) => "test",
        }
    }

    /// `firing` or `resolved`, in Alertmanager's words.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Change(news) => news.status(),
            Self::Digest(digest) => digest.status(),
            Self::Test(_) => "firing",
        }
    }

    /// How much it matters: a sum, as much as the worst in it that is open.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Change(news) => news.change.incident.severity,
            Self::Digest(digest) => {
                let open = digest.news.iter().filter(|news| news.is_firing());
                open.map(|news| news.change.incident.severity)
                    .max()
                    .unwrap_or(Severity::Info)
            }
            Self::Test(_) => Severity::Info,
        }
    }

    /// A few words: `node-dark mesh-3`, `and 37 more`, `test`.
    pub fn title(&self) -> String {
        match self {
            Self::Change(news) => news.title(),
            Self::Digest(digest) => format!("and {} more", digest.messages),
            Self::Test(_) => "test".to_owned(),
        }
    }

    /// One sentence.
    pub fn summary(&self) -> String {
        match self {
            Self::Change(news) => news.summary(),
            Self::Digest(digest) => digest.summary(),
            Self::Test(Test { at }) => format!(
                "TEST of meshprobe's notifications, asked for at {at}. Nothing is wrong; nothing has to be done."
            ),
        }
    }

    /// What backs it and what to do first, a sentence each; of a sum, what it is about.
    pub fn evidence(&self) -> Vec<String> {
        match self {
            Self::Change(news) => {
                let incident = &news.change.incident;
                let mut lines = incident.evidence.clone();
                if !incident.first_actions.is_empty() {
                    lines.push("First actions:".to_owned());
                    lines.extend(incident.first_actions.iter().cloned());
                }
                lines
            }
            Self::Digest(digest) => digest.lines(),
            Self::Test(_) => Vec::new(),
        }
    }

    /// The labels of the alert.
    pub fn labels(&self) -> Labels {
        match self {
            Self::Change(news) => news.labels.clone(),
            Self::Digest(_) => label_pairs([
                ("alertname", "MeshprobeDigest"),
                ("severity", self.severity().as_str()),
            ]),
            Self::Test(_) => label_pairs([
                ("alertname", TEST_ALERT),
                ("severity", Severity::Info.as_str()),
                ("test", "true"),
            ]),
        }
    }
}

fn label_pairs<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

impl News {
    /// `firing` or `resolved`.
    pub fn status(&self) -> &'static str {
        if self.is_firing() {
            "firing"
        } else {
            "resolved"
        }
    }

    /// Is the incident open?
    pub fn is_firing(&self) -> bool {
        self.change.transition != Transition::Resolved
            && self.change.incident.state == IncidentState::Open
    }

    fn title(&self) -> String {
        let incident = &self.change.incident;
        format!("{} {}", incident.pattern, incident.scope)
    }

    fn summary(&self) -> String {
        let summary = &self.change.incident.summary;
        match self.flapping {
            Some(times) => {
                format!(
                    "Flapping, opened again {times} times, which is not told each time: {summary}"
                )
            }
            None => summary.clone(),
        }
    }
}

impl Digest {
    /// Most incidents that are listed; the others are counted.
    pub const MOST_NEWS: usize = 100;
    /// Most lines for people.
    const MOST_LINES: usize = 20;

    /// Puts messages together, oldest first.
    pub fn of(messages: &[News]) -> Self {
        let mut digest = Self {
            messages: messages.len() as u32,
            ..Self::default()
        };
        let mut last: BTreeMap<&IncidentId, &News> = BTreeMap::new();
        for news in messages {
            match news.change.transition {
                Transition::Opened | Transition::Reopened => digest.opened += 1,
                Transition::Updated | Transition::Refined => digest.updated += 1,
                Transition::Resolved => digest.resolved += 1,
            }
            last.insert(&news.change.incident.id, news);
        }
        digest.incidents = last.keys().map(|id| (*id).clone()).collect();
        let mut news: Vec<&News> = last.into_values().collect();
        news.sort_by_key(|news| {
            let incident = &news.change.incident;
            (
                !news.is_firing(),
                std::cmp::Reverse(incident.severity),
                incident.started_at,
            )
        });
        digest.news = news.into_iter().take(Self::MOST_NEWS).cloned().collect();
        digest
    }

    /// `firing` while one of the incidents is open.
    pub fn status(&self) -> &'static str {
        // What is not listed matters less than what is, so an open one is among the listed.
        if self.news.iter().any(News::is_firing) {
            "firing"
        } else {
            "resolved"
        }
    }

    /// `and 37 more: 30 opened, 7 resolved`.
    pub fn summary(&self) -> String {
        let counts = [
            (self.opened, "opened"),
            (self.updated, "updated"),
            (self.resolved, "resolved"),
        ];
        let counts: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        format!(
            "and {} more, put together by the limit of this receiver: {}.",
            self.messages,
            counts.join(", ")
        )
    }

    fn lines(&self) -> Vec<String> {
        let listed = self.news.iter().take(Self::MOST_LINES);
        let mut lines: Vec<String> = listed
            .map(|news| format!("{} {}: {}", news.status(), news.title(), news.summary()))
            .collect();
        let rest = self.incidents.len().saturating_sub(lines.len());
        if rest > 0 {
            lines.push(format!(
                "and {rest} incidents more; `meshprobe incidents` lists them"
            ));
        }
        lines
    }
}

/// `node-dark` → `NodeDark`.
pub fn alert_name(pattern: Pattern) -> String {
    pattern
        .as_str()
        .split('-')
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_uppercase().chain(letters).collect::<String>())
                .unwrap_or_default()
        })
        .collect()
}

/// The labels of an incident as it is now.
pub fn labels(incident: &Incident) -> Labels {
    let mut labels = label_pairs([
        ("alertname", &alert_name(incident.pattern)),
        ("severity", incident.severity.as_str()),
        ("pattern", incident.pattern.as_str()),
        ("scope", &incident.scope.to_string()),
    ]);
    let mut put = |name: &str, value: String| labels.insert(name.to_owned(), value);
    if !incident.nodes.is_empty() {
        put("node", names(incident));
    }
    if !incident.zones.is_empty() {
        put("zone", incident.zones.join(","));
    }
    if let Some(plane) = incident.plane {
        put("plane", plane.to_string());
    }
    if let Some(kind) = incident.scope.kind {
        put("kind", kind.to_string());
    }
    if let Some(family) = incident.scope.family {
        put("family", family.to_string());
    }
    if let Some(target) = &incident.scope.target {
        put("target", target.clone());
    }
    labels
}

fn names(incident: &Incident) -> String {
    let names: Vec<&str> = incident.nodes.iter().map(NodeName::as_str).collect();
    names.join(",")
}

/// The idempotency key of a change: the same for the same change, whoever makes the message and however often.
pub fn notification_id(change: &IncidentChange) -> String {
    let IncidentChange {
        transition,
        incident,
    } = change;
    format!(
        "{}.{}.{}.{}",
        incident.id,
        incident.reopened,
        transition.as_str(),
        incident.updated_at.as_millisecond()
    )
}
