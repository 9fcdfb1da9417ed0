//! Scenarios, benches and fuzzing: the real programs, judged from outside.
//!
//! - [`scenario`]: breaks a virtual cluster as a file says, and passes only if exactly the expected incidents appear, in
//!   time, and end after the repair. Program `meshprobe-scenario`.
//! - [`bench`](mod@bench): measures what the documentation promises in numbers. Program `meshprobe-bench`.
//! - [`fuzz`]: feeds everything that reads what a stranger sends. Program `meshprobe-fuzz`.
//!
//! All print what happened for people; the last line on standard output is one JSON object for machines.

pub mod bench;
pub mod distribution;
pub mod fuzz;
pub mod metrics_page;
pub mod recovery;
pub mod scenario;
pub mod scrape;
