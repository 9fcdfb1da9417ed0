//! The wire contract `meshprobe/v1` and its conversions to the words of `meshprobe-core`.
//!
//! Wire types become domain types once, at the edge: [`report`] turns a report's columns into summaries or refuses it
//! with a reason; nothing past it can be malformed. [`json`] writes a message as JSON, the same for the API and the
//! command line. [`bundle`] is the file that carries an incident to a ticket, [`pack`] the compact columns that it and the
//! aggregator's history are made of.

pub mod bundle;
pub mod convert;
pub mod detail;
mod finding;
pub mod json;
pub mod pack;
pub mod report;

/// Generated code of package `meshprobe.v1`.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    unused_qualifications,
    missing_docs,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("meshprobe.v1");

    /// The encoded descriptors, for server reflection and the JSON mapping.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/meshprobe.bin"));
}
