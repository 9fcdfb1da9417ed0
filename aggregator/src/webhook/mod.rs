//! What a receiver gets: Alertmanager's webhook JSON, signed as Standard Webhooks has it, over HTTP.
//!
//! `payload` makes the bytes once, when the notification is made; `signature` signs each attempt; `client`
//! makes one attempt and says what its end means. When to try again is [`crate::outbox`]'s business.

mod client;
mod payload;
mod signature;

pub use client::{Attempt, Receiver, ReceiverError};
pub use payload::{Links, alert_name, fingerprint, notification_id, render};
pub use signature::{HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, Signer};
