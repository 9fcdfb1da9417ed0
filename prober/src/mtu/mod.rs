//! The largest packet that passes, each way (packetization layer path MTU discovery, RFC 8899, with STAMP packets as
//! probe packets).
//!
//! | Module | Role |
//! |---|---|
//! | [`search`] | one direction: which sizes to try, and when a size fails. Pure |
//! | [`measurement`] | both directions, and what follows from them. Pure |
//! | [`packet`] | requests of an exact size, and their replies. Pure |
//! | [`route`] | the MTU of the interface and of the route, from the kernel |
//! | [`exchange`] | the packets of one measurement on a socket |
//! | [`history`] | what is known from before |
//! | [`probe`] | one measurement as a probe of the runner |
//!
//! # What is measured
//! Sizes are those of IP packets with their headers. *Forward* is measured with large requests that ask for a small reply
//! (RFC 10052), *reverse* with requests that pass and are answered at their own length; so a reply is never longer than
//! its request, and reverse never above forward. Packets may not be fragmented (DF), and the kernel's own path MTU is
//! ignored (`IP_PMTUDISC_PROBE`): what the kernel has learned must not hide what the path does now.

pub mod exchange;
pub mod history;
pub mod measurement;
pub mod packet;
pub mod probe;
pub mod route;
pub mod search;
