//! What a scenario claims about single measurements: asked again and again until it is so, or too late.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use meshprobe_core::detail::Detail;
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::Layer;
use meshprobe_core::verdict::Verdict;
use meshprobe_daemon::clock;
use meshprobe_lab::mesh::{Api, ApiError};
use meshprobe_proto::v1;

use super::{Failed, Stage};
use crate::metrics_page::MetricsPage;
use crate::scenario::claim::cells::ResolvedCells;
use crate::scenario::claim::detail::Setting;
use crate::scenario::claim::grid::Grid;
use crate::scenario::claim::matrix::MatrixClaim;
use crate::scenario::claim::node::{NodeClaim, Peak};
use crate::scenario::claim::path::{PathClaim, Which};
use crate::scenario::claim::share::{Count, Of, ShareClaim};
use crate::scenario::outcome::to_millis;

/// How often is asked.
const LOOK: Duration = Duration::from_millis(500);
/// Paths that are told of a claim that fails.
const TOLD: usize = 6;
/// Probes by how they ended, as a prober counts them.
const PROBES: &str = "meshprobe_prober_probes_total";

impl Stage<'_> {
    pub(super) fn claim_matrix(&mut self, claim: &MatrixClaim) -> anyhow::Result<()> {
        let wanted = claim.resolve(&self.cast, &self.ground)?;
        let api = self.mesh.api()?;
        let found = self.wait_for(claim.within.duration(), claim.stays.duration(), |stage| {
            Ok(match stage.grids(&api, None) {
                Ok(grids) => wanted.differences(&grids),
                Err(error) => vec![error.to_string()],
            })
        })?;
        let layers: Vec<&str> = claim.expect.iter().map(|one| one.layer.text()).collect();
        let words = if layers.is_empty() {
            "every path is healthy".to_owned()
        } else {
            format!("exactly the expected paths of {} fail", layers.join(", "))
        };
        self.note(found, &words);
        Ok(())
    }

    pub(super) fn claim_path(&mut self, claim: &PathClaim) -> anyhow::Result<()> {
        let wanted = claim.cells().resolve(&self.cast, &self.ground)?;
        let api = self.mesh.api()?;
        let layer = claim.layer.0;
        let found = self.wait_for(claim.within.duration(), Duration::ZERO, |stage| {
            let setting = Setting {
                cast: &stage.cast,
                ground: &stage.ground,
                now: jiff::Timestamp::now().as_second(),
            };
            let judged = stage.paths(&api, layer, &wanted).map(|paths| {
                let judged = paths.iter().map(|(name, path)| {
                    let wrong = claim.differences(path, setting);
                    (name.as_str(), wrong)
                });
                of_all(claim.which, judged.collect())
            });
            let wrong = judged.unwrap_or_else(|error| vec![error.to_string()]);
            Ok(wrong.iter().map(|one| format!("{layer}: {one}")).collect())
        })?;
        let words = format!("{layer}: {} is as expected", wanted.text());
        self.note(found, &words);
        Ok(())
    }

    pub(super) fn claim_share(&mut self, claim: &ShareClaim) -> anyhow::Result<()> {
        let wanted = claim.cells().resolve(&self.cast, &self.ground)?;
        let layer = claim.layer.0;
        let before = self.lost_probes(layer)?;
        self.watch_for(claim.during.duration())?;
        let count = if claim.of == Of::LostProbes {
            let after = self.lost_probes(layer)?;
            Count {
                failed: after.failed.saturating_sub(before.failed),
                of: after.of.saturating_sub(before.of),
            }
        } else {
            let paths = self.paths(&self.mesh.api()?, layer, &wanted)?;
            let details = paths.iter().filter_map(|(_, path)| {
                let cell = path.forward.iter().find(|cell| is_of(cell, layer))?;
                let detail = Detail::try_from(cell.detail.as_ref()?).ok()?;
                Count::in_detail(claim.of, &detail)
            });
            details.fold(Count::default(), Count::plus)
        };
        let judged = claim.judge(count);
        let words = judged.map_err(|why| Failed::one(format!("{layer}: {why}")))?;
        self.story.tell(&format!("{layer}: {words}"));
        Ok(())
    }

    pub(super) fn claim_node(&mut self, claim: &NodeClaim) -> anyhow::Result<()> {
        let node = self.cast.node(&claim.name)?.to_owned();
        let api = self.mesh.api()?;
        let mut peak = Peak::default();
        let found = self.wait_for(claim.within.duration(), Duration::ZERO, |_| {
            let wrong = match api.node(&node) {
                Ok(detail) => claim.differences(&detail, &mut peak),
                Err(error) => vec![error.to_string()],
            };
            Ok(wrong.iter().map(|one| format!("{node}: {one}")).collect())
        })?;
        self.note(found, &format!("{node} says so itself"));
        Ok(())
    }

    /// Prints what is not healthy, with its counts.
    pub(super) fn tell_matrix(&self) -> anyhow::Result<()> {
        let api = self.mesh.api()?;
        for grid in self.grids(&api, None)? {
            let unhealthy = |(row, column): &(usize, usize)| {
                grid.verdict(*row, *column) != Some(Verdict::Healthy)
            };
            for (row, column) in grid.cells().filter(unhealthy) {
                let (source, target) = (&grid.sources[row].name, &grid.targets[column].name);
                let detail = api.path(source, target)?;
                let cell = detail.forward.iter().find(|cell| is_of(cell, grid.layer));
                let counts = cell.map_or_else(String::new, |cell| {
                    format!(
                        " {}/{} answered, {} received, {} in a row lost, last {}, {:.1} of {:.1} ms",
                        cell.replied,
                        cell.sent,
                        cell.received.map_or("?".to_owned(), |count| count.to_string()),
                        cell.consecutive_losses,
                        cell.last_failure().as_str_name(),
                        cell.rtt_median_seconds * 1e3,
                        cell.rtt_baseline_seconds * 1e3,
                    )
                });
                let verdict = grid.verdict(row, column);
                let verdict = verdict.map_or("no verdict".to_owned(), |one| format!("{one:?}"));
                let path = grid.path(row, column);
                self.story
                    .tell(&format!("{}: {path} {verdict}{counts}", grid.layer));
            }
        }
        Ok(())
    }

    /// Until nothing is wrong, for as long as it has to stay so. When that began.
    fn wait_for(
        &mut self,
        within: Duration,
        stays: Duration,
        mut look: impl FnMut(&Self) -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<Instant> {
        let deadline = self.last_change() + within;
        let mut right_since = None;
        loop {
            self.no_surprise()?;
            let wrong = look(self)?;
            let now = clock::now();
            if wrong.is_empty() {
                let since = *right_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= stays {
                    return Ok(since);
                }
            } else if now >= deadline {
                let mut why = wrong;
                why.push(format!("the limit was {within:?}"));
                return Err(Failed(why).into());
            } else {
                right_since = None;
            }
            let next = clock::now() + LOOK;
            while clock::now() < next {
                self.breathe()?;
            }
        }
    }

    /// When something was broken or healed last; before that, the beginning.
    fn last_change(&self) -> Instant {
        let changes = [self.broken_at, self.healed_at];
        let last = changes.into_iter().flatten().max();
        last.unwrap_or(self.healthy_at)
    }

    /// Tells it, and remembers the time of the slowest such claim, unless incidents have one.
    fn note(&mut self, at: Instant, words: &str) {
        let seconds = to_millis(
            at.saturating_duration_since(self.last_change())
                .as_secs_f64(),
        );
        self.story.tell(&format!("after {seconds:.2} s: {words}"));
        let slowest = match (self.broken.is_empty(), self.has_found) {
            (true, _) => &mut self.seconds_to_clear,
            (false, false) => &mut self.seconds_to_find,
            (false, true) => return,
        };
        *slowest = Some(slowest.map_or(seconds, |before| before.max(seconds)));
    }

    /// The matrices of all layers with data, or of one.
    fn grids(&self, api: &Api, only: Option<Layer>) -> Result<Vec<Grid>, ApiError> {
        let layers = api.status()?.layers;
        let layers = layers
            .iter()
            .filter_map(|layer| Layer::try_from(layer).ok());
        layers
            .filter(|layer| only.is_none_or(|only| only == *layer))
            .map(|layer| Ok(Grid::read(layer, &api.matrix(layer)?, &self.ground)))
            .collect()
    }

    /// What is known of each of these paths.
    fn paths(
        &self,
        api: &Api,
        layer: Layer,
        wanted: &ResolvedCells,
    ) -> Result<Vec<(String, v1::PathDetail)>, ApiError> {
        let mut paths = Vec::new();
        for grid in self.grids(api, Some(layer))? {
            for (row, column) in grid.cells() {
                if wanted.name(&grid, row, column) {
                    let (source, target) = (&grid.sources[row].name, &grid.targets[column].name);
                    paths.push((grid.path(row, column), api.path(source, target)?));
                }
            }
        }
        Ok(paths)
    }

    /// As all probers count them since they started.
    fn lost_probes(&self, layer: Layer) -> anyhow::Result<Count> {
        let (kind, plane) = (layer.kind.to_string(), layer.plane.to_string());
        let mut pages = Vec::new();
        for node in self.lab.nodes() {
            pages.push(self.mesh.prober_admin(&node.name, "/metrics")?);
            if self.lab.has_host_probers() {
                pages.push(self.mesh.host_prober_admin(&node.name, "/metrics")?);
            }
        }
        let mut count = Count::default();
        for page in pages.iter().map(|page| MetricsPage::parse(page)) {
            for class in OutcomeClass::ALL {
                let labels = [
                    ("kind", kind.as_str()),
                    ("plane", plane.as_str()),
                    ("outcome", class.as_str()),
                ];
                let probes = page.sum(PROBES, &labels).unwrap_or(0.0) as u64;
                count = count.plus(Count {
                    failed: if class.is_loss() { probes } else { 0 },
                    of: if class == OutcomeClass::Invalid {
                        0
                    } else {
                        probes
                    },
                });
            }
        }
        (count.of > 0)
            .then_some(count)
            .with_context(|| format!("no prober counts probes of {kind} on the plane {plane}"))
    }
}

