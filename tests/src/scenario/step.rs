//! The steps of a scenario.
//!
//! | Step | What it does |
//! |---|---|
//! | `break: node-dark victim` | injects a fault of the lab, roles in the place of nodes |
//! | `heal: node-dark victim`, `heal: all` | repairs it |
//! | `kill`, `stop`, `start` with `aggregator` or `prober victim` | −9; SIGTERM; start |
//! | `pause`, `resume` with `prober victim` | SIGSTOP, SIGCONT |
//! | `roll_probers: {pause: 2s}` | stops and starts every prober, one after the other |
//! | `scale_down: {percent: 30}` | stops so many probers and takes their nodes' links away, as a cluster that shrinks |
//! | `scale_up: all` | brings them back |
//! | `find: {within: 5s, incidents: […]}` | these open, and no others |
//! | `notifications: {at_most: 3, say: [Flapping]}` | so many webhooks came until now, and one of them has these words |
//! | `tell: matrix` | prints every unhealthy cell with its counts; judges nothing |
//! | `clear: {within: 60s}` | all that is open ends, and every path is healthy again |
//! | `quiet: 20s` | nothing opens and nothing ends |
//! | `judging: {within: 60s}` | the aggregator judges (again) |
//! | `check: no-report-lost` | see [`Check`] |
//! | `attack: responders` | see [`Attack`] |
//! | `disk: full`, `disk: free` | the file system of the aggregator's store |
//! | `matrix`, `path`, `share`, `node` | what the measurements say; see [`super::claim`] |

use std::time::Duration;

use meshprobe_daemon::config::HumanDuration;
use meshprobe_lab::{Fault, ParseFaultError};
use serde::Deserialize;

use super::cast::{Cast, CastError};
use super::claim::cells::UnknownEnd;
use super::claim::ground::Ground;
use super::claim::matrix::MatrixClaim;
use super::claim::node::NodeClaim;
use super::claim::path::PathClaim;
use super::claim::share::ShareClaim;
use super::incident::{ExpectedError, ExpectedIncident};

/// One step.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    Break(String),
    Heal(String),
    Kill(Daemon),
    Stop(Daemon),
    Pause(OneProber),
    Resume(OneProber),
    Start(Daemon),
    RollProbers(Roll),
    ScaleDown(ScaleDown),
    ScaleUp(ScaleUp),
    Find(Find),
    Notifications(Notifications),
    Tell(Tell),
    Clear(Within),
    Quiet(QuietFor),
    Judging(Within),
    Check(Check),
    Attack(Attack),
    Disk(Disk),
    Matrix(MatrixClaim),
    Path(PathClaim),
    Share(ShareClaim),
    Node(NodeClaim),
}

/// A process of the mesh: `aggregator` or `prober ROLE`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Daemon {
    Aggregator,
    Prober { role: String },
}

impl TryFrom<String> for Daemon {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["aggregator"] => Ok(Self::Aggregator),
            ["prober", role] => Ok(Self::Prober {
                role: (*role).to_owned(),
            }),
            _ => Err(format!(
                "`{text}` is no daemon: write `aggregator` or `prober ROLE`"
            )),
        }
    }
}

/// The process of one node: `prober ROLE`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Daemon")]
pub struct OneProber {
    pub role: String,
}

impl TryFrom<Daemon> for OneProber {
    type Error = &'static str;

    fn try_from(daemon: Daemon) -> Result<Self, Self::Error> {
        match daemon {
            Daemon::Prober { role } => Ok(Self { role }),
            Daemon::Aggregator => Err("only probers can be paused: write `prober ROLE`"),
        }
    }
}

/// See [`Step::RollProbers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roll {
    /// Between the start of one and the stop of the next.
    pub pause: HumanDuration,
}

/// See [`Step::ScaleDown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleDown {
    /// Of all nodes, rounded, at least one; never the aggregator's own.
    pub percent: u8,
}

impl ScaleDown {
    /// How many of so many nodes.
    pub fn count(self, nodes: usize) -> usize {
        let share = (nodes * usize::from(self.percent) + 50) / 100;
        share.clamp(1, nodes.saturating_sub(1).max(1))
    }
}

/// See [`Step::ScaleUp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScaleUp {
    All,
}

/// See [`Step::Notifications`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notifications {
    /// Each notification once, however often it was delivered.
    pub at_most: usize,
    /// Words, each of which one notification has somewhere.
    #[serde(default)]
    pub say: Vec<String>,
}

/// See [`Step::Tell`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tell {
    Matrix,
}

