//! `meshprobe silence` and `meshprobe maintenance`.

use anyhow::bail;
use meshprobe_proto::v1;

use crate::args::{SilenceAdd, SilenceCommand};
use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;
use crate::render::{silence, time};

pub(super) async fn run(
    client: &Client,
    kind: v1::SilenceKind,
    command: SilenceCommand,
    console: &Console,
) -> anyhow::Result<Health> {
    match command {
        SilenceCommand::Add(add) => {
            let made = client.create_silence(request(kind, add)).await?;
            console.answer(|| silence::made(&made, console.now()), &made)?;
        }
        SilenceCommand::List { all } => {
            let mut silences = client.silences(all).await?;
            // `maintenance list` leaves the silences out; `silence list` shows whatever keeps people from being told.
            if kind == v1::SilenceKind::Maintenance {
                silences.retain(|one| one.kind() == kind);
            }
            let list = v1::ListSilencesResponse {
                silences,
                next_page_token: String::new(),
            };
            console.answer(
                || silence::render(&list.silences, console.fitting_width(), console.now()),
                &list,
            )?;
        }
        SilenceCommand::Remove { id } => {
            let id = full_id(&client.silences(false).await?, &id)?;
            let ended = client.delete_silence(id).await?;
            console.answer(|| silence::ended(&ended), &ended)?;
        }
    }
    Ok(Health::Healthy)
}

fn request(kind: v1::SilenceKind, add: SilenceAdd) -> v1::CreateSilenceRequest {
    let SilenceAdd {
        matchers,
        lasts,
        start,
        comment,
        author,
    } = add;
    v1::CreateSilenceRequest {
        kind: kind.into(),
        matchers,
        starts_at: start.map(time::wire),
        ends_at: None,
        duration_seconds: lasts.as_secs(),
        author: author_or_user(author),
        comment,
    }
}

/// Who says it: whoever was named, or the user who runs this.
pub(super) fn author_or_user(author: Option<String>) -> String {
    let named = || {
        let names = ["USER", "LOGNAME"].into_iter();
        names
            .filter_map(|name| std::env::var(name).ok())
            .find(|name| !name.is_empty())
    };
    author
        .or_else(named)
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The id that begins so, if it is the only one.
fn full_id(silences: &[v1::Silence], beginning: &str) -> anyhow::Result<String> {
    let mut found = silences.iter().filter(|one| one.id.starts_with(beginning));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only.id.clone()),
        (None, _) => bail!(
            "no silence in force has an id that begins with {beginning:?}. `meshprobe silence list` lists them"
        ),
        (Some(_), Some(_)) => bail!("several silences have an id that begins with {beginning:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn the_beginning_of_an_id_is_enough_if_it_is_the_only_one() {
        let silences = [samples::silence(), samples::expired()];
        assert_eq!(full_id(&silences, "00c").unwrap(), silences[0].id);
        assert!(
            full_id(&silences, "0")
                .unwrap_err()
                .to_string()
                .contains("several")
        );
        assert!(
            full_id(&silences, "f")
                .unwrap_err()
                .to_string()
                .contains("silence list")
        );
    }
}
