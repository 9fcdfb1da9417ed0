//! The prober: probes every other node, answers their probes, and reports what it saw.
//!
//! ```text
//!  assignment ─► plan ─► schedule ─► probe ─► outcome ─► book (windows, trackers) ─► spool ─► report
//!                                      ▲                    │
//!                                      └── close watch ◄────┘ first loss
//! ```
//!
//! Decisions are pure: they take `now` and return what to do. The simulator drives the same types in virtual time.
//!
//! | Pure | What it decides |
//! |---|---|
//! | [`schedule`], [`agenda`], [`deadlines`] | whose turn it is, whose time is over |
//! | [`udp::sender`], [`flights`], [`patience`] | what an answer means, how long it is waited for |
//! | [`udp::responder`], [`budget`] | who is answered |
//! | [`tracker`], [`suspicion`] | losses in a row, and the extra probes that follow |
//! | [`book`], [`window`], [`flush`] | what is counted, and when it has to be told |
//! | [`report`], [`spool`] | what is told, by which way, and again |
//! | [`plan`], [`assignment`] | which paths there are |
//! | [`health`] | how far this prober can be trusted |
//!
//! | Task | Owns | Ends |
//! |---|---|---|
//! | [`udp::engine`] (a thread) | UDP sockets, sender, responder | on `End`, last of all |
//! | [`runner`] for [`tcp`], [`dns`], [`service`], [`external`] and [`quic`] | schedule, probes under way | on shutdown, when they have ended |
//! | [`tcp::echo`], [`quic::responder`] | the TCP and QUIC responders | after the goodbye |
//! | [`reporter`] | spool, streams, assignment | after the goodbye |
//! | [`hostfacts`], [`self_watch`] | – | on shutdown |
//!
//! One lock is shared by all of them, that of the book; it is held for a batch and never across an await.

pub mod agenda;
pub mod app;
pub mod assignment;
pub mod book;
pub mod budget;
pub mod clock;
pub mod config;
pub mod control_messages;
pub mod deadlines;
pub mod demand;
pub mod dns;
pub mod external;
pub mod flights;
pub mod flush;
pub mod follow_ups;
pub mod health;
pub mod hostfacts;
pub mod icmp;
pub mod mailbox;
pub mod metrics;
pub mod mtu;
pub mod path_id;
pub mod patience;
pub mod plan;
pub mod quic;
pub mod reloader;
pub mod report;
pub mod reporter;
pub mod runner;
pub mod schedule;
pub mod self_watch;
pub mod service;
pub mod shared;
pub mod slowness;
pub mod spool;
pub mod stalls;
pub mod suspicion;
mod sys;
pub mod tcp;
pub mod trace;
pub mod tracker;
pub mod udp;
pub mod window;
