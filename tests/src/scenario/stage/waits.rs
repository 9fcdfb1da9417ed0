//! What a scenario waits for, and what may not happen meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use meshprobe_daemon::clock;
use meshprobe_daemon::config::HumanDuration;
use meshprobe_lab::mesh::MeshError;

use super::{Failed, Stage};
use crate::recovery;
use crate::scenario::agreement::{self, Notice};
use crate::scenario::expected::{Comparison, Expected, compare, wrong_estimates};
use crate::scenario::journal::Journal;
use crate::scenario::outcome::to_millis;
use crate::scenario::reports;
use crate::scenario::step::{Check, Find, Notifications, QuietFor, WebhookMoment};

/// Paths answer again when the failure has left the fast windows, and reports when the ways home are open.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether something is so by now.
const LOOK: Duration = Duration::from_millis(20);
/// The aggregator is not down, and does not answer for this long: it hangs.
const API_PATIENCE: Duration = Duration::from_secs(15);
/// After something unexpected, the rest of the story is worth hearing.
const AFTERMATH: Duration = Duration::from_secs(3);
/// What an incident says of how much is lost is right by accident for a moment.
const ESTIMATE_STAYS: Duration = Duration::from_secs(5);
/// What the status says follows what happened within this.
const STATUS_PATIENCE: Duration = Duration::from_secs(30);

