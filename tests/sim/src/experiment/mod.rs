//! What is tried in virtual time.

mod clock_step;
mod cuts;
mod dark;
mod trial;

pub use clock_step::{ClockStepArguments, ClockStepReport};
pub use cuts::{CutsArguments, CutsReport};
pub use dark::{DarkArguments, DarkReport};

/// How an experiment went.
pub trait Outcome: serde::Serialize {
    /// Did everything happen that had to, and nothing else?
    fn passed(&self) -> bool;
}
