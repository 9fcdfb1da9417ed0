//! The configured receivers, as the notifier and the outbox want them.

use anyhow::Context as _;

use crate::{
    config::Config,
    notify::{Audience, Listener},
    outbox::Route,
    webhook::{Links, Receiver},
};

/// Reads the receivers' files and prepares their clients.
pub(super) fn routes(config: &Config) -> anyhow::Result<Vec<Route>> {
    config
        .webhooks
        .iter()
        .map(|hook| {
            let receiver =
                Receiver::new(hook).with_context(|| format!("webhook {}", hook.name.value))?;
            Ok(Route {
                receiver,
                give_up_after: hook.give_up_after.duration(),
            })
        })
        .collect()
}

/// Who is told.
pub(super) fn audience(config: &Config) -> Audience {
    let receivers = config
        .webhooks
        .iter()
        .map(|hook| Listener {
            name: hook.name.value.clone(),
            send_resolved: hook.send_resolved,
        })
        .collect();
    let links = Links {
        external_url: config.external_url.clone(),
        runbook_url: config.runbook_url.clone(),
    };
    Audience { receivers, links }
}
