//! `meshprobe notify`.

use anyhow::bail;
use meshprobe_proto::v1;

use crate::args::NotifyCommand;
use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;
use crate::render::notification;

pub(super) async fn run(
    client: &Client,
    command: NotifyCommand,
    console: &Console,
) -> anyhow::Result<Health> {
    match command {
        NotifyCommand::List { state, receiver } => {
            let states = state.iter().map(|state| state.wire().into()).collect();
            list(client, states, receiver.unwrap_or_default(), console).await
        }
        NotifyCommand::Test { receiver } => test(client, receiver, console).await,
        NotifyCommand::Retry { id, receiver } => {
            retry(client, &id, receiver.unwrap_or_default(), console).await
        }
    }
}

async fn list(
    client: &Client,
    states: Vec<i32>,
    receiver: String,
    console: &Console,
) -> anyhow::Result<Health> {
    let all = v1::ListNotificationsResponse {
        notifications: client.notifications(states, receiver).await?,
        next_page_token: String::new(),
    };
    console.answer(
        || notification::render(&all.notifications, console.fitting_width(), console.now()),
        &all,
    )?;
    let failed = |one: &v1::Notification| one.state() == v1::NotificationState::Dead;
    Ok(Health::unless(all.notifications.iter().any(failed)))
}

async fn test(client: &Client, receiver: String, console: &Console) -> anyhow::Result<Health> {
    let receiver = if receiver == "all" {
        String::new()
    } else {
        receiver
    };
    let answer = client.test_notification(receiver).await?;
    console.answer(|| notification::tests(&answer.tests), &answer)?;
    Ok(Health::unless(
        answer.tests.iter().any(|test| !test.delivered),
    ))
}

async fn retry(
    client: &Client,
    id: &str,
    receiver: String,
    console: &Console,
) -> anyhow::Result<Health> {
    let known = client.notifications(Vec::new(), receiver).await?;
    let found = find(&known, id)?;
    let request = v1::RetryNotificationRequest {
        receiver: found.receiver.clone(),
        id: found.id.clone(),
    };
    let answer = client.retry_notification(request).await?;
    console.answer(
        || format!("{} to {} is tried now.\n", found.title, found.receiver),
        &answer,
    )?;
    Ok(Health::Healthy)
}

/// The notification with this id, or the only one whose id begins so.
fn find<'a>(known: &'a [v1::Notification], id: &str) -> anyhow::Result<&'a v1::Notification> {
    let exact: Vec<_> = known.iter().filter(|one| one.id == id).collect();
    let candidates = if exact.is_empty() {
        known.iter().filter(|one| one.id.starts_with(id)).collect()
    } else {
        exact
    };
    match candidates.as_slice() {
        [only] => Ok(only),
        [] => bail!(
            "no notification has an id that begins with {id:?}. `meshprobe notify list` lists them"
        ),
        several => {
            let named: Vec<String> = several
                .iter()
                .map(|one| format!("{} to {}", one.id, one.receiver))
                .collect();
            bail!(
                "{id:?} fits several: {}. Say which by --receiver or more of the id",
                named.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(receiver: &str, id: &str) -> v1::Notification {
        v1::Notification {
            id: id.to_owned(),
            receiver: receiver.to_owned(),
            ..v1::Notification::default()
        }
    }

    #[test]
    fn one_is_found_by_its_id_or_the_beginning_of_it() {
        let known = [
            notification("pager", "a.1"),
            notification("pager", "a.12"),
            notification("chat", "b.1"),
            notification("pager", "b.1"),
        ];
        assert_eq!(find(&known, "a.1").unwrap().id, "a.1");
        assert_eq!(find(&known, "a.12").unwrap().id, "a.12");
        assert!(
            find(&known, "c")
                .unwrap_err()
                .to_string()
                .contains("notify list")
        );
        let error = find(&known, "b").unwrap_err().to_string();
        assert!(error.contains("b.1 to chat, b.1 to pager"), "{error}");
    }
}
