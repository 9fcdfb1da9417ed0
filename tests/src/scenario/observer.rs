//! Watches the API while a scenario runs, and tells the story as it happens.
//!
//! One thread, owned by [`Observer`], which ends with it. The API is asked over the loopback of the aggregator's own
//! namespace, so no fault blinds it; while the aggregator is down, the journal keeps what was said last.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use meshprobe_daemon::clock;
use meshprobe_lab::mesh::{Api, Mesh};

use super::journal::{EventKind, Journal};

/// How often the API is asked: the precision of what is not measured by a webhook.
const LOOK: Duration = Duration::from_millis(50);

/// Prints what happens, with the time since the scenario began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Story {
    began_at: Instant,
}

impl Story {
    pub(super) fn begin() -> Self {
        Self {
            began_at: clock::now(),
        }
    }

    pub(super) fn tell(self, text: &str) {
        let time = clock::now().saturating_duration_since(self.began_at);
        println!("{:8.2} s  {text}", time.as_secs_f64());
    }
}

/// The running observer.
#[derive(Debug)]
pub(super) struct Observer {
    shared: Arc<Shared>,
    watching: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    seen: Mutex<Seen>,
    is_over: AtomicBool,
}

#[derive(Debug)]
struct Seen {
    journal: Journal,
    answered_at: Instant,
    error: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer {
    pub(super) fn start(mesh: &Mesh, story: Story) -> anyhow::Result<Self> {
        let seen = Seen {
            journal: Journal::default(),
            answered_at: clock::now(),
            error: None,
        };
        let shared = Arc::new(Shared {
            seen: Mutex::new(seen),
            is_over: AtomicBool::new(false),
        });
        let (api, own) = (mesh.api()?, Arc::clone(&shared));
        let watching = thread::Builder::new()
            .name("observer".to_owned())
            .spawn(move || watch(&api, &own, story))
            .context("start the observer")?;
        Ok(Self {
            shared,
            watching: Some(watching),
        })
    }

    /// What the API said so far.
    pub(super) fn journal(&self) -> Journal {
        self.shared.lock().journal.clone()
    }

    /// For how long the API has not answered, and why.
    pub(super) fn silence(&self) -> (Duration, String) {
        let seen = self.shared.lock();
        let silent = clock::now().saturating_duration_since(seen.answered_at);
        (silent, seen.error.clone().unwrap_or_default())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(watching) = self.watching.take()
            && watching.join().is_err()
        {
            tracing::warn!("The observer panicked");
        }
    }
}

fn watch(api: &Api, shared: &Shared, story: Story) {
    while !shared.is_over.load(Ordering::Relaxed) {
        let listed = api.incidents(true);
        let now = clock::now();
        let mut seen = shared.lock();
        match listed {
            Ok(listed) => {
                seen.answered_at = now;
                seen.error = None;
                for event in seen.journal.observe(now, &listed) {
                    let summary = seen.journal.incidents().get(&event.id);
                    let summary = summary.map_or("", |history| history.found.summary.as_str());
                    let happened = match event.kind {
                        EventKind::Opened => "API: opened",
                        EventKind::Resolved => "API: ended",
                        EventKind::Renamed => "API: names other nodes now",
                        EventKind::Forgotten => "API: forgot",
                    };
                    story.tell(&format!("{happened} {}: {summary}", event.what));
                }
            }
            Err(error) => seen.error = Some(error.to_string()),
        }
        drop(seen);
        thread::sleep(LOOK);
    }
}
