//! `meshprobe probe`.

use meshprobe_core::path::Layer;
use meshprobe_proto::v1;

use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;
use crate::render;

pub(super) async fn run(
    client: &Client,
    source: String,
    target: String,
    layer: Layer,
    trace: bool,
    console: &Console,
) -> anyhow::Result<Health> {
    let wire = v1::Layer::from(layer);
    let request = v1::RunProbeRequest {
        source: source.clone(),
        target: target.clone(),
        kind: wire.kind,
        plane: wire.plane,
        family: wire.family,
        trace,
    };
    let response = client.run_probe(request).await?;
    console.answer(
        || render::probe::render(&response, &source, &target, layer, console.now()),
        &response,
    )?;
    Ok(render::probe::health(&response))
}
