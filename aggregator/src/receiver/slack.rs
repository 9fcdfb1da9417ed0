//! The body for an incoming webhook of Slack, which Mattermost takes as well.
//!
//! The text is what a phone shows; the attachment has the colour, the facts and the links. `&`, `<` and `>` are escaped:
//! they are Slack's markup.

use serde_json::{Value, json};

use super::{Links, Message};
use crate::{
    config::{SlackConfig, SlackLayout},
    incident::Severity,
};

/// Slack cuts texts of blocks at 3000 characters and refuses longer ones.
const MAX_TEXT: usize = 2_900;
const MAX_FIELD: usize = 300;
/// What is written above of a bare line; the rest is a click away.
const MAX_HEADLINE: usize = 500;

/// Where and how.
#[derive(Clone, Debug)]
pub(super) struct Slack {
    channel: Option<String>,
    username: Option<String>,
    layout: SlackLayout,
}

impl Slack {
    pub(super) fn new(config: &SlackConfig) -> Self {
        let SlackConfig {
            url: _,
            url_file: _,
            channel,
            username,
            layout,
        } = config.clone();
        Self {
            channel,
            username,
            layout,
        }
    }

    pub(super) fn render(&self, message: &Message, links: &Links) -> Value {
        let headline = format!(
            "{} *{}*",
            icon(message),
            escaped(&message.title(), MAX_HEADLINE)
        );
        let mut attachment = match self.layout {
            SlackLayout::Attachment => attachment(message, links),
            SlackLayout::Blocks => json!({"blocks": blocks(message, links)}),
        };
        attachment["color"] = color(message).into();
        attachment["fallback"] = format!("{}: {}", message.title(), message.summary()).into();
        let mut body = json!({"text": headline, "attachments": [attachment]});
        if let Some(channel) = &self.channel {
            body["channel"] = channel.as_str().into();
        }
        if let Some(username) = &self.username {
            body["username"] = username.as_str().into();
        }
        body
    }
}

fn attachment(message: &Message, links: &Links) -> Value {
    let mut attachment = json!({
        "text": escaped(&text(message), MAX_TEXT),
        "fields": facts(message)
            .into_iter()
            .map(|(title, value)| json!({"title": title, "value": escaped(&value, MAX_FIELD), "short": true}))
            .collect::<Vec<_>>(),
        "footer": "meshprobe",
        "mrkdwn_in": ["text"],
    });
    if let Some((name, link)) = first_link(message, links) {
        attachment["title"] = name.into();
        attachment["title_link"] = link.into();
    }
    if let Some(incident) = message.incident() {
        attachment["ts"] = incident.updated_at.as_second().into();
    }
    attachment
}

fn blocks(message: &Message, links: &Links) -> Vec<Value> {
    let markdown = |text: String| json!({"type": "mrkdwn", "text": text});
    let mut blocks =
        vec![json!({"type": "section", "text": markdown(escaped(&text(message), MAX_TEXT))})];
    let facts: Vec<Value> = facts(message)
        .into_iter()
        .map(|(title, value)| markdown(format!("*{title}*\n{}", escaped(&value, MAX_FIELD))))
        .collect();
    if !facts.is_empty() {
        blocks.push(json!({"type": "section", "fields": facts}));
    }
    if let Some((name, link)) = first_link(message, links) {
        blocks.push(json!({"type": "context", "elements": [markdown(format!("<{link}|{name}>"))]}));
    }
    blocks
}

fn text(message: &Message) -> String {
    let mut lines = vec![message.summary()];
    lines.extend(message.evidence().iter().map(|line| format!("• {line}")));
    lines.join("\n")
}

/// Short facts beside the sentence.
fn facts(message: &Message) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("Status", message.status().to_owned()),
        ("Severity", message.severity().to_string()),
    ];
    if let Some(incident) = message.incident() {
        facts.push((
            "Since",
            incident.started_at.strftime("%F %T UTC").to_string(),
        ));
        if let Some(at) = incident.resolved_at {
            facts.push(("Resolved", at.strftime("%F %T UTC").to_string()));
        }
        if !incident.zones.is_empty() {
            facts.push(("Zone", incident.zones.join(", ")));
        }
    }
    facts
}

