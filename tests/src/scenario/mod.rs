//! Scenarios: break a virtual cluster as a file says, and judge what the real programs say about it.
//!
//! A scenario passes only if **exactly** the expected incidents are opened (a missing one and one too many both fail), in
//! time, and end after the repair; if the API and the webhooks tell the same story; if no process ended by itself; and if
//! no log has a warning or an error that the scenario does not explain.
//!
//! ```text
//! scenarios/node-dark.yaml ─► file ──► cast (roles → nodes) ──► stage: cluster, mesh, one step after the other
//!                                                                │   observer: the API, 20 times a second ─► journal
//!                                                                │   webhooks
//!                                                                ▼
//!                             expected ── compare ── journal · agreement · log lines ──► outcome (the last line)
//! ```
//!
//! The file format is in [`file`](mod@file) and [`step`]; what is compared is in [`expected`], [`journal`], [`agreement`] and
//! [`claim`], which are pure and tested without a cluster.

pub mod agreement;
pub mod attack;
pub mod cast;
pub mod claim;
pub mod expected;
pub mod file;
pub mod incident;
pub mod journal;
pub mod library;
pub mod log_lines;
pub mod medley;
mod observer;
pub mod outcome;
mod reports;
pub mod set;
mod small_disk;
mod stage;
pub mod step;

pub use stage::{Casting, run};
