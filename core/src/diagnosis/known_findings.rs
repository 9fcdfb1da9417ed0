//! What was found before, and still is.
//!
//! A picture shows a share by the last ten to twenty seconds, or by counts that fade with 80 s and hold what was before the
//! fault. Once a finding stands, the losses since then are known: what has been counted by now, less what is left of what had
//! been counted when it was found. That is more to go by with every second, and nothing of another time is in it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cell::LONG_FADING;
use crate::finding::{Counted, Estimate, Finding, Pattern, Scope};
use crate::time::Moment;

/// A finding that was absent for so long is a new one when it comes again: one may be missing in a look or two.
const GAP: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    since: Moment,
    seen: Moment,
    counted: Option<Counted>,
}

/// See the module. Holds what was found in the last fifteen seconds, and no more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownFindings {
    entries: BTreeMap<(Pattern, Scope), Entry>,
}

impl KnownFindings {
    /// These were found now. Fills in since when each of them is found where nothing better is known.
    pub fn settle(&mut self, findings: &mut [Finding], now: Moment) {
        self.entries
            .retain(|_, entry| now.saturating_since(entry.seen) <= GAP);
        for finding in findings {
            let key = (finding.pattern, finding.scope.clone());
            let entry = self.entries.entry(key).or_insert(Entry {
                since: now,
                seen: now,
                counted: finding.counted,
            });
            entry.seen = now;
            finding.since.get_or_insert(entry.since);
        }
    }

    /// The share that a finding has taken since it stands; `said`, the share by the newest counts, if that is more to go by, or
    /// if `lately`, the share of the last seconds, contradicts the other.
    pub(super) fn share(
        &self,
        (pattern, scope): (Pattern, &Scope),
        counted: Counted,
        (said, lately): (Estimate, Estimate),
        now: Moment,
    ) -> Estimate {
        let entry = self.entries.get(&(pattern, scope.clone()));
        let Some((entry, before)) = entry.and_then(|e| Some((e, e.counted?))) else {
            return said;
        };
        let age = now.saturating_since(entry.since).as_secs_f64();
        let left = (-age / LONG_FADING.as_secs_f64()).exp();
        let sent = (counted.sent - before.sent * left).max(0.0);
        let lost = (counted.lost - before.lost * left).clamp(0.0, sent);
        let since = Estimate::of(lost.round() as u64, sent.round() as u64);
        let agrees = (lately.lower..=lately.upper).contains(&since.ratio);
        if agrees && since.sent > lately.sent {
            since
        } else {
            said
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeName;

    fn at(second: u64) -> Moment {
        Moment::from_millis(1_000_000 + second * 1_000)
    }

    fn finding(counted: Counted) -> Finding {
        let scope = Scope::node(NodeName::try_from("n1").unwrap());
        Finding {
            counted: Some(counted),
            ..Finding::new(Pattern::ServiceVip, scope, "")
        }
    }

    fn share(known: &KnownFindings, counted: Counted, lost: u64, now: Moment) -> Estimate {
        let lately = Estimate::of(lost, 60);
        let finding = finding(counted);
        known.share(finding.key(), counted, (lately, lately), now)
    }

    /// Six probes a second; a third of them fails since ten seconds before the first look.
    fn counted(seconds: f64) -> Counted {
        let share = 1.0 - (-(seconds + 10.0) / 80.0).exp();
        Counted {
            sent: 480.0,
            lost: 160.0 * share,
            lost_at: None,
        }
    }

    #[test]
    fn the_longer_a_share_stands_the_better_it_is_known() {
        let mut known = KnownFindings::default();
        assert_eq!(share(&known, counted(0.0), 20, at(0)).sent, 60);
        let mut found = [finding(counted(0.0))];
        known.settle(&mut found, at(0));
        assert_eq!(found[0].since, Some(at(0)));
        let loss = share(&known, counted(60.0), 15, at(60));
        assert!((loss.ratio - 1.0 / 3.0).abs() < 0.01, "{loss}");
        assert_eq!(loss.sent, 253);
    }

    #[test]
    fn what_the_last_seconds_contradict_is_not_said_and_what_was_away_begins_anew() {
        let mut known = KnownFindings::default();
        known.settle(&mut [finding(counted(0.0))], at(0));
        let worse = share(&known, counted(60.0), 55, at(60));
        assert_eq!((worse.lost, worse.sent), (55, 60));
        let mut again = [finding(counted(80.0))];
        known.settle(&mut again, at(80));
        assert_eq!(again[0].since, Some(at(80)));
    }
}
