//! The aggregator: the real mesh (membership, plan, sessions, matrix, judge, incidents), driven by hand.

use std::collections::BTreeSet;
use std::time::Duration;

use meshprobe_aggregator::incident::{IncidentChange, Transition};
use meshprobe_aggregator::membership::Announcement;
use meshprobe_aggregator::pipeline::{MeshByHand, Now, PipelineConfig, now_by_hand};
use meshprobe_aggregator::plan::Pace;
use meshprobe_core::finding::Pattern;
use meshprobe_core::ids::NodeName;
use meshprobe_core::path::ProbeKind;
use meshprobe_core::time::Moment;

/// What differs from the default configuration.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// How long a quorum must stand before a node is dark.
    pub(crate) dark_hold: Option<Duration>,
    /// Time between two STAMP probes of one path.
    pub(crate) udp_interval: Option<Duration>,
}

/// Something that people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// When.
    pub at: Moment,
    /// Did it open, change, or end?
    pub transition: Transition,
    /// Which shape the failure has.
    pub pattern: Pattern,
    /// The nodes that it names, ascending.
    pub nodes: Vec<usize>,
}

impl Announced {
    /// Does it say that something broke?
    pub fn is_opening(&self) -> bool {
        matches!(self.transition, Transition::Opened | Transition::Reopened)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Aggregator {
    pub(crate) mesh: MeshByHand,
    origin: jiff::Timestamp,
    announced: Vec<Announced>,
    /// What the detector says of nodes beside incidents, as it was told last.
    states: BTreeSet<(Pattern, Vec<usize>)>,
}

impl Aggregator {
    pub(crate) fn new(settings: &Settings, origin_unix_nanos: i64, now: Moment) -> Self {
        let mut config = PipelineConfig::default();
        if let Some(hold) = settings.dark_hold {
            config.judge.dark.dark_hold = hold;
        }
        if let Some(interval) = settings.udp_interval {
            config.plan.udp_pace = Pace::Configured;
            for schedule in &mut config.plan.schedules {
                if schedule.kind == ProbeKind::Udp {
                    schedule.interval = interval;
                }
            }
        }
        let origin = jiff::Timestamp::from_nanosecond(origin_unix_nanos.into())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let mesh = match MeshByHand::new(config, now_by_hand(now, origin)) {
            Ok(mesh) => mesh,
            Err(error) => unreachable!("an empty mesh has room: {error}"),
        };
        Self {
            mesh,
            origin,
            announced: Vec::new(),
            states: BTreeSet::new(),
        }
    }

    /// The aggregator's two clocks.
    pub(crate) fn clocks(&self, now: Moment) -> Now {
        now_by_hand(now, self.origin)
    }

    /// Steps the wall clock.
    pub(crate) fn step_clock(&mut self, nanos: i64) {
        let step = jiff::SignedDuration::from_nanos(nanos);
        self.origin = self.origin.saturating_add(step).unwrap_or(self.origin);
    }

    /// Makes a node known before its prober calls, so that the first assignment is the final one.
    pub(crate) fn announce(&mut self, hello: &Announcement, now: Moment) {
        let now = self.clocks(now);
        match self.mesh.open(hello, now) {
            Ok(stream) => self.mesh.close(&stream, now),
            Err(refusal) => unreachable!("the mesh admits its own nodes: {refusal}"),
        }
    }

    /// Remembers what people are told.
    pub(crate) fn tell(&mut self, change: &IncidentChange, at: Moment) -> Announced {
        let incident = &change.incident;
        let announced = Announced {
            at,
            transition: change.transition,
            pattern: incident.pattern,
            nodes: numbers(&incident.nodes),
        };
        self.announced.push(announced.clone());
        announced
    }

    /// What the detector says of nodes is an input of the diagnosis and no incident of its own. Here it is told like one.
    pub(crate) fn tell_states(&mut self, at: Moment) -> Vec<Announced> {
        let states = self.mesh.states().into_iter();
        let now: BTreeSet<(Pattern, Vec<usize>)> = states
            .map(|(pattern, nodes)| (pattern, numbers(&nodes)))
            .collect();
        let opened = now.difference(&self.states);
        let opened = opened.map(|state| (Transition::Opened, state));
        let resolved = self.states.difference(&now);
        let resolved = resolved.map(|state| (Transition::Resolved, state));
        let told: Vec<Announced> = opened
            .chain(resolved)
            .map(|(transition, (pattern, nodes))| Announced {
                at,
                transition,
                pattern: *pattern,
                nodes: nodes.clone(),
            })
            .collect();
        self.announced.extend(told.iter().cloned());
        self.states = now;
        told
    }

    pub(crate) fn take_announced(&mut self) -> Vec<Announced> {
        std::mem::take(&mut self.announced)
    }
}

/// The numbers of these nodes, ascending.
fn numbers(names: &[NodeName]) -> Vec<usize> {
    let number = |name: &NodeName| {
        let number = name.as_str().strip_prefix("sim-")?;
        number.parse::<usize>().ok()?.checked_sub(1)
    };
    let mut numbers: Vec<usize> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}
