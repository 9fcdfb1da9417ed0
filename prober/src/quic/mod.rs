//! QUIC: a fresh handshake and a datagram echo with each probe, and one long-lived connection to each sampled peer.
//!
//! The two fail differently, and that is the point: where a middlebox or a full connection table refuses what is new, old
//! connections live on; where it forgets what is idle, the long-lived one breaks and a fresh handshake works.
//!
//! Certificates are made at the start and trusted by nobody: what is measured is the network, not who answers. Every
//! handshake is a full one (no session tickets, no early data), so that their times compare. Both ends take UDP
//! payloads up to [`config::MAX_UDP_PAYLOAD`], so that the path MTU discovery of the long-lived connection can find more
//! than 1,472 octets (RFC 8899); it falls back to 1,200 under heavy loss, which is why its black holes are told apart from
//! what the MTU probe measures.

mod certificate;
pub mod config;
mod echo;
mod failure;
pub mod probe;
pub mod responder;
mod socket;
