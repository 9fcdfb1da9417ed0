//! `meshprobe assert`: waits until everything is healthy, or says what is not.

use std::time::Duration;

use meshprobe_proto::v1;
use tokio::time::{Instant, sleep_until};

use crate::args::{AssertArgs, Format, Global};
use crate::client::{Client, ClientError};
use crate::console::Console;
use crate::exit::Health;
use crate::render::assert::{Look, conclusion};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(
    global: &Global,
    arguments: AssertArgs,
    console: &Console,
) -> anyhow::Result<Health> {
    let AssertArgs {
        healthy_within,
        stable_for,
    } = arguments;
    if stable_for > healthy_within {
        anyhow::bail!("--stable-for is longer than --healthy-within, so it can never be met");
    }
    let end = Instant::now() + healthy_within;
    let mut healthy_since: Option<Instant> = None;
    let mut said = String::new();
    loop {
        let now = Instant::now();
        let looked = look(global).await;
        match &looked {
            Ok(look) if look.problems().is_empty() => {
                let since = *healthy_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= stable_for {
                    return answer(look, Some(stable_for), console);
                }
            }
            Ok(_) => healthy_since = None,
            // An aggregator that restarts is not healthy, and may be soon.
            Err(error) if error.is_passing() => healthy_since = None,
            Err(_) => {
                return Err(looked
                    .err()
                    .map_or_else(|| anyhow::anyhow!("no answer"), Into::into));
            }
        }
        if now >= end {
            return match looked {
                Ok(look) => answer(&look, None, console),
                Err(error) => Err(error.into()),
            };
        }
        let waits_for = match &looked {
            Ok(look) => look.problems().join("; "),
            Err(error) => error.to_string(),
        };
        if console.is_for_people() && waits_for != said && !waits_for.is_empty() {
            anstream::eprintln!("meshprobe: waiting: {waits_for}");
        }
        said = waits_for;
        sleep_until((now + LOOK_EVERY).min(end)).await;
    }
}

/// A new connection each time: the way to the aggregator may be what is being mended.
async fn look(global: &Global) -> Result<Look, ClientError> {
    let client = Client::connect(global).await?;
    let (status, nodes, findings) = tokio::try_join!(
        client.status(),
        client.nodes(None),
        client.findings(v1::ListFindingsRequest::default())
    )?;
    Ok(Look {
        status,
        nodes: nodes.nodes,
        findings,
    })
}

/// `healthy_for`: it was healthy for that long, which is long enough.
fn answer(look: &Look, healthy_for: Option<Duration>, console: &Console) -> anyhow::Result<Health> {
    let wide = console.format == Format::Wide;
    console.answer(
        || {
            conclusion(
                look,
                healthy_for,
                console.fitting_width(),
                wide,
                console.now(),
            )
        },
        &look.findings,
    )?;
    Ok(Health::unless(healthy_for.is_none()))
}
