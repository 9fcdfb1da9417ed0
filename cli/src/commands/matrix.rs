//! `meshprobe matrix`.

use jiff::Timestamp;
use meshprobe_core::path::Layer;
use meshprobe_proto::v1;

use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;
use crate::render::matrix::{HeatTable, Surroundings, health, render};
use crate::render::time::timestamp;
use crate::render::window;

pub(super) async fn run(
    client: &Client,
    layer: Layer,
    at: Option<Timestamp>,
    console: &Console,
) -> anyhow::Result<Health> {
    if let Some(at) = at {
        return past(client, layer, at, console).await;
    }
    let (matrix, facts) = tokio::try_join!(client.matrix(layer), Facts::ask(client))?;
    let heat = HeatTable::try_from(&matrix)?;
    let around = facts.around(console);
    console.answer(|| render(&heat, &around), &matrix)?;
    Ok(health(&heat, &around))
}

/// The layer as it was. Incidents are those of now, and none of its business.
async fn past(
    client: &Client,
    layer: Layer,
    at: Timestamp,
    console: &Console,
) -> anyhow::Result<Health> {
    let matrix = client.matrix_at(layer, at).await?;
    let heat = HeatTable::try_from(&matrix)?;
    let around = Surroundings {
        width: console.fitting_width(),
        open_incidents: &[],
        layers: &[],
        not_judging: None,
        now: timestamp(matrix.at).unwrap_or(at),
    };
    let line = window::line(matrix.window.as_ref());
    console.answer(|| line + &render(&heat, &around), &matrix)?;
    Ok(health(&heat, &around))
}

/// What the conclusion needs beside the matrix.
pub(super) struct Facts {
    status: v1::Status,
    open: Vec<v1::Incident>,
}

impl Facts {
    pub(super) async fn ask(client: &Client) -> Result<Self, crate::client::ClientError> {
        let (status, open) = tokio::try_join!(client.status(), client.incidents(false))?;
        Ok(Self { status, open })
    }

    pub(super) fn around(&self, console: &Console) -> Surroundings<'_> {
        Surroundings {
            width: console.fitting_width(),
            open_incidents: &self.open,
            layers: &self.status.layers,
            not_judging: (!self.status.judging).then_some(self.status.not_judging_reason.as_str()),
            now: console.now(),
        }
    }
}
