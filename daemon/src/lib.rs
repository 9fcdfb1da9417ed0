//! What every long-running process of ours needs, and no word of the domain.
//!
//! | Module | What it gives |
//! |---|---|
//! | [`exit`] | `main` in five lines: exit codes, and each error printed once with its chain |
//! | [`config`] | YAML with unknown keys refused, errors that show the place and what is allowed, all cross-field problems at once |
//! | [`logging`] | text or JSON on stderr, level changeable at run time |
//! | [`listeners`] | TCP and UDP sockets bound early with a clear error, or inherited (socket activation) |
//! | [`tls`] | rustls configurations from PEM files, reloaded by content, the old one kept on any error |
//! | [`http`] | an HTTP/1 and HTTP/2 server loop with time-outs, a connection limit and a graceful end |
//! | [`admin`] | the admin port: `/healthz`, `/readyz`, `/metrics`, `/-/reload`, `/-/log-level` |
//! | [`shutdown`] | the signal token, SIGTERM and SIGINT, a drain with a deadline |
//! | [`reload`] | one queue for "read your configuration again", fed by SIGHUP and the admin port |
//! | [`tasks`] | the tracked spawner: a task that dies takes the process down in order |
//! | [`backoff`] | exponential backoff with full jitter, pure |
//! | [`clock`] | the one place that reads a clock |
//! | [`build_info`], [`process_metrics`] | what runs here, and what it uses |
//!
//! The order in a `main`: parse the flags, [`logging::init`], load the configuration, bind the
//! [`listeners`], build, log every bound address, spawn into [`tasks::Tasks`],
//! [`tasks::Tasks::run`] until a signal, drain, exit. Nothing here needs more than tokio's
//! current-thread runtime.

pub mod admin;
pub mod backoff;
pub mod build_info;
pub mod clock;
pub mod config;
pub mod exit;
pub mod http;
pub mod listeners;
pub mod logging;
pub mod process_metrics;
pub mod reload;
pub mod shutdown;
pub mod tasks;
pub mod tls;
