//! What happened lately, for the one who has to find out why a run failed.

use std::collections::VecDeque;
use std::fmt;

use meshprobe_core::path::Plane;
use meshprobe_core::time::Moment;
use meshprobe_prober::spool::Way;
use meshprobe_prober::tracker::Transition;

use crate::aggregator::Announced;
use crate::mesh::{Fault, START};

/// Happenings that are kept: some seconds of a large mesh with heavy loss.
const KEPT: usize = 100_000;

/// Something worth telling. Nodes are numbered from 0 here and from 1 in their names.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A path lost or found its peer.
    Transition {
        node: usize,
        peer: usize,
        plane: Plane,
        is_udp: bool,
        transition: Transition,
    },
    /// A prober was asked about peers; no peers: it was asked to report.
    Asked { node: usize, peers: Vec<usize> },
    /// A report arrived at the aggregator, so long after it was sent.
    Report {
        node: usize,
        age_millis: u32,
        failing: usize,
    },
    /// A stream was opened.
    StreamOpened { node: usize, way: Way },
    /// A stream was closed.
    StreamClosed { node: usize, way: Way },
    /// A fault began or ended.
    Fault { fault: Fault, on: bool },
    /// A wall clock was stepped.
    ClockStep { node: usize, nanos: i64 },
    /// A prober was started or stopped.
    Prober { node: usize, running: bool },
    /// People were told something.
    Told(Announced),
}

/// The newest happenings.
#[derive(Clone, Debug, Default)]
pub struct Trace(VecDeque<(Moment, Happening)>);

impl Trace {
    pub(crate) fn new() -> Self {
        Self(VecDeque::with_capacity(KEPT))
    }

    pub(crate) fn push(&mut self, at: Moment, happening: Happening) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((at, happening));
    }

    /// The last `limit` lines about these nodes (or about all, if there are none) from one moment to another.
    pub fn about(&self, nodes: &[usize], from: Moment, to: Moment, limit: usize) -> String {
        let concerns = |happening: &Happening| {
            nodes.is_empty() || nodes.iter().any(|node| happening.concerns(*node))
        };
        let mut lines: Vec<String> = self
            .0
            .iter()
            .rev()
            .filter(|(at, happening)| (from..=to).contains(at) && concerns(happening))
            .take(limit)
            .map(|(at, happening)| {
                let seconds = at.saturating_since(START).as_secs_f64();
                format!("  {seconds:>13.4} s  {happening}")
            })
            .collect();
        lines.reverse();
        lines.join("\n")
    }
}

impl Happening {
    fn concerns(&self, about: usize) -> bool {
        match self {
            Self::Transition { node, peer, .. } => *node == about || *peer == about,
            Self::Asked { node, peers } => *node == about || peers.contains(&about),
            Self::Report { node, failing, .. } => *node == about || *failing > 0,
            Self::StreamOpened { node, .. }
            | Self::StreamClosed { node, .. }
            | Self::ClockStep { node, .. }
            | Self::Prober { node, .. } => *node == about,
            Self::Fault { .. } | Self::Told(_) => true,
        }
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |node: &usize| format!("sim-{}", node + 1);
        let names = |nodes: &[usize]| nodes.iter().map(name).collect::<Vec<_>>().join(", ");
        match self {
            Self::Transition {
                node,
                peer,
                plane,
                is_udp,
                transition,
            } => {
                let kind = if *is_udp { "udp" } else { "tcp" };
                write!(
                    f,
                    "{} → {} {kind}/{plane}: {transition:?}",
                    name(node),
                    name(peer)
                )
            }
            Self::Asked { node, peers } if peers.is_empty() => {
                write!(f, "{} is asked to report", name(node))
            }
            Self::Asked { node, peers } => {
                write!(f, "{} is asked about {}", name(node), names(peers))
            }
            Self::Report {
                node,
                age_millis,
                failing,
            } => write!(
                f,
                "report of {}, {age_millis} ms old, {failing} paths fail",
                name(node)
            ),
            Self::StreamOpened { node, way } => write!(f, "{}: stream opened ({way})", name(node)),
            Self::StreamClosed { node, way } => write!(f, "{}: stream closed ({way})", name(node)),
            Self::Fault { fault, on: true } => write!(f, "FAULT {fault:?}"),
            Self::Fault { fault, on: false } => write!(f, "HEALED {fault:?}"),
            Self::ClockStep { node, nanos } => {
                write!(f, "{}: wall clock stepped by {nanos} ns", name(node))
            }
            Self::Prober { node, running } => {
                write!(
                    f,
                    "{}: prober {}",
                    name(node),
                    if *running { "started" } else { "stopped" }
                )
            }
            Self::Told(Announced {
                transition,
                pattern,
                nodes,
                ..
            }) => write!(f, "*** {pattern} {}: {}", transition.as_str(), names(nodes)),
        }
    }
}
