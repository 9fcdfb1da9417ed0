//! Alerts for Alertmanager's own API, `POST /api/v2/alerts`.
//!
//! Alertmanager has no memory of its own of what is wrong: an alert fires until its `endsAt`, and whoever sends it again
//! before that moves it ahead. So each alert is sent with its end four resends ahead, all of them again every resend, and
//! at its end with `endsAt` in the past. What ended is sent for some time still, for a member of the cluster that was
//! away at that moment.
//!
//! The labels are the alert's identity. They stay as they were when the incident was told first, so a silence keeps
//! holding and a group stays a group while nodes join or leave; what is so now is in the annotations.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE};
use jiff::{SignedDuration, Timestamp};
use meshprobe_core::ids::NodeName;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;

use super::{
    Attempt, Links, Message, News,
    client::{Client, Request},
};
use crate::config::AlertmanagerConfig;

/// Alerts in one request; the API takes more, and an answer about fewer is easier to read.
const MAX_ALERTS: usize = 500;
/// An alert ends by itself after this many resends that did not come. As Prometheus has it.
const RESENDS_AHEAD: u32 = 4;
/// A test is over by itself after this time.
const TEST_LASTS: SignedDuration = SignedDuration::from_secs(60);

/// The members of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Alertmanager {
    urls: Vec<Url>,
    resend: Duration,
    labels: Vec<(String, String)>,
    /// One request at a time: what fires must not overtake its own end.
    turn: Arc<Mutex<()>>,
}

impl Alertmanager {
    pub(super) fn new(config: &AlertmanagerConfig) -> Self {
        let urls = config.urls.iter().map(|base| {
            let mut url = base.value.clone();
            url.set_path(&format!(
                "{}/api/v2/alerts",
                url.path().trim_end_matches('/')
            ));
            url
        });
        Self {
            urls: urls.collect(),
            resend: config.resend.duration(),
            labels: config.labels.clone().into_iter().collect(),
            turn: Arc::default(),
        }
    }

    pub(super) fn resend(&self) -> Duration {
        self.resend
    }

    /// Tells one message.
    pub(super) async fn tell(
        &self,
        client: &Client,
        message: &Message,
        links: &Links,
        now: Timestamp,
    ) -> Attempt {
        let alerts = match message {
            Message::Change(news) => vec![self.alert(news, links, now)],
            Message::Digest(digest) => {
                let alerts = digest.news.iter().map(|news| self.alert(news, links, now));
                alerts.collect()
            }
            Message::Test(_) => vec![self.test(message, links, now)],
        };
        let _turn = self.turn.lock().await;
        self.push(client, &alerts, now).await
    }

    /// Says again what fires, and what ended lately. `current` is read when it is this request's turn.
    pub(super) async fn refresh(
        &self,
        client: &Client,
        current: impl FnOnce() -> Vec<News>,
        links: &Links,
        now: Timestamp,
    ) -> Attempt {
        let _turn = self.turn.lock().await;
        let alerts: Vec<Value> = current()
            .iter()
            .map(|news| self.alert(news, links, now))
            .collect();
        let mut worst = Attempt::Delivered {
            answer: "nothing to say".to_owned(),
        };
        for some in alerts.chunks(MAX_ALERTS) {
            worst = self.push(client, some, now).await;
            if !worst.is_delivered() {
                break;
            }
        }
        worst
    }

    /// To every member at once. One that took it is enough: the others hear it with the next refresh.
    async fn push(&self, client: &Client, alerts: &[Value], now: Timestamp) -> Attempt {
        let body = Value::from(alerts.to_vec()).to_string();
        let requests = self.urls.iter().map(|url| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let request = Request {
                method: Method::POST,
                url: url.clone(),
                headers,
                body: body.clone().into_bytes(),
            };
            client.send(request, now)
        });
        sum_up(join_all(requests).await)
    }

    fn alert(&self, news: &News, links: &Links, now: Timestamp) -> Value {
        let incident = &news.change.incident;
        let ends_at = if news.is_firing() {
            now + SignedDuration::try_from(self.resend * RESENDS_AHEAD).unwrap_or_default()
        } else {
            incident.resolved_at.unwrap_or(now).min(now)
        };
        let mut annotations = super::annotations(&Message::Change(news.clone()), links);
        if incident.nodes.len() > 1 {
            let names: Vec<&str> = incident.nodes.iter().map(NodeName::as_str).collect();
            annotations.insert("nodes", names.join(", "));
        }
        json!({
            "labels": self.with_labels(news.labels.clone()),
            "annotations": annotations,
            // An end before the beginning is refused.
            "startsAt": incident.started_at.min(ends_at),
            "endsAt": ends_at,
            "generatorURL": links.incident(incident),
        })
    }

    fn test(&self, message: &Message, links: &Links, now: Timestamp) -> Value {
        json!({
            "labels": self.with_labels(message.labels()),
            "annotations": super::annotations(message, links),
            "startsAt": now,
            "endsAt": now + TEST_LASTS,
            "generatorURL": links.external(),
        })
    }

    fn with_labels(&self, mut labels: super::Labels) -> super::Labels {
        for (name, value) in &self.labels {
            // What an alert says of itself counts more.
            labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
        labels
    }
}

