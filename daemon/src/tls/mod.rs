//! TLS from PEM files, reloaded when their content changes.
//!
//! Certificates are renewed under a running process (cert-manager, a Kubernetes secret volume).
//! Files are polled by content, because neither notification nor modification time is reliable over
//! symlink swaps and network file systems. A reload replaces the whole rustls configuration:
//! certificate, key and trusted authorities change together, connections in progress keep the one
//! that they began with. On any error (a half-written pair, a missing file) the configuration in
//! force stays.
//!
//! The provider is ring, everywhere in the process: call [`install_crypto_provider`] first in
//! `main`.

mod files;
mod reloading;

use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig, crypto::CryptoProvider};

pub use files::{ClientAuth, ClientTlsFiles, ServerTlsFiles, TlsError};
pub use reloading::{Reloaded, Reloading};

use files::FileSet;

/// Makes ring the process' crypto provider. Later calls do nothing.
pub fn install_crypto_provider() {
    if CryptoProvider::get_default().is_none() {
        // A loser of a race finds the same provider installed.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
    }
}

/// A server's TLS configuration that follows its files.
pub type ServerTls = Reloading<ServerConfig>;

/// A client's TLS configuration that follows its files.
pub type ClientTls = Reloading<ClientConfig>;

impl ServerTls {
    /// Loads the files; `alpn` lists the protocols offered, best first (`h2`, `http/1.1`).
    pub fn load(files: ServerTlsFiles, alpn: &[&str]) -> Result<Self, TlsError> {
        let alpn = protocols(alpn);
        Self::new(
            files.paths(),
            Box::new(move |set: &FileSet| {
                let mut config = files.build(set)?;
                config.alpn_protocols.clone_from(&alpn);
                Ok(Arc::new(config))
            }),
        )
    }
}

impl ClientTls {
    /// Loads the files; `alpn` lists the protocols offered, best first.
    pub fn load(files: ClientTlsFiles, alpn: &[&str]) -> Result<Self, TlsError> {
        let alpn = protocols(alpn);
        Self::new(
            files.paths(),
            Box::new(move |set: &FileSet| {
                let mut config = files.build(set)?;
                config.alpn_protocols.clone_from(&alpn);
                Ok(Arc::new(config))
            }),
        )
    }
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect()
}

#[cfg(test)]
pub(crate) mod test_certificates;
#[cfg(test)]
mod tests;
