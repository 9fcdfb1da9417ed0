//! UDP probes: STAMP sender and reflector.
//!
//! | Module | Role |
//! |---|---|
//! | [`sender`] | decides: whose turn it is, what an answer means, what timed out. Pure |
//! | [`responder`] | decides: who is answered. Pure |
//! | [`sockets`] | owns the sockets |
//! | [`engine`] | the one thread that drives both in slots of 10 ms |

pub mod engine;
mod errors;
mod reply;
pub mod responder;
pub mod sender;
pub mod slot;
pub mod sockets;
