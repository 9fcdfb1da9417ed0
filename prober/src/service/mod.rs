//! Services: a virtual IP in front of the responders. Which share of connections fails, and who answered the others?
//!
//! Each probe is a connection of its own from a new source port, so each is a draw of its own among the backends. The
//! probes that follow a first loss are draws like all others: whether one more is drawn depends on earlier results and
//! never on its own, so the share stays unbiased.

pub mod history;
pub mod probe;
