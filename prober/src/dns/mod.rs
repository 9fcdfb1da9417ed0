//! DNS: one question to one server address, and names as an application asks them.
//!
//! [`probe`] judges a server: one question, one socket, no retry. A resolver would cache, race servers and ask again,
//! which hides what is to be measured.
//!
//! [`search`] judges what an application gets: [`stub`] does what the C library does with the node's
//! [`resolv_conf`]: search list, servers in their order, attempts, A and AAAA at once. `hickory-resolver` reads the
//! file, but does not ask: its pool ends the whole query after one `timeout`, so behind a silent first server it never
//! reaches the second one, sends again every 333 ms inside that time, and goes on with the search list after a timeout.
//! Each of the three would be measured instead of the network.

pub mod exchange;
pub mod probe;
pub mod question;
pub mod resolv_conf;
pub mod search;
pub mod stub;

#[cfg(test)]
mod tests;
