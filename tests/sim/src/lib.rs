//! meshprobe in virtual time: the same decisions, on a simulated network.
//!
//! N probers and one aggregator run in one thread, on a clock that jumps from event to event. A day of a mesh takes
//! seconds, every run can be repeated by its seed, and cuts come at moments that nobody chose.
//!
//! - `dark`: hours of uniform loss, and nothing may be declared ([`experiment::DarkArguments`]);
//! - `clock-step`: wall clocks jump, and nothing may follow from it ([`experiment::ClockStepArguments`]);
//! - `cuts`: nodes are cut, and each is found in time ([`experiment::CutsArguments`]);
//! - `diagnosis`: a thousand faults of every kind, and each is named ([`diagnosis::DiagnosisArguments`]).
//!
//! What is simulated is the network, the kernel's part of TCP, and the passing of time. What decides is the code of the
//! products: the prober's sender, tracker, flush plan, book and spool; the aggregator's plan, sessions, judge and
//! detector. A report is the message that would travel, without being encoded.
#![warn(missing_docs)]
#![forbid(unsafe_code)]

mod agenda;
mod aggregator;
mod calm;
mod chance;
pub mod diagnosis;
mod dice;
pub mod experiment;
pub mod margin;
pub mod mesh;
mod network;
mod pipe;
mod prober;
mod slots;
mod statistics;
mod stream;
mod trace;
mod wall;

pub use aggregator::Announced;
pub use trace::Trace;
