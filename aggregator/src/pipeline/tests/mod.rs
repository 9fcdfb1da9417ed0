//! The pipeline as probers see it: real gRPC over loopback.

mod bad_input;
mod client;
mod evidence;
mod flood;
mod streams;
