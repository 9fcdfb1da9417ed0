//! Why can't one end talk to another: every layer between them in order, the first that fails, and the cause that covers
//! it. A pure function of what was measured and of the causes that are known.
//!
//! Layers stand on each other: without the host network no pod network (unless only the pods are measured), without the pod
//! network no protocol in it, without DNS no name. What carries a layer is judged by the best of its protocols: one protocol
//! that gets through proves the way. A layer that is down comes before one that is lossy, and that before one that is
//! slow, wherever they stand: what loses one packet in twenty does not explain why nothing arrives.

mod cause;
mod steps;
#[cfg(test)]
mod tests;
mod words;

use crate::detail::Detail;
use crate::finding::{Pattern, Scope};
use crate::outcome::OutcomeClass;
use crate::path::{Family, Layer, Plane, ProbeKind};
use crate::verdict::Verdict;

/// The two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends<'a> {
    /// The node that wants to talk.
    pub source: &'a str,
    /// Its zone; empty if unknown.
    pub source_zone: &'a str,
    /// The node or the target that it wants to talk to.
    pub target: &'a str,
    /// Its zone; empty if unknown, and for what is no node.
    pub target_zone: &'a str,
    /// Is the target a node?
    pub is_between_nodes: bool,
}

/// One path that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured<'a> {
    /// Who sent the probes.
    pub source: &'a str,
    /// Who was to answer them: a node, or a target as the matrix heads its column.
    pub target: &'a str,
    /// By what means.
    pub layer: Layer,
    /// The judged state.
    pub verdict: Verdict,
    /// Valid probes in the fast window.
    pub sent: u32,
    /// Of those, answered in time.
    pub replied: u32,
    /// Of those, arrived at the target, as the target says; `None`: it does not say.
    pub received: Option<u32>,
    /// How the last failed probe ended.
    pub failure: Option<OutcomeClass>,
    /// What the newest probe found beside its outcome.
    pub detail: Option<&'a Detail>,
}

/// A cause that is known: a finding, or an incident that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect<'a> {
    /// Which shape.
    pub pattern: Pattern,
    /// What it blames.
    pub scope: &'a Scope,
    /// The plane that is broken while another one works.
    pub plane: Option<Plane>,
}

/// What a step stands for, in the order in which they stand on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// The nodes' own addresses: does anything get through?
    HostNetwork,
    /// The pod network: does anything get through?
    PodNetwork,
    /// One protocol.
    Protocol,
    /// The largest packets.
    PacketSize,
    /// DNS servers at their own addresses.
    Dns,
    /// DNS through a virtual IP.
    DnsVip,
    /// The name, as an application or the probe asks it.
    Name,
    /// A virtual IP in front of a service.
    Service,
    /// TCP connection to the target.
    Connect,
    /// TLS handshake with the target.
    Tls,
    /// The target's HTTP response.
    Http,
}

impl Rung {
    /// Does it say whether anything gets through at all?
    pub const fn is_network(self) -> bool {
        matches!(self, Self::HostNetwork | Self::PodNetwork)
    }

    /// As label and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostNetwork => "host network",
            Self::PodNetwork => "pod network",
            Self::Protocol => "protocol",
            Self::PacketSize => "packet size",
            Self::Dns => "DNS servers",
            Self::DnsVip => "DNS virtual IP",
            Self::Name => "name",
            Self::Service => "virtual IP",
            Self::Connect => "connect",
            Self::Tls => "TLS",
            Self::Http => "HTTP",
        }
    }
}

/// One layer on the way, one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it stands for.
    pub rung: Rung,
    /// Who sends.
    pub source: String,
    /// Who answers.
    pub target: String,
    /// Where the packets run.
    pub plane: Option<Plane>,
    /// What is sent; `None`: whatever gets through.
    pub kind: Option<ProbeKind>,
    /// In which family; `None`: in neither anything is measured.
    pub family: Option<Family>,
    /// [`Verdict::NotSampled`]: nobody measures it.
    pub verdict: Verdict,
    /// The measurement that shows it, by its place in what was handed in.
    pub measured: Option<usize>,
    /// What else is to be said of it, a sentence without its end; may be empty.
    pub note: String,
}

/// The answer in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conclusion {
    /// Everything that is measured works.
    Works,
    /// Everything gets through, but some of it is lost or late.
    Degraded,
    /// The way is there; a protocol, a size or another plane fails.
    Partly,
    /// Nothing gets through.
    Fails,
    /// Nothing is measured, or nothing fresh.
    Unknown,
}

/// Why one end cannot talk to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// In one word.
    pub conclusion: Conclusion,
    /// In a sentence or two.
    pub sentence: String,
    /// Every layer between them, lowest first.
    pub steps: Vec<Step>,
    /// The first that fails, by its place in `steps`.
    pub first_failing: Option<usize>,
    /// The cause that covers it, by its place in what was handed in.
    pub cause: Option<usize>,
}

/// Explains what was measured between two ends by the causes that are known.
pub fn explain(
    ends: &Ends<'_>,
    measured: &[Measured<'_>],
    suspects: &[Suspect<'_>],
) -> Explanation {
    let steps = steps::steps(ends, measured);
    let first_failing = first_failing(&steps);
    let conclusion = conclusion(ends, &steps, first_failing);
    let cause = match first_failing {
        Some(failing) => cause::of_failure(ends, &steps[failing], suspects),
        // A node that fell silent is no failure of its own paths; what made it silent is known all the same.
        None if steps.iter().any(|step| step.verdict == Verdict::NoData) => {
            cause::of_silence(ends, suspects)
        }
        None => None,
    };
    Explanation {
        sentence: words::sentence(ends, measured, &steps, first_failing, conclusion),
        conclusion,
        steps,
        first_failing,
        cause,
    }
}

/// How much a verdict hinders; `None`: it does not.
const fn hindrance(verdict: Verdict) -> Option<u8> {
    match verdict {
        Verdict::NotSampled | Verdict::NoData | Verdict::Healthy => None,
        Verdict::Slow => Some(1),
        Verdict::Lossy => Some(2),
        Verdict::Suspect | Verdict::Down => Some(3),
    }
}

fn first_failing(steps: &[Step]) -> Option<usize> {
    let worst = steps
        .iter()
        .filter_map(|step| hindrance(step.verdict))
        .max()?;
    steps
        .iter()
        .position(|step| hindrance(step.verdict) == Some(worst))
}

fn conclusion(ends: &Ends<'_>, steps: &[Step], first_failing: Option<usize>) -> Conclusion {
    let Some(failing) = first_failing else {
        let any = steps.iter().any(|step| step.verdict == Verdict::Healthy);
        return if any {
            Conclusion::Works
        } else {
            Conclusion::Unknown
        };
    };
    let is_down = |step: &Step| hindrance(step.verdict) == Some(3);
    if !is_down(&steps[failing]) {
        return Conclusion::Degraded;
    }
    let carries = |rung| steps.iter().filter(move |step| step.rung == rung);
    let is_measured = |step: &&Step| !matches!(step.verdict, Verdict::NotSampled | Verdict::NoData);
    let fails = if !ends.is_between_nodes {
        steps
            .iter()
            .any(|step| is_down(step) && step.target == ends.target)
    } else if carries(Rung::PodNetwork).any(|step| is_measured(&step)) {
        carries(Rung::PodNetwork).any(is_down)
    } else {
        carries(Rung::HostNetwork).any(is_down)
    };
    if fails {
        Conclusion::Fails
    } else {
        Conclusion::Partly
    }
}
