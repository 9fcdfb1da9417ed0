//! `meshprobe watch`: follows a stream until Ctrl-C, over restarts of the aggregator.

use std::collections::HashMap;
use std::time::Duration;

use meshprobe_core::path::Layer;
use meshprobe_proto::v1;

use super::matrix::Facts;
use crate::args::Global;
use crate::client::{Client, ClientError};
use crate::console::{Console, Reader};
use crate::exit::Health;
use crate::render::finding;
use crate::render::incident::watch_line;
use crate::render::matrix::{HeatTable, render};

/// A person reads no faster.
const REDRAW_INTERVAL: Duration = Duration::from_millis(250);
/// The diagnosis runs at most once a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two attempts to reach an aggregator that went away.
const RETRY: Duration = Duration::from_secs(1);
/// Resolved incidents that are remembered in order not to print them twice after a reconnect.
const REMEMBERED: usize = 4096;

/// One line for each incident that opens, comes back or resolves.
pub(super) async fn incidents(global: &Global, console: &Console) -> anyhow::Result<Health> {
    let mut printed = Printed::default();
    follow(global, async |client| {
        let mut stream = client.watch_incidents().await?;
        while let Some(incident) = next(client, &mut stream).await? {
            if !printed.is_news(&incident) {
                continue;
            }
            let reader = if console.is_for_people() {
                console.print(&format!("{}\n", watch_line(&incident, console.now())))?
            } else {
                console.print_stream_item(&incident)?
            };
            if reader == Reader::Gone {
                return Ok(Reader::Gone);
            }
        }
        Ok(Reader::Present)
    })
    .await
}

/// One line for each finding that comes or goes. For programs: the whole list at each change.
pub(super) async fn findings(global: &Global, console: &Console) -> anyhow::Result<Health> {
    let mut known: Vec<v1::Finding> = Vec::new();
    follow(global, async |client| {
        loop {
            let found = client.findings(v1::ListFindingsRequest::default()).await?;
            let is_in =
                |list: &[v1::Finding], one: &v1::Finding| list.iter().any(|f| f.id == one.id);
            let (come, gone) = (
                found.findings.iter().filter(|one| !is_in(&known, one)),
                known.iter().filter(|one| !is_in(&found.findings, one)),
            );
            let now = console.now();
            let mut lines: Vec<String> = gone
                .map(|one| finding::watch_line(one, true, now))
                .collect();
            lines.extend(come.map(|one| finding::watch_line(one, false, now)));
            for line in &lines {
                if console.is_for_people() && console.print(&format!("{line}\n"))? == Reader::Gone {
                    return Ok(Reader::Gone);
                }
            }
            let is_news = !lines.is_empty();
            if is_news
                && !console.is_for_people()
                && console.print_stream_item(&found)? == Reader::Gone
            {
                return Ok(Reader::Gone);
            }
            known = found.findings;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
    .await
}

/// The heat table, redrawn on a terminal, one after the other into a pipe.
pub(super) async fn matrix(
    global: &Global,
    layer: Layer,
    console: &Console,
) -> anyhow::Result<Health> {
    if console.is_terminal && console.is_for_people() {
        // Start on an empty screen; what was there stays in the scroll-back.
        console.print("\x1b[2J")?;
    }
    follow(global, async |client| {
        let mut stream = client.watch_matrix(layer, REDRAW_INTERVAL).await?;
        while let Some(matrix) = next(client, &mut stream).await? {
            let reader = if console.is_for_people() {
                let facts = Facts::ask(client).await?;
                let text = render(&HeatTable::try_from(&matrix)?, &facts.around(console));
                if console.is_terminal {
                    console.redraw(&text)?
                } else {
                    console.print(&format!("{text}\n"))?
                }
            } else {
                console.print_stream_item(&matrix)?
            };
            if reader == Reader::Gone {
                return Ok(Reader::Gone);
            }
        }
        Ok(Reader::Present)
    })
    .await
}

/// Connects, watches, connects again when the aggregator went away; ends with Ctrl-C or with the reader.
///
/// The first connection must succeed: a wrong address is an error and not something to wait for.
async fn follow(
    global: &Global,
    mut watch: impl AsyncFnMut(&Client) -> anyhow::Result<Reader>,
) -> anyhow::Result<Health> {
    let following = async {
        let mut client = Client::connect(global).await?;
        loop {
            match watch(&client).await {
                Ok(Reader::Gone) => return Ok(Health::Healthy),
                Ok(Reader::Present) => anstream::eprintln!(
                    "meshprobe: the aggregator ended the stream, connecting again"
                ),
                Err(error) if is_passing(&error) => {
                    anstream::eprintln!("meshprobe: {error:#}; trying again");
                }
                Err(error) => return Err(error),
            }
            client = reconnect(global).await?;
        }
    };
    tokio::select! {
        ended = following => ended,
        pressed = tokio::signal::ctrl_c() => {
            pressed?;
            Ok(Health::Healthy)
        }
    }
}

async fn reconnect(global: &Global) -> Result<Client, ClientError> {
    loop {
        tokio::time::sleep(RETRY).await;
        match Client::connect(global).await {
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error),
            Ok(client) => {
                anstream::eprintln!("meshprobe: connected again");
                return Ok(client);
            }
        }
    }
}

fn is_passing(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<ClientError>()
        .is_some_and(ClientError::is_passing)
}

async fn next<T>(
    client: &Client,
    stream: &mut tonic::Streaming<T>,
) -> Result<Option<T>, ClientError> {
    stream
        .message()
        .await
        .map_err(|status| client.explain(&status))
}

/// What was printed last about each incident: a stream repeats the open ones when it begins.
#[derive(Default)]
struct Printed(HashMap<String, (v1::IncidentState, u32)>);

impl Printed {
    fn is_news(&mut self, incident: &v1::Incident) -> bool {
        if self.0.len() >= REMEMBERED {
            self.0
                .retain(|_, (state, _)| *state != v1::IncidentState::Resolved);
        }
        let now = (incident.state(), incident.reopened);
        self.0.insert(incident.id.clone(), now) != Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn an_update_of_an_open_incident_is_no_news_but_its_end_and_return_are() {
        let mut printed = Printed::default();
        let mut incident = samples::node_dark("mesh-3");
        assert!(printed.is_news(&incident));
        incident.summary = "more evidence".to_owned();
        assert!(
            !printed.is_news(&incident),
            "the same incident after a reconnect"
        );
        incident.state = v1::IncidentState::Resolved.into();
        assert!(printed.is_news(&incident));
        incident.state = v1::IncidentState::Open.into();
        incident.reopened = 1;
        assert!(printed.is_news(&incident));
    }
}
