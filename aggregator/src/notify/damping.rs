//! Flap damping (RFC 2439, parameters of RFC 7196): an incident that comes and goes is told once as flapping, then not
//! until it has calmed down. Only notifications are damped; API, matrix and metrics stay truthful. Pure.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::incident::{IncidentId, Transition};

/// Added for each reopening.
const PENALTY: f64 = 1000.0;
/// The penalty halves in this time.
const HALF_LIFE: Duration = Duration::from_secs(15 * 60);
/// From this penalty on changes are not told.
const SUPPRESS: f64 = 6000.0;
/// Below it they are told again.
const REUSE: f64 = 750.0;
/// Told again after this time in any case.
const MAX_SUPPRESSED: Duration = Duration::from_secs(3600);
/// A penalty this small is forgotten.
const NEGLIGIBLE: f64 = 1.0;

/// What to do with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// As usual.
    Yes,
    /// Once more, marked as flapping; the changes after it are not told one by one.
    AsFlapping {
        /// How often it was opened again until now.
        changes: u32,
    },
    /// Not now.
    No,
}

#[derive(Debug, Default)]
pub(super) struct Damping {
    incidents: HashMap<IncidentId, Entry>,
}

#[derive(Debug)]
struct Entry {
    penalty: f64,
    at: Instant,
    reopenings: u32,
    suppressed_since: Option<Instant>,
}

impl Entry {
    fn penalty(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.penalty * 0.5_f64.powf(age / HALF_LIFE.as_secs_f64())
    }

    /// When the penalty will have fallen to [`REUSE`], or the time is over.
    fn released_at(&self) -> Option<Instant> {
        let since = self.suppressed_since?;
        let halvings = (self.penalty / REUSE).log2().max(0.0);
        Some((self.at + HALF_LIFE.mul_f64(halvings)).min(since + MAX_SUPPRESSED))
    }
}

impl Damping {
    /// Judges a change.
    pub(super) fn on_change(
        &mut self,
        id: &IncidentId,
        transition: Transition,
        now: Instant,
    ) -> Tell {
        if transition != Transition::Reopened {
            let suppressed = self
                .incidents
                .get(id)
                .is_some_and(|entry| entry.suppressed_since.is_some());
            return if suppressed { Tell::No } else { Tell::Yes };
        }
        let entry = self.incidents.entry(id.clone()).or_insert(Entry {
            penalty: 0.0,
            at: now,
            reopenings: 0,
            suppressed_since: None,
        });
        entry.penalty = entry.penalty(now) + PENALTY;
        entry.at = now;
        entry.reopenings += 1;
        if entry.suppressed_since.is_some() {
            Tell::No
        } else if entry.penalty >= SUPPRESS {
            entry.suppressed_since = Some(now);
            Tell::AsFlapping {
                changes: entry.reopenings,
            }
        } else {
            Tell::Yes
        }
    }

    /// Incidents that have calmed down: their present state is to be told.
    pub(super) fn released(&mut self, now: Instant) -> Vec<IncidentId> {
        let mut released = Vec::new();
        self.incidents.retain(|id, entry| {
            if entry.released_at().is_some_and(|at| at <= now) {
                released.push(id.clone());
                return false;
            }
            entry.suppressed_since.is_some() || entry.penalty(now) >= NEGLIGIBLE
        });
        released
    }

    /// When [`Self::released`] has something next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.incidents.values().filter_map(Entry::released_at).min()
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::finding::Pattern;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn incident() -> IncidentId {
        IncidentId::of_mesh(Pattern::NodeDark)
    }

    /// Opens again every `every`, `times` times, and says what was told.
    fn flap(damping: &mut Damping, start: Instant, every: Duration, times: u32) -> Vec<Tell> {
        (0..times)
            .map(|i| damping.on_change(&incident(), Transition::Reopened, start + every * i))
            .collect()
    }

    #[test]
    fn a_flapping_incident_is_told_as_flapping_once_and_then_not() {
        let (mut damping, start) = (Damping::default(), meshprobe_daemon::clock::now());
        let told = flap(&mut damping, start, MINUTE, 20);
        let flapping: Vec<usize> = told
            .iter()
            .enumerate()
            .filter(|(_, t)| matches!(t, Tell::AsFlapping { .. }))
            .map(|(i, _)| i)
            .collect();
        assert_eq!(flapping.len(), 1, "{told:?}");
        assert!(told[..flapping[0]].iter().all(|t| *t == Tell::Yes));
        assert!(told[flapping[0] + 1..].iter().all(|t| *t == Tell::No));
        assert_eq!(
            damping.on_change(&incident(), Transition::Resolved, start + 20 * MINUTE),
            Tell::No
        );
    }

    #[test]
    fn an_incident_that_reopens_twice_an_hour_is_never_damped() {
        let (mut damping, start) = (Damping::default(), meshprobe_daemon::clock::now());
        assert!(
            flap(&mut damping, start, 30 * MINUTE, 100)
                .iter()
                .all(|t| *t == Tell::Yes)
        );
    }

    #[test]
    fn it_is_told_again_when_it_has_calmed_down_and_after_an_hour_at_the_latest() {
        let (mut damping, start) = (Damping::default(), meshprobe_daemon::clock::now());
        flap(&mut damping, start, Duration::from_secs(10), 7);
        let release = damping.next_deadline().unwrap();
        let quiet = release.saturating_duration_since(start);
        assert!(quiet > 30 * MINUTE && quiet <= 61 * MINUTE, "{quiet:?}");
        assert!(damping.released(start + 30 * MINUTE).is_empty());
        assert_eq!(damping.released(release), [incident()]);
        assert_eq!(
            damping.on_change(&incident(), Transition::Reopened, release),
            Tell::Yes
        );

        let mut damping = Damping::default();
        flap(&mut damping, start, Duration::from_secs(10), 7);
        flap(&mut damping, start + MINUTE, MINUTE, 50);
        assert!(damping.next_deadline().unwrap() <= start + 62 * MINUTE);
    }
}
