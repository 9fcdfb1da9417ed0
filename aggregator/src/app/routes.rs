//! The configured receivers, as the notifier and the outbox want them.

use anyhow::Context as _;

use crate::{
    config::Config,
    notify::{Audience, Routing},
    outbox::Route,
    receiver::{Links, Receiver},
};

/// Reads the receivers' files and prepares their clients.
pub(super) fn routes(config: &Config) -> anyhow::Result<Vec<Route>> {
    let links = links(config);
    config
        .receivers
        .iter()
        .map(|receiver| {
            let made = Receiver::new(receiver, &links)
                .with_context(|| format!("receiver {}", receiver.name.value))?;
            Ok(Route {
                receiver: made,
                give_up_after: receiver.give_up_after.duration(),
                rate_limit: receiver.rate_limit,
            })
        })
        .collect()
}

/// Who is told.
pub(super) fn audience(config: &Config) -> Audience {
    let names = config.receivers.iter();
    Audience {
        receivers: names.map(|one| one.name.value.clone()).collect(),
        routing: Routing::of(config),
        resolve_hold: config.notifications.resolve_hold.duration(),
        links: links(config),
    }
}

fn links(config: &Config) -> Links {
    Links {
        external_url: config.external_url.clone(),
        runbook_url: config.runbook_url.clone(),
    }
}
