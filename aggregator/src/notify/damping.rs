//! Flap damping (RFC 2439, parameters of RFC 7196): an incident that comes and goes is told once as flapping, then not
//! until it has calmed down. Only notifications are damped; API, matrix and metrics stay truthful. Pure.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::incident::IncidentId;

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

/// What a reopening means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flap {
    /// Nothing yet.
    Calm,
    /// It flaps from now on.
    Begins {
        /// How often it was opened again until now.
        times: u32,
    },
    /// It flaps, as was said before.
    GoesOn,
}

/// The penalties of all incidents.
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

/// An entry as it is stored: ages instead of instants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FlapRecord {
    penalty: f64,
    /// When the penalty was that, milliseconds since the Unix epoch.
    at_millis: i64,
    reopenings: u32,
    /// Since when it is not told, milliseconds since the Unix epoch.
    suppressed_since_millis: Option<i64>,
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
    /// An incident was opened again.
    pub(super) fn on_reopened(&mut self, id: &IncidentId, now: Instant) -> Flap {
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
            Flap::GoesOn
        } else if entry.penalty >= SUPPRESS {
            entry.suppressed_since = Some(now);
            Flap::Begins {
                times: entry.reopenings,
            }
        } else {
            Flap::Calm
        }
    }

    /// Is it not told because it flaps?
    pub(super) fn is_suppressed(&self, id: &IncidentId) -> bool {
        let entry = self.incidents.get(id);
        entry.is_some_and(|entry| entry.suppressed_since.is_some())
    }

    /// How many reopenings its penalty is worth now.
    pub(super) fn recent_reopenings(&self, id: &IncidentId, now: Instant) -> u32 {
        let entry = self.incidents.get(id);
        entry.map_or(0, |entry| (entry.penalty(now) / PENALTY).round() as u32)
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
        released.sort_unstable();
        released
    }

    /// When [`Self::released`] has something next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.incidents.values().filter_map(Entry::released_at).min()
    }

    /// What to remember of an incident.
    pub(super) fn record(
        &self,
        id: &IncidentId,
        now: Instant,
        now_millis: i64,
    ) -> Option<FlapRecord> {
        let entry = self.incidents.get(id)?;
        let millis = |at: Instant| {
            let age = now.saturating_duration_since(at).as_millis();
            now_millis.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX))
        };
        Some(FlapRecord {
            penalty: entry.penalty,
            at_millis: millis(entry.at),
            reopenings: entry.reopenings,
            suppressed_since_millis: entry.suppressed_since.map(millis),
        })
    }

    /// Takes over what was remembered.
    pub(super) fn restore(
        &mut self,
        id: &IncidentId,
        record: FlapRecord,
        now: Instant,
        now_millis: i64,
    ) {
        // A clock that was set back makes it younger than it is, never older.
        let instant = |millis: i64| {
            let age = u64::try_from(now_millis.saturating_sub(millis)).unwrap_or(0);
            now.checked_sub(Duration::from_millis(age)).unwrap_or(now)
        };
        let entry = Entry {
            penalty: record.penalty,
            at: instant(record.at_millis),
            reopenings: record.reopenings,
            suppressed_since: record.suppressed_since_millis.map(instant),
        };
        self.incidents.insert(id.clone(), entry);
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::finding::Pattern;
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn incident() -> IncidentId {
        IncidentId::of_mesh(Pattern::NodeDark)
    }

    /// Opens again every `every`, `times` times, and says what each meant.
    fn flap(damping: &mut Damping, start: Instant, every: Duration, times: u32) -> Vec<Flap> {
        (0..times)
            .map(|i| damping.on_reopened(&incident(), start + every * i))
            .collect()
    }

    #[test]
    fn the_seventh_reopening_in_a_row_begins_it_and_then_it_goes_on() {
        let (mut damping, start) = (Damping::default(), meshprobe_daemon::clock::now());
        let meant = flap(&mut damping, start, Duration::from_secs(40), 20);
        assert!(
            meant[..6].iter().all(|flap| *flap == Flap::Calm),
            "{meant:?}"
        );
        assert_eq!(meant[6], Flap::Begins { times: 7 });
        assert!(meant[7..].iter().all(|flap| *flap == Flap::GoesOn));
        assert!(damping.is_suppressed(&incident()));
    }

    #[test]
    fn an_incident_that_reopens_twice_an_hour_is_never_damped() {
        let (mut damping, start) = (Damping::default(), meshprobe_daemon::clock::now());
        let meant = flap(&mut damping, start, 30 * MINUTE, 100);
        assert!(meant.iter().all(|flap| *flap == Flap::Calm));
    }

    #[test]
    fn it_is_released_when_it_has_calmed_down_and_after_an_hour_at_the_latest() {
        let (mut damping, start) = (Damping::default(), meshprobe_daemon::clock::now());
        flap(&mut damping, start, Duration::from_secs(10), 7);
        let release = damping.next_deadline().unwrap();
        let quiet = release.saturating_duration_since(start);
        assert!(quiet > 30 * MINUTE && quiet <= 61 * MINUTE, "{quiet:?}");
        assert!(damping.released(start + 30 * MINUTE).is_empty());
        assert_eq!(damping.released(release), [incident()]);
        assert_eq!(damping.on_reopened(&incident(), release), Flap::Calm);

        let mut damping = Damping::default();
        flap(&mut damping, start, Duration::from_secs(10), 7);
        flap(&mut damping, start + MINUTE, MINUTE, 50);
        assert!(damping.next_deadline().unwrap() <= start + 62 * MINUTE);
    }

    proptest! {
        /// Whatever the times between reopenings: it begins once, and ends within an hour of that.
        #[test]
        fn it_begins_once_between_two_releases(gaps in prop::collection::vec(1_u64..1800, 1..200)) {
            let (mut damping, start) = (Damping::default(), meshprobe_daemon::clock::now());
            let mut now = start;
            let mut begun: Option<Instant> = None;
            for gap in gaps {
                now += Duration::from_secs(gap);
                if !damping.released(now).is_empty() {
                    let began = begun.take();
                    prop_assert!(began.is_some(), "released what never began");
                }
                prop_assert!(begun.is_none_or(|at| now < at + MAX_SUPPRESSED));
                match damping.on_reopened(&incident(), now) {
                    Flap::Begins { times } => {
                        prop_assert!(begun.is_none() && times >= 6);
                        begun = Some(now);
                    }
                    Flap::GoesOn => prop_assert!(begun.is_some()),
                    Flap::Calm => prop_assert!(begun.is_none()),
                }
            }
        }

        /// A restart in the middle changes nothing, but for the milliseconds that are rounded off.
        #[test]
        fn what_is_stored_goes_on_as_it_was(gaps in prop::collection::vec(1_u64..600, 1..40), cut in 0_usize..40) {
            let start = meshprobe_daemon::clock::now() + Duration::from_secs(100_000);
            let (mut whole, mut cut_in_two) = (Damping::default(), Damping::default());
            let mut now = start;
            for (index, gap) in gaps.into_iter().enumerate() {
                now += Duration::from_secs(gap);
                if index == cut && let Some(record) = cut_in_two.record(&incident(), now, 5_000_000) {
                    cut_in_two = Damping::default();
                    cut_in_two.restore(&incident(), record, now, 5_000_000);
                }
                prop_assert_eq!(whole.released(now), cut_in_two.released(now));
                prop_assert_eq!(whole.on_reopened(&incident(), now), cut_in_two.on_reopened(&incident(), now));
            }
        }
    }
}
