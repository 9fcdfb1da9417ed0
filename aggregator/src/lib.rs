//! The aggregator: takes the reports of every prober, keeps the one-way matrix of the mesh, decides what is broken, and
//! tells people.
//!
//! Data flows one way: `ingest → matrix → judge → incident → notification, API, metrics`. The only arrow back to the
//! probers is `plan`: configuration, never measurements.

pub mod incident;
pub mod membership;
pub mod pipeline;
pub mod snapshot;
