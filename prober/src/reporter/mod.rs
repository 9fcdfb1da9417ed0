//! Brings reports home.
//!
//! | Module | Role |
//! |---|---|
//! | [`boundary`] | when a regular window ends. Pure |
//! | [`way`] | one way home: keeps a stream open, whatever happens to it |
//! | [`task`] | owns the spool: closes windows, sends, takes acknowledgements and assignments, says goodbye |
//! | [`outbox`] | the open streams and what each of them has been told |
//!
//! What may be sent when, by which way, and again, is decided in [`crate::spool`].

pub mod boundary;
pub mod outbox;
pub mod task;
pub mod way;
