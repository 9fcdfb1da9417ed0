//! `meshprobe path`.

use crate::args::Format;
use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;
use crate::render;

pub(super) async fn run(
    client: &Client,
    source: String,
    target: String,
    console: &Console,
) -> anyhow::Result<Health> {
    let detail = client.path(source.clone(), target.clone()).await?;
    let wide = console.format == Format::Wide;
    console.answer(
        || render::path::render(&detail, &source, &target, wide, console.now()),
        &detail,
    )?;
    Ok(render::path::health(&detail))
}
