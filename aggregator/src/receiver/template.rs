//! A body that is written in the configuration, in the language of Jinja.
//!
//! Every kind of message is rendered once when the configuration is read, with quotes, line feeds and markup in its
//! texts: a name that does not exist, or a value that breaks the JSON around it, is found there and not at night. A
//! template that runs for ever is stopped by its fuel.

use std::sync::Arc;

use minijinja::{Environment, UndefinedBehavior, Value, value::Serde};
use serde_json::json;

use super::{Links, Message, samples};
use crate::config::TemplateConfig;

/// Steps that a template may take: thousands of lines, and no endless loop.
const FUEL: u64 = 200_000;
/// A larger body is no notification.
const MAX_BODY: usize = 256 << 10;
const NAME: &str = "body";

/// A checked template.
#[derive(Clone, Debug)]
pub struct Template {
    environment: Arc<Environment<'static>>,
    wants_json: bool,
}

/// Why a template is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It is no template.
    #[error("{}{}", line(.0), .0)]
    Syntax(minijinja::Error),
    /// It cannot be rendered.
    #[error("{}rendering {sample}: {source}", line(.source))]
    Render {
        /// The kind of message.
        sample: &'static str,
        /// What is wrong.
        source: minijinja::Error,
    },
    /// What comes out is not what the content type says.
    #[error(
        "rendering {sample} gives no JSON ({source}): put values through the filter json, for example {{{{ summary | json }}}}"
    )]
    NoJson {
        /// The kind of message.
        sample: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It has no end.
    #[error("rendering {sample} gives {bytes} bytes; at most {MAX_BODY} are sent")]
    TooLarge {
        /// The kind of message.
        sample: &'static str,
        /// How many there are.
        bytes: usize,
    },
}

fn line(error: &minijinja::Error) -> String {
    error
        .line()
        .map_or_else(String::new, |line| format!("line {line} of the template: "))
}

impl Template {
    /// Reads the template and tries it with every kind of message.
    pub fn check(config: &TemplateConfig) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("json", json_text);
        environment
            .add_template_owned(NAME, config.body.value.clone())
            .map_err(TemplateError::Syntax)?;
        let content_type = config.content_type.value.to_ascii_lowercase();
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let template = Self {
            environment: Arc::new(environment),
            wants_json: kind == "application/json" || kind.ends_with("+json"),
        };
        let links = samples::links();
        for (sample, message) in samples::all() {
            template.render_as(sample, &message, "sample", "sample", &links)?;
        }
        // Without links they are empty, which must not break anything either.
        template.render_as(
            "a message without links",
            &samples::opened(),
            "sample",
            "sample",
            &Links::default(),
        )?;
        Ok(template)
    }

    /// The body for a message.
    pub fn render(
        &self,
        message: &Message,
        id: &str,
        receiver: &str,
        links: &Links,
    ) -> Result<String, TemplateError> {
        self.render_as("this message", message, id, receiver, links)
    }

    fn render_as(
        &self,
        sample: &'static str,
        message: &Message,
        id: &str,
        receiver: &str,
        links: &Links,
    ) -> Result<String, TemplateError> {
        let render = |source| TemplateError::Render { sample, source };
        let template = self.environment.get_template(NAME).map_err(render)?;
        let body = template
            .render(words(message, id, receiver, links))
            .map_err(render)?;
        if body.len() > MAX_BODY {
            return Err(TemplateError::TooLarge {
                sample,
                bytes: body.len(),
            });
        }
        if self.wants_json {
            serde_json::from_str::<serde::de::IgnoredAny>(&body)
                .map_err(|source| TemplateError::NoJson { sample, source })?;
        }
        Ok(body)
    }
}

