//! `meshprobe path`.

use jiff::Timestamp;

use crate::args::Format;
use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;
use crate::render;

pub(super) async fn run(
    client: &Client,
    source: String,
    target: String,
    at: Option<Timestamp>,
    console: &Console,
) -> anyhow::Result<Health> {
    let detail = client.path(source.clone(), target.clone(), at).await?;
    let wide = console.format == Format::Wide;
    console.answer(
        || {
            render::window::line(detail.window.as_ref())
                + &render::path::render(
                    &detail,
                    &source,
                    &target,
                    wide,
                    at.unwrap_or_else(|| console.now()),
                )
        },
        &detail,
    )?;
    Ok(render::path::health(&detail))
}
