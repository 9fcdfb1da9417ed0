//! `meshprobe incidents` and `meshprobe incidents show`.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use meshprobe_proto::v1;

use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;
use crate::render::incident;

pub(super) async fn list(client: &Client, all: bool, console: &Console) -> anyhow::Result<Health> {
    // All pages in one: there is no next one.
    let all = v1::ListIncidentsResponse {
        incidents: client.incidents(all).await?,
        next_page_token: String::new(),
    };
    console.answer(
        || incident::render(&all.incidents, console.fitting_width(), console.now()),
        &all,
    )?;
    Ok(Health::unless(all.incidents.iter().any(incident::is_open)))
}

pub(super) async fn show(client: &Client, id: &str, console: &Console) -> anyhow::Result<Health> {
    let incidents = client.incidents(true).await?;
    let found = client.incident(find(&incidents, id)?.id.clone()).await?;
    console.answer(|| incident::history(&found, console.now()), &found)?;
    let is_open = found.incident.as_ref().is_some_and(incident::is_open);
    Ok(Health::unless(is_open))
}

/// Saves an incident in a file.
pub(super) async fn bundle(
    client: &Client,
    id: &str,
    file: Option<PathBuf>,
    console: &Console,
) -> anyhow::Result<Health> {
    let incidents = client.incidents(true).await?;
    let id = &find(&incidents, id)?.id;
    let octets = client.bundle(id.clone()).await?;
    let path = file.unwrap_or_else(|| PathBuf::from(format!("{id}.mpbundle")));
    if path.as_os_str() == "-" {
        std::io::stdout().write_all(&octets)?;
        return Ok(Health::Healthy);
    }
    // Never over something that is there already: it may be the bundle of a ticket.
    let mut file = File::create_new(&path).with_context(|| format!("create {}", path.display()))?;
    file.write_all(&octets)
        .with_context(|| format!("write {}", path.display()))?;
    let path = path.display();
    console.print(&format!(
        "{path}: {} octets. `meshprobe replay {path}` diagnoses it again\n",
        octets.len()
    ))?;
    Ok(Health::Healthy)
}

/// The incident with this id, or the only one whose id begins so.
fn find<'a>(incidents: &'a [v1::Incident], id: &str) -> anyhow::Result<&'a v1::Incident> {
    if let Some(exact) = incidents.iter().find(|incident| incident.id == id) {
        return Ok(exact);
    }
    let candidates: Vec<&v1::Incident> = incidents
        .iter()
        .filter(|incident| incident.id.starts_with(id))
        .collect();
    match candidates.as_slice() {
        [only] => Ok(only),
        [] => bail!(
            "no incident has an id that begins with {id:?}. `meshprobe incidents --all` lists them"
        ),
        several => {
            let ids: Vec<&str> = several
                .iter()
                .map(|incident| incident.id.as_str())
                .collect();
            bail!(
                "{} incidents have an id that begins with {id:?}: {}",
                ids.len(),
                ids.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(id: &str) -> v1::Incident {
        v1::Incident {
            id: id.to_owned(),
            ..v1::Incident::default()
        }
    }

    #[test]
    fn the_beginning_of_an_id_is_enough_if_it_is_the_only_one() {
        let incidents = [
            incident("abc"),
            incident("abd"),
            incident("ab"),
            incident("x1"),
        ];
        assert_eq!(find(&incidents, "x").unwrap().id, "x1");
        assert_eq!(find(&incidents, "ab").unwrap().id, "ab", "an exact id wins");
        assert!(
            find(&incidents, "a")
                .unwrap_err()
                .to_string()
                .contains("abc, abd")
        );
        assert!(
            find(&incidents, "z")
                .unwrap_err()
                .to_string()
                .contains("incidents --all")
        );
    }
}
