//! UDP probes: STAMP sender and reflector.
//!
//! | Module | Role |
//! |---|---|
//! | [`sender`] | decides: whose turn it is, what an answer means, what timed out. Pure |
//! | [`responder`] | decides: who is answered. Pure |
//! | [`flow`], [`flow_loss`] | which source port a probe leaves from, and which of them lose everything. Pure |
//! | [`sight`] | what there is to tell beside loss and time. Pure |
//! | [`self_probe`] | whether this machine hears itself. Pure |
//! | [`send_delay`] | how long a packet is on its way inside this host. Pure |
//! | [`sockets`], [`flow_sockets`] | own the sockets |
//! | [`engine`] | the one thread that drives all of them in slots of 10 ms |

mod class_of_service;
mod control;
pub mod engine;
mod errors;
pub mod flow;
pub mod flow_loss;
pub mod flow_sockets;
pub mod lost_ways;
mod reply;
pub mod responder;
pub mod self_probe;
pub mod send_delay;
pub mod sender;
pub mod sight;
pub mod slot;
pub mod sockets;
