//! Faults of several scenarios at once: which ones, the seed decides.
//!
//! ```yaml
//! draw:
//!   within: 30s                       # for all of them together
//!   clear: 60s
//!   groups:                           # at most one of each, for what is in one group explains or hides the other
//!     - [node-dark, prober-down]
//!     - [dns-servfail, dns-nxdomain]
//! ```
//!
//! Of each drawn scenario its faults are taken, up to the first `find`, and what that has to find. Its roles are played by nodes of
//! their own. What else it claims, of the matrix for example, is only true while nothing else is broken.

use std::path::Path;

use anyhow::{Context as _, ensure};
use meshprobe_daemon::config::{HumanDuration, Spanned};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use serde::Deserialize;

use super::file::Scenario;
use super::incident::ExpectedIncident;
use super::library;
use super::step::{EVERYTHING, Find, QuietFor, Step, WebhookMoment, Within};

/// How many faults come together.
const FAULTS: usize = 2;
/// Nothing else may be found for so long.
const QUIET: HumanDuration = HumanDuration::from_secs(15);

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draw {
    /// From the last fault until all are found.
    pub within: HumanDuration,
    /// From the repair until all have ended.
    pub clear: HumanDuration,
    /// Names of scenarios.
    pub groups: Vec<Vec<String>>,
}

/// What is taken of a scenario.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    roles: Vec<String>,
    faults: Vec<Spanned<Step>>,
    incidents: Vec<ExpectedIncident>,
}

/// The scenario with the faults that `seed` draws in the place of its `draw`; one that draws nothing is as it was.
pub fn play_out(mut scenario: Scenario, folder: &Path, seed: u64) -> anyhow::Result<Scenario> {
    let Some(draw) = scenario.draw.take() else {
        return Ok(scenario);
    };
    let names = draw.names(seed)?;
    let mut incidents = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let other = library::load(folder, name)?;
        let part = part(&other, index + 1).with_context(|| format!("draw `{name}`"))?;
        scenario.roles.extend(part.roles);
        scenario.apart_from.extend(other.apart_from);
        scenario.allowed_log.extend(other.allowed_log);
        scenario.steps.extend(part.faults);
        incidents.extend(part.incidents);
    }
    scenario.title = format!("{}: {}", scenario.title, names.join(" and "));
    let rest = [
        Step::Find(Find {
            within: draw.within,
            incidents,
            webhook: WebhookMoment::Now,
        }),
        Step::Quiet(QuietFor::Time(QUIET.duration())),
        Step::Heal(EVERYTHING.to_owned()),
        Step::Clear(Within { within: draw.clear }),
    ];
    let last = scenario.steps.last().context("nothing was drawn")?.clone();
    scenario
        .steps
        .extend(rest.map(|step| in_place_of(&last, step)));
    Ok(scenario)
}

impl Draw {
    fn names(&self, seed: u64) -> anyhow::Result<Vec<String>> {
        ensure!(
            self.groups.len() >= FAULTS && self.groups.iter().all(|group| !group.is_empty()),
            "`draw` needs at least {FAULTS} groups, and none of them empty"
        );
        let mut random = StdRng::seed_from_u64(seed);
        let mut groups: Vec<&Vec<String>> = self.groups.iter().collect();
        groups.shuffle(&mut random);
        let drawn = groups.into_iter().take(FAULTS);
        Ok(drawn
            .filter_map(|group| group.choose(&mut random).cloned())
            .collect())
    }
}

/// The faults of a scenario up to its first `find`, with `number` behind the names of its roles.
fn part(scenario: &Scenario, number: usize) -> anyhow::Result<Part> {
    let renamed = |role: &String| format!("{role}-{number}");
    let mut faults = Vec::new();
    for step in &scenario.steps {
        match &step.value {
            Step::Break(text) => {
                let words = text.split_whitespace().map(|word| {
                    let is_role = scenario.roles.iter().any(|role| role == word);
                    if is_role {
                        renamed(&word.to_owned())
                    } else {
                        word.to_owned()
                    }
                });
                let words: Vec<String> = words.collect();
                faults.push(in_place_of(step, Step::Break(words.join(" "))));
            }
            Step::Find(find) => {
                let mut incidents = find.incidents.clone();
                for incident in &mut incidents {
                    let roles = incident
                        .roles_mut()
                        .filter(|role| scenario.roles.contains(role));
                    roles.for_each(|role| *role = renamed(role));
                }
                return Ok(Part {
                    roles: scenario.roles.iter().map(renamed).collect(),
                    faults,
                    incidents,
                });
            }
            _ => {}
        }
    }
    anyhow::bail!("it has no `find`")
}

fn in_place_of(old: &Spanned<Step>, new: Step) -> Spanned<Step> {
    Spanned::new(new, old.referenced, old.defined)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn drawn(seed: u64) -> Scenario {
        let folder = library::own_folder();
        let scenario = library::load(&folder, "random-pair").expect("a scenario that draws");
        play_out(scenario, &folder, seed).expect("a pair")
    }

    #[test]
    fn a_pair_has_both_faults_and_the_incidents_of_both() {
        for seed in 0..100 {
            let scenario = drawn(seed);
            let breaks = scenario
                .steps
                .iter()
                .filter(|step| matches!(step.value, Step::Break(_)));
            assert!(breaks.count() >= 2, "{seed}: {}", scenario.title);
            let found = scenario.steps.iter().find_map(|step| match &step.value {
                Step::Find(find) => Some(find.incidents.len()),
                _ => None,
            });
            assert!(found >= Some(2), "{seed}: {}", scenario.title);
            let roles: BTreeSet<&String> = scenario.roles.iter().collect();
            assert_eq!(roles.len(), scenario.roles.len(), "each role once");
        }
    }

    #[test]
    fn the_seed_decides_and_many_pairs_have_their_turn() {
        assert_eq!(drawn(7), drawn(7));
        let titles: BTreeSet<String> = (0..100).map(|seed| drawn(seed).title).collect();
        assert!(titles.len() > 40, "{titles:?}");
    }
}
