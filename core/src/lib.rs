//! The words of meshprobe and its pure logic: identities, paths, outcomes, windows, histograms, verdicts, STAMP packets,
//! and the decision that a node is dark. No I/O, no clock, no runtime: `now` is an argument.
#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod cell;
pub mod coverage;
pub mod dark;
pub mod detail;
pub mod diagnosis;
pub mod finding;
pub mod histogram;
pub mod icmp;
pub mod ids;
pub mod lifecycle;
pub mod outcome;
pub mod path;
pub mod rtt;
pub mod stamp;
pub mod time;
pub mod verdict;
pub mod window;
