//! Bundles of certificate authorities: read once, refused where one of them does not parse.

use std::{fs, io, path::Path};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// A larger file is no list of a few authorities of one's own.
const MAX_BUNDLE_BYTES: u64 = 64 << 10;

/// Why a file gives no certificate authorities.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is larger than any bundle of one's own authorities.
    #[error("it is larger than {} KiB; write only the authorities that are needed", MAX_BUNDLE_BYTES >> 10)]
    TooLarge,
    /// It is no PEM.
    #[error("certificate {number} is no PEM: {reason}")]
    Pem {
        /// Which one, from 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
    /// It is PEM and no certificate.
    #[error("certificate {number} does not parse: {reason}")]
    Certificate {
        /// Which one, from 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
    /// There is none.
    #[error("there is no certificate in it; it must have lines of -----BEGIN CERTIFICATE-----")]
    Empty,
}

/// The text of a bundle of which every certificate can end a chain.
pub fn read_bundle(path: &Path) -> Result<String, BundleError> {
    if fs::metadata(path)?.len() > MAX_BUNDLE_BYTES {
        return Err(BundleError::TooLarge);
    }
    let text = fs::read_to_string(path)?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(text.as_bytes()).enumerate() {
        let number = index + 1;
        let certificate = certificate.map_err(|error| BundleError::Pem {
            number,
            reason: error.to_string(),
        })?;
        roots
            .add(certificate)
            .map_err(|error| BundleError::Certificate {
                number,
                reason: error.to_string(),
            })?;
    }
    if roots.is_empty() {
        return Err(BundleError::Empty);
    }
    Ok(text)
}
