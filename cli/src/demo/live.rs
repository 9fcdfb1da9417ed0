//! The demo that people watch and steer: it tells what happens until it is stopped.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use super::control::{self, Asked, Control, Request};
use super::story::Story;
use super::world::{World, now};
use crate::args::DemoArgs;
use crate::console::{Console, Reader};
use crate::exit::Health;
use crate::render;
use crate::render::style::{BAD, HEADING, paint};

/// How often the demo looks for news. A person sees no difference.
const LOOK: Duration = Duration::from_millis(100);

/// Why the demo goes on or ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

/// Builds the cluster and tells its story until `demo stop`, Ctrl-C or SIGTERM.
pub(super) fn run(arguments: &DemoArgs, console: &Console) -> anyhow::Result<Health> {
    let (inside, listener) = World::enter(arguments)?;
    let control = control::serve(listener.context("the control socket did not come along")?)?;
    let world = World::build(arguments, &inside, console)?;
    let mut demo = Demo {
        story: Story::new(world.mesh.lab().clone()),
        console,
        world,
        reported_crashes: Vec::new(),
    };
    demo.introduce()?;
    control.open();
    demo.follow(&control)?;
    // Where the socket's folder is private to this side it stays, and the next demo replaces it.
    std::fs::remove_file(control::path()).ok();
    console.print("Removing the cluster.\n")?;
    Ok(Health::Healthy)
}

struct Demo<'a> {
    // Healed before the cluster goes.
    story: Story,
    world: World,
    console: &'a Console,
    reported_crashes: Vec<String>,
}

impl Demo<'_> {
    fn introduce(&self) -> anyhow::Result<()> {
        let World {
            grpc, http, mesh, ..
        } = &self.world;
        let server = if grpc.to_string() == "127.0.0.1:4860" {
            String::new()
        } else {
            format!(" --server {grpc}")
        };
        let text = format!(
            "{}\n{}\n  meshprobe matrix{server}\n  meshprobe watch{server}\n  meshprobe demo break node-dark mesh-3\n  \
             meshprobe findings{server}\n  meshprobe explain mesh-1 mesh-3{server}\n  meshprobe incidents{server}\n  meshprobe demo heal\n  meshprobe demo faults\n\n\
             gRPC API on {grpc}, JSON API on http://{http}/api/v1/status, logs in {}\n\
             Ctrl-C ends the demo and removes everything.\n\n",
            self.world.matrix(self.console)?,
            paint(HEADING, "In a second terminal:"),
            mesh.lab().state_directory().display(),
        );
        self.console.print(&text)?;
        Ok(())
    }

    /// Requests come in, news go out.
    fn follow(&mut self, control: &Control) -> anyhow::Result<()> {
        let stopped = watch_signals()?;
        loop {
            let next = match control.next(LOOK) {
                Ok(asked) => self.obey(asked)?,
                Err(RecvTimeoutError::Timeout) => Next::GoOn,
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the control socket broke"),
            };
            if next == Next::End || stopped.try_recv().is_ok() || self.tell_news()? == Reader::Gone
            {
                return Ok(());
            }
        }
    }

    fn obey(&mut self, asked: Asked) -> anyhow::Result<Next> {
        let at = (now(), self.console.now());
        let (result, next) = match &asked.request {
            Request::Break(fault) => (self.story.inject(fault, at), Next::GoOn),
            Request::Heal(fault) => (self.story.heal(Some(fault), at), Next::GoOn),
            Request::HealAll => (self.story.heal(None, at), Next::GoOn),
            Request::Status => (self.status(), Next::GoOn),
            Request::Stop => (
                Ok("The demo ends and removes its cluster.\n".to_owned()),
                Next::End,
            ),
        };
        if let (Ok(text), Request::Break(_) | Request::Heal(_) | Request::HealAll) =
            (&result, &asked.request)
        {
            self.console.print(text)?;
        }
        asked.answer(result.map_err(|error| format!("{error:#}")));
        Ok(next)
    }

    fn status(&self) -> anyhow::Result<String> {
        let World { grpc, http, .. } = &self.world;
        let incidents = render::incident::render(
            &self.world.api.incidents(false)?,
            self.console.fitting_width(),
            self.console.now(),
        );
        Ok(format!(
            "{}\n{incidents}\ngRPC API on {grpc}, JSON API on http://{http}/api/v1/status\n",
            self.story.in_effect()
        ))
    }

    fn tell_news(&mut self) -> anyhow::Result<Reader> {
        // Asked first: an incident that is told by webhook shall not stand below its notification.
        let incidents = self.world.api.incidents(true);
        let notifications = self.world.mesh.webhooks();
        let mut text = match incidents {
            Ok(incidents) => self.story.incidents(&incidents),
            // A daemon that has just ended answers nothing; that is told below.
            Err(_) => String::new(),
        };
        text.push_str(
            &self
                .story
                .notifications(&notifications, (now(), self.console.now())),
        );
        for (name, status) in self.world.mesh.crashed()? {
            if !self.reported_crashes.contains(&name) {
                let log = self
                    .world
                    .mesh
                    .lab()
                    .state_directory()
                    .join(format!("{name}.err"));
                let sentence = format!(
                    "{name} has ended by itself ({status}); its log is {}",
                    log.display()
                );
                text.extend([&paint(BAD, &sentence), "\n"]);
                self.reported_crashes.push(name);
            }
        }
        if text.is_empty() {
            return Ok(Reader::Present);
        }
        Ok(self.console.print(&text)?)
    }
}

/// Says so when Ctrl-C or SIGTERM comes.
fn watch_signals() -> anyhow::Result<Receiver<()>> {
    // One message is all there ever is.
    let (stop_tx, stop_rx) = sync_channel(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    thread::Builder::new()
        .name("demo-signals".to_owned())
        .spawn(move || drop(runtime.block_on(wait_for_signal(stop_tx))))?;
    Ok(stop_rx)
}

async fn wait_for_signal(stop: SyncSender<()>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    // The demo may have ended meanwhile.
    stop.send(()).ok();
    Ok(())
}
