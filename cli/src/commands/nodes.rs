//! `meshprobe nodes`.

use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;
use crate::render;

pub(super) async fn run(client: &Client, console: &Console) -> anyhow::Result<Health> {
    let response = client.nodes().await?;
    console.answer(
        || render::node::render(&response.nodes, console.fitting_width(), console.now()),
        &response,
    )?;
    Ok(render::node::health(&response.nodes))
}

pub(super) async fn show(
    client: &Client,
    name: String,
    console: &Console,
) -> anyhow::Result<Health> {
    let detail = client.node(name).await?;
    console.answer(
        || render::node_detail::render(&detail, console.now()),
        &detail,
    )?;
    Ok(render::node_detail::health(&detail))
}
