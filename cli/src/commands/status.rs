//! `meshprobe status`.

use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;
use crate::render;

pub(super) async fn run(client: &Client, console: &Console) -> anyhow::Result<Health> {
    let status = client.status().await?;
    console.answer(
        || render::status::render(&status, client.server(), console.now()),
        &status,
    )?;
    Ok(render::status::health(&status))
}
