//! The aggregator: takes the reports of every prober, keeps the one-way matrix of the mesh, decides what is broken, and
//! tells people.
//!
//! Data flows one way: `ingest → matrix → judge → incident → notification, API, metrics`. The only arrow back to the
//! probers is `plan`: configuration, never measurements.

pub mod api;
pub mod app;
pub mod config;
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
pub mod snapshot;
pub mod store;
pub mod webhook;