fn first_link(message: &Message, links: &Links) -> Option<(&'static str, String)> {
    let found = match message.incident() {
        Some(incident) => [
            ("What to do", links.runbook(incident.pattern)),
            ("Incident", links.incident(incident)),
        ],
        None => [("meshprobe", links.external()), ("", String::new())],
    };
    found.into_iter().find(|(_, link)| !link.is_empty())
}

fn icon(message: &Message) -> &'static str {
    match (message, message.status()) {
        (Message::Test(_), _) => ":test_tube: TEST",
        (_, "resolved") => ":white_check_mark: RESOLVED",
        _ if message.severity() == Severity::Critical => ":rotating_light: FIRING",
        _ => ":warning: FIRING",
    }
}

fn color(message: &Message) -> &'static str {
    match (message, message.status()) {
        (Message::Test(_), _) => "#5b7fa6",
        (_, "resolved") => "#2eb886",
        _ if message.severity() == Severity::Critical => "#d00000",
        _ => "#e8a33d",
    }
}

/// Slack's three special characters escaped, and no more than `most` characters of the result.
fn escaped(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for letter in text.chars() {
        let mut own = [0; 4];
        let piece = match letter {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            other => other.encode_utf8(&mut own),
        };
        length += piece.chars().count();
        if length > most {
            out.push('…');
            break;
        }
        out.push_str(piece);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::samples;

    fn slack(layout: SlackLayout) -> Slack {
        Slack {
            channel: None,
            username: Some("mesh".to_owned()),
            layout,
        }
    }

    #[test]
    fn an_attachment_has_text_fields_colour_and_link_and_no_markup_of_others() {
        let message = samples::opened();
        let body = slack(SlackLayout::Attachment).render(&message, &samples::links());
        assert_eq!(body["text"], ":rotating_light: FIRING *node-dark mesh-3*");
        assert_eq!(body["username"], "mesh");
        assert_eq!(body.get("channel"), None);
        let attachment = &body["attachments"][0];
        assert_eq!(attachment["color"], "#d00000");
        let text = attachment["text"].as_str().unwrap();
        assert!(
            text.contains("&lt;9 of 9&gt;") && text.contains("R&amp;D"),
            "{text}"
        );
        assert!(!text.contains('<'), "{text}");
        assert_eq!(
            attachment["title_link"],
            "https://ui.example/mesh/runbook/node-dark"
        );
        assert_eq!(attachment["fields"][0]["value"], "firing");
        assert!(attachment["ts"].is_i64());
    }

    #[test]
    fn the_end_is_green_and_a_test_says_that_it_is_one() {
        let body = slack(SlackLayout::Attachment).render(&samples::resolved(), &samples::links());
        assert_eq!(body["attachments"][0]["color"], "#2eb886");
        let body = slack(SlackLayout::Attachment).render(&samples::test(), &Links::default());
        assert!(body["text"].as_str().unwrap().contains("TEST"));
        assert!(
            body["attachments"][0]["text"]
                .as_str()
                .unwrap()
                .starts_with("TEST")
        );
        assert_eq!(body["attachments"][0].get("title_link"), None);
    }

    #[test]
    fn blocks_stay_below_the_limits_that_slack_refuses_at() {
        let mut message = samples::opened();
        if let Message::Change(news) = &mut message {
            news.change.incident.evidence = vec!["&".repeat(500); 100];
        }
        let body = slack(SlackLayout::Blocks).render(&message, &samples::links());
        let blocks = body["attachments"][0]["blocks"].as_array().unwrap();
        assert_eq!(blocks[0]["type"], "section");
        let text = blocks[0]["text"]["text"].as_str().unwrap();
        assert!(text.ends_with("&amp;…"), "an escape is never cut");
        assert!(text.chars().count() <= MAX_TEXT + 1);
        assert!(blocks[1]["fields"].as_array().unwrap().len() <= 10);
    }
}
