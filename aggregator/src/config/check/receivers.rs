//! Receivers and the routes to them.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use http::{HeaderName, HeaderValue};
use meshprobe_core::finding::Pattern;
use meshprobe_daemon::config::{ConfigProblems, HumanDuration, Spanned};
use url::Url;

use super::{at_most, secrets, unique, with_source};
use crate::{
    config::{
        AlertmanagerConfig, Config, Notifications, ReceiverConfig, ReceiverKind, Secret,
        TemplateConfig, read_bundle,
    },
    receiver::Template,
};

/// Longer, and the next attempt should have been made already.
const MAX_TIMEOUT: HumanDuration = HumanDuration::from_secs(60);
/// Members of an Alertmanager cluster.
const MAX_MEMBERS: usize = 16;
const MAX_ROUTES: usize = 256;
/// Longer, and an end is of no use any more.
const MAX_RESOLVE_HOLD: HumanDuration = HumanDuration::from_secs(3600);

pub(super) fn check(config: &Config, problems: &mut ConfigProblems) {
    unique(
        problems,
        "receivers",
        "receiver",
        config.receivers.iter().map(|receiver| &receiver.name),
    );
    for (index, receiver) in config.receivers.iter().enumerate() {
        check_receiver(receiver, &format!("receivers[{index}]"), problems);
    }
    check_routes(&config.notifications, &config.receivers, problems);
}

fn check_receiver(receiver: &ReceiverConfig, place: &str, problems: &mut ConfigProblems) {
    let field = |name: &str| format!("{place}.{name}");
    let name = &receiver.name.value;
    if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
        problems.add_at(
            &receiver.name,
            field("name"),
            "write a name of 1 to 100 printable characters",
        );
    }
    problems.require(
        !receiver.timeout.duration().is_zero(),
        &field("timeout"),
        || "must not be 0".into(),
    );
    at_most(problems, &field("timeout"), receiver.timeout, MAX_TIMEOUT);
    if let Some(proxy) = &receiver.proxy {
        problems.require(is_http(proxy), &field("proxy"), || {
            format!("{proxy} is no http or https address")
        });
    }
    if let Some(path) = &receiver.ca_file
        && let Err(error) = read_bundle(path)
    {
        problems.add(field("ca_file"), format!("{}: {error}", path.display()));
    }
    if let Some(path) = &receiver.bearer_token_file {
        header_file(problems, &field("bearer_token_file"), path);
    }
    if let Some(limit) = &receiver.rate_limit {
        problems.require(
            (1..=6_000).contains(&limit.per_minute),
            &field("rate_limit.per_minute"),
            || format!("must be 1 to 6000, is {}", limit.per_minute),
        );
        problems.require(
            (1..=1_000).contains(&limit.burst),
            &field("rate_limit.burst"),
            || format!("must be 1 to 1000, is {}", limit.burst),
        );
    }
    match receiver.kind() {
        None => problems.add_at(
            &receiver.name,
            place,
            "write exactly one of webhook, alertmanager, slack and template",
        ),
        Some(ReceiverKind::Webhook(hook)) => {
            let place = field("webhook");
            address(
                problems,
                &receiver.name,
                &place,
                hook.url.as_ref(),
                hook.url_file.as_ref(),
            );
            secrets(
                problems,
                &format!("{place}.secret_files"),
                &hook.secret_files,
            );
        }
        Some(ReceiverKind::Slack(slack)) => {
            let place = field("slack");
            address(
                problems,
                &receiver.name,
                &place,
                slack.url.as_ref(),
                slack.url_file.as_ref(),
            );
        }
        Some(ReceiverKind::Alertmanager(manager)) => {
            problems.require(receiver.rate_limit.is_none(), &field("rate_limit"), || {
                "Alertmanager groups by itself and needs every alert; take the limit out".into()
            });
            check_alertmanager(manager, &receiver.name, &field("alertmanager"), problems);
        }
        Some(ReceiverKind::Template(template)) => {
            let place = field("template");
            address(
                problems,
                &receiver.name,
                &place,
                template.url.as_ref(),
                template.url_file.as_ref(),
            );
            check_template(template, &place, problems);
        }
    }
}

fn check_alertmanager(
    manager: &AlertmanagerConfig,
    name: &Spanned<String>,
    place: &str,
    problems: &mut ConfigProblems,
) {
    let list = format!("{place}.urls");
    if manager.urls.is_empty() || manager.urls.len() > MAX_MEMBERS {
        problems.add_at(
            name,
            &list,
            format!(
                "write the addresses of 1 to {MAX_MEMBERS} members, for example http://alertmanager:9093"
            ),
        );
    }
    unique(problems, &list, "address", manager.urls.iter());
    for (index, url) in manager.urls.iter().enumerate() {
        if !is_http(&url.value) {
            problems.add_at(
                url,
                format!("{list}[{index}]"),
                format!("{} is no http or https address", url.value),
            );
        } else if url.value.path().contains("/api/") {
            problems.add_at(
                url,
                format!("{list}[{index}]"),
                "write the base address; /api/v2/alerts is added to it",
            );
        }
    }
    problems.require(
        (1..=3_600).contains(&manager.resend.duration().as_secs()),
        &format!("{place}.resend"),
        || format!("must be 1s to 1h, is {}", manager.resend),
    );
    for label in manager.labels.keys() {
        let mut letters = label.bytes();
        let good = letters
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_');
        problems.require(good, &format!("{place}.labels"), || {
            format!("{label:?} is no label: letters, digits and _, no digit first")
        });
    }
}

