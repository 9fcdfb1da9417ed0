//! One fault, from its first second until it is forgotten.

use super::engine::Engine;
use super::explain;
use super::fault::{Fault, Name};
use super::watch::{Opened, Watcher};

/// A fault that hits everything has to be told by then, seconds.
pub(super) const FOUND_WITHIN: u32 = 15;
/// What was told has to be taken back by then, seconds after the fault is healed.
pub(super) const CLEARED_WITHIN: u32 = 60;
/// A fault lasts for so long at least, and after it was told.
const LASTS: u32 = 40;
const LASTS_ON: u32 = 15;
/// What was not told by then is missed: total faults, others.
const GIVEN_UP: (u32, u32) = (90, 240);
/// Nobody waits longer for the end.
const FORGOTTEN: u32 = 150;
/// Quiet seconds at the end.
const REST: u32 = 10;
/// The first seconds after a change are looked at closely.
const CLOSELY: u32 = 25;

/// How a trial is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Seconds between two looks just after a change.
    pub(super) close: u32,
    /// Between two looks later.
    pub(super) wide: u32,
}

impl Pace {
    /// A large mesh is looked at less often, so that a run ends.
    pub(super) const fn for_nodes(nodes: usize) -> Self {
        if nodes <= 200 {
            Self { close: 1, wide: 3 }
        } else {
            Self { close: 2, wide: 5 }
        }
    }
}

/// How it went.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) fault: Fault,
    /// For each expected finding: seconds until it was told; `None`: never.
    pub(super) found: Vec<(Name, Option<u32>)>,
    /// What was told and is not true.
    pub(super) extra: Vec<Opened>,
    /// Seconds until nothing was open any more; `None`: not in time to see it.
    pub(super) cleared: Option<u32>,
    /// Openings and ends that people were told.
    pub(super) told: u32,
    pub(super) busy: std::time::Duration,
    pub(super) looks: u32,
    /// For people, where something was wrong.
    pub(super) story: String,
}

impl Verdict {
    /// Exactly the expected findings?
    pub(super) fn is_right(&self) -> bool {
        self.extra.is_empty() && self.found.iter().all(|(_, at)| at.is_some())
    }

    /// Seconds until the last expected finding was told.
    pub(super) fn seconds(&self) -> Option<u32> {
        let times: Option<Vec<u32>> = self.found.iter().map(|(_, at)| *at).collect();
        times?.into_iter().max()
    }

    /// Told, and taken back, in the time that is promised?
    pub(super) fn is_in_time(&self) -> bool {
        let found = !self.fault.is_total || self.seconds().is_none_or(|s| s <= FOUND_WITHIN);
        found
            && self
                .cleared
                .is_some_and(|seconds| seconds <= CLEARED_WITHIN)
    }
}

/// Breaks a healthy mesh, watches, heals it, and watches on.
pub(super) fn run(mut engine: Engine, fault: &Fault, pace: Pace) -> Verdict {
    let mut watcher = Watcher::new();
    engine.set_rules(fault.rules.clone());
    let begun = engine.now;
    let give_up = match (fault.expected.is_empty(), fault.is_total) {
        (true, _) => LASTS,
        (false, true) => GIVEN_UP.0,
        (false, false) => GIVEN_UP.1,
    };
    let told = |watcher: &Watcher| {
        let name = |expected: &Name| {
            let opened = watcher.opened.iter().find(|one| one.name == *expected);
            opened.map(|one| one.at - begun)
        };
        let found = fault.expected.iter().map(|e| (e.clone(), name(e)));
        found.collect::<Vec<_>>()
    };
    let mut story = String::new();
    let mut is_down = false;
    loop {
        engine.tick();
        let since = engine.now - begun;
        if fault.period > 0 && since.is_multiple_of(fault.period / 2) {
            is_down = !is_down;
            engine.set_rules(if is_down {
                Vec::new()
            } else {
                fault.rules.clone()
            });
        }
        if since == fault.lasts {
            engine.set_rules(Vec::new());
        }
        if !is_look(since, pace) {
            continue;
        }
        let (picture, diagnosis) = watcher.look(&mut engine);
        let found = told(&watcher);
        let last = found.iter().filter_map(|(_, at)| *at).max().unwrap_or(0);
        let all = found.iter().all(|(_, at)| at.is_some());
        let is_over = since >= give_up || (all && since >= LASTS.max(last + LASTS_ON));
        let is_wrong = !all || watcher.opened.len() > found.len();
        if is_over {
            if is_wrong {
                story = explain::story(&engine, &picture, &diagnosis);
            }
            break;
        }
    }
    let found = told(&watcher);
    engine.set_rules(Vec::new());
    let healed = engine.now;
    let mut cleared = None;
    while cleared.is_none_or(|at| engine.now - healed < at + REST)
        && engine.now - healed < FORGOTTEN
    {
        engine.tick();
        let since = engine.now - healed;
        if !is_look(since, pace) {
            continue;
        }
        watcher.look(&mut engine);
        match (watcher.is_quiet(), cleared) {
            (true, None) => cleared = Some(since),
            (false, Some(_)) => cleared = None,
            _ => {}
        }
    }
    let extra = watcher
        .opened
        .iter()
        .filter(|one| !fault.expected.contains(&one.name))
        .cloned()
        .collect();
    Verdict {
        fault: fault.clone(),
        found,
        extra,
        cleared,
        told: watcher.told,
        busy: watcher.busy,
        looks: watcher.looks,
        story: format!("{story}{}", explain::opened(&watcher.opened, begun, healed)),
    }
}

const fn is_look(since: u32, pace: Pace) -> bool {
    let step = if since <= CLOSELY {
        pace.close
    } else {
        pace.wide
    };
    since.is_multiple_of(step)
}
