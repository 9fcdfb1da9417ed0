//! Real probers in this process, on loopback addresses of their own, with real sockets and real time.
//!
//! Bounds are generous: a shared machine may be slow. What must not happen is checked by counters, not by waiting.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, in its helpers too"
)]

mod fake_aggregator;
mod home;
mod loopback;
mod mesh;
mod name_servers;
mod quic;
mod scapy;
mod servers;
