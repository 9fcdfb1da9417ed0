//! The demo that runs by itself: healthy, broken, found, healed. For the README's picture and for tests.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use meshprobe_lab::Fault;

use super::story::{Story, since};
use super::world::{World, now};
use crate::args::DemoArgs;
use crate::console::Console;
use crate::exit::Health;
use crate::render::incident::{detail, is_open, watch_line};
use crate::render::style::{DIM, GOOD, HEADING, paint};

/// The node that loses its link, in the pattern's own words.
const NODE: &str = "mesh-3";
const PATTERN: &str = "node-dark";
/// The promise is two seconds; a machine that is busy with something else gets more before the script gives up.
const ALERT_PATIENCE: Duration = Duration::from_secs(20);
/// An incident is kept open for a while so that it does not flap.
const CLEAR_PATIENCE: Duration = Duration::from_secs(120);
/// So that the matrix has seen the whole of it.
const LOOK_AROUND: Duration = Duration::from_secs(3);

/// Fails if any step does not happen in time.
pub(super) fn run(arguments: &DemoArgs, console: &Console) -> anyhow::Result<Health> {
    if arguments.nodes < 4 {
        bail!("the script breaks {NODE} and wants three others to see it: --nodes 4 or more");
    }
    let (inside, _) = World::enter(arguments)?;
    let world = World::build(arguments, &inside, console)?;
    let ending = play(&world, console);
    if ending.is_err() {
        console.print(&world.mesh.logs())?;
    }
    ending.map(|()| Health::Healthy)
}

fn play(world: &World, console: &Console) -> anyhow::Result<()> {
    let mut story = Story::new(world.mesh.lab().clone());
    command(console, "meshprobe matrix")?;
    console.print(&format!("{}\n", world.matrix(console)?))?;

    command(console, &format!("meshprobe demo break {PATTERN} {NODE}"))?;
    let fault: Fault = format!("{PATTERN} {NODE}").parse()?;
    let broken = now();
    console.print(&story.inject(&fault, (broken, console.now()))?)?;
    let alert = world
        .mesh
        .wait_for_webhook(ALERT_PATIENCE, |notification| {
            notification.is_firing(PATTERN, NODE)
        })
        .with_context(|| format!("no notification about {NODE} came within {ALERT_PATIENCE:?}"))?;
    let told_after = since(broken, &alert);
    console.print(&format!(
        "{}\n",
        paint(
            HEADING,
            &format!("Webhook {:.2} s after the cut.", told_after.as_secs_f64())
        )
    ))?;
    console.print(&story.incidents(&world.api.incidents(true)?))?;
    console.print(&story.notifications(&world.mesh.webhooks(), (now(), console.now())))?;
    thread::sleep(LOOK_AROUND);
    let open = world.api.incidents(false)?;
    let incident = match open.as_slice() {
        [incident] if incident.pattern == PATTERN && incident.nodes == [NODE] => incident,
        other => bail!(
            "expected one open incident, {PATTERN} {NODE}; found {:?}",
            other
                .iter()
                .map(crate::render::incident::title)
                .collect::<Vec<_>>()
        ),
    };
    command(
        console,
        &format!("meshprobe incidents show {}", incident.id),
    )?;
    console.print(&format!("{}\n", detail(incident, console.now())))?;
    command(console, "meshprobe matrix")?;
    console.print(&format!("{}\n", world.matrix(console)?))?;

    command(console, "meshprobe demo heal")?;
    console.print(&story.heal(None, (now(), console.now()))?)?;
    let resolved = world.mesh.wait_for_webhook(CLEAR_PATIENCE, |notification| {
        notification.is_resolved(PATTERN, NODE)
    });
    if resolved.is_none() {
        bail!("no notification about the end came within {CLEAR_PATIENCE:?}");
    }
    world.mesh.wait_until_healthy(CLEAR_PATIENCE)?;
    let all = world.api.incidents(true)?;
    if let Some(open) = all.iter().find(|incident| is_open(incident)) {
        bail!("still open: {}", watch_line(open, console.now()));
    }
    console.print(&story.incidents(&all))?;
    console.print(&story.notifications(&world.mesh.webhooks(), (now(), console.now())))?;
    command(console, "meshprobe matrix")?;
    console.print(&world.matrix(console)?)?;
    console.print(&format!(
        "{}\n",
        paint(GOOD, "Everything is healthy again.")
    ))?;
    Ok(())
}

/// What a person would type.
fn command(console: &Console, line: &str) -> anyhow::Result<()> {
    console.print(&format!("{} {}\n", paint(DIM, "$"), paint(HEADING, line)))?;
    Ok(())
}
