//! The aggregator: takes the reports of every prober, keeps the one-way matrix of the mesh, decides what is broken, and
//! tells people.
//!
//! Data flows one way: `ingest → matrix → judge, diagnosis → incident → notification, API, metrics`. The only arrow back to
//! the probers is `plan`: configuration, never measurements.
//!
//! # Who owns what
//!
//! | Task | Owns | Hears | Ends |
//! |---|---|---|---|
//! | a stream's ([`ingest`]) | its prober's two directions | the prober; acks and rosters (`watch`), confirms (16) | with its stream; at shutdown after a last ack |
//! | `prober-streams` | the streams' tasks | new streams (64) | after the last of them |
//! | `mesh` ([`pipeline`]) | members, sessions, matrix, judge: all that is decided | events of all streams (256), questions (64), the store's answers | at shutdown, when the last batch is stored |
//! | `diagnosis` ([`pipeline`]) | nothing: sums up on a thread for blocking work | pictures of the mesh (`watch`: the newest counts), answers by another one | at shutdown, or with `mesh` |
//! | `notifier` ([`notify`]) | the list of incidents, what people know of them, damping | incident changes (1,024) | when `mesh` has ended and all is told |
//! | `outbox` ([`outbox`]) | a queue for each receiver | messages (256) | after the notifier, and the attempts in flight |
//! | `pipeline-store` | nothing: hands batches on | batches of `mesh` (4; one in flight) | after `mesh` |
//! | `store`, a thread ([`store`]) | the database | batches (1,024) | when nobody is left who could write |
//!
//! [`app`] has the tasks around them (ports, reload, TLS files) and the order of an orderly end.
//!
//! # What gives way
//!
//! Reports and incident changes are never dropped: a full channel makes its sender wait, up to the prober, whose spool is
//! made for that. Dropped and counted are confirmations to a prober that does not read (`confirms_total`) and operations
//! beyond the store's backlog (`store_dropped`); a client that watches too slowly skips matrices, or is told how
//! many incidents it missed.
//!
//! **A backlog does not hold up what is fresh.** Streams share nothing before the mesh task's channel, so a report waits
//! for the 256 events in it at most: tens of milliseconds in a mesh of 5,000, whatever else is on its way. Inside one
//! stream the order is the prober's, and that is where a fresh report can wait for old ones. A late report is
//! acknowledged like any other; it changes no cell, casts no vote and opens nothing.

pub mod api;
pub mod app;
pub mod config;
mod deadline;
pub mod history;
pub mod http;
pub mod incident;
pub mod ingest;
pub mod judge;
pub mod matrix;
pub mod membership;
pub mod metrics;
pub mod notify;
pub mod outbox;
pub mod pipeline;
pub mod plan;
pub mod receiver;
pub mod silence;
pub mod snapshot;
pub mod store;
mod wall;