/// What the members' answers mean together.
fn sum_up(attempts: Vec<Attempt>) -> Attempt {
    let members = attempts.len();
    let took = attempts.iter().filter(|one| one.is_delivered()).count();
    if took > 0 {
        let missing: Vec<String> = attempts
            .into_iter()
            .filter(|one| !one.is_delivered())
            .map(Attempt::answer)
            .collect();
        let mut answer = format!("{took} of {members} members took it");
        if !missing.is_empty() {
            answer = format!("{answer}; the others: {}", missing.join("; "));
        }
        return Attempt::Delivered { answer };
    }
    // One that may work later is worth waiting for.
    let later = attempts
        .iter()
        .position(|one| matches!(one, Attempt::Later { .. }))
        .unwrap_or(0);
    attempts.into_iter().nth(later).unwrap_or(Attempt::Refused {
        reason: "there is no member".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::samples;

    fn manager() -> Alertmanager {
        let text = "urls: [\"http://a:9093/prefix/\", \"http://b:9093\"]\nresend: 10s\nlabels: {cluster: prod, node: mine}\n";
        Alertmanager::new(
            &meshprobe_daemon::config::parse(text, std::path::Path::new("test")).unwrap(),
        )
    }

    fn news(message: Message) -> News {
        let Message::Change(news) = message else {
            panic!("a change")
        };
        news
    }

    #[test]
    fn the_path_of_the_api_goes_behind_a_prefix() {
        let urls: Vec<String> = manager().urls.iter().map(Url::to_string).collect();
        assert_eq!(
            urls,
            [
                "http://a:9093/prefix/api/v2/alerts",
                "http://b:9093/api/v2/alerts"
            ]
        );
    }

    #[test]
    fn what_fires_ends_by_itself_and_what_ended_has_ended() {
        let now: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
        let firing = manager().alert(&news(samples::opened()), &samples::links(), now);
        assert_eq!(firing["endsAt"], "2026-02-01T00:00:40Z");
        assert_eq!(firing["startsAt"], "2026-01-01T00:00:00Z");
        assert_eq!(firing["labels"]["alertname"], "NodeDark");
        assert_eq!(firing["labels"]["node"], "mesh-3", "its own label counts");
        assert_eq!(firing["labels"]["cluster"], "prod");
        assert!(
            firing["generatorURL"]
                .as_str()
                .unwrap()
                .contains("/api/v1/incidents/")
        );
        let ended = manager().alert(&news(samples::resolved()), &samples::links(), now);
        assert_eq!(ended["endsAt"], "2026-01-01T00:00:00Z");
    }

    #[test]
    fn one_member_that_took_it_is_enough_and_hope_counts_more_than_a_refusal() {
        let took = || Attempt::Delivered {
            answer: "200".to_owned(),
        };
        let later = || Attempt::Later {
            reason: "down".to_owned(),
            after: None,
        };
        let refused = || Attempt::Refused {
            reason: "400".to_owned(),
        };
        let Attempt::Delivered { answer } = sum_up(vec![later(), took()]) else {
            panic!("one took it")
        };
        assert_eq!(answer, "1 of 2 members took it; the others: down");
        assert!(matches!(
            sum_up(vec![refused(), later()]),
            Attempt::Later { .. }
        ));
        assert!(matches!(
            sum_up(vec![refused(), refused()]),
            Attempt::Refused { .. }
        ));
    }
}
