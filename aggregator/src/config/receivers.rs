//! Who is told, and how each of them wants to hear it.

use std::{collections::BTreeMap, path::PathBuf};

use meshprobe_daemon::config::{HumanDuration, Spanned};
use serde::{Deserialize, Serialize};
use url::Url;

/// One receiver of notifications: exactly one of `webhook`, `alertmanager`, `slack` and `template` says of which kind.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverConfig {
    /// Its name: what routes say, Alertmanager's `receiver`, the label of metrics, the owner of undelivered notifications.
    pub name: Spanned<String>,
    /// Alertmanager's webhook JSON, signed as Standard Webhooks has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookConfig>,
    /// An Alertmanager, or the members of a cluster of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<AlertmanagerConfig>,
    /// An incoming webhook as Slack and Mattermost have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<SlackConfig>,
    /// A body that is written here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateConfig>,
    /// A file with a token that is sent as `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<PathBuf>,
    /// Certificate authorities to trust beside the public ones, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The HTTP proxy to go through. Variables such as `HTTPS_PROXY` are not looked at: what one receiver needs may be
    /// wrong for another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Url>,
    /// How long one attempt may take, connecting included.
    #[serde(default = "default_timeout")]
    pub timeout: HumanDuration,
    /// Whether the end of an incident is told as well; a route can say otherwise.
    #[serde(default = "default_true")]
    pub send_resolved: bool,
    /// Give a notification up after this time without success.
    #[serde(default = "default_give_up_after")]
    pub give_up_after: HumanDuration,
    /// Most notifications that it gets; what is beyond arrives as one that sums up. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Notifications a minute, 1 to 6000.
    pub per_minute: u32,
    /// Notifications that may come at once after a quiet time.
    #[serde(default = "default_burst")]
    pub burst: u32,
}

/// A receiver that takes Alertmanager's webhook JSON, version 4.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where to POST; or `url_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Spanned<Url>>,
    /// A file with the address: there it is a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// Files with the secrets that sign each request (Standard Webhooks); at most two, the newer one first. Empty:
    /// unsigned.
    #[serde(default)]
    pub secret_files: Vec<PathBuf>,
}

/// Where alerts are pushed to.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerConfig {
    /// The members of one cluster, each by its base address; every alert goes to all of them.
    pub urls: Vec<Spanned<Url>>,
    /// How often alerts are sent again while they fire, 1 s to 1 h. Each time their end is set four times as far ahead, so
    /// that they end by themselves when the aggregator is gone.
    #[serde(default = "default_resend")]
    pub resend: HumanDuration,
    /// Labels that every alert gets beside its own, for example the cluster's name.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// An incoming webhook of Slack, Mattermost or whoever speaks their language.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SlackConfig {
    /// Where to POST; or `url_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Spanned<Url>>,
    /// A file with the address: whoever knows it can write into the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// Another channel than the webhook's own, where the server allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Another name than the webhook's own, where the server allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// How a message is laid out.
    #[serde(default)]
    pub layout: SlackLayout,
}

/// How a message is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlackLayout {
    /// One attachment with fields: Slack and Mattermost show it.
    #[default]
    Attachment,
    /// Blocks inside of the attachment: Slack alone.
    Blocks,
}

/// A request that is written in the configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateConfig {
    /// Where to send it; or `url_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Spanned<Url>>,
    /// A file with the address: there it is a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// POST, PUT or PATCH.
    #[serde(default)]
    pub method: TemplateMethod,
    /// The `content-type` of the body. A body that is to be JSON is checked to be it.
    #[serde(default = "default_content_type")]
    pub content_type: Spanned<String>,
    /// Headers that every request has.
    #[serde(default)]
    pub headers: BTreeMap<String, Spanned<String>>,
    /// Headers whose values are in files.
    #[serde(default)]
    pub header_files: BTreeMap<String, PathBuf>,
    /// The body, in the language of Jinja.
    pub body: Spanned<String>,
}

/// How a template's request is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TemplateMethod {
    /// `POST`
    #[default]
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
}

/// Of which kind a receiver is.
#[derive(Clone, Copy, Debug)]
pub enum ReceiverKind<'a> {
    /// Alertmanager's webhook JSON.
    Webhook(&'a WebhookConfig),
    /// Alertmanager itself.
    Alertmanager(&'a AlertmanagerConfig),
    /// Slack, Mattermost.
    Slack(&'a SlackConfig),
    /// A body of one's own.
    Template(&'a TemplateConfig),
}

impl ReceiverConfig {
    /// The kind that is given; `None`: none is, or more than one.
    pub fn kind(&self) -> Option<ReceiverKind<'_>> {
        match (
            &self.webhook,
            &self.alertmanager,
            &self.slack,
            &self.template,
        ) {
            (Some(webhook), None, None, None) => Some(ReceiverKind::Webhook(webhook)),
            (None, Some(manager), None, None) => Some(ReceiverKind::Alertmanager(manager)),
            (None, None, Some(slack), None) => Some(ReceiverKind::Slack(slack)),
            (None, None, None, Some(template)) => Some(ReceiverKind::Template(template)),
            _ => None,
        }
    }
}

fn default_timeout() -> HumanDuration {
    HumanDuration::from_secs(10)
}

fn default_give_up_after() -> HumanDuration {
    HumanDuration::from_secs(3 * 86_400)
}

fn default_true() -> bool {
    true
}

fn default_burst() -> u32 {
    10
}

fn default_resend() -> HumanDuration {
    HumanDuration::from_secs(60)
}

fn default_content_type() -> Spanned<String> {
    use meshprobe_daemon::config::Location;
    Spanned::new(
        "application/json".to_owned(),
        Location::UNKNOWN,
        Location::UNKNOWN,
    )
}
