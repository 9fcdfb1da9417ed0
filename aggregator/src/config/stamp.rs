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

/// Why probes are lost while one list of keys replaces another, until every prober has the new one; `None`: none is.
///
/// At any moment some probers have the old list and some the new one. Each must accept what the others send.
pub fn rotation_gap(before: &[Bytes], after: &[Bytes]) -> Option<&'static str> {
    match (before.first(), after.first()) {
        (None, None) => None,
        (None, Some(_)) | (Some(_), None) => {
            Some("probes are lost until every prober knows whether STAMP is authenticated")
        }
        (Some(sent_before), Some(sent_after)) => {
            let is_safe = after.contains(sent_before) && before.contains(sent_after);
            (!is_safe).then_some(
                "probes are lost until every prober has the new STAMP keys; next time add the new key as the second, \
                 make it the first, remove the old one, each with a reload",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_in_three_steps_loses_nothing_and_a_shorter_one_says_so() {
        let keys = |names: &[&'static str]| -> Vec<Bytes> {
            let names = names.iter();
            names
                .map(|name| Bytes::from_static(name.as_bytes()))
                .collect()
        };
        let gap = |before: &[&'static str], after: &[&'static str]| {
            rotation_gap(&keys(before), &keys(after)).is_some()
        };
        let steps: [&[&str]; 4] = [&["old"], &["old", "new"], &["new", "old"], &["new"]];
        for step in steps.windows(2) {
            assert!(!gap(step[0], step[1]), "{step:?}");
            assert!(!gap(step[1], step[0]), "the way back of {step:?}");
        }
        assert!(!gap(&[], &[]));
        assert!(gap(&["old"], &["new"]));
        assert!(gap(&["old"], &["new", "old"]), "nobody accepts it yet");
        assert!(
            gap(&["old", "new"], &["new"]),
            "some still send the old one"
        );
        assert!(gap(&[], &["new"]) && gap(&["old"], &[]));
    }
}
