//! One fault, what must be told about it, and what was.

use std::time::Duration;

use meshprobe_aggregator::incident::Transition;
use meshprobe_core::finding::Pattern;
use meshprobe_core::time::Moment;

use crate::aggregator::Announced;
use crate::mesh::{Fault, Mesh};

/// What is told about a fault has to be told by then.
const FOUND_WITHIN: Duration = Duration::from_secs(15);
/// What was told has to be taken back by then: an incident stays open for half a minute at least.
const CLEARED_WITHIN: Duration = Duration::from_secs(120);
/// Silence before each trial.
const REST: Duration = Duration::from_secs(12);
/// A look at the mesh.
const LOOK: Duration = Duration::from_secs(1);
/// Of the trace, before and in a trial that failed.
const TRACED_LINES: usize = 200;

/// What must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing at all.
    Nothing,
    /// One failure with this pattern and these nodes, which ends when the fault does.
    One(Pattern, Vec<usize>),
}

/// What is done to the mesh.
#[derive(Clone, Debug)]
pub(super) enum Treatment {
    /// These faults at once, for so long.
    Faults(Vec<Fault>, Duration),
    /// A prober stops on purpose and comes back after so long.
    Restart(usize, Duration),
}

/// A trial.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) treatment: Treatment,
    pub(super) expected: Expected,
}

impl Trial {
    /// Carries it out at a random moment. How long until it was told; `Err`: what went wrong, with the trace.
    pub(super) fn run(&self, mesh: &mut Mesh) -> Result<Option<Duration>, String> {
        let rest = REST + mesh.random_within(Duration::from_secs(10));
        mesh.run_for(rest);
        let mut told = mesh.take_announcements();
        let begun = mesh.now();
        if told.is_empty() {
            let lasts = match &self.treatment {
                Treatment::Faults(faults, lasts) => {
                    for fault in faults {
                        mesh.inject(*fault);
                    }
                    *lasts
                }
                Treatment::Restart(node, lasts) => {
                    mesh.stop_prober(*node, Duration::from_secs(120));
                    *lasts
                }
            };
            mesh.run_for(lasts);
            match &self.treatment {
                Treatment::Faults(faults, _) => {
                    for fault in faults {
                        mesh.heal(*fault);
                    }
                }
                Treatment::Restart(node, _) => mesh.start_prober(*node),
            }
            told.extend(mesh.take_announcements());
            self.wait_for_end(mesh, &mut told);
        }
        self.judge(mesh, begun, &told)
    }

    fn wait_for_end(&self, mesh: &mut Mesh, told: &mut Vec<Announced>) {
        let healed = mesh.now();
        let is_over = |told: &[Announced], now: Moment| match self.expected {
            Expected::Nothing => now >= healed + FOUND_WITHIN,
            Expected::One(..) => {
                let opened = told.iter().filter(|told| told.is_opening()).count();
                let resolved = |told: &&Announced| told.transition == Transition::Resolved;
                opened > 0 && told.iter().filter(resolved).count() >= opened
            }
        };
        while !is_over(told, mesh.now()) && mesh.now() < healed + CLEARED_WITHIN {
            mesh.run_for(LOOK);
            told.extend(mesh.take_announcements());
        }
    }

    fn judge(
        &self,
        mesh: &Mesh,
        begun: Moment,
        told: &[Announced],
    ) -> Result<Option<Duration>, String> {
        let openings: Vec<&Announced> = told.iter().filter(|told| told.is_opening()).collect();
        let failed = |what: &str| {
            let last = told.iter().map(|told| told.at).max();
            let until = last
                .unwrap_or(Moment::ORIGIN)
                .max(begun)
                .min(begun + FOUND_WITHIN);
            let from = begun - Duration::from_secs(1);
            let trace = mesh.trace().about(&self.nodes(), from, until, TRACED_LINES);
            Err(format!("{what}\n  {self:?}\n  told: {told:#?}\n{trace}"))
        };
        let (pattern, nodes) = match &self.expected {
            Expected::Nothing if told.is_empty() => return Ok(None),
            Expected::Nothing => return failed("something was told where nothing had to be"),
            Expected::One(pattern, nodes) => (pattern, nodes),
        };
        let [only] = openings[..] else {
            return failed(if openings.is_empty() {
                "nothing was told"
            } else {
                "too much was told"
            });
        };
        let last = told.iter().rfind(|told| told.pattern == *pattern);
        if only.pattern != *pattern || last.is_none_or(|last| last.nodes != *nodes) {
            return failed("something else was told");
        }
        if only.at < begun || only.at > begun + FOUND_WITHIN {
            return failed("it was not told in time");
        }
        if !told
            .iter()
            .any(|told| told.transition == Transition::Resolved)
        {
            return failed("it was not taken back");
        }
        Ok(Some(only.at.saturating_since(begun)))
    }

    fn nodes(&self) -> Vec<usize> {
        match (&self.treatment, &self.expected) {
            (Treatment::Restart(node, _), _) => vec![*node],
            (_, Expected::One(_, nodes)) => nodes.clone(),
            _ => Vec::new(),
        }
    }
}
