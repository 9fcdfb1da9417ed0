//! `meshprobe explain A B`.

use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;
use crate::render::explain;

pub(super) async fn run(
    client: &Client,
    source: String,
    target: String,
    console: &Console,
) -> anyhow::Result<Health> {
    let explanation = client.explanation(source, target).await?;
    console.answer(
        || explain::render(&explanation, console.fitting_width(), console.now()),
        &explanation,
    )?;
    Ok(explain::health(&explanation))
}
