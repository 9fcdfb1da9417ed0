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
use crate::{incident::Incident, pipeline::Diagnosed, wall};

/// Windows end on time although no picture comes.
const TICK: Duration = Duration::from_secs(2);

/// What the thread waits for.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) pictures: watch::Receiver<Option<Diagnosed>>,
    pub(super) open: Vec<Incident>,
    /// `None`: they have ended.
    pub(super) incidents: Option<broadcast::Receiver<Incident>>,
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
                    let observed = self.pictures.borrow_and_update().as_ref().map(Observed::from);
                    if let Some(observed) = observed {
                        return Event::Picture(observed);
                    }
                }
                Some(question) = self.questions.recv() => return Event::Question(question),
                change = next_change(&mut self.incidents) => match change {
                    Ok(incident) => return Event::Incident(Box::new(incident)),
                    // Its pictures are those of the ones that were seen.
                    Err(RecvError::Lagged(missed)) => debug!(missed, "Changes of incidents were missed"),
                    // The notifier has ended: no incident will open any more.
                    Err(RecvError::Closed) => self.incidents = None,
                },
            }
        }
    }
}

async fn next_change(
    incidents: &mut Option<broadcast::Receiver<Incident>>,
) -> Result<Incident, RecvError> {
    match incidents {
        Some(incidents) => incidents.recv().await,
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
