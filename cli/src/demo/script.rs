//! The demo that runs by itself: healthy, broken, found, healed. For the README's picture and for tests.

use std::thread;
use std::time::Duration;

use anstyle::Style;
use anyhow::{Context as _, bail};
use meshprobe_lab::Fault;
use meshprobe_lab::mesh::Notification;

use super::story::{Story, since};
use super::world::{World, now};
use crate::args::DemoArgs;
use crate::console::Console;
use crate::exit::Health;
use crate::render::incident::{detail, title};
use crate::render::style::{GOOD, HEADING, PLAIN, paint};

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
    let mut play = Play {
        story: Story::new(world.mesh.lab().clone()),
        world,
        console,
    };
    let ending = play.perform();
    if ending.is_err() {
        console.print(&play.world.mesh.logs())?;
    }
    ending.map(|()| Health::Healthy)
}

struct Play<'a> {
    // Healed before the cluster goes.
    story: Story,
    world: World,
    console: &'a Console,
}

impl Play<'_> {
    fn perform(&mut self) -> anyhow::Result<()> {
        self.show_matrix()?;
        self.break_it()?;
        self.show_what_was_found()?;
        self.heal_it()?;
        self.show_matrix()?;
        self.say(GOOD, "Everything is healthy again.\n")
    }

    fn show_matrix(&self) -> anyhow::Result<()> {
        self.type_in("meshprobe matrix")?;
        self.say(PLAIN, &(self.world.matrix(self.console)? + "\n"))
    }

    /// Cuts the node off and waits until somebody is told.
    fn break_it(&mut self) -> anyhow::Result<()> {
        self.type_in(&format!("meshprobe demo break {PATTERN} {NODE}"))?;
        let fault: Fault = format!("{PATTERN} {NODE}").parse()?;
        let broken = now();
        let line = self.story.inject(&fault, (broken, self.console.now()))?;
        self.say(PLAIN, &line)?;
        let is_alert = |notification: &Notification| notification.is_firing(PATTERN, NODE);
        let alert = self.world.mesh.wait_for_webhook(ALERT_PATIENCE, is_alert);
        let alert = alert
            .with_context(|| format!("nobody was told about {NODE} within {ALERT_PATIENCE:?}"))?;
        self.tell_news()?;
        let seconds = since(broken, &alert).as_secs_f64();
        self.say(
            HEADING,
            &format!("The webhook came {seconds:.2} s after the cut.\n\n"),
        )
    }

    /// One incident for one cause: exactly that one is open.
    fn show_what_was_found(&mut self) -> anyhow::Result<()> {
        thread::sleep(LOOK_AROUND);
        let open = self.world.api.incidents(false)?;
        let incident = match open.as_slice() {
            [incident] if incident.pattern == PATTERN && incident.nodes == [NODE] => incident,
            other => {
                let found: Vec<String> = other.iter().map(title).collect();
                bail!("one incident was to be open, {PATTERN} {NODE}; open are {found:?}")
            }
        };
        self.type_in(&format!("meshprobe incidents show {}", incident.id))?;
        self.say(PLAIN, &(detail(incident, self.console.now()) + "\n"))?;
        self.show_matrix()
    }

    /// Gives the node its link back and waits until nothing is left of it.
    fn heal_it(&mut self) -> anyhow::Result<()> {
        self.type_in("meshprobe demo heal")?;
        let line = self.story.heal(None, (now(), self.console.now()))?;
        self.say(PLAIN, &line)?;
        let is_end = |notification: &Notification| notification.is_resolved(PATTERN, NODE);
        let end = self.world.mesh.wait_for_webhook(CLEAR_PATIENCE, is_end);
        end.with_context(|| format!("nobody was told about the end within {CLEAR_PATIENCE:?}"))?;
        self.world.mesh.wait_until_healthy(CLEAR_PATIENCE)?;
        self.tell_news()?;
        self.say(PLAIN, "\n")
    }

    fn tell_news(&mut self) -> anyhow::Result<()> {
        let incidents = self.story.incidents(&self.world.api.incidents(true)?);
        let arrived = self.world.mesh.webhooks();
        let notifications = self
            .story
            .notifications(&arrived, (now(), self.console.now()));
        self.say(PLAIN, &(incidents + &notifications))
    }

    /// What a person would type.
    fn type_in(&self, line: &str) -> anyhow::Result<()> {
        self.say(HEADING, &format!("$ {line}\n"))
    }

    fn say(&self, style: Style, text: &str) -> anyhow::Result<()> {
        self.console.print(&paint(style, text))?;
        Ok(())
    }
}
