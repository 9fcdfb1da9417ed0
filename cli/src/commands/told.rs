//! `meshprobe drain` and `meshprobe event`.

use meshprobe_proto::v1;

use super::silence::author_or_user;
use crate::args::{DrainArgs, EventArgs};
use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;
use crate::render::{node_detail, time};

pub(super) async fn drain(
    client: &Client,
    args: DrainArgs,
    console: &Console,
) -> anyhow::Result<Health> {
    let DrainArgs {
        node,
        lasts,
        end,
        comment,
        author,
    } = args;
    let node = if end {
        client.end_drain(node).await?
    } else {
        let request = v1::DrainNodeRequest {
            node,
            duration_seconds: lasts.as_secs(),
            author: author_or_user(author),
            comment,
        };
        client.drain_node(request).await?
    };
    console.answer(|| node_detail::drained(&node), &node)?;
    Ok(Health::Healthy)
}

pub(super) async fn event(
    client: &Client,
    args: EventArgs,
    console: &Console,
) -> anyhow::Result<Health> {
    let EventArgs {
        node,
        reason,
        message,
        at,
    } = args;
    let request = v1::AddEventRequest {
        node,
        reason,
        message,
        at: at.at.map(time::wire),
    };
    let detail = client.add_event(request).await?;
    console.answer(|| node_detail::render(&detail, console.now()), &detail)?;
    Ok(Health::Healthy)
}
