//! Who is told, each in a language of their own: Alertmanager's webhook JSON signed as Standard Webhooks has it,
//! Alertmanager's API, Slack's incoming webhooks, and templates.
//!
//! A [`Message`] says what happened; it is stored as it is and put into the receiver's words when it is sent, so a
//! mended template mends what waits. `client` makes one request and says what its end means; when to try again is
//! [`crate::outbox`]'s business.

mod alertmanager;
mod client;
mod links;
mod message;
mod payload;
mod samples;
mod signature;
mod slack;
mod template;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header::CONTENT_TYPE};
use jiff::Timestamp;
use meshprobe_daemon::config::Spanned;
use url::Url;

pub use client::{Attempt, ReceiverError};
pub use links::Links;
pub use message::{Digest, Labels, Message, News, Test, alert_name, labels, notification_id};
pub use signature::{HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, Signer};
pub use template::{Template, TemplateError};

use self::{
    alertmanager::Alertmanager,
    client::{Client, Request, secret_header},
    slack::Slack,
};
use crate::config::{ReceiverConfig, ReceiverKind, Secret, TemplateConfig, TemplateMethod};

/// Texts of an alert that may change while it fires.
pub(crate) type Annotations = BTreeMap<&'static str, String>;

/// One configured receiver with its client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Receiver {
    name: Arc<str>,
    kind: Kind,
    client: Client,
    links: Links,
}

#[derive(Clone, Debug)]
enum Kind {
    Webhook { url: Url, signer: Signer },
    Alertmanager(Alertmanager),
    Slack { url: Url, slack: Slack },
    Template(Arc<Templated>),
}

#[derive(Debug)]
struct Templated {
    url: Url,
    method: Method,
    headers: HeaderMap,
    template: Template,
}

impl Receiver {
    /// Reads the receiver's files and prepares its client; no connection is made.
    pub fn new(config: &ReceiverConfig, links: &Links) -> Result<Self, ReceiverError> {
        let kind = match config.kind() {
            None => return Err(ReceiverError::Incomplete("of which kind it is is not said")),
            Some(ReceiverKind::Webhook(hook)) => {
                let secrets = hook
                    .secret_files
                    .iter()
                    .map(|path| Secret::read(path))
                    .collect::<Result<Vec<_>, _>>()?;
                Kind::Webhook {
                    url: address(hook.url.as_ref(), hook.url_file.as_ref())?,
                    signer: Signer::new(&secrets),
                }
            }
            Some(ReceiverKind::Alertmanager(manager)) => {
                Kind::Alertmanager(Alertmanager::new(manager))
            }
            Some(ReceiverKind::Slack(slack)) => Kind::Slack {
                url: address(slack.url.as_ref(), slack.url_file.as_ref())?,
                slack: Slack::new(slack),
            },
            Some(ReceiverKind::Template(template)) => {
                Kind::Template(Arc::new(Templated::new(template)?))
            }
        };
        Ok(Self {
            name: config.name.value.as_str().into(),
            kind,
            client: Client::new(config)?,
            links: links.clone(),
        })
    }