fn is_of(cell: &v1::Cell, layer: Layer) -> bool {
    let own = cell.layer.as_ref().map(Layer::try_from);
    own.is_some_and(|own| own.is_ok_and(|own| own == layer))
}

/// What is wrong with all paths together, each with its name.
fn of_all(which: Which, judged: Vec<(&str, Vec<String>)>) -> Vec<String> {
    if judged.is_empty() {
        return vec!["there is no such path".to_owned()];
    }
    if which == Which::Some && judged.iter().any(|(_, wrong)| wrong.is_empty()) {
        return Vec::new();
    }
    let mut wrong: Vec<String> = judged
        .into_iter()
        .filter(|(_, wrong)| !wrong.is_empty())
        .map(|(name, wrong)| format!("{name}: {}", wrong.join(", ")))
        .collect();
    let more = wrong.len().saturating_sub(TOLD);
    wrong.truncate(TOLD);
    if more > 0 {
        wrong.push(format!("{more} more such paths"));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged<'a>(wrong: &[&'a str]) -> Vec<(&'a str, Vec<String>)> {
        wrong
            .iter()
            .map(|wrong| {
                let wrong = Some(*wrong).filter(|wrong| !wrong.is_empty());
                ("a -> b", wrong.map(str::to_owned).into_iter().collect())
            })
            .collect()
    }

    #[test]
    fn every_path_or_one_of_them() {
        assert_eq!(of_all(Which::Every, judged(&["", ""])), [""; 0]);
        assert_eq!(
            of_all(Which::Every, judged(&["", "it is down"])),
            ["a -> b: it is down"]
        );
        assert_eq!(of_all(Which::Some, judged(&["", "it is down"])), [""; 0]);
        assert_eq!(of_all(Which::Some, judged(&["it is down"])).len(), 1);
    }

    #[test]
    fn no_path_is_no_success() {
        for which in [Which::Every, Which::Some] {
            assert_eq!(of_all(which, Vec::new()), ["there is no such path"]);
        }
    }

    #[test]
    fn many_differences_are_told_in_part() {
        let wrong = of_all(Which::Every, judged(&["it is down"; 9]));
        assert_eq!(wrong.len(), TOLD + 1);
        assert_eq!(wrong[TOLD], "3 more such paths");
    }
}
