//! The thread of the history: waits for pictures, incidents and questions, and asks the clock.

use std::time::Duration;

use tokio::{
    runtime::Handle,
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, watch,
    },
    time::timeout,
};
use tracing::debug;

use super::{Chronicle, HistoryMetrics, HistorySettings, Observed, Question};
use crate::{incident::Incident, notify::Incidents, pipeline::Diagnosed, wall};

/// Windows end on time although no picture comes.
const TICK: Duration = Duration::from_secs(2);

/// What the thread waits for.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) pictures: watch::Receiver<Option<Diagnosed>>,
    /// Those that were open at the start.
    pub(super) open: Vec<Incident>,
    pub(super) all: Incidents,
    /// `None`: nobody tells of a change any more.
    pub(super) changes: Option<broadcast::Receiver<Incident>>,
    pub(super) questions: mpsc::Receiver<Question>,
}

/// The thread's state before it runs.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) settings: HistorySettings,
    pub(super) metrics: HistoryMetrics,
    pub(super) inputs: Inputs,
}

/// What happened.
enum Event {
    Picture(Observed),
    Incident(Box<Incident>),
    Question(Question),
    /// Nothing.
    Tick,
    /// No picture will come any more.
    End,
}

impl Keeper {
    /// Runs until whoever takes the pictures has ended.
    pub(super) fn run(self, runtime: &Handle) {
        let Self {
            settings,
            metrics,
            mut inputs,
        } = self;
        let mut chronicle = Chronicle::new(settings, metrics, wall::now());
        for incident in inputs.open.drain(..) {
            chronicle.remember(&incident);
        }
        let mut next_tick = meshprobe_daemon::clock::now() + TICK;
        loop {
            let now = meshprobe_daemon::clock::now();
            if now >= next_tick {
                chronicle.tick(wall::now());
                next_tick = now + TICK;
            }
            let wait = next_tick.saturating_duration_since(now);
            let event = runtime.block_on(async { timeout(wait, inputs.next()).await });
            match event.unwrap_or(Event::Tick) {
                Event::Picture(observed) => chronicle.observe(&observed),
                Event::Incident(incident) => chronicle.incident(&incident, wall::now()),
                Event::Question(question) => answer(&chronicle, question),
                Event::Tick => {}
                Event::End => break,
            }
        }
        chronicle.finish(wall::now());
    }
}

impl Inputs {
    /// Cancel-safe: each of its branches is.
    async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                changed = self.pictures.changed() => {
                    if changed.is_err() {
                        return Event::End;
                    }
                    if let Some(diagnosed) = self.pictures.borrow_and_update().as_ref() {
                        return Event::Picture(Observed::of(diagnosed, self.all.open()));
                    }
                }
                Some(question) = self.questions.recv() => return Event::Question(question),
                change = next_change(&mut self.changes) => match change {
                    Ok(incident) => return Event::Incident(Box::new(incident)),
                    // Its pictures are those of the ones that were seen.
                    Err(RecvError::Lagged(missed)) => debug!(missed, "Changes of incidents were missed"),
                    Err(RecvError::Closed) => self.changes = None,
                },
            }
        }
    }
}

async fn next_change(
    changes: &mut Option<broadcast::Receiver<Incident>>,
) -> Result<Incident, RecvError> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}

fn answer(chronicle: &Chronicle, question: Question) {
    // Whoever does not wait any more needs no answer.
    match question {
        Question::Past { at, layers, answer } => {
            answer.send(chronicle.at(at, layers)).ok();
        }
        Question::Bundle {
            incident,
            shown,
            answer,
        } => {
            let made = chronicle.bundle(&incident, shown, wall::now());
            answer.send(made).ok();
        }
    }
}