/// Every name that a template can use; all of them are there for every message.
fn words(message: &Message, id: &str, receiver: &str, links: &Links) -> Value {
    let incident = message.incident();
    let flapping = match message {
        Message::Change(news) => news.flapping,
        Message::Digest(_) | Message::Test(_) => None,
    };
    let digest = match message {
        Message::Digest(digest) => Some(json!({
            "messages": digest.messages,
            "opened": digest.opened,
            "updated": digest.updated,
            "resolved": digest.resolved,
            "incidents": digest.news.iter().map(|news| &news.change.incident).collect::<Vec<_>>(),
        })),
        Message::Change(_) | Message::Test(_) => None,
    };
    Value::from(Serde(json!({
        "id": id,
        "receiver": receiver,
        "status": message.status(),
        "transition": message.kind(),
        "title": message.title(),
        "summary": message.summary(),
        "evidence": message.evidence(),
        "severity": message.severity(),
        "labels": message.labels(),
        "is_test": matches!(message, Message::Test(_)),
        "flapping": flapping,
        "incident": incident,
        "digest": digest,
        "links": {
            "external": links.external(),
            "incident": incident.map_or_else(String::new, |incident| links.incident(incident)),
            "runbook": incident.map_or_else(String::new, |incident| links.runbook(incident.pattern)),
        },
    })))
}

/// A value as JSON, its quotes included.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the form of a filter's argument"
)]
fn json_text(value: Value) -> Result<String, minijinja::Error> {
    if value.is_undefined() {
        // A name that is misspelt must not pass for null.
        return Err(minijinja::Error::new(
            minijinja::ErrorKind::UndefinedError,
            "there is no such value; write (… if incident else none) for what not every message has",
        ));
    }
    serde_json::to_string(&value).map_err(|error| {
        minijinja::Error::new(minijinja::ErrorKind::BadSerialization, error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(body: &str, more: &str) -> Result<Template, TemplateError> {
        let text = format!("url: \"http://a/\"\n{more}body: {}\n", json!(body));
        Template::check(&meshprobe_daemon::config::parse(&text, Path::new("test")).unwrap())
    }

    fn refused(body: &str, more: &str) -> String {
        check(body, more).unwrap_err().to_string()
    }

    #[test]
    fn values_that_go_through_the_filter_stay_json_whatever_is_in_them() {
        let template = check(
            "{\"text\": {{ summary | json }}, \"nodes\": {{ (incident.nodes if incident else []) | json }}}",
            "",
        )
        .unwrap();
        let body = template
            .render(&samples::opened(), "id", "chat", &samples::links())
            .unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            body["text"],
            "mesh-3 is \"dark\": <9 of 9> peers\nof R&D cannot reach it"
        );
        assert_eq!(body["nodes"], json!(["mesh-3"]));
    }

    #[test]
    fn what_would_fail_at_night_is_refused_when_the_configuration_is_read() {
        for (body, words) in [
            ("{{ summry }}", ["line 1", "undefined"]),
            ("{{ summry | json }}", ["line 1", "undefined"]),
            ("{\"a\": {{ title | json }}\n{% if %}", ["line 2", "syntax"]),
            ("{\"text\": \"{{ summary }}\"}", ["no JSON", "| json"]),
            (
                "{{ incident.nodes | json }}",
                ["several messages", "undefined"],
            ),
            ("{{ summary | shout }}", ["shout", "line 1"]),
        ] {
            let error = refused(body, "");
            for word in words {
                assert!(error.contains(word), "{body}: {word:?} is missing: {error}");
            }
        }
    }

    #[test]
    fn a_template_without_an_end_runs_out_of_fuel_and_a_huge_one_is_refused() {
        let plain = "content_type: text/plain\n";
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert!(refused(endless, plain).contains("fuel"));
        let huge = format!("{{{{ '{}' * 3000 }}}}", "x".repeat(100));
        let error = refused(&huge, plain);
        assert!(error.contains("at most"), "{error}");
    }

    #[test]
    fn text_that_is_no_json_needs_no_filter() {
        let body = "{{ status | upper }} {{ title }}{% if flapping %} ({{ flapping }}x){% endif %}";
        let template = check(body, "content_type: text/plain; charset=utf-8\n").unwrap();
        let text = template
            .render(&samples::opened(), "id", "chat", &Links::default())
            .unwrap();
        assert_eq!(text, "FIRING node-dark mesh-3");
    }
}
