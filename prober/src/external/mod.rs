//! Targets outside the mesh: does it accept connections, is its certificate good, does it answer?
//!
//! ```text
//!  look up ─► fence ─► connect (─► CONNECT through a proxy) ─► TLS handshake ─► request ─► response ─► redirect?
//!     ▲                                                                                                  │
//!     └────────────────────────────── each hop from the beginning ◄──────────────────────────────────────┘
//! ```
//!
//! Each phase is this module's own, so each has its time and its reason. Nothing is kept between probes: no connection,
//! no session, no address. One of a name's addresses is taken at random and no other one is tried, so that one dead
//! address of four shows as a quarter of lost probes; a client would hide it.
//!
//! | Pure | What it decides |
//! |---|---|
//! | [`fence`] | which addresses may be connected to |
//! | [`proxy`] | which proxy the environment names for a host |
//! | [`certificate`] | what a certificate says |
//!
//! | At the edge | |
//! |---|---|
//! | [`resolve`] | the node's view of names |
//! | [`trust`], [`witness`], [`handshake`] | authorities, the judgement of a chain, why a handshake failed |
//! | [`tunnel`], [`http`] | CONNECT; one request, bounded in every direction |
//! | [`attempt`], [`probe`] | one probe from its beginning to its detail |
//!
//! Behind a proxy the proxy resolves names. The fence then judges literals by address and names by their port; the
//! proxy itself is the operator's choice and is not fenced.

pub mod attempt;
pub mod certificate;
pub mod fence;
pub mod handshake;
pub mod http;
pub mod probe;
pub mod proxy;
pub mod resolve;
pub mod trust;
pub mod tunnel;
pub mod witness;

/// What requests call this prober.
const USER_AGENT: &str = concat!("meshprobe/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests;
