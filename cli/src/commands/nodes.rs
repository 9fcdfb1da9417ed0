//! `meshprobe nodes`.

use anyhow::bail;
use jiff::Timestamp;

use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;
use crate::render;

pub(super) async fn run(
    client: &Client,
    at: Option<Timestamp>,
    console: &Console,
) -> anyhow::Result<Health> {
    let response = client.nodes(at).await?;
    let now = at.unwrap_or_else(|| console.now());
    console.answer(
        || {
            render::window::line(response.window.as_ref())
                + &render::node::render(&response.nodes, console.fitting_width(), now)
        },
        &response,
    )?;
    Ok(render::node::health(&response.nodes))
}

pub(super) async fn show(
    client: &Client,
    name: String,
    at: Option<Timestamp>,
    console: &Console,
) -> anyhow::Result<Health> {
    if at.is_some() {
        bail!(
            "what probers say of themselves is not kept: ask `meshprobe nodes --at TIME` for the states of all nodes"
        );
    }
    let detail = client.node(name).await?;
    console.answer(
        || render::node_detail::render(&detail, console.now()),
        &detail,
    )?;
    Ok(render::node_detail::health(&detail))
}