impl Stage<'_> {
    pub(super) fn find(&mut self, find: &Find) -> anyhow::Result<()> {
        let wanted: Vec<Expected> = find
            .incidents
            .iter()
            .map(|incident| incident.resolve(&self.cast, &self.ground))
            .collect::<Result<_, _>>()?;
        let broken_at = self
            .broken_at
            .context("`find` before anything was broken")?;
        let deadline = broken_at + find.within.duration();
        self.expected.extend(wanted.iter().cloned());
        self.open.extend(wanted.iter().cloned());
        loop {
            let is_over = clock::now() >= deadline;
            let journal = self.observer.journal();
            let comparison = compare(&self.expected, &journal.openings());
            if !comparison.extra.is_empty() {
                return surprise(&comparison);
            }
            let found_at = found_at(&wanted, find.webhook, broken_at, &journal, &self.notices()?);
            if comparison.is_exact()
                && let Some(found_at) = found_at.filter(|at| *at <= deadline)
            {
                let seconds = found_at.saturating_duration_since(broken_at).as_secs_f64();
                self.found_after(to_millis(seconds));
                self.story.tell(&format!("found within {seconds:.2} s"));
                return self.wait_for_estimates(&wanted, broken_at);
            }
            if is_over {
                let mut why = comparison.differences();
                if comparison.is_exact() {
                    why.push(format!("no webhook within {}", find.within));
                }
                why.push(format!("the limit was {}", find.within));
                return Err(Failed(why).into());
            }
            self.breathe()?;
        }
    }

    /// Until each of them has said for a while how much is lost, in the limits of the file.
    fn wait_for_estimates(&self, wanted: &[Expected], broken_at: Instant) -> anyhow::Result<()> {
        let limits = wanted.iter().filter_map(|expected| expected.loss);
        let Some(limit) = limits.map(|loss| loss.within.duration()).max() else {
            return Ok(());
        };
        let deadline = broken_at + limit;
        let mut right_since = None;
        loop {
            self.no_surprise()?;
            let wrong = wrong_estimates(wanted, &self.observer.journal().open());
            let now = clock::now();
            if wrong.is_empty() {
                let since = *right_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= ESTIMATE_STAYS {
                    let seconds = since.saturating_duration_since(broken_at).as_secs_f64();
                    self.story
                        .tell(&format!("the estimate is right after {seconds:.2} s"));
                    return Ok(());
                }
            } else if now >= deadline {
                let mut why = wrong;
                why.push(format!("the limit was {limit:?}"));
                return Err(Failed(why).into());
            } else {
                right_since = None;
            }
            self.breathe()?;
        }
    }

    /// Remembers the time of the slowest finding.
    fn found_after(&mut self, seconds: f64) {
        let before = self.seconds_to_find.filter(|_| self.has_found);
        self.seconds_to_find = Some(before.map_or(seconds, |before| before.max(seconds)));
        self.has_found = true;
    }

    pub(super) fn clear(&mut self, within: Duration) -> anyhow::Result<()> {
        let healed_at = self
            .healed_at
            .context("`clear` before anything was healed")?;
        let deadline = healed_at + within;
        loop {
            let is_over = clock::now() >= deadline;
            let journal = self.observer.journal();
            let comparison = compare(&self.expected, &journal.openings());
            if !comparison.is_exact() {
                return surprise(&comparison);
            }
            let open = journal.open();
            if open.is_empty() {
                let ended_at = |expected: &Expected| {
                    journal.find(&expected.what)?.1.resolved_at.last().copied()
                };
                if let Some(last) = self.open.iter().filter_map(ended_at).max() {
                    let seconds = last.saturating_duration_since(healed_at).as_secs_f64();
                    self.seconds_to_clear = Some(to_millis(seconds));
                    self.story.tell(&format!("all clear after {seconds:.2} s"));
                }
                break;
            }
            if is_over {
                let still = open
                    .iter()
                    .map(|found| format!("still open: {}", found.what));
                return Err(Failed(still.collect()).into());
            }
            self.breathe()?;
        }
        self.wait_for_recovery(deadline)?;
        if self.open.is_empty() {
            let seconds = clock::now().saturating_duration_since(healed_at);
            self.seconds_to_clear = Some(to_millis(seconds.as_secs_f64()));
        }
        self.open.clear();
        self.no_surprise()
    }

    fn wait_for_recovery(&self, deadline: Instant) -> anyhow::Result<()> {
        let deadline = deadline.max(clock::now() + RECOVERY_PATIENCE);
        let api = self.mesh.api()?;
        while let Some(missing) = recovery::missing(&api)? {
            if clock::now() >= deadline {
                let why = format!("not recovered in time: {missing}");
                return Err(Failed::one(why).into());
            }
            self.breathe()?;
        }
        self.story.tell("every node reports and every path answers");
        Ok(())
    }

    pub(super) fn quiet(&mut self, quiet: QuietFor) -> anyhow::Result<()> {
        let time = match quiet {
            QuietFor::Time(time) => time,
            QuietFor::Duration => {
                let own = self.scenario.duration.map(HumanDuration::duration);
                self.casting
                    .duration
                    .or(own)
                    .context("`quiet: duration` without a duration")?
            }
        };
        self.story.tell(&format!("nothing may happen for {time:?}"));
        self.watch_for(time)
    }

    /// For this long, nothing opens and nothing ends.
    pub(super) fn watch_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = clock::now() + time;
        while clock::now() < end {
            self.no_surprise()?;
            self.breathe()?;
        }
        self.no_surprise()
    }

    pub(super) fn judging(&self, within: Duration) -> anyhow::Result<()> {
        let deadline = clock::now() + within;
        let api = self.mesh.api()?;
        loop {
            let missing = match api.status() {
                Ok(status) if status.judging => break,
                Ok(status) => status.not_judging_reason,
                Err(error) => error.to_string(),
            };
            if clock::now() >= deadline {
                return Err(
                    Failed::one(format!("it does not judge after {within:?}: {missing}")).into(),
                );
            }
            self.breathe()?;
        }
        self.story.tell("the aggregator judges");
        self.no_surprise()
    }

    pub(super) fn notifications(&self, limit: &Notifications) -> anyhow::Result<()> {
        let notices = self.notices()?;
        let told = agreement::distinct(&notices);
        let mut wrong = Vec::new();
        if told.len() > limit.at_most {
            let each: Vec<String> = told
                .iter()
                .map(|notice| format!("{} {}", notice.transition, notice.what))
                .collect();
            wrong.push(format!(
                "{} notifications came, at most {} may: {}",
                told.len(),
                limit.at_most,
                each.join(", ")
            ));
        }
        let bodies: Vec<String> = self
            .mesh
            .webhooks()
            .iter()
            .map(|notification| notification.body.to_string())
            .collect();
        for words in &limit.say {
            if !bodies.iter().any(|body| body.contains(words.as_str())) {
                wrong.push(format!("no notification says `{words}`"));
            }
        }
        if !wrong.is_empty() {
            return Err(Failed(wrong).into());
        }
        self.story
            .tell(&format!("{} notifications came", told.len()));
        Ok(())
    }

    pub(super) fn check(&self, check: Check) -> anyhow::Result<()> {
        match check {
            Check::NoReportLost => {
                reports::none_lost(&self.mesh, &self.store(), |line| self.story.tell(line))
            }
            Check::StoreUnwritable => self.wait_for_store(false),
            Check::StoreWritable => self.wait_for_store(true),
        }
    }

    pub(super) fn wait_for_store(&self, writable: bool) -> anyhow::Result<()> {
        let deadline = clock::now() + STATUS_PATIENCE;
        let api = self.mesh.api()?;
        while api.status()?.store_writable != writable {
            if clock::now() >= deadline {
                let why = format!("the status does not say store_writable = {writable}");
                return Err(Failed::one(why).into());
            }
            self.breathe()?;
        }
        self.story
            .tell(&format!("the status says: store_writable = {writable}"));
        Ok(())
    }

    /// What happened so far is what was expected so far.
    pub(super) fn no_surprise(&self) -> anyhow::Result<()> {
        let journal = self.observer.journal();
        let comparison = compare(&self.expected, &journal.openings());
        if !comparison.is_exact() {
            return surprise(&comparison);
        }
        let lasting: Vec<Expected> = self
            .open
            .iter()
            .filter(|expected| !expected.may_reopen)
            .cloned()
            .collect();
        let open = compare(&lasting, &journal.open());
        let ended: Vec<String> = open
            .missing
            .iter()
            .map(|what| format!("ended while its cause lasts: {what}"))
            .collect();
        if ended.is_empty() {
            Ok(())
        } else {
            Err(Failed(ended).into())
        }
    }

    /// A moment of waiting, in which no process may have ended and the API may not have fallen silent.
    pub(super) fn breathe(&self) -> anyhow::Result<()> {
        thread::sleep(LOOK);
        if let Some((name, status)) = self.mesh.crashed()?.first() {
            return Err(Failed::one(format!("{name} has ended by itself: {status}")).into());
        }
        let (silent, why) = self.observer.silence();
        if self.is_aggregator_up && silent > API_PATIENCE {
            return Err(
                Failed::one(format!("the API does not answer for {silent:?}: {why}")).into(),
            );
        }
        Ok(())
    }

    pub(super) fn wait_until_healthy(&self, patience: Duration) -> anyhow::Result<()> {
        match self.mesh.wait_until_healthy(patience) {
            Err(MeshError::NotHealthy(not_healthy)) => {
                let why = format!("not healthy after {patience:?}: {}", not_healthy.missing());
                Err(Failed::one(why).into())
            }
            other => Ok(other?),
        }
    }
}

fn surprise(comparison: &Comparison) -> anyhow::Result<()> {
    thread::sleep(AFTERMATH);
    Err(Failed(comparison.differences()).into())
}

/// When the last of the wanted incidents was announced; `None`: not all are yet.
fn found_at(
    wanted: &[Expected],
    moment: WebhookMoment,
    since: Instant,
    journal: &Journal,
    notices: &[Notice],
) -> Option<Instant> {
    let announced_at = |expected: &Expected| match moment {
        WebhookMoment::Now => notices
            .iter()
            .find(|notice| {
                notice.is_opening() && notice.what == expected.what && notice.received_at >= since
            })
            .map(|notice| notice.received_at),
        WebhookMoment::AfterHealing => journal.find(&expected.what)?.1.opened_at.last().copied(),
    };
    let times: Option<Vec<Instant>> = wanted.iter().map(announced_at).collect();
    times?.into_iter().max()
}
