//! Secrets, out of files or in place: shown nowhere, compared nowhere.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, Serializer};

/// Shorter secrets can be guessed.
const MIN_BYTES: usize = 16;
/// A larger file is not a secret.
const MAX_FILE_BYTES: u64 = 4096;
/// How Standard Webhooks marks a secret that is written in base64.
const BASE64_PREFIX: &str = "whsec_";

/// The bytes of a secret. Its debug form hides them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Why a file gives no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("read the secret file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is larger than any secret.
    #[error("{}: larger than {MAX_FILE_BYTES} bytes; this is not a secret", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It can be guessed.
    #[error(
        "{place}: the secret has {found} bytes, write at least {MIN_BYTES} (for example: openssl rand -base64 32)"
    )]
    TooShort {
        /// The file.
        place: String,
        /// How many there are.
        found: usize,
    },
    /// What follows `whsec_` is not base64.
    #[error("{place}: what follows {BASE64_PREFIX} is not base64")]
    NotBase64 {
        /// The file.
        place: String,
    },
}

impl Secret {
    /// A secret out of bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Reads `path`: the text without white space around it; `whsec_…` is base64 as Standard Webhooks has it.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let read = |source| SecretError::Read {
            path: path.to_owned(),
            source,
        };
        if fs::metadata(path).map_err(read)?.len() > MAX_FILE_BYTES {
            return Err(SecretError::TooLarge {
                path: path.to_owned(),
            });
        }
        Self::decode(&fs::read(path).map_err(read)?, &path.display().to_string())
    }

    /// Reads a text that is secret and has no least length: an address with a token in it, a password somebody else chose.
    pub fn read_text(path: &Path) -> Result<String, SecretError> {
        let read = |source| SecretError::Read {
            path: path.to_owned(),
            source,
        };
        if fs::metadata(path).map_err(read)?.len() > MAX_FILE_BYTES {
            return Err(SecretError::TooLarge {
                path: path.to_owned(),
            });
        }
        let text = fs::read_to_string(path).map_err(read)?;
        Ok(text.trim().to_owned())
    }

    fn decode(raw: &[u8], place: &str) -> Result<Self, SecretError> {
        let trimmed = raw.trim_ascii();
        let bytes = match trimmed.strip_prefix(BASE64_PREFIX.as_bytes()) {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map_err(|_| SecretError::NotBase64 {
                    place: place.to_owned(),
                })?,
            None => trimmed.to_owned(),
        };
        if bytes.len() < MIN_BYTES {
            return Err(SecretError::TooShort {
                place: place.to_owned(),
                found: bytes.len(),
            });
        }
        Ok(Self(bytes))
    }

    /// The bytes, for a MAC.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// The text of a secret that stands in the configuration itself. It is never written out again.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct InlineSecret(String);

impl InlineSecret {
    /// The secret that the text stands for.
    pub fn secret(&self) -> Result<Secret, SecretError> {
        Secret::decode(self.0.as_bytes(), "in place")
    }
}

impl Serialize for InlineSecret {
    /// A configuration that was dumped is refused where its secret was hidden: better than one with another secret.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

impl fmt::Debug for InlineSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InlineSecret({} characters)", self.0.len())
    }
}
