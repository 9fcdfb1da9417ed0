//! TCP probes and the responder that echoes them.

pub mod echo;
pub mod probe;

/// Octets that a probe sends and expects back.
pub const ECHO_OCTETS: usize = 32;
