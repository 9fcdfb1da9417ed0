//! DNS probes: one question to one server address, over UDP or TCP.
//!
//! No resolver: a resolver caches, races servers and retries, which hides what is to be measured.

pub mod probe;
pub mod question;