fn check_template(template: &TemplateConfig, place: &str, problems: &mut ConfigProblems) {
    let content_type = &template.content_type;
    if HeaderValue::from_str(&content_type.value).is_err() {
        problems.add_at(
            content_type,
            format!("{place}.content_type"),
            "is no header value",
        );
    }
    for (name, value) in &template.headers {
        header_name(problems, &format!("{place}.headers"), name);
        if HeaderValue::from_str(&value.value).is_err() {
            problems.add_at(
                value,
                format!("{place}.headers.{name}"),
                "is no header value",
            );
        }
    }
    for (name, path) in &template.header_files {
        header_name(problems, &format!("{place}.header_files"), name);
        header_file(problems, &format!("{place}.header_files.{name}"), path);
    }
    if let Err(error) = Template::check(template) {
        problems.add_at(&template.body, format!("{place}.body"), error.to_string());
    }
}

fn header_name(problems: &mut ConfigProblems, field: &str, name: &str) {
    problems.require(
        HeaderName::from_bytes(name.as_bytes()).is_ok(),
        field,
        || format!("{name:?} is no name of a header"),
    );
}

fn header_file(problems: &mut ConfigProblems, field: &str, path: &Path) {
    match Secret::read_text(path) {
        Err(error) => problems.add(field, with_source(&error)),
        Ok(text) if text.is_empty() || HeaderValue::from_str(&text).is_err() => {
            problems.add(
                field,
                format!("{}: its content is no header value", path.display()),
            );
        }
        Ok(_) => {}
    }
}

/// Exactly one of an address and a file with it.
fn address(
    problems: &mut ConfigProblems,
    receiver: &Spanned<String>,
    place: &str,
    url: Option<&Spanned<Url>>,
    file: Option<&PathBuf>,
) {
    match (url, file) {
        (Some(url), None) if is_http(&url.value) => {}
        (Some(url), None) => problems.add_at(
            url,
            format!("{place}.url"),
            format!("{} is no http or https address", url.value),
        ),
        (None, Some(path)) => match Secret::read_text(path) {
            Err(error) => problems.add(format!("{place}.url_file"), with_source(&error)),
            Ok(text) => problems.require(
                text.parse().is_ok_and(|url| is_http(&url)),
                &format!("{place}.url_file"),
                // Without the content: it is a secret.
                || {
                    format!(
                        "{}: its content is no http or https address",
                        path.display()
                    )
                },
            ),
        },
        _ => problems.add_at(receiver, place, "write exactly one of url and url_file"),
    }
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.host().is_some()
}

fn check_routes(
    notifications: &Notifications,
    receivers: &[ReceiverConfig],
    problems: &mut ConfigProblems,
) {
    let names: HashSet<&str> = receivers
        .iter()
        .map(|one| one.name.value.as_str())
        .collect();
    let mut known: Vec<&str> = names.iter().copied().collect();
    known.sort_unstable();
    let known = if known.is_empty() {
        "nobody".to_owned()
    } else {
        known.join(", ")
    };
    let check = |problems: &mut ConfigProblems, list: &[Spanned<String>], field: &str| {
        for (index, name) in list.iter().enumerate() {
            if !names.contains(name.value.as_str()) {
                problems.add_at(
                    name,
                    format!("{field}[{index}]"),
                    format!("unknown receiver {:?}; `receivers` has {known}", name.value),
                );
            }
        }
    };
    let list = "notifications.routes";
    problems.require(notifications.routes.len() <= MAX_ROUTES, list, || {
        format!(
            "at most {MAX_ROUTES}; there are {}",
            notifications.routes.len()
        )
    });
    for (index, route) in notifications.routes.iter().enumerate() {
        check(
            problems,
            &route.receivers,
            &format!("{list}[{index}].receivers"),
        );
        for (position, glob) in route.r#match.pattern.iter().enumerate() {
            if !Pattern::ALL
                .iter()
                .any(|pattern| glob.value.fits(pattern.as_str()))
            {
                problems.add_at(
                    glob,
                    format!("{list}[{index}].match.pattern[{position}]"),
                    format!(
                        "no pattern is called {:?}; docs/runbook has a page for each",
                        glob.value.0
                    ),
                );
            }
        }
        for label in route.r#match.label.keys() {
            problems.require(
                !label.is_empty(),
                &format!("{list}[{index}].match.label"),
                || "write the name of a label".into(),
            );
        }
    }
    if let Some(list) = &notifications.default_receivers {
        check(problems, list, "notifications.default_receivers");
    }
    at_most(
        problems,
        "notifications.resolve_hold",
        notifications.resolve_hold,
        MAX_RESOLVE_HOLD,
    );
}