    /// Its configured name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How often it wants to hear again what fires; `None`: never.
    pub fn resend(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Alertmanager(manager) => Some(manager.resend()),
            Kind::Webhook { .. } | Kind::Slack { .. } | Kind::Template(_) => None,
        }
    }

    /// Tells a message once. `now` is the time that is signed.
    pub async fn attempt(&self, id: &str, message: &Message, now: Timestamp) -> Attempt {
        let Self {
            name,
            kind,
            client,
            links,
        } = self;
        let mut request = match kind {
            Kind::Alertmanager(manager) => {
                return manager.tell(client, message, links, now).await;
            }
            Kind::Webhook { url, signer } => {
                let body = payload::render(message, name, links);
                let mut request = post_json(url, body);
                let seconds = u64::try_from(now.as_second()).unwrap_or(0);
                request
                    .headers
                    .insert(HEADER_TIMESTAMP, HeaderValue::from(seconds));
                if let Some(signature) = signer.sign(id, seconds, &request.body)
                    && let Ok(signature) = HeaderValue::from_str(&signature)
                {
                    request.headers.insert(HEADER_SIGNATURE, signature);
                }
                request
            }
            Kind::Slack { url, slack } => {
                post_json(url, slack.render(message, links).to_string().into_bytes())
            }
            Kind::Template(templated) => match templated.request(message, id, name, links) {
                Ok(request) => request,
                // Not the receiver's fault, but as hopeless until somebody mends the template.
                Err(error) => {
                    return Attempt::Refused {
                        reason: error.to_string(),
                    };
                }
            },
        };
        if let Ok(id) = HeaderValue::from_str(id) {
            request.headers.insert(HEADER_ID, id);
        }
        client.send(request, now).await
    }

    /// Says again what fires, and what ended lately, to a receiver that forgets. `current` is read at the last moment.
    pub async fn refresh(&self, current: impl FnOnce() -> Vec<News>, now: Timestamp) -> Attempt {
        match &self.kind {
            Kind::Alertmanager(manager) => {
                manager
                    .refresh(&self.client, current, &self.links, now)
                    .await
            }
            Kind::Webhook { .. } | Kind::Slack { .. } | Kind::Template(_) => Attempt::Delivered {
                answer: "it remembers by itself".to_owned(),
            },
        }
    }
}

impl Templated {
    fn new(config: &TemplateConfig) -> Result<Self, ReceiverError> {
        let mut headers = HeaderMap::new();
        let bad = |name: &str| ReceiverError::BadHeader {
            name: name.to_owned(),
        };
        let named = |name: &str| HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad(name));
        let content_type =
            HeaderValue::from_str(&config.content_type.value).map_err(|_| bad("content-type"))?;
        headers.insert(CONTENT_TYPE, content_type);
        for (name, value) in &config.headers {
            let value = HeaderValue::from_str(&value.value).map_err(|_| bad(name))?;
            headers.insert(named(name)?, value);
        }
        for (name, path) in &config.header_files {
            let text = Secret::read_text(path)?;
            headers.insert(named(name)?, secret_header(&text, path)?);
        }
        Ok(Self {
            url: address(config.url.as_ref(), config.url_file.as_ref())?,
            method: match config.method {
                TemplateMethod::Post => Method::POST,
                TemplateMethod::Put => Method::PUT,
                TemplateMethod::Patch => Method::PATCH,
            },
            headers,
            template: Template::check(config)?,
        })
    }

    fn request(
        &self,
        message: &Message,
        id: &str,
        receiver: &str,
        links: &Links,
    ) -> Result<Request, TemplateError> {
        let body = self.template.render(message, id, receiver, links)?;
        Ok(Request {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            body: body.into_bytes(),
        })
    }
}

fn post_json(url: &Url, body: Vec<u8>) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Request {
        method: Method::POST,
        url: url.clone(),
        headers,
        body,
    }
}

fn address(url: Option<&Spanned<Url>>, file: Option<&PathBuf>) -> Result<Url, ReceiverError> {
    match (url, file) {
        (Some(url), None) => Ok(url.value.clone()),
        (None, Some(path)) => {
            let text = Secret::read_text(path)?;
            text.parse()
                .map_err(|_| ReceiverError::Address { path: path.clone() })
        }
        _ => Err(ReceiverError::Incomplete("its address is missing")),
    }
}

/// The annotations of an alert.
pub(crate) fn annotations(message: &Message, links: &Links) -> Annotations {
    let mut annotations = Annotations::from([("summary", message.summary())]);
    if let Some(incident) = message.incident() {
        let runbook = links.runbook(incident.pattern);
        if !runbook.is_empty() {
            annotations.insert("runbook_url", runbook);
        }
    }
    let evidence = message.evidence();
    if !evidence.is_empty() {
        annotations.insert("description", evidence.join("\n"));
    }
    annotations
}
