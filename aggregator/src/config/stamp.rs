//! Secrets of authenticated STAMP, and their rotation.
//!
//! The first key signs what probers send, every key is accepted. So no probe is lost when a key is replaced in three
//! steps, each with a reload: add the new one as the second, make it the first, remove the old one. After each step every
//! prober has to have the assignment before the next one; that takes seconds.

use std::path::PathBuf;

use bytes::Bytes;
use jiff::Timestamp;
use meshprobe_daemon::config::Spanned;
use serde::{Deserialize, Serialize};

use super::{Secret, SecretError, secret::InlineSecret};

/// Authenticated STAMP (RFC 8762 §4.4).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stamp {
    /// The key to send with first, then what else is accepted. Empty: unauthenticated.
    pub keys: Vec<Spanned<StampKey>>,
}

/// One key: a secret, in a file or in place.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StampKey {
    /// The file that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Spanned<PathBuf>>,
    /// The secret itself. A file keeps it out of places that the configuration is shown in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Spanned<InlineSecret>>,
    /// From then on the key is not to be used any more (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Spanned<Timestamp>>,
}

impl StampKey {
    /// The secret; `None`: neither a file nor a secret is given, or both.
    pub fn read(&self) -> Option<Result<Secret, SecretError>> {
        match (&self.file, &self.secret) {
            (Some(file), None) => Some(Secret::read(&file.value)),
            (None, Some(inline)) => Some(inline.value.secret()),
            _ => None,
        }
    }
}

impl Stamp {
    /// The secrets as assignments carry them.
    pub fn secrets(&self) -> Result<Vec<Bytes>, SecretError> {
        let read = self.keys.iter().filter_map(|key| key.value.read());
        read.map(|secret| Ok(Bytes::copy_from_slice(secret?.expose())))
            .collect()
    }
}