/// See [`Step::Find`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Find {
    /// From the last thing that was broken to the webhook's first byte.
    pub within: HumanDuration,
    pub incidents: Vec<ExpectedIncident>,
    /// When the webhooks arrive.
    #[serde(default)]
    pub webhook: WebhookMoment,
}

/// When the webhooks of an incident arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookMoment {
    /// While the failure lasts, and within the limit.
    #[default]
    Now,
    /// When the way to the receiver is there again: the failure cuts it.
    AfterHealing,
}

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Within {
    /// From the last repair.
    pub within: HumanDuration,
}

/// How long nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum QuietFor {
    Time(Duration),
    /// As long as the scenario's `duration`, which the command line can change.
    Duration,
}

impl TryFrom<String> for QuietFor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "duration" {
            return Ok(Self::Duration);
        }
        let time: Result<HumanDuration, _> = text.parse();
        time.map(|time| Self::Time(time.duration()))
            .map_err(|error| error.to_string())
    }
}

/// What else is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Every report that a prober made was taken by the aggregator, once.
    NoReportLost,
    /// The aggregator says that its store cannot be written.
    StoreUnwritable,
    /// The aggregator says that its store can be written and that nothing waits for it.
    StoreWritable,
}

/// Bad input from inside the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attack {
    /// Truncated, oversized, forged, reflected and looping packets at a prober's responder.
    Responders,
    /// Malformed, misattributed and replayed messages at the aggregator.
    Reports,
}

/// The state of the store's file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Disk {
    Full,
    Free,
}

/// A step that can never work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Fault(#[from] ParseFaultError),
    #[error(transparent)]
    Cast(#[from] CastError),
    #[error(transparent)]
    Cells(#[from] UnknownEnd),
    #[error(transparent)]
    Incident(#[from] ExpectedError),
    #[error("`percent` is 1 to 99")]
    Percent,
    #[error("no incident is listed: use `quiet` where nothing is expected")]
    NothingToFind,
    #[error(
        "nothing is claimed: write `verdict`, `failure`, `detail`, `trace`, `state` or `self_health`"
    )]
    NothingClaimed,
    #[error("{0}")]
    Share(String),
}

/// `heal: all`
pub const EVERYTHING: &str = "all";

impl Step {
    /// Whether its words mean something.
    pub fn check(&self, cast: &Cast, ground: &Ground) -> Result<(), StepError> {
        match self {
            Self::Heal(text) if text == EVERYTHING => {}
            Self::Break(text) | Self::Heal(text) => {
                fault(text, cast)?;
            }
            Self::Kill(Daemon::Prober { role })
            | Self::Stop(Daemon::Prober { role })
            | Self::Start(Daemon::Prober { role })
            | Self::Pause(OneProber { role })
            | Self::Resume(OneProber { role }) => {
                cast.node(role)?;
            }
            Self::ScaleDown(scale) => {
                if !(1..100).contains(&scale.percent) {
                    return Err(StepError::Percent);
                }
            }
            Self::Find(find) => {
                if find.incidents.is_empty() {
                    return Err(StepError::NothingToFind);
                }
                for incident in &find.incidents {
                    incident.resolve(cast, ground)?;
                }
            }
            Self::Matrix(claim) => {
                claim.resolve(cast, ground)?;
            }
            Self::Path(claim) => {
                claim.cells().resolve(cast, ground)?;
                if let Some(detail) = &claim.detail {
                    detail.check(cast)?;
                }
                if !claim.says_something() {
                    return Err(StepError::NothingClaimed);
                }
            }
            Self::Share(claim) => {
                claim.cells().resolve(cast, ground)?;
                claim.check().map_err(StepError::Share)?;
            }
            Self::Node(claim) => {
                cast.node(&claim.name)?;
                if claim.state.is_none() && claim.self_health.is_none() {
                    return Err(StepError::NothingClaimed);
                }
            }
            Self::Kill(Daemon::Aggregator)
            | Self::Stop(Daemon::Aggregator)
            | Self::Start(Daemon::Aggregator)
            | Self::RollProbers(_)
            | Self::ScaleUp(_)
            | Self::Notifications(_)
            | Self::Tell(_)
            | Self::Clear(_)
            | Self::Quiet(_)
            | Self::Judging(_)
            | Self::Check(_)
            | Self::Attack(_)
            | Self::Disk(_) => {}
        }
        Ok(())
    }
}

/// The fault that a text names, with nodes in the place of roles.
pub fn fault(text: &str, cast: &Cast) -> Result<Fault, ParseFaultError> {
    cast.fill_in(text).parse()
}
