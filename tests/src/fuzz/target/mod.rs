//! What is fuzzed.

mod dns;
mod icmp;
mod messages;
mod outside;
mod stamp;

/// Reads one input. True: it was taken for good. An error: a rule that must always hold does not.
pub type Reader = Box<dyn FnMut(&[u8]) -> Result<bool, String>>;

/// Something that reads what a stranger sends.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// On the command line.
    pub name: &'static str,
    /// What reads.
    pub summary: &'static str,
    /// Genuine inputs, to be changed.
    pub samples: fn() -> Vec<Vec<u8>>,
    /// A fresh reader.
    pub reader: fn() -> Reader,
}

/// Every target.
pub const ALL: &[Target] = &[
    stamp::REQUEST,
    stamp::REQUEST_WITH_KEYS,
    stamp::REPLY,
    dns::ANSWER,
    icmp::QUOTE,
    outside::PROXY,
    outside::CERTIFICATE,
    messages::FROM_PROBER,
    messages::FROM_AGGREGATOR,
];
